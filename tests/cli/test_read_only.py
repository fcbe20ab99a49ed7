"""An archive that nobody can write to: a backup on a read-only disk is read, searched and proven all the same.

Strategy: a real read-only mount, which holds for root as well; what is below it is the archive of the test, so nothing
need be copied. A database in WAL mode is the trap: SQLite wants to make files beside it, even to read.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.support.cli import mailmove
from tests.unit.archive.making import Mail, running, some, store
from tests.unit.search.searching import index, mail

MAILS: list[Mail] = [*some(3), mail("needle", "needle")]
DAMAGED = 4


@pytest.fixture
def mounted(archive_dir: Path, tmp_path: Path) -> Iterator[Path]:
    """The same archive where it cannot be written; as a backup has it, nobody's database is open."""
    store(archive_dir, MAILS)
    index(archive_dir)
    for path in (*archive_dir.glob("*-wal"), *archive_dir.glob("*-shm")):
        assert path.stat().st_size == 0 or path.name.endswith("-shm"), "what is left of a database that was closed"
        path.unlink()
    folder = tmp_path / "read-only"
    folder.mkdir()
    yield from mount(archive_dir, folder)


def mount(archive: Path, folder: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        unavailable("only root can mount something read-only")
    done = subprocess.run(["mount", "--bind", str(archive), str(folder)], capture_output=True, text=True)
    if done.returncode:
        unavailable(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_it_is_read_searched_and_proven(mounted: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Read-only"):
        (mounted / "x").touch()
    assert mailmove("status", "-a", mounted, "--json").json()["messages"] == len(MAILS)
    verified = mailmove("verify", "-a", mounted, "--json")
    assert (verified.code, verified.json()["findings"], verified.json()["proven"]) == (0, [], len(MAILS)), verified
    (hit,) = mailmove("search", "needle", "-a", mounted, "--json").json()["hits"]
    assert "needle" in mailmove("show", hit["digest"], "-a", mounted).stdout
    checkpoint = mailmove("checkpoint", "-a", mounted)
    assert checkpoint.code == 0
    (tmp_path / "kept").write_text(checkpoint.stdout)
    assert mailmove("verify", "-a", mounted, "--since", tmp_path / "kept").code == 0


def test_what_is_damaged_on_it_is_named(mounted: Path, archive_dir: Path) -> None:
    MAILS[0].file(archive_dir).unlink()
    result = mailmove("verify", "-a", mounted, "--json")
    assert (result.code, [one["kind"] for one in result.json()["findings"]]) == (DAMAGED, ["missing"]), result


def test_a_journal_that_came_with_it_is_not_left_out(archive_dir: Path, tmp_path: Path) -> None:
    """Taken while a run had it open: the last group is in the WAL only."""
    store(archive_dir, MAILS[:3])
    folder = tmp_path / "read-only"
    folder.mkdir()
    with running(archive_dir) as archive:
        archive.append(archive.event("gone", maildrop="me@mail.example", unique_id="x", listed=1))
        assert (archive_dir / "archive.db-wal").stat().st_size > 0
        for path in mount(archive_dir, folder):
            assert mailmove("status", "-a", path, "--json").json()["uncatalogued"] == 0
            assert mailmove("verify", "-a", path).code == 0


def test_what_writes_says_why_it_cannot(mounted: Path) -> None:
    for words in (("index",), ("rebuild",)):
        result = mailmove(*words, "-a", mounted)
        assert result.code == 75 and "Traceback" not in result.stderr, result
        assert len(result.stderr.splitlines()) == 1 and str(mounted) in result.stderr, result
