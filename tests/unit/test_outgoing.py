"""What a message gets on its way out: a date every server takes, the flag that was asked for, and its own octets.

Strategy: dates are tried at and beyond all borders, in any zone, since they come from other people's mail. The octets
come out of a real archive, also of one whose file is altered while it is being sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.archive.deliveries import Selected
from mailmove.archive.layout import Layout
from mailmove.errors import ArchiveDamaged, UsageError
from mailmove.jobs.outgoing import EPOCH, IN_MEMORY, Copy, Letter, SeenPolicy, clamped
from mailmove.model import DateOrigin, Digest, InternalDate
from mailmove.targets import Outgoing
from mailmove.targets.imap_names import date_time
from tests.support import archives
from tests.support.replaying import fill
from tests.unit.archive.making import alter

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
ZONES = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)


# ---- Dates


@given(st.datetimes(timezones=ZONES))
@example(datetime(1, 1, 1, tzinfo=EAST))
@example(datetime(999, 12, 31, tzinfo=UTC))
@example(datetime(9999, 12, 31, 23, 59, 59, tzinfo=WEST))
def test_every_date_becomes_one_between_1970_and_now(date: datetime) -> None:
    found = clamped(date, NOW)
    assert EPOCH <= found <= NOW and found.utcoffset() == timedelta()
    assert found == date or not EPOCH <= date <= NOW


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (datetime(999, 1, 1, tzinfo=UTC), b'"01-Jan-1970 00:00:00 +0000"'),
        (datetime(9999, 12, 31, tzinfo=UTC), b'"01-Jul-2026 12:00:00 +0000"'),
        (datetime(1969, 12, 31, 23, tzinfo=WEST), b'"01-Jan-1970 11:00:00 +0000"'),
        (datetime(1970, 1, 1, tzinfo=EAST), b'"01-Jan-1970 00:00:00 +0000"'),
        (datetime(2004, 2, 2, 10, tzinfo=timezone(timedelta(hours=1))), b'"02-Feb-2004 09:00:00 +0000"'),
        (NOW, b'"01-Jul-2026 12:00:00 +0000"'),
    ],
)
def test_what_the_server_is_told(date: datetime, expected: bytes) -> None:
    assert date_time(clamped(date, NOW), NOW) == expected


# ---- The flag


@pytest.mark.parametrize(
    ("policy", "days_old", "expected"),
    [
        ("all", 0, True),
        ("all", 5000, True),
        ("none", 0, False),
        ("none", 5000, False),
        ("older-than=14", 13.99, False),
        ("older-than=14", 14, True),
        ("older-than=0", 0, True),
        ("older-than=99999", 20_000, False),
    ],
)
def test_the_seen_policy(policy: str, days_old: float, expected: bool) -> None:
    assert SeenPolicy.parse(policy).seen(NOW - timedelta(days=days_old), NOW) is expected


def test_the_usual_policy_is_two_weeks() -> None:
    assert SeenPolicy() == SeenPolicy.parse("older-than=14")


@pytest.mark.parametrize(
    "policy", ["", "ALL", "seen", "older-than", "older-than=", "older-than=-1", "older-than=1.5", "older-than=100000"]
)
def test_a_policy_that_is_none_is_named(policy: str) -> None:
    with pytest.raises(UsageError, match=r"give all, none or older-than=DAYS") as caught:
        SeenPolicy.parse(policy)
    assert repr(policy) in caught.value.message


@given(st.text(max_size=20).map("older-than={}".format))
def test_no_policy_makes_it_fail_otherwise(policy: str) -> None:
    with contextlib.suppress(UsageError):
        SeenPolicy.parse(policy).seen(NOW, NOW)


# ---- The octets

LARGE = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000
assert len(LARGE) > IN_MEMORY


def going_out(root: Path, octets: bytes, date: datetime = NOW, seen: str = "all") -> tuple[Outgoing, list[int]]:
    """The message as it goes out, and where the pieces that are on their way are counted."""
    copy, sent = copied(root, octets, date, seen)
    return copy.outgoing, sent


def copied(root: Path, octets: bytes, date: datetime = NOW, seen: str = "all") -> tuple[Copy, list[int]]:
    sent: list[int] = []
    when = InternalDate(date, DateOrigin.DATE)
    message = Selected(1, Digest(archives.digest(octets)), len(octets), when, False, 1, 0, 0, 0, 0)
    return Copy(Layout(root, root), Letter(message), SeenPolicy.parse(seen), NOW, sent.append), sent


@pytest.mark.parametrize("octets", [b"x", b"Subject: \xff\0\n\r\r\n", LARGE], ids=["one", "odd", "large"])
def test_the_octets_are_the_archived_ones_each_time(archive_dir: Path, octets: bytes) -> None:
    fill(archive_dir, [octets])
    message, sent = going_out(archive_dir, octets)
    assert message.octets == len(octets)
    assert [b"".join(message.chunks()) for _ in range(2)] == [octets, octets]
    assert sum(sent) == 2 * len(octets)


def test_what_is_on_its_way_is_told_after_it_was_taken(archive_dir: Path) -> None:
    fill(archive_dir, [LARGE])
    message, sent = going_out(archive_dir, LARGE)
    chunks = message.chunks()
    first = next(chunks)
    assert sent == []
    next(chunks)
    assert sent == [len(first)]


def test_the_flag_goes_by_the_date_that_is_sent(archive_dir: Path) -> None:
    future, old = datetime(9999, 1, 1, tzinfo=UTC), datetime(999, 1, 1, tzinfo=UTC)
    fill(archive_dir, [b"x"])
    assert going_out(archive_dir, b"x", future, "older-than=0")[0].seen is True
    assert going_out(archive_dir, b"x", future)[0].internal_date == NOW
    message, _ = going_out(archive_dir, b"x", old, "older-than=14")
    assert (message.seen, message.internal_date) == (True, EPOCH)


@pytest.mark.parametrize("harm", [Path.unlink, alter], ids=["missing", "altered"])
def test_a_damaged_message_never_comes_out_whole(archive_dir: Path, harm: object) -> None:
    fill(archive_dir, [LARGE])
    message, _ = going_out(archive_dir, LARGE)
    harm(Layout(archive_dir, archive_dir).message(Digest(archives.digest(LARGE))))  # type: ignore[operator]
    taken = bytearray()
    with pytest.raises(ArchiveDamaged):
        take(taken, message.chunks())
    assert len(taken) < len(LARGE)


@pytest.mark.parametrize("octets", [b"x", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("harm", [Path.unlink, alter], ids=["missing", "altered"])
def test_what_is_damaged_already_is_not_announced(archive_dir: Path, harm: object, octets: bytes) -> None:
    fill(archive_dir, [octets])
    harm(Layout(archive_dir, archive_dir).message(Digest(archives.digest(octets))))  # type: ignore[operator]
    with pytest.raises(ArchiveDamaged):
        copied(archive_dir, octets)


@pytest.mark.parametrize("octets", [b"x", LARGE], ids=["small", "large"])
def test_a_copy_knows_whether_its_octets_were_asked_for(archive_dir: Path, octets: bytes) -> None:
    fill(archive_dir, [octets])
    copy, _ = copied(archive_dir, octets)
    assert not copy.begun
    next(iter(copy.outgoing.chunks()))
    assert copy.begun


def take(taken: bytearray, chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        taken += chunk
