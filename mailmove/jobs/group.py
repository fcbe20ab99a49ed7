"""Messages that came in whole and wait to be made durable together (design.md section 5, "Write order")."""

from __future__ import annotations

import time

from mailmove.archive import GroupLimits, Received

EARLY = 4
"""A group of this part of its size is worth a commit when the disk is idle: the last one is then soon done."""


class Group:
    """The open group of a run."""

    def __init__(self, limits: GroupLimits) -> None:
        self._limits = limits
        self._items: list[Received] = []
        self._octets = 0
        self._since = 0.0

    def add(self, item: Received) -> None:
        if not self._items:
            self._since = time.monotonic()
        self._items.append(item)
        self._octets += item.draft.octets

    @property
    def due(self) -> bool:
        """Whether it is time to commit: by number, octets, or age."""
        limits = self._limits
        return bool(self._items) and (
            len(self._items) >= limits.messages
            or self._octets >= limits.octets
            or time.monotonic() - self._since >= limits.seconds
        )

    @property
    def worthwhile(self) -> bool:
        """Whether it is worth a commit of its own, when the disk has nothing else to do."""
        return len(self._items) * EARLY >= self._limits.messages or self._octets * EARLY >= self._limits.octets

    def take(self) -> list[Received]:
        """Empties the group and returns what was in it."""
        items, self._items, self._octets = self._items, [], 0
        return items

    def discard(self) -> None:
        """Drops the group and its files in tmp/."""
        for item in self.take():
            item.draft.discard()
