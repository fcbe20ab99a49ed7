"""What was delivered to one mailbox of a target, and what is still to be (design.md section 7, "Selection").

Strategy: questions about the catalogue, and no changes but to temporary tables. The selection is made by one query
into one of them and read in pages, so memory does not grow with the archive; what has been delivered is counted there
by SQLite, and only the rest is ever looked at one by one. Selections for several mailboxes stand beside each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailmove.archive import parts
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.records import parse_timestamp
from mailmove.model import DateOrigin, Digest, InternalDate

PAGE = 500


@dataclass(frozen=True, slots=True)
class Selected:
    """One digest of the selection: how many copies are wanted there, and what became of earlier ones.

    `number`: of its first log record.
    """

    number: int
    digest: Digest
    octets: int
    internal_date: InternalDate
    suspect: bool
    copies: int
    delivered: int
    skipped: int
    parked: int
    uncertain: int


@dataclass(frozen=True, slots=True)
class Repaired:
    """How what was sent differs from the archive's file: the repairs by name, and the sha256 of what they made."""

    repairs: tuple[str, ...]
    digest: Digest


@dataclass(frozen=True, slots=True)
class Open:
    """One delivery that was announced and never settled: it may be at the target or not.

    `repaired` None: it went out as it is in the archive.
    """

    digest: Digest
    intend: int
    uidvalidity: int
    floor: int
    time: datetime
    repaired: Repaired | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """One receipt. `repaired` None: it went out as it is in the archive."""

    digest: Digest
    uidvalidity: int
    uid: int
    repaired: Repaired | None = None


@dataclass(frozen=True, slots=True)
class MailboxFacts:
    """One mailbox of a target as the catalogue knows it; the counters are of all runs. `slowest_window`: seconds."""

    delivered: int = 0
    parked: int = 0
    uncertain: int = 0
    skipped: int = 0
    skip_present: bool | None = None
    accepted_uidvalidity: int = 0
    slowest_window: float = 0.0

    @property
    def first_contact(self) -> bool:
        """Whether this archive has never dealt with this mailbox."""
        return self.skip_present is None and not self.delivered


