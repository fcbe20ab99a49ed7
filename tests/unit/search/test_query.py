"""The query language: what is meant, what is refused and where, and that nothing typed becomes SQL.

Strategy: meaning is judged by parse trees here and by what is found in test_find.py. The fuzz asks a real SQLite with
the real tables: whatever is typed is understood or refused by one sentence, and SQLite takes every condition.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailmove.archive.reader import Reader
from mailmove.archive.search.conditions import condition
from mailmove.archive.search.find import Finder
from mailmove.archive.search.query import (
    DEEPEST,
    LONGEST,
    All,
    Any,
    Dated,
    HasAttachment,
    InMaildrop,
    Larger,
    Node,
    Not,
    Words,
    parse,
)
from mailmove.errors import UsageError
from mailmove.jobs import Context
from mailmove.jobs.index import IndexJob, run_index
from tests.unit.archive.making import some, store

A, B, C = Words("a"), Words("b"), Words("c")

MEANINGS: list[tuple[str, Node]] = [
    ("a", A),
    ("  a  b ", All((A, B))),
    ('"a b"', Words("a b")),
    ("a* from:b*", All((Words("a", beginning=True), Words("b", "sender", beginning=True)))),
    ('"a*"', Words("a*")),
    ("-a", Not(A)),
    ('-"a b" -from:c', All((Not(Words("a b")), Not(Words("c", "sender"))))),
    ("a OR b c", Any((A, All((B, C))))),
    ("a or b", All((A, Words("or"), B))),
    ("a (b OR c)", All((A, Any((B, C))))),
    ("-(a b)c", All((Not(All((A, B))), C))),
    ("from:a TO:b subject:c", All((Words("a", "sender"), Words("b", "recipients"), Words("c", "subject")))),
    ('filename:"my plan.pdf"', Words("my plan.pdf", "filenames")),
    ("has:attachment", HasAttachment()),
    ("-has:attachment", Not(HasAttachment())),
    ("before:2024-02-29", Dated(date(2024, 2, 29), before=True)),
    ("after:2026-01-31", Dated(date(2026, 1, 31), before=False)),
    ("larger:900", Larger(900)),
    ("larger:10k", Larger(10_000)),
    ("larger:5M", Larger(5_000_000)),
    ("maildrop:me@gmx.de@pop.gmx.net", InMaildrop("me@gmx.de@pop.gmx.net")),
    ('maildrop:"my box"', InMaildrop("my box")),
    ('"from:a"', Words("from:a")),
    ("12:30", Words("12:30")),
    ("me@mail.example", Words("me@mail.example")),
    ("Müller", Words("Müller")),
]


@pytest.mark.parametrize(("text", "meaning"), MEANINGS, ids=[text for text, _ in MEANINGS])
def test_what_is_meant(text: str, meaning: Node) -> None:
    assert parse(text) == meaning


REFUSED = [
    ("", "at its end", "missing"),
    ("   ", "at its end", "missing"),
    ("a OR", "at its end", "missing"),
    ("OR a", "at character 1 (OR a)", "missing"),
    ("a OR OR b", "at character 6 (OR b)", "missing"),
    ("a (b", "at character 3 ((b)", "not closed"),
    ("a ()", "at character 4 ())", "missing"),
    ("a) b", "at character 2 () b)", "closes nothing"),
    ('say "a b', 'at character 5 ("a b)', "no second one"),
    ('a"b c"', 'at character 2 ("b c")', "no second one"),
    ("-", "at character 1 (-)", "missing"),
    ("a from:", "at character 3 (from:)", "missing"),
    ('""', 'at character 1 ("")', "missing"),
    ("a ...", "at character 3 (...)", "no letter or digit"),
    ("*", "at character 1 (*)", "missing"),
    ("a \ud800", "at character 3", "no text"),
    ("colour:red", "at character 1 (colour:red)", "no field colour:"),
    ("http://example.org/", "at character 1 (http://example.org/)", "no field http:"),
    ("has:fun", "at character 1 (has:fun)", "has:attachment"),
    ("x before:yesterday", "at character 3 (before:yesterday)", "2026-01-31"),
    ("before:2023-02-29", "at character 1 (before:2023-02-29)", "2026-01-31"),
    ("after:20240101", "at character 1 (after:20240101)", "2026-01-31"),
    ("larger:big", "at character 1 (larger:big)", "10k"),
    ("larger:-5", "at character 1 (larger:-5)", "10k"),
    ("maildrop:", "at character 1 (maildrop:)", "needs a name"),
    ("(" * (DEEPEST + 1) + "a" + ")" * (DEEPEST + 1), f"at character {DEEPEST + 1} (", "parentheses"),
    ("a " * LONGEST, f"longer than {LONGEST}", "ask for less"),
    ("a\0b", "at character 2", "no text"),
]


@pytest.mark.parametrize(("text", "where", "why"), REFUSED, ids=[text[:20] for text, _, _ in REFUSED])
def test_what_is_wrong_is_one_sentence_that_points_at_the_place(text: str, where: str, why: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(text)
    assert where in refusal.value.message and why in refusal.value.message
    assert refusal.value.message.endswith(".") and "\n" not in refusal.value.message


def test_what_is_typed_is_bound_and_never_part_of_the_sql() -> None:
    typed = "x'); DROP TABLE documents; --"
    sql, values = condition(parse(f'"{typed}" OR maildrop:"{typed}" OR larger:7 OR before:2001-02-03'))
    assert "DROP" not in sql and sql.count("?") == len(values) == 4
    assert values == [f'"{typed}"', typed, 7, "2001-02-03"]


def test_no_text_leaves_the_string_it_stands_in() -> None:
    assert condition(Words('a" OR "b'))[1] == ['"a"" OR ""b"']


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    root: Path = tmp_path_factory.mktemp("search") / "mail.mailmove"
    store(root, some(3))
    run_index(IndexJob(root), Context())
    with Finder.open(Reader.open(root).layout) as finder:
        yield finder._connection


PIECES = st.sampled_from(
    [
        *"()\"-*:{}^+,;%_'\\ ",
        *("OR", "AND", "NOT", "NEAR(", "a", "ü", "\u0301", "字", "😀", "\ud800", "\x1b", "\u202e", "{body} :", "body:"),
        *("from:", "has:attachment", "before:2024-01-01", "larger:1k", "maildrop:x", "subject:"),
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_typed_is_understood_or_refused(connection: sqlite3.Connection, text: str) -> None:
    """Never anything else; and SQLite takes every condition that comes of it."""
    try:
        wanted = parse(text)
    except UsageError as refusal:
        assert refusal.message.endswith(".") and "\n" not in refusal.message
        return
    Finder(connection).count(wanted)


def test_the_longest_and_deepest_queries_are_taken(connection: sqlite3.Connection) -> None:
    for text in (
        "a " * (LONGEST // 2),
        "-a " * (LONGEST // 3),
        " OR ".join("a" * (LONGEST // 5)),
        "larger:1 " * (LONGEST // 9),
        "(" * DEEPEST + "a" + ")" * DEEPEST,
        "-(" * DEEPEST + "a" + ")" * DEEPEST,
        "-(a OR larger:1 " * DEEPEST + "b" + ")" * DEEPEST,
    ):
        Finder(connection).count(parse(text))
