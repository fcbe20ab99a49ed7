"""What an archive holds and what waits for a decision, for `status` and `skip`: questions, no changes.

Strategy: counters are maintained by the projection, so this takes no time that grows with the archive; what is listed
one by one (parked, suspect, damaged) is bounded. For these the index is named: to have them in order, SQLite would
rather read the whole table in its order, and find none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.log import Log

LISTED = 1000
RUNS = 10

_SUSPECTS = (
    "SELECT m.name AS maildrop, p.unique_id, p.digest, p.octets, p.listed, p.run, p.time FROM places p"
    " INDEXED BY places_suspect JOIN maildrops m ON m.id = p.maildrop WHERE p.complete = 'false' AND p.settled = 0"
)
_PARKED = (
    "SELECT m.name AS maildrop, k.unique_id, k.listed, k.cause, k.code, k.run, k.time,"
    " coalesce(t.text, '') AS server_text FROM parked k JOIN maildrops m ON m.id = k.maildrop"
    " LEFT JOIN server_texts t ON t.maildrop = m.name AND t.unique_id = k.unique_id WHERE 1"
)

_DELIVERIES = (
    "SELECT b.target, b.mailbox, d.state AS kind, d.digest, d.cause, d.code, d.run, d.time,"
    " coalesce(t.text, '') AS server_text FROM deliveries d INDEXED BY deliveries_open"
    " JOIN target_mailboxes b ON b.id = d.mailbox"
    " LEFT JOIN target_texts t ON t.target = b.target AND t.mailbox = b.mailbox AND t.digest = d.digest"
    " WHERE d.state != 'delivered' AND d.state IN ('parked', 'uncertain')"
)
_TARGETS = (
    "SELECT target, mailbox, delivered, parked, uncertain, skipped, intended FROM target_mailboxes"
    " ORDER BY target, mailbox"
)
_RUNS = "SELECT * FROM runs ORDER BY started DESC, run DESC LIMIT ?"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts are messages and octets; lists hold at most LISTED rows."""

    messages: int
    octets: int
    damaged: int
    maildrops: list[Row] = field(default_factory=list)
    parked: list[Row] = field(default_factory=list)
    suspects: list[Row] = field(default_factory=list)
    damaged_messages: list[str] = field(default_factory=list)
    targets: list[Row] = field(default_factory=list)
    undelivered: list[Row] = field(default_factory=list)
    runs: list[Row] = field(default_factory=list)
    uncatalogued: int = 0


def summarise(catalogue: Catalogue | None, log: Log) -> Summary:
    """The state of an archive as its catalogue has it; without a catalogue, nothing is known before the next run."""
    if catalogue is None:
        return Summary(0, 0, 0, uncatalogued=sum(log.segments().values()))
    (totals,) = rows(catalogue, "SELECT messages, octets, damaged FROM totals")
    return Summary(
        **totals,
        maildrops=rows(catalogue, "SELECT name, places, octets, suspects, parked FROM maildrops ORDER BY name"),
        parked=rows(catalogue, f"{_PARKED} ORDER BY k.record LIMIT {LISTED}"),
        suspects=rows(catalogue, f"{_SUSPECTS} ORDER BY p.record LIMIT {LISTED}"),
        damaged_messages=[digest for digest, _ in zip(catalogue.damaged(), range(LISTED), strict=False)],
        targets=rows(catalogue, _TARGETS),
        undelivered=rows(catalogue, f"{_DELIVERIES} ORDER BY d.id LIMIT {LISTED}"),
        runs=[_run(row) for row in rows(catalogue, _RUNS, RUNS)],
        uncatalogued=max(0, sum(log.segments().values()) - sum(catalogue.segments().values())),
    )


def parked_with(catalogue: Catalogue, unique_id: str) -> list[Row]:
    """Parked messages of this unique id, in all maildrops."""
    return rows(catalogue, f"{_PARKED} AND k.unique_id = ?", unique_id)


def suspects_with(catalogue: Catalogue, identity: str) -> list[Row]:
    """Suspects of this unique id, or whose digest begins so."""
    return rows(catalogue, f"{_SUSPECTS} AND (p.unique_id = ? OR substr(p.digest, 1, ?) = ?)",
                identity, max(len(identity), 8), identity.lower())  # fmt: skip


def deliveries_with(catalogue: Catalogue, target: str, digest: str) -> list[Row]:
    """Parked and uncertain deliveries to a target whose digest begins so."""
    return rows(catalogue, f"{_DELIVERIES} AND b.target = ? AND substr(d.digest, 1, ?) = ?",
                target, len(digest), digest.lower())  # fmt: skip


def rows(catalogue: Catalogue, query: str, *values: object) -> list[Row]:
    cursor = catalogue.connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _run(row: Row) -> Row:
    return row | {"counts": json.loads(row["counts"])}
