"""The fuzz targets without atheris: over the corpus, and over programs that hypothesis makes.

Strategy: `check` of a target raises AssertionError where its invariant does not hold, so an input is the whole test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import engine, framing, inputs, seeds, smtp, source

CHECKS: dict[str, Callable[[bytes], None]] = {
    "framing": framing.check,
    "smtp": smtp.check,
    "source": source.check,
}
SEEDS = {"framing": seeds.framing_seeds, "smtp": seeds.smtp_seeds, "source": seeds.source_seeds}

PIECES = st.sampled_from([b"+OK", b"-ERR", b"\r\n", b"\n", b".", b"..", b"\r\n.\r\n", b"\0", b"\xff", b"1 2", b"+ "])
PAYLOADS = st.one_of(st.lists(PIECES, max_size=8).map(b"".join), st.binary(max_size=12))
ITEMS = st.lists(st.tuples(st.integers(0, 39), PAYLOADS), max_size=12)


@pytest.mark.parametrize("file", sorted(engine.CORPUS.glob("*/*")), ids=lambda file: f"{file.parent.name}-{file.name}")
def test_the_invariant_holds_over_the_corpus(file: Path) -> None:
    CHECKS[file.parent.name](file.read_bytes())


@pytest.mark.parametrize("target", SEEDS)
def test_the_corpus_says_what_its_seeds_mean(target: str) -> None:
    found = {file.name: file.read_bytes() for file in (engine.CORPUS / target).iterdir()}
    assert found == SEEDS[target](), "python -m tests.fuzz.seeds writes the corpus anew"


@settings(max_examples=400, deadline=None)
@given(st.binary(min_size=framing.HEAD, max_size=framing.HEAD), ITEMS)
def test_framing_over_any_program(head: bytes, items: list[inputs.Item]) -> None:
    framing.check(inputs.build(head, items))


@settings(max_examples=400, deadline=None)
@given(st.binary(min_size=source.HEAD, max_size=source.HEAD), ITEMS)
def test_source_against_any_server(head: bytes, items: list[inputs.Item]) -> None:
    source.check(inputs.build(head, items))


@settings(max_examples=400, deadline=None)
@given(st.binary(min_size=smtp.HEAD, max_size=smtp.HEAD), ITEMS)
def test_smtp_against_any_server(head: bytes, items: list[inputs.Item]) -> None:
    smtp.check(inputs.build(head, items))


@given(st.binary(max_size=80))
def test_any_octets_are_a_program(data: bytes) -> None:
    for check in CHECKS.values():
        check(data)


@given(st.binary(min_size=3, max_size=3), ITEMS)
def test_a_program_is_read_as_it_was_built(head: bytes, items: list[inputs.Item]) -> None:
    assert inputs.parse(inputs.build(head, items), 3) == (head, items)


@given(st.binary(max_size=300), st.integers(0, 255))
def test_a_cut_loses_nothing(octets: bytes, style: int) -> None:
    pieces = list(inputs.cut(octets, style))
    assert b"".join(pieces) == octets
    assert all(pieces)
