"""One group on its way to the disk while the next comes in: in order, one at a time, and nothing after a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mailmove.errors import ArchiveError, ConnectionLost
from mailmove.jobs.committer import Committer, Meanwhile

PATIENCE = 20.0


class Draft:
    discarded = False

    def discard(self) -> None:
        self.discarded = True


class Item:
    def __init__(self) -> None:
        self.draft = Draft()


def group() -> list[Any]:
    return [Item(), Item()]


class Disk:
    """Commits when it is told to, in the worker's thread."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.began: list[Sequence[Any]] = []
        self.threads: set[int] = set()
        self.error: ArchiveError | None = None

    def commit(self, items: Sequence[Any]) -> list[Any]:
        self.began.append(items)
        self.threads.add(threading.get_ident())
        assert self.go_on.wait(PATIENCE)
        if self.error:
            raise self.error
        return ["filed"] * len(items)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def told() -> list[Sequence[Any]]:
    return []


@pytest.fixture
def committer(disk: Disk, told: list[Sequence[Any]]) -> Iterator[Committer]:
    made = Committer(lambda items, filed: told.append(items))
    yield made
    disk.go_on.set()
    made.close()


def test_the_caller_goes_on_and_nothing_is_told_before_it_is_durable(
    committer: Committer, disk: Disk, told: list[Sequence[Any]]
) -> None:
    items = group()
    committer.start(disk.commit, items)
    assert not committer.arrived and told == []
    disk.go_on.set()
    committer.settle()
    assert told == [items] and threading.get_ident() not in disk.threads


def test_a_group_begins_when_the_one_before_was_told_of(
    committer: Committer, disk: Disk, told: list[Sequence[Any]]
) -> None:
    first, second = group(), group()
    seen: list[list[Sequence[Any]]] = []

    def commit(items: Sequence[Any]) -> list[Any]:
        seen.append(list(told))
        return disk.commit(items)

    disk.go_on.set()
    committer.start(commit, first)
    committer.start(commit, second)
    committer.settle()
    assert seen == [[], [first]] and told == [first, second]


def test_a_failure_is_raised_once_and_nothing_follows_it(
    committer: Committer, disk: Disk, told: list[Sequence[Any]]
) -> None:
    first, second = group(), group()
    disk.error = ArchiveError("the disk failed")
    disk.go_on.set()
    committer.start(disk.commit, first)
    with pytest.raises(ArchiveError, match="the disk failed"):
        committer.start(disk.commit, second)
    committer.settle()
    assert disk.began == [first] and told == []
    assert all(item.draft.discarded for item in (*first, *second))


def test_an_empty_group_only_settles(committer: Committer, disk: Disk, told: list[Sequence[Any]]) -> None:
    disk.go_on.set()
    items = group()
    committer.start(disk.commit, items)
    committer.start(disk.commit, [])
    assert told == [items] and disk.began == [items] and not committer.arrived


def test_closing_waits_for_the_disk_and_tells_nothing(disk: Disk, told: list[Sequence[Any]]) -> None:
    committer = Committer(lambda items, filed: told.append(items))
    committer.start(disk.commit, group())
    disk.go_on.set()
    committer.close()
    assert len(disk.began) == 1 and told == []


# ---- What is done while it is waited for


def test_something_is_done_again_and_again_until_the_group_is_durable(
    committer: Committer, disk: Disk, told: list[Sequence[Any]]
) -> None:
    items, done = group(), 0

    def do() -> None:
        nonlocal done
        assert told == []
        done += 1
        if done == 3:
            disk.go_on.set()

    committer.start(disk.commit, items)
    committer.settle(Meanwhile(do, 0.001))
    assert done >= 3 and told == [items]


@pytest.mark.parametrize("fails", [False, True])
def test_what_goes_wrong_meanwhile_is_raised_when_the_group_was_told_of(
    committer: Committer, disk: Disk, told: list[Sequence[Any]], fails: bool
) -> None:
    items = group()
    disk.error = ArchiveError("the disk failed") if fails else None

    def do() -> None:
        disk.go_on.set()
        raise ConnectionLost("the server has gone")

    committer.start(disk.commit, items)
    with pytest.raises(ArchiveError if fails else ConnectionLost):
        committer.settle(Meanwhile(do, 0.001))
    assert told == ([] if fails else [items]) and disk.began == [items]
    committer.settle(Meanwhile(do, 0.001))


def test_nothing_is_done_where_nothing_is_waited_for(
    committer: Committer, disk: Disk, told: list[Sequence[Any]]
) -> None:
    nothing = Meanwhile(lambda: pytest.fail("done"), 0.0)
    committer.settle(nothing)
    disk.go_on.set()
    committer.start(disk.commit, group())
    while not committer.arrived:
        pass
    committer.settle(nothing)
    assert len(told) == 1
