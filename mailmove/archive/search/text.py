"""What can be read of a message: pure, and never fails (RFC 5322, 2045 to 2047, 2231).

Strategy: the standard library's parser with its compat32 policy (a little of it changed), the only one that takes any
octets. Every part is decoded by itself, so that one broken part costs only itself; if the message as a whole cannot be
taken apart, its header section is all there is. `state` says which of these it was. Limits everywhere: a message is
looked at, and its text kept, only so far, so memory and time stay in bounds whatever comes.
"""

from __future__ import annotations

import codecs
import email.header
import email.parser
import email.policy
import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message

from mailmove.archive.search.html import html_text
from mailmove.message import HEADER_LIMIT, header_section

OCTETS_LIMIT = 16 << 20
"""Octets of a message that are taken apart; attachments beyond are not seen."""

TEXT_LIMIT = 512 << 10
"""Characters of text kept of one message."""

FIELD_LIMIT = 16 << 10
"""Characters kept of one header field, and of all fields of a name."""

_NO_CHARSETS = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"})
"""What Python can decode but no mail is written in; some of them take time with the square of the length."""

_BLOB = re.compile(r"^[A-Za-z0-9+/]{60,}={0,2}\r?$", re.MULTILINE)
"""A line of base64, as PGP and S/MIME put into texts: nobody looks for it, and an index would hold each as a word."""

_FOLD = re.compile(r"[\r\n]+[ \t]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")


class State(enum.StrEnum):
    """How much of a message could be read."""

    WHOLE = "whole"
    PARTLY = "partly"
    HEADERS = "headers"


@dataclass(slots=True)
class Readable:
    """What was read of one message, decoded; `filenames` are as the mail has them, not safe as names of files."""

    subject: str = ""
    sender: str = ""
    recipients: str = ""
    other: str = ""
    date: str = ""
    filenames: list[str] = field(default_factory=list)
    attachments: int = 0
    body: str = ""
    state: State = State.WHOLE


def read(octets: bytes, *, cut: bool = False, for_eyes: bool = False) -> Readable:
    """Everything readable of a message. `cut`: these are only its first octets.

    `for_eyes`: a text that is there as plain text and as HTML is taken once, the plain one. Else it is for words, and
    lines of base64 are left out.
    """
    try:
        message = parse(octets)
        found = _headers(message)
        _read_parts(message, found, _doubled(message) if for_eyes else frozenset())
        found.body = found.body if for_eyes else _BLOB.sub("", found.body)
    except Exception:  # noqa: BLE001 - the parser on hostile input: RecursionError, IndexError and what else there is
        return _headers_only(octets)
    if cut and found.state is State.WHOLE:
        found.state = State.PARTLY
    return found


def parse(octets: bytes, *, whole_fields: bool = False) -> Message:
    """The message taken apart. Raises what the parser raises, like RecursionError for some 300 parts in each other."""
    return email.parser.BytesParser(policy=_WHOLE if whole_fields else _BOUNDED).parsebytes(octets)


class _Raw(email.policy.Compat32):
    """Fields are given out as they stand; compat32 alone makes question marks of 8-bit octets."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value


class _Bounded(_Raw):
    """Fields are cut to a length before anything looks at them: parameters take time with its square."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:FIELD_LIMIT]


_WHOLE, _BOUNDED = _Raw(), _Bounded()


def _headers_only(octets: bytes) -> Readable:
    section = header_section(octets[:HEADER_LIMIT])
    head = octets[:HEADER_LIMIT] if section is None else section
    try:
        found = _headers(email.parser.BytesHeaderParser(policy=_BOUNDED).parsebytes(head))
    except Exception:  # noqa: BLE001 - as above
        found = Readable()
    found.state = State.HEADERS
    return found


def _headers(message: Message) -> Readable:
    return Readable(
        subject=header(message, "subject"),
        sender=header(message, "from", "sender", "reply-to"),
        recipients=header(message, "to", "cc", "bcc"),
        other=header(message, "message-id", "list-id"),
        date=header(message, "date"),
    )