class Deliveries:
    """Questions about one mailbox of one target.

    `part_numbers`: only these parts of what is selected belong there (parts.divide); None: all of it. `selection`: its
    number, where several of all messages stand beside each other.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        target: str,
        mailbox: str,
        part_numbers: Sequence[int] | None = None,
        selection: int = 0,
    ) -> None:
        self._catalogue = catalogue
        self.target = target
        self.mailbox = mailbox
        self._parts = part_numbers
        self._name = min(part_numbers, default=0) if part_numbers is not None else selection

    @property
    def row(self) -> int:
        """The row id of the mailbox in target_mailboxes, 0 if nothing was ever meant for it."""
        query = "SELECT id FROM target_mailboxes WHERE target = ? AND mailbox = ?"
        found = self._rows(query, self.target, self.mailbox)
        return int(found[0][0]) if found else 0

    def facts(self) -> MailboxFacts:
        found = self._rows(
            "SELECT delivered, parked, uncertain, skipped, skip_present, accepted_uidvalidity, slowest_window"
            " FROM target_mailboxes WHERE id = ?",
            self.row,
        )
        if not found:
            return MailboxFacts()
        delivered, parked, uncertain, skipped, skip_present, accepted, slowest = found[0]
        decided = None if skip_present is None else bool(skip_present)
        return MailboxFacts(delivered, parked, uncertain, skipped, decided, accepted, slowest)

    # ---- the selection

    def choose(self, digests: Iterable[Digest]) -> None:
        """From now on a selection has these messages only."""
        parts.choose(self._catalogue, digests)

    @property
    def narrowed(self) -> bool:
        """Whether a selection has chosen messages only."""
        return parts.is_chosen(self._catalogue)

    def selects(self, digest: Digest, maildrops: Sequence[str]) -> bool:
        """Whether a selection of these maildrops (of all if none is named) has this message."""
        query = f"SELECT 1 FROM places WHERE digest = :digest AND {self._which(parts.IS_OF_PARTS)} LIMIT 1"  # noqa: S608 - ours
        values = self._scope(maildrops) | {"digest": digest}
        return self._catalogue.connection.execute(query, values).fetchone() is not None

    def _which(self, of_parts: str) -> str:
        """The condition for places that are selected: `of_parts`, if only parts belong there."""
        if self._parts is not None:
            return of_parts
        chosen = f" AND {parts.CHOSEN}" if self.narrowed else ""
        return parts.OF_MAILDROPS.format("") + chosen

    def _scope(self, maildrops: Sequence[str]) -> dict[str, object]:
        """The values that such a condition needs."""
        return parts.scope(self._catalogue, maildrops) | {"parts": json.dumps(self._parts)}

    def select(self, maildrops: Sequence[str], *, keep_duplicates: bool) -> tuple[int, int]:
        """Makes the selection: all messages of these maildrops (of all if none is named), oldest record first.

        Returns how many deliveries that are, and how many byte-identical copies are left out.
        """
        self._make_room()
        values = {"part": self._name, "keep": keep_duplicates, "mailbox": self.row}
        date = "p.date" if self._parts is None else parts.EARLIEST.format(parts.DATE)
        query = parts.SELECT.format(date=date, which=self._which(parts.OF_PARTS))
        self._catalogue.connection.execute(query, self._scope(maildrops) | values)
        row = self._rows(
            "SELECT coalesce(sum(copies), 0), coalesce(sum(places - copies), 0) FROM temp.selection WHERE part = ?",
            self._name,
        )
        return int(row[0][0]), int(row[0][1])

    def _make_room(self) -> None:
        """An earlier selection goes; those for other mailboxes stay."""
        if self._parts is None and not self._name:
            self._catalogue.connection.execute("DROP TABLE IF EXISTS temp.selection")
        self._catalogue.connection.execute(parts.SELECTION)
        self._catalogue.connection.execute("DELETE FROM temp.selection WHERE part = ?", (self._name,))

    def already_delivered(self) -> int:
        """How many deliveries of the selection our own receipts show."""
        query = "SELECT coalesce(sum(min(copies, delivered)), 0) FROM temp.selection WHERE part = ?"
        rows = self._rows(query, self._name)
        return int(rows[0][0])

    def undelivered(self) -> Iterator[Selected]:
        """Every digest of which a copy has no receipt, in the order of the selection."""
        number = -1
        while rows := self._rows(
            "SELECT number, digest, octets, date, suspect, copies, delivered, skipped, parked, uncertain"
            " FROM temp.selection WHERE part = ? AND number > ? AND delivered < copies ORDER BY number LIMIT ?",
            self._name,
            number,
            PAGE,
        ):
            number = rows[-1][0]
            yield from map(_selected, rows)

    def suspects(self) -> Iterator[Digest]:
        """Messages of the selection that may be incomplete and have no receipt yet."""
        query = "SELECT digest FROM temp.selection WHERE part = ? AND suspect AND delivered < copies ORDER BY number"
        for (digest,) in self._rows(query, self._name):
            yield Digest(digest)

    # ---- earlier deliveries

    def open(self) -> list[Open]:
        """Deliveries that were announced and not settled: those of the last window before a crash."""
        rows = self._rows(
            "SELECT digest, intend, uidvalidity, floor, time, repairs, sent_digest FROM deliveries WHERE mailbox = ?"
            " AND state = 'intended' AND state != 'delivered' ORDER BY id",  # the last condition names their index
            self.row,
        )
        return [_open(row) for row in rows]

    def mailboxes(self) -> list[str]:
        """All mailboxes of this target that anything was ever meant for, by name."""
        query = "SELECT mailbox FROM target_mailboxes WHERE target = ? ORDER BY mailbox"
        return [name for (name,) in self._rows(query, self.target)]

    def has(self, digest: Digest) -> bool:
        """Whether this message was delivered there, or found there."""
        query = "SELECT 1 FROM deliveries WHERE mailbox = ? AND digest = ? AND state = 'delivered' LIMIT 1"
        return bool(self._rows(query, self.row, digest))

    def holds(self, receipt: Delivered) -> bool:
        """Whether this very receipt still counts."""
        query = "SELECT 1 FROM deliveries WHERE mailbox = ? AND digest = ? AND state = 'delivered'"
        query = f"{query} AND uidvalidity = ? AND uid = ? LIMIT 1"
        return bool(self._rows(query, self.row, receipt.digest, receipt.uidvalidity, receipt.uid))

    def has_receipt(self, uidvalidity: int, uid: int) -> bool:
        """Whether the message with this UID is one we delivered."""
        query = "SELECT 1 FROM deliveries WHERE mailbox = ? AND state = 'delivered' AND uidvalidity = ? AND uid = ?"
        return bool(self._rows(f"{query} LIMIT 1", self.row, uidvalidity, uid))

    def without_uid(self, digest: Digest) -> int:
        """How many copies of this message were delivered by a server that did not say where they are."""
        query = "SELECT count(*) FROM deliveries WHERE mailbox = ? AND digest = ? AND state = 'delivered' AND uid = 0"
        return int(self._rows(query, self.row, digest)[0][0])

    def perhaps_among(self, rows: Sequence[Open]) -> list[tuple[Digest, Repaired | None]]:
        """What was delivered, nobody knows where, and may lie among these: it has no lower floor."""
        found = self._rows(
            "SELECT digest, repairs, sent_digest FROM deliveries WHERE mailbox = ? AND state = 'delivered' AND uid = 0"
            " AND floor >= ?",
            self.row,
            min(row.floor for row in rows),
        )
        return [(Digest(digest), _repaired(*how)) for digest, *how in found]

    def stale(self, uidvalidity: int) -> int:
        """How many receipts are of another incarnation of the mailbox."""
        query = "SELECT count(*) FROM deliveries WHERE mailbox = ? AND state = 'delivered' AND {}"
        older, newer = "uidvalidity > 0 AND uidvalidity < ?", "uidvalidity > ?"
        return sum(int(self._rows(query.format(which), self.row, uidvalidity)[0][0]) for which in (older, newer))

    def receipts(self, uidvalidity: int) -> Iterator[Delivered]:
        """Every receipt of this incarnation with a UID, by rising UID."""
        uid = 0
        while rows := self._rows(
            "SELECT digest, uidvalidity, uid, repairs, sent_digest FROM deliveries WHERE mailbox = ?"
            " AND state = 'delivered' AND uidvalidity = ? AND uid > ? ORDER BY uid LIMIT ?",
            self.row,
            uidvalidity,
            uid,
            PAGE,
        ):
            uid = rows[-1][2]
            yield from (Delivered(Digest(d), v, u, _repaired(*how)) for d, v, u, *how in rows)

    def stale_receipts(self, uidvalidity: int) -> list[Delivered]:
        """Every receipt of another incarnation of the mailbox."""
        rows = self._rows(
            "SELECT digest, uidvalidity, uid, repairs, sent_digest FROM deliveries WHERE mailbox = ?"
            " AND state = 'delivered' AND uidvalidity > 0 AND uidvalidity != ? ORDER BY id",
            self.row,
            uidvalidity,
        )
        return [Delivered(Digest(d), v, u, _repaired(*how)) for d, v, u, *how in rows]

    def text(self, digest: Digest) -> tuple[str, str]:
        """(cause, the target's own words) of a message that is parked or uncertain."""
        rows = self._rows(
            "SELECT d.cause, coalesce(t.text, '') FROM deliveries d LEFT JOIN target_texts t ON t.target = ?"
            " AND t.mailbox = ? AND t.digest = d.digest WHERE d.mailbox = ? AND d.digest = ?"
            " AND d.state IN ('parked', 'uncertain') LIMIT 1",
            self.target,
            self.mailbox,
            self.row,
            digest,
        )
        return (rows[0][0], rows[0][1]) if rows else ("", "")

    def refusal(self, digest: Digest) -> tuple[str, tuple[str, ...]]:
        """(cause, repairs it was sent with) of a message that the target refused last; ("", ()) if it did not."""
        rows = self._rows(
            "SELECT cause, repairs, sent_digest FROM deliveries WHERE mailbox = ? AND digest = ? AND state = 'parked'"
            " ORDER BY id DESC LIMIT 1",
            self.row,
            digest,
        )
        if not rows:
            return "", ()
        cause, *how = rows[0]
        repaired = _repaired(*how)
        return cause, repaired.repairs if repaired else ()

    def remember_text(self, digest: Digest, text: str) -> None:
        """Advice: what the target said of a message."""
        with self._catalogue.transaction():
            self._catalogue.connection.execute(
                "INSERT OR REPLACE INTO target_texts VALUES (?, ?, ?, ?)", (self.target, self.mailbox, digest, text)
            )

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._catalogue.connection.execute(query, values).fetchall()


def _open(row: tuple[Any, ...]) -> Open:
    digest, intend, uidvalidity, floor, time, repairs, sent_digest = row
    how = _repaired(repairs, sent_digest)
    return Open(Digest(digest), intend, uidvalidity, floor, parse_timestamp(time), how)


def _repaired(repairs: str, digest: str) -> Repaired | None:
    return Repaired(tuple(repairs.split(",")), Digest(digest)) if repairs else None


def _selected(row: tuple[Any, ...]) -> Selected:
    number, digest, octets, date, suspect, *counts = row
    time, _, origin = date.partition(" ")
    when = InternalDate(datetime.fromisoformat(time), DateOrigin(origin))
    return Selected(number, Digest(digest), octets, when, bool(suspect), *counts)
