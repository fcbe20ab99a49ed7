"""Opening after whatever happened: log, files and catalogue agree again, and no message is lost or taken for stored.

Strategy: each test makes an archive by real runs, breaks it as a crash or a disk would, opens it, and looks at what a
user sees: what the next pull fetches, what `verify` and `status` say, and whether a rebuilt catalogue is equal.
"""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from mailmove.archive import Archive
from mailmove.archive.catalogue import SCHEMA_VERSION
from mailmove.archive.schema import migrations
from mailmove.errors import ArchiveDamaged
from tests.support import archives
from tests.unit.archive.making import (
    HARMS,
    Harm,
    assert_sound,
    cut_log,
    die_before_catalogue,
    findings,
    kinds,
    last_segment,
    log_lines,
    pull,
    some,
    store,
    summary,
    tree,
    unknown,
    verify,
)

OLD, NEW = some(3, seed=1), some(2, seed=2)


# ---- a torn last line


def test_a_torn_last_line_goes_to_quarantine_and_its_message_is_unknown(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    die_before_catalogue(archive_dir, *NEW)
    cut_log(archive_dir, 1)
    torn = log_lines(archive_dir)[-1]
    assert unknown(archive_dir, *OLD, *NEW) == [NEW[1].unique_id]
    assert [path.read_bytes() for path in (archive_dir / "quarantine").iterdir()] == [torn]
    assert torn not in log_lines(archive_dir)


def test_a_log_cut_anywhere_in_its_last_group_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    die_before_catalogue(tmp_path / "whole", *NEW)
    length = last_segment(tmp_path / "whole").stat().st_size
    for octets in random.Random(f"torn {seed}").sample(range(length), 12):
        root = tmp_path / str(octets)
        die_before_catalogue(root, *NEW)
        cut_log(root, octets)
        pull(root, *NEW)
        archives.assert_exactly(root, {mail.unique_id: mail.octets for mail in NEW})
        assert pull(root, *NEW) == []


def test_a_first_line_torn_in_a_new_log_is_no_obstacle(archive_dir: Path) -> None:
    Archive.open(archive_dir, create_missing=True).close()
    (archive_dir / "log" / "00000001.jsonl").write_bytes(b'{"t":"run","time"')
    store(archive_dir, OLD)
    assert_sound(archive_dir, *OLD)


# ---- a log that is not the one catalogued


def shorter(root: Path) -> None:
    cut_log(root, len(log_lines(root)[-1]))


def torn(root: Path) -> None:
    cut_log(root, 7)


def gone(root: Path) -> None:
    last_segment(root).unlink()


def other(root: Path) -> None:
    path = last_segment(root)
    path.write_bytes(path.read_bytes().replace(b'"outcome":"complete"', b'"outcome":"c0mplete"'))


CHANGED = pytest.mark.parametrize("change", [shorter, torn, gone, other])


@CHANGED
def test_a_log_other_than_catalogued_is_damage_and_nothing_is_changed(archive_dir: Path, change: Harm) -> None:
    store(archive_dir, OLD)
    change(archive_dir)
    before = tree(archive_dir)
    with pytest.raises(ArchiveDamaged, match="00000001") as caught:
        Archive.open(archive_dir)
    assert caught.value.exit_code == 4
    for advice in ("`mailmove verify`", "Restore it from a copy", "`mailmove rebuild`"):
        assert advice in caught.value.message
    assert tree(archive_dir) == before


@CHANGED
def test_verify_names_the_log_when_it_is_not_the_one_catalogued(archive_dir: Path, change: Harm) -> None:
    store(archive_dir, OLD)
    change(archive_dir)
    assert "log" in {kind for kind, _ in findings(archive_dir)}
    assert verify(archive_dir).exit_code == 4


@CHANGED
def test_after_the_advice_is_taken_the_messages_come_in_again(archive_dir: Path, change: Harm) -> None:
    store(archive_dir, OLD)
    change(archive_dir)
    (archive_dir / "archive.db").unlink()
    pull(archive_dir, *OLD)
    assert_sound(archive_dir, *OLD)


def test_a_missing_segment_between_others_is_damage_and_is_named(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    last_segment(archive_dir).rename(archive_dir / "log" / "00000002.jsonl")
    (archive_dir / "archive.db").unlink()
    with pytest.raises(ArchiveDamaged, match=r"00000001\.jsonl is missing.*verify"):
        Archive.open(archive_dir)


BAD_LINES = ['{"t":"add"}', "no JSON", '{"t":7}', '{"t":"void","record":[1]}', '{"t":"run","event":"begin"}']


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_record_that_cannot_be_understood_is_damage_and_verify_names_it(archive_dir: Path, line: str) -> None:
    store(archive_dir, OLD)
    number = len(log_lines(archive_dir))
    with last_segment(archive_dir).open("a") as log:
        log.write(line + "\n")
    with pytest.raises(ArchiveDamaged, match="verify"):
        Archive.open(archive_dir)
    assert [f"record {number} " in finding.reason for finding in verify(archive_dir).findings] == [True]


def test_a_record_that_names_a_path_for_a_digest_is_damage(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    record = json.loads(log_lines(archive_dir)[-2]) | {"digest": "../../../etc/passwd"}
    with last_segment(archive_dir).open("a") as log:
        log.write(json.dumps(record) + "\n")
    with pytest.raises(ArchiveDamaged, match="digest"):
        Archive.open(archive_dir)


# ---- records of the unfinished run


@HARMS
def test_a_record_of_the_unfinished_run_without_a_sound_file_is_void(archive_dir: Path, harm: Harm) -> None:
    store(archive_dir, OLD)
    die_before_catalogue(archive_dir, *NEW)
    harm(NEW[0].file(archive_dir))
    with Archive.open(archive_dir) as archive:
        assert [record["digest"] for record in archive.recovered.voided] == [NEW[0].digest]
    assert kinds(archive_dir)[-1] == "void"
    assert_sound(archive_dir, *OLD, NEW[1])


@HARMS
def test_a_voided_message_is_fetched_again_once(archive_dir: Path, harm: Harm) -> None:
    store(archive_dir, OLD)
    die_before_catalogue(archive_dir, *NEW)
    harm(NEW[0].file(archive_dir))
    assert pull(archive_dir, *OLD, *NEW) == [NEW[0].unique_id]
    assert pull(archive_dir, *OLD, *NEW) == []
    archives.assert_exactly(archive_dir, {mail.unique_id: mail.octets for mail in (*OLD, *NEW)})
    assert_sound(archive_dir, *OLD, *NEW)


@HARMS
def test_an_unfinished_run_is_judged_alike_when_archive_db_is_gone_too(archive_dir: Path, harm: Harm) -> None:
    store(archive_dir, OLD)
    store(archive_dir, NEW, end=False)
    harm(NEW[0].file(archive_dir))
    (archive_dir / "archive.db").unlink()
    assert pull(archive_dir, *OLD, *NEW) == [NEW[0].unique_id]
    assert_sound(archive_dir, *OLD, *NEW)


def test_a_void_record_is_not_void_itself_at_the_next_opening(archive_dir: Path) -> None:
    die_before_catalogue(archive_dir, *NEW)
    NEW[0].file(archive_dir).unlink()
    for _ in range(2):
        assert unknown(archive_dir, *NEW) == [NEW[0].unique_id]
        (archive_dir / "archive.db").unlink()
    assert unknown(archive_dir, *NEW) == [NEW[0].unique_id]
    assert kinds(archive_dir).count("void") == 1 and summary(archive_dir).messages == 1


def test_whatever_was_sound_is_taken_in_and_not_fetched_again(archive_dir: Path) -> None:
    die_before_catalogue(archive_dir, *NEW)
    assert pull(archive_dir, *NEW) == []
    assert_sound(archive_dir, *NEW)


def test_a_catalogue_that_is_up_to_date_is_known_by_its_number(archive_dir: Path) -> None:
    """Else a new migration would never reach an archive that is there already."""
    assert len(list(migrations.pending(Database(memory=True)))) == SCHEMA_VERSION
    store(archive_dir, some(1))
    with sqlite3.connect(archive_dir / "archive.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_catalogue_from_before_that_number_is_brought_up_to_date(archive_dir: Path) -> None:
    store(archive_dir, some(1))
    with sqlite3.connect(archive_dir / "archive.db") as connection:
        connection.execute("PRAGMA user_version = 0")
    assert unknown(archive_dir, *some(1)) == []
    with sqlite3.connect(archive_dir / "archive.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
