"""The states of a POP3 session, as tables.

Strategy: everything that affects the state lives here. `ALLOWED` says which commands may be sent, `_TRANSITIONS` what
an answer changes; an answer that is not in it changes nothing. Refused commands, STLS and USER leave us where we were.
UPDATE (RFC 1939 section 6) is entered when QUIT is answered, since before we cannot know that it arrived.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from mailmove.protocols.pop3.commands import Capa, Command, Dele, List, Noop, Quit, Retr, Rset, Stat, Stls, Top, Uidl
from mailmove.protocols.pop3.login_commands import Apop, Auth, AuthCancel, AuthResponse, Pass, User


class State(enum.Enum):
    """Where a session is (RFC 1939 section 3)."""

    GREETING = "greeting"
    """The server has not spoken yet."""
    AUTHORIZATION = "authorization"
    AUTHENTICATING = "authenticating"
    """Part of AUTHORIZATION: the server has sent a challenge and waits for our response (RFC 5034 section 4)."""
    TRANSACTION = "transaction"
    UPDATE = "update"
    """QUIT was answered: only the end of the connection may follow."""
    CLOSED = "closed"


class Answer(enum.Enum):
    """How a reply begins: +OK, -ERR, or + in a SASL exchange."""

    ACCEPTED = "+OK"
    REFUSED = "-ERR"
    CHALLENGED = "+"


ALLOWED: Mapping[State, frozenset[type[Command]]] = {
    State.GREETING: frozenset(),
    State.AUTHORIZATION: frozenset({Capa, Stls, User, Pass, Apop, Auth, Quit}),
    State.AUTHENTICATING: frozenset({AuthResponse, AuthCancel}),
    State.TRANSACTION: frozenset({Capa, Stat, List, Uidl, Retr, Top, Dele, Rset, Noop, Quit}),
    State.UPDATE: frozenset(),
    State.CLOSED: frozenset(),
}

_TRANSITIONS: Mapping[tuple[State, type[Command] | None, Answer], State] = {
    (State.GREETING, None, Answer.ACCEPTED): State.AUTHORIZATION,
    (State.GREETING, None, Answer.REFUSED): State.CLOSED,
    (State.AUTHORIZATION, Pass, Answer.ACCEPTED): State.TRANSACTION,
    (State.AUTHORIZATION, Apop, Answer.ACCEPTED): State.TRANSACTION,
    (State.AUTHORIZATION, Auth, Answer.ACCEPTED): State.TRANSACTION,
    (State.AUTHORIZATION, Auth, Answer.CHALLENGED): State.AUTHENTICATING,
    (State.AUTHENTICATING, AuthResponse, Answer.ACCEPTED): State.TRANSACTION,
    (State.AUTHENTICATING, AuthResponse, Answer.REFUSED): State.AUTHORIZATION,
    # A cancelled exchange never logs in, whatever the server calls its answer.
    (State.AUTHENTICATING, AuthCancel, Answer.ACCEPTED): State.AUTHORIZATION,
    (State.AUTHENTICATING, AuthCancel, Answer.REFUSED): State.AUTHORIZATION,
    (State.AUTHORIZATION, Quit, Answer.ACCEPTED): State.UPDATE,
    (State.AUTHORIZATION, Quit, Answer.REFUSED): State.UPDATE,
    # -ERR says that some deletions were not made; the session ends all the same (RFC 1939 section 6).
    (State.TRANSACTION, Quit, Answer.ACCEPTED): State.UPDATE,
    (State.TRANSACTION, Quit, Answer.REFUSED): State.UPDATE,
}


def is_allowed(state: State, command: Command) -> bool:
    """Whether the command may be sent in this state."""
    return type(command) in ALLOWED[state]


def after(state: State, command: Command | None, answer: Answer) -> State:
    """The state after this answer. The greeting answers no command."""
    return _TRANSITIONS.get((state, None if command is None else type(command), answer), state)
