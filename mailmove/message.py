"""Reads a header section: pure, and never fails.

Strategy: only the header section is looked at (no MIME). One pattern finds the fields that the standard library's
compat32 parser finds (a test holds the two together), in a quarter of its time, which is part of every message's. What
goes wrong all the same gives a `Headers` with `readable=False`: a message is archived whether or not its headers make
sense. Dates are taken only when sane, because a date here later decides where a message sorts; the origin is kept.
"""

from __future__ import annotations

import email.errors
import email.header
import email.utils
import hashlib
import re
from datetime import UTC, datetime, timedelta

from mailmove.model import DateOrigin, Headers, InternalDate

HEADER_LIMIT = 256 * 1024
"""Octets of a message looked at for its header section; a longer one is read as far as this."""

FIELD_LIMIT = 2000
"""Characters kept of one decoded field in the catalogue: enough to find a message, not a second copy of it."""

EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
TOMORROW = timedelta(days=1)
"""How far a clock may be ahead of ours (zones included) before its date is not believed."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_FIELD = re.compile(
    r"(?:([!-9;-~]+):[ \t]*|From |:|[ \t])"  # a field; or a line that is passed over
    r"([^\r\n]*(?:(?:\r\n|\r|\n)[ \t][^\r\n]*)*)(?:\r\n|\r|\n|\Z)"
)


def header_section(head: bytes) -> bytes | None:
    """The header section at the start of `head`, without its empty line; None if `head` ends before it does."""
    if head.startswith((b"\r\n", b"\n")):
        return b""
    end = head.find(b"\n\r\n")
    earlier = head.find(b"\n\n", 0, end if end >= 0 else None)
    end = earlier if earlier >= 0 else end
    return None if end < 0 else head[: end + 1]


def read_headers(section: bytes, first_seen: datetime) -> tuple[Headers, InternalDate]:
    """What the catalogue keeps of a header section, and the message's InternalDate (design.md section 7).

    `first_seen` is when we received the message: the last resort for the date, and the measure of what is sane.
    """
    fingerprint = hashlib.sha256(section).hexdigest()
    try:
        fields = _first_fields(section)
        date = _text(fields.get("date", ""))
        headers = Headers(
            message_id=_text(fields.get("message-id", "")),
            date=date,
            subject=_text(fields.get("subject", "")),
            sender=_text(fields.get("from", "")),
            recipients=", ".join(filter(None, (_text(fields.get(name, "")) for name in ("to", "cc")))),
            fingerprint=fingerprint,
        )
    except Exception:  # noqa: BLE001 - any failure of the parser on hostile input means the same: unreadable
        return Headers(readable=False, fingerprint=fingerprint), InternalDate(first_seen, DateOrigin.FIRST_SEEN)
    return headers, internal_date(fields.get("received", ""), date, first_seen)


def internal_date(received: str, date: str, first_seen: datetime) -> InternalDate:
    """The topmost Received's date, else a sane Date, else when it was first seen (design.md section 7)."""
    for text, origin in ((received.rpartition(";")[2], DateOrigin.RECEIVED), (date, DateOrigin.DATE)):
        time = parse_date(text, first_seen)
        if time is not None:
            return InternalDate(time, origin)
    return InternalDate(first_seen, DateOrigin.FIRST_SEEN)


def parse_date(text: str, now: datetime) -> datetime | None:
    """A date of RFC 5322 section 3.3 in UTC, or None if it is none or not sane (before 1970, or after tomorrow)."""
    try:
        parsed = email.utils.parsedate_to_datetime(text.strip())
        time = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return time if EARLIEST <= time <= now + TOMORROW else None


def _first_fields(section: bytes) -> dict[str, str]:
    """The first field of each name, up to the first line that is neither a field nor the continuation of one."""
    text, end, fields = section.decode("ascii", "surrogateescape"), 0, dict[str, str]()
    while found := _FIELD.match(text, end):
        if found[1]:
            fields.setdefault(found[1].lower(), found[2])
        end = found.end()
    return fields


def _text(value: str) -> str:
    """A field's value for people: unfolded, RFC 2047 decoded, without control characters, of bounded length."""
    raw = value[: 4 * FIELD_LIMIT]
    if raw.isascii() and raw.isprintable() and "=?" not in raw:
        return raw.strip()[:FIELD_LIMIT]
    raw = _octets_as_text(raw)
    decoded = _decode_words(raw) if "=?" in raw else raw
    return _CONTROL.sub(" ", decoded).strip()[:FIELD_LIMIT]


def _octets_as_text(value: str) -> str:
    """Raw 8-bit octets (surrogates, by compat32) read as UTF-8 (RFC 6532), else as Latin-1."""
    if value.isascii():
        return value
    octets = value.encode("utf-8", "surrogateescape")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _decode_words(value: str) -> str:
    try:
        parts = email.header.decode_header(value)
    except (email.errors.HeaderParseError, ValueError):
        return value
    return "".join(part if isinstance(part, str) else _decode_octets(part, charset) for part, charset in parts)


def _decode_octets(octets: bytes, charset: str | None) -> str:
    try:
        return octets.decode(charset or "ascii", "replace").encode("utf-8", "replace").decode("utf-8")
    except (LookupError, ValueError):
        return octets.decode("latin-1")
