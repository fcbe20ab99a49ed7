"""Messages on their way in: a file in tmp/ each, and a thread that writes them (design.md section 5, step 1).

Strategy: a small draft stays in memory until it is whole, and is hashed and written beside the reception of the next,
so that the network and the disk do not wait for each other; a large one is hashed and goes to its file as it comes, so
that memory stays flat. Nothing here is durable: that is what `Store.settle` is for, and it first waits for the writer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from queue import SimpleQueue

from mailmove.archive.durable import Syncer, write_all
from mailmove.message import HEADER_LIMIT, header_section
from mailmove.model import Digest

SMALL = 256 * 1024
"""Octets of a message up to which it waits in memory."""

AHEAD = 8 * 1024 * 1024
"""Octets that may wait for the writer."""

READ_BLOCK = 1 << 20


class Draft:
    """One message on its way in, and a running sha256. `syncer` is the way to make its file durable."""

    def __init__(self, name: str, syncer: Syncer) -> None:
        self.name = name
        self.syncer = syncer
        self.octets = 0
        self.fd = -1
        self.failure: Exception | None = None
        self._waiting: list[bytes] | None = []
        self._unwanted = False
        self._at_it = threading.Lock()
        self._hash = hashlib.sha256()
        self._digest = Digest("")
        self._head = b""
        self._section: bytes | None = None

    @property
    def path(self) -> Path:
        return Path(self.name)

    def write(self, data: bytes) -> None:
        """The next octets of the message. Raises OSError."""
        if self._waiting is None:
            write_all(self.fd, data)
            self._hash.update(data)
        else:
            self._waiting.append(data)
        self.octets += len(data)
        if self._section is None and len(self._head) < HEADER_LIMIT:
            self._head += data[: HEADER_LIMIT - len(self._head)]
            self._section = header_section(self._head)
        if self._waiting is not None and self.octets > SMALL:
            self._write_early()

    def finish(self) -> None:
        """All octets are in: `digest` may be asked for from here on."""
        if self._waiting is None:
            self._close_early()

    @property
    def digest(self) -> Digest:
        """Of all octets. Those that wait in memory are hashed by whoever comes first."""
        if not self._digest:
            with self._at_it:
                self._hash_waiting()
        return self._digest

    def _hash_waiting(self) -> None:
        if not self._digest:
            if self._waiting is not None:
                self._waiting = [b"".join(self._waiting)]
                self._hash.update(self._waiting[0])
            self._digest = Digest(self._hash.hexdigest())

    @property
    def waits(self) -> bool:
        """Whether it is still in memory, all of it."""
        return self._waiting is not None

    def put(self) -> None:
        """Writes what waits in memory; what goes wrong is in `failure`. For the writer's thread, which must go on."""
        with self._at_it:
            if self._unwanted:
                return
            try:
                self._hash_waiting()
                self._write_waiting()
                self._close_early()
            except Exception as error:  # noqa: BLE001 - whatever it is, `settle` raises it
                self.failure = error

    def _write_early(self) -> None:
        self._hash.update(b"".join(self._waiting or ()))
        self._write_waiting()

    def _write_waiting(self) -> None:
        self.fd = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o444)
        write_all(self.fd, b"".join(self._waiting or ()))
        self._waiting = None

    def _close_early(self) -> None:
        """It stays open if it must be synced by itself."""
        if not self.syncer.keeps_open:
            self.close()

    @property
    def headers(self) -> bytes:
        """The header section, or as much of the message as is looked for it."""
        return self._head if self._section is None else self._section

    def line_ends(self) -> tuple[int, int]:
        """How many line ends are CRLF, and how many a bare LF: servers differ in how they count them."""
        if (waiting := self._waiting) is not None:
            message = b"".join(waiting)
            pairs = message.count(b"\r\n")
            return pairs, message.count(b"\n") - pairs
        pairs, feeds, last = 0, 0, b""
        with self.path.open("rb", buffering=0) as file:
            while block := file.read(READ_BLOCK):
                pairs += block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
                feeds += block.count(b"\n")
                last = block[-1:]
        return pairs, feeds - pairs

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def discard(self) -> None:
        """The message is not wanted after all. A file that a failing disk keeps is removed by the next opening."""
        with self._at_it:  # else a descriptor could be closed here that the writer is about to use
            self._unwanted = True
            with contextlib.suppress(OSError):
                self.close()
            with contextlib.suppress(OSError):
                self.path.unlink()


class Writer:
    """The thread that writes small drafts, in the order in which they were whole."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Draft | threading.Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._handed = 0
        self._written = 0

    def hand(self, draft: Draft) -> None:
        """A draft that is whole. Waits if too much waits already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mailmove-write", daemon=True)
            self._thread.start()
        self._handed += draft.octets
        self._queue.put(draft)
        if self._handed - self._written > AHEAD:
            self.wait()

    def wait(self) -> None:
        """Until everything handed over so far is written, or has failed."""
        if self._thread is not None:
            done = threading.Event()
            self._queue.put(done)
            done.wait()

    def close(self) -> None:
        """Ends the thread, when it has written all."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            if isinstance(task, Draft):
                task.put()
                self._written += task.octets
            else:
                task.set()
