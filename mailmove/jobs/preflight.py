"""What can be known of a replay before its first octet goes out: room, sizes, time (design.md section 7).

Strategy: what will be sent is added up while the plan is made, one message at a time (`Survey`), so nothing is read
twice; what the target says comes from a handful of commands that change nothing. Too little room is told and does not
stop the run: servers compress, people delete meanwhile, and a message that finds no room ends in the target's own
words. A time is only told as what it is: that of an earlier run there, or the least that the round trips alone take.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

from mailmove.archive.deliveries import Selected
from mailmove.archive.preflight_query import Speed
from mailmove.errors import MailboxRefused
from mailmove.jobs.pace import Pace
from mailmove.model import Digest
from mailmove.targets import Manner, Quota, Target, Traits

NAMED = 1000
"""Oversize messages that are named; the others are counted."""

SHORT = 4096
"""Octets a message may have to be sent unasked where the server has LITERAL- (RFC 7888)."""

DAY = 86_400
"""Seconds."""

AWAITED = 2
"""Round trips of a message that waits for the server's go-ahead, and then for its answer."""


@dataclass(frozen=True, slots=True)
class Oversize:
    """A message larger than the target takes."""

    digest: Digest
    octets: int
    subject: str


@dataclass(slots=True)
class Survey:
    """What is to be sent to one mailbox. `limit`: octets of the largest message it takes, None if unsaid.

    Messages that are too large are in `oversize` and `oversized` (their number) only; `octets` is what is left.
    """

    limit: int | None = None
    subject: Callable[[Digest], str] = lambda digest: ""
    messages: int = 0
    octets: int = 0
    large: int = 0
    oversized: int = 0
    oversize: list[Oversize] = field(default_factory=list)

    def add(self, message: Selected, copies: int) -> None:
        """So many copies of it are to be sent."""
        if not copies:
            return
        if self.limit is not None and message.octets > self.limit:
            self.oversized += copies
            if len(self.oversize) < NAMED:
                self.oversize.append(Oversize(message.digest, message.octets, self.subject(message.digest)))
            return
        self.messages += copies
        self.octets += copies * message.octets
        self.large += copies * (message.octets > SHORT)


@dataclass(frozen=True, slots=True)
class MailboxLook:
    """One mailbox before a replay; `messages` None: it is missing, and will be created."""

    name: str
    messages: int | None
    quota: Quota | None
    survey: Survey

    def as_dict(self) -> dict[str, object]:
        return {
            "mailbox": self.name,
            "exists": self.messages is not None,
            "messages": self.messages or 0,
            "append_limit": self.survey.limit,
            "to_send": {"messages": self.survey.messages, "bytes": self.survey.octets},
            "oversized": self.survey.oversized,
            "oversize": [asdict(one) for one in self.survey.oversize],
        }


@dataclass(frozen=True, slots=True)
class Room:
    """A quota, and the octets that are to be sent to all mailboxes it is about."""

    quota: Quota
    octets: int
    mailboxes: tuple[str, ...]

    @property
    def short_of(self) -> int:
        """Octets for which there is no room, as far as the server tells."""
        return max(0, self.octets - self.quota.left)

    def as_dict(self) -> dict[str, object]:
        quota = asdict(self.quota) | {"left": self.quota.left}
        return quota | {"to_send": self.octets, "short_of": self.short_of, "mailboxes": self.mailboxes}


