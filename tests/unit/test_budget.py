"""The daily limit: no 24 hours see more than it, whatever happens between, and the error says when it may go on.

Strategy: real archives, a clock that the test sets. Hypothesis spends at any moments, and adds up itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive import Archive
from mailmove.archive.catalogue import Catalogue
from mailmove.errors import DailyLimitReached, UsageError
from mailmove.jobs.budget import DAY, HOUR, Budget, parse_size
from tests.support import archives
from tests.unit.archive.making import assert_rebuilds, some, store

GMAIL, OTHER = "imap://me@gmail.example", "imap://me@other.example"
NOW = datetime(2026, 1, 31, 13, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("450MB", 450_000_000),
        ("450 mb", 450_000_000),
        ("2GiB", 2 << 30),
        ("1.5G", 1_500_000_000),
        ("0.5KiB", 512),
        ("10k", 10_000),
        ("900", 900),
        ("900B", 900),
        ("1T", 10**12),
    ],
)
def test_a_size(text: str, octets: int) -> None:
    assert parse_size(text) == octets


FOUR = "\N{ARABIC-INDIC DIGIT FOUR}"
NO_SIZES = ["", "MB", "450 megabytes", "-1MB", "1,5GB", "2Gi", "1iB", "1e9", f"{FOUR}MB", "0", "0.0k"]


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="--daily-limit") as caught:
        parse_size(text)
    assert repr(text) in caught.value.message


@contextlib.contextmanager
def budget(root: Path, limit: int | None, target: str = GMAIL) -> Iterator[Budget]:
    """As a run has it: opened, used, and gone."""
    with Archive.open(root, create_missing=True) as archive:
        yield Budget(archive.catalogue, target, limit)


def test_what_is_spent_is_still_spent_after_a_restart(archive_dir: Path) -> None:
    with budget(archive_dir, 1000) as first:
        first.spend(400, NOW)
        first.spend(300, NOW + HOUR)
    with budget(archive_dir, 1000) as second:
        assert second.left(NOW + HOUR) == 300
    with budget(archive_dir, 500) as smaller:
        assert smaller.left(NOW + HOUR) == 0
    with budget(archive_dir, 1000, OTHER) as other:
        assert other.left(NOW + HOUR) == 1000


def test_a_crash_forgets_nothing(archive_dir: Path) -> None:
    """It is on the disk before anything can be sent: a copy taken right after has it, as a kill would leave it."""
    with budget(archive_dir, 1000) as before:
        before.spend(600, NOW)
        assert archives.rows(archive_dir, "SELECT target, hour, octets FROM target_budget") == [
            (GMAIL, "2026-01-31T13", 600)
        ]


def test_without_a_limit_anything_goes_and_nothing_is_kept(archive_dir: Path) -> None:
    with budget(archive_dir, None) as free:
        assert free.left(NOW) is None and free.fitting([10**12] * 3, NOW) == 3 and not free.never(10**15)
        free.spend(10**12, NOW)
    assert archives.rows(archive_dir, "SELECT * FROM target_budget") == []


def test_so_many_messages_fit_and_the_next_one_is_told_when(archive_dir: Path) -> None:
    with budget(archive_dir, 1000) as some_left:
        assert some_left.fitting([300, 300, 300, 300, 1], NOW) == 3
        some_left.spend(900, NOW)
        assert some_left.fitting([100, 1], NOW) == 1
        with pytest.raises(DailyLimitReached) as caught:
            some_left.fitting([101, 1], NOW)
    error = caught.value
    assert (error.retryable, error.exit_code, error.when) == (False, 75, datetime(2026, 2, 1, 14, tzinfo=UTC))
    assert GMAIL in error.message and error.message.endswith("run again after 14:00 UTC (2026-02-01).")


def test_the_moment_it_names_is_the_first_that_will_do(archive_dir: Path) -> None:
    with budget(archive_dir, 1000) as spent:
        for hours in range(5):
            spent.spend(200, NOW + hours * HOUR)
        now = NOW + 6 * HOUR
        with pytest.raises(DailyLimitReached) as caught:
            spent.spend(500, now)
        when = caught.value.when
        assert when == datetime(2026, 2, 1, 16, tzinfo=UTC)
        assert spent.left(when - timedelta(minutes=1)) == 400 and spent.left(when) == 600
        spent.spend(500, when)


def test_a_message_over_the_limit_is_not_promised_a_moment(archive_dir: Path) -> None:
    with budget(archive_dir, 1000) as small:
        assert small.never(1001) and not small.never(1000)
        with pytest.raises(DailyLimitReached, match="one message of 1,001 octets alone") as caught:
            small.fitting([1001], NOW)
        assert caught.value.when is None


def test_what_was_not_granted_is_not_taken_off(archive_dir: Path) -> None:
    with budget(archive_dir, 1000) as tight:
        tight.spend(900, NOW)
        for _ in range(3):
            with pytest.raises(DailyLimitReached):
                tight.spend(200, NOW)
        assert tight.left(NOW) == 100


def test_old_hours_go_and_a_clock_that_was_set_back_still_counts(archive_dir: Path) -> None:
    with budget(archive_dir, 1000) as long_used:
        long_used.spend(100, NOW + 3 * HOUR)
        long_used.spend(100, NOW)
        assert long_used.left(NOW) == 800
        long_used.spend(50, NOW + 40 * DAY)
        assert long_used.left(NOW + 40 * DAY) == 950
    assert len(archives.rows(archive_dir, "SELECT * FROM target_budget")) == 1


def test_a_rebuild_may_forget_it_and_nothing_else(archive_dir: Path) -> None:
    store(archive_dir, some(2))
    with budget(archive_dir, 1000) as kept:
        kept.spend(600, NOW)
    assert_rebuilds(archive_dir)
    with budget(archive_dir, 1000) as fresh:
        assert fresh.left(NOW) == 1000


@given(st.lists(st.tuples(st.integers(0, 50 * 60), st.integers(1, 400)), max_size=60))
def test_no_24_hours_see_more_than_the_limit(asked: list[tuple[int, int]]) -> None:
    sent: list[tuple[datetime, int]] = []
    with contextlib.closing(Catalogue.temporary()) as catalogue:
        allowance = Budget(catalogue, GMAIL, 1000)
        for minutes, octets in sorted(asked):
            now = NOW + timedelta(minutes=minutes)
            try:
                allowance.spend(octets, now)
                sent.append((now, octets))
            except DailyLimitReached as error:
                assert error.when is not None and now < error.when <= now + DAY + HOUR
                assert (allowance.left(error.when) or 0) >= octets
    for start, _ in sent:
        assert sum(octets for when, octets in sent if start <= when < start + DAY) <= 1000
