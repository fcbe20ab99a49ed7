"""`rebuild`: archive.db made anew, whatever has become of it, and never less than what was there (P3, P10).

Strategy: an archive with every type of record, deletions and deliveries among them; its database is thrown away, cut,
scribbled over or given a foreign WAL. Afterwards every projected table is compared row by row, and the position in the
log with the edge of its Merkle tree. Where a rebuild must not succeed the whole folder is compared octet by octet.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mailmove.archive import Archive
from mailmove.archive.durable import FileSyncer, choose_syncer
from mailmove.archive.log import Log
from mailmove.archive.recovery import BATCH
from mailmove.errors import ArchiveBusy, ArchiveDamaged, Interrupted, UsageError
from mailmove.jobs import Context
from mailmove.jobs.rebuild import RebuildJob, RebuildReport, run_rebuild
from mailmove.model import Digest, NoProgress
from mailmove.targets import Receipt
from tests.support import archives
from tests.unit.archive.delivering import asking, replaying
from tests.unit.archive.making import (
    HARMS,
    MAILDROP,
    Harm,
    commit,
    cut_log,
    die_before_catalogue,
    die_before_log,
    findings,
    kinds,
    last_segment,
    log_lines,
    projected,
    running,
    some,
    store,
    tree,
    unknown,
    verify,
)
from tests.unit.archive.test_rebuild import NEW, OLD, eventful


def rebuild(root: Path, ok: Callable[[], bool] = lambda: True, **options: Any) -> RebuildReport:
    return run_rebuild(RebuildJob(root, **options), Context(ok=ok))


def everything(root: Path) -> None:
    """All that a log can hold: what came in, was refused, voided, deleted on the server, delivered or meant to be."""
    eventful(root)
    places = [[OLD[0].unique_id, len(OLD[0].octets), OLD[0].digest], [OLD[1].unique_id, len(OLD[1].octets), "0" * 64]]
    with running(root) as archive:
        for event in ("asked", "confirmed"):
            archive.append(archive.event("delete", event=event, maildrop=MAILDROP, places=places, delete_after=3.0))
            places = places[:1]
        archive.end_run("complete", {"deleted": 1})
    first, second, third = (Digest(mail.digest) for mail in OLD)
    with replaying(root) as journal:
        number = journal.intend(7, 40, [first, second, third])
        journal.write([journal.delivered(first, Receipt(7, 41), "append", intend=number)])
        journal.write([journal.parked(second, "size", "TOOBIG", intend=number)])


def content(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a rebuild must reproduce: projected tables, the position in the log, the edge of its Merkle tree."""
    return projected(root) | {"position": archives.rows(root, "SELECT * FROM position")}


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    everything(archive_dir)
    return archive_dir


def garbage(path: Path) -> bytes:
    return random.Random(path.name).randbytes(100_000)


def cut(root: Path) -> None:
    """Half-written."""
    database = root / "archive.db"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def scribbled_on(root: Path) -> None:
    database = root / "archive.db"
    octets = database.read_bytes()
    database.write_bytes(octets[:4096] + garbage(database)[: len(octets) - 4096])


def other_rows(root: Path) -> None:
    """A sound database that says other things than the log."""
    with closing(sqlite3.connect(root / "archive.db")) as database, database:
        database.execute("UPDATE places SET unique_id = unique_id || '?', deleted = 0")
        database.execute("DELETE FROM deliveries")


def foreign_wal(root: Path) -> None:
    """The journal of another archive's database, with transactions in it that were never written back."""
    with TemporaryDirectory() as folder:
        other = Path(folder) / "other.mailmove"
        store(other, some(20, seed=9))
        with closing(sqlite3.connect(other / "archive.db", isolation_level=None)) as database:
            database.execute("UPDATE places SET unique_id = 'stranger'")
            shutil.copyfile(other / "archive.db-wal", root / "archive.db-wal")


