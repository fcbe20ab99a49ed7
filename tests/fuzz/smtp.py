"""Whatever a server says to mail, however cut, wherever the line breaks: what is told is so, or one of three errors.

    python -m tests.fuzz.smtp [--seconds N] [FILE...]

That is: who is told as delivered has exactly the octets, who is told as refused or unsent has none, no octet of a
message is read as a command, and nothing but ProtocolError, ConnectionLost and TryLater is raised. Of a server that
talks nonsense only the last is asked.

Strategy: the server is the referee of the unit tests, whose answers the program gives; what it delivered is the truth.
It never refuses RSET, as no server may (RFC 5321 section 4.1.1.5): an envelope that cannot be forgotten would be the
next message's.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailmove.errors import ConnectionLost, ProtocolError, TryLater
from mailmove.model import Body
from mailmove.protocols.smtp import Offers
from tests.fuzz import inputs
from tests.unit.smtp.referee import Letter, Referee, assert_true, talk

HEAD = 4
LMTP, PIPELINING, CHUNKING, GULLIBLE, AT_ONCE = 1, 2, 4, 8, 16
"""Flags of the first octet; then how the stream is cut, and after how many octets it breaks, up and down (0: never)."""
STRIDE = 5

ANSWERS = (
    "",
    "550 5.1.1 no",
    "451 later",
    "552-5.2.2 no\r\n552 5.2.2 room",
    "250",
    "421 4.3.2 closing",
    "452 4.5.3 many",
)
KINDS = ("letter", "to two", "to another", "answer", "nonsense")


def check(data: bytes) -> None:
    """One input."""
    (flags, style, takes, hears), items = inputs.parse(data, HEAD)
    lmtp, pipelining, chunking, gullible, at_once = (bool(flags & 1 << bit) for bit in range(5))
    offers = Offers(lmtp, pipelining, chunking, eight_bit=True, binary=True)
    letters = list(_letters(items, chunking, style))
    answers = _answers(items)
    referee = Referee(lmtp, lambda verb, number: "" if verb == "RSET" else next(answers, ""), gullible)
    done = talk(offers, referee, letters, seed=None if at_once else style, takes=_limit(takes), hears=_limit(hears))
    assert done.error is None or isinstance(done.error, ConnectionLost | ProtocolError | TryLater), done.error
    if not any(_name(kind) == "nonsense" for kind, _ in items):
        assert_true(done, referee, letters)


def _letters(items: list[inputs.Item], chunking: bool, style: int) -> Iterator[Letter]:
    """Any octets by BDAT, lines of any kind by DATA; each with its number, so that no two are alike."""
    for number, (kind, payload) in enumerate(items):
        recipients = {"letter": ("a@x",), "to two": ("a@x", "b@x"), "to another": ("b@x",)}.get(_name(kind))
        if recipients:
            lines = payload if chunking else payload.replace(b"\r", b"").replace(b"\n", b"\r\n")
            text = lines + b"\r\n%d\r\n" % number
            yield Letter(tuple(inputs.cut(text, style)), recipients, body=Body.BINARY if chunking else Body.EIGHT_BIT)


def _answers(items: list[inputs.Item]) -> Iterator[str]:
    """What the next command is answered with: one answer for each octet of the payload."""
    for kind, payload in items:
        if _name(kind) == "answer":
            yield from (ANSWERS[octet % len(ANSWERS)] for octet in payload)
        elif _name(kind) == "nonsense" and payload:
            yield payload.decode("latin-1")


def _name(kind: int) -> str:
    return KINDS[kind % len(KINDS)]


def _limit(octet: int) -> int:
    return octet * STRIDE or 1 << 60


if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("smtp")
