"""The catalogue: archive.db, a projection of mail/ and log/ (design.md section 5).

Strategy: one explicit transaction a group, durable (WAL with synchronous=FULL) when it returns. Projected tables are
written by projection.py only; here are the connection, the log position, the counters, and what may be asked.
"""

from __future__ import annotations

import contextlib
import importlib
import operator
import sqlite3
import threading
from collections.abc import Container, Iterator
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import Any

from mailmove.archive.log import Position
from mailmove.archive.records import Place
from mailmove.model import Complete, DateOrigin, Digest, Headers, InternalDate, MaildropEntry, RunId, UniqueId

SCHEMA_VERSION = 5
"""How many migrations schema.py has; in the database it is SQLite's user_version."""

NOTHING: tuple[int, ...] = (0, 0, 0, 0)
NO_COUNTS: tuple[int, ...] = (0, 0, 0, 0, 0, 0)


class Catalogue:
    """One open archive.db."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._maildrops: dict[str, int] = {}
        self._counts: dict[int, tuple[int, ...]] = {}
        self._totals = NOTHING

    @classmethod
    def open(cls, path: Path) -> Catalogue:
        """For the one writer, made or migrated as needed. Raises sqlite3.DatabaseError if it is no database."""
        # Two threads use it in turn, never at a time: the pull's, and the one that commits (jobs/committer.py).
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection)
        return cls(connection)

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """For a reader, who takes no lock and changes nothing. Raises sqlite3.OperationalError if there is none."""
        uri = path.resolve().as_uri()
        connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
        return cls(connection)

    @classmethod
    def temporary(cls, path: Path | str = "") -> Catalogue:
        """A private one that no crash need spare: at `path`, or on a file of SQLite's own that is gone when closed."""
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        _migrate(connection)
        return cls(connection)

    def close(self) -> None:
        self.connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and durable when left."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._write_counters()
        except BaseException:
            self._maildrops.clear()
            self._counts, self._totals = {}, NOTHING
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """For many questions at once: the database is locked for reading once, not for each of them."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("COMMIT")

    # ---- the log position

    @property
    def position(self) -> Position:
        row = self.connection.execute(
            "SELECT records, segment, octets, last_octets, last_hash, edge FROM position"
        ).fetchone()
        return Position(*row)

    def segments(self) -> dict[int, int]:
        """Segment number -> octets, as far as they are catalogued."""
        return dict(self.connection.execute("SELECT number, octets FROM segments"))

    def advance(self, position: Position) -> None:
        """Records that everything up to `position` is in. Inside a transaction."""
        self.connection.execute(
            "UPDATE position SET records = ?, segment = ?, octets = ?, last_octets = ?, last_hash = ?, edge = ?",
            astuple(position),
        )
        self.connection.execute(
            "INSERT INTO segments VALUES (?, ?) ON CONFLICT DO UPDATE SET octets = excluded.octets",
            (position.segment, position.octets),
        )

    # ---- counters and names

    def maildrop(self, name: str) -> int:
        """The row id of a maildrop, made when new. Inside a transaction."""
        if name not in self._maildrops:
            self.connection.execute("INSERT OR IGNORE INTO maildrops (name) VALUES (?)", (name,))
            self._maildrops[name] = self.maildrop_id(name)
        return self._maildrops[name]

    def maildrop_id(self, name: str) -> int:
        """The row id of a maildrop, 0 if it has none yet."""
        if name in self._maildrops:
            return self._maildrops[name]
        row = self.connection.execute("SELECT id FROM maildrops WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def maildrop_names(self) -> list[str]:
        """Every maildrop of the archive."""
        return [name for (name,) in self.connection.execute("SELECT name FROM maildrops ORDER BY name")]

    def count(
        self,
        maildrop: int,
        places: int = 0,
        octets: int = 0,
        suspects: int = 0,
        parked: int = 0,
        present: int = 0,
        deleted: int = 0,
    ) -> None:
        """Adds to a maildrop's counters. Inside a transaction, at whose end they are written."""
        before = self._counts.get(maildrop, NO_COUNTS)
        self._counts[maildrop] = _sum(before, (places, octets, suspects, parked, present, deleted))

    def total(self, messages: int = 0, octets: int = 0, damaged: int = 0, voided: int = 0) -> None:
        """Adds to the archive's counters. Inside a transaction, at whose end they are written."""
        self._totals = _sum(self._totals, (messages, octets, damaged, voided))

    def _write_counters(self) -> None:
        self.connection.executemany(
            "UPDATE maildrops SET places = places + ?, octets = octets + ?, suspects = suspects + ?,"
            " parked = parked + ?, present = present + ?, deleted = deleted + ? WHERE id = ?",
            [(*counts, maildrop) for maildrop, counts in self._counts.items() if counts != NO_COUNTS],
        )
        if self._totals != NOTHING:
            self.connection.execute(
                "UPDATE totals SET messages = messages + ?, octets = octets + ?, damaged = damaged + ?,"
                " voided = voided + ?",
                self._totals,
            )
        self._counts, self._totals = {}, NOTHING

    # ---- what may be asked

    def has_message(self, digest: Digest) -> bool:
        return self._one("SELECT 1 FROM messages WHERE digest = ?", digest) is not None

    def is_sound(self, digest: Digest) -> bool | None:
        """False if the file is known to be damaged, None if there is no such message."""
        row = self._one("SELECT damaged FROM messages WHERE digest = ?", digest)
        return None if row is None else not row[0]

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

    def mark(self, digest: Digest, headers: Headers, *, damaged: bool) -> None:
        """A message's file was found damaged, or sound again. Inside a transaction."""
        self.connection.execute(
            "UPDATE messages SET damaged = ?, message_id = ?, date = ?, subject = ?, sender = ?, recipients = ?,"
            " headers_readable = ?, fingerprint = ? WHERE digest = ?",
            (damaged, *storable(headers), headers.readable, headers.fingerprint, digest),
        )
        self.total(damaged=1 if damaged else -1)

    def has_other(self, message_id: str, digest: Digest) -> bool:
        """Whether a message of other octets has the same Message-ID."""
        query = "SELECT 1 FROM messages WHERE message_id = ? AND message_id != '' AND digest != ? LIMIT 1"
        return self._one(query, message_id, digest) is not None

    def remember_text(self, maildrop: str, unique_id: str, run: RunId, text: str) -> None:
        """Advice: what a server said of a message. Inside a transaction."""
        self.connection.execute(
            "INSERT OR REPLACE INTO server_texts VALUES (?, ?, ?, ?)", (maildrop, unique_id, run, text)
        )

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

    def internal_date(self, digest: Digest) -> InternalDate:
        """The earliest date of a message's places."""
        time, origin = self._one(
            "SELECT internal_date, internal_date_origin FROM places WHERE digest = ? ORDER BY internal_date LIMIT 1",
            digest,
        )
        return InternalDate(datetime.fromisoformat(time), DateOrigin(origin))

    def unreliable_sizes(self, maildrop: str) -> bool:
        """Whether this maildrop's server was found to list wrong sizes throughout."""
        row = self._one("SELECT unreliable_sizes FROM maildrops WHERE name = ?", maildrop)
        return bool(row and row[0])

    def _one(self, query: str, *values: object) -> Any:
        return self.connection.execute(query, values).fetchone()


def prepare() -> None:
    """Loads what only making a catalogue needs, beside whatever the caller waits for meanwhile."""
    threading.Thread(target=importlib.import_module, args=("mailmove.archive.schema",)).start()


def _migrate(connection: sqlite3.Connection) -> None:
    """Makes or brings up to date the tables. What does it is imported only where there is something to do."""
    if connection.execute("PRAGMA user_version").fetchone()[0] >= SCHEMA_VERSION:
        return
    from mailmove.archive.schema import migrate

    migrate(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _sum(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(operator.add, left, right))


def storable(headers: Headers) -> tuple[str, ...]:
    """Header texts without lone surrogates, which SQLite refuses."""
    texts = (headers.message_id, headers.date, headers.subject, headers.sender, headers.recipients)
    return tuple(text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts)
