"""Messages that came in whole and wait to be made durable together (design.md section 5, "Write order")."""

from __future__ import annotations

import time

from mailmove.archive import GroupLimits, Received

EARLY = 2
"""A group of this part of its size is worth a commit when the disk is idle: the last one is then soon done."""


class Group:
    """The open group of a run.

    What was taken from it last may still be on its way to the disk; a crash would lose both, so together they are at
    most as much as one group (P3).
    """

    def __init__(self, limits: GroupLimits) -> None:
        self._limits = limits
        self._items: list[Received] = []
        self._octets = 0
        self._since = 0.0
        self._ahead = (0, 0)

    def add(self, item: Received) -> None:
        if not self._items:
            self._since = time.monotonic()
        self._items.append(item)
        self._octets += item.draft.octets

    def due(self, *, settled: bool) -> bool:
        """Whether it is time to commit: by number, octets, or age. `settled`: what was taken before is durable."""
        limits, (messages, octets) = self._limits, (0, 0) if settled else self._ahead
        return bool(self._items) and (
            len(self._items) + messages >= limits.messages
            or self._octets + octets >= limits.octets
            or time.monotonic() - self._since >= limits.seconds
        )

    @property
    def worthwhile(self) -> bool:
        """Whether it is worth a commit of its own, when the disk has nothing else to do."""
        return len(self._items) * EARLY >= self._limits.messages or self._octets * EARLY >= self._limits.octets

    def take(self) -> list[Received]:
        """Empties the group and returns what was in it."""
        self._ahead = len(self._items), self._octets
        items, self._items, self._octets = self._items, [], 0
        return items

    def discard(self) -> None:
        """Drops the group and its files in tmp/."""
        for item in self.take():
            item.draft.discard()
