"""The catalogue: archive.db, a projection of mail/ and log/ (design.md section 5).

Strategy: one explicit transaction a group, durable (WAL with synchronous=FULL) when it returns. Projected tables are
written by projection.py only; here are the connection, the log position and the counters; what may be asked is in
questions.py.
"""

from __future__ import annotations

import contextlib
import importlib
import operator
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

from mailmove import __version__
from mailmove.archive.log import Position
from mailmove.archive.questions import Questions
from mailmove.errors import ArchiveOutdated, ArchiveTooNew
from mailmove.model import Digest, Headers, RunId

SCHEMA_VERSION = 7
"""How many migrations schema.py has; in the database it is SQLite's user_version."""

NOTHING: tuple[int, ...] = (0, 0, 0, 0)
NO_COUNTS: tuple[int, ...] = (0, 0, 0, 0, 0, 0)

CHECKPOINT = 4000
"""Pages in the WAL before it is written back: 16 MB. A group changes most pages of four indexes, again and again."""

CACHE = 8000
"""KiB of pages kept in memory: the indexes of a first pull's first 10,000 messages."""


class Catalogue(Questions):
    """One open archive.db."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._counts: dict[int, tuple[int, ...]] = {}
        self._totals = NOTHING

    @classmethod
    def open(cls, path: Path) -> Catalogue:
        """For the one writer, made when missing. Raises ArchiveTooNew, sqlite3.DatabaseError if it is no database."""
        # Two threads use it in turn, never at a time: the pull's, and the one that commits (jobs/committer.py).
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
        connection.execute(f"PRAGMA cache_size = {-CACHE}")
        _migrate(connection)
        return cls(connection)

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """For a reader, who takes no lock and changes nothing.

        Raises ArchiveTooNew, ArchiveOutdated, sqlite3.OperationalError if there is none.
        """
        connection = sqlite3.connect(only_read(path), uri=True, isolation_level=None)
        try:
            with contextlib.suppress(sqlite3.Error):  # it is told of by the first question that matters
                check_schema(connection, path)
        except BaseException:
            connection.close()
            raise
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

    # ---- what is no record of its own

    def mark(self, digest: Digest, headers: Headers, *, damaged: bool) -> None:
        """A message's file was found damaged, or sound again. Inside a transaction."""
        self.connection.execute(
            "UPDATE messages SET damaged = ?, message_id = ?, date = ?, subject = ?, sender = ?, recipients = ?,"
            " headers_readable = ?, fingerprint = ? WHERE digest = ?",
            (damaged, *storable(headers), headers.readable, headers.fingerprint, digest),
        )
        self.total(damaged=1 if damaged else -1)

    def remember_text(self, maildrop: str, unique_id: str, run: RunId, text: str) -> None:
        """Advice: what a server said of a message. Inside a transaction."""
        self.connection.execute(
            "INSERT OR REPLACE INTO server_texts VALUES (?, ?, ?, ?)", (maildrop, unique_id, run, text)
        )


def prepare() -> None:
    """Loads what only making a catalogue needs, beside whatever the caller waits for meanwhile."""
    threading.Thread(target=importlib.import_module, args=("mailmove.archive.schema",)).start()


def only_read(path: Path) -> str:
    """SQLite's URI of a database that is only read, also where nothing can be written.

    Beside a database in WAL mode SQLite makes two files, be it only read. On a read-only disk, or in a folder of
    somebody else, it is taken as it is, if there is no WAL: then all of it is in its one file (sqlite.org/wal.html).
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    there_is_more = Path(f"{path}-wal").exists()
    return uri if there_is_more or os.access(path.resolve().parent, os.W_OK) else f"{uri}&immutable=1"


def schema_of(connection: sqlite3.Connection, name: str = "main") -> int:
    """How many of schema.py's migrations a database has had; 0: none, and it may be empty or no catalogue.

    The number that SQLite keeps says so at once. Where it is not ours the list of migrations is asked, since one
    flipped bit must not make a catalogue look as if it came from another time.
    """
    if connection.execute(f"PRAGMA {name}.user_version").fetchone()[0] == SCHEMA_VERSION:
        return SCHEMA_VERSION
    there = f"SELECT 1 FROM {name}.sqlite_master WHERE name = '_sqlite_migrations'"  # noqa: S608 - a name of ours
    if connection.execute(there).fetchone() is None:
        return 0
    return int(connection.execute(f"SELECT count(*) FROM {name}._sqlite_migrations").fetchone()[0])  # noqa: S608


def check_schema(connection: sqlite3.Connection, path: Path, name: str = "main") -> None:
    """For readers, who change nothing. Raises ArchiveTooNew, ArchiveOutdated."""
    schema = schema_of(connection, name)
    if schema > SCHEMA_VERSION:
        raise _too_new(path)
    if 0 < schema < SCHEMA_VERSION:
        raise ArchiveOutdated(
            f"{path} is of an earlier mailmove; the next `mailmove pull`, or any other command that writes to the "
            "archive, brings it up to date and keeps the old one in quarantine/."
        )


def _too_new(path: object) -> ArchiveTooNew:
    return ArchiveTooNew(f"{path} was written by a newer mailmove than this {__version__}: use that one, or a later.")


def _migrate(connection: sqlite3.Connection) -> None:
    """Makes or brings up to date the tables. What does it is imported only where there is something to do."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        return
    if schema_of(connection) > SCHEMA_VERSION:
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        raise _too_new(path)
    from mailmove.archive.schema import migrate

    migrate(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _sum(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(operator.add, left, right))


def storable(headers: Headers) -> tuple[str, ...]:
    """Header texts without lone surrogates, which SQLite refuses."""
    texts = (headers.message_id, headers.date, headers.subject, headers.sender, headers.recipients)
    return tuple(text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts)
