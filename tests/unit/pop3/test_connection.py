"""Fences, limits, ends and errors."""

from __future__ import annotations

import pytest

from mailmove.errors import ConnectionLost, LocalProtocolError, ProtocolError
from mailmove.model import MessageNumber
from mailmove.protocols.pop3 import (
    MAX_LINE,
    NEED_DATA,
    Accepted,
    Auth,
    Capa,
    CapabilityList,
    Closed,
    Command,
    List,
    Noop,
    Pass,
    Quit,
    Refused,
    Retr,
    State,
    Stls,
    Uidl,
    User,
)
from tests.unit.wire import connect, drain, greeted, logged_in, play, run

ONE = MessageNumber(1)


@pytest.mark.parametrize("fence", [Capa(), Stls(), User("me"), Pass("x"), Auth("PLAIN")])
def test_before_the_login_nothing_shares_the_pipe(fence: Command) -> None:
    connection = greeted()
    connection.pipelining = True
    connection.send(fence)
    for command in (Capa(), User("me"), Quit()):
        with pytest.raises(LocalProtocolError, match="unanswered"):
            connection.send(command)
    assert connection.data_to_send() == fence.line()


@pytest.mark.parametrize("fence", [Quit()])
def test_a_fence_follows_nothing_and_nothing_follows_it(fence: Command) -> None:
    connection = logged_in()
    connection.send(Retr(ONE))
    with pytest.raises(LocalProtocolError, match="while RETR 1 is unanswered"):
        connection.send(fence)
    play(connection, [b"-ERR\r\n", fence])
    with pytest.raises(LocalProtocolError, match=f"while {fence} is unanswered"):
        connection.send(Noop())


def test_without_pipelining_there_is_one_command_at_a_time() -> None:
    connection = logged_in(pipelining=False)
    connection.send(Retr(ONE))
    with pytest.raises(LocalProtocolError, match="PIPELINING"):
        connection.send(Noop())
    assert connection.outstanding == 1
    assert play(connection, [b"-ERR\r\n", Noop(), b"+OK\r\n"])[-1] == Accepted(Noop(), "")


def test_commands_are_batched_in_one_write() -> None:
    connection = logged_in()
    for command in (List(), Uidl(), Retr(ONE)):
        connection.send(command)
    assert connection.outstanding == 3
    assert connection.data_to_send() == b"LIST\r\nUIDL\r\nRETR 1\r\n"
    assert connection.data_to_send() == b""


def test_an_objection_leaves_the_connection_as_it_was_and_shows_no_secret() -> None:
    connection = logged_in()
    with pytest.raises(LocalProtocolError) as objection:
        connection.send(Pass("hunter2"))
    assert "hunter2" not in str(objection.value)
    assert play(connection, [Noop(), b"+OK\r\n"]) == [Accepted(Noop(), "")]


def test_quit_and_the_end() -> None:
    assert run(logged_in, Quit(), b"+OK bye\r\n", b"") == [Accepted(Quit(), "bye"), Closed()]
    assert run(logged_in, Quit(), b"-ERR not removed\r\n", b"") == [Refused(Quit(), "not removed"), Closed()]
    assert run(greeted, Quit(), b"+OK\r\n", b"") == [Accepted(Quit(), ""), Closed()]


def test_a_server_that_is_owed_nothing_may_leave() -> None:
    assert run(logged_in, b"") == [Closed()]
    assert run(greeted, b"") == [Closed()]
    assert run(logged_in, Noop(), b"+OK\r\n", b"") == [Accepted(Noop(), ""), Closed()]


@pytest.mark.parametrize(
    ("command", "sent", "awaited"),
    [
        (Quit(), b"", "the reply to QUIT"),
        (Noop(), b"+O", "the reply to NOOP"),
        (Retr(ONE), b"+OK\r\nhalf", "the rest of the reply to RETR 1"),
        (Uidl(), b"+OK\r\n1 a\r\n", "the rest of the reply to UIDL"),
        (Capa(), b"+OK\r\n.", "the rest of the reply to CAPA"),
    ],
)
def test_a_loss_says_what_was_awaited(command: Command, sent: bytes, awaited: str) -> None:
    script: list[Command | bytes] = [command, sent, b""] if sent else [command, b""]
    assert run(logged_in, *script)[-1] is ConnectionLost
    connection = logged_in()
    play(connection, script)
    assert connection.state is State.CLOSED
    with pytest.raises(ConnectionLost, match=f"while {awaited} was awaited"):
        connection.next_event()


