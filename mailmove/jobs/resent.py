"""The block that `--resent` puts above a message: who has sent it on, when, and to whom (RFC 5322 section 3.6.6).

Strategy: the block is the only thing added; the message below it goes out octet by octet as it is in the archive, so
that what it said of itself (From, Date, Message-ID, signatures) still holds. The four fields stand together and above
everything else, as that section asks. So they stand above a mbox "From " line, too, which is no field, at the top of a
message or below them, and which readers pass over. Of a message without any header the first line would be read as one:
there the block alone is the header section, and an empty line ends it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from mailmove.errors import LocalProtocolError
from mailmove.jobs.envelope import is_address, is_recipient

LINE = 76
"""Octets of a line where it can be folded, its CRLF not counted; RFC 5322 section 2.1.1 recommends 78."""

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|From |\r?\n")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")


def resent_block(sender: str, recipients: Sequence[str], now: datetime, message_id: str) -> bytes:
    """Resent-Date, Resent-From, Resent-To and Resent-Message-ID, in lines that end with CRLF.

    Addresses as `envelope.address` spells them; those that are not ASCII stand there in UTF-8 (RFC 6532), so what goes
    out must be classified with the block. `message_id` is like "<…@host>". Raises LocalProtocolError for what could
    break a line.
    """
    bad = [one for one in (sender, *recipients) if not is_recipient(one)]
    if bad or not recipients or not _MESSAGE_ID.fullmatch(message_id):
        raise LocalProtocolError(f"A Resent- field cannot hold {bad or message_id!r}: this is a bug in mailmove.")
    lines = (
        f"Resent-Date: {format_datetime(now.astimezone(UTC))}",
        f"Resent-From: {sender}",
        _folded("Resent-To:", recipients),
        f"Resent-Message-ID: {message_id}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()


def above(block: bytes, head: bytes) -> bytes:
    """What goes before a message that begins with `head`: the block, and an empty line if there is no header to join.

    `head`: as much of the message as its first line needs; a message that begins with an empty line has an empty
    header section, which the block then fills.
    """
    return block if _FIELD.match(head) else block + b"\r\n"


def resent_id(sender: str, digest: str, run: str) -> str:
    """A Resent-Message-ID: the same whenever one run sends the same message, so that two of them can be told as one."""
    _, at, domain = sender.rpartition("@")
    return f"<mailmove.{run}.{digest[:32]}@{domain if at else 'mailmove.invalid'}>"


def resender(sender: str, user: str, recipients: Sequence[str]) -> str:
    """Who Resent-From names: the reverse path, else the user who logs in, else the first recipient.

    There is no one else to name where the reverse path is <>: on LMTP, who replays is who receives.
    """
    return next(one for one in (sender, user, *recipients) if is_address(one) or one == recipients[0])


def _folded(name: str, words: Sequence[str]) -> str:
    """The field's lines; a word longer than a line has one of its own."""
    lines = [name]
    for place, word in enumerate(words, 1):
        word += "," if place < len(words) else ""
        if len(lines[-1].encode()) + 1 + len(word.encode()) > LINE and lines[-1] != name:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines)
