"""verify.json: what was proven when. Parts and nights together read everything, whatever happens in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive import Reader
from mailmove.archive.proofs import NAME, NEVER, SHARDS, Proofs, Scope
from mailmove.errors import Interrupted
from mailmove.jobs import Context
from mailmove.jobs.verify import VerifyJob, VerifyReport, run_verify
from tests.unit.archive.making import Mail, some, store, verify

MAILS = some(60, seed=1)
DAY = timedelta(days=1)
START = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)


def shards(*mails: Mail) -> set[str]:
    return {mail.digest[:3] for mail in mails}


def proven(root: Path) -> dict[str, datetime]:
    """Shard -> when it was last proven, of those that ever were."""
    proofs = Proofs.read(root, Reader.open(root).id)
    return {shard: proofs.last(shard) for shard in shards(*MAILS) if proofs.last(shard) > NEVER}


def test_an_interrupted_verification_keeps_what_it_has_proven(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    asked = iter(range(40))
    with pytest.raises(Interrupted):
        verify(archive_dir, meanwhile=lambda: next(asked, None) is not None)
    done = set(proven(archive_dir))
    assert done and done < shards(*MAILS)
    rest = run_verify(VerifyJob(archive_dir, due=3600.0), Context())
    assert rest.looked_at == len(shards(*MAILS) - done) and not rest.whole
    assert set(proven(archive_dir)) == shards(*MAILS)


def test_night_after_night_everything_is_read_in_time(archive_dir: Path) -> None:
    """No more than one folder fits into a night, and 20 of them hold something: none waits longer than 20 nights."""
    mails = MAILS[:20]
    store(archive_dir, mails)
    last = dict.fromkeys(shards(*mails), START)
    for night in range(50):
        now = START + night * DAY
        report = nightly(archive_dir, now)
        assert report.sound and report.looked_at <= 1
        last.update(proven(archive_dir))
        assert min(last.values()) >= now - len(last) * DAY
    assert set(proven(archive_dir)) == shards(*mails)


def nightly(root: Path, now: datetime) -> VerifyReport:
    return run_verify(VerifyJob(root, due=10 * 86400.0, max_duration=0.0), Context(clock=lambda: now))


def test_what_came_in_since_is_due_at_once(archive_dir: Path) -> None:
    store(archive_dir, MAILS[:5])
    assert verify(archive_dir).whole
    store(archive_dir, MAILS[5:8])
    report = run_verify(VerifyJob(archive_dir, due=3600.0), Context())
    assert report.looked_at == len(shards(*MAILS[5:8]) - shards(*MAILS[:5])) and report.sound


def test_it_lies_beside_the_database(archive_dir: Path, tmp_path: Path) -> None:
    store(archive_dir, MAILS[:2])
    run_verify(VerifyJob(archive_dir, state_dir=tmp_path / "state"), Context())
    assert not (archive_dir / NAME).exists() and not (tmp_path / "state").exists(), "a reader makes no folders"
    (tmp_path / "state" / Reader.open(archive_dir).id).mkdir(parents=True)
    run_verify(VerifyJob(archive_dir, state_dir=tmp_path / "state"), Context())
    assert not (archive_dir / NAME).exists() and len(list((tmp_path / "state").glob(f"*/{NAME}"))) == 1


def test_two_at_a_time_lose_nothing_of_each_other(tmp_path: Path) -> None:
    one, two = Proofs.read(tmp_path, "id"), Proofs.read(tmp_path, "id")
    one.note("000", START, sound=True)
    one.note("001", START, sound=True)
    one.save(tmp_path)
    two.note("001", START, sound=False)
    two.note("002", START + DAY, sound=True)
    two.save(tmp_path)
    one.note("003", START, sound=True)
    one.save(tmp_path)
    both = Proofs.read(tmp_path, "id")
    assert [both.last(shard) for shard in ("000", "001", "002", "003")] == [START, NEVER, START + DAY, START]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_that_of_another_archive_proves_nothing(tmp_path: Path) -> None:
    proofs = Proofs("one")
    proofs.note("000", START, sound=True)
    proofs.save(tmp_path)
    assert Proofs.read(tmp_path, "one").last("000") == START
    assert Proofs.read(tmp_path, "two").last("000") == NEVER


@given(st.integers(1, SHARDS), st.integers(0, SHARDS - 1))
def test_every_shard_is_in_exactly_one_of_any_number_of_equal_parts(parts: int, number: int) -> None:
    shard = f"{number:03x}"
    own = number * parts // SHARDS + 1
    chosen = [n for n in {1, own - 1, own, own + 1, parts} if Scope((n, parts)).choose([shard], Proofs("id"))]
    assert chosen == [own]
    size = sum(n * parts // SHARDS == own - 1 for n in range(SHARDS))
    assert size in (SHARDS // parts, -(-SHARDS // parts))
