"""What was delivered to a mailbox, and what that mailbox holds, side by side (design.md section 7, `verify --against`).

Strategy: two temporary tables. `ours` is what our receipts say, taken at one moment, so that a run under way beside us
changes nothing; `theirs` is filled with what the server lists, and `strangers` are those of it that no receipt names.
SQLite keeps them on disk where they are large, so memory grows neither with the archive nor with the mailbox. The
catalogue itself is only read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.deliveries import Delivered, Repaired
from mailmove.archive.delivery_projection import ALTERED
from mailmove.archive.records import parse_timestamp
from mailmove.model import DateOrigin, Digest, InternalDate

PAGE = 250
"""Rows of one question; also what one command may ask a server for."""

NEARBY = 4096
"""Octets by which a message without a Message-ID may differ and still be looked at, to see whether it is ours."""

_TABLES = """
    DROP TABLE IF EXISTS temp.ours;
    DROP TABLE IF EXISTS temp.theirs;
    DROP TABLE IF EXISTS temp.strangers;
    DROP TABLE IF EXISTS temp.candidates;
    CREATE TEMP TABLE ours (number INTEGER PRIMARY KEY, digest TEXT, uidvalidity INTEGER, uid INTEGER, how TEXT,
        cause TEXT, sent TEXT, origin TEXT, time TEXT, octets INTEGER, fingerprint TEXT, date TEXT, repairs TEXT,
        sent_digest TEXT, there INTEGER NOT NULL DEFAULT 0);
    CREATE TEMP TABLE theirs (uid INTEGER PRIMARY KEY, octets INTEGER, message_id TEXT, date TEXT);
    CREATE TEMP TABLE strangers (uid INTEGER PRIMARY KEY, octets INTEGER, message_id TEXT);
    CREATE TEMP TABLE candidates (uid INTEGER PRIMARY KEY);
    CREATE INDEX temp.ours_there ON ours (there);
    CREATE INDEX temp.ours_waiting ON ours (sent_digest) WHERE there = 0;
    CREATE INDEX temp.theirs_octets ON theirs (octets, message_id);
    CREATE INDEX temp.strangers_octets ON strangers (octets);
    CREATE INDEX temp.strangers_id ON strangers (message_id);
