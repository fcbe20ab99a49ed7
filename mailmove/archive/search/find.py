"""Answers queries: which messages, in a stable order (newest first, then by digest).

Strategy: the condition is SQLite's business alone, over search.db with the catalogue attached, both read-only and
without a lock. A void takes effect at once, since each message is asked of the catalogue before it is given out.
Whoever selects by a query (a table now, a replay or an export as well) takes `digests`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from mailmove.archive.layout import Layout
from mailmove.archive.search.conditions import condition
from mailmove.archive.search.index import VERSION, behind, connect, path_of, search_errors, unreadable, version_of
from mailmove.archive.search.query import Node
from mailmove.errors import UsageError
from mailmove.model import Digest

_CATALOGUED = "EXISTS (SELECT 1 FROM catalogue.messages WHERE messages.digest = documents.digest)"


@dataclass(frozen=True, slots=True)
class Hit:
    """One message found. `date`: when it arrived (RFC 3339, UTC); `damaged`: its file is known to be."""

    digest: Digest
    date: str
    sender: str
    recipients: str
    subject: str
    message_id: str
    octets: int
    attachments: int
    indexed: str
    damaged: bool


class Finder:
    """search.db for anybody who asks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def open(cls, layout: Layout) -> Iterator[Finder]:
        """Raises UsageError (no index), ArchiveError, also for what goes wrong while it is used."""
        path = path_of(layout)
        if not path.exists():
            raise UsageError(
                f"{layout.root} has no index for searching yet; `mailmove index -a {layout.root}` makes it."
            )
        with search_errors(path), contextlib.closing(connect(layout, write=False)) as connection:
            if version_of(connection) != VERSION:
                raise UsageError(f"{path} is not of this version of mailmove; `mailmove index` makes it anew.")
            yield cls(connection)

    def missing(self) -> int:
        """How many messages of the catalogue are not indexed: new ones, and those whose file could not be read."""
        return self.behind() + len(self.unreadable())

    def behind(self) -> int:
        """How many messages of the catalogue are new to the index."""
        return behind(self._connection)

    def unreadable(self) -> list[Digest]:
        """Messages that are not indexed since their file could not be read, whatever is in it."""
        return unreadable(self._connection)

    def count(self, wanted: Node) -> int:
        """How many messages the query finds."""
        where, values = condition(wanted)
        same = self._connection.execute(
            "SELECT voided = (SELECT voided FROM catalogue.totals) FROM progress"
        ).fetchone()
        if not same[0]:
            where = f"({where}) AND {_CATALOGUED}"
        sql = f"SELECT count(*) FROM documents WHERE {where}"  # noqa: S608 - what was typed is bound
        return int(self._connection.execute(sql, values).fetchone()[0])

    def digests(self, wanted: Node) -> Iterator[Digest]:
        """What the query finds, newest first."""
        where, values = condition(wanted)
        sql = f"SELECT digest FROM documents WHERE {where} ORDER BY date DESC, digest"  # noqa: S608 - as above
        for (digest,) in self._connection.execute(sql, values):
            if self._connection.execute("SELECT 1 FROM catalogue.messages WHERE digest = ?", (digest,)).fetchone():
                yield Digest(digest)

    def hits(self, wanted: Node, limit: int) -> list[Hit]:
        """The newest `limit` messages that the query finds."""
        return [self._hit(digest) for _, digest in zip(range(limit), self.digests(wanted), strict=False)]

    def _hit(self, digest: Digest) -> Hit:
        date, attachments, state, *rest = self._connection.execute(
            "SELECT d.date, d.attachments, d.state, m.sender, m.recipients, m.subject, m.message_id, m.octets,"
            " m.damaged FROM documents d JOIN catalogue.messages m ON m.digest = d.digest WHERE d.digest = ?",
            (digest,),
        ).fetchone()
        sender, recipients, subject, message_id, octets, damaged = rest
        return Hit(
            *(digest, date, sender, recipients, subject, message_id, octets, attachments, state), damaged=bool(damaged)
        )
