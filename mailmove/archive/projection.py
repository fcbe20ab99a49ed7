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
from itertools import groupby

from mailmove.archive.appended_projection import is_appended, project_appended
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.delivery_projection import project_delivery
from mailmove.archive.place_projection import project_places, unpark
from mailmove.archive.records import Record
from mailmove.model import Complete, Digest, Headers

MESSAGES = ("add", "place")
"""The types of record that tell of a message at its place."""

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
    for in_bulk, some in groupby(entries, lambda entry: _bulk(entry.record)):
        if in_bulk:
            in_bulk(catalogue, some)
            continue
        for entry in some:
            project = _PROJECTIONS.get(entry.record["t"])
            if not project_delivery(catalogue, entry) and project is not None:
                project(catalogue, entry)


def _bulk(record: Record) -> Callable[[Catalogue, Iterable[Entry]], None] | None:
    """What projects records of this kind many at a time, if there is such a thing."""
    if record["t"] in MESSAGES:
        return project_places
    return project_appended if is_appended(record) else None


def _void(catalogue: Catalogue, entry: Entry) -> None:
    row = catalogue.connection.execute(
        "DELETE FROM places WHERE record = ? RETURNING maildrop, digest, octets, counted, complete, settled, present",
        (entry.record["record"],),
    ).fetchone()
    if row is None:
        return
    maildrop, digest, octets, counted, complete, settled, present = row
    suspect = complete == Complete.NO and not settled
    catalogue.count(maildrop, places=-counted, octets=-octets * counted, suspects=-int(suspect), present=-present)
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
    unpark(catalogue, maildrop, record["unique_id"], record["listed"])
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
    """A message that is not here is gone; or, with `ids`, archived ones are listed no more (`back`: are again)."""
    record = entry.record
    maildrop = catalogue.maildrop(record["maildrop"])
    if "ids" not in record:
        unpark(catalogue, maildrop, record["unique_id"], record["listed"])
        return
    present = bool(record.get("back", False))
    changed = sum(
        catalogue.connection.execute(
            "UPDATE places SET present = ?1 WHERE maildrop = ?2 AND unique_id = ?3 AND listed = ?4 AND counted = 1"
            " AND deleted = 0 AND present != ?1",
            (present, maildrop, unique_id, listed),
        ).rowcount
        for unique_id, listed in record["ids"]
    )
    catalogue.count(maildrop, present=changed if present else -changed)


def _delete(catalogue: Catalogue, entry: Entry) -> None:
    """Deletions on the server: asked for, then confirmed by QUIT, or found not made."""
    record = entry.record
    maildrop = catalogue.maildrop(record["maildrop"])
    for unique_id, listed, digest in record["places"]:
        _DELETIONS[record["event"]](catalogue, entry.index, (maildrop, unique_id, listed, digest))
    if record["event"] == "asked":
        catalogue.connection.execute(
            "UPDATE maildrops SET delete_after = ? WHERE id = ?", (record["delete_after"], maildrop)
        )


def _delete_asked(catalogue: Catalogue, index: int, place: tuple[int, str, int, str]) -> None:
    catalogue.connection.execute(
        "UPDATE places SET delete_asked = ? WHERE maildrop = ? AND unique_id = ? AND listed = ? AND digest = ?"
        " AND deleted = 0",
        (index, *place),
    )


def _delete_confirmed(catalogue: Catalogue, index: int, place: tuple[int, str, int, str]) -> None:
    """Every place of the entry is gone with it, whatever copies of it were recorded."""
    rows = catalogue.connection.execute(
        "SELECT record, counted, present FROM places WHERE maildrop = ? AND unique_id = ? AND listed = ?"
        " AND deleted = 0 AND (unique_id != '' OR digest = ?)",
        place,
    ).fetchall()
    for record, counted, present in rows:
        catalogue.connection.execute(
            "UPDATE places SET deleted = ?, delete_asked = 0, present = 0 WHERE record = ?", (index, record)
        )
        catalogue.count(place[0], present=-present, deleted=counted)


def _delete_withdrawn(catalogue: Catalogue, index: int, place: tuple[int, str, int, str]) -> None:
    catalogue.connection.execute(
        "UPDATE places SET delete_asked = 0 WHERE maildrop = ? AND unique_id = ? AND listed = ? AND digest = ?", place
    )


_DELETIONS: Mapping[str, Callable[[Catalogue, int, tuple[int, str, int, str]], None]] = {
    "asked": _delete_asked,
    "confirmed": _delete_confirmed,
    "withdrawn": _delete_withdrawn,
}


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
        unpark(catalogue, maildrop, record["unique_id"], record["listed"])
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
    "void": _void,
    "park": _park,
    "gone": _gone,
    "delete": _delete,
    "skip": _skip,
    "run": _run,
}
