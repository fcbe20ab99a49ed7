"""--max-rate: no period sees more than its limit, whatever happens between, and nobody waits longer than must be.

Strategy: a clock that the test sets, and a wait that moves it. Hypothesis sends at any moments, and adds up itself; an
empty window lets through what it should, or a pacer that lets nothing through would pass. Real archives for restarts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive import Archive
from mailmove.archive.catalogue import Catalogue
from mailmove.errors import DailyLimitReached, Interrupted, UsageError
from mailmove.jobs.rate import DAY, MINUTE, Pacer, Rate, parse_rates, provider_cap, rate_policy
from tests.support import archives
from tests.unit.archive.making import assert_rebuilds, some, store

TARGET, OTHER = "smtp://me@mail.example", "smtp://me@other.example"
NOW = datetime(2026, 1, 31, 13, 40, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)

# ---- what is typed


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("30/min", [Rate(MINUTE, 30)]),
        ("5/s", [Rate(SECOND, 5)]),
        (" 1000 / Day ", [Rate(DAY, 1000)]),
        ("1000/day,30/min, 200/h", [Rate(MINUTE, 30), Rate(HOUR, 200), Rate(DAY, 1000)]),
        ("none", []),
    ],
)
def test_a_rate(text: str, rates: list[Rate]) -> None:
    assert parse_rates(text) == tuple(rates)


FOUR = "\N{ARABIC-INDIC DIGIT FOUR}"


@pytest.mark.parametrize("text", ["", "30", "30/", "/min", "30/week", "30/min,", "-1/s", "1.5/s", "0/s", f"{FOUR}/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UsageError, match="--max-rate") as caught:
        parse_rates(text)
    assert repr(text) in caught.value.message and caught.value.message.endswith(".")


# ---- what providers allow


@pytest.mark.parametrize(
    ("host", "user", "rates"),
    [
        ("smtp.mail.me.com", "me@icloud.com", "1000/day"),
        ("SMTP.Office365.com.", "me@work.example", "30/min,10000/day"),
        ("smtp-mail.outlook.com", "me@outlook.com", "30/min"),
        ("smtp.gmail.com", "me@Gmail.com", "500/day"),
        ("smtp.gmail.com", "me@work.example", "2000/day"),
        ("mail.example", "me", "none"),
        ("notsmtp.gmail.com", "me@gmail.com", "none"),
    ],
)
def test_a_provider_is_known_by_its_host(host: str, user: str, rates: str) -> None:
    name, found = provider_cap(host, user)
    assert found == parse_rates(rates) and bool(name) == bool(found)


def test_the_cap_of_a_provider_is_told_and_what_is_asked_for_goes_before_it() -> None:
    capped = rate_policy("", "smtp.office365.com", "me@work.example")
    assert capped.rates == parse_rates("30/min,10000/day")
    assert capped.note.startswith("Microsoft 365 lets an account send 30/min and 10,000/day")
    assert "--max-rate" in capped.note
    asked = rate_policy("90/min", "smtp.office365.com", "me@work.example")
    assert (asked.rates, asked.note) == (parse_rates("90/min"), "")
    assert rate_policy("none", "smtp.office365.com", "me@work.example").rates == ()
    assert rate_policy("", "mail.example", "me").note == ""


# ---- keeping to it


class Clock:
    """Moves only when somebody waits, and remembers for how long."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now, self.waits = now, list[float]()

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)


def take(paced: Pacer, counts: Sequence[int], clock: Callable[[], datetime], wait: Callable[[float], None]) -> int:
    """As a run does it: waits until the first of these may go, and takes off as many as may then; how many."""
    while not (number := paced.fitting(counts, clock())) and counts:
        wait(paced.wait_before(counts[0], clock()))
    paced.spend(sum(counts[:number]), clock())
    return number


@contextlib.contextmanager
def pacer(text: str, now: datetime = NOW) -> Iterator[Pacer]:
    with contextlib.closing(Catalogue.temporary()) as catalogue:
        yield Pacer(catalogue, TARGET, parse_rates(text), now)


def test_thirty_go_at_once_and_the_next_after_a_minute() -> None:
    clock = Clock()
    with pacer("30/min") as paced:
        assert take(paced, [1] * 32, clock, clock.wait) == 30
        assert take(paced, [1] * 2, clock, clock.wait) == 2
    assert clock.waits == [60.0]


