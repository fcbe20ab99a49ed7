r"""Octets on their way out: nothing of them ends a message early, whatever they are and however they are cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.errors import LocalProtocolError
from mailmove.protocols.smtp.content import END, stuffed
from mailmove.protocols.whole import whole
from tests.fuzz.inputs import cut

LINES = st.lists(st.sampled_from([b".", b"..", b"", b"x", b".x", b"x.", b"\0", b"\xff", b". QUIT"]), max_size=12)
SMUGGLING = (
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r\r\n.\r\n",
    b"\n\r\n.\r\n",
)


def unstuffed(wire: bytes) -> bytes:
    """The reference, octet by octet: what a strict server makes of it, which must end with the last octet."""
    message, line = bytearray(), bytearray()
    for place, octet in enumerate(wire):
        line.append(octet)
        if line.endswith(b"\r\n"):
            if line == END:
                assert place == len(wire) - 1, "it ended early"
                return bytes(message)
            message += line[1:] if line.startswith(b".") else line
            line.clear()
    raise AssertionError("it never ended")


def sent(message: bytes, style: int) -> bytes:
    return b"".join(stuffed(cut(message, style))) + END


@given(LINES, st.integers(0, 60))
@example([b""] * 3 + [b"."], 1)
def test_a_strict_server_reads_exactly_the_message(lines: list[bytes], style: int) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    assert unstuffed(sent(message, style)) == message


@given(LINES, st.sampled_from([b"x", b".", b"..", b"\0"]), st.integers(0, 60))
def test_a_last_line_without_an_end_gets_one(lines: list[bytes], last: bytes, style: int) -> None:
    message = b"".join(line + b"\r\n" for line in lines) + last
    assert unstuffed(sent(message, style)) == message + b"\r\n"


@given(st.binary(max_size=30), st.sampled_from(SMUGGLING), st.binary(max_size=30), st.integers(0, 60))
def test_a_bare_line_end_never_goes_out_by_data(before: bytes, smuggled: bytes, after: bytes, style: int) -> None:
    message = before + smuggled + after
    bare = message.replace(b"\r\n", b"")
    if b"\r" not in bare and b"\n" not in bare:
        assert unstuffed(sent(message, style))  # the octets around it made it a good one
        return
    with pytest.raises(LocalProtocolError):
        sent(message, style)


@pytest.mark.parametrize("smuggled", SMUGGLING)
def test_each_smuggler_is_refused_at_each_edge(smuggled: bytes) -> None:
    message = b"Subject: x\r\n\r\ntext" + smuggled + b"MAIL FROM:<>\r\n"
    for edge in range(len(message)):
        with pytest.raises(LocalProtocolError):
            list(stuffed([message[:edge], message[edge:]]))


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_the_last_chunk_waits_for_the_end(chunks: list[bytes]) -> None:
    message = b"".join(chunks)
    assert b"".join(whole(chunks, len(message))) == message
    for octets in (len(message) + 1, len(message) - 1):
        out = bytearray()
        with pytest.raises(LocalProtocolError):
            for chunk in whole(chunks, octets):
                out += chunk
        assert len(out) < max(octets, 1)


def test_a_message_found_damaged_at_its_end_is_not_whole() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        yield b"last"
        raise ValueError("damaged")

    out = whole(chunks(), 9)
    assert next(out) == b"first"
    with pytest.raises(ValueError, match="damaged"):
        next(out)
