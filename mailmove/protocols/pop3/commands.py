"""What we may say to a POP3 server: each command is a value.

Strategy: a command that could be taken for two cannot be built, since CR, LF and NUL are refused in the constructor;
so the code that writes lines need not look. Each class says which kind of reply it gets and whether it is a fence: a
fence never shares the pipe, because what comes after it is read in another state, under TLS, or not at all.
`repr` and `str` of a command show `***` instead of a secret.
"""

from __future__ import annotations

import enum
import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import ClassVar

from mailmove.errors import UsageError
from mailmove.model import MessageNumber

MAX_COMMAND_LINE = 255
"""Octets of a command line with its CRLF (RFC 2449 section 4)."""

_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}")


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

    def mask(self, text: str) -> str:
        """`text` from a server that echoes what it was sent, without the secret.

        Only the whole line is looked for: masking the bare secret would give it away wherever it is a common word.
        """
        own = self.line()[:-2].decode() if self.confidential else ""
        return text.replace(own, str(self)) if own else text

    def __str__(self) -> str:
        return self.line()[:-2].decode()


@dataclass(frozen=True, slots=True)
class Capa(Command):
    """Asks what the server can do; the answer may differ after STLS and after the login (RFC 2449 section 5)."""

    verb = "CAPA"
    reply = ReplyKind.LISTING
    fence = True


@dataclass(frozen=True, slots=True)
class Stls(Command):
    """Asks for TLS (RFC 2595 section 4)."""

    verb = "STLS"
    fence = True


@dataclass(frozen=True, slots=True)
class User(Command):
    """Names the maildrop (RFC 1939 section 7)."""

    verb = "USER"
    fence = True
    name: str

    def __post_init__(self) -> None:
        _check_text("user name", self.name)

    def line(self) -> bytes:
        return f"{self.verb} {self.name}\r\n".encode()


@dataclass(frozen=True, slots=True, repr=False)
class Pass(Command):
    """Gives the password (RFC 1939 section 7)."""

    verb = "PASS"
    fence = True
    confidential = True
    secret: str

    def __post_init__(self) -> None:
        _check_text("password", self.secret)

    def line(self) -> bytes:
        return f"{self.verb} {self.secret}\r\n".encode()

    def __str__(self) -> str:
        return f"{self.verb} ***"

    def __repr__(self) -> str:
        return "Pass(secret=***)"


@dataclass(frozen=True, slots=True, repr=False)
class Apop(Command):
    """Names the maildrop and proves to know its password (RFC 1939 section 7). `digest` is `apop_digest`'s."""

    verb = "APOP"
    fence = True
    confidential = True
    name: str
    digest: str

    def __post_init__(self) -> None:
        _check_text("user name", self.name)
        _check_text("digest", self.digest)

    def line(self) -> bytes:
        return f"{self.verb} {self.name} {self.digest}\r\n".encode()

    def __str__(self) -> str:
        return f"{self.verb} {self.name} ***"

    def __repr__(self) -> str:
        return f"Apop(name={self.name!r}, digest=***)"


@dataclass(frozen=True, slots=True, repr=False)
class Auth(Command):
    """Begins a SASL exchange (RFC 5034 section 4). `initial` is the initial response before base64.

    One that would make the line too long is left out of it (RFC 5034 section 4). Then, as without one, the server
    sends an empty challenge, and the caller answers it with `AuthResponse(initial)`.
    """

    verb = "AUTH"
    reply = ReplyKind.CHALLENGE
    fence = True
    confidential = True
    mechanism: str
    initial: bytes | None = None

    def __post_init__(self) -> None:
        if not _MECHANISM.fullmatch(self.mechanism):
            raise UsageError("The name of a SASL mechanism is 1 to 20 letters, digits, hyphens and underscores.")

    @property
    def inline(self) -> bool:
        """Whether the initial response goes out with the command."""
        return self.initial is not None and len(self._full_line()) <= MAX_COMMAND_LINE

    def line(self) -> bytes:
        return self._full_line() if self.inline else f"{self.verb} {self.mechanism}\r\n".encode()

    def mask(self, text: str) -> str:
        """Also without the response alone, which is long enough to be no word of the server's own."""
        encoded = b64encode(self.initial or b"").decode() if self.inline else ""
        text = Command.mask(self, text)
        return text.replace(encoded, "***") if encoded else text

    def _full_line(self) -> bytes:
        # An empty response is written "=", since nothing at all means that there is none (RFC 5034 section 4).
        return f"{self.verb} {self.mechanism} ".encode() + (b64encode(self.initial or b"") or b"=") + b"\r\n"

    def __str__(self) -> str:
        return f"{self.verb} {self.mechanism}" + (" ***" if self.inline else "")

    def __repr__(self) -> str:
        return f"Auth(mechanism={self.mechanism!r}, initial={None if self.initial is None else '***'})"


@dataclass(frozen=True, slots=True, repr=False)
class AuthResponse(Command):
    """Answers a challenge (RFC 5034 section 4). `data` is the response before base64."""

    verb = "AUTH"
    reply = ReplyKind.CHALLENGE
    fence = True
    confidential = True
    data: bytes

    def line(self) -> bytes:
        return b64encode(self.data) + b"\r\n"

    def __str__(self) -> str:
        return f"{self.verb} response ***"

    def __repr__(self) -> str:
        return "AuthResponse(data=***)"


@dataclass(frozen=True, slots=True)
class AuthCancel(Command):
    """Gives up a SASL exchange; the server refuses it, and all is as before AUTH (RFC 5034 section 4)."""

    verb = "AUTH"
    fence = True

    def line(self) -> bytes:
        return b"*\r\n"

    def __str__(self) -> str:
        return f"{self.verb} cancellation"


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
class Retr(Command):
    """Asks for a message (RFC 1939 section 5)."""

    verb = "RETR"
    reply = ReplyKind.BODY
    number: MessageNumber

    def __post_init__(self) -> None:
        _check_number(self.number)

    def line(self) -> bytes:
        return f"{self.verb} {self.number}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Top(Command):
    """Asks for the header section and the first `lines` lines of the body (RFC 1939 section 7)."""

    verb = "TOP"
    reply = ReplyKind.BODY
    number: MessageNumber
    lines: int

    def __post_init__(self) -> None:
        _check_number(self.number)
        if self.lines < 0:
            raise UsageError("TOP cannot ask for fewer than 0 lines.")

    def line(self) -> bytes:
        return f"{self.verb} {self.number} {self.lines}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Dele(Command):
    """Marks a message as deleted: it goes when QUIT is answered, and stays if the session ends without (section 5)."""

    verb = "DELE"
    number: MessageNumber

    def __post_init__(self) -> None:
        _check_number(self.number)

    def line(self) -> bytes:
        return f"{self.verb} {self.number}\r\n".encode()


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


def apop_digest(timestamp: str, secret: str) -> str:
    """The digest of APOP: MD5 over the greeting's timestamp, with its brackets, and the password."""
    return hashlib.md5((timestamp + secret).encode(), usedforsecurity=False).hexdigest()


def _check_text(what: str, value: str) -> None:
    if any(character in value for character in "\r\n\0"):
        raise UsageError(f"The {what} contains a line break or a NUL character: remove it and try again.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"The {what} is not valid Unicode text: enter it again.") from None


def _check_number(number: MessageNumber) -> None:
    if number < 1:
        raise UsageError("A message number is at least 1.")
