"""search.db: its tables, and the pass that fills them (design.md section 5).

Strategy: the pass follows the catalogue's places by their log record, which only ever grows, and remembers in the same
transaction as each batch how far it has come: killed anywhere, the next pass goes on there. What is already in is told
by its digest and only has its date looked at again. Messages whose file is damaged are kept apart and tried again by
every pass. Two things make the pass begin at record 0 again, which costs one look-up a place: a log that does not hold
the last place seen, and a void. search.db may be lost at a power cut (synchronous=NORMAL keeps it sound); it is then
made anew, as it is when it is damaged or another version made it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailmove.archive.catalogue import check_schema, only_read
from mailmove.archive.failures import disk_error, is_full
from mailmove.archive.layout import Layout
from mailmove.archive.search.text import Readable
from mailmove.errors import ArchiveError, ArchiveFull, UsageError
from mailmove.model import Digest

VERSION = 1
"""SQLite's user_version of search.db; another one is made anew."""

BATCH = 200

_TABLES = """
    -- one row a message; date: when it arrived (UTC); state: whole, partly or headers, how much of it could be read.
    -- An id is never used again, for a row of contents cannot be taken out
    CREATE TABLE documents (
        id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, date TEXT NOT NULL,
        octets INTEGER NOT NULL, attachments INTEGER NOT NULL, state TEXT NOT NULL);
    CREATE INDEX documents_date ON documents (date, digest, octets, attachments);

    -- all words, by documents.id; the text itself is not kept. other: Message-ID, List-Id
    CREATE VIRTUAL TABLE contents USING fts5 (
        subject, sender, recipients, filenames, other, body, content = '', tokenize = 'unicode61 remove_diacritics 2');

    -- messages whose file could not be read; every pass tries again
    CREATE TABLE unreadable (digest TEXT PRIMARY KEY) WITHOUT ROWID;

    -- the catalogue's places were followed up to this one (number of its log record, and its message);
    -- voided = the catalogue's counter of voids at that time
    CREATE TABLE progress (record INTEGER NOT NULL, digest TEXT NOT NULL, voided INTEGER NOT NULL);
    INSERT INTO progress VALUES (-1, '', 0);
"""

_BEHIND = (
    "SELECT count(DISTINCT digest) FROM catalogue.places WHERE record > (SELECT record FROM progress)"
    " AND NOT EXISTS (SELECT 1 FROM documents WHERE documents.digest = places.digest)"
    " AND NOT EXISTS (SELECT 1 FROM unreadable WHERE unreadable.digest = places.digest)"
)
_UNREADABLE = "SELECT digest FROM unreadable JOIN catalogue.messages USING (digest) ORDER BY digest"
_REDATE = (
    "UPDATE documents SET date = (SELECT min(internal_date) FROM catalogue.places"
    " WHERE places.digest = documents.digest) WHERE digest = ?"
)


def path_of(layout: Layout) -> Path:
    """Where an archive's search.db is."""
    return layout.state / "search.db"


@contextlib.contextmanager
def search_errors(path: Path) -> Iterator[None]:
    """Turns what the disk and SQLite raise about search.db into ArchiveError."""
    try:
        yield
    except OSError as error:
        raise disk_error(path.parent, error) from error
    except sqlite3.Error as error:
        if is_full(error):
            raise ArchiveFull(f"The disk of {path} is full; free some space and run again.") from error
        raise ArchiveError(
            f"{path} or the catalogue beside it failed ({error}); if it persists, delete search.db and run "
            "`mailmove index`: no mail is in it."
        ) from error


def connect(layout: Layout, *, write: bool) -> sqlite3.Connection:
    """search.db with archive.db attached as `catalogue`, which is never written.

    Raises UsageError (no archive.db), ArchiveOutdated, ArchiveTooNew, sqlite3.Error.
    """
    if not layout.database.exists():
        raise UsageError(
            f"{layout.root} has no catalogue (archive.db) now; the next run makes it, then `mailmove index`."
        )
    path = path_of(layout)
    uri = f"{path.resolve().as_uri()}?mode=rwc" if write else only_read(path)
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("ATTACH ? AS catalogue", (only_read(layout.database),))
        check_schema(connection, layout.database, "catalogue")
    except BaseException:
        connection.close()
        raise
    return connection


@dataclass(frozen=True, slots=True)
class Found:
    """One message that was read, or whose file could not be."""

    digest: Digest
    text: Readable | None

    @property
    def characters(self) -> int:
        """Of its text, which is most of what a batch holds in memory."""
        return len(self.text.body) if self.text else 0


