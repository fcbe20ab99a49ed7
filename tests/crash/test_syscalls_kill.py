"""kill -9 at every file-system call of a pull: one more run has exactly the maildrop.

Strategy: an undisturbed run under strace says which calls there are; then each of them in turn becomes a SIGKILL. The
archive's writes are on one thread (small_pull.py), so the n-th call of a kind is the same one in every run, and every
kill is seen: the process died of it, in that very call on that very file, or the test fails. Right after each, no log
record is without its file and nothing is gone from the server that is not in the archive. Keeping, with an fsync for
each file; deleting, with one syncfs for all of them where the temporary folder has it; and the making of a new archive.
A seeded sample by default, all with --full.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.crash.small_pull import (
    COMPLETE,
    DELETE,
    assert_nothing_lost,
    assert_resumes,
    make_empty,
    name,
    of_the_archive,
    pull,
    sample,
    serving,
    thinned,
)
from tests.support.strace import ONE_THREAD, Call, traced

pytestmark = pytest.mark.timeout(900)  # the whole matrices take minutes
AT_ONCE = 3
SAMPLE, SAMPLE_OF_NEW = 20, 10
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class Kills:
    """Kills of one kind of run: from the archive `base`, or from none, with the options `more`, altered in some way."""

    def __init__(self, folder: Path, base: Path | None, more: Sequence[object], *how: str) -> None:
        self.folder, self.base, self.more, self.program = folder, base, more, (*ONE_THREAD, *how)

    def begin(self, place: str) -> Path:
        archive = self.folder / f"{place}.mailmove"
        if self.base:
            shutil.copytree(self.base, archive)
        return archive

    def points(self) -> list[Call]:
        """Every call of an undisturbed run; `path` is as in the archive `counted`."""
        archive, trace = self.begin("counted"), self.folder / "trace"
        with serving() as peer:
            result = pull(peer, archive, *self.more, prefix=traced(trace, program=self.program))
        assert result.code == COMPLETE, result
        return of_the_archive(trace, archive)

    def at(self, place: int, point: Call) -> None:
        """One kill and one more run."""
        archive, trace = self.begin(str(place)), self.folder / f"{place}.trace"
        wanted = name(point, self.folder / "counted.mailmove")
        prefix = traced(trace, f"inject={point.name}:signal=KILL:when={point.nth}", program=self.program)
        with serving() as peer:
            result = pull(peer, archive, *self.more, prefix=prefix)
            last = of_the_archive(trace, archive)[-1]
            assert result.code in KILLED and name(last, archive) == wanted, (wanted, "was not hit", last, result)
            there = assert_nothing_lost(peer, archive)
            assert_resumes(peer, archive, there, self.more)
        shutil.rmtree(archive)

    def at_each(self, points: Sequence[Call]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for job in [pool.submit(self.at, place, point) for place, point in enumerate(points)]:
                job.result()


def kill_at_each(kills: Kills, points: Sequence[Call], few: int, seed: int, full: bool) -> None:
    assert len(points) > 80 and {"rename", "fsync", "fdatasync", "write", "pwrite64", "unlink"} <= {
        point.name for point in points
    }
    kills.at_each(points if full else sample(points, few, Random(f"kill at calls {seed} {kills.more}")))


def test_at_every_call_of_a_run_that_keeps(strace: str, memory: Path, seed: int, full: bool) -> None:
    kills = Kills(memory, make_empty(memory / "empty.mailmove"), (), "each-file")
    kill_at_each(kills, kills.points(), SAMPLE, seed, full)


def test_at_every_call_of_a_run_that_deletes(strace: str, tmp_path: Path, seed: int, full: bool) -> None:
    kills = Kills(tmp_path, make_empty(tmp_path / "empty.mailmove"), DELETE)
    kill_at_each(kills, kills.points(), SAMPLE, seed, full)


def test_at_the_calls_of_the_run_that_makes_the_archive(strace: str, tmp_path: Path, seed: int, full: bool) -> None:
    """Of those that fill the new database, the first and the last of each row."""
    make_empty(tmp_path / "first.mailmove")
    kills = Kills(tmp_path, None, ())
    kill_at_each(kills, thinned(kills.points()), SAMPLE_OF_NEW, seed, full)
