"""What we may say to a POP3 server: each command is a value.

Strategy: a command that could be taken for two cannot be built, since CR, LF and NUL are refused in the constructor;
so the code that writes lines need not look. Each class says which kind of reply it gets and whether it is a fence: a
fence never shares the pipe, because what comes after it is read in another state, under TLS, or not at all. What logs
in, and what is secret about it, is in `login_commands`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mailmove.errors import UsageError
from mailmove.model import MessageNumber

MAX_COMMAND_LINE = 255
"""Octets of a command line with its CRLF (RFC 2449 section 4)."""


class ReplyKind(enum.Enum):
    """What follows when the server says yes."""

    SINGLE = "one line"
    LISTING = "a line, then lines up to a dot"
    BODY = "a line, then a message up to a dot"
    CHALLENGE = "one line, or a SASL challenge"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a POP3 client (RFC 1939 section 3)."""

    verb: ClassVar[str]
    reply: ClassVar[ReplyKind] = ReplyKind.SINGLE
    fence: ClassVar[bool] = False
    confidential: ClassVar[bool] = False

    def line(self) -> bytes:
        """The octets to send, with their CRLF."""
        return self.verb.encode() + b"\r\n"

    def masks(self) -> Sequence[tuple[str, str]]:
        """What a server must not be quoted with, where it echoes what it was sent, and what is shown instead.

        Only the whole line is looked for: masking the bare secret would give it away wherever it is a common word.
        """
        own = self.line()[:-2].decode() if self.confidential else ""
        return [(own, str(self))] if own else []

    def mask(self, text: str) -> str:
        """`text` from a server, without the secret."""
        return masked(text, self.masks())

    def __str__(self) -> str:
        return self.line()[:-2].decode()


def masked(text: str, masks: Iterable[tuple[str, str]]) -> str:
    """`text` with these replaced."""
    for secret, shown in masks:
        text = text.replace(secret, shown)
    return text


@dataclass(frozen=True, slots=True)
class Capa(Command):
    """Asks what the server can do; the answer may differ after STLS and after the login (RFC 2449 section 5)."""

    verb = "CAPA"
    reply = ReplyKind.LISTING


@dataclass(frozen=True, slots=True)
class Stls(Command):
    """Asks for TLS (RFC 2595 section 4)."""

    verb = "STLS"
    fence = True


@dataclass(frozen=True, slots=True)
class Stat(Command):
    """Asks how much there is (RFC 1939 section 5)."""

    verb = "STAT"


@dataclass(frozen=True, slots=True)
class List(Command):
    """Asks for the size of every message (RFC 1939 section 5)."""

    verb = "LIST"
    reply = ReplyKind.LISTING


@dataclass(frozen=True, slots=True)
class Uidl(Command):
    """Asks for the unique id of every message (RFC 1939 section 7)."""

    verb = "UIDL"
    reply = ReplyKind.LISTING


@dataclass(frozen=True, slots=True)
class _OfMessage(Command):
    """A command about one message. Raises UsageError for a number below 1."""

    number: MessageNumber

    def __post_init__(self) -> None:
        if self.number < 1:
            raise UsageError("A message number is at least 1.")

    def line(self) -> bytes:
        return f"{self.verb} {self.number}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Retr(_OfMessage):
    """Asks for a message (RFC 1939 section 5)."""

    verb = "RETR"
    reply = ReplyKind.BODY


@dataclass(frozen=True, slots=True)
class Top(_OfMessage):
    """Asks for the header section and the first `lines` lines of the body (RFC 1939 section 7)."""

    verb = "TOP"
    reply = ReplyKind.BODY
    lines: int

    def __post_init__(self) -> None:
        _OfMessage.__post_init__(self)  # super() does not work in a class with slots that dataclass has made anew
        if self.lines < 0:
            raise UsageError("TOP cannot ask for fewer than 0 lines.")

    def line(self) -> bytes:
        return f"{self.verb} {self.number} {self.lines}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Dele(_OfMessage):
    """Marks a message as deleted: it goes when QUIT is answered, and stays if the session ends without (section 5)."""

    verb = "DELE"


@dataclass(frozen=True, slots=True)
class Rset(Command):
    """Takes back every deletion of this session (RFC 1939 section 5)."""

    verb = "RSET"


@dataclass(frozen=True, slots=True)
class Noop(Command):
    """Keeps the connection alive (RFC 1939 section 5)."""

    verb = "NOOP"


@dataclass(frozen=True, slots=True)
class Quit(Command):
    """Ends the session. A server may see it before it has sent what was asked earlier, hence a fence (section 6)."""

    verb = "QUIT"
    fence = True