SPOILT: dict[str, Callable[[Path], object]] = {
    "sound": lambda root: None,
    "deleted": lambda root: (root / "archive.db").unlink(),
    "empty": lambda root: (root / "archive.db").write_bytes(b""),
    "no database": lambda root: (root / "archive.db").write_bytes(b"precious notes " * 1000),
    "cut": cut,
    "scribbled on": scribbled_on,
    "other rows": other_rows,
    "broken wal": lambda root: (root / "archive.db-wal").write_bytes(garbage(root / "wal")),
    "broken shm": lambda root: (root / "archive.db-shm").write_bytes(garbage(root / "shm")),
    "foreign wal": foreign_wal,
    "only a foreign wal": lambda root: (foreign_wal(root), (root / "archive.db").unlink()),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_whatever_has_become_of_archive_db_it_is_made_anew_equal(
    archive: Path, spoil: Callable[[Path], object]
) -> None:
    expected, before = content(archive), tree(archive)
    assert all(expected.values()), "every table has rows"
    spoil(archive)
    old = (archive / "archive.db").read_bytes() if (archive / "archive.db").exists() else None
    report = rebuild(archive)
    assert content(archive) == expected
    stored = archives.files(archive)
    assert (report.exit_code, report.records, report.messages) == (0, len(log_lines(archive)), len(stored))
    assert report.octets == sum(map(len, stored.values()))
    assert verify(archive).findings == []
    assert (Path(report.kept).read_bytes() if report.kept else None) == old, "the old one is not destroyed"
    for path, octets in before.items():
        assert path.startswith("archive.db") or (archive / path).read_bytes() == octets
    assert not (archive / "archive.db.new").exists()


def test_the_journal_of_the_old_database_is_kept_with_it(archive: Path) -> None:
    foreign_wal(archive)
    wal = (archive / "archive.db-wal").read_bytes()
    kept = Path(rebuild(archive).kept)
    assert kept.parent == archive / "quarantine" and Path(f"{kept}-wal").read_bytes() == wal


def test_the_messages_stay_known_and_the_deliveries_done(archive: Path) -> None:
    def deliveries() -> tuple[object, ...]:
        with asking(archive) as found:
            return found.facts(), found.open(), list(found.receipts(7))

    before = deliveries()
    (archive / "archive.db").unlink()
    rebuild(archive)
    assert unknown(archive, *some(2, seed=4)) == [] and deliveries() == before


def test_into_a_state_folder(tmp_path: Path, archive_dir: Path) -> None:
    state = tmp_path / "state"
    with running(archive_dir, state_dir=state) as archive:
        commit(archive, *OLD)
        archive.end_run("complete", {})
    (database,) = state.rglob("archive.db")
    database.write_bytes(b"no database " * 1000)
    report = rebuild(archive_dir, state_dir=state)
    assert report.messages == len(OLD) and Path(report.kept).is_relative_to(state)
    assert not (archive_dir / "archive.db").exists()


def test_without_syncfs_where_each_file_is_synced_by_itself() -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        root = Path(folder) / "mail.mailmove"
        everything(root)
        assert isinstance(choose_syncer(root), FileSyncer)
        expected = content(root)
        (root / "archive.db").unlink()
        rebuild(root)
        assert content(root) == expected and verify(root).findings == []


def test_over_several_segments_and_batches(archive_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailmove.archive.Log", partial(Log, segment_limit=50_000))
    with running(archive_dir) as archive:
        for n in range(12):
            gone = ({"unique_id": f"{n}-{i}", "listed": 1} for i in range(100))
            archive.append(*(archive.event("gone", maildrop=MAILDROP, **fields) for fields in gone))
        commit(archive, *OLD)
        archive.end_run("complete", {})
    assert len(log_lines(archive_dir)) > BATCH and last_segment(archive_dir).stem > "00000002"
    expected = content(archive_dir)
    rebuild(archive_dir)
    assert content(archive_dir) == expected
    store(archive_dir, NEW)
    assert verify(archive_dir).findings == []


# ---- after a crash


def test_a_journal_beside_no_database_is_dropped_by_any_opening(archive: Path) -> None:
    """As a kill between the last two steps of a rebuild leaves it."""
    expected = content(archive)
    SPOILT["only a foreign wal"](archive)
    Archive.open(archive).close()
    assert content(archive) == expected and verify(archive).findings == []


CRASHES: dict[str, Callable[[Path], object]] = {
    "files without records": lambda root: die_before_log(root, *NEW),
    "records without rows": lambda root: die_before_catalogue(root, *NEW),
    "a torn line": lambda root: (store(root, NEW, end=False), cut_log(root, 5)),
}


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_as_the_first_thing_after_a_crash_it_is_as_good_as_any_opening(
    archive_dir: Path, tmp_path: Path, crash: Callable[[Path], object]
) -> None:
    store(archive_dir, OLD)
    crash(archive_dir)
    (archive_dir / "archive.db").unlink()
    other = tmp_path / "other.mailmove"
    shutil.copytree(archive_dir, other)
    Archive.open(other).close()
    rebuild(archive_dir)
    assert content(archive_dir) == content(other) and archives.files(archive_dir) == archives.files(other)
    assert findings(archive_dir) == findings(other)


def test_a_record_of_a_killed_run_without_its_file_is_voided_and_said(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    store(archive_dir, NEW, end=False)
    NEW[0].file(archive_dir).unlink()
    report = rebuild(archive_dir)
    assert (report.exit_code, report.voided, kinds(archive_dir)[-1]) == (0, 1, "void")
    assert unknown(archive_dir, *OLD, *NEW) == [NEW[0].unique_id]


@HARMS
def test_a_message_without_a_sound_file_is_named_and_known_no_more(archive_dir: Path, harm: Harm) -> None:
    store(archive_dir, OLD)
    harm(OLD[1].file(archive_dir))
    report = rebuild(archive_dir)
    assert (report.exit_code, report.damaged, report.messages) == (4, [OLD[1].digest], 3)
    assert unknown(archive_dir, *OLD) == [OLD[1].unique_id]


def test_a_log_that_lost_records_is_said_although_it_can_be_read(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    lines = log_lines(archive_dir)
    last_segment(archive_dir).write_bytes(b"".join(lines[:-2]))
    report = rebuild(archive_dir)
    assert (report.exit_code, report.lost, report.records) == (4, 2, len(lines) - 2)


# ---- when it cannot be done, all is as it was


UNREADABLE = {
    "no JSON": b"gibberish",
    "no record": b'["add"]',
    "a field short": b'{"t":"add","digest":"' + b"0" * 64 + b'"}',
    "no digest": b'{"t":"place","digest":"../../etc/passwd"}',
    "a number that is none": b'{"t":"park","maildrop":[1],"unique_id":"x","listed":1,"cause":"c"}',
}


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("spoil", ["sound", "no database", "deleted"])
def test_a_line_that_cannot_be_understood_stops_it_and_is_named(archive: Path, line: bytes, spoil: str) -> None:
    lines = log_lines(archive)
    last_segment(archive).write_bytes(b"".join([*lines[:4], line + b"\n", *lines[5:]]))
    SPOILT[spoil](archive)
    before = tree(archive)
    with pytest.raises(ArchiveDamaged, match=r"00000001\.jsonl, line 5 \(record 4\) cannot be understood") as caught:
        rebuild(archive)
    assert caught.value.exit_code == 4 and tree(archive) == before


def test_a_missing_segment_stops_it(archive_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailmove.archive.Log", partial(Log, segment_limit=500))
    store(archive_dir, OLD[:1], OLD[1:2], OLD[2:])
    (archive_dir / "log" / "00000001.jsonl").unlink()
    before = tree(archive_dir)
    with pytest.raises(ArchiveDamaged, match=r"00000001\.jsonl is missing"):
        rebuild(archive_dir)
    assert tree(archive_dir) == before


def test_one_that_is_interrupted_has_changed_nothing(archive: Path) -> None:
    before = tree(archive)
    with pytest.raises(Interrupted):
        rebuild(archive, ok=lambda: False)
    assert tree(archive) == before


def test_while_a_run_is_under_way_it_does_not_begin(archive: Path) -> None:
    with running(archive):
        before = (archive / "archive.db").read_bytes()
        with pytest.raises(ArchiveBusy):
            rebuild(archive)
        assert (archive / "archive.db").read_bytes() == before and not (archive / "archive.db.new").exists()


def test_what_is_no_archive_is_not_made_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        rebuild(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_behind_is_cleared_by_any_opening(archive: Path) -> None:
    expected = content(archive)
    (archive / "archive.db.new").write_bytes(b"half a database")
    Archive.open(archive).close()
    assert not (archive / "archive.db.new").exists() and content(archive) == expected


# ---- progress


class Counting(NoProgress):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.ahead, self.messages, self.octets = (0, 0), 0, 0

    def begin(self, what: str, messages: int, octets: int) -> None:
        self.ahead = (messages, octets)

    def done(self, messages: int, octets: int) -> None:
        self.messages += messages
        self.octets += octets


def test_the_work_ahead_is_the_work_done(archive: Path) -> None:
    progress = Counting()
    run_rebuild(RebuildJob(archive), Context(progress=progress))
    assert progress.ahead == (progress.messages, progress.octets)
    assert progress.messages == sum(kind in ("add", "place") for kind in kinds(archive))
