"""Archives for the tests: made by real runs, cut short where a crash would, looked at from outside.

Strategy: every archive comes from `Archive` itself, group by group, as a pull would write it. A crash is a run that
really stopped there: files settled and nothing logged, or the log written and the catalogue refusing (another
connection holds it). What a power cut does on top (a shorter log, a missing file) is done to the files afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailmove.archive import Archive, Filed, Reader, Received
from mailmove.archive.audit import COMPARED
from mailmove.archive.listings import Listings
from mailmove.archive.summary import Summary, summarise
from mailmove.errors import ArchiveError
from mailmove.jobs import Context
from mailmove.jobs.plan import plan_pull
from mailmove.jobs.verify import VerifyJob, VerifyReport, run_verify
from mailmove.model import Complete, MaildropEntry, MessageNumber, UniqueId
from tests.support import archives
from tests.support.mails import small

MAILDROP = "me@mail.example"

Harm = Callable[[Path], object]


@dataclass(frozen=True)
class Mail:
    """One listed message."""

    unique_id: str
    octets: bytes
    complete: Complete = Complete.YES

    @property
    def entry(self) -> MaildropEntry:
        return MaildropEntry(MessageNumber(1), UniqueId(self.unique_id), len(self.octets))

    @property
    def digest(self) -> str:
        return archives.digest(self.octets)

    def file(self, root: Path) -> Path:
        return root / "mail" / self.digest[:3] / f"{self.digest}.eml"


def some(n: int, seed: int = 0) -> list[Mail]:
    """n messages, no two alike over all seeds."""
    return [Mail(f"{seed}-{i}", octets) for i, octets in enumerate(small(n, seed=seed))]


# ---- runs


@contextlib.contextmanager
def running(root: Path, maildrop: str = MAILDROP, **options: Any) -> Iterator[Archive]:
    """An open archive in which a run and a session have begun. The run does not end: closing is all."""
    with Archive.open(root, create_missing=True, **options) as archive:
        archive.begin_run("pull", maildrop)
        archive.begin_session()
        yield archive


def receive(archive: Archive, mail: Mail) -> Received:
    """A message that came in whole, in two pieces."""
    draft = archive.draft()
    half = len(mail.octets) // 2
    archive.write(draft, mail.octets[:half])
    archive.write(draft, mail.octets[half:])
    archive.finish(draft)
    return Received(mail.entry, draft, mail.complete)


def commit(archive: Archive, *mails: Mail) -> list[Filed]:
    """One group."""
    return archive.commit([receive(archive, mail) for mail in mails])


def store(root: Path, *groups: Sequence[Mail], end: bool = True, maildrop: str = MAILDROP) -> list[Filed]:
    """One run that stores these groups, whatever is known of them; `end=False`: it was killed after the last."""
    with running(root, maildrop) as archive:
        filed = [one for group in groups for one in commit(archive, *group)]
        if end:
            archive.end_run("complete", {"stored": len(filed)})
    return filed


def pull(root: Path, *listing: Mail, maildrop: str = MAILDROP, limit: int | None = None) -> list[str]:
    """One run that fetches what the plan says is not known, in one group. The unique ids fetched.

    With a limit the connection broke after so many messages, and the run was killed.
    """
    with running(root, maildrop) as archive:
        wanted = _unknown(Listings(archive.catalogue, maildrop, [m.entry for m in listing]).known(), listing)[:limit]
        commit(archive, *wanted)
        if limit is None:
            archive.end_run("complete", {"stored": len(wanted)})
    return [mail.unique_id for mail in wanted]


def _unknown(known: Mapping[tuple[UniqueId, int], int], listing: Sequence[Mail]) -> list[Mail]:
    entries = [mail.entry for mail in listing]
    wanted = {id(entry) for entry in plan_pull(entries, known).retrieve}
    return [mail for mail, entry in zip(listing, entries, strict=True) if id(entry) in wanted]


# ---- crashes


def die_before_log(root: Path, *group: Mail) -> None:
    """A run that stops after step 4 of the write order: the files have their names, no record tells of them."""
    with running(root) as archive, full_log(root), pytest.raises(ArchiveError):
        commit(archive, *group)


@contextlib.contextmanager
def full_log(root: Path) -> Iterator[None]:
    """The log (of one segment) takes not an octet."""
    segment, aside = root / "log" / "00000001.jsonl", root / "log" / "aside"
    if segment.exists():
        segment.rename(aside)
    segment.symlink_to("/dev/full")
    yield
    segment.unlink()
    if aside.exists():
        aside.rename(segment)


def die_before_catalogue(root: Path, *group: Mail) -> None:
    """A run that stops after step 5: the log has the group's records, the catalogue does not."""
    with running(root) as archive, refusing(archive), pytest.raises(ArchiveError):
        commit(archive, *group)


