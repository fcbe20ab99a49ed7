"""What was delivered to one mailbox of a target, and what is still to be (design.md section 7, "Selection").

Strategy: questions about the catalogue, and no changes but to temporary tables. The selection is made by one query
into one of them and read in pages, so memory does not grow with the archive; what has been delivered is counted there
by SQLite, and only the rest is ever looked at one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.records import parse_timestamp
from mailmove.model import DateOrigin, Digest, InternalDate

PAGE = 500


@dataclass(frozen=True, slots=True)
class Selected:
    """One digest of the selection: how many copies are wanted there, and what became of earlier ones."""

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
class Open:
    """One delivery that was announced and never settled: it may be at the target or not."""

    digest: Digest
    intend: int
    uidvalidity: int
    floor: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Delivered:
    """One receipt."""

    digest: Digest
    uidvalidity: int
    uid: int


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
    """Questions about one mailbox of one target."""

    def __init__(self, catalogue: Catalogue, target: str, mailbox: str) -> None:
        self._catalogue = catalogue
        self.target = target
        self.mailbox = mailbox
        self._all = True

    @property
    def _id(self) -> int:
        query = "SELECT id FROM target_mailboxes WHERE target = ? AND mailbox = ?"
        found = self._rows(query, self.target, self.mailbox)
        return int(found[0][0]) if found else 0

    def facts(self) -> MailboxFacts:
        found = self._rows(
            "SELECT delivered, parked, uncertain, skipped, skip_present, accepted_uidvalidity, slowest_window"
            " FROM target_mailboxes WHERE id = ?",
            self._id,
        )
        if not found:
            return MailboxFacts()
        delivered, parked, uncertain, skipped, skip_present, accepted, slowest = found[0]
        decided = None if skip_present is None else bool(skip_present)
        return MailboxFacts(delivered, parked, uncertain, skipped, decided, accepted, slowest)

    # ---- the selection

    def choose(self, digests: Iterable[Digest]) -> None:
        """From now on a selection has these messages only."""
        rows = ((digest,) for digest in digests)
        self._make_room()
        self._catalogue.connection.execute("DELETE FROM temp.chosen")
        self._catalogue.connection.executemany("INSERT OR IGNORE INTO temp.chosen VALUES (?)", rows)
        self._all = False

    def _make_room(self) -> None:
        """For `choose`."""
        self._catalogue.connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS chosen (digest TEXT PRIMARY KEY) WITHOUT ROWID"
        )

    def selects(self, digest: Digest, maildrops: Sequence[str]) -> bool:
        """Whether a selection of these maildrops (of all if none is named) has this message."""
        self._make_room()
        rows = self._rows(
            "SELECT 1 FROM places WHERE digest = ? AND (? OR maildrop IN (SELECT value FROM json_each(?)))"
            " AND (? OR digest IN (SELECT digest FROM temp.chosen)) LIMIT 1",
            *(digest, not maildrops, self._ids(maildrops), self._all),
        )
        return bool(rows)

    def _ids(self, maildrops: Sequence[str]) -> str:
        return json.dumps([self._catalogue.maildrop_id(name) for name in maildrops])

    def select(self, maildrops: Sequence[str], *, keep_duplicates: bool) -> tuple[int, int]:
        """Makes the selection: all messages of these maildrops (of all if none is named), oldest record first.

        Returns how many deliveries that are, and how many byte-identical copies are left out.
        """
        connection = self._catalogue.connection
        self._make_room()
        connection.execute("DROP TABLE IF EXISTS temp.selection")
        connection.execute(
            "CREATE TEMP TABLE selection (number INTEGER PRIMARY KEY, digest TEXT, octets INTEGER, date TEXT,"
            " suspect INTEGER, places INTEGER, copies INTEGER, delivered INTEGER, skipped INTEGER,"
            " parked INTEGER, uncertain INTEGER)"
        )
        connection.execute(
            "INSERT INTO temp.selection (digest, octets, date, suspect, places, copies, delivered, skipped, parked,"
            " uncertain) SELECT p.digest, p.octets, p.date, p.suspect, p.places,"
            " CASE WHEN ?1 THEN p.places ELSE 1 END, coalesce(d.delivered, 0), coalesce(d.skipped, 0),"
            " coalesce(d.parked, 0), coalesce(d.uncertain, 0) FROM (SELECT digest, octets,"
            " min(internal_date || ' ' || internal_date_origin) AS date,"
            " sum(complete = 'false' AND settled = 0) > 0 AS suspect, max(1, sum(counted)) AS places,"
            " min(record) AS record FROM places WHERE (?2 OR maildrop IN (SELECT value FROM json_each(?3)))"
            " AND (?5 OR digest IN (SELECT digest FROM temp.chosen)) GROUP BY digest) p"
            " LEFT JOIN (SELECT digest, sum(state = 'delivered') AS delivered, sum(state = 'skipped') AS skipped,"
            " sum(state = 'parked') AS parked, sum(state = 'uncertain') AS uncertain FROM deliveries"
            " WHERE mailbox = ?4 GROUP BY digest) d ON d.digest = p.digest ORDER BY p.record",
            (keep_duplicates, not maildrops, self._ids(maildrops), self._id, self._all),
        )
        row = self._rows("SELECT coalesce(sum(copies), 0), coalesce(sum(places - copies), 0) FROM temp.selection")
        return int(row[0][0]), int(row[0][1])

    def already_delivered(self) -> int:
        """How many deliveries of the selection our own receipts show."""
        rows = self._rows("SELECT coalesce(sum(min(copies, delivered)), 0) FROM temp.selection")
        return int(rows[0][0])

    def undelivered(self) -> Iterator[Selected]:
        """Every digest of which a copy has no receipt, in the order of the selection."""
        number = 0
        while rows := self._rows(
            "SELECT number, digest, octets, date, suspect, copies, delivered, skipped, parked, uncertain"
            " FROM temp.selection WHERE number > ? AND delivered < copies ORDER BY number LIMIT ?",
            number,
            PAGE,
        ):
            number = rows[-1][0]
            yield from map(_selected, rows)

    def suspects(self) -> Iterator[Digest]:
        """Messages of the selection that may be incomplete and have no receipt yet."""
        for (digest,) in self._rows("SELECT digest FROM temp.selection WHERE suspect AND delivered < copies"):
            yield Digest(digest)

    # ---- earlier deliveries

    def open(self) -> list[Open]:
        """Deliveries that were announced and not settled: those of the last window before a crash."""
        rows = self._rows(
            "SELECT digest, intend, uidvalidity, floor, time FROM deliveries WHERE mailbox = ? AND state = 'intended'"
            " AND state != 'delivered' ORDER BY id",  # the second condition names the index of those
            self._id,
        )
        return [Open(Digest(d), intend, v, floor, parse_timestamp(time)) for d, intend, v, floor, time in rows]

    def has(self, digest: Digest) -> bool:
        """Whether this message was delivered there, or found there."""
        query = "SELECT 1 FROM deliveries WHERE mailbox = ? AND digest = ? AND state = 'delivered' LIMIT 1"
        return bool(self._rows(query, self._id, digest))

    def has_receipt(self, uidvalidity: int, uid: int) -> bool:
        """Whether the message with this UID is one we delivered."""
        query = "SELECT 1 FROM deliveries WHERE mailbox = ? AND state = 'delivered' AND uidvalidity = ? AND uid = ?"
        return bool(self._rows(f"{query} LIMIT 1", self._id, uidvalidity, uid))

    def stale(self, uidvalidity: int) -> int:
        """How many receipts are of another incarnation of the mailbox."""
        query = "SELECT count(*) FROM deliveries WHERE mailbox = ? AND state = 'delivered' AND {}"
        older, newer = "uidvalidity > 0 AND uidvalidity < ?", "uidvalidity > ?"
        return sum(int(self._rows(query.format(which), self._id, uidvalidity)[0][0]) for which in (older, newer))

    def receipts(self, uidvalidity: int) -> Iterator[Delivered]:
        """Every receipt of this incarnation with a UID, by rising UID."""
        uid = 0
        while rows := self._rows(
            "SELECT digest, uidvalidity, uid FROM deliveries WHERE mailbox = ? AND state = 'delivered'"
            " AND uidvalidity = ? AND uid > ? ORDER BY uid LIMIT ?",
            self._id,
            uidvalidity,
            uid,
            PAGE,
        ):
            uid = rows[-1][2]
            yield from (Delivered(Digest(d), v, u) for d, v, u in rows)

    def stale_receipts(self, uidvalidity: int) -> list[Delivered]:
        """Every receipt of another incarnation of the mailbox."""
        rows = self._rows(
            "SELECT digest, uidvalidity, uid FROM deliveries WHERE mailbox = ? AND state = 'delivered'"
            " AND uidvalidity > 0 AND uidvalidity != ? ORDER BY id",
            self._id,
            uidvalidity,
        )
        return [Delivered(Digest(d), v, u) for d, v, u in rows]

    def text(self, digest: Digest) -> tuple[str, str]:
        """(cause, the target's own words) of a message that is parked or uncertain."""
        rows = self._rows(
            "SELECT d.cause, coalesce(t.text, '') FROM deliveries d LEFT JOIN target_texts t ON t.target = ?"
            " AND t.mailbox = ? AND t.digest = d.digest WHERE d.mailbox = ? AND d.digest = ?"
            " AND d.state IN ('parked', 'uncertain') LIMIT 1",
            self.target,
            self.mailbox,
            self._id,
            digest,
        )
        return (rows[0][0], rows[0][1]) if rows else ("", "")

    def remember_text(self, digest: Digest, text: str) -> None:
        """Advice: what the target said of a message."""
        with self._catalogue.transaction():
            self._catalogue.connection.execute(
                "INSERT OR REPLACE INTO target_texts VALUES (?, ?, ?, ?)", (self.target, self.mailbox, digest, text)
            )

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._catalogue.connection.execute(query, values).fetchall()


def _selected(row: tuple[Any, ...]) -> Selected:
    number, digest, octets, date, suspect, *counts = row
    time, _, origin = date.partition(" ")
    when = InternalDate(datetime.fromisoformat(time), DateOrigin(origin))
    return Selected(number, Digest(digest), octets, when, bool(suspect), *counts)
