"""The account of what is under way over SMTP or LMTP: what became of each message for each recipient (design.md, P2).

Strategy: as account.py does it for one mailbox, for many recipients at once: every way in which a delivery can end has
its method, which notes the log record and what is to be told; `write` makes them durable, and only then are they
counted and shown. One append announces a group to all its recipients, with what was settled before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from mailmove.archive import Archive
from mailmove.archive.deliveries import Repaired
from mailmove.archive.records import Record
from mailmove.jobs.account import AT_ONCE
from mailmove.jobs.mended import told
from mailmove.jobs.relay_refusals import cause_of
from mailmove.jobs.relay_roster import Addressee, Share
from mailmove.jobs.replay_report import Term
from mailmove.jobs.settled import Settled
from mailmove.model import Digest, Progress, Reply
from mailmove.targets import Receipt

if TYPE_CHECKING:
    from mailmove.jobs.relay_parcels import Consignment


class RelayAccount:
    """`records` are not logged yet, `fresh` not counted; `settled` is told of what became durable."""

    def __init__(self, archive: Archive, progress: Progress, settled: Callable[[Settled], None]) -> None:
        self._archive, self._progress, self._settled = archive, progress, settled
        self._texts: list[tuple[Addressee, Digest, str]] = []
        self.records: list[Record] = []
        self.fresh = Settled()

    # ---- what was never sent

    def parked(self, share: Share, cause: str, reason: str) -> None:
        """This server would not take it."""
        journal, digest = share.addressee.journal, share.message.digest
        if share.withdraw:
            self.records.append(journal.withdrawn(digest, share.withdraw, "tried-again"))
            self._texts.append((share.addressee, digest, ""))  # what the server said of it before is not why any more
        self.records.append(journal.parked(digest, cause, ""))
        self._end(share, Term.PARKED, reason)
        self.write_if_many()

    def damaged(self, shares: Iterable[Share]) -> None:
        """Its file is not what it was; nothing is logged, since that can be mended."""
        for place, share in enumerate(shares):
            if not place:
                self.fresh.name("damaged", share.message.digest, "its file is missing or altered; not sent")
            self._settle(share, Term.PARKED)

    # ---- what was announced

    def announce(self, group: Sequence[Consignment]) -> None:
        """Logs, with all that is settled, what is about to be sent; the consignments know where."""
        records, self.records = self.records, []
        meant: dict[Addressee, list[tuple[Consignment, int]]] = {}
        for consignment in group:
            for place, share in enumerate(consignment.shares):
                meant.setdefault(share.addressee, []).append((consignment, place))
                if share.withdraw:
                    journal, digest = share.addressee.journal, share.message.digest
                    records.append(journal.withdrawn(digest, share.withdraw, "tried-again"))
        first = self._archive.append(*records, *(_intention(*one) for one in meant.items())) + len(records)
        for number, shares in enumerate(meant.values(), first):
            for consignment, place in shares:
                consignment.intends[place] = number
        self._show()

    def delivered(self, consignment: Consignment, place: int, reply: Reply) -> None:
        """The server has taken it for this recipient."""
        share, mended = consignment.shares[place], consignment.mended
        repaired = mended.how if mended else None
        self.records.append(
            share.addressee.journal.delivered(
                share.message.digest,
                Receipt(),
                "append",
                intend=consignment.intends[place],
                repaired=repaired,
                code=reply.codes,
            )
        )
        if repaired:
            self.fresh.exceptions.append(told(share.message.digest, repaired))
        self._settle(share, Term.DELIVERED)

    def rejected(self, consignment: Consignment, place: int, reply: Reply) -> None:
        """The server refuses it to this recipient, for good."""
        share, cause = consignment.shares[place], cause_of(reply)
        journal, digest = share.addressee.journal, share.message.digest
        self.records.append(journal.parked(digest, cause, reply.codes, intend=consignment.intends[place]))
        self._texts.append((share.addressee, digest, str(reply)))
        self._end(share, Term.PARKED, f"the server refused it ({cause})", str(reply))

    def uncertain(self, consignment: Consignment, place: int) -> None:
        """It was sent, and whether the server has it nobody knows."""
        share = consignment.shares[place]
        journal, intend = share.addressee.journal, consignment.intends[place]
        self.records.append(journal.uncertain(share.message.digest, 0, intend))
        reason = "it was sent, and the connection ended before the answer came: it may be there"
        self._end(share, Term.UNCERTAIN, f"{reason}; --resend-uncertain sends it again")

    def put_off(self, consignment: Consignment, place: int, reply: Reply) -> None:
        """The server does not take it now."""
        share = consignment.shares[place]
        self.withdrawn(consignment, place, "put-off")
        share.addressee.put_off[share.message.digest] = reply

    def withdrawn(self, consignment: Consignment, place: int, reason: str = "not-sent") -> None:
        """It was announced, and is certainly not there."""
        share, intend = consignment.shares[place], consignment.intends[place]
        journal, digest = share.addressee.journal, share.message.digest
        self.records.append(journal.withdrawn(digest, "intended", reason, intend=intend))

    def _end(self, share: Share, term: Term, reason: str, text: str = "") -> None:
        named = share.addressee.named(term.value, share.message.digest, reason, text)
        self.fresh.exceptions.append(named)
        self._settle(share, term)

    def _settle(self, share: Share, term: Term) -> None:
        digest = share.message.digest
        share.addressee.put_off.pop(digest, None)
        if term is not Term.DELIVERED:
            share.addressee.tried.add(digest)
        self.fresh.settle(share.message, term)

    # ---- writing

    def write_if_many(self) -> None:
        if len(self.records) >= AT_ONCE:
            self.write()

    def write(self) -> None:
        """Durable when it returns; only now is it counted and shown."""
        records, self.records = self.records, []
        if records:
            self._archive.append(*records)
        self._show()

    def _show(self) -> None:
        texts, self._texts = self._texts, []
        for addressee, digest, text in texts:
            addressee.journal.deliveries.remember_text(digest, text)
        fresh, self.fresh = self.fresh, Settled()
        self._settled(fresh)
        if fresh.terms:
            self._progress.done(fresh.terms.total(), fresh.handled)


def _intention(addressee: Addressee, meant: Sequence[tuple[Consignment, int]]) -> Record:
    repaired: dict[Digest, Repaired] = {one.digest: one.mended.how for one, _ in meant if one.mended}
    return addressee.journal.intention(0, 0, [one.digest for one, _ in meant], repaired)
