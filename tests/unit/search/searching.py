"""Archives that are searched, for the tests: made by real runs, indexed by the real job."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailmove.archive import Reader
from mailmove.archive.search.find import Finder
from mailmove.archive.search.query import parse
from mailmove.jobs import Context
from mailmove.jobs.index import IndexJob, IndexReport, run_index
from tests.unit.archive.making import Mail

TABLES = (
    "SELECT digest, date, octets, attachments, state FROM documents ORDER BY digest",
    "SELECT digest FROM unreadable",
    "SELECT record, digest FROM progress",
)


def mail(uid: str, body: str = "text", *, subject: str = "", sender: str = "a@b.example", **fields: str) -> Mail:
    """A message of its own; fields by their names with _ for -."""
    header = {"From": sender, "Subject": subject or f"subject of {uid}", "Message-ID": f"<{uid}@example.org>", **fields}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in header.items()]
    return Mail(uid, "\r\n".join([*lines, "", body, ""]).encode())


def index(root: Path, ok: Callable[[], bool] = lambda: True) -> IndexReport:
    return run_index(IndexJob(root), Context(ok=ok))


def found(root: Path, query: str) -> list[str]:
    """Digests, newest first."""
    with Finder.open(Reader.open(root).layout) as finder:
        digests: list[str] = list(finder.digests(parse(query)))
        assert finder.count(parse(query)) == len(digests)
        assert [hit.digest for hit in finder.hits(parse(query), 3)] == digests[:3]
    return digests


def missing(root: Path) -> int:
    with Finder.open(Reader.open(root).layout) as finder:
        return finder.missing()


def content(root: Path) -> list[list[tuple[Any, ...]]]:
    """All that a search can depend on: every row, and which message each word is found in."""
    database = sqlite3.connect(root / "search.db")
    rows = [database.execute(query).fetchall() for query in TABLES]
    database.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, contents, instance)")
    words = "SELECT term, digest, col, offset FROM temp.words JOIN documents ON documents.id = doc ORDER BY 1, 2, 3, 4"
    rows.append(database.execute(words).fetchall())
    database.close()
    return rows
