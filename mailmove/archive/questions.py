"""What the archive asks its catalogue: the questions of a pull, of opening and of replay (design.md section 5).

Strategy: every question is answered by an index, however large the archive (the scale tests hold the query plans);
what is asked of every message of a group is asked of all of them at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from mailmove.archive.records import Place
from mailmove.model import Complete, DateOrigin, Digest, InternalDate, MaildropEntry, RunId, UniqueId

MOST_ASKED = 500
"""Values in one question: SQLite before 3.32 takes 999."""


T = TypeVar("T")


class Questions:
    """What may be asked of an open archive.db; nothing here writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._maildrops: dict[str, int] = {}

    def maildrop_id(self, name: str) -> int:
        """The row id of a maildrop, 0 if it has none yet."""
        if name in self._maildrops:
            return self._maildrops[name]
        row = self.connection.execute("SELECT id FROM maildrops WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def maildrop_names(self) -> list[str]:
        """Every maildrop of the archive."""
        return [name for (name,) in self.connection.execute("SELECT name FROM maildrops ORDER BY name")]

    # ---- messages

    def has_message(self, digest: Digest) -> bool:
        return self._one("SELECT 1 FROM messages WHERE digest = ?", digest) is not None

    def is_sound(self, digest: Digest) -> bool | None:
        """False if the file is known to be damaged, None if there is no such message."""
        row = self._one("SELECT damaged FROM messages WHERE digest = ?", digest)
        return None if row is None else not row[0]

    def soundness(self, digests: Sequence[Digest]) -> dict[Digest, bool]:
        """Which of these messages there are, and whether their files are sound as far as is known."""
        found: dict[Digest, bool] = {}
        for some in batches(digests):
            rows = self.connection.execute(
                f"SELECT digest, NOT damaged FROM messages WHERE digest IN ({', '.join('?' * len(some))})",  # noqa: S608
                some,
            )
            found.update((Digest(digest), bool(sound)) for digest, sound in rows)
        return found

    def damaged(self) -> Iterator[Digest]:
        for (digest,) in self.connection.execute("SELECT digest FROM messages WHERE damaged = 1 ORDER BY digest"):
            yield Digest(digest)

    def damaged_places_of_unfinished_runs(self) -> list[tuple[int, str, str, str]]:
        """(record, digest, maildrop, unique id) of places without a sound file that no ended run vouches for."""
        return self.connection.execute(
            "SELECT p.record, p.digest, d.name, p.unique_id FROM messages m CROSS JOIN places p ON p.digest = m.digest"
            " JOIN maildrops d ON d.id = p.maildrop JOIN runs r ON r.run = p.run WHERE m.damaged = 1 AND r.ended = ''"
            " AND r.started >= (SELECT coalesce(max(started), '') FROM runs WHERE ended != '') ORDER BY p.record"
        ).fetchall()

    def message_ids(self, ids: Sequence[str]) -> set[str]:
        """Which of these Message-IDs some message has. One look each, however many messages share one."""
        found: set[str] = set()
        for some in batches(ids):
            rows = self.connection.execute(
                f"WITH asked (name) AS (VALUES {', '.join(['(?)'] * len(some))}) SELECT name FROM asked"  # noqa: S608
                " WHERE name != '' AND EXISTS (SELECT 1 FROM messages WHERE message_id = name AND message_id != '')",
                some,
            )
            found.update(message_id for (message_id,) in rows)
        return found

    def has_other(self, message_id: str, digest: Digest) -> bool:
        """Whether a message of other octets has the same Message-ID."""
        query = "SELECT 1 FROM messages WHERE message_id = ? AND message_id != '' AND digest != ? LIMIT 1"
        return self._one(query, message_id, digest) is not None

    def internal_date(self, digest: Digest) -> InternalDate:
        """The earliest date of a message's places."""
        time, origin = self._one(
            "SELECT internal_date, internal_date_origin FROM places WHERE digest = ? ORDER BY internal_date LIMIT 1",
            digest,
        )
        return InternalDate(datetime.fromisoformat(time), DateOrigin(origin))

    # ---- places

    def has_parked(self, maildrop: int) -> bool:
        """Whether any message of this maildrop (by its row id) is parked."""
        return self._one("SELECT 1 FROM parked WHERE maildrop = ? LIMIT 1", maildrop) is not None

    def parked_elsewhere(self, maildrop: str, listed: Container[tuple[UniqueId, int]]) -> list[tuple[UniqueId, int]]:
        """Parked messages of a maildrop that are not among those `listed` now."""
        rows = self.connection.execute(
            "SELECT unique_id, listed FROM parked WHERE maildrop = ?", (self.maildrop_id(maildrop),)
        )
        return [(unique_id, octets) for unique_id, octets in rows if (unique_id, octets) not in listed]

    def place(self, maildrop: str, entry: MaildropEntry, digest: Digest) -> Place:
        """The last thing that is recorded of these octets at this entry, where they are known to be."""
        octets, complete, by, run, time, internal_date, origin = self._one(
            "SELECT octets, complete, identified_by, run, time, internal_date, internal_date_origin FROM places"
            " WHERE maildrop = ? AND unique_id = ? AND listed = ? AND digest = ? ORDER BY record DESC LIMIT 1",
            self.maildrop_id(maildrop),
            entry.unique_id,
            entry.octets,
            digest,
        )
        date = InternalDate(datetime.fromisoformat(internal_date), DateOrigin(origin))
        return Place(
            *(digest, octets, entry.octets, Complete(complete), maildrop, entry.unique_id, RunId(run)),
            time=datetime.fromisoformat(time),
            internal_date=date,
            by=by,
        )

    def places_before(self, record: int, place: Place) -> int:
        """How many records before number `record` are of exactly this message at exactly this entry."""
        row = self._one(
            "SELECT count(*) FROM places WHERE maildrop = ? AND unique_id = ? AND listed = ? AND digest = ?"
            " AND counted = 1 AND deleted = 0 AND record < ?",
            self.maildrop_id(place.maildrop),
            place.unique_id,
            place.listed,
            place.digest,
            record,
        )
        return int(row[0])

    def received(self, maildrop: str, unique_id: UniqueId, listed: int, record: int) -> list[tuple[Digest, Complete]]:
        """What is recorded at this entry from record number `record` on."""
        rows = self.connection.execute(
            "SELECT digest, complete FROM places WHERE maildrop = ? AND unique_id = ? AND listed = ? AND record >= ?"
            " ORDER BY record",
            (self.maildrop_id(maildrop), unique_id, listed, record),
        )
        return [(Digest(digest), Complete(complete)) for digest, complete in rows]

    def unreliable_sizes(self, maildrop: str) -> bool:
        """Whether this maildrop's server was found to list wrong sizes throughout."""
        row = self._one("SELECT unreliable_sizes FROM maildrops WHERE name = ?", maildrop)
        return bool(row and row[0])

    def _one(self, query: str, *values: object) -> Any:
        return self.connection.execute(query, values).fetchone()


def batches(values: Sequence[T], most: int = MOST_ASKED) -> Iterator[Sequence[T]]:
    """In parts of as many as one statement may name."""
    return (values[start : start + most] for start in range(0, len(values), most))
