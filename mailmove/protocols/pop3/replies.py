"""What a reply line says.

Strategy: pure functions from one line to one event. A line is split once into its answer and its text; after that only
the texts that mean something to a program are parsed, and any other text is kept for people as it is.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from mailmove.protocols.pop3.commands import Command
from mailmove.protocols.pop3.events import Accepted, Challenge, Greeting, MaildropStatus, MessageStart, Refused
from mailmove.protocols.pop3.states import Answer
from mailmove.protocols.pop3.text import broken, decode

_STATUS = re.compile(rb"(\+OK|-ERR)(?![A-Z0-9])[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_TIMESTAMP = re.compile(r"<[!-;=?A-~]+@[!-;=?-~]+>")
"""Only what an RFC 822 msg-id may hold: with other octets a false server can learn the password (CVE-2007-1558)."""
_DROP_LISTING = re.compile(r"([0-9]{1,18})[ \t]+([0-9]{1,18})(?:[ \t].*)?", re.DOTALL)
_OCTETS = re.compile(r"(?<![\w.,])([0-9]{1,18}) +octets\b", re.IGNORECASE)


def split(command: Command | None, line: bytes) -> tuple[Answer, str]:
    """The answer and the text of a reply line (RFC 1939 section 3). Upper or lower case; the text may be missing."""
    match = _STATUS.fullmatch(line)
    if match is None:
        about = f"the reply to {command}" if command else "the greeting (is this a POP3 port?)"
        raise broken(f"{about} is neither +OK nor -ERR", _masked(command, line))
    answer = Answer.REFUSED if match[1][:1] == b"-" else Answer.ACCEPTED
    return answer, _masked(command, match[2])


def is_challenge(line: bytes) -> bool:
    """Whether this line continues a SASL exchange (RFC 5034 section 4); some servers leave out the blank."""
    return line == b"+" or line.startswith(b"+ ")


def challenge(command: Command, line: bytes) -> Challenge:
    """The challenge, decoded (RFC 5034 section 4)."""
    try:
        return Challenge(command, b64decode(line[1:].strip(b" \t"), validate=True))
    except binascii.Error:
        raise broken("a SASL challenge is not base64", _masked(command, line)) from None


def greeting(text: str) -> Greeting:
    """The greeting, with the timestamp of APOP if there is one (RFC 1939 section 7)."""
    timestamp = _TIMESTAMP.search(text)
    return Greeting(text, timestamp[0] if timestamp else "")


def refused(command: Command | None, text: str) -> Refused:
    """-ERR with its response code, if there is one (RFC 2449 section 8, RFC 3206 section 4)."""
    code, bracket, _ = text.removeprefix("[").partition("]")
    if not (text.startswith("[") and bracket):
        return Refused(command, text)
    word, _, argument = code.strip().partition(" ")
    return Refused(command, text, word.upper(), argument.strip())


def message_start(command: Command, text: str) -> MessageStart:
    """+OK to RETR or TOP. Only a number followed by the word "octets" is taken for the size."""
    octets = _OCTETS.search(text)
    return MessageStart(command, text, int(octets[1]) if octets else None)


def maildrop_status(command: Command, text: str) -> MaildropStatus | Accepted:
    """The drop listing, "nn mm" and perhaps more (RFC 1939 section 5). UIDL and LIST tell the same, so a server that
    says something else here is only not believed."""
    numbers = _DROP_LISTING.fullmatch(text)
    if numbers is None:
        return Accepted(command, text)
    return MaildropStatus(command, int(numbers[1]), int(numbers[2]))


def _masked(command: Command | None, octets: bytes) -> str:
    text = decode(octets)
    return command.mask(text) if command and command.confidential else text
