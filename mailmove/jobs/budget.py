"""How many octets may go to a target in a day: `--daily-limit` (design.md section 7; Gmail shuts out who sends more).

Strategy: a row for each hour in archive.db, so that the sum survives restarts; it is advice, and a rebuild forgets it.
Octets are taken off the budget before they are sent: a crash may waste some of it, and never overdraws it. An hour
counts until it is over by a whole day, so the limit holds for any 24 hours, wherever they begin. What is sent again
after a drop, or refused, was sent all the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mailmove.archive.catalogue import Catalogue
from mailmove.errors import DailyLimitReached, UsageError

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_SIZE = re.compile(r"(\d{1,15})(?:\.(\d{1,3}))?\s*([kmgt]?)(i?)(b?)", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str, option: str = "--daily-limit") -> int:
    """Octets of a size like 450MB, 2GiB, 1.5G or 900. Raises UsageError; 0 is none."""
    found = _SIZE.fullmatch(text.strip())
    power = _POWERS[found[3].lower()] if found else 0
    if not found or (found[4] and not (power and found[5])):
        raise UsageError(f"{option} {text!r} is no size; give a number and KB, MB or GB (KiB, MiB or GiB), like 450MB.")
    unit = int((1024 if found[4] else 1000) ** power)
    octets = int(found[1]) * unit + int((found[2] or "0").ljust(3, "0")) * unit // 1000
    if not octets:
        raise UsageError(f"{option} {text!r} would let nothing through.")
    return octets


class Budget:
    """What may still go to one target. `limit`: octets in any 24 hours; None means all, and nothing is kept."""

    def __init__(self, catalogue: Catalogue, target: str, limit: int | None) -> None:
        self._catalogue, self._target, self._limit = catalogue, target, limit

    def left(self, now: datetime) -> int | None:
        """Octets that may be sent now; None means any number."""
        if self._limit is None:
            return None
        return max(0, self._limit - sum(octets for _, octets in self._hours(now)))

    def never(self, octets: int) -> bool:
        """Whether a message of this size is over the limit all by itself, so that no waiting helps."""
        return self._limit is not None and octets > self._limit

    def fitting(self, sizes: Sequence[int], now: datetime) -> int:
        """How many of these messages may be sent now, in their order. Raises DailyLimitReached if the first may not."""
        left = self.left(now)
        if left is None or not sizes:
            return len(sizes)
        count = 0
        while count < len(sizes) and sizes[count] <= left:
            left -= sizes[count]
            count += 1
        if not count:
            raise self._reached(sizes[0], now)
        return count

    def spend(self, octets: int, now: datetime) -> None:
        """Takes octets off, durably, before they are sent. Raises DailyLimitReached if there are not so many."""
        if self._limit is None or not octets:
            return
        self.fitting([octets], now)
        connection = self._catalogue.connection
        with self._catalogue.transaction():
            connection.execute(
                "DELETE FROM target_budget WHERE target = ? AND hour NOT BETWEEN ? AND ?", (self._target, *_day(now))
            )
            connection.execute(
                "INSERT INTO target_budget VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET octets = target_budget.octets + excluded.octets",
                (self._target, _name(now), octets),
            )

    def _hours(self, now: datetime) -> list[tuple[str, int]]:
        """The hours that count, the oldest first. One in the future is of a clock that was set back: it counts too."""
        query = "SELECT hour, octets FROM target_budget WHERE target = ? AND hour BETWEEN ? AND ? ORDER BY hour"
        return self._catalogue.connection.execute(query, (self._target, *_day(now))).fetchall()

    def _reached(self, octets: int, now: datetime) -> DailyLimitReached:
        limit = self._limit or 0
        said = f"The daily limit of {limit:,} octets for {self._target} is reached"
        if octets > limit:
            return DailyLimitReached(f"{said} by one message of {octets:,} octets alone; give a larger --daily-limit.")
        when = self._when(octets, now)
        return DailyLimitReached(f"{said}; run again after {when:%H:%M} UTC ({when:%Y-%m-%d}).", when=when)

    def _when(self, octets: int, now: datetime) -> datetime:
        """When so many octets may be sent: as soon as enough of the oldest hours do not count any more."""
        left = self.left(now) or 0
        for hour, spent in self._hours(now):
            left += spent
            if left >= octets:
                return datetime.fromisoformat(f"{hour}:00:00+00:00") + HOUR + DAY
        return now


def _name(time: datetime) -> str:
    """The hour it is in, UTC, so that names sort by time."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H}"


def _day(now: datetime) -> tuple[str, str]:
    """The first and the last hour that count."""
    return _name(now - DAY), _name(now + DAY)