"""
_OURS = (
    "o.number, o.digest, o.uidvalidity, o.uid, o.how, o.cause, o.sent, o.origin, o.time, o.octets, o.fingerprint,"
    " o.date, o.repairs, o.sent_digest"
)


@dataclass(frozen=True, slots=True)
class Ours:
    """One delivery. `uid` is 0 if the server did not say; `octets` and `date` are those of the archive's message.

    `sent`: the InternalDate it went out with, None if the log does not say; `altered`: found to be so before;
    `fingerprint`: of the header section as it went out, "" if that is not known.
    """

    number: int
    digest: Digest
    uidvalidity: int
    uid: int
    how: str
    altered: bool
    sent: InternalDate | None
    time: datetime
    octets: int
    fingerprint: str
    date: datetime | None
    repaired: Repaired | None

    @property
    def sent_digest(self) -> Digest:
        """Of the octets that went out."""
        return self.repaired.digest if self.repaired else self.digest

    @property
    def receipt(self) -> Delivered:
        return Delivered(self.digest, self.uidvalidity, self.uid)


@dataclass(frozen=True, slots=True)
class Theirs:
    """One message as the server lists it; `date` is its INTERNALDATE."""

    uid: int
    octets: int
    message_id: str
    date: datetime | None


class Comparison:
    """One mailbox at one moment."""

    def __init__(self, catalogue: Catalogue, target: str, mailbox: str) -> None:
        self._connection = catalogue.connection
        self._target, self._mailbox = target, mailbox
        self._row = self._uidvalidity = 0

    def begin(self, uidvalidity: int) -> None:
        """Takes down what was delivered there. `uidvalidity`: of the mailbox now, 0 if there is none."""
        query = "SELECT id FROM target_mailboxes WHERE target = ? AND mailbox = ?"
        known = self._rows(query, self._target, self._mailbox)
        self._row, self._uidvalidity = (known[0][0] if known else 0), uidvalidity
        self._connection.executescript(_TABLES)
        self._connection.execute(
            "INSERT INTO temp.ours SELECT d.id, d.digest, d.uidvalidity, d.uid, d.how, d.cause, d.internal_date,"
            " d.internal_date_origin, d.time, coalesce(m.octets, 0),"
            " CASE WHEN d.repairs = '' THEN coalesce(m.fingerprint, '') ELSE '' END,"
            " (SELECT min(internal_date) FROM places p WHERE p.digest = d.digest), d.repairs,"
            " coalesce(nullif(d.sent_digest, ''), d.digest), 0 FROM deliveries d LEFT JOIN"
            " messages m ON m.digest = d.digest WHERE d.mailbox = ? AND d.state = 'delivered'",
            (self._row,),
        )

    def totals(self) -> tuple[int, int]:
        """How many deliveries, and how many octets."""
        number, octets = self._rows("SELECT count(*), coalesce(sum(octets), 0) FROM temp.ours")[0]
        return int(number), int(octets)

    def leave_out_unless(self, concerns: Callable[[Digest], bool]) -> None:
        """Of the deliveries of which nobody knows where they are."""
        for page in self.unplaced():
            others = [(ours.number,) for ours in page if not concerns(ours.digest)]
            self._connection.executemany("DELETE FROM temp.ours WHERE number = ?", others)

    def listed(self, found: Iterable[Theirs]) -> None:
        """The mailbox holds these, and nothing else."""
        rows = ((one.uid, one.octets, one.message_id, one.date.isoformat() if one.date else "") for one in found)
        self._connection.execute("BEGIN")
        try:
            self._connection.executemany("INSERT OR IGNORE INTO temp.theirs VALUES (?, ?, ?, ?)", rows)
            self._connection.execute(
                "UPDATE temp.ours SET there = uid WHERE uidvalidity = ? AND uid IN (SELECT uid FROM temp.theirs)",
                (self._uidvalidity,),
            )
            self._connection.execute(
                "INSERT INTO temp.strangers SELECT t.uid, t.octets, t.message_id FROM temp.theirs t WHERE NOT EXISTS"
                " (SELECT 1 FROM deliveries d WHERE d.mailbox = ? AND d.state = 'delivered' AND d.uidvalidity = ?"
                " AND d.uid = t.uid)",
                (self._row, self._uidvalidity),
            )
        finally:
            self._connection.execute("COMMIT")

    # ---- deliveries

    def placed(self) -> Iterator[list[tuple[Ours, Theirs]]]:
        """Deliveries whose place in the mailbox is known, in pages."""
        number = 0
        while rows := self._rows(
            f"SELECT t.uid, t.octets, t.message_id, t.date, {_OURS} FROM temp.ours o JOIN temp.theirs t"  # noqa: S608 - words of ours
            " ON t.uid = o.there WHERE o.number > ? AND o.there > 0 ORDER BY o.number LIMIT ?",
            number,
            PAGE,
        ):
            number = rows[-1][4]
            yield [(_ours(row[4:]), _theirs(row[:4])) for row in rows]

    def unplaced(self) -> Iterator[list[Ours]]:
        """Deliveries of which nobody knows where they are, in pages."""
        number = 0
        while rows := self._rows(
            f"SELECT {_OURS} FROM temp.ours o WHERE o.number > ? AND o.there = 0 ORDER BY o.number LIMIT ?",  # noqa: S608 - words of ours
            number,
            PAGE,
        ):
            number = rows[-1][0]
            yield list(map(_ours, rows))

    def marked(self) -> list[Ours]:
        """Deliveries whose place is known, and that were found altered there."""
        query = f"SELECT {_OURS} FROM temp.ours o WHERE o.there > 0 AND o.cause = ?"  # noqa: S608 - words of ours
        return [_ours(row) for row in self._rows(query, ALTERED)]

    def unplaced_like(self, digest: Digest) -> Ours | None:
        """A delivery of which these octets went out, and of which nobody knows where it is."""
        query = f"SELECT {_OURS} FROM temp.ours o WHERE o.sent_digest = ? AND o.there = 0 ORDER BY o.number LIMIT 1"  # noqa: S608 - words of ours
        return next((_ours(row) for row in self._rows(query, digest)), None)

    def place(self, ours: Ours, uid: int) -> Theirs:
        """It was found: a stranger no longer."""
        self._connection.execute("UPDATE temp.ours SET there = ? WHERE number = ?", (uid, ours.number))
        self._connection.execute("DELETE FROM temp.strangers WHERE uid = ?", (uid,))
        return _theirs(self._rows("SELECT uid, octets, message_id, date FROM temp.theirs WHERE uid = ?", uid)[0])

    def lose(self, ours: Ours) -> None:
        """It is gone since the mailbox was listed."""
        self._connection.execute("UPDATE temp.ours SET there = 0 WHERE number = ?", (ours.number,))

    def is_elsewhere(self, digest: Digest) -> bool:
        """Whether another mailbox of the same target was given this message."""
        query = (
            "SELECT 1 FROM target_mailboxes b CROSS JOIN deliveries d ON d.mailbox = b.id AND d.digest = ?"
            " AND d.state = 'delivered' WHERE b.target = ? AND b.id != ? LIMIT 1"
        )
        return bool(self._rows(query, digest, self._target, self._row))

    # ---- messages that no receipt names

    def of_a_size(self) -> Iterator[list[tuple[int, int]]]:
        """(UID, octets) of strangers as large as a delivery of which nobody knows where it is, in pages."""
        return self._strangers("s.octets IN (SELECT octets FROM temp.ours WHERE there = 0)")

    def alike(
        self, message_ids: Iterable[str], sizes: Iterable[int], nameless: Iterable[int]
    ) -> Iterator[list[tuple[int, int]]]:
        """(UID, octets) of strangers with one of these Message-IDs, or of one of these sizes, in pages.

        `nameless`: sizes of messages without a Message-ID; strangers without one that are about so large come, too.
        """
        self._connection.execute("DELETE FROM temp.candidates")
        self._connection.execute(
            "INSERT INTO temp.candidates SELECT uid FROM temp.strangers WHERE message_id IN"
            " (SELECT value FROM json_each(?)) UNION SELECT uid FROM temp.strangers WHERE octets IN"
            " (SELECT value FROM json_each(?)) UNION SELECT n.uid FROM json_each(?) w CROSS JOIN temp.strangers n"
            " ON n.octets BETWEEN w.value - ? AND w.value + ? AND n.message_id = ''",
            (*(json.dumps(sorted(values)) for values in (message_ids, sizes, nameless)), NEARBY, NEARBY),
        )
        return self._strangers("s.uid IN (SELECT uid FROM temp.candidates)")

    def twins(self) -> Iterator[list[tuple[int, int]]]:
        """(UID, octets) of strangers with size and Message-ID of a message of ours, as the server has it, in pages."""
        return self._strangers(
            "EXISTS (SELECT 1 FROM temp.ours o JOIN temp.theirs t ON t.uid = o.there WHERE t.octets = s.octets"
            " AND t.message_id = s.message_id)"
        )

    def originals(self, uid: int) -> list[Ours]:
        """Of which messages of ours the stranger with this UID may be a second copy."""
        rows = self._rows(
            f"SELECT {_OURS} FROM temp.strangers s JOIN temp.theirs t ON t.octets = s.octets"  # noqa: S608 - words of ours
            " AND t.message_id = s.message_id JOIN temp.ours o ON o.there = t.uid WHERE s.uid = ?",
            uid,
        )
        return list(map(_ours, rows))

    def _strangers(self, condition: str, *values: object) -> Iterator[list[tuple[int, int]]]:
        uid = 0
        while rows := self._rows(
            f"SELECT s.uid, s.octets FROM temp.strangers s WHERE s.uid > ? AND {condition} ORDER BY s.uid LIMIT {PAGE}",  # noqa: S608 - words of ours
            uid,
            *values,
        ):
            uid = rows[-1][0]
            yield rows

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall()


def _ours(row: Sequence[Any]) -> Ours:
    number, digest, uidvalidity, uid, how, cause, sent, origin, time, octets, fingerprint, date, repairs, went_out = row
    return Ours(
        *(number, Digest(digest), uidvalidity, uid, how),
        altered=cause == ALTERED,
        sent=InternalDate(parse_timestamp(sent), DateOrigin(origin)) if sent else None,
        time=parse_timestamp(time),
        octets=octets,
        fingerprint=fingerprint,
        date=parse_timestamp(date) if date else None,
        repaired=Repaired(tuple(repairs.split(",")), Digest(went_out)) if repairs else None,
    )


def _theirs(row: Sequence[Any]) -> Theirs:
    uid, octets, message_id, date = row
    return Theirs(uid, octets, message_id, datetime.fromisoformat(date) if date else None)
