"""Unique ids on a command line, whatever octets a server has put in them.

Strategy: an id of printable ASCII stands for itself, as --json has it. Any other is written with %XX for each octet
that cannot be typed, and for %; only `--escaped` says that an id is written so, so that none can be taken for another.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

_TYPED = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


def can_be_typed(identity: str) -> bool:
    return identity.isascii() and identity.isprintable()


def escaped(identity: str) -> str:
    """An id's octets (octet n is U+00nn), those that cannot be typed as %XX."""
    return quote(identity, safe=_TYPED, encoding="latin-1", errors="replace")


def unescaped(text: str) -> str:
    return unquote(text, encoding="latin-1")
