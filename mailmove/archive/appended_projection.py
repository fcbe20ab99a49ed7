"""Receipts in bulk: `deliver` records of messages that a target took, one after another (see delivery_projection.py).

Strategy: these are nearly all records of a replay. One statement settles a row, and the counters of a mailbox change
once for all of them; the outcome is the same as one by one. A record without the row it should settle is left to the
general way, with all that came with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.delivery_projection import mailbox_of, project_delivery
from mailmove.archive.records import Record, parse_timestamp

if TYPE_CHECKING:
    from mailmove.archive.projection import Entry


SETTLE = (
    "UPDATE deliveries SET state = 'delivered', uidvalidity = ?, uid = ?, how = 'append', internal_date = ?,"
    " internal_date_origin = ?, cause = '', code = ? WHERE id = (SELECT id FROM deliveries WHERE mailbox = ?"
    " AND digest = ? AND state = 'intended' AND intend = ? ORDER BY id LIMIT 1)"
)


def is_appended(record: Record) -> bool:
    """Whether a record says that the target took a message that was announced."""
    return record["t"] == "deliver" and record.get("by") == "append" and "intend" in record and "was" not in record


def project_appended(catalogue: Catalogue, entries: Iterable[Entry]) -> None:
    """Projects records for which `is_appended` holds. Inside a transaction."""
    for _, some in groupby(entries, lambda entry: (entry.record["target"], entry.record["mailbox"])):
        _project(catalogue, list(some))


def _project(catalogue: Catalogue, entries: list[Entry]) -> None:
    mailbox = mailbox_of(catalogue, entries[0].record)
    times = _times(catalogue, mailbox, entries)
    if not _settle(catalogue, mailbox, entries):
        for entry in entries:
            project_delivery(catalogue, entry)
        return
    catalogue.connection.execute(
        "UPDATE target_mailboxes SET intended = intended - ?1, delivered = delivered + ?1,"
        " slowest_window = max(slowest_window, ?2) WHERE id = ?3",
        (len(entries), max((_seconds(*window) for window in times), default=0.0), mailbox),
    )


def _settle(catalogue: Catalogue, mailbox: int, entries: list[Entry]) -> bool:
    """Settles one row for each; if one is not there, all is as it was, and False."""
    connection = catalogue.connection
    connection.execute("SAVEPOINT appended")
    settled = connection.executemany(SETTLE, [_values(mailbox, entry.record) for entry in entries]).rowcount
    if settled != len(entries):
        connection.execute("ROLLBACK TO appended")
    connection.execute("RELEASE appended")
    return settled == len(entries)


def _values(mailbox: int, record: Record) -> tuple[object, ...]:
    date, origin = record.get("internal_date", ""), record.get("internal_date_origin", "")
    settled = record["uidvalidity"], record["uid"], date, origin, record.get("code", "")
    return *settled, mailbox, record["digest"], record["intend"]


def _times(catalogue: Catalogue, mailbox: int, entries: list[Entry]) -> list[tuple[str, str]]:
    """When each announcement was made, and when the last of its messages here had arrived."""
    last: dict[int, Record] = {}
    for entry in entries:
        other = last.get(entry.record["intend"])
        if other is None or other["time"] < entry.record["time"]:
            last[entry.record["intend"]] = entry.record
    query = "SELECT time FROM deliveries WHERE mailbox = ? AND digest = ? AND intend = ? LIMIT 1"
    begun = [
        (catalogue.connection.execute(query, (mailbox, record["digest"], intend)).fetchone(), record["time"])
        for intend, record in last.items()
    ]
    return [(row[0], end) for row, end in begun if row is not None]


def _seconds(begin: str, end: str) -> float:
    return max(0.0, (parse_timestamp(end) - parse_timestamp(begin)).total_seconds())
