"""What we may hear from a POP3 server.

Strategy: each event points back to the command it answers, so that with hundreds of commands in flight an answer can
never be booked on the wrong message. A message comes as MessageStart, any number of MessageData, MessageEnd; before
MessageEnd nothing is known to be complete. Texts are the server's own words, with a response code if it sent one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mailmove.model import MessageNumber, UniqueId
from mailmove.protocols.pop3.commands import Command


class NeedData(enum.Enum):
    """The type of NEED_DATA."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA
"""Nothing more can be said before more octets come in."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The server is ready (RFC 1939 section 4). `timestamp` is the `<…>` that announces APOP (section 7), or ""."""

    text: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class Refused:
    """-ERR: the connection is still good. `command` is None if the server refused to begin at all.

    `code` is the response code without brackets, in upper case, like "IN-USE" or "SYS/TEMP" (RFC 2449 section 8,
    RFC 3206 section 4); `argument` is what some servers put after it, like the seconds of "LOGIN-DELAY".
    """

    command: Command | None
    text: str
    code: str = ""
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """+OK to a command that has nothing else to say."""

    command: Command
    text: str


@dataclass(frozen=True, slots=True)
class MaildropStatus:
    """The drop listing (RFC 1939 section 5, STAT)."""

    command: Command
    count: int
    octets: int


@dataclass(frozen=True, slots=True)
class CapabilityList:
    """What the server can do: keyword in upper case -> parameters as sent (RFC 2449 section 3)."""

    command: Command
    capabilities: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ScanListing:
    """All scan listings: number -> octets (RFC 1939 section 5, LIST)."""

    command: Command
    sizes: Mapping[MessageNumber, int]


@dataclass(frozen=True, slots=True)
class UniqueIdListing:
    """All unique-id listings: number -> unique id (RFC 1939 section 7, UIDL)."""

    command: Command
    ids: Mapping[MessageNumber, UniqueId]


@dataclass(frozen=True, slots=True)
class MessageStart:
    """A message follows. `octets` is its size, if the reply says "N octets" in this word: a signal, not a length."""

    command: Command
    text: str
    octets: int | None


@dataclass(frozen=True, slots=True)
class MessageData:
    """Some octets of the message, un-stuffed and otherwise as sent."""

    command: Command
    data: bytes


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The terminating dot was seen: the message is as complete as the server made it."""

    command: Command


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server wants an `AuthResponse` (RFC 5034 section 4). `data` is decoded from base64."""

    command: Command
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The server ended the connection when it owed us nothing."""


Event = (
    Greeting
    | Refused
    | Accepted
    | MaildropStatus
    | CapabilityList
    | ScanListing
    | UniqueIdListing
    | MessageStart
    | MessageData
    | MessageEnd
    | Challenge
    | Closed
)
