"""Holds archive.db against what the log says it must be, and takes out what the message files are to confirm.

Strategy: SQLite's own check first, since rows of a broken database prove nothing. Then every projected column is
compared with a projection made just now from the log alone. What comes from the headers of the messages cannot be known
yet: it is copied aside (`set_aside`), and held against each file when that file is read anyway. Advice is not compared:
it may be lost. All is asked within one read transaction, so that a run under way does not change the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest

from mailmove.archive.catalogue import Catalogue, storable
from mailmove.archive.findings import Finding
from mailmove.archive.log import Position
from mailmove.archive.place_projection import UNREADABLE
from mailmove.model import Digest, Headers

REMEDY = "run `mailmove rebuild`"
LISTED = 10

COMPARED = {
    "messages": "SELECT digest, octets, record FROM messages ORDER BY digest",
    "places": "SELECT p.record, p.digest, m.name, p.unique_id, p.octets, p.listed, p.complete, p.identified_by, p.run,"
    " p.time, p.internal_date, p.internal_date_origin, p.mailbox, p.flags, p.keywords, p.counted, p.settled,"
    " p.present, p.delete_asked, p.deleted FROM places p JOIN maildrops m ON m.id = p.maildrop ORDER BY p.record",
    "maildrops": "SELECT name, places, octets, suspects, parked, unreliable_sizes, present, deleted, delete_after"
    " FROM maildrops ORDER BY name",
    "parked": "SELECT m.name, k.unique_id, k.listed, k.cause, k.code, k.run, k.time, k.record FROM parked k"
    " JOIN maildrops m ON m.id = k.maildrop ORDER BY k.record, m.name, k.unique_id",
    "skips": "SELECT s.record, m.name, s.unique_id, s.listed, s.digest, s.reason, s.time FROM skips s"
    " JOIN maildrops m ON m.id = s.maildrop ORDER BY s.record",
    "runs": "SELECT run, job, maildrop, target, started, ended, outcome, counts FROM runs ORDER BY run",
    "totals": "SELECT messages, octets, voided FROM totals",
    "target_mailboxes": "SELECT target, mailbox, intended, delivered, parked, uncertain, skipped, skip_present,"
    " accepted_uidvalidity, slowest_window FROM target_mailboxes ORDER BY target, mailbox",
    "deliveries": "SELECT b.target, b.mailbox, d.digest, d.state, d.intend, d.uidvalidity, d.floor, d.uid, d.how,"
    " d.cause, d.code, d.run, d.time, d.internal_date, d.internal_date_origin, d.repairs, d.sent_digest"
    " FROM deliveries d"
    " JOIN target_mailboxes b ON b.id = d.mailbox ORDER BY d.intend, d.digest, d.id",
}
"""Table -> what the log alone determines, in an order of its own: surrogate ids may differ after a rebuild."""

_DAMAGED = (
    "SELECT damaged, counted FROM totals, (SELECT count(*) AS counted FROM messages WHERE damaged != 0)"
    " WHERE damaged != counted"
)
_DESCRIBED = (
    "SELECT digest, damaged, message_id, date, subject, sender, recipients, headers_readable, fingerprint FROM messages"
)

Description = tuple[object, ...]
"""What archive.db says a message's file says: damaged, then what `describe` makes of its headers."""


def describe(headers: Headers) -> Description:
    """The columns of a message that come from its header section."""
    return (*storable(headers), headers.readable, headers.fingerprint)


UNDESCRIBED: Description = (True, *describe(UNREADABLE))
"""A message whose file was damaged when archive.db last heard of it: the next run looks again."""


def position(catalogue: Catalogue) -> Position:
    """How far archive.db says that it has read the log. Raises ValueError if it does not say."""
    try:
        end = catalogue.position
    except TypeError:
        raise ValueError("the table position is empty") from None
    numbers = (end.records, end.segment, end.octets, end.last_octets)
    whole = all(isinstance(number, int) and number >= 0 for number in numbers)
    if not (whole and isinstance(end.last_hash, str) and isinstance(end.edge, bytes)):
        raise ValueError("the table position holds what no run has written")
    return end


def integrity(catalogue: Catalogue) -> Iterator[Finding]:
    """What SQLite itself finds wrong. Raises sqlite3.DatabaseError."""
    said = [str(row[0]) for row in catalogue.connection.execute(f"PRAGMA integrity_check({LISTED})")]
    if said != ["ok"]:
        shown = "; ".join(line for text in said for line in text.splitlines() if not line.startswith("***"))
        yield Finding("catalogue", "archive.db", f"fails SQLite's integrity check ({shown[:500]}); {REMEDY}")


def compare(expected: Catalogue, segments: Mapping[int, int], found: Catalogue) -> Iterator[Finding]:
    """Every projected table, and how much of each log segment is in. Raises sqlite3.DatabaseError."""
    for table, query in COMPARED.items():
        yield from _compare_table(table, query, expected, found)
    if (known := found.segments()) != segments:
        yield _other("segments", known, segments)
    for noted, counted in found.connection.execute(_DAMAGED):
        yield _other("totals", f"{noted} damaged messages", f"{counted}, as the table messages has it")


def _compare_table(table: str, query: str, expected: Catalogue, found: Catalogue) -> Iterator[Finding]:
    """The first difference only: one row too many would make every later one differ."""
    for right, there in zip_longest(expected.connection.execute(query), found.connection.execute(query)):
        if right != there:
            yield _other(table, _shown(there), _shown(right))
            return


def _other(table: str, found: object, expected: object) -> Finding:
    return Finding("catalogue", f"archive.db, table {table}", f"has {found} where the log says {expected}; {REMEDY}")


def _shown(row: object) -> str:
    return "no row" if row is None else repr(row)[:300]


def prepare(expected: Catalogue) -> None:
    """Makes room in the temporary catalogue for what is to be confirmed by the message files."""
    columns = "damaged, message_id, date, subject, sender, recipients, headers_readable, fingerprint"
    expected.connection.execute(f"CREATE TABLE described (digest PRIMARY KEY, {columns}) WITHOUT ROWID")


def set_aside(expected: Catalogue, found: Catalogue) -> None:
    """Copies what archive.db says of the messages' headers into the temporary catalogue, for `claims`."""
    with expected.transaction():
        rows = found.connection.execute(f"{_DESCRIBED} ORDER BY digest")
        expected.connection.executemany("INSERT INTO described VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def claims(expected: Catalogue, first: str, behind: str) -> Iterator[tuple[Digest, int, Description | None]]:
    """Messages with digests from `first` to just before `behind`: digest, octets, and what was set aside of it."""
    query = (
        "SELECT m.digest, m.octets, d.damaged, d.message_id, d.date, d.subject, d.sender, d.recipients,"
        " d.headers_readable, d.fingerprint FROM messages m LEFT JOIN described d ON d.digest = m.digest"
        " WHERE m.digest >= ? AND m.digest < ? ORDER BY m.digest"
    )
    for digest, octets, *found in expected.connection.execute(query, (first, behind)):
        yield digest, octets, None if found[0] is None else tuple(found)


def contradiction(found: Description, headers: Headers) -> bool:
    """Whether archive.db describes a sound file otherwise than its headers do."""
    return found not in ((False, *describe(headers)), UNDESCRIBED)
