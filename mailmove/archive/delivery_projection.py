"""Log records about deliveries become rows: what was meant for a target, and what became of it (design.md section 7).

Strategy: one row a delivery. `intend` makes it, before anything is sent; `deliver`, `park` and `skip` settle it; `void`
takes it back, so that the message counts as not delivered. A record names target, mailbox and digest; equal rows are
interchangeable, so the first one in the expected state is meant, and every projection of a log gives the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.records import Record, parse_timestamp

if TYPE_CHECKING:
    from mailmove.archive.projection import Entry

UNCERTAIN = "uncertain"
"""The cause of a `park` record that means: a message like it is there, and nobody knows whether it is this one."""

ALTERED = "altered"
"""The cause of a delivery that was found to be altered where it lies."""


def project_delivery(catalogue: Catalogue, entry: Entry) -> bool:
    """Projects a record about a delivery; False if it is about something else."""
    project = _PROJECTIONS.get(entry.record["t"])
    if project is None or "target" not in entry.record:
        return False
    project(catalogue, entry, mailbox_of(catalogue, entry.record))
    return True


def mailbox_of(catalogue: Catalogue, record: Record) -> int:
    """The row of the mailbox that a record is about, made if missing."""
    key = (record["target"], record["mailbox"])
    catalogue.connection.execute("INSERT OR IGNORE INTO target_mailboxes (target, mailbox) VALUES (?, ?)", key)
    query = "SELECT id FROM target_mailboxes WHERE target = ? AND mailbox = ?"
    return int(catalogue.connection.execute(query, key).fetchone()[0])


def _count(catalogue: Catalogue, mailbox: int, state: str, change: int) -> None:
    catalogue.connection.execute(
        "UPDATE target_mailboxes SET intended = intended + ?2 * (?1 = 'intended'),"
        " delivered = delivered + ?2 * (?1 = 'delivered'), parked = parked + ?2 * (?1 = 'parked'),"
        " uncertain = uncertain + ?2 * (?1 = 'uncertain'), skipped = skipped + ?2 * (?1 = 'skipped') WHERE id = ?3",
        (state, change, mailbox),
    )


def _intend(catalogue: Catalogue, entry: Entry, mailbox: int) -> None:
    record = entry.record
    head = (entry.index, record["uidvalidity"], record["floor"], record["run"], record["time"])
    repaired = record.get("repaired", {})
    rows = [(mailbox, digest, *head, *_repairs(repaired.get(digest, {}))) for digest in record["digests"]]
    catalogue.connection.executemany(
        "INSERT INTO deliveries (mailbox, digest, state, intend, uidvalidity, floor, run, time, repairs, sent_digest)"
        " VALUES (?, ?, 'intended', ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    _count(catalogue, mailbox, "intended", len(rows))
    if "skip_present" in record:
        catalogue.connection.execute(
            "UPDATE target_mailboxes SET skip_present = ? WHERE id = ?", (bool(record["skip_present"]), mailbox)
        )


def _repairs(record: Record) -> tuple[str, str]:
    """How what was sent differs from the archive's file: columns of a delivery."""
    return ",".join(record.get("repairs", ())), record.get("sent_digest", "")


def _deliver(catalogue: Catalogue, entry: Entry, mailbox: int) -> None:
    record = entry.record
    row = _settle(catalogue, entry, mailbox, "delivered")
    catalogue.connection.execute(
        "UPDATE deliveries SET uidvalidity = ?, uid = ?, how = ?, internal_date = ?, internal_date_origin = ?,"
        " cause = '', code = ? WHERE id = ?",
        (
            record["uidvalidity"],
            record["uid"],
            record["by"],
            record.get("internal_date", ""),
            record.get("internal_date_origin", ""),
            record.get("code", ""),
            row,
        ),
    )
    if record["by"] == "present":  # whatever was tried before, what is there is the message itself
        catalogue.connection.execute("UPDATE deliveries SET repairs = '', sent_digest = '' WHERE id = ?", (row,))
    if record["by"] == "append" and "intend" in record:
        _time_window(catalogue, mailbox, record)


