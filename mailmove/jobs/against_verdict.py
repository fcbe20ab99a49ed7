"""Is what lies at the target what was sent, and if not, why? (design.md section 7, `verify --against`): pure.

Strategy: three verdicts. The same octets; octets that a server is known to make of such a message (likeness.py: line
ends, NUL, 8-bit headers), which sending again would not mend; and anything else, which is altered. The header
section and the size decide where they can, the whole octets where they must. Each verdict but the first has a reason.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailmove.jobs.likeness import canonical, header_fields, munged
from mailmove.jobs.outgoing import clamped
from mailmove.message import header_section

NAMED = 5
"""Header fields that a reason names."""

PRECISE = timedelta(seconds=1)
AT_DELIVERY = timedelta(hours=1)
"""A server that ignores the date it was given shows the moment at which it stored the message, by its own clock."""

_BARE_LF = re.compile(rb"(?<!\r)\n")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_EXTRA_CR = re.compile(rb"\r\r\n")


class Kind(enum.StrEnum):
    """What became of one delivery."""

    THERE = "there"
    REWRITTEN = "rewritten"
    ALTERED = "altered"
    MISSING = "missing"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is empty for THERE only."""

    kind: Kind
    reason: str = ""


THERE = Verdict(Kind.THERE)


def judge(ours: bytes, theirs: bytes) -> Verdict:
    """By all octets."""
    if ours == theirs:
        return THERE
    if canonical(theirs) in (canonical(ours), munged(canonical(ours))):
        return Verdict(Kind.REWRITTEN, rewriting(ours, theirs))
    return Verdict(Kind.ALTERED, difference(ours, theirs))


def judge_head(ours: bytes, head: bytes, octets: int) -> Verdict | None:
    """By what the server shows of it: its header section, and how many octets it has. None: that does not decide it."""
    for form in forms(ours):
        if len(form) == octets and section(form) == section(head):
            return THERE if form == ours else Verdict(Kind.REWRITTEN, rewriting(ours, form))
    return None


def forms(ours: bytes) -> Iterator[bytes]:
    """A message as it was sent, and what servers are known to make of it, the smallest change first."""
    lines = _BARE_LF.sub(b"\r\n", ours)
    yield from (ours, lines)
    yield from (form.replace(b"\0", b"\x80") for form in (ours, lines))
    if not ours.endswith(b"\n"):
        yield ours + b"\r\n"
    yield canonical(ours)
    yield from map(munged, (ours, canonical(ours)))


def section(octets: bytes) -> bytes:
    """The header section, without its empty line; all of it where that is missing."""
    found = header_section(octets)
    return octets if found is None else found


def rewriting(ours: bytes, theirs: bytes) -> str:
    """Which of the known rewritings makes `theirs` of `ours`."""
    told = {
        "NUL became 0x80": b"\0" in ours and b"\0" not in theirs,
        "bare LF became CRLF": bool(_BARE_LF.search(ours)) and not _BARE_LF.search(theirs),
        "extra CRs before a line end were dropped": bool(_EXTRA_CR.search(ours)) and not _EXTRA_CR.search(theirs),
        "8-bit octets in its header became X": _is_8_bit(section(ours)) and not _is_8_bit(section(theirs)),
        "a final CRLF was added": not ours.endswith(b"\n") and theirs.endswith(b"\n"),
    }
    named = [words for words, is_so in told.items() if is_so]
    return "the server rewrote it: " + (", ".join(named) or "line ends at its end were changed")


def _is_8_bit(header: bytes) -> bool:
    return bool(_EIGHT_BIT.search(header))


def difference(ours: bytes, theirs: bytes) -> str:
    """What a person needs to recognise a change that no server is known to make."""
    before, after = canonical(ours), canonical(theirs)
    told = [_header_difference(section(before), section(after))] if section(before) != section(after) else []
    if before[len(section(before)) :] != after[len(section(after)) :]:
        told.append("its body differs")
    return f"{' and '.join(told)} ({len(ours):,} octets were sent, {len(theirs):,} are there)"


def _header_difference(before: bytes, after: bytes) -> str:
    ours, theirs = Counter(header_fields(before + b"\r\n")), Counter(header_fields(after + b"\r\n"))
    new, gone = _names(theirs - ours), _names(ours - theirs)
    changes = {
        "changed": [name for name in new if name in gone],
        "added": [name for name in new if name not in gone],
        "missing": [name for name in gone if name not in new],
    }
    told = "; ".join(f"{word}: {_some(names)}" for word, names in changes.items() if names)
    return f"its header differs ({told or 'folded or ordered otherwise'})"


def _names(fields: Counter[bytes]) -> list[str]:
    return list(dict.fromkeys(line.partition(b":")[0].decode("latin-1")[:40] for line in fields))


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")


def judge_date(sent: datetime, wanted: datetime, delivered: datetime, theirs: datetime | None) -> str:
    """Why the server's INTERNALDATE is not the archive's date, "" if it is.

    `sent`: what the server was given at `delivered`; `wanted`: the archive's own.
    """
    if theirs is None:
        return ""
    if abs(theirs - sent) >= PRECISE:
        if abs(theirs - delivered) < AT_DELIVERY:
            return f"the server ignored its date {_day(sent)} and has the moment of its delivery, {_day(theirs)}"
        return f"the server has the date {_day(theirs)}, and was given {_day(sent)}"
    if abs(clamped(wanted, delivered) - wanted) >= PRECISE:
        return f"its date {_day(wanted)} is outside what servers take; it was clamped to {_day(sent)}"
    return ""


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
