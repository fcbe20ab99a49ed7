"""What a message looks like at a target that rewrote it.

Strategy: hypothesis builds messages out of line ends, NULs, header fields and any octets; what a server does to them is
done here by functions of the test's own. A likeness must survive each of these, and no message, however odd, may make
it fail: what cannot be compared could be sent twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.jobs.likeness import Likeness, canonical, header_fields, message_id, normal_id
from tests.support.archives import digest
from tests.support.mails import varied
from tests.support.replaying import rewritten

IDS = [b"Message-ID: <1@x>", b"message-id :<2@x>"]
PIECES = st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b"\x80", b"a", b": ", b"Subject: x", b" \t", *IDS])
OCTETS = st.one_of(st.lists(PIECES, max_size=20).map(b"".join), st.binary(max_size=80))


# What servers do to a message; each keeps everything else.


def with_crlf(octets: bytes) -> bytes:
    """Bare LF to CRLF."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def without_nul(octets: bytes) -> bytes:
    return octets.replace(b"\0", b"\x80")


def with_final_line_end(octets: bytes) -> bytes:
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def without_final_lf(octets: bytes) -> bytes:
    """pymap 0.36, of a message that is all header."""
    return octets.removesuffix(b"\n")


def without_8_bit_headers(octets: bytes) -> bytes:
    """Cyrus, which takes neither NUL nor a bare LF."""
    end = re.search(rb"^\r*\n", octets, re.MULTILINE)
    header = octets[: end.start()] if end else octets
    return re.sub(rb"[\x80-\xff]", b"X", header) + octets[len(header) :]


REWRITINGS = [with_crlf, without_nul, with_final_line_end, without_final_lf, rewritten]


@given(OCTETS)
@example(b"\r\r\n\r")
@example(b"a\0\n\0\n\n\n")
def test_canonical_is_idempotent(octets: bytes) -> None:
    assert canonical(canonical(octets)) == canonical(octets)


@pytest.mark.parametrize("server", REWRITINGS)
@given(octets=OCTETS)
def test_a_rewritten_message_is_recognised(server: Callable[[bytes], bytes], octets: bytes) -> None:
    assert Likeness.of(server(octets)).canonical == Likeness.of(octets).canonical


@pytest.mark.parametrize("server", [without_nul, rewritten])
@given(octets=OCTETS.filter(lambda octets: not octets.endswith(b"\r")))
@example(octets=b"a\n\n\n")
@example(octets=b"a\n\nb")
def test_a_rewritten_message_has_one_of_the_sizes_that_are_looked_for(
    server: Callable[[bytes], bytes], octets: bytes
) -> None:
    assert len(server(octets)) in Likeness.of(octets).sizes
    assert len(canonical(octets)) in Likeness.of(octets).sizes


@given(OCTETS.map(with_crlf).filter(lambda octets: b"\0" not in octets))
@example(b"Subject: \xc3\xa4\r\n\r\n\xc3\xa4\r\n")
@example(b"Subject: \xc3\xa4")
@example(b"\r\n\xc3\xa4")
@example(b"a: \x80\r\r\n\r\r\n\x80\r\r\n")
def test_a_message_with_an_8_bit_header_is_recognised_where_none_is_kept(octets: bytes) -> None:
    kept = without_8_bit_headers(octets)
    assert Likeness.of(octets).munged == Likeness.of(kept).canonical
    assert (Likeness.of(octets).canonical == Likeness.of(kept).canonical) == (octets == kept)
    assert len(kept) in Likeness.of(octets).sizes


@given(OCTETS, OCTETS)
def test_messages_that_differ_otherwise_stay_apart(one: bytes, other: bytes) -> None:
    """Only line ends, NUL and what comes at the very end may be overlooked."""
    if canonical(one) == canonical(other):
        assert plain(one) == plain(other)
    assert (Likeness.of(one).exact == Likeness.of(other).exact) == (one == other)


