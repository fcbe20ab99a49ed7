"""What we say to log in: a POP3 server's own ways and SASL (RFC 1939 section 7, RFC 5034).

Strategy: all of these are fences, since the state depends on the answer, and a server reads what follows only when it
has decided. What is confidential shows as `***` in `repr` and `str`, so that no traceback and no log can give it away;
`mask` does the same for a server that echoes it.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from mailmove.errors import UsageError
from mailmove.protocols.pop3.commands import MAX_COMMAND_LINE, Command, ReplyKind

_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}")


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

    def masks(self) -> Sequence[tuple[str, str]]:
        """Also the response alone, which is long enough to be no word of the server's own."""
        encoded = b64encode(self.initial or b"").decode() if self.inline else ""
        return [*Command.masks(self), *([(encoded, "***")] if encoded else [])]

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
