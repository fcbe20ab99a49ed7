"""An archive.db of another mailmove: an earlier one is brought up to date by whoever writes, a later one is refused.

Strategy: a catalogue of an earlier version is made by the earlier migrations alone, and filled with what today's has in
the columns that were there then. One of a later version has had one migration more. What commands say is asked of the
commands themselves, as processes.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlite_utils import Database

from mailmove.archive import Archive, Reader, rebuilding
from mailmove.archive.catalogue import SCHEMA_VERSION
from mailmove.archive.schema import migrations
from mailmove.errors import ArchiveError, ArchiveOutdated, ArchiveTooNew
from tests.cli.making import one_sentence
from tests.support.cli import REPO, environment, mailmove
from tests.unit.archive.making import assert_sound, findings, projected, pull, some, store, summary, verify
from tests.unit.archive.making import tree as every_file
from tests.unit.search.searching import index

MAILS = some(3)
BUSY, TOO_NEW = 75, 78
EARLIER = range(1, SCHEMA_VERSION)
COMPARABLE = 3
"""The first version whose migration to today's leaves nothing that only the messages could fill in."""


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    store(archive_dir, MAILS)
    index(archive_dir)
    return archive_dir


def of_version(root: Path, version: int) -> Path:
    """The same archive as a mailmove with so many migrations had left it."""
    path, today = root / "archive.db", root.parent / "today.db"
    path.rename(today)
    names = [one.name for one in migrations.pending(Database(memory=True))]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations.apply(Database(connection), stop_before=names[version])
        connection.execute("ATTACH ? AS today", (str(today),))
        tables = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
        for table in {name for (name,) in tables} - {"_sqlite_migrations"}:
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"DELETE FROM main.{table}")
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}")
        connection.execute("DETACH today")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA user_version = {version}")
    today.unlink()
    return root


def of_tomorrow(root: Path) -> Path:
    with sqlite3.connect(root / "archive.db") as connection:
        connection.execute("INSERT INTO _sqlite_migrations VALUES (99, 'mailmove-catalogue', 'm099', 'tomorrow')")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    return root


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def tree(root: Path) -> dict[str, bytes]:
    """Every file but what SQLite keeps beside a database that is open."""
    return {name: octets for name, octets in every_file(root).items() if not name.endswith(("-wal", "-shm"))}


READERS = [("status",), ("search", "text"), ("show", MAILS[0].digest), ("index",)]


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_a_reader_of_an_earlier_one_says_what_brings_it_up_to_date(archive: Path, words: tuple[str, ...]) -> None:
    before = tree(of_version(archive, SCHEMA_VERSION - 1))
    result = mailmove(*words, "-a", archive)
    assert (result.code, result.stdout) == (BUSY, ""), result
    one_sentence(result, str(archive / "archive.db"), "earlier mailmove", "mailmove pull")
    assert tree(archive) == before


def test_what_does_not_need_the_catalogue_goes_without_it(archive: Path) -> None:
    checkpoint = mailmove("checkpoint", "-a", archive).stdout
    of_version(archive, SCHEMA_VERSION - 1)
    assert mailmove("checkpoint", "-a", archive).stdout == checkpoint
    report = verify(archive)
    assert (report.exit_code, report.proven) == (0, len(MAILS))
    assert findings(archive) == {("note", "archive.db")} and report.as_dict()["note"] == 1
    MAILS[1].file(archive).unlink()
    assert {kind for kind, _ in findings(archive)} == {"note", "missing"}


@pytest.mark.parametrize("earlier", EARLIER)
def test_the_next_writer_brings_it_up_to_date_and_keeps_the_old_one(archive: Path, earlier: int) -> None:
    before = projected(archive)
    of_version(archive, earlier)
    assert pull(archive, *MAILS, *some(1, seed=9)) == [some(1, seed=9)[0].unique_id]
    (kept,) = (archive / "quarantine").glob("*.db")
    assert (version(kept), version(archive / "archive.db")) == (earlier, SCHEMA_VERSION)
    assert summary(archive).messages == len(MAILS) + 1
    assert set(before["messages"]) <= set(projected(archive)["messages"])
    if earlier >= COMPARABLE:
        assert_sound(archive, *MAILS, *some(1, seed=9))
    assert pull(archive, *MAILS) == [] and list((archive / "quarantine").glob("*.db")) == [kept]


def test_one_that_was_cut_off_leaves_the_old_one_and_is_done_again(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(of_version(archive, SCHEMA_VERSION - 1))["archive.db"]

    def full(*paths: object) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ArchiveError):
        patch.setattr(rebuilding, "_exchange", full)
        Archive.open(archive)
    assert (archive / "archive.db").read_bytes() == before and not (archive / "archive.db.new").exists()
    Archive.open(archive).close()
    assert_sound(archive, *MAILS)


KILLED = """
import os, signal, sys
from pathlib import Path
from mailmove.archive import Archive, rebuilding
left = int(sys.argv[2])
def counted(step):
    def and_die(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **options)
    return and_die
for owner, name in ((rebuilding, "sync_file"), (rebuilding, "sync_directory"), (Path, "replace"), (Path, "unlink")):
    setattr(owner, name, counted(getattr(owner, name)))
Archive.open(Path(sys.argv[1])).close()
"""


def test_one_that_was_killed_before_any_step_is_done_again(archive: Path) -> None:
    """Each sync, rename and removal; whatever the next run finds, it ends with the same."""
    of_version(archive, SCHEMA_VERSION - 1)
    kills, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        root = Path(shutil.copytree(archive, archive.with_name(f"killed-{kills}")))
        code = subprocess.run(
            [sys.executable, "-c", KILLED, root, str(kills + 1)], cwd=REPO, env=environment()
        ).returncode
        kills += code != 0
        assert pull(root, *MAILS) == [] and version(root / "archive.db") == SCHEMA_VERSION
        assert_sound(root, *MAILS)
    assert code == 0 and kills > 8


@pytest.mark.parametrize("words", [*READERS, ("checkpoint",), ("verify",), ("skip", "x", "--reason", "y")],
                         ids=lambda words: words[0])  # fmt: skip
def test_a_later_one_is_refused_and_left_alone(archive: Path, words: tuple[str, ...]) -> None:
    before = tree(of_tomorrow(archive))
    result = mailmove(*words, "-a", archive)
    assert (result.code, result.stdout) == (TOO_NEW, ""), result
    one_sentence(result, str(archive / "archive.db"), "written by a newer mailmove")
    assert tree(archive) == before
    with pytest.raises(ArchiveTooNew):
        Archive.open(archive)


@pytest.mark.parametrize("number", [0, SCHEMA_VERSION - 1, SCHEMA_VERSION ^ 64])
def test_a_flipped_number_makes_no_other_version_of_it(archive: Path, number: int) -> None:
    with sqlite3.connect(archive / "archive.db") as connection:
        connection.execute(f"PRAGMA user_version = {number}")
    connection.close()
    assert findings(archive) == set() and summary(archive).messages == len(MAILS)
    assert pull(archive, *MAILS) == [] and version(archive / "archive.db") == SCHEMA_VERSION
    assert list((archive / "quarantine").iterdir()) == []


def test_of_the_test_an_earlier_one_cannot_be_read_as_todays(archive: Path) -> None:
    of_version(archive, SCHEMA_VERSION - 1)
    with pytest.raises(ArchiveOutdated), Reader.open(archive).catalogue():
        raise AssertionError("it was opened")
    with contextlib.closing(sqlite3.connect(archive / "archive.db")) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "target_budget" in names and "target_messages" not in names
