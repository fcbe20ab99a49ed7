"""How a scripted IMAP server (imap_peer.py) differs from an honest one: plain data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

SHORT = 4096
"""Octets of the longest literal that LITERAL- lets a client send unasked (RFC 7888)."""

ALL_MAIL = "[Gmail]/All Mail"
GMAIL = "IMAP4rev1 X-GM-EXT-1 LITERAL- UIDPLUS SPECIAL-USE LIST-EXTENDED QUOTA APPENDLIMIT=35651584"


class Then(Enum):
    """What follows after the peer has said something in the middle of a literal."""

    GO_ON = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()


@dataclass(frozen=True)
class Interruption:
    """Said when so many octets of a literal have been read. `literal`: of the n-th that comes only, from 1; 0: each."""

    after: int
    says: bytes = b""
    then: Then = Then.GO_ON
    literal: int = 0


def _agreed(octets: bytes) -> bytes:
    return b""


@dataclass(frozen=True)
class ImapQuirks:
    """How a server differs from an honest one.

    `replies`: verb ("UID FETCH" is one, "" a line of one word) -> all that is said to it, or one answer for each time
    it comes in a connection, the last one for good; b"{tag}" is filled in, and an empty answer leaves it to the honest
    server. An empty `greeting` is none at all. `appended`: what is said of each APPEND in place of the honest OK.

    `refuse(octets)` is what is said of a message, like b"NO [TOOBIG] no", or b"" to take it. `most_sessions`: logins
    beyond so many get `one_too_many` (0: there is no bound). `quota`: (used, limit) in units of 1024 octets, None if
    there is no root. `gmail`: GMAIL's capabilities unless others are given, an `all_mail`, and mails of an equal
    Message-ID merged.
    """

    greeting: bytes = b"* OK ready\r\n"
    capabilities: str = ""
    replies: Mapping[str, bytes | Sequence[bytes]] = field(default_factory=dict)
    interruption: Interruption | None = None
    appended: bytes = b""
    behind_starttls: bytes = b""
    uids: Sequence[int] = ()
    refuse: Callable[[bytes], bytes] = _agreed
    most_sessions: int = 0
    one_too_many: bytes = b"{tag} NO [UNAVAILABLE] Maximum number of connections exceeded\r\n"
    quota: tuple[int, int] | None = None
    gmail: bool = False
    all_mail: str = ALL_MAIL

    @property
    def offered(self) -> str:
        return self.capabilities or (GMAIL if self.gmail else "IMAP4rev1")

    @property
    def append_limit(self) -> int:
        found = re.search(r"APPENDLIMIT=(\d+)", self.offered)
        return int(found[1]) if found else 0

    def offers(self, capability: str) -> bool:
        return capability in self.offered.split()

    def takes_unasked(self, octets: int) -> bool:
        """Whether a non-synchronising literal may have so many octets (RFC 7888)."""
        return self.offers("LITERAL+") or (self.offers("LITERAL-") and octets <= SHORT)
