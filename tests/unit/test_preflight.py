"""What a pre-flight makes of what it was told: sums, round trips, warnings, times for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.deliveries import Selected
from mailmove.archive.preflight_query import Speed, earlier_speed
from mailmove.cli.render_preflight import duration
from mailmove.jobs.pace import Pace
from mailmove.jobs.preflight import (
    NAMED,
    Basis,
    Estimate,
    MailboxLook,
    Oversize,
    Survey,
    Way,
    estimate,
    rooms,
    trips,
    warnings,
)
from mailmove.model import DateOrigin, Digest, InternalDate
from mailmove.targets import Manner, Quota, Traits

WHEN = InternalDate(datetime(2004, 2, 2, tzinfo=UTC), DateOrigin.RECEIVED)
PIPELINED, WAITING = Manner(pipelined=True, tells_uids=True), Manner(tells_uids=True)


def message(octets: int, number: int = 1) -> Selected:
    digest = Digest(f"{number:064}")
    return Selected(number, digest, octets, WHEN, False, copies=1, delivered=0, skipped=0, parked=0, uncertain=0)


def survey(*octets: int, limit: int | None = None) -> Survey:
    made = Survey(limit, lambda digest: f"about {int(digest)}")
    for number, size in enumerate(octets, 1):
        made.add(message(size, number), 1)
    return made


# ---- what is to be sent


def test_a_survey_adds_up_what_goes_and_names_what_is_too_large() -> None:
    made = survey(100, 5_000, 4_096, 4_097, 10_000, limit=5_000)
    assert (made.messages, made.octets, made.large, made.oversized) == (4, 13_293, 2, 1)
    assert made.oversize == [Oversize(Digest(f"{5:064}"), 10_000, "about 5")]


def test_copies_count_and_what_is_not_sent_does_not() -> None:
    made = Survey(limit=99)
    for octets, copies in ((50, 3), (60, 0), (100, 2), (100, 0)):
        made.add(message(octets), copies)
    assert (made.messages, made.octets, made.oversized, len(made.oversize)) == (3, 150, 2, 1)


def test_there_is_a_bound_to_what_is_named() -> None:
    made = survey(*[10] * (NAMED + 5), limit=1)
    assert (len(made.oversize), made.oversized) == (NAMED, NAMED + 5)


# ---- room


def test_mailboxes_of_one_root_share_its_room_and_others_do_not() -> None:
    one, other = Quota(400, 1_000, "a"), Quota(0, 5_000, "b")
    looks = [
        MailboxLook("INBOX", 3, one, survey(500)),
        MailboxLook("Archive", None, one, survey(200)),
        MailboxLook("Shared", 0, other, survey(4_000)),
        MailboxLook("Free", 0, None, survey(10**9)),
    ]
    assert [(room.mailboxes, room.octets, room.short_of) for room in rooms(looks)] == [
        (("INBOX", "Archive"), 700, 100),
        (("Shared",), 4_000, 0),
    ]
    (said,) = warnings(looks)
    assert "'INBOX' and 1 more" in said and "600 bytes" in said and "700 are to be sent" in said and "100 more" in said


@pytest.mark.parametrize(("octets", "words"), [((50, 60), "2 messages are"), ((50,), "1 message is")])
def test_what_is_too_large_is_warned_of(octets: tuple[int, ...], words: str) -> None:
    (said,) = warnings([MailboxLook("INBOX", 0, None, survey(*octets, limit=10))])
    assert said.startswith(words) and "10 bytes" in said and "parked" in said


def test_nothing_to_warn_of() -> None:
    assert warnings([MailboxLook("INBOX", 0, Quota(0, 100), survey(40, 60, limit=60))]) == []


def test_a_quota_that_is_overdrawn_leaves_nothing() -> None:
    assert Quota(200, 100).left == 0


# ---- time


@pytest.mark.parametrize(
    ("manner", "traits", "connections", "expected"),
    [
        (PIPELINED, Traits(literal_plus=True), 1, 4),  # 64 under way at once
        (WAITING, Traits(), 1, 512),
        (WAITING, Traits(), 4, 128),
        (WAITING, Traits(literal_minus=True), 1, 2 * 56 + 4),
        (Manner(pipelined=True, batched=True, tells_uids=True), Traits(multiappend=True), 1, 1),
    ],
)
def test_how_many_round_trips_must_be_waited_for(
    manner: Manner, traits: Traits, connections: int, expected: int
) -> None:
    way = Way(manner, traits, Pace(messages=64, connections=connections), 0.1)
    assert trips(256, 56, way) == expected
    assert trips(0, 0, way) == 0


def test_an_earlier_run_says_more_than_round_trips() -> None:
    way = Way(WAITING, Traits(), Pace(connections=1), 0.1)
    surveys = [survey(*[1_000] * 50), survey(*[1_000] * 50)]
    assert estimate(surveys, Speed(10, 50_000), way) == Estimate(10, Basis.EARLIER_RUN)
    assert estimate(surveys, Speed(100, 1_000), way) == Estimate(100, Basis.EARLIER_RUN)
    least = estimate(surveys, None, way)
    assert (round(least.seconds, 6), least.basis) == (20, Basis.ROUND_TRIPS)


def test_the_last_run_there_that_sent_enough_tells_how_fast_it_goes() -> None:
    runs = [
        ("a", "01", "2026-01-01T00:00:10.000Z", {"delivered": 50, "bytes": 1_000}),  # 10 s
        ("b", "02", "2026-01-02T00:00:20.000Z", {"delivered": 50, "bytes": 2_000}),
        ("c", "03", "2026-01-03T00:00:01.000Z", {"delivered": 3, "bytes": 9_000}),  # mostly login
        ("d", "04", "", {"delivered": 500, "bytes": 9_000}),  # cut off
    ]
    catalogue = Catalogue.temporary()
    catalogue.connection.executemany(
        "INSERT INTO runs (run, job, maildrop, started, ended, counts, target) VALUES (?, 'replay', '', ?, ?, ?, 't')",
        [(run, f"2026-01-{day}T00:00:00.000Z", ended, json.dumps(counts)) for run, day, ended, counts in runs],
    )
    assert earlier_speed(catalogue, "t") == Speed(2.5, 100)
    assert earlier_speed(catalogue, "elsewhere") is None
    catalogue.close()


@pytest.mark.parametrize(("limit", "days"), [(100_000, 0), (99_999, 1), (25_000, 3)])
def test_a_daily_limit_can_be_what_takes_longest(limit: int, days: int) -> None:
    way = Way(PIPELINED, Traits(), Pace(), 0.1, daily_limit=limit)
    told = estimate([survey(*[1_000] * 100)], Speed(100, 1_000), way)
    assert told == (Estimate(days * 86_400, Basis.DAILY_LIMIT) if days else Estimate(100, Basis.EARLIER_RUN))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than 1 s"),
        (1, "1 s"),
        (89.4, "89 s"),
        (240, "4 min"),
        (5_300, "88 min"),
        (9_000, "2.5 h"),
        (260_000, "3 days"),
    ],
)
def test_a_duration_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
