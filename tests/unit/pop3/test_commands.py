"""What we say: the exact octets, what cannot be said, and what is never shown."""

from __future__ import annotations

import dataclasses
from base64 import b64encode

import pytest

from mailmove.errors import UsageError
from mailmove.model import MessageNumber
from mailmove.protocols.pop3 import (
    Auth,
    AuthCancel,
    AuthResponse,
    Capa,
    Command,
    List,
    Noop,
    Pass,
    Quit,
    ReplyKind,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
)

ONE = MessageNumber(1)

LINES = [
    (Capa(), b"CAPA\r\n", ReplyKind.LISTING, False),
    (Stls(), b"STLS\r\n", ReplyKind.SINGLE, True),
    (User("me@gmx.de"), b"USER me@gmx.de\r\n", ReplyKind.SINGLE, True),
    (User("jörg"), "USER jörg\r\n".encode(), ReplyKind.SINGLE, True),
    (Pass(" a b "), b"PASS  a b \r\n", ReplyKind.SINGLE, True),
    (Auth("XOAUTH2"), b"AUTH XOAUTH2\r\n", ReplyKind.CHALLENGE, True),
    (Auth("PLAIN", b"\0me\0secret"), b"AUTH PLAIN AG1lAHNlY3JldA==\r\n", ReplyKind.CHALLENGE, True),
    (Auth("EXTERNAL", b""), b"AUTH EXTERNAL =\r\n", ReplyKind.CHALLENGE, True),
    (AuthResponse(b"\0me\0secret"), b"AG1lAHNlY3JldA==\r\n", ReplyKind.CHALLENGE, True),
    (AuthResponse(b""), b"\r\n", ReplyKind.CHALLENGE, True),
    (AuthCancel(), b"*\r\n", ReplyKind.SINGLE, True),
    (Stat(), b"STAT\r\n", ReplyKind.SINGLE, False),
    (List(), b"LIST\r\n", ReplyKind.LISTING, False),
    (Uidl(), b"UIDL\r\n", ReplyKind.LISTING, False),
    (Retr(MessageNumber(42)), b"RETR 42\r\n", ReplyKind.BODY, False),
    (Top(MessageNumber(42), 0), b"TOP 42 0\r\n", ReplyKind.BODY, False),
    (Rset(), b"RSET\r\n", ReplyKind.SINGLE, False),
    (Noop(), b"NOOP\r\n", ReplyKind.SINGLE, False),
    (Quit(), b"QUIT\r\n", ReplyKind.SINGLE, True),
]


@pytest.mark.parametrize(("command", "line", "reply", "fence"), LINES, ids=[repr(row[0]) for row in LINES])
def test_each_command_is_one_line_and_says_what_to_expect(
    command: Command, line: bytes, reply: ReplyKind, fence: bool
) -> None:
    assert (command.line(), command.reply, command.fence) == (line, reply, fence)


def test_a_command_is_a_value() -> None:
    assert Retr(ONE) == Retr(ONE) != Retr(MessageNumber(2))
    assert {Retr(ONE): "first"}[Retr(ONE)] == "first"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retr(ONE).number = MessageNumber(2)  # type: ignore[misc]


def test_nothing_deletes() -> None:
    assert b"DELE" not in {command.line()[:4] for command, *_ in LINES}


@pytest.mark.parametrize("character", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize("where", ["{}secret", "sec{}ret", "secret{}"])
def test_no_argument_can_become_a_command(character: str, where: str) -> None:
    value = where.format(character)
    for build in (User, Pass, Auth):
        with pytest.raises(UsageError) as refused:
            build(value)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("build", [User, Pass])
def test_text_that_is_no_unicode_is_refused(build: type[User | Pass]) -> None:
    with pytest.raises(UsageError) as refused:
        build("secret\udc80")
    assert "secret" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("mechanism", ["", "PLAIN =", "A" * 21, "ÄUTH"])
def test_the_name_of_a_mechanism_is_checked(mechanism: str) -> None:
    with pytest.raises(UsageError):
        Auth(mechanism)


@pytest.mark.parametrize("number", [0, -1])
def test_a_message_number_is_positive(number: int) -> None:
    for build in (Retr, lambda n: Top(n, 0)):
        with pytest.raises(UsageError):
            build(MessageNumber(number))


def test_top_asks_for_no_negative_number_of_lines() -> None:
    with pytest.raises(UsageError):
        Top(ONE, -1)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (Pass("hunter2"), "Pass(secret=***) PASS ***"),
        (Auth("PLAIN", b"hunter2"), "Auth(mechanism='PLAIN', initial=***) AUTH PLAIN ***"),
        (Auth("PLAIN", b"hunter2" * 99), "Auth(mechanism='PLAIN', initial=***) AUTH PLAIN"),
        (Auth("PLAIN"), "Auth(mechanism='PLAIN', initial=None) AUTH PLAIN"),
        (AuthResponse(b"hunter2"), "AuthResponse(data=***) AUTH response ***"),
        (AuthResponse(b""), "AuthResponse(data=***) AUTH response ***"),
        (AuthCancel(), "AuthCancel() AUTH cancellation"),
        (User("me"), "User(name='me') USER me"),
        (Retr(ONE), "Retr(number=1) RETR 1"),
    ],
)
def test_secrets_are_never_shown(command: Command, shown: str) -> None:
    assert f"{command!r} {command}" == shown
    assert "hunter2" not in f"{command!r}{command}{(command,)}"


def test_an_echoed_line_is_masked_and_a_common_word_is_not_given_away() -> None:
    assert Pass("password").mask("-ERR what is PASS password?") == "-ERR what is PASS ***?"
    assert Pass("password").mask("-ERR wrong password") == "-ERR wrong password"
    assert AuthResponse(b"hunter2").mask(b64encode(b"hunter2").decode()) == "AUTH response ***"
    assert AuthResponse(b"").mask("-ERR no") == "-ERR no"
    assert AuthCancel().mask("** cancelled **") == "** cancelled **"


@pytest.mark.parametrize(("length", "inline"), [(0, True), (180, True), (181, False), (4096, False)])
def test_an_initial_response_goes_inline_up_to_255_octets(length: int, inline: bool) -> None:
    command = Auth("PLAIN", b"x" * length)
    assert command.inline is inline
    assert len(command.line()) <= 255
    assert inline or command.line() == b"AUTH PLAIN\r\n"


def test_without_an_initial_response_nothing_is_inline() -> None:
    assert not Auth("PLAIN").inline


def test_a_line_of_exactly_255_octets_is_sent() -> None:
    command = Auth("XOAUTH2", b"x" * 180)
    assert command.inline
    assert len(command.line()) == 255
