"""A server's octets as text for people, and as part of an error.

Strategy: decoding never fails, and quoting is short and printable, so that any octets can be shown in any message.
"""

from __future__ import annotations

from mailmove.errors import ProtocolError
from mailmove.model import UniqueId

MAX_QUOTED = 200


def decode(octets: bytes) -> str:
    """Text of a reply: UTF-8 where it is (RFC 6856 section 3), else latin-1, which takes any octets."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def unique_id(octets: bytes) -> UniqueId:
    """One character per octet, so that no two ids become one."""
    return UniqueId(octets.decode("latin-1"))


def quoted(text: str) -> str:
    """Printable, at most 200 characters."""
    shown = repr(text[:MAX_QUOTED])
    return shown if len(shown) <= MAX_QUOTED else shown[: MAX_QUOTED - 1] + "…"


def broken(what: str, line: str) -> ProtocolError:
    """The error that says how the server broke the grammar, and quotes it."""
    text = quoted(line)
    return ProtocolError(f"The server broke the POP3 protocol: {what}: {text}", server_text=text)
