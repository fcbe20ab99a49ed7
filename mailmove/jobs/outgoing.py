"""What a message gets on its way out: date, flag, octets (design.md section 7).

Strategy: dates are clamped to what every server takes, and come from the archive, never from the message at hand; the
octets are proven before the last of them goes out. A small message is read when it is announced, a large one while it
is sent. Pure but for reading the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailmove.archive.deliveries import Selected
from mailmove.archive.layout import Layout
from mailmove.archive.reading import is_sound, pieces, read_message
from mailmove.errors import ArchiveDamaged, UsageError
from mailmove.jobs.mended import Mended
from mailmove.targets import Outgoing

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
IN_MEMORY = 1024 * 1024
"""Octets of a message that is held in memory while it is under way."""

_OLDER = re.compile(r"older-than=(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Letter:
    """One copy of a message to be sent. `withdraw`: the state of an earlier delivery it takes the place of.

    `alone`: with nothing else under way, since a connection broke in it before; `hopeless`: too often.
    """

    message: Selected
    withdraw: str = ""
    alone: bool = False
    hopeless: bool = False


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


class Copy:
    """One copy of a message on its way out. `begun`: its octets were asked for, so that it may be at the target.

    `repaired`: how it differs from the archive's file, None if it does not.
    """

    __slots__ = ("_layout", "_octets", "_sent", "begun", "date", "intend", "letter", "outgoing", "repaired")

    def __init__(
        self,
        layout: Layout,
        letter: Letter,
        policy: SeenPolicy,
        now: datetime,
        sent: Callable[[int], None],
        mended: Mended | None = None,
        octets: bytes | None = None,
    ) -> None:
        """`octets`: the message, if it was read before; else one that is not large is read now, so that it is proven
        once. `mended` goes out in place of it. Raises ArchiveDamaged.
        """
        message = letter.message
        self._layout, self._sent = layout, sent
        self.repaired = mended.how if mended else None
        self._octets = mended.octets if mended else octets
        if self._octets is None and message.octets <= IN_MEMORY:
            self._octets = read_message(layout, message.digest)
        if self._octets is None and not is_sound(layout, message.digest):
            raise ArchiveDamaged(f"{layout.message(message.digest)} is missing or altered.")
        self.letter, self.begun, self.intend = letter, False, 0
        self.date = clamped(message.internal_date.time, now)
        size = message.octets if self._octets is None else len(self._octets)
        self.outgoing = Outgoing(size, self.date, policy.seen(self.date, now), self.chunks)

    def chunks(self) -> Iterator[bytes]:
        """Its octets. Raises ArchiveDamaged before the last ones if the file was altered since."""
        self.begun = True
        for piece in pieces(self._layout, self.letter.message.digest) if self._octets is None else [self._octets]:
            yield piece
            self._sent(len(piece))
