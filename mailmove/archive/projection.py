"""Log records become rows: the only code that writes projected tables (design.md section 5).

Strategy: one function a record type. They see nothing but the records, in the order of the log, each with what its
message file says (headers, or None if the file is not sound). So the pull, opening after a crash, a rebuild and
`verify` come to the same rows. Unknown record types are ignored: a later version may have written them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mailmove.archive.catalogue import Catalogue, storable
from mailmove.archive.delivery_projection import project_delivery
from mailmove.archive.records import Place, Record
from mailmove.model import Complete, Digest, Headers

UNREADABLE = Headers(readable=False)

NOT_UNDERSTOOD = (
    *(KeyError, ValueError, TypeError, OverflowError),
    *(sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
)
"""What `apply` raises for a record that lacks what its type needs: the log is damaged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One log record on its way into the catalogue: its number, and what its file says (None: no sound file)."""

    index: int
    record: Record
    headers: Headers | None = None


def apply(catalogue: Catalogue, entries: Iterable[Entry]) -> None:
    """Projects records in the order of the log. Inside a transaction. Unknown types are ignored."""
    for entry in entries:
        project = _PROJECTIONS.get(entry.record["t"])
        if not project_delivery(catalogue, entry) and project is not None:
            project(catalogue, entry)


def _place(catalogue: Catalogue, entry: Entry) -> None:
    place = Place.of(entry.record)
    _message(catalogue, entry, place)
    maildrop = catalogue.maildrop(place.maildrop)
    if place.again:
        _drop_suspicion(catalogue, maildrop, place)
    _insert_place(catalogue, entry.index, maildrop, place)
    _unpark(catalogue, maildrop, place.unique_id, place.listed)


def _message(catalogue: Catalogue, entry: Entry, place: Place) -> None:
    headers = entry.headers or UNREADABLE
    damaged = entry.headers is None
    new = catalogue.connection.execute(
        "INSERT INTO messages (digest, octets, message_id, date, subject, sender, recipients, headers_readable,"
        " record, damaged) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING",
        (place.digest, place.octets, *storable(headers), headers.readable, entry.index, damaged),
    ).rowcount
    if new:
        catalogue.total(messages=1, octets=place.octets, damaged=int(damaged))
    elif catalogue.is_sound(place.digest) == damaged:
        catalogue.mark(place.digest, headers, damaged=damaged)


def _insert_place(catalogue: Catalogue, index: int, maildrop: int, place: Place) -> None:
    catalogue.connection.execute(
        "INSERT INTO places (record, digest, maildrop, unique_id, octets, listed, complete, identified_by, run, time,"
        " internal_date, internal_date_origin, counted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
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
        ),
    )
    suspect = place.complete is Complete.NO
    catalogue.count(maildrop, places=not place.again, octets=0 if place.again else place.octets, suspects=suspect)
    if place.complete is Complete.UNRELIABLE_SIZES:
        catalogue.connection.execute("UPDATE maildrops SET unreliable_sizes = 1 WHERE id = ?", (maildrop,))


def _drop_suspicion(catalogue: Catalogue, maildrop: int, place: Place) -> None:
    """The same entry came again: what the earlier copies of it were thought to be is settled by this record."""
    settled = catalogue.connection.execute(
        "UPDATE places SET settled = 1 WHERE maildrop = ? AND unique_id = ? AND listed = ? AND complete = 'false'"
        " AND settled = 0 AND (digest = ? OR ? != 'false')",
        (maildrop, place.unique_id, place.listed, place.digest, place.complete.value),
    ).rowcount
    catalogue.count(maildrop, suspects=-settled)


def _void(catalogue: Catalogue, entry: Entry) -> None:
    row = catalogue.connection.execute(
        "DELETE FROM places WHERE record = ? RETURNING maildrop, digest, octets, counted, complete, settled",
        (entry.record["record"],),
    ).fetchone()
    if row is None:
        return
    maildrop, digest, octets, counted, complete, settled = row
    suspect = complete == Complete.NO and not settled
    catalogue.count(maildrop, places=-counted, octets=-octets * counted, suspects=-int(suspect))
    catalogue.total(voided=1)
    if not catalogue.connection.execute("SELECT 1 FROM places WHERE digest = ? LIMIT 1", (digest,)).fetchone():
        _forget(catalogue, digest)


def _forget(catalogue: Catalogue, digest: Digest) -> None:
    octets, damaged = catalogue.connection.execute(
        "DELETE FROM messages WHERE digest = ? RETURNING octets, damaged", (digest,)
    ).fetchone()
    catalogue.total(messages=-1, octets=-octets, damaged=-damaged)


def _park(catalogue: Catalogue, entry: Entry) -> None:
    record = entry.record
    maildrop = catalogue.maildrop(record["maildrop"])
    _unpark(catalogue, maildrop, record["unique_id"], record["listed"])
    catalogue.connection.execute(
        "INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            maildrop,
            record["unique_id"],
            record["listed"],
            record["cause"],
            record.get("code", ""),
            record["run"],
            record["time"],
            entry.index,
        ),
    )
    catalogue.count(maildrop, parked=1)


def _gone(catalogue: Catalogue, entry: Entry) -> None:
    record = entry.record
    _unpark(catalogue, catalogue.maildrop(record["maildrop"]), record["unique_id"], record["listed"])


def _unpark(catalogue: Catalogue, maildrop: int, unique_id: str, listed: int) -> None:
    removed = catalogue.connection.execute(
        "DELETE FROM parked WHERE maildrop = ? AND unique_id = ? AND listed = ?", (maildrop, unique_id, listed)
    ).rowcount
    if removed:
        catalogue.count(maildrop, parked=-removed)


def _skip(catalogue: Catalogue, entry: Entry) -> None:
    record = entry.record
    maildrop, digest = catalogue.maildrop(record["maildrop"]), record.get("digest", "")
    if digest:
        settled = catalogue.connection.execute(
            "UPDATE places SET settled = 1 WHERE maildrop = ? AND digest = ? AND complete = 'false' AND settled = 0",
            (maildrop, digest),
        ).rowcount
        catalogue.count(maildrop, suspects=-settled)
    else:
        _unpark(catalogue, maildrop, record["unique_id"], record["listed"])
    catalogue.connection.execute(
        "INSERT INTO skips VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            entry.index,
            maildrop,
            record.get("unique_id", ""),
            record.get("listed", 0),
            digest,
            record["reason"],
            record["time"],
        ),
    )


def _run(catalogue: Catalogue, entry: Entry) -> None:
    record = entry.record
    if record["event"] == "begin":
        catalogue.connection.execute(
            "INSERT OR REPLACE INTO runs (run, job, maildrop, target, started) VALUES (?, ?, ?, ?, ?)",
            (record["run"], record["job"], record.get("maildrop", ""), record.get("target", ""), record["time"]),
        )
    else:
        catalogue.connection.execute(
            "UPDATE runs SET ended = ?, outcome = ?, counts = ? WHERE run = ?",
            (record["time"], record["outcome"], json.dumps(record.get("counts", {})), record["run"]),
        )


_PROJECTIONS: Mapping[str, Callable[[Catalogue, Entry], None]] = {
    "add": _place,
    "place": _place,
    "void": _void,
    "park": _park,
    "gone": _gone,
    "skip": _skip,
    "run": _run,
}
