"""The repairs of `replay --retry-parked --repair LIST`: the only way a message is ever altered (design.md section 7).

Strategy: pure, octets in and octets out. Each repair is the smallest change that takes away its fault, and leaves a
message without the fault as it is. Which one is tried follows from why the target refused the message; where its words
do not tell, the smallest one that changes anything. What was tried before and refused again stays, since a server names
one fault at a time. The archive's file is never touched: whoever sends logs what was done, and both digests.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Iterable, Mapping

from mailmove.errors import UsageError
from mailmove.message import header_section
from mailmove.repairs.encoded_words import encode_headers
from mailmove.repairs.long_lines import break_lines


class Repair(enum.StrEnum):
    """One repair, by its word in `--repair`; the smallest first. It is also the cause of a refusal it can mend."""

    BARE_NEWLINES = "bare-newlines"
    NUL = "nul"
    EIGHT_BIT_HEADERS = "8bit-headers"
    LONG_LINES = "long-lines"


_NEWLINE = re.compile(rb"\r*\n|\r")

_UNCLEAR = ("header", "refused", "breaks-connection")
"""Causes that do not say which repair would help."""


def parse_repairs(text: str) -> frozenset[Repair]:
    """The repairs of a LIST like "nul,bare-newlines". Raises UsageError."""
    words = [word.strip().lower() for word in text.split(",")]
    known = {repair.value: repair for repair in Repair}
    for word in words:
        if word not in known:
            what = f"{word!r} is none of the repairs" if word else "names nothing"
            raise UsageError(f"--repair {text!r}: {what}; give one or more of {', '.join(known)}, with commas between.")
    return frozenset(known[word] for word in words)


def repair(
    octets: bytes, wanted: Collection[Repair], cause: str, earlier: Collection[Repair] = ()
) -> tuple[bytes, tuple[Repair, ...]]:
    """What to send in place of a message that was refused for `cause`, and the repairs that made it.

    `earlier`: with these it was refused the last time; they stay, as far as they are wanted. No repairs: nothing that
    is wanted fits, and the octets are the message's own.
    """
    kept = frozenset(earlier).intersection(wanted)
    before = apply(octets, kept)
    for candidate in _candidates(cause):
        after = apply(octets, kept | {candidate}) if candidate in wanted and candidate not in kept else before
        if after != before and not (cause == "header" and header(after) == header(before)):
            return after, effective(octets, kept | {candidate})
    return before, effective(octets, kept)


def _candidates(cause: str) -> tuple[Repair, ...]:
    if cause in _UNCLEAR:
        return tuple(Repair)
    return tuple(one for one in Repair if one == cause)


def apply(octets: bytes, repairs: Iterable[Repair]) -> bytes:
    """All of these repairs, in the one order in which none undoes another. The same octets always give the same."""
    chosen = frozenset(repairs)
    for one, change in _CHANGES.items():
        if one in chosen:
            octets = change(octets)
    return octets


def effective(octets: bytes, repairs: Collection[Repair]) -> tuple[Repair, ...]:
    """Those of the repairs that change anything, in the order of `apply`."""
    found = []
    for one, change in _CHANGES.items():
        after = change(octets) if one in repairs else octets
        if after != octets:
            found.append(one)
        octets = after
    return tuple(found)


def header(octets: bytes) -> bytes:
    """The header section; all of it where nothing ends it."""
    section = header_section(octets)
    return octets if section is None else section


def remove_nuls(octets: bytes) -> bytes:
    """NUL is removed, not replaced: no transfer encoding means anything by it, so whatever was readable stays so.

    A blank in its place would be a character of a word, of base64, or of a field name.
    """
    return octets.replace(b"\0", b"")


def mend_newlines(octets: bytes) -> bytes:
    """A bare LF or CR becomes CRLF. CRs before a CRLF go: CRLF in their place would be empty lines, the first of which
    would end the header section."""
    return _NEWLINE.sub(b"\r\n", octets)


_CHANGES: Mapping[Repair, Callable[[bytes], bytes]] = {
    Repair.NUL: remove_nuls,
    Repair.BARE_NEWLINES: mend_newlines,
    Repair.EIGHT_BIT_HEADERS: encode_headers,
    Repair.LONG_LINES: break_lines,
}
"""Long lines last, since encoded words are longer than what they stand for."""
