"""archive.db made anew from mail/ and log/ (design.md section 5, P10).

Strategy: the new database is made beside the old one, under the writer's lock. Until it is whole and synced the old one
stays where it is, so a log that cannot be read, a full disk or a kill leaves the archive as it was. Then the old one
goes to quarantine/, with what belongs to it, and the new one takes its name. The order matters: a database without its
WAL can be wrong without a sign of it, and a WAL must never meet another database, so the database is moved first. A
crash right then leaves none, and SQLite drops a WAL beside no database: the next opening makes it anew once more.

A database of an earlier mailmove goes the same way: a copy of it is brought up to date and takes its place.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mailmove.archive.catalogue import SCHEMA_VERSION, Catalogue, schema_of
from mailmove.archive.durable import sync_directory, sync_file
from mailmove.archive.layout import Layout
from mailmove.archive.log import Log
from mailmove.archive.recovery import Recovered, Recovery, Taken

COMPANIONS = ("-wal", "-shm")
"""What SQLite keeps beside a database in WAL mode."""

_OCTETS = re.compile(rb'\{"t":"(?:add|place)".*?"octets":(\d{1,18})')


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made, and where the old database is now (None: there was none)."""

    recovered: Recovered
    kept: Path | None


def new_database(layout: Layout) -> Path:
    """Where it is made: no database of ours before it has its name."""
    return layout.database.with_name("archive.db.new")


def work_ahead(log: Log) -> tuple[int, int]:
    """How many records tell of a message, and of how many octets: roughly, in one look at the log."""
    messages = octets = 0
    for number in log.segments():
        with log.path(number).open("rb") as segment:
            for found in filter(None, map(_OCTETS.match, segment)):
                messages, octets = messages + 1, octets + int(found[1])
    return messages, octets


def rebuild(layout: Layout, log: Log, now: datetime, taken: Taken) -> Rebuilt:
    """Under the lock. What `taken` raises ends it, with nothing changed.

    Raises ArchiveDamaged if the log cannot be understood, OSError, sqlite3.Error; then the old database still stands.
    """
    path = new_database(layout)
    path.unlink(missing_ok=True)
    try:
        recovered = _make(path, layout, log, now, taken)
        _sync(path)
        return Rebuilt(recovered, _exchange(layout, path, now))
    finally:
        path.unlink(missing_ok=True)


def upgrade(layout: Layout, now: datetime) -> Path | None:
    """Brings an archive.db of an earlier mailmove up to date, under the lock; where the old one is kept.

    None: it was up to date, is none of ours, or there was none. Raises OSError, sqlite3.Error; then the old one stands.
    """
    if _stamp(layout.database) in (None, SCHEMA_VERSION):
        return None
    path = new_database(layout)
    try:
        if not _copy_if_earlier(layout.database, path):
            return None
        Catalogue.temporary(path).close()
        _sync(path)
        return _exchange(layout, path, now)
    finally:
        path.unlink(missing_ok=True)


def _copy_if_earlier(database: Path, path: Path) -> bool:
    """What is in its WAL included."""
    with contextlib.closing(sqlite3.connect(database)) as old:
        if not 0 < schema_of(old) < SCHEMA_VERSION:
            return False
        with contextlib.closing(sqlite3.connect(path)) as copy:
            old.backup(copy)
    return True


def _stamp(path: Path) -> int | None:
    """SQLite's user_version as the file has it, at octet 60 (sqlite.org/fileformat2.html); None: there is no file."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return int.from_bytes(file.read(64)[60:64], "big")
    return None


def _make(path: Path, layout: Layout, log: Log, now: datetime, taken: Taken) -> Recovered:
    with contextlib.closing(Catalogue.temporary(path)) as catalogue:
        return Recovery(layout, log, catalogue, now, anew=True, taken=taken).run()


def _exchange(layout: Layout, path: Path, now: datetime) -> Path | None:
    """The old database into quarantine/, the new one into its place."""
    old, folder = layout.database, layout.state / "quarantine"
    folder.mkdir(exist_ok=True)
    kept = folder / f"archive-{now:%Y%m%dT%H%M%S%f}.db"
    companions = [(Path(f"{old}{name}"), Path(f"{kept}{name}")) for name in COMPANIONS]
    companions = [(found, copy) for found, copy in companions if found.exists()]
    for found, copy in companions:
        shutil.copyfile(found, copy)
        _sync(copy)
    there = old.exists()
    if there:
        old.replace(kept)
    sync_directory(folder)
    sync_directory(layout.state)
    for found, _ in companions:
        found.unlink()
    sync_directory(layout.state)
    path.replace(old)
    sync_directory(layout.state)
    return kept if there else None


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        sync_file(fd)
    finally:
        os.close(fd)
