"""One writer at a time: a lock file that names who holds it (design.md section 5).

Strategy: filelock holds an flock, which the kernel drops with the process, so a lock left by kill -9 never blocks. The
file's content is only for people: pid and start of the holder. Where the state lies outside the archive there are two
lock files: the one inside keeps apart writers that name different state folders.
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
    """The exclusive right to write to one archive: all of its lock files, taken in order."""

    def __init__(self, *paths: Path) -> None:
        self._locks = {path: filelock.FileLock(path, mode=0o600) for path in paths}

    def acquire(self, archive: Path, wait: float = 0.0) -> None:
        """Takes the lock, waiting `wait` seconds at most for each file. Raises ArchiveBusy naming the holder."""
        for path, lock in self._locks.items():
            try:
                lock.acquire(timeout=wait, poll_interval=POLL)
            except filelock.Timeout:
                self.release()
                raise ArchiveBusy(
                    f"{archive} is in use by {_holder(path)}; wait for it to end, or give --wait SECONDS."
                ) from None
            started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            path.write_text(f"pid {os.getpid()}\nstarted {started}\n", encoding="ascii")

    def release(self) -> None:
        """Lets go of what is held: a second time must not blank the name of the next holder."""
        for path, lock in self._locks.items():
            if lock.is_locked:
                with contextlib.suppress(OSError):
                    os.truncate(path, 0)
                lock.release()


def _holder(path: Path) -> str:
    try:
        facts = dict(line.split(" ", 1) for line in path.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        facts = {}
    return f"process {facts.get('pid', '(unknown)')}, running since {facts.get('started', '(unknown)')}"
