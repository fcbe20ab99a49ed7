"""Whether a message came in whole: which sizes are honest countings, and how two copies are judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.jobs.completeness import ENOUGH, Sizes, countings, judge, unreliable
from mailmove.model import Complete

YES, NO, UNRELIABLE = Complete.YES, Complete.NO, Complete.UNRELIABLE_SIZES


def agree(listed: int, announced: int | None, octets: int, pairs: int) -> bool:
    return Sizes(listed, announced).agree(octets, lambda: (pairs, 0))


@pytest.mark.parametrize("stored", [b"a\nb\n", b"a\nb", b"", b"\n", b"one line", b"\n\n\n"])
def test_both_countings_of_a_stored_message_are_honest(stored: bytes) -> None:
    """The store holds LF; the wire has CRLF, and a last line end which the store may lack."""
    counted_lf, counted_crlf = len(stored), len(stored.replace(b"\n", b"\r\n"))
    wire = stored.replace(b"\n", b"\r\n")
    wire += b"" if not wire or wire.endswith(b"\r\n") else b"\r\n"
    for listed in (counted_lf, counted_crlf, len(wire)):
        assert agree(listed, None, len(wire), wire.count(b"\r\n")), (stored, listed)


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=9))
def test_any_message_fits_its_honest_sizes(lines: list[bytes]) -> None:
    wire = b"".join(line + b"\r\n" for line in lines)
    for listed in (len(wire), len(wire) - len(lines)):
        assert agree(listed, listed, len(wire), len(lines))


@given(st.integers(1, 10_000), st.integers(0, 300), st.integers(1, 10_000))
def test_a_shorter_copy_never_fits(octets: int, pairs: int, more: int) -> None:
    """A truncated message is shorter than was said, and no counting is longer than the message."""
    assert max(countings(octets, (min(pairs, octets // 2), 0))) == octets
    assert not agree(octets + more, None, octets, min(pairs, octets // 2))


def test_both_named_sizes_must_fit() -> None:
    assert agree(100, 100, 100, 3) and agree(97, 100, 100, 3)
    assert not agree(100, 90, 100, 3) and not agree(0, 100, 100, 3)


@pytest.mark.parametrize("stored", [b"a\nb\n", b"a\nb", b"\n", b"\n\n\n"])
def test_both_countings_of_a_server_of_lf_are_honest(stored: bytes) -> None:
    """The wire has LF throughout, and a last line end which the store may lack."""
    wire = stored if stored.endswith(b"\n") else stored + b"\n"
    for listed in (len(stored), len(wire), len(stored.replace(b"\n", b"\r\n"))):
        assert Sizes(listed, None).agree(len(wire), lambda: (0, wire.count(b"\n"))), (stored, listed)


def test_a_bare_lf_between_crlf_counts_for_one_octet() -> None:
    assert not Sizes(11, None).agree(10, lambda: (2, 1))


def test_line_ends_are_counted_only_when_needed() -> None:
    assert Sizes(100, 100).agree(100, lambda: pytest.fail("asked"))


def test_one_fitting_size_is_enough_to_prefer_a_copy() -> None:
    assert Sizes(0, 100).fits_any(100, lambda: (3, 0)) and Sizes(97, 5).fits_any(100, lambda: (3, 0))
    assert not Sizes(0, 5).fits_any(100, lambda: (3, 0)) and not Sizes(0, None).fits_any(100, lambda: (3, 0))


@pytest.mark.parametrize(
    ("mismatches", "received", "expected"),
    [(ENOUGH, ENOUGH, True), (6, 10, True), (5, 10, False), (9, 9, False), (0, 100, False), (51, 100, True)],
)
def test_when_sizes_mean_nothing(mismatches: int, received: int, expected: bool) -> None:
    assert unreliable(mismatches, received) is expected


@pytest.mark.parametrize(
    ("same", "listed", "unreliable_sizes", "fits", "verdicts"),
    [
        (True, 0, False, (False, False), (YES, YES)),
        (True, 5, True, (False, False), (UNRELIABLE, UNRELIABLE)),
        (True, 5, False, (True, True), (NO, NO)),
        (False, 5, True, (True, False), (YES, NO)),
        (False, 5, False, (False, True), (NO, YES)),
        (False, 0, True, (False, False), (NO, NO)),
        (False, 5, False, (True, True), (NO, NO)),
    ],
)
def test_judging_two_copies(
    same: bool, listed: int, unreliable_sizes: bool, fits: tuple[bool, bool], verdicts: tuple[Complete, Complete]
) -> None:
    found = judge(same=same, listed=listed, sizes_unreliable=unreliable_sizes, first_fits=fits[0], second_fits=fits[1])
    assert (found.first, found.second) == verdicts
