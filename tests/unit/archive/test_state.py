"""One writer, and where its state is: the lock, --state-dir, and the file `writer` that names the machine.

Strategy: a second machine is the same one with another home (XDG_STATE_HOME), so it has another machine id. Locks are
real: held by this process or by one that is killed. Waiting is shown without waiting: what filelock sleeps is when the
holder ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailmove.archive import Archive, Reader
from mailmove.errors import ArchiveBusy, ArchiveElsewhere
from mailmove.jobs import Context
from mailmove.jobs.verify import VerifyJob, run_verify
from tests.support import archives
from tests.unit.archive.making import commit, findings, running, some, store, summary

MAILS = some(3, seed=1)

HOLD = """
import os, sys, pathlib
from mailmove.archive import Archive
with Archive.open(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this process run on the machine so called; at first "one"."""

    def change(name: str) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / f"home-{name}"))
        monkeypatch.setattr("platform.node", lambda: f"{name}.example")

    change("one")
    return change


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


# ---- --state-dir


def test_archive_db_and_lock_are_in_the_state_folder(archive_dir: Path, state: Path) -> None:
    with running(archive_dir, state_dir=state) as archive:
        commit(archive, *MAILS)
        assert {path.name for path in (state / archive.id).iterdir()} >= {"archive.db", "lock"}
        expected = {"FORMAT", "README.txt", "mail", "log", "tmp", "quarantine", "writer", "lock"}
        assert {path.name for path in archive_dir.iterdir()} == expected


@pytest.mark.parametrize("other", ["other state", None])
def test_writers_that_name_different_state_folders_exclude_each_other(
    archive_dir: Path, state: Path, tmp_path: Path, other: str | None
) -> None:
    with running(archive_dir, state_dir=state) as archive:
        with pytest.raises(ArchiveBusy, match=str(os.getpid())):
            Archive.open(archive_dir, state_dir=other and tmp_path / other)
        commit(archive, *MAILS)
        with Reader.open(archive_dir).catalogue() as catalogue:
            assert catalogue is not None and catalogue.has_message(MAILS[0].digest)  # type: ignore[arg-type]


def test_readers_find_the_state_folder_told_or_not(archive_dir: Path, state: Path) -> None:
    with running(archive_dir, state_dir=state) as archive:
        commit(archive, *MAILS)
        archive.end_run("complete", {})
    for told in (state, None):
        with Reader.open(archive_dir, state_dir=told).catalogue() as catalogue:
            assert catalogue is not None and all(catalogue.has_message(mail.digest) for mail in MAILS)  # type: ignore
        report = run_verify(VerifyJob(archive_dir, told), Context())
        assert report.findings == [] and report.proven == 3


def test_the_next_run_finds_the_state_folder_without_being_told(archive_dir: Path, state: Path) -> None:
    Archive.open(archive_dir, create_missing=True, state_dir=state).close()
    store(archive_dir, MAILS)
    assert not (archive_dir / "archive.db").exists() and summary(archive_dir).messages == 3


def test_an_archive_db_left_inside_is_not_believed_any_more(archive_dir: Path, state: Path) -> None:
    store(archive_dir, MAILS)
    with Archive.open(archive_dir, state_dir=state) as archive:
        assert archive.recovered.records == 5
    assert not (archive_dir / "archive.db").exists()
    assert findings(archive_dir) == set() and summary(archive_dir).messages == 3


def test_a_relative_state_folder_is_found_from_anywhere(
    archive_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Archive.open(archive_dir, create_missing=True, state_dir=Path("state")).close()
    monkeypatch.chdir("/")
    assert Reader.open(archive_dir).layout.state.parent == tmp_path / "state"


def test_the_state_folder_is_private(archive_dir: Path, state: Path) -> None:
    with Archive.open(archive_dir, create_missing=True, state_dir=state) as archive:
        assert (state / archive.id).stat().st_mode & 0o777 == 0o700


# ---- the file `writer`


def test_another_machine_is_refused_with_the_hosts_name(
    archive_dir: Path, state: Path, machine: Callable[[str], None]
) -> None:
    Archive.open(archive_dir, create_missing=True, state_dir=state).close()
    before = (archive_dir / "writer").read_bytes()
    machine("two")
    for state_dir in (None, state):
        with pytest.raises(ArchiveElsewhere, match=r"machine one\.example; .*--take-over") as caught:
            Archive.open(archive_dir, state_dir=state_dir)
        assert caught.value.exit_code == 78
    assert (archive_dir / "writer").read_bytes() == before


def test_taking_over_makes_the_first_machine_the_refused_one(
    archive_dir: Path, state: Path, machine: Callable[[str], None]
) -> None:
    with running(archive_dir, state_dir=state) as archive:
        commit(archive, *MAILS)
    machine("two")
    with Archive.open(archive_dir, take_over=True) as archive:
        assert all(archive.catalogue.has_message(mail.digest) for mail in MAILS)  # type: ignore
    Archive.open(archive_dir).close()
    machine("one")
    with pytest.raises(ArchiveElsewhere, match=r"two\.example"):
        Archive.open(archive_dir)


def test_a_state_left_behind_by_a_take_over_catches_up(
    archive_dir: Path, state: Path, machine: Callable[[str], None]
) -> None:
    Archive.open(archive_dir, create_missing=True, state_dir=state).close()
    machine("two")
    with running(archive_dir, take_over=True) as archive:
        commit(archive, *MAILS)
    machine("one")
    with Archive.open(archive_dir, state_dir=state, take_over=True) as archive:
        assert archive.recovered.records == 4 and archive.recovered.damaged == 0
    assert findings(archive_dir) == set()


def test_a_reader_on_another_machine_still_reads_the_files(
    archive_dir: Path, state: Path, machine: Callable[[str], None]
) -> None:
    with running(archive_dir, state_dir=state) as archive:
        commit(archive, *MAILS)
    machine("two")
    assert findings(archive_dir) == set() and summary(archive_dir).uncatalogued > 0


# ---- the lock


def test_a_second_writer_is_refused_with_the_pid_of_the_first(archive_dir: Path) -> None:
    Archive.open(archive_dir, create_missing=True).close()
    with subprocess.Popen([sys.executable, "-c", HOLD, archive_dir], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(ArchiveBusy, match=rf"process {holder.pid}, running since 20.*--wait") as caught:
            Archive.open(archive_dir)
        assert caught.value.exit_code == 75
        holder.communicate("")
    Archive.open(archive_dir).close()


def test_the_lock_of_a_killed_process_does_not_hold(archive_dir: Path) -> None:
    Archive.open(archive_dir, create_missing=True).close()
    with subprocess.Popen([sys.executable, "-c", HOLD, archive_dir], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert f"pid {holder.pid}" in (archive_dir / "lock").read_text()
    Archive.open(archive_dir).close()


def test_a_refused_writer_takes_nothing_from_the_first(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        named = (archive_dir / "lock").read_bytes()
        with pytest.raises(ArchiveBusy):
            Archive.open(archive_dir, take_over=True)
        assert (archive_dir / "lock").read_bytes() == named
        commit(archive, *MAILS)
    archives.assert_exactly(archive_dir, {mail.unique_id: mail.octets for mail in MAILS})


def test_closing_twice_does_not_blank_the_name_of_the_next_holder(archive_dir: Path) -> None:
    first = Archive.open(archive_dir, create_missing=True)
    first.close()
    with Archive.open(archive_dir):
        first.close()
        with pytest.raises(ArchiveBusy, match=r"process \d+, running since 20"):
            Archive.open(archive_dir)


def test_a_writer_that_waits_goes_on_when_the_first_ends(archive_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, slept = Archive.open(archive_dir, create_missing=True), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        first.close()

    monkeypatch.setattr(time, "sleep", sleep)
    Archive.open(archive_dir, wait=3600).close()
    assert len(slept) == 1


def test_a_writer_waits_no_longer_than_asked(archive_dir: Path) -> None:
    with Archive.open(archive_dir, create_missing=True), pytest.raises(ArchiveBusy):
        Archive.open(archive_dir, wait=0.01)


def test_a_failed_opening_lets_go_of_the_lock(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    segment = archive_dir / "log" / "00000001.jsonl"
    octets = segment.read_bytes()
    segment.unlink()
    with pytest.raises(Exception, match="00000001"):
        Archive.open(archive_dir)
    segment.write_bytes(octets)
    Archive.open(archive_dir).close()


def test_readers_need_no_lock_and_change_nothing(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        commit(archive, *MAILS)
        assert findings(archive_dir) == set() and summary(archive_dir).messages == 3
        commit(archive, *some(2, seed=2))
        assert findings(archive_dir) == set() and summary(archive_dir).messages == 5
