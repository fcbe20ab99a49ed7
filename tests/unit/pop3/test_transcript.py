"""What a log is told of a connection: every line as it was, no secret, no message, however the octets are cut.

Strategy: the scripts of the wire tests are played on a connection that writes down, and must be written down alike
whole and byte by byte; then every form of a secret is looked for.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import pytest

from mailmove.model import MessageNumber
from mailmove.protocols.pop3 import (
    Apop,
    Auth,
    AuthCancel,
    AuthResponse,
    Capa,
    Command,
    List,
    Pass,
    Retr,
    Stat,
    TranscribedConnection,
    User,
)
from tests.unit.wire import Step, play, random_cuts

SECRET = "hunter2-and-more"
GREETING = b"+OK ready <1@x>\r\n"
LOGIN: list[Step] = [GREETING, User("me"), b"+OK\r\n", Pass(SECRET), b"+OK welcome\r\n"]


def written(script: Sequence[Step]) -> list[str]:
    """The lines, which are the same however the script is cut."""
    told = [_written(script, seed) for seed in (None, 1, 2, 3)]
    assert told[1:] == told[:1] * 3
    return told[0]


def _written(script: Sequence[Step], seed: int | None) -> list[str]:
    lines: list[str] = []
    connection = TranscribedConnection(lambda direction, line: lines.append(f"{direction} {line}"))
    play(connection, script, None if seed is None else random_cuts(seed))
    return lines


def test_a_login_and_a_message() -> None:
    retr = Retr(MessageNumber(1))
    script = [*LOGIN, Stat(), b"+OK 1 27\r\n", retr, b"+OK 27 octets\r\nSubject: private\r\n\r\n..x\r\n.\r\n"]
    assert written(script) == [
        "S +OK ready <1@x>",
        "C USER ***",
        "S +OK",
        "C PASS ***",
        "S +OK welcome",
        "C STAT",
        "S +OK 1 27",
        "C RETR 1",
        "S +OK 27 octets",
        "S [24 octets of message]",
        "S .",
    ]


def test_listings_are_told_line_by_line_also_an_empty_one() -> None:
    script = [*LOGIN, Capa(), b"+OK\r\nTOP\r\n x-odd \xff\r\n.\r\n", List(), b"+OK 0\r\n.\r\n"]
    told = ["C CAPA", "S +OK", "S TOP", "S  x-odd ÿ", "S .", "C LIST", "S +OK 0", "S ."]
    assert written(script)[5:] == told


def test_a_message_that_breaks_off() -> None:
    told = written([*LOGIN, Retr(MessageNumber(1)), b"+OK\r\nabc\r\ndef", b""])
    assert told[-2] == "S [8 octets of message, unfinished]"
    assert told[-1].startswith("- The server closed the connection")


def test_two_messages_are_counted_apart() -> None:
    one, two = Retr(MessageNumber(1)), Retr(MessageNumber(2))
    told = written([*LOGIN, one, b"+OK\r\nabc\r\n.\r\n", two, b"+OK\r\n.\r\n"])
    assert [line for line in told if "octets of" in line] == ["S [5 octets of message]", "S [0 octets of message]"]


def test_what_breaks_the_grammar_is_told() -> None:
    assert written([*LOGIN, Stat(), b"what?\r\n"])[-2:] == [
        "S what?",
        "- The server broke the POP3 protocol: the reply to STAT is neither +OK nor -ERR: 'what?'",
    ]


INITIAL = f"\0me\0{SECRET}".encode()
CHALLENGE = b"+ " + b64encode(b"r=x,s=" + SECRET.encode()) + b"\r\n"


@pytest.mark.parametrize(
    ("commands", "told"),
    [
        ([Pass(SECRET), b"-ERR no\r\n"], ["C PASS ***", "S -ERR no"]),
        ([Pass(SECRET), f"-ERR PASS {SECRET}\r\n".encode()], ["C PASS ***", "S -ERR PASS ***"]),
        ([Apop("me", SECRET), f"-ERR APOP me {SECRET}\r\n".encode()], ["C APOP ***", "S -ERR APOP me ***"]),
        ([Auth("PLAIN", INITIAL), b"+OK\r\n"], ["C AUTH PLAIN ***", "S +OK"]),
        ([Auth("PLAIN", INITIAL), b"-ERR " + b64encode(INITIAL) + b"\r\n"], ["C AUTH PLAIN ***", "S -ERR ***"]),
        (
            [Auth("XOAUTH2"), b"+\r\n", AuthResponse(INITIAL), CHALLENGE, AuthResponse(b""), b"-ERR no\r\n"],
            ["C AUTH XOAUTH2", "S +", "C AUTH response ***", "S + ***", "C AUTH response ***", "S -ERR no"],
        ),
        (
            [Auth("CRAM-MD5"), CHALLENGE, AuthCancel(), b"-ERR cancelled\r\n"],
            ["C AUTH CRAM-MD5", "S + ***", "C AUTH cancellation", "S -ERR cancelled"],
        ),
    ],
)
def test_secrets_are_masked(commands: list[Command | bytes], told: list[str]) -> None:
    lines = written([GREETING, *commands])
    assert lines[1:] == told
    assert not any(form in line for line in lines for form in (SECRET, b64encode(INITIAL).decode()))
