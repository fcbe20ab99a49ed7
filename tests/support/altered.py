"""mailmove with something in it replaced: `python -m tests.support.altered one-thread … mailmove pull …`.

Strategy: meant as a prefix of the usual command line (tests.support.cli.start_mailmove): the words before "mailmove"
say what is altered (ALTERATIONS), and all else is mailmove as it is.

`one-thread`: all of the archive's writes are on one thread. strace counts the calls of each thread by itself, and a
pull shares its work out among several, now so and now so. Here a pool does at once what it is given, and a draft is
written when it is handed over, so the n-th call of a kind is the same one in every run. Groups are cut by their number
alone, and no sync is too slow: time decides nothing. What is printed goes out by writev, so every `write` is the
archive's.

`each-file`: files are synced one by one, as on a file system whose syncfs cannot be had.
"""

from __future__ import annotations

import concurrent.futures
import io
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any
from unittest import mock


class AtOnce:
    """A pool without threads."""

    def __init__(self, *how: object, **more: object) -> None:
        """As many workers as are wanted: it is one."""

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args))
        except BaseException as error:
            done.set_exception(error)
        return done

    def map(self, work: Callable[..., Any], *args: Iterable[Any]) -> Iterator[Any]:
        """All is done before the first is looked at, as a pool does it; sorted, as it may come from a set."""
        results = [self.submit(work, *some) for some in sorted(zip(*args, strict=False))]
        return (result.result() for result in results)

    def shutdown(self) -> None:
        """Nothing is left to do."""

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()


class Aside(io.RawIOBase):
    """A descriptor written to by another call than `write`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return os.writev(self._fd, [data])


def on_one_thread() -> None:
    sys.stdout, sys.stderr = (io.TextIOWrapper(Aside(fd), "utf-8", write_through=True) for fd in (1, 2))  # type: ignore[type-var]
    mock.patch.object(concurrent.futures, "ThreadPoolExecutor", AtOnce).start()
    from mailmove.archive import drafts, durable
    from mailmove.jobs import group

    mock.patch.object(drafts.Writer, "hand", lambda writer, draft: draft.put()).start()
    mock.patch.object(durable, "SLOW_SYNCFS", math.inf).start()
    mock.patch.object(group, "EARLY", 1).start()  # a part of a group is never worth a commit
    mock.patch.object(group, "time", mock.Mock(monotonic=lambda: 0.0)).start()


def each_file() -> None:
    from mailmove.archive import durable

    mock.patch.object(durable, "LOCAL_SYNCFS", frozenset()).start()


ALTERATIONS = {"one-thread": on_one_thread, "each-file": each_file}
"""Each raises AttributeError where mailmove has changed so that it cannot be done any more."""


def main() -> None:
    start = sys.argv.index("mailmove")
    words, sys.argv = sys.argv[1:start], sys.argv[start:]
    for word in words:
        ALTERATIONS.get(word, lambda: None)()
    from mailmove.cli import main as mailmove

    mailmove()


if __name__ == "__main__":
    main()
