"""A pre-flight as text for people: what was found out, and what to expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailmove.cli import render

if TYPE_CHECKING:
    from mailmove.jobs.preflight import MailboxLook, Preflight
    from mailmove.targets import Traits

OFFERS = {
    "literal_plus": "LITERAL+",
    "literal_minus": "LITERAL-",
    "multiappend": "MULTIAPPEND",
    "uidplus": "UIDPLUS",
    "gmail": "Gmail's extensions",
}


def preflight_lines(preflight: Preflight) -> list[str]:
    """One line a fact; warnings are marked."""
    from mailmove.jobs.preflight import warnings

    looks = preflight.mailboxes
    lines = [_mailbox(look) for look in looks[: render.SHOWN]] if len(looks) > 1 else []
    if len(looks) > render.SHOWN:
        lines.append(f"  … and {len(looks) - render.SHOWN:,} mailboxes more (--json names all)")
    lines += [f"  The server offers {_offers(preflight.traits)}.", *_limits(looks), *_rooms(looks), _time(preflight)]
    lines += [f"  WARNING: {sentence}" for sentence in warnings(looks)]
    return lines + _oversize(looks)


def _mailbox(look: MailboxLook) -> str:
    there = "missing, will be created" if look.messages is None else f"{look.messages:,} there"
    return f"  {look.name}: {there}; {look.survey.messages:,} to send ({render.size(look.survey.octets)})"


def _offers(traits: Traits) -> str:
    return ", ".join(words for name, words in OFFERS.items() if getattr(traits, name)) or "nothing beyond IMAP itself"


def _limits(looks: Sequence[MailboxLook]) -> list[str]:
    limits = sorted({look.survey.limit for look in looks if look.survey.limit is not None})
    return [f"  The largest message it takes: {', '.join(map(render.size, limits))}."] if limits else []


def _rooms(looks: Sequence[MailboxLook]) -> list[str]:
    from mailmove.jobs.preflight import rooms

    quotas = [room.quota for room in rooms(looks)]
    return [
        f"  Room left: {render.size(one.left)} ({render.size(one.used)} of {render.size(one.limit)} are used)."
        for one in quotas
    ]


def _time(preflight: Preflight) -> str:
    from mailmove.jobs.preflight import Basis

    long, rtt = duration(preflight.estimate.seconds), f"{1000 * preflight.round_trip:.3g} ms"
    if preflight.estimate.basis is Basis.EARLIER_RUN:
        return f"  It will take about {long}, if it goes as an earlier replay there."
    if preflight.estimate.basis is Basis.DAILY_LIMIT:
        return f"  It will take at least {long}, by --daily-limit."
    return f"  How long it takes: {long} for round trips of {rtt}, and what the line takes, which only sending shows."


def _oversize(looks: Sequence[MailboxLook]) -> list[str]:
    every = [one for look in looks for one in look.survey.oversize]
    lines = [
        f"  too large: {one.digest[:16]} {render.size(one.octets)} {one.subject!r}" for one in every[: render.SHOWN]
    ]
    more = sum(look.survey.oversized for look in looks) - len(lines)
    return [*lines, f"  … and {more:,} more (--json names them)"] if more > 0 else lines


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60):,} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{round(seconds / 86_400):,} days"
