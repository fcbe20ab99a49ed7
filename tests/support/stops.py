"""A program that is stopped after each of its system calls, by strace, with all its threads.

    stops = Stops(strace, "rename,fsync", folder)
    process = start_mailmove(..., prefix=stops.prefix)
    for calls in stops:
        ... nothing of it moves now; `calls` are the lines of strace since the last stop ...

Strategy: strace makes a SIGSTOP of every call it is told of, which the kernel delivers when the call has returned. It
writes to a FIFO and says there of each thread when it has stopped, so nothing here waits for a time: when every thread
there is has been named, the process stands still; SIGCONT sends it on. A process that it started itself may go on.
"""

from __future__ import annotations

import os
import re
import select
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 60.0
LINE = re.compile(r"^(?P<thread>\d+) +(?P<what>.*)$")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
UNFINISHED = "<unfinished ...>"
STOPPED = "--- stopped by SIGSTOP ---"


class Stops:
    """Stops at each of `calls` (as strace wants them: "?rename,fsync"). To be iterated once."""

    def __init__(self, strace: str, calls: str, folder: Path) -> None:
        fifo = folder / "strace.fifo"
        os.mkfifo(fifo)
        rules = ("-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGSTOP")
        self.prefix = (strace, "-f", "-q", "-y", "-s", "4096", *rules, "-o", str(fifo))
        self._output = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # opened first, so that strace need not wait for us
        self._begun: dict[str, str] = {}
        self._calls: list[str] = []
        self._stopped: defaultdict[int, set[str]] = defaultdict(set)

    def __iter__(self) -> Iterator[list[str]]:
        for line in self._lines():
            if found := LINE.match(line):
                self._note(found["thread"], found["what"])
            for process in [one for one, stopped in self._stopped.items() if stopped >= _threads(one)]:
                yield self._calls
                self._calls = []
                del self._stopped[process]
                os.kill(process, signal.SIGCONT)

    def _lines(self) -> Iterator[str]:
        """Until strace has ended."""
        rest = b""
        while data := self._read():
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
        os.close(self._output)

    def _read(self) -> bytes:
        readable, _, _ = select.select([self._output], [], [], PATIENCE)
        assert readable, f"nothing moves after {self._calls}, stopped: {self._stopped}"
        return os.read(self._output, 1 << 16)

    def _note(self, thread: str, what: str) -> None:
        if what == STOPPED:
            self._stopped[_process(thread)].add(thread)
        elif what.endswith(UNFINISHED):
            self._begun[thread] = what
        elif RESUMED.match(what):
            self._calls.append(self._begun.pop(thread, what))
        elif not what.startswith(("---", "+++")):
            self._calls.append(what)


def _process(thread: str) -> int:
    with open(f"/proc/{thread}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Tgid:"))


def _threads(process: int) -> set[str]:
    return set(os.listdir(f"/proc/{process}/task"))
