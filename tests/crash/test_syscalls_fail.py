"""ENOSPC and EIO at every file-system call of a pull that deletes: exit 75, one sentence, nothing false; it resumes.

Strategy: as in test_syscalls_kill.py, each call of an undisturbed run in turn, on one thread, so that each is hit for
certain: it alone fails, or from then on all of its kind, or all calls that change a disk, as when it dies. What the run
did after the error is read from the trace: Disk asserts the write order (a failed sync covers nothing, so nothing that
depends on it may follow), no DELE and no QUIT go out, and no sync is retried. Right after it `verify` is content, and
one more run without errors has exactly the maildrop. A seeded sample by default, all with --full. Then the threads of a
real run, at calls that can be told by their file.

SQLite has one retry of its own: when the database is closed after a commit whose sync failed, it syncs its journal once
more before it moves the commits *before* that one, all of them durable, into archive.db. The one that failed is not
among them; its records are in the log, and the next opening takes them in. To keep SQLite from it would be worse: then
the journal would stay, and what could not be synced would look committed. So that is allowed, and no more than that.
"""

from __future__ import annotations

import enum
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from random import Random

import pytest

from tests.crash.small_pull import (
    COMPLETE,
    DELETE,
    GROUP,
    GROUPS,
    assert_nothing_lost,
    assert_resumes,
    assert_valid,
    make_empty,
    name,
    of_the_archive,
    pull,
    serving,
    thinned,
)
from tests.hostile.peer import Letter
from tests.support import archives, mails
from tests.support.cli import Result
from tests.support.disk import TRACED, Disk
from tests.support.strace import CALLS, EACH_FILE, ONE_THREAD, SYNCS, Call, calls, traced

TRY_AGAIN = 75
pytestmark = pytest.mark.timeout(900)  # the whole matrices take minutes
AT_ONCE, SAMPLE = 3, 6
KINDS = f"{CALLS},{TRACED},sendto"
LIMIT = 1 << 16
TERMS = ("stored", "already_archived", "duplicate_content", "skipped", "gone", "parked", "pending")
WHAT_TO_DO = re.compile(r"[Cc]heck |free some space|run again", re.IGNORECASE)
SAYS = re.compile(r"DELE|QUIT")
THERE = {".", "mail", "log", "tmp", "quarantine"}


class Extent(enum.Enum):
    """What fails beside the call itself."""

    ALONE = "alone"
    KIND = "all of its kind from then on"
    DISK = "all calls from then on"

    def rules(self, points: Sequence[Call], place: int, error: str) -> list[str]:
        """What strace injects."""
        point = points[place]
        if self is Extent.ALONE:
            return [f"inject={point.name}:error={error}:when={point.nth}"]
        first = {call.name: call.nth for call in reversed(points[place:])}
        if self is Extent.KIND:
            first = {point.name: point.nth}
        else:
            last = {call.name: call.nth + 1 for call in points}
            first = {"ftruncate": 1, **last, **first}
        return [f"inject={kind}:error={error}:when={nth}+" for kind, nth in first.items()]


