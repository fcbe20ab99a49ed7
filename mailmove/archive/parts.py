"""A selection in parts: which of its messages belong in which mailbox (design.md section 7, "Selection").

Strategy: it is places that are divided, not messages, since a message of two maildrops may belong in two mailboxes.
They are read in pages, in the order of the log, and only the number of each part is written down, in a temporary table:
what is in memory is one page and the names of the parts. Each place belongs to exactly one part. Where a message
belongs is the caller's to say; its date is the earliest it has in the selected maildrops, the one it is delivered with.
A replay into one mailbox needs none of this but the query that makes a selection, of the whole or of parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailmove.archive.catalogue import Catalogue
from mailmove.model import Digest

PAGE = 500
"""Places."""

Place = Callable[[datetime, str, str], str]
"""(InternalDate, maildrop, the From field for people) -> the wanted mailbox."""

CHOSEN = "digest IN (SELECT digest FROM temp.chosen)"
OF_MAILDROPS = "(:all_maildrops OR {}maildrop IN (SELECT value FROM json_each(:maildrops)))"
EARLIEST = (
    "(SELECT {} FROM places e WHERE e.digest = p.digest"
    " AND (:all_maildrops OR e.maildrop IN (SELECT value FROM json_each(:maildrops))))"
)

OF_PARTS = "record IN (SELECT record FROM temp.placed WHERE part IN (SELECT value FROM json_each(:parts)))"
IS_OF_PARTS = (
    "EXISTS (SELECT 1 FROM temp.placed o WHERE o.record = places.record"
    " AND o.part IN (SELECT value FROM json_each(:parts)))"
)
"""The same, for a place that is known already."""

PLACED = "CREATE TEMP TABLE placed (part INTEGER, record INTEGER, PRIMARY KEY (part, record)) WITHOUT ROWID"
SELECTION = (
    "CREATE TEMP TABLE IF NOT EXISTS selection (part INTEGER, number INTEGER, digest TEXT, octets INTEGER, date TEXT,"
    " suspect INTEGER, places INTEGER, copies INTEGER, delivered INTEGER, skipped INTEGER, parked INTEGER,"
    " uncertain INTEGER, PRIMARY KEY (part, number)) WITHOUT ROWID"
)
DATE = "min(e.internal_date || ' ' || e.internal_date_origin)"
SELECT = (
    "INSERT INTO temp.selection SELECT :part, p.record, p.digest, p.octets, {date}, p.suspect, p.places,"
    " CASE WHEN :keep THEN p.places ELSE 1 END, coalesce(d.delivered, 0), coalesce(d.skipped, 0),"
    " coalesce(d.parked, 0), coalesce(d.uncertain, 0) FROM (SELECT digest, octets, min(internal_date || ' ' ||"
    " internal_date_origin) AS date, sum(complete = 'false' AND settled = 0) > 0 AS suspect,"
    " max(1, sum(counted)) AS places, min(record) AS record FROM places WHERE {which} GROUP BY digest) p"
    " LEFT JOIN (SELECT digest, sum(state = 'delivered') AS delivered, sum(state = 'skipped') AS skipped,"
    " sum(state = 'parked') AS parked, sum(state = 'uncertain') AS uncertain FROM deliveries"
    " WHERE mailbox = :mailbox GROUP BY digest) d ON d.digest = p.digest ORDER BY p.record"
)
"""Makes the selection of the places for which `which` holds."""


@dataclass(frozen=True, slots=True)
class Part:
    """What belongs in one wanted mailbox. The number counts until the next `divide`."""

    number: int
    wanted: str


def choose(catalogue: Catalogue, digests: Iterable[Digest]) -> None:
    """From now on, selections of this catalogue have these messages only."""
    connection = catalogue.connection
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (digest TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.execute("DELETE FROM temp.chosen")
    connection.executemany("INSERT OR IGNORE INTO temp.chosen VALUES (?)", ((digest,) for digest in digests))


def is_chosen(catalogue: Catalogue) -> bool:
    """Whether `choose` was called."""
    query = "SELECT 1 FROM sqlite_temp_master WHERE name = 'chosen'"
    return catalogue.connection.execute(query).fetchone() is not None


def scope(catalogue: Catalogue, maildrops: Sequence[str]) -> dict[str, object]:
    """The values for OF_MAILDROPS; all of them if none is named."""
    ids = json.dumps([catalogue.maildrop_id(name) for name in maildrops])
    return {"all_maildrops": not maildrops, "maildrops": ids}


def divide(catalogue: Catalogue, maildrops: Sequence[str], place: Place) -> list[Part]:
    """Divides the selection of these maildrops (of all if none is named) by where its messages belong.

    The parts come by name; what is in one, `Deliveries` with its number selects. Takes the place of an earlier division
    of this catalogue.
    """
    connection = catalogue.connection
    connection.execute("DROP TABLE IF EXISTS temp.placed")
    connection.execute(PLACED)
    numbers: dict[str, int] = {}
    query, values, record = _query(catalogue), scope(catalogue, maildrops), -1
    while rows := connection.execute(query, values | {"after": record, "page": PAGE}).fetchall():
        record = rows[-1][0]
        connection.execute(
            "INSERT INTO temp.placed SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)",
            (json.dumps(_numbered(rows, place, numbers)),),
        )
    return [Part(number, wanted) for wanted, number in sorted(numbers.items())]


def _query(catalogue: Catalogue) -> str:
    """A page of places: (record, maildrop, From, earliest date), in an order that needs no index."""
    chosen = f" AND p.{CHOSEN}" if is_chosen(catalogue) else ""
    return (
        "SELECT p.record, d.name, coalesce(m.sender, ''),"  # noqa: S608 - words of ours only
        f" {EARLIEST.format('min(e.internal_date)')}"
        " FROM places p NOT INDEXED LEFT JOIN maildrops d ON d.id = p.maildrop"
        " LEFT JOIN messages m ON m.digest = p.digest"
        f" WHERE p.record > :after AND {OF_MAILDROPS.format('p.')}{chosen} ORDER BY p.record LIMIT :page"
    )


def _numbered(rows: Sequence[tuple[Any, ...]], place: Place, numbers: dict[str, int]) -> list[tuple[int, int]]:
    """(part, record) of each; a mailbox that is new gets the next number."""
    found = []
    for record, maildrop, sender, date in rows:
        wanted = place(datetime.fromisoformat(date), maildrop, sender)
        found.append((numbers.setdefault(wanted, len(numbers) + 1), record))
    return found


def selected(catalogue: Catalogue, maildrops: Sequence[str]) -> Iterator[tuple[Digest, list[int]]]:
    """Each selected message with the records of its places there; read as a whole, since the table may change."""
    chosen = f" AND p.{CHOSEN}" if is_chosen(catalogue) else ""
    query = (
        f"SELECT p.digest, json_group_array(p.record) FROM places p WHERE {OF_MAILDROPS.format('p.')}{chosen}"  # noqa: S608 - ours
        " GROUP BY p.digest ORDER BY min(p.record)"
    )
    for digest, records in catalogue.connection.execute(query, scope(catalogue, maildrops)).fetchall():
        yield Digest(digest), json.loads(records)


class Partition:
    """Writes down who gets what, where a place may belong to several parts; takes the place of an earlier division."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._connection = catalogue.connection
        self._connection.execute("DROP TABLE IF EXISTS temp.placed")
        self._connection.execute(PLACED)

    def add(self, part: int, records: Iterable[int]) -> None:
        """These places belong to this part."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO temp.placed VALUES (?, ?)", ((part, record) for record in records)
        )
