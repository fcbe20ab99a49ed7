"""RETR and TOP: whose octets they are, where they begin and end."""

from __future__ import annotations

import pytest

from mailmove.errors import ConnectionLost, ProtocolError
from mailmove.model import MessageNumber
from mailmove.protocols.pop3 import (
    Accepted,
    Connection,
    MessageData,
    MessageEnd,
    MessageStart,
    Noop,
    Pass,
    Refused,
    Retr,
    Stat,
    Top,
    User,
)
from tests.unit.wire import connect, logged_in, play, run

RETR = Retr(MessageNumber(7))


def retrieved(wire: bytes) -> bytes:
    start, *data, end = run(logged_in, RETR, b"+OK\r\n" + wire)
    assert (start, end) == (MessageStart(RETR, "", None), MessageEnd(RETR))
    return b"".join(event.data for event in data if isinstance(event, MessageData))


@pytest.mark.parametrize("command", [RETR, Top(MessageNumber(7), 0)])
def test_a_message_comes_as_start_data_end(command: Retr | Top) -> None:
    script = (command, b"+OK 120 octets\r\nSubject: x\r\n\r\n..dot\r\n.\r\n")
    data = MessageData(command, b"Subject: x\r\n\r\n.dot\r\n")
    assert run(logged_in, *script) == [MessageStart(command, "120 octets", 120), data, MessageEnd(command)]
    assert run(logged_in, command, b"-ERR no such message\r\n") == [Refused(command, "no such message")]


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b"..\r\n..\r\n.\r\n", b".\r\n.\r\n"),
        (b".unstuffed\r\n.\r\n", b".unstuffed\r\n"),
        (b"a\r\n.unstuffed\r\n.\r\n", b"a\r\n.unstuffed\r\n"),
        (b"a..b..\r\n.\r\n", b"a..b..\r\n"),
        (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n"),
        (b"a\n..b\r\n.\r\n", b"a\n..b\r\n"),
        (b"a\r.\rb\r\n.\r\n", b"a\r.\rb\r\n"),
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n.\nb\r\n"),
        (b"a\r\n.\rb\r\n.\r\n", b"a\r\n.\rb\r\n"),
        (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
        (b"a\r\r\n.\r\n", b"a\r\r\n"),
        (b"a\r\n\r\n.\r\n", b"a\r\n\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"\0\xff\x80\r\n.\r\n", b"\0\xff\x80\r\n"),
        (b"+OK\r\n-ERR\r\n.\r\n", b"+OK\r\n-ERR\r\n"),
    ],
)
def test_only_a_dot_alone_between_line_ends_is_the_end(wire: bytes, message: bytes) -> None:
    assert retrieved(wire) == message


@pytest.mark.parametrize("dots", [1, 2, 499, 500, 501, 3000])
@pytest.mark.parametrize("between", [b"", b"a line without\r\n"])
def test_stuffed_dots_may_be_as_many_as_they_like(dots: int, between: bytes) -> None:
    message = (b".. a dot\r\n" + between) * dots
    wire = message.replace(b"\r\n.", b"\r\n..").replace(b"..", b"...", 1) + b".\r\n"
    assert retrieved(wire) == message


def test_lines_have_no_limit() -> None:
    message = b"x" * 200_000 + b"\r\n"
    events = play(logged_in(), [RETR, b"+OK\r\n" + message + b".\r\n"])
    assert events[1] == MessageData(RETR, message)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("120 octets", 120),
        ("120 OCTETS follow", 120),
        ("message 3 (120 octets)", 120),
        ("120 octetsy", None),
        ("120 bytes", None),
        ("1,120 octets", None),
        ("x120 octets", None),
        ("octets", None),
        ("", None),
        ("9" * 19 + " octets", None),
        ("٣ octets", None),
        ("1" + " " * 5000 + "octets", 1),
    ],
)
def test_the_size_is_taken_only_from_the_word_octets(text: str, octets: int | None) -> None:
    assert run(logged_in, RETR, f"+OK {text}\r\n.\r\n".encode())[0] == MessageStart(RETR, text, octets)