class Failures:
    """Runs that delete, from the archive `base`, which are told of an `error`."""

    def __init__(self, folder: Path, error: str, extent: Extent, *how: str) -> None:
        self.folder, self.error, self.extent, self.program = folder, error, extent, (*ONE_THREAD, *how)
        self.base = make_empty(folder / "empty.mailmove")
        self.counted = shutil.copytree(self.base, folder / "counted.mailmove")
        trace = folder / "trace"
        with serving() as peer:
            result = pull(peer, self.counted, *DELETE, prefix=traced(trace, program=self.program))
        assert result.code == COMPLETE, result
        self.points = of_the_archive(trace, self.counted)

    def chosen(self, seed: int, full: bool) -> list[Call]:
        """All of them; where more than one fails, of a row of writes to the database only the first and the last."""
        if not full:
            return Random(f"fail {seed} {self.error} {self.extent}").sample(thinned(self.points), SAMPLE)
        return self.points if self.extent is Extent.ALONE else thinned(self.points)

    def at_each(self, points: Sequence[Call]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for job in [pool.submit(self.at, self.points.index(point)) for point in points]:
                job.result()

    def at(self, place: int) -> None:
        """One run in which it fails, and one more."""
        archive = shutil.copytree(self.base, self.folder / f"{place}.mailmove")
        trace = self.folder / f"{place}.trace"
        rules = self.extent.rules(self.points, place, self.error)
        prefix = traced(trace, *rules, kinds=KINDS, texts=1 << 16, program=self.program)
        with serving() as peer:
            result = pull(peer, archive, *DELETE, prefix=prefix)
            Told(archive, trace, result).check(name(self.points[place], self.counted))
            assert_valid(archive)
            assert_resumes(peer, archive, assert_nothing_lost(peer, archive), DELETE)
        shutil.rmtree(archive)


class Told:
    """What came of a run that was told of errors: its trace, its exit code and its words."""

    def __init__(self, archive: Path, trace: Path, result: Result) -> None:
        self.archive, self.trace, self.result = archive, trace, result
        self.calls = calls(trace)
        self.failed = [call for call in self.calls if call.injected]

    def check(self, wanted: str) -> None:
        """`wanted`: the name of the first call that failed."""
        assert self.failed and name(self.failed[0], self.archive) == wanted, (wanted, "was not hit", self.result)
        if all(map(self.is_harmless, self.failed)):
            assert self.result.code == COMPLETE and not self.result.stderr, (wanted, self.result)
        else:
            assert_told(self.result)
            said = [call.args for call in self.calls if call.name == "sendto" and call.began > self.failed[0].began]
            assert not SAYS.search(" ".join(said)), (wanted, "deletes, or ends well, after an error", said)
        disk = Disk(PurePosixPath(self.archive), old_log=True)
        disk.watch(self.trace)
        assert self.result.json().get("stored", 0) <= disk.committed, (wanted, "more is reported than is durable")
        self.check_syncs(disk)

    def is_harmless(self, call: Call) -> bool:
        """To make a folder that is there; SQLite's sync of the folder that its journal, which may be lost, is in; and
        what SQLite does at the end with a journal that is durable."""
        path = call.path.relative_to(PurePosixPath(self.archive))
        ended = [one.ended for one in self.calls if one.name == "fsync" and one.path == self.log and not one.failed]
        closing = bool(ended) and call.began > ended[-1] and path.name.startswith("archive.db")
        return closing or (call.name == "mkdir" and str(path) in THERE) or (call.name, str(path)) == ("fdatasync", ".")

    @property
    def log(self) -> PurePosixPath:
        return PurePosixPath(self.archive / "log")

    def check_syncs(self, disk: Disk) -> None:
        for failed in (call for call in self.calls if call.name in SYNCS and call.failed):
            later = [call for call in self.calls if call.began > failed.began and self.is_again(failed, call)]
            journal = failed.path.name == "archive.db-wal"
            assert len(later) <= journal, (failed, "was retried", later)
            if later and not (self.archive / "archive.db-wal").exists():
                assert len(archives.rows(self.archive, "SELECT record FROM places")) <= disk.committed, (
                    "a retried sync counts as one that succeeded"
                )

    def is_again(self, failed: Call, call: Call) -> bool:
        return call.name in SYNCS and (call.path, call.descriptor) == (failed.path, failed.descriptor)


def assert_told(result: Result) -> None:
    """Exit 75, one sentence that says what to do, one JSON document that says the same, and all is accounted for."""
    assert result.code == TRY_AGAIN, result
    (sentence,) = result.stderr.splitlines()
    assert re.search(r"The disk of .*(failed|is full)", sentence) and WHAT_TO_DO.search(sentence), result
    document = result.json()
    assert document["outcome"] == "failed" and document["error"]["message"] in sentence, result
    assert document.get("listed", 0) == sum(document.get(term, 0) for term in TERMS), result


@pytest.mark.parametrize("extent", Extent, ids=lambda extent: extent.name.lower())
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_at_every_call(
    strace: str, tmp_path: Path, memory: Path, seed: int, full: bool, error: str, extent: Extent
) -> None:
    """No room, where each file is synced by itself; a failing disk, where one syncfs is for all of them."""
    how = (memory, error, extent, "each-file") if error == "ENOSPC" else (tmp_path, error, extent)
    failures = Failures(*how)
    assert len(failures.points) > 80 and {"rename", "fsync", "fdatasync", "write", "pwrite64", "unlink"} <= {
        point.name for point in failures.points
    }
    failures.at_each(failures.chosen(seed, full))


# ---- In the threads of a real run

FILES = [
    ("write", "log/00000001.jsonl"),
    ("fsync", "log/00000001.jsonl"),
    ("pwrite64", "archive.db-wal"),
    ("fdatasync", "archive.db-wal"),
    ("rename", ""),
    ("fsync", "tmp"),
    ("fsync", "log/checkpoint.new"),
]
"""A call, and the one file it is told by."""


@pytest.mark.parametrize("when", ["1", pytest.param("1+", marks=pytest.mark.full)])
@pytest.mark.parametrize(("call", "file"), FILES, ids=lambda word: str(word).replace("/", " "))
def test_in_the_threads_of_a_real_run(strace: str, memory: Path, call: str, file: str, when: str) -> None:
    """The disk fails in the thread that commits, while the next group comes in: the run ends, and says so."""
    archive, trace = make_empty(memory / "mail.mailmove"), memory / "trace"
    rule = f"inject={call}:error=EIO:when={when}"
    with serving() as peer:
        prefix = traced(trace, rule, only=archive / file if file else None, program=EACH_FILE)
        result = pull(peer, archive, *DELETE, prefix=prefix)
        assert any(one.injected for one in calls(trace)), (call, file, "was not hit", result)
        assert_told(result)
        assert_valid(archive)
        assert_resumes(peer, archive, assert_nothing_lost(peer, archive), DELETE, again=GROUP * GROUPS)


def test_an_append_that_is_cut_short_and_cannot_be_taken_back(strace: str, tmp_path: Path) -> None:
    """No file may be longer than LIMIT, nor be cut: of a group's records the last one in the log is torn.

    All that are whole count from the next opening on, and no others.
    """
    letters = [Letter(f"uid-{n}", body) for n, body in enumerate(mails.small(LIMIT // 200))]
    archive = make_empty(tmp_path / "mail.mailmove")
    segment, trace = archive / "log" / "00000001.jsonl", tmp_path / "trace"
    prefix = traced(
        trace, "inject=ftruncate:error=EIO", only=segment, program=("prlimit", f"--fsize={LIMIT}", *ONE_THREAD)
    )
    with serving(letters) as peer:
        result = pull(peer, archive, "--group-messages", len(letters), prefix=prefix)
        assert_told(result)
        assert [call.name for call in calls(trace) if call.injected] == ["ftruncate"] and result.json()["stored"] == 0
        assert segment.stat().st_size == LIMIT and not segment.read_bytes().endswith(b"\n"), "nothing was torn"
        again = pull(peer, archive)
    assert again.code == COMPLETE and 0 < again.json()["already_archived"] < len(letters), again
    archives.assert_exactly(archive, {letter.unique_id: letter.body for letter in letters})
    assert_valid(archive)
