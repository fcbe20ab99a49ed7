"""What a failing disk means: OSError and sqlite3.Error become ArchiveError, in this one place.

Strategy: jobs need to know neither errno nor sqlite3. Only three things can be done about a disk, so only three are
told apart: make room (ArchiveFull), let `archive.db` be rebuilt (ArchiveDamaged), or see to the disk or its permissions
(ArchiveError); each says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mailmove.errors import ArchiveDamaged, ArchiveError, ArchiveFull


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turns what the disk and SQLite raise into ArchiveError, naming the place and what to do."""
    try:
        yield
    except OSError as error:
        raise disk_error(root, error) from error
    except sqlite3.Error as error:
        raise _database_error(root, error) from error
    except UnicodeDecodeError as error:  # the name of a column in a damaged archive.db
        raise _database_error(root, sqlite3.DatabaseError(str(error))) from error


def disk_error(root: Path, error: OSError) -> ArchiveError:
    """The error to raise for what the disk of the archive at `root` raised."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(root)
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return ArchiveError(f"{error.filename or root} may not be written: {error.strerror}. Check its owner and mode.")
    return ArchiveError(f"The disk of {root} failed: {error.strerror or error}. Check the disk, then run again.")


def is_full(error: sqlite3.Error) -> bool:
    """Whether SQLite had no room to write, be it only for the index of the WAL, which a reader needs too."""
    return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def _database_error(root: Path, error: sqlite3.Error) -> ArchiveError:
    if is_full(error):
        return _full(root)
    if not isinstance(error, sqlite3.OperationalError) or "malformed" in str(error):
        return ArchiveDamaged(
            f"{root / 'archive.db'} is damaged ({error}). Run `mailmove rebuild`: it is made anew from mail/ and log/, "
            "and the old one is kept."
        )
    if _primary(error) == sqlite3.SQLITE_IOERR:
        return ArchiveError(f"The disk of {root} failed ({error}, in archive.db). Check the disk, then run again.")
    return ArchiveError(f"The catalogue of {root} failed: {error}. Run again; if it persists, `mailmove rebuild`.")


def _primary(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _full(root: Path) -> ArchiveFull:
    return ArchiveFull(f"The disk of {root} is full; free some space and run again: nothing stored is lost.")
