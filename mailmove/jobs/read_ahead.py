"""Messages read and proven before they are needed, so that the log does not wait for the disk, nor hashing for the log.

Strategy: one thread reads what is small, some bunches ahead of whoever sends; the order stays. The first message is
read at once, so that sending can begin. What is large is read while it is sent. A file that is damaged comes as the
error it is, and is the sender's to tell of.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from mailmove.archive.deliveries import Selected
from mailmove.archive.layout import Layout
from mailmove.archive.reading import read_message
from mailmove.errors import ArchiveDamaged
from mailmove.jobs.outgoing import IN_MEMORY

BUNCH, BUNCH_OCTETS = 32, 2 * 1024 * 1024
"""Messages, and octets of them, that are read in one go."""

AHEAD = 2
"""Bunches."""

Octets = bytes | ArchiveDamaged | None
"""A message's; None if it is large."""


class Addressed(Protocol):
    """Whatever is on its way out with a message."""

    @property
    def message(self) -> Selected: ...


Letter = TypeVar("Letter", bound=Addressed)


def read_ahead(layout: Layout, letters: Iterable[Letter]) -> Iterator[tuple[Letter, Octets]]:
    """Each letter with its octets, in order."""
    letters = iter(letters)
    yield from _read_all(layout, itertools.islice(letters, 1))
    waiting: deque[Future[list[tuple[Letter, Octets]]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="mailmove-read") as pool:
        for bunch in _bunches(letters):
            waiting.append(pool.submit(_read_all, layout, bunch))
            if len(waiting) > AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _bunches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    bunch: list[Letter] = []
    octets = 0
    for letter in letters:
        bunch.append(letter)
        octets += letter.message.octets if letter.message.octets <= IN_MEMORY else 0
        if len(bunch) >= BUNCH or octets >= BUNCH_OCTETS:
            yield bunch
            bunch, octets = [], 0
    if bunch:
        yield bunch


def _read_all(layout: Layout, bunch: Iterable[Letter]) -> list[tuple[Letter, Octets]]:
    return [(letter, _read(layout, letter)) for letter in bunch]


def _read(layout: Layout, letter: Addressed) -> Octets:
    if letter.message.octets > IN_MEMORY:
        return None
    try:
        return read_message(layout, letter.message.digest)
    except ArchiveDamaged as error:
        return error
