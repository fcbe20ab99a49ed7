"""The tables: every command in every state, every answer."""

from __future__ import annotations

import pytest

from mailmove.errors import LocalProtocolError
from mailmove.model import MessageNumber
from mailmove.protocols.pop3 import (
    Auth,
    AuthCancel,
    AuthResponse,
    Capa,
    Command,
    Connection,
    List,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    State,
    Stls,
    Top,
    Uidl,
    User,
)
from mailmove.protocols.pop3.states import Answer, after
from tests.unit.wire import connect, greeted, logged_in, play

ONE = MessageNumber(1)
EVERY = [
    Capa(),
    Stls(),
    User("me"),
    Pass("secret"),
    Auth("PLAIN"),
    AuthResponse(b""),
    AuthCancel(),
    Stat(),
    List(),
    Uidl(),
    Retr(ONE),
    Top(ONE, 0),
    Rset(),
    Noop(),
    Quit(),
]
ALLOWED = {
    State.GREETING: set(),
    State.AUTHORIZATION: {"Capa", "Stls", "User", "Pass", "Auth", "Quit"},
    State.AUTHENTICATING: {"AuthResponse", "AuthCancel"},
    State.TRANSACTION: {"Capa", "Stat", "List", "Uidl", "Retr", "Top", "Rset", "Noop", "Quit"},
    State.UPDATE: set(),
    State.CLOSED: set(),
}


def in_state(state: State) -> Connection:
    connection = logged_in() if state in (State.TRANSACTION, State.UPDATE) else greeted()
    if state is State.GREETING:
        return connect()
    if state is State.AUTHENTICATING:
        play(connection, [Auth("PLAIN"), b"+ \r\n"])
    if state is State.UPDATE:
        play(connection, [Quit(), b"+OK\r\n"])
    if state is State.CLOSED:
        play(connection, [b""])
    return connection


@pytest.mark.parametrize("state", State)
def test_a_command_is_sent_only_where_it_is_allowed(state: State) -> None:
    for command in EVERY:
        connection = in_state(state)
        assert connection.state is state
        if type(command).__name__ in ALLOWED[state]:
            connection.send(command)
            assert connection.data_to_send() == command.line()
        else:
            with pytest.raises(LocalProtocolError, match=state.value):
                connection.send(command)
            assert connection.data_to_send() == b""
            assert connection.outstanding == 0


TRANSITIONS: list[tuple[State, Command, bytes, State]] = [
    (State.AUTHORIZATION, Capa(), b"+OK\r\n.\r\n", State.AUTHORIZATION),
    (State.AUTHORIZATION, Capa(), b"-ERR\r\n", State.AUTHORIZATION),
    (State.AUTHORIZATION, Stls(), b"+OK\r\n", State.AUTHORIZATION),
    (State.AUTHORIZATION, Stls(), b"-ERR\r\n", State.AUTHORIZATION),
    (State.AUTHORIZATION, User("me"), b"+OK\r\n", State.AUTHORIZATION),
    (State.AUTHORIZATION, Pass("secret"), b"-ERR\r\n", State.AUTHORIZATION),
    (State.AUTHORIZATION, Pass("secret"), b"+OK\r\n", State.TRANSACTION),
    (State.AUTHORIZATION, Auth("PLAIN"), b"-ERR\r\n", State.AUTHORIZATION),
    (State.AUTHORIZATION, Auth("PLAIN"), b"+OK\r\n", State.TRANSACTION),
    (State.AUTHORIZATION, Auth("PLAIN"), b"+ \r\n", State.AUTHENTICATING),
    (State.AUTHORIZATION, Quit(), b"+OK\r\n", State.UPDATE),
    (State.AUTHENTICATING, AuthResponse(b""), b"+ \r\n", State.AUTHENTICATING),
    (State.AUTHENTICATING, AuthResponse(b""), b"+OK\r\n", State.TRANSACTION),
    (State.AUTHENTICATING, AuthResponse(b""), b"-ERR\r\n", State.AUTHORIZATION),
    (State.AUTHENTICATING, AuthCancel(), b"-ERR\r\n", State.AUTHORIZATION),
    (State.AUTHENTICATING, AuthCancel(), b"+OK\r\n", State.AUTHORIZATION),
    (State.TRANSACTION, Retr(ONE), b"-ERR\r\n", State.TRANSACTION),
    (State.TRANSACTION, Retr(ONE), b"+OK\r\n.\r\n", State.TRANSACTION),
    (State.TRANSACTION, Noop(), b"+OK\r\n", State.TRANSACTION),
    (State.TRANSACTION, Quit(), b"+OK\r\n", State.UPDATE),
    (State.TRANSACTION, Quit(), b"-ERR some deleted messages not removed\r\n", State.UPDATE),
]


@pytest.mark.parametrize(("before", "command", "reply", "expected"), TRANSITIONS)
def test_an_answer_changes_the_state_when_it_is_complete(
    before: State, command: Command, reply: bytes, expected: State
) -> None:
    connection = in_state(before)
    play(connection, [command])
    assert connection.state is before
    play(connection, [reply])
    assert connection.state is expected
    assert connection.outstanding == 0


@pytest.mark.parametrize(
    ("greeting", "state"),
    [(b"+OK\r\n", State.AUTHORIZATION), (b"-ERR\r\n", State.CLOSED), (b"220 x\r\n", State.CLOSED)],
)
def test_the_greeting_decides_whether_there_is_a_session(greeting: bytes, state: State) -> None:
    connection = connect()
    play(connection, [greeting])
    assert connection.state is state


def test_an_answer_that_is_in_no_table_changes_nothing() -> None:
    assert after(State.TRANSACTION, Noop(), Answer.REFUSED) is State.TRANSACTION
