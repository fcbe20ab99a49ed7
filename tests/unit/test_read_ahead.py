"""Messages read ahead: the same ones, in order, whole or with their error, and never many at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mailmove.archive.deliveries import Selected
from mailmove.archive.layout import Layout
from mailmove.errors import ArchiveDamaged
from mailmove.jobs.outgoing import IN_MEMORY, Letter
from mailmove.jobs.read_ahead import AHEAD, BUNCH, BUNCH_OCTETS, read_ahead
from mailmove.model import DateOrigin, Digest, InternalDate
from tests.support import archives
from tests.support.replaying import fill
from tests.unit.archive.making import alter

LARGE = b"Subject: large\r\n\r\n" + b"x" * IN_MEMORY
DATE = InternalDate(datetime(2001, 1, 1, tzinfo=UTC), DateOrigin.DATE)


def letter(octets: bytes) -> Letter:
    return Letter(Selected(1, Digest(archives.digest(octets)), len(octets), DATE, False, 1, 0, 0, 0, 0))


def test_each_letter_comes_with_its_octets_in_order(archive_dir: Path) -> None:
    messages = [b"Subject: %d\r\n\r\n" % number for number in range(150)]
    messages.insert(70, LARGE)
    fill(archive_dir, messages)
    letters = [letter(octets) for octets in messages]
    read = list(read_ahead(Layout(archive_dir, archive_dir), letters))
    assert [one for one, _ in read] == letters
    assert [octets for _, octets in read] == [None if octets is LARGE else octets for octets in messages]


def test_what_is_damaged_comes_as_its_error_and_the_others_do_not_mind(archive_dir: Path) -> None:
    messages = [b"Subject: %d\r\n\r\n" % number for number in range(30)]
    fill(archive_dir, messages)
    layout = Layout(archive_dir, archive_dir)
    alter(layout.message(Digest(archives.digest(messages[3]))))
    layout.message(Digest(archives.digest(messages[20]))).unlink()
    read = [octets for _, octets in read_ahead(layout, map(letter, messages))]
    assert [number for number, octets in enumerate(read) if isinstance(octets, ArchiveDamaged)] == [3, 20]
    assert [octets for octets in read if isinstance(octets, bytes)] == [*messages[:3], *messages[4:20], *messages[21:]]


def test_only_some_bunches_are_read_ahead(archive_dir: Path) -> None:
    message, taken = b"Subject: x\r\n\r\n", itertools.count()
    fill(archive_dir, [message])

    def letters() -> Iterator[Letter]:
        while True:
            next(taken)
            yield letter(message)

    read = read_ahead(Layout(archive_dir, archive_dir), letters())
    next(read)
    assert next(taken) <= 1 + BUNCH * AHEAD
    read.close()  # type: ignore[attr-defined]


def test_few_octets_are_held(archive_dir: Path) -> None:
    message, taken = b"Subject: x\r\n\r\n" + b"x" * (BUNCH_OCTETS // 4), itertools.count()
    fill(archive_dir, [message])

    def letters() -> Iterator[Letter]:
        while True:
            next(taken)
            yield letter(message)

    read = read_ahead(Layout(archive_dir, archive_dir), letters())
    next(read)
    assert next(taken) * len(message) <= (AHEAD + 2) * (BUNCH_OCTETS + len(message))
    read.close()  # type: ignore[attr-defined]
