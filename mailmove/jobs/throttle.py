"""A bound on the octets a second that are read (`--max-rate`)."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_PAUSE = 1.0


class Throttle:
    """Pauses whoever reads faster than `rate` octets a second; 0 means no bound."""

    def __init__(self, rate: float, sleep: Callable[[float], None]) -> None:
        self._rate = rate
        self._sleep = sleep
        self._due = time.monotonic()

    def took(self, octets: int) -> None:
        """So many were read. Unused time does not add up to more than a second's worth."""
        if not self._rate:
            return
        now = time.monotonic()
        self._due = max(self._due, now - LONGEST_PAUSE) + octets / self._rate
        if self._due > now:
            self._sleep(self._due - now)