def plain(octets: bytes) -> bytes:
    return octets.replace(b"\r", b"").replace(b"\0", b"\x80").rstrip(b"\n")


@given(st.binary(max_size=300))
def test_a_likeness_of_arbitrary_octets_never_fails(octets: bytes) -> None:
    likeness = Likeness.of(octets)
    assert likeness.exact == digest(octets)
    assert len(octets) in likeness.sizes
    assert likeness.resembles(likeness) == bool(likeness.fields)


@given(OCTETS, OCTETS)
def test_whatever_there_is_can_be_compared(one: bytes, other: bytes) -> None:
    assert Likeness.of(one).resembles(Likeness.of(other)) in (True, False)


# ---- Resembling: something much like it is there

MESSAGE = b"Subject: one\r\nMessage-ID: <1@x>\r\nTo: a@x,\r\n b@x\r\n\r\nbody\r\n"
NO_ID = MESSAGE.replace(b"Message-ID: <1@x>\r\n", b"")
FIELDS = st.sampled_from([b"X-Spam: no\r\n", b"Received: by x;\r\n\tMon\r\n", b"Subject: two\r\n", b"\xff: \0\r\n"])


def resembles(one: bytes, other: bytes) -> bool:
    return Likeness.of(one).resembles(Likeness.of(other))


@given(st.lists(FIELDS, max_size=4).map(b"".join), st.sampled_from([MESSAGE, NO_ID]))
def test_added_fields_leave_it_alike(added: bytes, message: bytes) -> None:
    assert resembles(message, added + message)
    assert resembles(message, message.replace(b"\r\n\r\nbody", b"\r\n" + added + b"\r\nother body"))


def test_refolding_leaves_it_alike() -> None:
    assert resembles(NO_ID, NO_ID.replace(b"a@x,\r\n b@x", b"a@x, b@x"))
    assert resembles(NO_ID, NO_ID.replace(b"a@x,\r\n b@x", b"a@x,\r\n\t\tb@x"))


def test_a_field_that_is_missing_there_makes_it_another_unless_the_message_id_is_the_same() -> None:
    fewer = NO_ID.replace(b"Subject: one\r\n", b"")
    assert not resembles(NO_ID, fewer)
    assert resembles(MESSAGE, fewer.replace(b"To:", b"MESSAGE-ID:\r\n <1@x>\r\nTo:"))
    assert not resembles(MESSAGE, fewer.replace(b"To:", b"Message-ID: <2@x>\r\nTo:"))


def test_equal_fields_count_as_often_as_they_are_there() -> None:
    twice = b"Received: by x\r\nReceived: by x\r\n\r\n"
    assert resembles(b"Received: by x\r\n\r\n", twice) and not resembles(twice, b"Received: by x\r\n\r\n")


@pytest.mark.parametrize("octets", [b"", b"\r\n", b"\r\n\r\nMessage-ID: <1@x>\r\n", b"\n\nbody"])
def test_a_message_without_header_resembles_none(octets: bytes) -> None:
    assert not resembles(octets, octets) and not resembles(octets, MESSAGE)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Message-ID: <1@x>\r\n\r\n", "<1@x>"),
        (b"MESSAGE-ID : \r\n  <1@x>  \r\n\r\n", "<1@x>"),
        (b"Message-ID: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n", "<1@x>"),
        (b"Message-ID: \xfc{3+}\r\n\r\n", "\xfc{3+}"),
        (b"X-Message-ID: <1@x>\r\n\r\nMessage-ID: <2@x>\r\n", ""),
        (b"Message-ID:\r\n\r\n", ""),
    ],
)
def test_the_message_id(header: bytes, expected: str) -> None:
    assert message_id(header_fields(header)) == expected == normal_id(expected)


def test_our_own_mail_in_all_its_kinds_is_told_apart() -> None:
    messages = [*varied(60, seed=7), MESSAGE, NO_ID]
    assert len({Likeness.of(octets).canonical for octets in messages}) == len(messages)
