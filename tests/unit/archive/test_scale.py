"""What `status`, a pull and a search ask is answered by an index, whatever the archive's size (design.md, 12).

Strategy: not the clock is asked but SQLite. Every question that the code puts to a real catalogue is caught on its way,
and its query plan read: no table that grows with the archive may be walked, neither in its own order nor by an index of
which only the maildrop is given (but the one that reads what the last listing had). tests/bench/scale.py measures the
same with the clock, by hand.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailmove.archive import Archive, Reader
from mailmove.archive.listings import Listings
from mailmove.archive.log import Log
from mailmove.archive.search.find import Finder
from mailmove.archive.search.query import parse
from mailmove.archive.summary import summarise
from mailmove.jobs import Context
from mailmove.jobs.index import IndexJob, run_index
from tests.unit.archive.making import MAILDROP, some, store

MAILS = some(4)
WALKS = re.compile(
    r"SCAN (places|p|messages|m|deliveries|d)( USING (COVERING )?INDEX sqlite_autoindex\w*)?$"
    r"|SEARCH (places|p) USING (COVERING )?INDEX places_unique_id \(maildrop=\?\)"
    r"|SEARCH p USING (COVERING )?INDEX places_present \(maildrop=\?\)"
    r"|SCAN documents\b"
)


@pytest.fixture
def archive(archive_dir: Path) -> Iterator[Archive]:
    store(archive_dir, MAILS)
    with Archive.open(archive_dir) as archive:
        yield archive


def walks(connection: sqlite3.Connection, ask: Callable[[], object]) -> list[tuple[str, str]]:
    """(question, step of its plan) wherever a question of `ask` walks through what grows."""
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    ask()
    connection.set_trace_callback(None)
    questions = [one for one in asked if one.startswith("SELECT")]
    assert questions
    plans = ((one, row[3]) for one in questions for row in connection.execute(f"EXPLAIN QUERY PLAN {one}"))
    return [(question, step) for question, step in plans if WALKS.search(step)]


def test_status_walks_through_nothing(archive: Archive) -> None:
    catalogue = archive.catalogue
    assert walks(catalogue.connection, lambda: summarise(catalogue, Log(archive.layout.log))) == []


def test_a_listing_is_held_against_the_archive_without_a_walk(archive: Archive) -> None:
    listings = Listings(archive.catalogue, MAILDROP, [mail.entry for mail in (*MAILS[1:], *some(2, seed=9))])

    def look() -> None:
        assert listings.before == 4 and listings.still_listed() == 3 and len(listings.known()) >= 3
        assert len(listings.absent()) == 1 and listings.back() == listings.asked() == []
        assert listings.with_fingerprint("0" * 64, 100) == [] and not listings.skipped() and not listings.parked()

    assert walks(archive.catalogue.connection, look) == []


@pytest.mark.parametrize(
    "query", ["line", "from:example* line", '"of the" -(subject:x OR filename:y)', "line larger:1k"]
)
def test_a_search_for_words_walks_through_nothing(archive_dir: Path, query: str) -> None:
    """It takes as long as what it finds, and the words' index; so does the question of what is not indexed yet."""
    store(archive_dir, MAILS)
    run_index(IndexJob(archive_dir), Context())
    with Finder.open(Reader.open(archive_dir).layout) as finder:
        connection = finder._connection
        assert walks(connection, lambda: [finder.hits(parse(query), 100), finder.count(parse(query))]) == []
        assert walks(connection, lambda: (finder.behind(), finder.unreadable())) == []


def test_of_the_test_a_walk_through_the_index_is_found(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    run_index(IndexJob(archive_dir), Context())
    with Finder.open(Reader.open(archive_dir).layout) as finder:
        assert walks(finder._connection, lambda: finder.count(parse("has:attachment")))


def test_of_the_test_a_walk_is_found(archive: Archive) -> None:
    connection = archive.catalogue.connection
    for question in (
        "SELECT digest FROM places WHERE complete = 'false' AND settled = 0 ORDER BY record LIMIT 9",
        "SELECT DISTINCT unique_id, listed FROM places WHERE maildrop = 1 AND delete_asked > 0",
        "SELECT digest FROM deliveries WHERE state IN ('parked', 'uncertain') ORDER BY id",
    ):
        assert walks(connection, lambda question=question: connection.execute(question).fetchall()), question
