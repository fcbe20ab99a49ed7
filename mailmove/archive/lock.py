"""One writer at a time: a lock file that names who holds it (design.md section 5).

Strategy: filelock holds an flock, which the kernel drops with the process, so a lock left by kill -9 never blocks. The
file's content is only for people: pid and start of the holder.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

import filelock

from mailmove.errors import ArchiveBusy

POLL = 0.2


class WriterLock:
    """The exclusive right to write to one archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = filelock.FileLock(path, mode=0o600)

    def acquire(self, archive: Path, wait: float = 0.0) -> None:
        """Takes the lock, waiting `wait` seconds at most. Raises ArchiveBusy naming the holder."""
        try:
            self._lock.acquire(timeout=wait, poll_interval=POLL)
        except filelock.Timeout:
            raise ArchiveBusy(
                f"{archive} is in use by {self._holder()}; wait for it to end, or give --wait SECONDS."
            ) from None
        started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._path.write_text(f"pid {os.getpid()}\nstarted {started}\n", encoding="ascii")

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.truncate(self._path, 0)
        self._lock.release()

    def _holder(self) -> str:
        try:
            facts = dict(line.split(" ", 1) for line in self._path.read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):
            facts = {}
        return f"process {facts.get('pid', '(unknown)')}, running since {facts.get('started', '(unknown)')}"
