"""What may be deleted: the rules, as a function over plain values (design.md, P5 and section 6.4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailmove.archive.listings import Kept
from mailmove.jobs.deletion import Policy, due, is_mass
from mailmove.model import Complete, Digest, MaildropEntry, MessageNumber, UniqueId

NOW = datetime(2026, 5, 1, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=91), NOW - timedelta(days=89)
AFTER_90 = Policy(90)


def entry(number: int, unique_id: str, octets: int = 100) -> MaildropEntry:
    return MaildropEntry(MessageNumber(number), UniqueId(unique_id), octets)


def kept(
    unique_id: str,
    stored: datetime = OLD,
    *,
    octets: int = 100,
    digest: str = "d",
    complete: Complete = Complete.YES,
    received: bool = True,
) -> Kept:
    return Kept(UniqueId(unique_id), octets, Digest(digest), stored, complete, received)


def numbers(listing: list[MaildropEntry], places: list[Kept], policy: Policy = AFTER_90) -> list[int]:
    return [one.entry.number for one in due(listing, places, policy, NOW)[0]]


def test_what_is_old_enough_and_whole_is_due() -> None:
    assert numbers([entry(1, "a"), entry(2, "b")], [kept("a"), kept("b", NEW)]) == [1]


def test_to_the_second() -> None:
    exactly, second = NOW - timedelta(days=90), timedelta(seconds=1)
    assert numbers([entry(1, "a")], [kept("a", exactly)]) == [1]
    assert numbers([entry(1, "a")], [kept("a", exactly + second)]) == []


def test_what_is_not_archived_is_not_due() -> None:
    assert numbers([entry(1, "a"), entry(2, "other"), entry(3, "a-")], [kept("a")]) == [1]


def test_another_size_is_another_message() -> None:
    assert numbers([entry(1, "a", 101)], [kept("a", octets=100)]) == []


def test_an_id_that_is_listed_twice_is_never_due() -> None:
    assert numbers([entry(1, "a"), entry(2, "a"), entry(3, "b")], [kept("a"), kept("b")]) == [3]
    assert numbers([entry(1, "a"), entry(2, "a", 200)], [kept("a")]) == []


def test_an_entry_with_two_contents_in_the_archive_is_never_due() -> None:
    assert numbers([entry(1, "a")], [kept("a", digest="d"), kept("a", digest="e")]) == []


@pytest.mark.parametrize(("trust", "expected"), [(False, []), (True, [1])])
def test_where_sizes_are_unreliable_only_with_trust(trust: bool, expected: list[int]) -> None:
    places = [kept("a", complete=Complete.UNRELIABLE_SIZES)]
    assert numbers([entry(1, "a")], places, Policy(90, trust_received=trust)) == expected


@pytest.mark.parametrize("trust", [False, True])
def test_a_suspect_is_never_due(trust: bool) -> None:
    assert numbers([entry(1, "a")], [kept("a", complete=Complete.NO)], Policy(0, trust_received=trust)) == []


def test_what_only_a_fingerprint_tells_is_received_first() -> None:
    found, receive = due([entry(1, "a"), entry(2, "b")], [kept("a", received=False), kept("b")], AFTER_90, NOW)
    assert ([one.entry.number for one in found], [one.number for one in receive]) == ([2], [1])


@pytest.mark.parametrize(("count", "listed", "mass"), [(0, 0, False), (1, 2, False), (2, 3, True), (10, 10, True)])
def test_more_than_half_is_a_mass(count: int, listed: int, mass: bool) -> None:
    assert is_mass(count, listed) is mass
