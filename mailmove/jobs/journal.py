"""The replay's log records: what is meant for a target, before it is sent, and what became of it (design.md section 7).

Strategy: one place that builds the records, so that each names its target, mailbox and digest, and the projection finds
the row it means. Whoever sends writes `intend` first and waits until it is durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mailmove.archive import Archive
from mailmove.archive.deliveries import Delivered, Deliveries, Repaired
from mailmove.archive.delivery_projection import UNCERTAIN
from mailmove.archive.records import Record, timestamp
from mailmove.model import Digest, InternalDate
from mailmove.targets import Receipt


class Journal:
    """Writes the records of one mailbox of one target."""

    def __init__(
        self,
        archive: Archive,
        target: str,
        mailbox: str,
        part_numbers: Sequence[int] | None = None,
        selection: int = 0,
    ) -> None:
        """`part_numbers` and `selection` as Deliveries has them."""
        self._archive = archive
        self._target = target
        self._mailbox = mailbox
        self.deliveries = Deliveries(archive.catalogue, target, mailbox, part_numbers, selection)

    def write(self, records: Sequence[Record]) -> None:
        """Durable when it returns."""
        if records:
            self._archive.append(*records)

    def intend(
        self,
        uidvalidity: int,
        floor: int,
        digests: Sequence[Digest],
        withdrawn: Iterable[Record] = (),
        repaired: Mapping[Digest, Repaired] | None = None,
    ) -> int:
        """Durable when it returns: these may be at the target from now on. Returns the record's number.

        `repaired`: those that go out altered, every copy of them in the same way.
        """
        before = list(withdrawn)
        return self._archive.append(*before, self.intention(uidvalidity, floor, digests, repaired)) + len(before)

    def intention(
        self,
        uidvalidity: int,
        floor: int,
        digests: Sequence[Digest],
        repaired: Mapping[Digest, Repaired] | None = None,
    ) -> Record:
        """What `intend` logs."""
        altered = {digest: _repairs(how) for digest, how in (repaired or {}).items()}
        fields = {"uidvalidity": uidvalidity, "floor": floor, "digests": list(digests), "repaired": altered or None}
        return self._event("intend", **fields)

    def decide_skip_present(self, uidvalidity: int, floor: int, *, skip_present: bool) -> None:
        """Logs whether to look for what came there otherwise: it holds for every later run."""
        self.write([self._event("intend", uidvalidity=uidvalidity, floor=floor, digests=[], skip_present=skip_present)])

    def delivered(
        self,
        digest: Digest,
        receipt: Receipt,
        by: str,
        *,
        intend: int | None = None,
        date: InternalDate | None = None,
        was: str | None = None,
        repaired: Repaired | None = None,
        code: str = "",
    ) -> Record:
        """The target has it: `by` append (it said so), found (looked up), or present (it came there otherwise).

        `repaired`: how what it has differs from the archive's file. `code`: of the reply that says so, on SMTP.
        """
        record = self._event(
            "deliver",
            digest=digest,
            uidvalidity=receipt.uidvalidity,
            uid=receipt.uid,
            by=by,
            intend=intend,
            internal_date=timestamp(date.time) if date else None,
            internal_date_origin=date.origin.value if date else None,
            was=was,
            code=code or None,
        )
        return record | (_repairs(repaired) if repaired else {})

    def renewed(self, old: Delivered, receipt: Receipt, by: str = "found", date: InternalDate | None = None) -> Record:
        """A receipt whose UID is none or means nothing any more, and the place where the message was found."""
        return self.delivered(old.digest, receipt, by, date=date, was="delivered") | _old(old)

    def doubtful(self, old: Delivered, uid: int) -> Record:
        """A receipt of an earlier incarnation; in this one something much like it is there."""
        return self._event("park", digest=old.digest, cause=UNCERTAIN, uid=uid, was="delivered") | _old(old)

    def missing(self, old: Delivered, reason: str = "missing") -> Record:
        """The target has lost it, or altered it: it counts as not delivered from now on."""
        return self._event("void", digest=old.digest, was="delivered", reason=reason) | _old(old)

    def parked(self, digest: Digest, cause: str, code: str, *, intend: int | None = None) -> Record:
        """The target refuses it, or would."""
        return self._event("park", digest=digest, cause=cause, code=code or None, intend=intend)

    def uncertain(self, digest: Digest, uid: int, intend: int) -> Record:
        """Something much like it is there."""
        return self._event("park", digest=digest, cause=UNCERTAIN, uid=uid, intend=intend)

    def withdrawn(self, digest: Digest, was: str, reason: str, *, intend: int | None = None) -> Record:
        """An earlier delivery in this state does not count any more."""
        return self._event("void", digest=digest, was=was, reason=reason, intend=intend)

    def verified(
        self,
        uidvalidity: int,
        counts: Mapping[str, int],
        altered: Sequence[tuple[Digest, int]],
        sound: Sequence[tuple[Digest, int]],
        *,
        deep: bool,
    ) -> None:
        """The mailbox was held against the archive: what is altered where it lies, and what is so no longer."""
        places = ([{"digest": digest, "uid": uid} for digest, uid in some] or None for some in (altered, sound))
        fields = dict(zip(("altered", "sound"), places, strict=True))
        self.write([self._event("verify", uidvalidity=uidvalidity, deep=deep, counts=dict(counts), **fields)])

    def accept(self, uidvalidity: int) -> None:
        """The owner accepts that what was delivered before the mailbox was recreated is not there."""
        self.write([self._event("skip", uidvalidity=uidvalidity, reason="--ignore-missing")])

    def _event(self, kind: str, **fields: object) -> Record:
        return self._archive.event(kind, target=self._target, mailbox=self._mailbox, **fields)


def _repairs(repaired: Repaired) -> Record:
    return {"repairs": list(repaired.repairs), "sent_digest": repaired.digest}


def _old(old: Delivered) -> Record:
    return {"old_uidvalidity": old.uidvalidity, "old_uid": old.uid}
