"""What it takes to carry a message: what bulk counting says is what looking at each octet says, however it is cut.

Strategy: hypothesis makes messages of the octets that matter, cuts them anywhere, and asks a reference that walks
through them octet by octet. A table names each kind.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.jobs.parcel_body import BodyFacts, classify
from mailmove.model import Body

SEVEN, EIGHT, BINARY = Body.SEVEN_BIT, Body.EIGHT_BIT, Body.BINARY
OCTETS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"\0", b"\x80", b"\xff", b"\x01", b"\x7f", b".", b"a"])).map(
        b"".join
    ),
)


def reference(octets: bytes) -> BodyFacts:
    bare = False
    for place, octet in enumerate(octets):
        if octet == 0x0D:
            bare = bare or octets[place + 1 : place + 2] != b"\n"
        if octet == 0x0A:
            bare = bare or place == 0 or octets[place - 1] != 0x0D
    nul, eight = 0 in octets, any(octet > 127 for octet in octets)
    body = BINARY if nul or bare else EIGHT if eight else SEVEN
    return BodyFacts(body, octets[-2:] == b"\r\n", nul, bare, eight)


@given(OCTETS, st.lists(st.integers(0, 40), max_size=6))
@example(b"a\r\nb\r\n", [2])
@example(b"\r\n", [1])
@example(b"\r\r\n", [1, 2])
@example(b"\n\r", [1])
@example(b"a\r", [2, 2])
def test_however_a_message_is_cut_it_is_what_its_octets_say(octets: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    chunks = [octets[start:end] for start, end in itertools.pairwise(edges)]
    assert b"".join(chunks) == octets
    assert classify(chunks) == reference(octets)
    assert classify(octets[n : n + 1] for n in range(len(octets))) == reference(octets)


@pytest.mark.parametrize(
    ("octets", "body", "ends"),
    [
        (b"Subject: x\r\n\r\nplain\r\n", SEVEN, True),
        (b"Subject: x\r\n\r\nplain", SEVEN, False),
        (b"a\r\n\r\n", SEVEN, True),
        (b"a\x7f\x01\r\n", SEVEN, True),
        (b"gr\xc3\xbc\xc3\x9fe\r\n", EIGHT, True),
        (b"a\nb\r\n", BINARY, True),
        (b"a\rb\r\n", BINARY, True),
        (b"a\r\r\n", BINARY, True),
        (b"a\n\r\n", BINARY, True),
        (b"\n", BINARY, False),
        (b"a\r", BINARY, False),
        (b"\r\n.\r\n", SEVEN, True),
        (b"\n.\n", BINARY, False),
        (b"\r.\r", BINARY, False),
        (b"a\0\r\n", BINARY, True),
        (b"", SEVEN, False),
    ],
)
def test_each_kind(octets: bytes, body: Body, ends: bool) -> None:
    facts = classify([octets])
    assert (facts.body, facts.ends_with_crlf) == (body, ends)


@pytest.mark.parametrize(
    ("octets", "seven", "eight"),
    [
        (b"plain\r\n", "", ""),
        (b"\xc3\xbc\r\n", "8bit", ""),
        (b"\xc3\xbc\0\r\n", "nul", "nul"),
        (b"a\0\nb", "nul", "nul"),
        (b"a\nb\r\n", "bare-newlines", "bare-newlines"),
    ],
)
def test_what_keeps_a_server_from_carrying_it(octets: bytes, seven: str, eight: str) -> None:
    facts = classify([octets])
    assert (facts.obstacle(SEVEN), facts.obstacle(EIGHT), facts.obstacle(BINARY)) == (seven, eight, "")


class Chunk(bytes):
    """Counts how many of its kind are alive."""

    alive = most = 0

    def __init__(self, octets: bytes) -> None:
        Chunk.alive += 1
        Chunk.most = max(Chunk.most, Chunk.alive)

    def __del__(self) -> None:
        Chunk.alive -= 1


def test_a_large_message_is_not_kept() -> None:
    facts = classify(Chunk((b"x" * 62 + b"\r\n") * 1024) for _ in range(100))
    assert facts == BodyFacts(SEVEN, True, False, False, False)
    assert Chunk.most <= 3