def test_a_loss_during_the_login_shows_no_secret() -> None:
    connection = greeted()
    play(connection, [Pass("hunter2"), b""])
    with pytest.raises(ConnectionLost, match=r"the reply to PASS \*\*\* was awaited"):
        connection.next_event()


@pytest.mark.parametrize("sent", [b"", b"+OK hal"])
def test_the_end_before_the_greeting_is_a_loss(sent: bytes) -> None:
    assert run(connect, *([sent, b""] if sent else [b""])) == [ConnectionLost]


def test_everything_received_is_told_before_the_end() -> None:
    connection = logged_in()
    connection.send(Noop())
    connection.receive_data(b"+OK\r\n")
    connection.receive_data(b"")
    assert drain(connection) == [Accepted(Noop(), ""), Closed()]
    connection.receive_data(b"")
    with pytest.raises(LocalProtocolError):
        connection.receive_data(b"+OK\r\n")


@pytest.mark.parametrize("unsolicited", [b"+OK\r\n", b"x", b"\r\n"])
def test_octets_that_answer_nothing_are_an_error(unsolicited: bytes) -> None:
    assert run(logged_in, unsolicited) == [ProtocolError]
    assert run(greeted, unsolicited) == [ProtocolError]
    assert run(logged_in, Noop(), b"+OK\r\n", unsolicited)[-1] is ProtocolError
    assert run(logged_in, Quit(), b"+OK\r\n", unsolicited)[-1] is ProtocolError
    assert run(connect, b"-ERR no\r\n", unsolicited)[-1] is ProtocolError


def test_octets_that_answer_nothing_never_answer_the_next_command() -> None:
    connection = logged_in()
    connection.send(Noop())
    connection.receive_data(b"+OK\r\n+OK again\r\n")
    assert connection.next_event() == Accepted(Noop(), "")
    with pytest.raises(ProtocolError, match="again"):
        connection.send(Noop())
    with pytest.raises(ProtocolError, match="again"):
        connection.next_event()


def test_an_error_quotes_the_line_printably_and_in_short() -> None:
    connection = logged_in()
    play(connection, [Noop(), b"\x1b[2J\xff\r" + b"y" * 1000 + b"\r\n"])
    with pytest.raises(ProtocolError) as error:
        connection.next_event()
    assert "the reply to NOOP" in str(error.value)
    assert len(error.value.server_text) == 200
    assert error.value.server_text.isprintable()
    assert error.value.server_text.startswith(r"'\x1b[2Jÿ\ryyy")


def test_a_reply_line_may_be_long_but_not_without_limit() -> None:
    text = b"x" * (MAX_LINE - len(b"+OK \r\n"))
    assert play(logged_in(), [Noop(), b"+OK " + text + b"\r\n"]) == [Accepted(Noop(), text.decode())]
    assert play(logged_in(), [Noop(), b"+OK x" + text + b"\r\n"]) == [ProtocolError]
    assert play(logged_in(), [Noop(), b"+OK " + text + b"xx"]) == [ProtocolError]
    connection = logged_in()
    connection.send(Noop())
    connection.receive_data(b"+OK " + text + b"\r")
    assert connection.next_event() is NEED_DATA


def test_no_line_can_be_built_that_takes_long_to_understand() -> None:
    for hostile in (b"<" + b"@" * 60_000, b"[" + b"a" * 60_000, b"1 " * 30_000, b"1" + b" " * 60_000, b"<a@" * 20_000):
        play(connect(), [b"+OK " + hostile + b"\r\n"])
        play(connect(), [b"-ERR " + hostile + b"\r\n"])
        play(logged_in(), [Retr(ONE), b"+OK " + hostile + b"\r\n"])
        play(logged_in(), [List(), b"+OK\r\n" + hostile + b"\r\n.\r\n"])


def test_capabilities_are_asked_for_again_after_the_login() -> None:
    assert run(logged_in, Capa(), b"+OK\r\nPIPELINING\r\n.\r\n") == [CapabilityList(Capa(), {"PIPELINING": ()})]