def test_the_wait_is_for_as_many_as_are_needed_and_no_more() -> None:
    with pacer("30/min") as paced:
        paced.spend(10, NOW)
        paced.spend(20, NOW + 20 * SECOND)
        later = NOW + 30 * SECOND
        assert (paced.wait_before(1, later), paced.wait_before(10, later), paced.wait_before(11, later)) == (30, 30, 50)
        assert paced.fitting([1], later) == 0 and paced.fitting([10, 1], NOW + MINUTE) == 1


def test_a_message_counts_once_for_each_recipient() -> None:
    with pacer("10/min") as paced:
        assert paced.fitting([3, 3, 3, 3], NOW) == 3
        assert paced.fitting([4, 6, 1], NOW) == 2


def test_of_several_limits_each_holds() -> None:
    clock = Clock()
    with pacer("2/s,5/min") as paced:
        sent = [take(paced, [1] * 5, clock, clock.wait) for _ in range(4)]
    assert sent == [2, 2, 1, 2]
    assert clock.waits == [1.0, 1.0, 58.0]


def test_without_a_limit_nothing_waits_and_nothing_is_kept(archive_dir: Path) -> None:
    clock = Clock()
    with Archive.open(archive_dir, create_missing=True) as archive:
        free = Pacer(archive.catalogue, TARGET, (), NOW)
        assert take(free, [1000] * 100, clock, clock.wait) == 100 and take(free, [], clock, clock.wait) == 0
    assert clock.waits == [] and archives.rows(archive_dir, "SELECT * FROM target_messages") == []


def test_a_message_with_too_many_recipients_goes_by_itself_and_is_paid_for_afterwards() -> None:
    clock = Clock()
    with pacer("5/s") as paced:
        assert take(paced, [12, 1], clock, clock.wait) == 1
        assert take(paced, [1], clock, clock.wait) == 1
        assert clock.waits == [2.0]
        assert take(paced, [1, 1, 1], clock, clock.wait) == 2  # 12 and 3 in three seconds


def test_a_wait_that_ends_early_is_taken_up_again() -> None:
    clock = Clock()
    with pacer("1/min") as paced:
        paced.spend(1, NOW)
        assert take(paced, [1], clock, lambda seconds: clock.wait(min(seconds, 25))) == 1
    assert clock.waits == [25.0, 25.0, 10.0]


def test_a_stop_that_is_heard_while_waiting_costs_nothing() -> None:
    def stop(seconds: float) -> None:
        raise Interrupted("Interrupted.")

    with pacer("1/min") as paced:
        paced.spend(1, NOW)
        with pytest.raises(Interrupted):
            take(paced, [1], lambda: NOW, stop)
        assert paced.wait_before(1, NOW) == 60


def test_a_clock_that_is_set_back_makes_nobody_wait_for_it() -> None:
    with pacer("30/min") as paced:
        paced.spend(30, NOW)
        assert paced.wait_before(1, NOW + 10 * SECOND) == 50
        assert paced.wait_before(1, NOW - 300 * DAY) == 50


@given(
    st.lists(st.tuples(st.integers(0, 130), st.integers(1, 6)), max_size=60),
    st.sampled_from(["6/s", "20/min", "6/s,20/min", "30/h,20/min", "40/h"]),
)
def test_no_period_sees_more_than_its_limit(asked: list[tuple[int, int]], text: str) -> None:
    """However often and whenever it is asked, and each wait is as short as it can be."""
    clock, sent = Clock(), list[tuple[datetime, int]]()
    with pacer(text) as paced:
        for pause, count in asked:
            clock.now += timedelta(seconds=pause)
            waited = len(clock.waits)
            take(paced, [count], clock, clock.wait)
            if len(clock.waits) > waited:
                early = [*sent, (clock.now - timedelta(milliseconds=1), count)]
                assert not kept_to(early, text)
            sent.append((clock.now, count))
    assert kept_to(sent, text)


def kept_to(sent: list[tuple[datetime, int]], text: str) -> bool:
    return all(
        sum(count for when, count in sent if start <= when < start + rate.period) <= rate.messages
        for rate in parse_rates(text)
        for start, _ in sent
    )


# ---- the day


@contextlib.contextmanager
def kept(root: Path, text: str, now: datetime = NOW, target: str = TARGET) -> Iterator[Pacer]:
    """As a run has it: opened, used, and gone."""
    with Archive.open(root, create_missing=True) as archive:
        yield Pacer(archive.catalogue, target, parse_rates(text), now)


