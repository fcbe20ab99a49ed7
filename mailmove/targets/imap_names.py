"""Arguments of IMAP commands: mailbox names, quoted strings and dates, so that none can be taken for a command.

Strategy: pure functions, octets out. A string that cannot be quoted is refused, never repaired (design.md section 2,
P7); a date is written by ourselves, in UTC and English, and always within years that servers accept.
"""

from __future__ import annotations

from datetime import UTC, datetime

from imapclient.imap_utf7 import encode  # type: ignore[import-untyped]

from mailmove.errors import UsageError
from mailmove.targets import SYSTEM_LABELS

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BREAKS = frozenset("\r\n\0")


def quoted(mailbox: str) -> bytes:
    """A mailbox name in modified UTF-7 (RFC 3501 section 5.1.3), quoted. Raises UsageError."""
    if not mailbox:
        raise UsageError("The name of the mailbox is empty.")
    if not _BREAKS.isdisjoint(mailbox):
        raise UsageError("The name of the mailbox holds a line break or NUL.")
    try:
        return _quoted(encode(mailbox))
    except UnicodeEncodeError:
        raise UsageError("The name of the mailbox is no Unicode text.") from None


def quoted_string(text: str) -> bytes:
    """An ASCII string, quoted (RFC 9051 section 4.3). Raises UsageError, which does not repeat the text."""
    if not _BREAKS.isdisjoint(text) or not text.isascii():
        raise UsageError("An argument for the IMAP server holds a line break, NUL, or a character beyond ASCII.")
    return _quoted(text.encode("ascii"))


def label(text: str) -> bytes:
    """A label for X-GM-LABELS: Gmail's own as an atom, any other quoted, in modified UTF-7. Raises UsageError."""
    if text in SYSTEM_LABELS:
        return text.encode("ascii")
    if text.startswith("\\"):
        raise UsageError(f"The label {text!r} is none of those of Gmail's own that can be given.")
    return quoted(text)


def _quoted(octets: bytes) -> bytes:
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def same(one: str, other: str) -> bool:
    """Whether two names are the same mailbox: INBOX is so in any case (RFC 9051 section 5.1)."""
    return one == other or one.upper() == other.upper() == "INBOX"


def date_time(moment: datetime, now: datetime | None = None) -> bytes:
    """`"05-Jan-1999 00:00:00 +0000"` (date-time, RFC 9051 section 9), in UTC, no earlier than 1970 and not after now.

    Dovecot 2.3 answers BAD to a year of three digits, and the POSIX epoch is the oldest date that servers agree on.
    A moment without a zone is taken for UTC.
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    utc = max(_EPOCH, min(aware, now or datetime.now(UTC))).astimezone(UTC)
    day = f"{utc.day:02}-{_MONTHS[utc.month - 1]}-{utc.year:04}"
    return f'"{day} {utc.hour:02}:{utc.minute:02}:{utc.second:02} +0000"'.encode("ascii")
