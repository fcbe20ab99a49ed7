"""Receipts in bulk: `deliver` records of messages that a target took, one after another (see delivery_projection.py).

Strategy: these are nearly all records of a replay. One statement settles a row, and the counters of a mailbox change
once for all of them; the outcome is the same as one by one. A record without the row it should settle is left to the
general way.
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


def is_appended(record: Record) -> bool:
    """Whether a record says that the target took a message that was announced."""
    return record["t"] == "deliver" and record.get("by") == "append" and "intend" in record and "was" not in record


def project_appended(catalogue: Catalogue, entries: Iterable[Entry]) -> None:
    """Projects records for which `is_appended` holds. Inside a transaction."""
    for _, some in groupby(entries, lambda entry: (entry.record["target"], entry.record["mailbox"])):
        _project(catalogue, list(some))


def _project(catalogue: Catalogue, entries: list[Entry]) -> None:
    mailbox, settled, windows = mailbox_of(catalogue, entries[0].record), 0, dict[str, str]()
    for entry in entries:
        begun = _settle(catalogue, mailbox, entry.record)
        if begun is None:
            project_delivery(catalogue, entry)
        else:
            settled += 1
            windows[begun] = max(windows.get(begun, ""), entry.record["time"])
    catalogue.connection.execute(
        "UPDATE target_mailboxes SET intended = intended - ?1, delivered = delivered + ?1,"
        " slowest_window = max(slowest_window, ?2) WHERE id = ?3",
        (settled, max((_seconds(*times) for times in windows.items()), default=0.0), mailbox),
    )


def _settle(catalogue: Catalogue, mailbox: int, record: Record) -> str | None:
    """When the delivery was announced; None if there is no such row."""
    found = catalogue.connection.execute(
        "UPDATE deliveries SET state = 'delivered', uidvalidity = ?, uid = ?, how = 'append', internal_date = ?,"
        " internal_date_origin = ?, cause = '', code = '' WHERE id = (SELECT id FROM deliveries WHERE mailbox = ?"
        " AND digest = ? AND state = 'intended' AND intend = ? ORDER BY id LIMIT 1) RETURNING time",
        (
            record["uidvalidity"],
            record["uid"],
            record.get("internal_date", ""),
            record.get("internal_date_origin", ""),
            mailbox,
            record["digest"],
            record["intend"],
        ),
    ).fetchall()
    return str(found[0][0]) if found else None


def _seconds(begin: str, end: str) -> float:
    return max(0.0, (parse_timestamp(end) - parse_timestamp(begin)).total_seconds())