def _read_parts(message: Message, found: Readable, unread: frozenset[int]) -> None:
    left, named = TEXT_LIMIT, FIELD_LIMIT
    texts = []
    for part in parts(message):
        try:
            name, is_attached = filename(part), is_file(part)
            text = "" if id(part) in unread else part_text(part)
        except Exception:  # noqa: BLE001 - one part that cannot be decoded costs only itself
            found.state = State.PARTLY
            continue
        found.attachments += is_attached
        if name and named > 0:
            found.filenames.append(name)
            named -= len(name)
        if text and left > 0:
            texts.append(text[:left])
        left -= len(text)
    found.body = "\n".join(texts)
    if left < 0 or named < 0:
        found.state = State.PARTLY


# ---- parts


def parts(message: Message, *, into_messages: bool = True) -> Iterator[Message]:
    """The message and all parts in it, in their order; without recursion, however deep they lie.

    `into_messages`: also those of the messages that are attached to it.
    """
    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part
        inner = part.get_payload()
        if isinstance(inner, list) and (into_messages or part.get_content_maintype() == "multipart"):
            waiting += [one for one in reversed(inner) if isinstance(one, Message)]


def _doubled(message: Message) -> frozenset[int]:
    """The ids of HTML parts that have a twin in plain text (RFC 2046 section 5.1.4)."""
    found = set[int]()
    for part in parts(message):
        if part.get_content_type() == "multipart/alternative" and part.is_multipart():
            inner = list(parts(part))
            if any(one.get_content_type() == "text/plain" and part_text(one).strip() for one in inner):
                found |= {id(one) for one in inner if one.get_content_type() == "text/html"}
    return frozenset(found)


def is_text(part: Message) -> bool:
    """Whether the part is text to be read, not a file that was attached."""
    attached = part.get_content_disposition() == "attachment"
    return part.get_content_maintype() == "text" and not part.is_multipart() and not attached


def is_file(part: Message) -> bool:
    """Whether the part is something to save: it has a name, says so, or is neither text nor made of parts."""
    kind = part.get_content_maintype()
    if kind == "multipart":
        return False
    return kind != "text" or part.get_content_disposition() == "attachment" or bool(part.get_filename())


def part_text(part: Message) -> str:
    """The text of a part, of the headers of an attached message, or ""."""
    if part.get_content_type() == "message/rfc822" and part.is_multipart():
        inner = part.get_payload(0)
        return header(inner, "subject", "from", "to", "cc", "date") if isinstance(inner, Message) else ""
    if not is_text(part):
        return ""
    payload = part.get_payload(decode=True)
    text = decoded(payload[: 4 * TEXT_LIMIT] if isinstance(payload, bytes) else b"", _charset(part))
    return html_text(text) if part.get_content_subtype() == "html" else _CONTROL.sub(" ", text)


def filename(part: Message) -> str:
    """The name of an attached file, decoded as RFC 2231 or, as many write it, RFC 2047; "" if it has none."""
    name = part.get_filename()
    return words(name) if name else ""


def _charset(part: Message) -> str:
    return str(part.get_content_charset() or "")


def decoded(octets: bytes, charset: str) -> str:
    """Text of a charset that may be unknown or a lie: then UTF-8 if it is that, else Windows-1252."""
    try:
        codec = codecs.lookup(charset or "utf-8").name
        if codec not in _NO_CHARSETS:
            return octets.decode("gb18030" if codec in ("gb2312", "gbk") else codec)
    except (LookupError, ValueError):
        pass
    for fallback in ("utf-8", "cp1252"):
        try:
            return octets.decode(fallback)
        except ValueError:
            continue
    return octets.decode("latin-1")


# ---- header fields


def header(message: Message, *names: str) -> str:
    """All fields of these names, decoded, on one line."""
    values = (words(value) for name in names for value in message.get_all(name, []))
    return ", ".join(filter(None, values))[:FIELD_LIMIT]


def words(value: str) -> str:
    """A field's value: unfolded, RFC 2047 decoded, 8-bit octets read as UTF-8 or Windows-1252."""
    value = _FOLD.sub(" ", value[:FIELD_LIMIT])
    if not value.isascii():
        value = decoded(value.encode("utf-8", "surrogateescape"), "")
    if "=?" in value:
        value = _encoded_words(value)
    return _CONTROL.sub(" ", value).strip()


def _encoded_words(value: str) -> str:
    try:
        pieces = email.header.decode_header(value)
    except Exception:  # noqa: BLE001 - HeaderParseError, and what else broken base64 makes it raise
        return value
    return "".join(piece if isinstance(piece, str) else decoded(piece, charset or "") for piece, charset in pieces)
