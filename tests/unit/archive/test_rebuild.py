"""The catalogue is a projection: whatever becomes of it, it comes out of mail/ and log/ equal (P10).

Strategy: a log with every type of record is written by real runs; the catalogue is thrown away, set back or spoilt, and
after the next opening every projected table is compared row by row.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mailmove.archive import Archive, Received
from mailmove.archive.log import Log
from mailmove.archive.recovery import BATCH
from mailmove.errors import ArchiveDamaged
from mailmove.model import Complete
from tests.unit.archive.making import (
    MAILDROP,
    Mail,
    assert_rebuilds,
    assert_sound,
    catalogue_left_behind,
    commit,
    die_before_catalogue,
    findings,
    kinds,
    last_segment,
    log_lines,
    projected,
    receive,
    running,
    some,
    store,
    summary,
    unknown,
    verify,
)

OLD, NEW = some(3, seed=1), some(2, seed=2)


def test_a_catalogue_several_groups_behind_takes_them_in(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    with catalogue_left_behind(archive_dir):
        store(archive_dir, NEW[:1], NEW[1:], end=False)
        expected = projected(archive_dir)
    assert summary(archive_dir).uncatalogued > 0
    assert unknown(archive_dir, *OLD, *NEW) == []
    assert projected(archive_dir) == expected and summary(archive_dir).uncatalogued == 0


def eventful(root: Path) -> None:
    """An archive whose log has every type of record and what they do to each other."""
    store(root, OLD, [Mail("twin", OLD[0].octets), Mail(OLD[0].unique_id, OLD[0].octets)])
    with running(root, "you@mail.example") as archive:
        for unique_id in ("refused", "left", "unwanted", OLD[1].unique_id):
            archive.park(unique_id, len(OLD[1].octets), "refused", "SYS/PERM", "-ERR no")
        archive.gone([("left", len(OLD[1].octets))])
        commit(archive, OLD[1], Mail("odd", NEW[0].octets, Complete.NO), Mail("?", NEW[1].octets, Complete.NO))
        fields = {"maildrop": "you@mail.example", "reason": "spam"}
        archive.append(archive.event("skip", **fields, unique_id="unwanted", listed=len(OLD[1].octets)))
        archive.append(archive.event("skip", **fields, digest=NEW[0].digest))
        again = receive(archive, Mail("?", NEW[1].octets, Complete.UNRELIABLE_SIZES))
        archive.commit([Received(again.entry, again.draft, again.complete, again=True)])
        archive.end_run("partial", {"stored": 3, "parked": 1})
    die_before_catalogue(root, *some(3, seed=3))
    some(3, seed=3)[1].file(root).unlink()
    store(root, some(2, seed=4))


def test_a_deleted_archive_db_is_rebuilt_equal(archive_dir: Path) -> None:
    eventful(archive_dir)
    assert set(kinds(archive_dir)) == {"add", "place", "park", "gone", "skip", "void", "run"}
    filled = {table for table, rows in projected(archive_dir).items() if rows}
    assert filled >= {"messages", "places", "maildrops", "parked", "skips", "runs", "totals"}
    assert_rebuilds(archive_dir)
    assert verify(archive_dir).findings == []


def test_a_catalogue_behind_by_any_number_of_runs_comes_out_equal(archive_dir: Path) -> None:
    Archive.open(archive_dir, create_missing=True).close()
    with catalogue_left_behind(archive_dir):
        eventful(archive_dir)
        expected = projected(archive_dir)
    Archive.open(archive_dir).close()
    assert projected(archive_dir) == expected


def test_an_archive_db_that_is_no_database_is_named_and_can_be_deleted(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    (archive_dir / "archive.db").write_bytes(b"no database " * 1000)
    with pytest.raises(ArchiveDamaged, match=r"archive\.db is damaged .* `mailmove rebuild`"):
        Archive.open(archive_dir)
    assert {kind for kind, _ in findings(archive_dir)} == {"catalogue"}
    (archive_dir / "archive.db").unlink()
    assert unknown(archive_dir, *OLD) == []
    assert_sound(archive_dir, *OLD)


def test_a_rebuild_over_several_segments_and_batches_opens_again(
    archive_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailmove.archive.Log", partial(Log, segment_limit=50_000))
    with running(archive_dir) as archive:
        for n in range(16):
            archive.append(
                *(archive.event("gone", maildrop=MAILDROP, unique_id=f"{n}-{i}", listed=1) for i in range(100))
            )
    assert len(log_lines(archive_dir)) > BATCH and last_segment(archive_dir).stem > "00000003"
    (archive_dir / "archive.db").unlink()
    store(archive_dir, OLD)
    assert unknown(archive_dir, *OLD) == [] and verify(archive_dir).findings == []
