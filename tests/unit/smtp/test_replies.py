"""Replies, however they are cut: what they mean, and what is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.errors import ProtocolError
from mailmove.model import Reply
from mailmove.protocols.smtp import MAX_LINE, MAX_LINES, ReplyReader, ServerReply
from tests.fuzz.inputs import cut


def read(octets: bytes, style: int = 0) -> list[ServerReply]:
    reader = ReplyReader()
    return [reply for piece in cut(octets, style) for reply in _receive(reader, piece)]


def _receive(reader: ReplyReader, piece: bytes) -> Iterator[ServerReply]:
    reader.receive(piece)
    while (reply := reader.next_reply()) is not None:
        yield reply


def one(octets: bytes) -> Reply:
    """The only reply, the same however it is cut, and whatever follows."""
    (reply,) = read(octets)
    for style in (1, 2, 3):
        assert read(octets, style) == [reply]
        assert read(octets + b"250 ", style) == [reply]
    return reply.reply


@pytest.mark.parametrize(
    ("octets", "meant"),
    [
        (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", "Ok")),
        (b"250 Ok\r\n", Reply(250, "", "Ok")),
        (b"250\r\n", Reply(250)),
        (b"250 \r\n", Reply(250)),
        (b"250 2.0.0\r\n", Reply(250, "2.0.0")),
        (b"550 5.1.1 <a@b> no\n", Reply(550, "5.1.1", "<a@b> no")),
        (b"550-5.7.1 not\r\n550-5.7.1 today\r\n550 5.7.1\r\n", Reply(550, "5.7.1", "not / today")),
        (b"550-5.7.1 not\r\n550 5.7.2 today\r\n", Reply(550, "5.7.1", "not / 5.7.2 today")),
        (b"452 5.2.2 another class\r\n", Reply(452, "", "5.2.2 another class")),
        (b"250 2.1.00000 x\r\n", Reply(250, "", "2.1.00000 x")),
        (b"550 a\x1b[2Jb\x00\tc\xc2\x9b\r\n", Reply(550, "", "a[2Jb c")),
        (b"550 gr\xfc\xdfe\r\n", Reply(550, "", "grüße")),
        ("550 grüße\r\n".encode(), Reply(550, "", "grüße")),
        (b"250-a\r\n250 b\r\n", Reply(250, "", "a / b")),
    ],
)
def test_a_reply_is_read_the_same_however_it_is_cut(octets: bytes, meant: Reply) -> None:
    assert one(octets) == meant


def test_each_line_is_kept_for_those_who_want_capabilities() -> None:
    (reply,) = read(b"250-mx.example.org\r\n250-SIZE 100\r\n250 PIPELINING\r\n")
    assert reply.lines == ("mx.example.org", "SIZE 100", "PIPELINING")


def test_replies_follow_each_other() -> None:
    assert [reply.code for reply in read(b"250 a\r\n354-b\r\n354 c\r\n250 d\r\n", 7)] == [250, 354, 250]


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"\r\n",
        b"+OK\r\n",
        b"199 low\r\n",
        b"600 high\r\n",
        b"25 short\r\n",
        b"2500 long\r\n",
        b"250_x\r\n",
        b"\xff50 x\r\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\nb\r\n",
    ],
)
def test_what_is_no_reply_is_quoted(octets: bytes) -> None:
    for style in (0, 1, 2):
        with pytest.raises(ProtocolError) as caught:
            read(octets, style)
        last = octets.splitlines()[-1]
        if last.isascii() and last:
            assert last.decode() in caught.value.message
            assert last.decode() in caught.value.server_text


def test_a_line_without_an_end_is_bounded() -> None:
    reader = ReplyReader()
    with pytest.raises(ProtocolError):
        for _ in range(MAX_LINE + 1):
            list(_receive(reader, b"2"))


def test_the_longest_line_is_read() -> None:
    line = b"250 " + b"x" * (MAX_LINE - 6) + b"\r\n"
    assert one(line).code == 250
    with pytest.raises(ProtocolError):
        read(b"250 x" + line[4:])


def test_a_reply_without_an_end_is_bounded() -> None:
    assert len(read(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")[0].lines) == MAX_LINES
    with pytest.raises(ProtocolError):
        read(b"250-x\r\n" * (MAX_LINES + 1))


def test_a_long_text_is_cut() -> None:
    assert len(one(b"250 " + b"x" * 5000 + b"\r\n").text) == 1000


def test_what_nobody_has_read_is_pending() -> None:
    reader = ReplyReader()
    reader.receive(b"220 go\r\n250 injected")
    assert reader.next_reply() == ServerReply(Reply(220, "", "go"), ("go",))
    assert reader.pending
    assert reader.said == "250 injected"


@given(st.binary(max_size=80), st.integers(0, 50))
def test_any_octets_are_replies_or_a_protocol_error(octets: bytes, style: int) -> None:
    def outcome(style: int) -> list[ServerReply] | str:
        try:
            return read(octets, style)
        except ProtocolError:
            return "broken"

    assert outcome(style) == outcome(0)
