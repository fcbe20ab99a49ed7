"""The vocabulary: frozen values named after the RFCs' terms. Imports nothing of ours, does nothing.

Strategy: a value that is invalid cannot be built, so code that receives one need not check it again. Names are those of
design.md section 3; a message number is never stored, a UniqueId only means something inside its Maildrop.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, NewType, Protocol

MessageNumber = NewType("MessageNumber", int)
"""The number of a message in one POP3 session (RFC 1939 section 4). Never stored."""

UniqueId = NewType("UniqueId", str)
"""A unique id (RFC 1939 section 7): one character per octet, octet n as U+00nn, so that any octets survive JSON."""

Digest = NewType("Digest", str)
"""sha256 of a message's exact octets, 64 lower-case hex digits: the name of its file."""

RunId = NewType("RunId", str)
"""One execution of a job: sortable by time, unique over archives."""

Transcript = Callable[[str, str], None]
"""Takes what crosses the wire, without its secrets: a direction ("C": from us, "S": from the server, "-": about the
connection) and a line."""

POP3_PORTS = (110, 995)


class Body(enum.IntEnum):
    """What a transport must be able to carry for a message to arrive unaltered; more than those before it.

    SEVEN_BIT: octets 1 to 127 in lines that end with CRLF. EIGHT_BIT: also octets above 127 (RFC 6152). BINARY: NUL,
    or a CR or LF that is not part of a CRLF (RFC 3030).
    """

    SEVEN_BIT = 0
    EIGHT_BIT = 1
    BINARY = 2


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of an SMTP or LMTP server (RFC 5321 section 4.2).

    `code`: 200 to 599. `enhanced`: a status code like "5.7.1" (RFC 3463), "" where there is none. `text`: the rest of
    its words, without control characters, its lines joined by " / ".
    """

    code: int
    enhanced: str = ""
    text: str = ""

    @property
    def is_positive(self) -> bool:
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: the same may be taken another time."""
        return 400 <= self.code < 500

    @property
    def codes(self) -> str:
        """For the log, like "550 5.1.1"."""
        return f"{self.code} {self.enhanced}".rstrip()

    def __str__(self) -> str:
        return f"{self.codes} {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Maildrop:
    """A POP3 mailbox: the scope in which a unique id means anything.

    Ports 110 and 995 of one host are the same maildrop. `name` is what `--maildrop` states: it survives a rename of
    the host.
    """

    host: str
    user: str
    port: int = 995
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", self.host.lower())

    def __str__(self) -> str:
        if self.name:
            return self.name
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in POP3_PORTS else f":{self.port}"
        return f"{self.user}@{host}{port}"


class MaildropEntry(NamedTuple):
    """One scan listing joined with one unique-id listing (RFC 1939 sections 5 and 7).

    `octets` is what LIST said, a signal and never a length to read. `unique_id` may be empty on a broken server. A
    tuple, since a maildrop may have 10^5 of them in every run.
    """

    number: MessageNumber
    unique_id: UniqueId
    octets: int


class Complete(enum.StrEnum):
    """Whether a stored message was shown to be whole (design.md section 6.4)."""

    YES = "true"
    NO = "false"
    UNRELIABLE_SIZES = "unreliable-sizes"


class DateOrigin(enum.StrEnum):
    """Where an InternalDate comes from, best first (design.md section 7)."""

    SOURCE = "source"
    RECEIVED = "received"
    DATE = "date"
    FIRST_SEEN = "first-seen"


@dataclass(frozen=True, slots=True)
class InternalDate:
    """When a message arrived, in UTC, and where we know it from."""

    time: datetime
    origin: DateOrigin


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """When a group is committed: whichever comes first (design.md section 5)."""

    messages: int = 256
    octets: int = 16 * 1024 * 1024
    seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Headers:
    """What the catalogue keeps of a header section, decoded for people; empty strings where the field is missing.

    `readable` is False when the section could not be made sense of: the message is archived all the same.
    `fingerprint` is the sha256 of the whole section, by which TOP can tell a message again; "" if it is not known.
    """

    message_id: str = ""
    date: str = ""
    subject: str = ""
    sender: str = ""
    recipients: str = ""
    readable: bool = True
    fingerprint: str = ""


class Fate(enum.StrEnum):
    """What became of one listed message in one run; the terms of the pull's equation (design.md, P4)."""

    STORED = "stored"
    ALREADY_ARCHIVED = "already_archived"
    DUPLICATE_CONTENT = "duplicate_content"
    SKIPPED = "skipped"
    GONE = "gone"
    PARKED = "parked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """How to find a password, never the password: at most one is set; with none it is asked for on a terminal.

    `token_command` prints an OAuth token instead, and is run again for every session, since tokens expire.
    """

    env: str = ""
    file: str = ""
    command: str = ""
    token_command: str = ""


class AuthMethod(enum.StrEnum):
    """How to log in; AUTO takes the best that the server announces."""

    AUTO = "auto"
    USER = "user"
    APOP = "apop"
    PLAIN = "plain"
    LOGIN = "login"
    CRAM_MD5 = "cram-md5"
    SCRAM_SHA_256 = "scram-sha-256"
    XOAUTH2 = "xoauth2"
    OAUTHBEARER = "oauthbearer"


TOKEN_METHODS = (AuthMethod.OAUTHBEARER, AuthMethod.XOAUTH2)
"""Those that take a token of OAuth 2, the best first."""

POP3_METHODS = (AuthMethod.USER, AuthMethod.APOP)
"""Commands of POP3 itself: no other protocol has them."""


class Outcome(enum.StrEnum):
    """How a run ended (design.md section 8)."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReportedException:
    """One item that is not good news, named with its reason.

    `kind` is a term of the equation, or "suspect" or "limit". Empty fields are left out of the JSON.
    """

    kind: str
    reason: str
    unique_id: str = ""
    digest: str = ""
    maildrop: str = ""
    server_text: str = ""
    count: int = 0
    command: str = ""
    mailbox: str = ""


class Progress(Protocol):
    """What a job says while it works. The core never draws; cli/progress.py does."""

    def note(self, text: str) -> None:
        """A sentence a person wants to read while waiting: a reconnect, a wait, a warning."""

    def begin(self, what: str, messages: int, octets: int) -> None:
        """Work of this size lies ahead."""

    def received(self, octets: int) -> None:
        """So many octets came in and are not durable yet."""

    def done(self, messages: int, octets: int) -> None:
        """So many messages of so many octets are settled for good (design.md, P2)."""

    def rewind(self) -> None:
        """What was received and not settled is lost, and will be received again."""

    def end(self) -> None:
        """No more will come."""


class NoProgress:
    """The silent twin of Progress."""

    def note(self, text: str) -> None: ...

    def begin(self, what: str, messages: int, octets: int) -> None: ...

    def received(self, octets: int) -> None: ...

    def done(self, messages: int, octets: int) -> None: ...

    def rewind(self) -> None: ...

    def end(self) -> None: ...
