"""The pieces generated mail is put together from: header fields, MIME parts, encodings. Pure; octets out.

Strategy: written by hand where the standard library would tidy up, for generated mail must be as untidy as we want it;
the library's own encoders do what has one right result (base64, quoted-printable, encoded words).
"""

from __future__ import annotations

import base64
import quopri
import random
import textwrap
from collections.abc import Sequence
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from urllib.parse import quote

CRLF = b"\r\n"
_MAGIC = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "application/pdf": b"%PDF-1.4\n",
    "application/zip": b"PK\3\4",
}


def crlf(text: bytes) -> bytes:
    """Lines as they cross the wire."""
    return text.replace(b"\n", CRLF)


def wrapped(text: str) -> str:
    return textwrap.fill(text, 72)


def quoted(text: bytes) -> bytes:
    """Quoted-printable."""
    return crlf(quopri.encodestring(text))


# ---- Header fields


def date(moment: datetime) -> bytes:
    return format_datetime(moment).encode()


def received(rng: random.Random, moment: datetime) -> bytes:
    """A trace field, folded as most are (RFC 5321 section 4.4)."""
    host = f"mail{rng.randint(1, 9)}.example.org"
    name = f"from {host} ({host} [192.0.2.{rng.randint(1, 254)}])".encode()
    by = f"\tby mx.example.net with ESMTPS id {rng.getrandbits(40):010x};".encode()
    return CRLF.join((name, by, b"\t" + date(moment)))


def address(name: str, mailbox: str) -> bytes:
    """`Name <mailbox>`, the name as an encoded word where it must be, quoted where it may be."""
    shown = f'"{name}"' if name.isascii() else _words(name, "utf-8")
    return f"{shown} <{mailbox}>".encode()


def subject(text: str, charset: str = "utf-8") -> bytes:
    """The whole field, encoded (RFC 2047) and folded where needed."""
    return b"Subject: " + (text if text.isascii() else _words(text, charset)).encode()


def _words(text: str, charset: str) -> str:
    return Header(text, charset, header_name="Subject").encode(linesep="\r\n")


# ---- Bodies: the fields that say what they are, and the octets


def plain(charset: str, encoding: str) -> tuple[bytes, ...]:
    return _content(f"text/plain; charset={charset}", encoding)


def html(encoding: str) -> tuple[bytes, ...]:
    return _content("text/html; charset=utf-8", encoding)


def _content(kind: str, encoding: str) -> tuple[bytes, ...]:
    return f"Content-Type: {kind}".encode(), f"Content-Transfer-Encoding: {encoding}".encode()


def web_page(title: str, rows: Sequence[str]) -> str:
    """HTML as newsletters have it: tables, and a style at every cell."""
    cell = '<tr><td style="font-family: Arial, sans-serif; font-size: 14px; padding: 8px 0;">{}</td></tr>'
    table = "\n".join(cell.format(row) for row in rows)
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n<body><table>\n{table}\n</table></body></html>\n"
    )


def magic(kind: str) -> bytes:
    """How files of this kind begin."""
    return _MAGIC[kind]


def part(fields: Sequence[bytes], body: bytes) -> bytes:
    """One part of a multipart body."""
    return CRLF.join(fields) + CRLF + CRLF + body


def file(name: str, kind: str, content: bytes) -> bytes:
    """A part that is a file, its name encoded as RFC 2231 wants it."""
    fields = (
        *_content(kind, "base64"),
        f"Content-Disposition: attachment; filename*=utf-8''{quote(name)}".encode(),
    )
    return part(fields, crlf(base64.encodebytes(content)))


def multipart(rng: random.Random, kind: str, *parts: bytes) -> tuple[bytes, bytes]:
    """The body, and the field that names its boundary."""
    boundary = f"=_{rng.getrandbits(96):024x}".encode()
    body = b"This is a message of several parts." + CRLF
    body += b"".join(CRLF + b"--" + boundary + CRLF + one for one in parts) + CRLF + b"--" + boundary + b"--" + CRLF
    return body, f"Content-Type: multipart/{kind};".encode() + CRLF + b' boundary="' + boundary + b'"'
