"""Deliveries for the tests: written by the replay's own Journal, read as the replay reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries
from mailmove.jobs.journal import Journal

TARGET, MAILBOX = "imap://me@new.example", "INBOX"


@contextlib.contextmanager
def replaying(root: Path, target: str = TARGET, mailbox: str = MAILBOX) -> Iterator[Journal]:
    """A run of a replay has begun. It does not end: closing is all."""
    with Archive.open(root) as archive:
        archive.begin_run("replay", "", target)
        yield Journal(archive, target, mailbox)


@contextlib.contextmanager
def asking(root: Path, target: str = TARGET, mailbox: str = MAILBOX) -> Iterator[Deliveries]:
    with Archive.open(root) as archive:
        yield Deliveries(archive.catalogue, target, mailbox)