def _time_window(catalogue: Catalogue, mailbox: int, record: Record) -> None:
    """How long a window took here at worst: how long to wait for a server that may still be at work."""
    row = catalogue.connection.execute(
        "SELECT time FROM deliveries WHERE mailbox = ? AND digest = ? AND intend = ? LIMIT 1",
        (mailbox, record["digest"], record["intend"]),
    ).fetchone()
    if row is not None:
        seconds = _seconds(row[0], record["time"])
        catalogue.connection.execute(
            "UPDATE target_mailboxes SET slowest_window = max(slowest_window, ?) WHERE id = ?", (seconds, mailbox)
        )


def _seconds(begin: str, end: str) -> float:
    return max(0.0, (parse_timestamp(end) - parse_timestamp(begin)).total_seconds())


def _park(catalogue: Catalogue, entry: Entry, mailbox: int) -> None:
    record = entry.record
    row = _settle(catalogue, entry, mailbox, "uncertain" if record["cause"] == UNCERTAIN else "parked")
    catalogue.connection.execute(
        "UPDATE deliveries SET cause = ?, code = ?, uid = ? WHERE id = ?",
        (record["cause"], record.get("code", ""), record.get("uid", 0), row),
    )


def _skip(catalogue: Catalogue, entry: Entry, mailbox: int) -> None:
    if "digest" in entry.record:
        _settle(catalogue, entry, mailbox, "skipped", ("parked", "uncertain"))
    else:
        catalogue.connection.execute(
            "UPDATE target_mailboxes SET accepted_uidvalidity = ? WHERE id = ?",
            (entry.record["uidvalidity"], mailbox),
        )


def _void(catalogue: Catalogue, entry: Entry, mailbox: int) -> None:
    row = _row(catalogue, mailbox, entry.record, (entry.record["was"],))
    if row is not None:
        catalogue.connection.execute("DELETE FROM deliveries WHERE id = ?", (row[0],))
        _count(catalogue, mailbox, row[1], -1)


def _verify(catalogue: Catalogue, entry: Entry, mailbox: int) -> None:
    """What was found altered where it lies keeps its receipt; `replay --redeliver-missing` takes it for missing."""
    record = entry.record
    for places, cause in ((record.get("altered", ()), ALTERED), (record.get("sound", ()), "")):
        catalogue.connection.executemany(
            "UPDATE deliveries SET cause = ? WHERE mailbox = ? AND digest = ? AND state = 'delivered'"
            " AND uidvalidity = ? AND uid = ?",
            [(cause, mailbox, place["digest"], record["uidvalidity"], place["uid"]) for place in places],
        )


def _settle(
    catalogue: Catalogue, entry: Entry, mailbox: int, state: str, before: tuple[str, ...] = ("intended",)
) -> int:
    """Moves the row a record is about (the record's `was` names its state) to `state`, or makes it; returns its id."""
    record = entry.record
    row = _row(catalogue, mailbox, record, (str(record["was"]),) if "was" in record else before)
    if row is None:
        number = catalogue.connection.execute(
            "INSERT INTO deliveries (mailbox, digest, state, intend, run, time) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
            (mailbox, record["digest"], state, entry.index, record.get("run", ""), record["time"]),
        ).fetchone()[0]
    else:
        number = row[0]
        catalogue.connection.execute("UPDATE deliveries SET state = ? WHERE id = ?", (state, number))
        _count(catalogue, mailbox, row[1], -1)
    _count(catalogue, mailbox, state, 1)
    return int(number)


def _row(catalogue: Catalogue, mailbox: int, record: Record, states: tuple[str, ...]) -> tuple[int, str] | None:
    """(id, state) of the first delivery of this digest in one of `states`, and with the intention and UID it names."""
    found: tuple[int, str] | None = catalogue.connection.execute(
        "SELECT id, state FROM deliveries WHERE mailbox = ?1 AND digest = ?2"
        " AND state IN (SELECT value FROM json_each(?3)) AND (?4 IS NULL OR intend = ?4) AND (?5 IS NULL OR uid = ?5)"
        " AND (?6 IS NULL OR uidvalidity = ?6) ORDER BY id LIMIT 1",
        (
            mailbox,
            record["digest"],
            json.dumps(states),
            record.get("intend"),
            record.get("old_uid"),
            record.get("old_uidvalidity"),
        ),
    ).fetchone()
    return found


_PROJECTIONS: Mapping[str, Callable[[Catalogue, Entry, int], None]] = {
    "intend": _intend,
    "deliver": _deliver,
    "park": _park,
    "skip": _skip,
    "void": _void,
    "verify": _verify,
}
