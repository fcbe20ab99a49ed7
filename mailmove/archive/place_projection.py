"""Log records about messages become rows: `add` and `place`, of which a pull writes hundreds at a time.

Strategy: what follows each other in the log is projected together, with one statement for many rows: each statement
lets go of Python's lock and has to get it back, and a pull has two more threads that want it. Only what depends on the
rows before it goes alone: a message that is there already, and an entry that came in again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mailmove.archive.catalogue import Catalogue, storable
from mailmove.archive.questions import batches
from mailmove.archive.records import Place
from mailmove.model import Complete, Digest, Headers

if TYPE_CHECKING:
    from mailmove.archive.projection import Entry

UNREADABLE = Headers(readable=False)

MESSAGES = (
    "INSERT INTO messages (digest, octets, message_id, date, subject, sender, recipients, headers_readable,"
    " fingerprint, record, damaged) VALUES "
)
PLACES = (
    "INSERT INTO places (record, digest, maildrop, unique_id, octets, listed, complete, identified_by, run, time,"
    " internal_date, internal_date_origin, counted, present) VALUES "
)
ROWS = 60
"""In one statement: SQLite before 3.32 takes 999 values."""

Row = tuple[Any, ...]


def project_places(catalogue: Catalogue, entries: Iterable[Entry]) -> None:
    """Projects `add` and `place` records that follow each other. Inside a transaction."""
    found = [(entry, Place.of(entry.record)) for entry in entries]
    _messages(catalogue, found)
    for name in dict.fromkeys(place.maildrop for _, place in found):
        maildrop = catalogue.maildrop(name)
        _places(catalogue, maildrop, [(entry.index, place) for entry, place in found if place.maildrop == name])


def _messages(catalogue: Catalogue, found: Sequence[tuple[Entry, Place]]) -> None:
    sound = catalogue.soundness([place.digest for _, place in found])
    rows: dict[Digest, Row] = {}
    others: list[tuple[Entry, Digest]] = []
    for entry, place in found:
        if place.digest in sound or place.digest in rows:
            others.append((entry, place.digest))
        else:
            rows[place.digest] = _message(entry, place)
    _insert(catalogue.connection, MESSAGES, list(rows.values()))
    octets, damaged = sum(row[1] for row in rows.values()), sum(row[-1] for row in rows.values())
    catalogue.total(messages=len(rows), octets=octets, damaged=damaged)
    for entry, digest in others:
        if catalogue.is_sound(digest) == (entry.headers is None):
            catalogue.mark(digest, entry.headers or UNREADABLE, damaged=entry.headers is None)


def _message(entry: Entry, place: Place) -> Row:
    headers = entry.headers or UNREADABLE
    row = (place.digest, place.octets, *storable(headers), headers.readable, headers.fingerprint)
    return (*row, entry.index, entry.headers is None)


def _places(catalogue: Catalogue, maildrop: int, found: Sequence[tuple[int, Place]]) -> None:
    """Those of one maildrop."""
    rows: list[Row] = []
    for index, place in found:
        if place.again:
            _insert(catalogue.connection, PLACES, rows)
            rows = []
            _drop_suspicion(catalogue, maildrop, place)
        rows.append(_place(index, maildrop, place))
    _insert(catalogue.connection, PLACES, rows)
    _count(catalogue, maildrop, [place for _, place in found])
    if catalogue.has_parked(maildrop):
        for _, place in found:
            unpark(catalogue, maildrop, place.unique_id, place.listed)


def _place(index: int, maildrop: int, place: Place) -> Row:
    return (
        index,
        place.digest,
        maildrop,
        place.unique_id,
        place.octets,
        place.listed,
        place.complete.value,
        place.by,
        place.run,
        place.time.isoformat(),
        place.internal_date.time.isoformat(),
        place.internal_date.origin.value,
        not place.again,
        not place.again,
    )


def _count(catalogue: Catalogue, maildrop: int, places: Sequence[Place]) -> None:
    new = [place.octets for place in places if not place.again]
    suspects = sum(place.complete is Complete.NO for place in places)
    catalogue.count(maildrop, places=len(new), octets=sum(new), suspects=suspects, present=len(new))
    if any(place.complete is Complete.UNRELIABLE_SIZES for place in places):
        catalogue.connection.execute("UPDATE maildrops SET unreliable_sizes = 1 WHERE id = ?", (maildrop,))


def _drop_suspicion(catalogue: Catalogue, maildrop: int, place: Place) -> None:
    """The same entry came again: what the earlier copies of it were thought to be is settled by this record."""
    settled = catalogue.connection.execute(
        "UPDATE places SET settled = 1 WHERE maildrop = ? AND unique_id = ? AND listed = ? AND complete = 'false'"
        " AND settled = 0 AND (digest = ? OR ? != 'false')",
        (maildrop, place.unique_id, place.listed, place.digest, place.complete.value),
    ).rowcount
    catalogue.count(maildrop, suspects=-settled)


def unpark(catalogue: Catalogue, maildrop: int, unique_id: str, listed: int) -> None:
    """What was parked is settled now, if it was."""
    removed = catalogue.connection.execute(
        "DELETE FROM parked WHERE maildrop = ? AND unique_id = ? AND listed = ?", (maildrop, unique_id, listed)
    ).rowcount
    if removed:
        catalogue.count(maildrop, parked=-removed)


def _insert(connection: sqlite3.Connection, into: str, rows: Sequence[Row]) -> None:
    for some in batches(rows, ROWS):
        row = f"({', '.join('?' * len(some[0]))})"
        connection.execute(into + ", ".join([row] * len(some)), [value for row in some for value in row])
