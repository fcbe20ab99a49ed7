"""What an SMTP or LMTP server announces in its reply to EHLO or LHLO (RFC 5321 section 4.1.1.1, RFC 2033 section 4.1).

Strategy: pure functions from the lines of that reply to plain values. Servers announce odd things; what makes no sense
is taken for not announced, since every extension can be done without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mailmove.targets import RelayTraits

Extensions = Mapping[str, tuple[str, ...]]
"""Keyword, in capitals -> its parameters, as they were written."""

_OLD_AUTH = re.compile("AUTH=", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,18}")


def extensions_of(lines: Sequence[str]) -> Extensions:
    """From the lines of the reply, of which the first is the server's name.

    "AUTH=LOGIN", as servers said it before RFC 4954, is the same as "AUTH LOGIN", and either may be said beside the
    other.
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in lines[1:]:
        keyword, *parameters = _OLD_AUTH.sub("AUTH ", line, count=1).split() or [""]
        found[keyword.upper()] = (*found.get(keyword.upper(), ()), *parameters)
    return found


def mechanisms_of(extensions: Extensions) -> tuple[str, ...]:
    """The SASL mechanisms (RFC 4954 section 3), in capitals, each once."""
    return tuple(dict.fromkeys(name.upper() for name in extensions.get("AUTH", ())))


def traits_of(extensions: Extensions, *, lmtp: bool, authenticated: bool, greeting: str) -> RelayTraits:
    """What a job may ask of the session. SIZE 0, or without a number, is no limit (RFC 1870 section 3).

    LMTP servers pipeline and give enhanced codes by RFC 2033 section 4, but what one does not announce is not relied
    on. BINARYMIME is nothing without CHUNKING (RFC 3030 section 3).
    """
    return RelayTraits(
        lmtp=lmtp,
        pipelining="PIPELINING" in extensions,
        chunking="CHUNKING" in extensions,
        eight_bit="8BITMIME" in extensions,
        binary="BINARYMIME" in extensions and "CHUNKING" in extensions,
        utf8="SMTPUTF8" in extensions,
        largest=_size(extensions.get("SIZE", ())),
        authenticated=authenticated,
        greeting=greeting,
    )


def _size(parameters: Sequence[str]) -> int | None:
    return int(parameters[0]) or None if parameters and _SIZE.fullmatch(parameters[0]) else None
