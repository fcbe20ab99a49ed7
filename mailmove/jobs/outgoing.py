"""What a message gets on its way out: date, flag, octets (design.md section 7).

Strategy: dates are clamped to what every server takes, and come from the archive, never from the message at hand; the
octets are proven while they are read. Pure but for reading the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailmove.archive.deliveries import Selected
from mailmove.archive.layout import Layout
from mailmove.archive.reading import pieces
from mailmove.errors import UsageError
from mailmove.targets import Outgoing

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDER = re.compile(r"older-than=(\d{1,5})")


@dataclass(frozen=True, slots=True)
class SeenPolicy:
    """Which messages are marked as read: those at least so many days old; None means none of them."""

    days: int | None = 14

    @classmethod
    def parse(cls, text: str) -> SeenPolicy:
        """`all`, `none` or `older-than=DAYS`. Raises UsageError."""
        if text in ("all", "none"):
            return cls(0 if text == "all" else None)
        if found := _OLDER.fullmatch(text):
            return cls(int(found[1]))
        raise UsageError(f"--seen {text!r} is none; give all, none or older-than=DAYS.")

    def seen(self, date: datetime, now: datetime) -> bool:
        return self.days is not None and date <= now - timedelta(days=self.days)


def clamped(date: datetime, now: datetime) -> datetime:
    """An InternalDate every server takes: 1970 to now, in UTC."""
    return min(max(date, EPOCH), now).astimezone(UTC)


def outgoing(
    layout: Layout, message: Selected, policy: SeenPolicy, now: datetime, sent: Callable[[int], None]
) -> Outgoing:
    """A message of the archive as it goes out; `sent` is told of each piece that is on its way."""
    date = clamped(message.internal_date.time, now)

    def chunks() -> Iterator[bytes]:
        for piece in pieces(layout, message.digest):
            yield piece
            sent(len(piece))

    return Outgoing(message.octets, date, policy.seen(date, now), chunks)
