"""How many messages may go to a target in a second, a minute, an hour, a day: `--max-rate`, and what providers allow.

Strategy: a message counts once for each recipient, as providers count. Each limit has a window that slides: within any
period of its length no more than its number are sent, wherever the period begins. What was sent is noted before it is
sent, so a crash wastes some of it and never overdraws it; for limits of a minute and more also in archive.db, one row a
minute, which is advice and forgotten by a rebuild. The short limits are waited for. A day's limit ends the run as
`--daily-limit` does: it is a job for tomorrow's run.

What does not fit into an empty window at all, a message with more recipients than may be served in a second, goes by
itself, and the windows after it stay shut for as long as it would have taken.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailmove.archive.catalogue import Catalogue
from mailmove.errors import DailyLimitReached, UsageError

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

_PERIODS = {"s": timedelta(seconds=1), "min": MINUTE, "h": timedelta(hours=1), "day": DAY}
_RATE = re.compile(r"(\d{1,9})\s*/\s*(s|min|h|day)", re.ASCII | re.IGNORECASE)
NO_LIMIT = "none"


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """So many messages in any period of this length."""

    period: timedelta
    messages: int

    def __str__(self) -> str:
        (unit,) = (name for name, period in _PERIODS.items() if period == self.period)
        return f"{self.messages:,}/{unit}"


def parse_rates(text: str, option: str = "--max-rate") -> tuple[Rate, ...]:
    """The limits of a list like "30/min,1000/day"; none of them for "none". Raises UsageError."""
    if text.strip().lower() == NO_LIMIT:
        return ()
    rates = []
    for word in text.split(","):
        found = _RATE.fullmatch(word.strip())
        if not found:
            raise UsageError(
                f"{option} {text!r}: {word.strip()!r} is no rate; give messages per s, min, h or day, like 30/min or "
                f"30/min,1000/day, or {NO_LIMIT} for no limit at all."
            )
        rates.append(Rate(_PERIODS[found[2].lower()], int(found[1])))
    if not all(rate.messages for rate in rates):
        raise UsageError(f"{option} {text!r} would let nothing through.")
    return tuple(sorted(rates))


# ---- what providers allow

_CONSUMER = ("@gmail.com", "@googlemail.com")

_CAPS: dict[str, tuple[str, str]] = {
    # 1,000 messages and 1,000 recipients a day: support.apple.com/102198, "Mailbox size and message sending limits"
    "smtp.mail.me.com": ("iCloud", "1000/day"),
    # 30 messages a minute, 10,000 recipients a day: learn.microsoft.com, Exchange, "Message storage and concurrent
    # connection throttling for SMTP Authenticated Submission"
    "smtp.office365.com": ("Microsoft 365", "30/min,10000/day"),
    # the same service; what it allows personal accounts is not published as a rate
    "smtp-mail.outlook.com": ("Outlook.com", "30/min"),
    # 2,000 messages a day: support.google.com/a/answer/166852, "Gmail sending limits in Google Workspace"
    "smtp.gmail.com": ("Google Workspace", "2000/day"),
}
_GMAIL = ("Gmail", "500/day")  # support.google.com/mail/answer/22839, for accounts that are no company's


def provider_cap(host: str, user: str) -> tuple[str, tuple[Rate, ...]]:
    """(provider, what it lets one account send) by the name of its SMTP server; ("", ()) where no cap is known."""
    host = host.lower().rstrip(".")
    name, rates = _CAPS.get(host, ("", NO_LIMIT))
    if host == "smtp.gmail.com" and user.lower().endswith(_CONSUMER):
        name, rates = _GMAIL
    return name, parse_rates(rates)


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that hold for a run, and a sentence about them if they are not what was asked for; "" if they are."""

    rates: tuple[Rate, ...] = ()
    note: str = ""


def rate_policy(max_rate: str, host: str, user: str) -> Policy:
    """`--max-rate` if it is given, else ("") what the provider allows. Raises UsageError."""
    if max_rate:
        return Policy(parse_rates(max_rate))
    name, rates = provider_cap(host, user)
    if not rates:
        return Policy()
    told = " and ".join(map(str, rates))
    return Policy(rates, f"{name} lets an account send {told}, so no more is sent; --max-rate says otherwise.")


# ---- keeping to it