def test_a_days_limit_ends_the_run_and_names_the_moment(archive_dir: Path) -> None:
    with kept(archive_dir, "1000/day") as first:
        first.spend(1000, NOW)
        with pytest.raises(DailyLimitReached) as caught:
            first.fitting([1], NOW + HOUR)
    error = caught.value
    assert (error.retryable, error.exit_code, error.when) == (False, 75, datetime(2026, 2, 1, 13, 41, tzinfo=UTC))
    assert error.message == (
        f"The limit of 1,000 messages a day for {TARGET} is reached; run again after 13:41 UTC (2026-02-01)."
    )
    with kept(archive_dir, "1000/day", error.when - SECOND) as early, pytest.raises(DailyLimitReached):
        early.wait_before(1, error.when - SECOND)
    with kept(archive_dir, "1000/day", error.when) as in_time:
        assert in_time.fitting([1000, 1], error.when) == 1


def test_what_is_left_of_the_day_goes_out_first(archive_dir: Path) -> None:
    with kept(archive_dir, "10/day") as paced:
        assert take(paced, [3, 3, 3, 3], lambda: NOW, never) == 3
        with pytest.raises(DailyLimitReached):
            take(paced, [3], lambda: NOW, never)
        assert take(paced, [1], lambda: NOW, never) == 1


def test_what_was_sent_is_still_sent_after_a_restart(archive_dir: Path) -> None:
    with kept(archive_dir, "30/min,1000/day") as first:
        first.spend(20, NOW)
        first.spend(5, NOW + 10 * SECOND)
    later = NOW + 20 * SECOND
    with kept(archive_dir, "30/min,1000/day", later) as second:
        assert second.fitting([1] * 6, later) == 5
        assert 40 <= second.wait_before(6, later) <= 60
    with kept(archive_dir, "30/min", later, OTHER) as other:
        assert other.fitting([1] * 40, later) == 30
    with kept(archive_dir, "10/s", later) as short:
        assert short.fitting([1] * 40, later) == 10


def test_a_smaller_limit_after_a_restart_does_not_wait_for_what_it_never_allowed(archive_dir: Path) -> None:
    with kept(archive_dir, "500/min") as first:
        first.spend(500, NOW)
    with kept(archive_dir, "5/min", NOW) as second:
        assert second.wait_before(5, NOW) == 60


def test_a_crash_forgets_nothing(archive_dir: Path) -> None:
    """It is on the disk before anything can be sent: a copy taken right after has it, as a kill would leave it."""
    with kept(archive_dir, "1000/day") as before:
        before.spend(600, NOW)
        before.spend(3, NOW)
        assert archives.rows(archive_dir, "SELECT target, minute, messages FROM target_messages") == [
            (TARGET, "2026-01-31T13:40", 603)
        ]


def test_old_minutes_go(archive_dir: Path) -> None:
    with kept(archive_dir, "1000/day") as long_used:
        long_used.spend(100, NOW)
        long_used.spend(50, NOW + 2 * DAY)
        assert long_used.fitting([950, 1], NOW + 2 * DAY) == 1
    assert archives.rows(archive_dir, "SELECT messages FROM target_messages") == [(50,)]


def test_a_rebuild_may_forget_it_and_nothing_else(archive_dir: Path) -> None:
    store(archive_dir, some(2))
    with kept(archive_dir, "1000/day") as spent:
        spent.spend(1000, NOW)
    assert_rebuilds(archive_dir)
    with kept(archive_dir, "1000/day") as fresh:
        assert fresh.fitting([1000], NOW) == 1


@given(st.lists(st.tuples(st.integers(0, 50 * 60), st.integers(1, 400)), max_size=40))
def test_no_24_hours_see_more_than_the_limit_whatever_runs_there_are(asked: list[tuple[int, int]]) -> None:
    """Each time a new run, which knows only what is in the catalogue."""
    clock, sent, rates = Clock(), list[tuple[datetime, int]](), parse_rates("1000/day")
    with contextlib.closing(Catalogue.temporary()) as catalogue:
        for minutes, count in sorted(asked):
            clock.now = NOW + timedelta(minutes=minutes)
            try:
                take(Pacer(catalogue, TARGET, rates, clock.now), [count], clock, never)
                sent.append((clock.now, count))
            except DailyLimitReached as error:
                assert error.when is not None and clock.now < error.when <= clock.now + DAY + MINUTE
                assert Pacer(catalogue, TARGET, rates, error.when).fitting([count], error.when) == 1
    assert kept_to(sent, "1000/day")


def never(seconds: float) -> None:
    raise AssertionError("it waited")
