"""The receive buffer by itself: limits, and that it does not copy itself to death."""

from __future__ import annotations

import time

import pytest

from mailmove.errors import ProtocolError
from mailmove.protocols.pop3.framing import Framer


def framer(data: bytes, **limits: int) -> Framer:
    made = Framer(**limits)
    made.receive(data)
    return made


def test_a_line_is_read_when_it_is_complete() -> None:
    made = framer(b"on")
    assert made.read_line() is None
    made.receive(b"e\r\ntwo\n\r\n")
    assert [made.read_line() for _ in range(4)] == [b"one", b"two", b"", None]
    assert not made.pending


@pytest.mark.parametrize(("line", "fits"), [(b"12345678\r\n", True), (b"123456789\r\n", False), (b"1234567890", False)])
def test_the_limit_counts_the_line_end(line: bytes, fits: bool) -> None:
    made = framer(line, max_line=10)
    if fits:
        assert made.read_line() == b"12345678"
    else:
        with pytest.raises(ProtocolError, match="over 10 octets"):
            made.read_line()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_limit_of_a_listing(size: int) -> None:
    body = b"1 one\r\n2 two\r\n"
    for limit, fits in ((len(body), True), (len(body) - 1, False)):
        made = framer(b"+OK\r\n", max_listing=limit)
        made.read_line()
        made.begin_body()
        wire = body + b".\r\n"
        for i in range(0, len(wire), size):
            made.receive(wire[i : i + size])
        if fits:
            assert made.read_listing() == body
        else:
            with pytest.raises(ProtocolError, match="a listing is over"):
                made.read_listing()


def test_one_listing_does_not_count_for_the_next() -> None:
    made = framer(b"+OK\r\n1 a\r\n.\r\n" * 2, max_listing=5)
    for _ in range(2):
        made.read_line()
        made.begin_body()
        assert made.read_listing() == b"1 a\r\n"


def test_a_block_is_passed_on_but_for_what_may_be_a_terminator() -> None:
    made = framer(b"+OK\r\n")
    made.read_line()
    made.begin_body()
    received = []
    for piece in (b"abc\r", b"\n", b".", b"\r", b"x", b"\r\n.", b".", b"\r\n.\r\n"):
        made.receive(piece)
        received.append(made.read_block())
    assert received == [b"abc", None, None, None, b"\r\n.\rx", None, b"\r\n.", b"\r\n"]
    assert made.read_block() == b""


@pytest.mark.parametrize("count", [20_000])
def test_many_small_messages_in_one_block_are_read_in_linear_time(count: int) -> None:
    made = framer(b"+OK hello\r\n" + b"+OK\r\nx\r\n.\r\n" * count)
    made.read_line()
    began = time.process_time()
    for _ in range(count):
        made.read_line()
        made.begin_body()
        assert (made.read_block(), made.read_block()) == (b"x\r\n", b"")
    # Copying the rest of the block for each message would move 2.2 GB.
    assert time.process_time() - began < 1
