"""kill -9 of a rebuild at every file-system call: the next opening, or the next rebuild, has the same archive.db.

Strategy: strace counts the calls of an undisturbed rebuild, and makes one of them at a time a SIGKILL; a seeded sample
by default, all with --full. Right after each kill the old database and its journal must be somewhere, octet by octet.
Then, where the old database was sound, an ordinary opening must do; where it was not, another rebuild. Either way all
projected tables must be those from before, and nothing may be found by `verify`.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mailmove.archive import Archive
from tests.support import archives
from tests.support.cli import finish, mailmove, start_mailmove
from tests.support.strace import CALLS, every_call
from tests.unit.archive.making import verify
from tests.unit.archive.test_rebuild import OLD
from tests.unit.archive.test_rebuilding import SPOILT, content, everything

SAMPLE, AT_ONCE = 10, 4
SAME_CALLS = {"PYTHONDONTWRITEBYTECODE": "1"}
"""So that every run makes the same calls, whatever Python has cached."""


def reopened(archive: Path) -> None:
    Archive.open(archive).close()


def rebuilt(archive: Path) -> None:
    result = mailmove("rebuild", "-a", archive)
    assert result.code == 0, result


NEXT: dict[str, Callable[[Path], None]] = {
    "sound": reopened,
    "deleted": reopened,
    "no database": rebuilt,
    "foreign wal": rebuilt,
}


@pytest.mark.parametrize("spoilt", NEXT)
def test_at_every_file_system_call(strace: str, tmp_path: Path, seed: int, full: bool, spoilt: str) -> None:
    whole, spoiled = tmp_path / "whole.mailmove", tmp_path / "spoiled.mailmove"
    everything(whole)
    expected, files = content(whole), archives.files(whole)
    shutil.copytree(whole, spoiled)
    SPOILT[spoilt](spoiled)
    points = points_of(strace, spoiled, tmp_path)
    assert {"rename", "fsync", "pwrite64"} <= {name for name, _ in points}
    chosen = points if full else random.Random(f"rebuild {seed} {spoilt}").sample(points, SAMPLE)

    def killed_at(point: tuple[str, int]) -> None:
        archive = tmp_path / f"{point[0]}.{point[1]}.mailmove"
        kill_at(strace, spoiled, archive, *point)
        NEXT[spoilt](archive)
        assert_whole(archive, expected, files)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for job in [pool.submit(killed_at, point) for point in chosen]:
            job.result()


def test_a_file_that_the_disk_cannot_read_is_named_and_the_others_are_there(strace: str, archive_dir: Path) -> None:
    everything(archive_dir)
    path = OLD[2].file(archive_dir)
    prefix = (strace, "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", "inject=read:error=EIO")
    result = finish(start_mailmove("rebuild", "-a", archive_dir, "--json", prefix=prefix))
    assert (result.code, result.json()["messages"]) == (4, len(archives.files(archive_dir))), result
    assert [one["digest"] for one in result.json()["exceptions"]] == [OLD[2].digest]
    reopened(archive_dir)
    assert mailmove("status", "-a", archive_dir, "--json").json()["damaged"] == 0, "the disk has thought better of it"


def points_of(strace: str, spoiled: Path, folder: Path) -> list[tuple[str, int]]:
    """All calls of a rebuild. The second run is counted: the first one may make this user's state folder, too."""
    for archive in (folder / "first.mailmove", folder / "counted.mailmove"):
        shutil.copytree(spoiled, archive)
        assert traced(strace, archive, "") == 0
    return every_call(archive.with_suffix(".trace"))


def traced(strace: str, archive: Path, rule: str) -> int:
    output = ("-o", str(archive.with_suffix(".trace")))
    prefix = (strace, "-f", "-qq", "-e", f"trace={CALLS}", *(("-e", rule) if rule else ()), *output)
    return finish(start_mailmove("rebuild", "-a", archive, "-q", env=SAME_CALLS, prefix=prefix)).code


def kill_at(strace: str, spoiled: Path, archive: Path, name: str, number: int) -> None:
    shutil.copytree(spoiled, archive)
    code = traced(strace, archive, f"inject={name}:signal=KILL:when={number}")
    assert code in (-signal.SIGKILL, 128 + signal.SIGKILL), (name, number, code)
    there = [path.read_bytes() for path in (*archive.iterdir(), *(archive / "quarantine").iterdir()) if path.is_file()]
    for precious in ("archive.db", "archive.db-wal"):
        if (spoiled / precious).exists():
            assert (spoiled / precious).read_bytes() in there, (name, number, f"{precious} is destroyed")


def assert_whole(archive: Path, expected: dict[str, list[tuple[Any, ...]]], files: dict[str, bytes]) -> None:
    assert content(archive) == expected and archives.files(archive) == files
    assert verify(archive).findings == []
    assert not (archive / "archive.db.new").exists()