def test_pipelined_answers_point_back_to_their_commands() -> None:
    retrs = [Retr(MessageNumber(n)) for n in (1, 2, 3, 4)]
    replies = b"+OK\r\none\r\n.\r\n-ERR gone\r\n+OK\r\n.\r\n+OK 9 octets\r\n..four\r\n.\r\n+OK 1 2\r\n"
    events = run(logged_in, *retrs, Stat(), replies[:9], replies[9:-9], replies[-9:])
    one, two, three, four = retrs
    assert events[:3] == [MessageStart(one, "", None), MessageData(one, b"one\r\n"), MessageEnd(one)]
    assert events[3:6] == [Refused(two, "gone"), MessageStart(three, "", None), MessageEnd(three)]
    assert events[6:9] == [MessageStart(four, "9 octets", 9), MessageData(four, b".four\r\n"), MessageEnd(four)]
    assert len(events) == 10


def test_what_is_outstanding_counts_down_with_each_complete_answer() -> None:
    connection = logged_in()
    counts = []
    for n in (1, 2):
        connection.send(Retr(MessageNumber(n)))
    connection.send(Noop())
    for reply in (b"+OK\r\nx", b"\r\n.\r\n", b"-ERR\r\n", b"+OK\r\n"):
        play(connection, [reply])
        counts.append(connection.outstanding)
    assert counts == [3, 2, 1, 0]


def lf_server() -> Connection:
    connection = connect()
    play(connection, [b"+OK\n", User("me"), b"+OK\n", Pass("x"), b"+OK\n"])
    connection.pipelining = True
    return connection


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b".\n", b""),
        (b"a\n.\n", b"a\n"),
        (b"..a\n..\n.\n", b".a\n.\n"),
        (b"a\r\n.\n", b"a\r\n"),
        (b"a\r\n.\r\nb\n.\n", b"a\r\n.\r\nb\n"),
        (b"a\n.b\n.\n", b"a\n.b\n"),
    ],
)
def test_a_server_that_greets_with_a_bare_line_feed_uses_it_throughout(wire: bytes, message: bytes) -> None:
    expected = [MessageStart(RETR, "", None), *([MessageData(RETR, message)] if message else []), MessageEnd(RETR)]
    assert run(lf_server, RETR, b"+OK\n" + wire) == expected


def test_a_server_that_greets_with_crlf_may_end_a_reply_line_without_cr() -> None:
    expected = [
        Accepted(Noop(), "x"),
        MessageStart(RETR, "", None),
        MessageData(RETR, b".a\n.\n\r\n"),
        MessageEnd(RETR),
    ]
    assert run(logged_in, Noop(), b"+OK x\n", RETR, b"+OK\n..a\n.\n\r\n.\r\n") == expected
    assert run(logged_in, RETR, b"+OK\n.\r\n") == [MessageStart(RETR, "", None), MessageEnd(RETR)]
    assert run(logged_in, RETR, b"+OK\n\n.\r\n.\r\n")[1] == MessageData(RETR, b"\n.\r\n")


@pytest.mark.parametrize(
    "sent", [b"", b"+OK", b"+OK\r\n", b"+OK\r\nx\r\n", b"+OK\r\nx\r\n.", b"+OK\r\nx\r\n.\r", b"-ERR"]
)
def test_the_end_inside_a_reply_is_a_loss(sent: bytes) -> None:
    script = (RETR, sent, b"") if sent else (RETR, b"")
    assert run(logged_in, *script)[-1] is ConnectionLost


@pytest.mark.parametrize("line", [b"\r\n", b"OK\r\n", b"Subject: x\r\n", b"+OK120\r\n", b".\r\n"])
def test_a_reply_that_is_none_is_an_error(line: bytes) -> None:
    assert run(logged_in, RETR, line) == [ProtocolError]
