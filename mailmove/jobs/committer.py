"""Commits one group of messages while the next one comes in (design.md section 5, "Write order").

Strategy: one worker thread makes groups durable, one at a time; whoever receives goes on meanwhile, at most one group
ahead, so memory stays flat. Log and catalogue are handed over with a group: from `start` until `settle` they are the
worker's, and its caller may only write drafts. What became of a group, good or bad, is told in the caller's thread, in
order, and before the next one is begun; so nothing is acknowledged before it is durable, and nothing follows a failure.
Whoever has to wait for it may do something meanwhile, every so often; a group is told of whatever comes of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from mailmove.archive import Filed, Received

Commit = Callable[[Sequence[Received]], list[Filed]]
Acknowledge = Callable[[Sequence[Received], Sequence[Filed]], None]


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What is done every so many seconds of waiting; None: nothing is."""

    do: Callable[[], None] = _nothing
    every: float | None = None


IDLE = Meanwhile()


class Committer:
    """The group that is on its way to the disk. `acknowledge` hears of each one that has arrived."""

    def __init__(self, acknowledge: Acknowledge) -> None:
        self._acknowledge = acknowledge
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="mailmove-commit")
        self._items: Sequence[Received] = ()
        self._result: Future[list[Filed]] | None = None

    def start(self, commit: Commit, items: Sequence[Received]) -> None:
        """Begins to commit a group when the one before is settled. Raises what became of that one: ArchiveError."""
        try:
            self.settle()
        except BaseException:
            discard(items)
            raise
        if items:
            self._items, self._result = items, self._worker.submit(commit, items)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return self._result is None

    @property
    def arrived(self) -> bool:
        """Whether `settle` has something to tell, and at once."""
        return self._result is not None and self._result.done()

    def settle(self, meanwhile: Meanwhile = IDLE) -> None:
        """Waits for the group that is on its way, if there is one, and tells. Raises ArchiveError if it failed.

        What `meanwhile` raises is raised when the group has been told of.
        """
        if self._result is None:
            return
        try:
            while wait((self._result,), meanwhile.every).not_done:
                meanwhile.do()
        finally:
            self._tell(self._result)

    def _tell(self, result: Future[list[Filed]]) -> None:
        failure = result.exception()
        items = self._items
        self._items, self._result = (), None
        if failure is not None:
            discard(items)
            raise failure
        self._acknowledge(items, result.result())

    def close(self) -> None:
        """Waits until the disk is left alone. What was not settled by then is settled by the next run."""
        self._worker.shutdown()


def discard(items: Sequence[Received]) -> None:
    """Removes the drafts of a group that is not wanted."""
    for item in items:
        item.draft.discard()