class Basis(enum.StrEnum):
    """What an estimate rests on. All but EARLIER_RUN are the least that a replay takes."""

    EARLIER_RUN = "as an earlier run"
    ROUND_TRIPS = "at least, for round trips"
    DAILY_LIMIT = "at least, by the daily limit"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds a replay takes."""

    seconds: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class Preflight:
    """All that was found out. `round_trip`: seconds."""

    mailboxes: Sequence[MailboxLook]
    traits: Traits
    round_trip: float
    estimate: Estimate

    def as_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "mailboxes": [one.as_dict() for one in self.mailboxes],
            "quotas": [one.as_dict() for one in rooms(self.mailboxes)],
            "server": asdict(self.traits),
            "round_trip": round(self.round_trip, 6),
            "estimated_seconds": round(self.estimate.seconds, 3),
            "estimate": self.estimate.basis.value,
        }


def look_at(target: Target, mailbox: str) -> tuple[int | None, int | None, Quota | None]:
    """(messages, None if it is missing; octets of the largest message it takes; its quota). EXAMINEs a mailbox.

    Of one that is missing, the INBOX's limit and quota are told: it will most likely get the same.
    """
    state = target.status(mailbox)
    asked = mailbox if state else "INBOX"
    try:
        target.select(asked, read_only=True)
    except MailboxRefused:
        if state:
            raise
        return None, target.traits().append_limit, None
    return state.messages if state else None, target.append_limit(), target.quota(asked)


@dataclass(frozen=True, slots=True)
class Way:
    """How messages go out: how the server takes them, how many we send at once, and octets a day (None: any).

    `round_trip`: seconds.
    """

    manner: Manner
    traits: Traits
    pace: Pace
    round_trip: float
    daily_limit: int | None = None


def estimate(surveys: Iterable[Survey], speed: Speed | None, way: Way) -> Estimate:
    """How long it takes to send all that was surveyed; `speed` of an earlier run, if there was one. Pure."""
    surveys = list(surveys)
    messages, octets = sum(one.messages for one in surveys), sum(one.octets for one in surveys)
    if speed:
        told = Estimate(max(messages / speed.messages, octets / speed.octets), Basis.EARLIER_RUN)
    else:
        large = sum(one.large for one in surveys)
        told = Estimate(trips(messages, large, way) * way.round_trip, Basis.ROUND_TRIPS)
    days = math.ceil(octets / way.daily_limit) - 1 if way.daily_limit else 0
    return Estimate(days * DAY, Basis.DAILY_LIMIT) if days * DAY > told.seconds else told


def trips(messages: int, large: int, way: Way) -> int:
    """Round trips that must be waited for, whatever the line; `large` of the messages are too large for LITERAL-."""
    at_once, _ = way.pace.under_way(way.manner)
    if way.manner.pipelined:
        return math.ceil(messages / at_once)
    awaited = large if way.traits.literal_minus else messages
    return math.ceil(AWAITED * awaited / way.pace.couriers(way.manner)) + math.ceil((messages - awaited) / at_once)


def warnings(looks: Iterable[MailboxLook]) -> list[str]:
    """What a person should know before a replay begins, one sentence each; most often nothing. Pure."""
    looks = list(looks)
    return [*filter(None, map(_too_large, looks)), *filter(None, map(_too_little, rooms(looks)))]


def rooms(looks: Iterable[MailboxLook]) -> list[Room]:
    """Each quota once: mailboxes share what one root counts. Pure."""
    found: dict[Quota, Room] = {}
    for look in looks:
        if look.quota:
            before = found.get(look.quota, Room(look.quota, 0, ()))
            found[look.quota] = Room(look.quota, before.octets + look.survey.octets, (*before.mailboxes, look.name))
    return list(found.values())


def _too_large(look: MailboxLook) -> str:
    survey = look.survey
    if not survey.oversized:
        return ""
    count = f"{survey.oversized:,} messages are" if survey.oversized > 1 else "1 message is"
    return f"{count} larger than the {survey.limit:,} bytes that {look.name!r} takes, and will be parked."


def _too_little(room: Room) -> str:
    if not room.short_of:
        return ""
    others = f" and {len(room.mailboxes) - 1:,} more" if len(room.mailboxes) > 1 else ""
    return (
        f"The quota of {room.mailboxes[0]!r}{others} leaves {room.quota.left:,} bytes ({room.quota.used:,} of "
        f"{room.quota.limit:,} are used), and {room.octets:,} are to be sent: {room.short_of:,} more than fit."
    )
