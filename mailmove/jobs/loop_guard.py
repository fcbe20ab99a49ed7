"""The loop guard: what has been where it is going, or has gone round for long, is parked and not sent (RFC 5321
section 6.3).

Strategy: two signs, both in the header section. A Delivered-To that names the recipient: mail systems write it when
they deliver, and some refuse a message that has their own already. More Received fields than any honest way has. All
of the section is looked at, also behind a line that is no field, where a parser would have given up: a sign too many
costs a question, one too few a loop. Every message that goes out is looked at, so the patterns are only asked where a
plain search finds the name of a field. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailmove.jobs.envelope import address

CAUSE = "loop"
MOST_RECEIVED = 50
"""Postfix bounces what has as many (its `hopcount_limit`); RFC 5321 section 6.3 asks servers to bear a hundred."""

_RECEIVED = re.compile(rb"(?:\A|[\r\n])received[ \t]*:", re.IGNORECASE)
_NAME = b"delivered-to"
_VALUE = re.compile(rb"[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)")


def loop_reason(section: bytes, recipient: str) -> str:
    """Why a message with this header section would go round in circles to `recipient`; "" if it would not.

    Addresses are compared without regard to case: few hosts tell Me@ from me@, and a loop is worse than a question.
    """
    lower = section.lower()
    hops = lower.count(b"received") > MOST_RECEIVED and len(_RECEIVED.findall(section))
    if hops > MOST_RECEIVED:
        return f"it has {hops:,} Received fields, more than {MOST_RECEIVED}: it may be going round in circles"
    if any(_same(value, recipient) for value in _delivered_to(section, lower)):
        return f"it was delivered to {recipient} before, as its Delivered-To says, and may come back from there"
    return ""


def _delivered_to(section: bytes, lower: bytes) -> Iterator[bytes]:
    """The values of the field; `lower` is the section in lower case."""
    start = lower.find(_NAME)
    while start >= 0:
        end = start + len(_NAME)
        found = _VALUE.match(section, end)
        if found and section[max(0, start - 1) : start] in (b"", b"\r", b"\n"):
            yield found[1]
        start = lower.find(_NAME, end)


def _same(octets: bytes, recipient: str) -> bool:
    """Whether a field's value names the recipient, in any spelling of the domain."""
    text = "".join(octets.decode("utf-8", "replace").split()).removeprefix("<").removesuffix(">")
    return _folded(text) == _folded(recipient)


def _folded(text: str) -> str:
    try:
        return address(text).casefold()
    except ValueError:
        return text.casefold()