class _Window:
    """What one limit still counts."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._sent: deque[tuple[datetime, int]] = deque()
        self._total = 0

    def left(self, now: datetime) -> int:
        while self._sent and self._sent[0][0] + self.rate.period <= now:
            self._total -= self._sent.popleft()[1]
        return self.rate.messages - self._total

    def remember(self, count: int, time: datetime) -> None:
        """So many were sent then; the latest last."""
        self._sent.append((time, count))
        self._total += count

    def add(self, count: int, now: datetime) -> None:
        """More than fits into an empty window is spread over those that follow."""
        while count > 0:
            part = min(count, self.rate.messages)
            self.remember(part, now)
            count, now = count - part, now + self.rate.period

    def when(self, count: int, now: datetime) -> datetime:
        """From when on so many fit."""
        left, wanted = self.left(now), min(count, self.rate.messages)
        when = now
        for time, sent in self._sent:
            if left >= wanted:
                break
            left, when = left + sent, time + self.rate.period
        return when

    def shift(self, back: timedelta) -> None:
        """The clock was set back: what was sent a minute ago was still sent a minute ago."""
        self._sent = deque((time - back, count) for time, count in self._sent)


class Pacer:
    """What may go to one target now. One for a run; without limits it keeps nothing.

    Counts are of messages, one for each recipient. A clock that is set back moves what is remembered with it.
    """

    def __init__(self, catalogue: Catalogue, target: str, rates: Sequence[Rate], now: datetime) -> None:
        self._catalogue, self._target, self._latest = catalogue, target, now
        self._windows = [_Window(rate) for rate in sorted(rates)]
        kept = [window for window in self._windows if window.rate.period >= MINUTE]
        self._keeps = bool(kept)
        for time, count in self._remembered(now) if kept else ():
            for window in kept:
                window.remember(count, time)

    def fitting(self, counts: Sequence[int], now: datetime) -> int:
        """How many of these may be sent now, in their order; 0: `wait_before` says when.

        Raises DailyLimitReached if the first may not be sent today.
        """
        self._hear(now)
        number, total = 0, 0
        for count in counts:
            if not self._fit(total + count, now, alone=not total):
                break
            number, total = number + 1, total + count
        if counts and not number:
            self.wait_before(counts[0], now)
        return number

    def wait_before(self, count: int, now: datetime) -> float:
        """Seconds until `count` may be sent. Raises DailyLimitReached if that is not today."""
        self._hear(now)
        for window in self._windows:
            if window.rate.period >= DAY and window.when(count, now) > now:
                raise self._reached(window, count, now)
        moments = [window.when(count, now) for window in self._windows]
        return max(((moment - now).total_seconds() for moment in moments), default=0.0)

    def spend(self, count: int, now: datetime) -> None:
        """Takes them off, durably, before they are sent."""
        self._hear(now)
        for window in self._windows:
            window.add(count, now)
        if not self._keeps or not count:
            return
        connection = self._catalogue.connection
        with self._catalogue.transaction():
            connection.execute(
                "DELETE FROM target_messages WHERE target = ? AND minute NOT BETWEEN ? AND ?",
                (self._target, *_day(now)),
            )
            connection.execute(
                "INSERT INTO target_messages VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET messages = target_messages.messages + excluded.messages",
                (self._target, _name(now), count),
            )

    def _fit(self, count: int, now: datetime, *, alone: bool) -> bool:
        """`alone`: it is one message, which goes into an empty window even if it is too large for it."""
        return all(
            window.left(now) >= (min(count, window.rate.messages) if alone else count) for window in self._windows
        )

    def _hear(self, now: datetime) -> None:
        if now < self._latest:
            for window in self._windows:
                window.shift(self._latest - now)
        self._latest = now

    def _remembered(self, now: datetime) -> list[tuple[datetime, int]]:
        """What earlier runs sent, each minute as if all of it had been sent at its end, and nothing in the future."""
        query = (
            "SELECT minute, messages FROM target_messages WHERE target = ? AND minute BETWEEN ? AND ? ORDER BY minute"
        )
        rows = self._catalogue.connection.execute(query, (self._target, *_day(now))).fetchall()
        return [(min(datetime.fromisoformat(f"{minute}:00+00:00") + MINUTE, now), count) for minute, count in rows]

    def _reached(self, window: _Window, count: int, now: datetime) -> DailyLimitReached:
        """`when` is a full minute, since that is how the next run remembers it."""
        when = window.when(count, now)
        when += (MINUTE - timedelta(seconds=when.second, microseconds=when.microsecond)) % MINUTE
        return DailyLimitReached(
            f"The limit of {window.rate.messages:,} messages a day for {self._target} is reached; run again after "
            f"{when:%H:%M} UTC ({when:%Y-%m-%d}).",
            when=when,
        )


def _name(time: datetime) -> str:
    """The minute it is in, UTC, so that names sort by time."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M}"


def _day(now: datetime) -> tuple[str, str]:
    """The first and the last minute that count; one in the future is of a clock that was set back."""
    return _name(now - DAY - MINUTE), _name(now + DAY)