@contextlib.contextmanager
def refusing(archive: Archive) -> Iterator[None]:
    """The catalogue takes no transaction: somebody else has it."""
    archive.catalogue.connection.execute("PRAGMA busy_timeout = 0")
    with contextlib.closing(sqlite3.connect(archive.layout.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def catalogue_left_behind(root: Path) -> Iterator[None]:
    """Whatever happens within, archive.db is afterwards what it was before."""
    before = (root / "archive.db").read_bytes()
    yield
    (root / "archive.db").write_bytes(before)


@contextlib.contextmanager
def no_file_longer_than(octets: int) -> Iterator[None]:
    """A disk that is full for real, as far as one file is concerned: write() is short, then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def last_segment(root: Path) -> Path:
    return max((root / "log").glob("*.jsonl"))


def cut_log(root: Path, octets: int) -> None:
    """The log's last octets never reached the disk."""
    path = last_segment(root)
    os.truncate(path, path.stat().st_size - octets)


def alter(path: Path) -> None:
    """Other octets of the same number."""
    octets = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes([octets[0] ^ 1]) + octets[1:])


HARMS = pytest.mark.parametrize("harm", [Path.unlink, alter], ids=["missing", "altered"])


# ---- what is there


def verify(root: Path, meanwhile: Callable[[], bool] = lambda: True, since: Path | None = None) -> VerifyReport:
    """`meanwhile` is called wherever verify may be interrupted."""
    return run_verify(VerifyJob(root, since=since), Context(ok=meanwhile))


def findings(root: Path, since: Path | None = None) -> set[tuple[str, str]]:
    """(kind, what) of everything verify names."""
    return {(finding.kind, finding.what) for finding in verify(root, since=since).findings}


def summary(root: Path) -> Summary:
    """What `status` shows."""
    reader = Reader.open(root)
    with reader.catalogue() as catalogue:
        return summarise(catalogue, reader.log)


def unknown(root: Path, *listing: Mail, maildrop: str = MAILDROP) -> list[str]:
    """The unique ids the next pull will fetch."""
    with Archive.open(root) as archive:
        known = Listings(archive.catalogue, maildrop, [mail.entry for mail in listing]).known()
        return [mail.unique_id for mail in _unknown(known, listing)]


def projected(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every table that a rebuild must reproduce."""
    return {table: archives.rows(root, query) for table, query in COMPARED.items()}


def kinds(root: Path) -> list[str]:
    """The types of all log records, in order."""
    return [json.loads(line)["t"] for line in log_lines(root)]


def log_lines(root: Path) -> list[bytes]:
    return [line for path in sorted((root / "log").glob("*.jsonl")) for line in path.read_bytes().splitlines(True)]


def tree(root: Path) -> dict[str, bytes]:
    """Every file but the lock and SQLite's index of its journal, which only readers and writers in memory need."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name not in ("lock", "archive.db-shm"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


# ---- what must be


def assert_sound(root: Path, *mails: Mail) -> None:
    """These messages and nothing else, all agreeing, and a rebuilt catalogue is the same."""
    assert verify(root).findings == [] and verify(root).exit_code == 0
    archives.assert_consistent(root)
    assert archives.files(root) == {mail.digest: mail.octets for mail in mails}
    assert_rebuilds(root)


def assert_rebuilds(root: Path) -> None:
    before = projected(root)
    (root / "archive.db").unlink()
    assert unknown(root) == [] and projected(root) == before
