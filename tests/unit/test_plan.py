"""What a listing becomes: the pull's plan. Pure values in, pure values out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mailmove.jobs.plan import SPACE_MARGIN, PullPlan, key, plan_pull
from mailmove.model import MaildropEntry, MessageNumber, UniqueId


def listing(*ids: str, octets: int = 100) -> list[MaildropEntry]:
    return [MaildropEntry(MessageNumber(n), UniqueId(uid), octets) for n, uid in enumerate(ids, 1)]


def numbers(entries: tuple[MaildropEntry, ...]) -> list[int]:
    return [entry.number for entry in entries]


def test_all_is_new() -> None:
    plan = plan_pull(listing("a", "b"), {})
    assert numbers(plan.retrieve) == [1, 2] and plan.octets == 200
    assert plan.space_needed == 220 + SPACE_MARGIN


def test_nothing_to_do_needs_no_space() -> None:
    plan = plan_pull(listing("a"), {(UniqueId("a"), 100): 1})
    assert numbers(plan.known) == [1] and plan.space_needed == 0 and plan.retrieve == ()


def test_known_means_unique_id_and_size() -> None:
    assert numbers(plan_pull(listing("a"), {(UniqueId("a"), 99): 1}).retrieve) == [1]


def test_an_id_listed_twice_is_known_when_two_places_are() -> None:
    twice = listing("a", "a")
    assert numbers(plan_pull(twice, {(UniqueId("a"), 100): 1}).retrieve) == [1, 2]
    assert numbers(plan_pull(twice, {(UniqueId("a"), 100): 2}).known) == [1, 2]


def test_an_empty_unique_id_is_never_known() -> None:
    assert numbers(plan_pull(listing(""), {(UniqueId(""), 100): 5}).retrieve) == [1]


def test_skipped_and_attempted_are_not_retrieved() -> None:
    plan = plan_pull(listing("a", "b", "c"), {}, {(UniqueId("a"), 100)}, {(UniqueId("b"), 100)})
    assert (numbers(plan.skipped), numbers(plan.attempted), numbers(plan.retrieve)) == ([1], [2], [3])


def test_what_is_known_is_known_even_when_skipped() -> None:
    a = (UniqueId("a"), 100)
    assert numbers(plan_pull(listing("a"), {a: 1}, {a}, {a}).known) == [1]


def test_the_limit_counts_what_is_new_only() -> None:
    plan = plan_pull(listing("a", "b", "c", "d"), {(UniqueId("a"), 100): 1}, limit=2)
    assert (numbers(plan.retrieve), numbers(plan.beyond_limit)) == ([2, 3], [4])
    assert numbers(plan_pull(listing("a"), {}, limit=0).beyond_limit) == [1]
    assert numbers(plan_pull(listing("a"), {}, limit=-3).beyond_limit) == [1]


ENTRIES = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 2)), max_size=12)
KEYS = st.sets(st.tuples(st.sampled_from(["", "a", "b", "c"]).map(UniqueId), st.integers(0, 2)))


@given(ENTRIES, st.dictionaries(KEYS.map(lambda k: next(iter(sorted(k)), (UniqueId("a"), 0))), st.integers(1, 3)), KEYS)
def test_every_entry_is_in_exactly_one_part(
    raw: list[tuple[str, int]], known: dict[tuple[UniqueId, int], int], others: set[tuple[UniqueId, int]]
) -> None:
    entries = [MaildropEntry(MessageNumber(n), UniqueId(uid), octets) for n, (uid, octets) in enumerate(raw, 1)]
    for limit in (None, 0, 3):
        plan = plan_pull(entries, known, others, others, limit)
        assert Counter(parts(plan)) == Counter(entries)
        assert limit is None or len(plan.retrieve) <= limit
        assert all(known[key(entry)] for entry in plan.known)


def parts(plan: PullPlan) -> list[MaildropEntry]:
    return [*plan.retrieve, *plan.known, *plan.skipped, *plan.beyond_limit, *plan.attempted]
