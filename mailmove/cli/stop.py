"""Ctrl-C and SIGTERM ask the run to stop; a second Ctrl-C does not ask."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Stop:
    """`ok` turns False at the first signal; the second one is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._ask)
            signal.signal(signal.SIGTERM, self._ask)

    def ok(self) -> bool:
        return not self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
