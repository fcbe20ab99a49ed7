"""How a scripted SMTP or LMTP server (smtp_peer.py) differs from an honest one: plain data.

Strategy: the default of every field is an honest server that offers all it can, so a test states its one lie. What no
field can say is said by a Rule: at this stage of a session, another reply, and then go on, close, reset or stall. The
stages are "GREETING"; every command as it was read ("RCPT TO:<a@b.example>"); "BODY SIZE=9", where a message's octets
begin (by BDAT, those of its last chunk), with the parameters of its MAIL; "END", behind its last octet (on LMTP
"END <a@b.example>", for each recipient).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.hostile.quirks import Then

__all__ = ["ALL", "Rule", "SmtpQuirks", "Then", "without"]

ALL = ("PIPELINING", "CHUNKING", "8BITMIME", "BINARYMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 50000000")


@dataclass(frozen=True)
class Rule:
    """At the stages it matches: `reply`, raw octets (None: the honest one; b"": that one, unsaid), and then `then`.

    `skip`: it passes over so many of its matches first; `times`: how often it applies after that (None: always).
    `session`: in that session only, counted from 1. `crowded`: only where more has come in already. `holds`: at "END",
    only for messages that hold these octets. `after`: at BODY, so many octets are read before it applies. `keeps`: at
    "END", whether the server has the message (None: as its reply says). `unread`: a refused BDAT's octets stay where
    they are, to be read as commands.
    """

    stage: str = ".*"
    reply: bytes | None = None
    then: Then = Then.GO_ON
    skip: int = 0
    times: int | None = None
    session: int | None = None
    crowded: bool = False
    holds: bytes = b""
    after: int = 0
    keeps: bool | None = None
    unread: bool = False

    def matches(self, stage: str, session: int, octets: bytes, *, crowded: bool) -> bool:
        return (
            self.session in (None, session)
            and (crowded or not self.crowded)
            and self.holds in octets
            and re.fullmatch(self.stage, stage, re.IGNORECASE | re.DOTALL) is not None
        )

    def said(self, honest: bytes) -> bytes:
        return honest if self.reply is None else self.reply

    def takes(self, honest: bytes) -> bool:
        """Whether the server has the message."""
        return (self.said(honest) or honest).startswith(b"2") if self.keeps is None else self.keeps


@dataclass(frozen=True)
class SmtpQuirks:
    """`login_needed`: MAIL before AUTH is refused. `forgets_pipelined`: what came in behind a command is thrown away.

    `takes_for_nobody`: a message of which every recipient was refused is asked for, and taken.
    `most_recipients`: those beyond so many in one transaction get 452 (0: there is no bound).
    `data_ends` is what ends the octets of DATA, as a pattern with what stands before the dot as its first group: a
    server of the lenient kind has more of them than RFC 5321 allows.
    """

    lmtp: bool = False
    extensions: Sequence[str] = ALL
    rules: Sequence[Rule] = ()
    login_needed: bool = False
    forgets_pipelined: bool = False
    takes_for_nobody: bool = False
    most_recipients: int = 0
    data_ends: bytes = rb"(\r\n)\.\r\n"

    def offers(self, extension: str) -> bool:
        return any(one.split()[0] == extension for one in self.extensions)

    @property
    def largest(self) -> int:
        """Octets of the largest message it takes; 0 if it does not say."""
        words = next((one.split() for one in self.extensions if one.startswith("SIZE ")), [])
        return int(words[1]) if words else 0


def without(*extensions: str) -> tuple[str, ...]:
    """All extensions less these: `SmtpQuirks(extensions=without("CHUNKING"))`."""
    return tuple(one for one in ALL if one.split()[0] not in extensions)
