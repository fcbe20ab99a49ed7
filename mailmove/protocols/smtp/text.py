"""A server's octets as text for people, and as part of an error.

Strategy: decoding never fails, nothing that could move a terminal's cursor gets through, and quoting is short.
"""

from __future__ import annotations

import unicodedata

from mailmove.errors import ProtocolError

MAX_QUOTED = 200
_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is no character to be seen: control, format, surrogate, line and paragraph separator."""


def readable(octets: bytes) -> str:
    """UTF-8 where it is (RFC 6531 section 3.7.4), else latin-1; without control characters, a tab as a space."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    if text.isprintable():
        return text
    return "".join(
        character for character in text.replace("\t", " ") if unicodedata.category(character) not in _CONTROLS
    )


def quoted(text: str) -> str:
    """Printable, at most 200 characters."""
    shown = repr(text[:MAX_QUOTED])
    return shown if len(shown) <= MAX_QUOTED else shown[: MAX_QUOTED - 1] + "…"


def broken(what: str, said: str) -> ProtocolError:
    """The error that says how the server broke the grammar, and quotes it."""
    return ProtocolError(f"The server broke the SMTP protocol: {what}: {quoted(said)}", server_text=said[:MAX_QUOTED])