class Index:
    """search.db for the one process that fills it (jobs/index.py holds the lock)."""

    def __init__(self, connection: sqlite3.Connection, *, anew: bool) -> None:
        self._connection = connection
        self.anew = anew

    @classmethod
    @contextlib.contextmanager
    def open(cls, layout: Layout) -> Iterator[Index]:
        """Made when missing, and made anew when it cannot be used. Raises UsageError, ArchiveError, ArchiveFull."""
        path = path_of(layout)
        with search_errors(path):
            connection, anew = _usable(layout)
            try:
                index = cls(connection, anew=anew)
                index._follow_voids()
                yield index
            finally:
                connection.close()

    def ahead(self) -> tuple[int, int]:
        """How many places lie ahead, and their octets."""
        row = self._connection.execute(
            "SELECT count(*), coalesce(sum(octets), 0) FROM catalogue.places"
            " WHERE record > (SELECT record FROM progress)"
        ).fetchone()
        return int(row[0]), int(row[1])

    def unreadable(self) -> list[Digest]:
        """Messages whose file could not be read by an earlier pass and that the catalogue still has."""
        return unreadable(self._connection)

    def next(self) -> list[tuple[int, Digest, int, bool]]:
        """The next places: (record, digest, octets, whether the message is still to be read)."""
        rows = self._connection.execute(
            "SELECT record, digest, octets, NOT EXISTS (SELECT 1 FROM documents WHERE documents.digest = places.digest)"
            " FROM catalogue.places WHERE record > (SELECT record FROM progress) ORDER BY record LIMIT ?",
            (BATCH,),
        )
        return [(record, Digest(digest), octets, bool(new)) for record, digest, octets, new in rows]

    def add(self, found: Sequence[Found], again: Sequence[Digest] = (), last: tuple[int, Digest] | None = None) -> None:
        """One batch: messages that were read, known ones met at other places, and the last place it is about."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for one in found:
                self._add(one)
            connection.executemany(_REDATE, [(digest,) for digest in again])
            if last:
                connection.execute("UPDATE progress SET record = ?, digest = ?", last)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _add(self, one: Found) -> None:
        if one.text is None:
            self._connection.execute("INSERT OR IGNORE INTO unreadable VALUES (?)", (one.digest,))
            return
        text = one.text
        document = self._connection.execute(
            "INSERT INTO documents (digest, date, octets, attachments, state) SELECT digest, (SELECT min(internal_date)"
            " FROM catalogue.places WHERE places.digest = messages.digest), octets, ?, ? FROM catalogue.messages"
            " WHERE digest = ?",
            (text.attachments, text.state.value, one.digest),
        )
        if document.rowcount == 1:  # else it was voided meanwhile
            texts = (text.subject, text.sender, text.recipients, "\n".join(text.filenames), text.other, text.body)
            self._connection.execute(
                "INSERT INTO contents (rowid, subject, sender, recipients, filenames, other, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (document.lastrowid, *map(_storable, texts)),
            )
        self._connection.execute("DELETE FROM unreadable WHERE digest = ?", (one.digest,))

    def _follow_voids(self) -> None:
        """After a void, or beside another log: what the catalogue does not have goes, and all places are met again."""
        connection = self._connection
        record, digest, seen = connection.execute("SELECT record, digest, voided FROM progress").fetchone()
        (voided,) = connection.execute("SELECT voided FROM catalogue.totals").fetchone()
        same = connection.execute("SELECT digest FROM catalogue.places WHERE record = ?", (record,)).fetchone()
        if voided == seen and (record < 0 or same == (digest,)):
            return
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM documents WHERE digest NOT IN (SELECT digest FROM catalogue.messages)")
            connection.execute("DELETE FROM unreadable")
            connection.execute("UPDATE progress SET record = -1, digest = '', voided = ?", (voided,))


def _usable(layout: Layout) -> tuple[sqlite3.Connection, bool]:
    """A connection to a search.db of our version, and whether it had to be made anew in the place of another."""
    path = path_of(layout)
    anew = path.exists() and not _is_ours(path)
    if anew:
        for name in ("search.db", "search.db-wal", "search.db-shm", "search.db-journal"):
            (path.parent / name).unlink(missing_ok=True)
    connection = connect(layout, write=True)
    if version_of(connection) != VERSION:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    return connection, anew


def _is_ours(path: Path) -> bool:
    """Whether this is a database that we can go on with, or an empty one. Raises sqlite3.OperationalError."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        try:
            version = version_of(connection)
            if version == VERSION:
                connection.execute("SELECT record, digest, voided FROM progress").fetchone()
            return version in (0, VERSION)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False


def version_of(connection: sqlite3.Connection) -> int:
    """Which version of search.db this is; 0: none yet."""
    return int(connection.execute("PRAGMA main.user_version").fetchone()[0])


def behind(connection: sqlite3.Connection) -> int:
    """How many messages of the catalogue no pass has come to yet."""
    return int(connection.execute(_BEHIND).fetchone()[0])


def unreadable(connection: sqlite3.Connection) -> list[Digest]:
    """Messages of the catalogue whose file could not be read; the next pass tries again."""
    return [Digest(digest) for (digest,) in connection.execute(_UNREADABLE)]


def _storable(text: str) -> str:
    """Without lone surrogates, which SQLite refuses."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
