"""The account of every listed message: whatever happens, the equation adds up (P4)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mailmove.jobs.ledger import Ledger
from mailmove.jobs.plan import Key, key
from mailmove.model import Fate, MaildropEntry, MessageNumber, UniqueId


def entries(*ids: str) -> list[MaildropEntry]:
    return [MaildropEntry(MessageNumber(n), UniqueId(uid), 10) for n, uid in enumerate(ids, 1)]


def listing(*ids: str) -> Counter[Key]:
    return Counter(map(key, entries(*ids)))


def of(ledger: Ledger) -> dict[Fate, int]:
    return {fate: count for fate, count in ledger.fates().items() if count}


def test_what_is_not_settled_is_pending() -> None:
    ledger = Ledger()
    ledger.enter(listing("a", "b"))
    assert ledger.settle(entries("a")[0], Fate.STORED)
    assert of(ledger) == {Fate.STORED: 1, Fate.PENDING: 1} and ledger.listed == 2
    assert ledger.pending() == [("b", 10)]


def test_an_entry_has_one_fate() -> None:
    ledger = Ledger()
    ledger.enter(listing("a"))
    (a,) = entries("a")
    assert ledger.settle(a, Fate.STORED) and not ledger.settle(a, Fate.ALREADY_ARCHIVED)
    assert of(ledger) == {Fate.STORED: 1}


def test_an_entry_never_listed_has_no_slot() -> None:
    ledger = Ledger()
    assert not ledger.settle(entries("a")[0], Fate.STORED)
    assert ledger.listed == 0 and of(ledger) == {}


def test_listed_counts_distinct_entries_over_sessions() -> None:
    ledger = Ledger()
    ledger.enter(listing("a", "b"))
    ledger.enter(listing("b", "c"))
    assert ledger.listed == 3


def test_one_id_listed_twice_has_two_slots() -> None:
    ledger = Ledger()
    ledger.enter(listing("a", "a"))
    ledger.enter(listing("a"))
    a = entries("a")[0]
    assert [ledger.settle(a, Fate.STORED) for _ in range(3)] == [True, True, False]
    assert ledger.settle_all(("b", 1), Fate.GONE) == 0  # type: ignore[arg-type]


def test_beyond_the_limit_is_skipped_only_if_never_reached() -> None:
    ledger = Ledger()
    ledger.enter(listing("a", "b", "c"))
    ledger.beyond_limit(entries("b", "c"))
    ledger.settle(entries("b")[0], Fate.STORED)
    assert ledger.unsettled(()) and not ledger.unsettled({(UniqueId("a"), 10)})
    assert ledger.close() == 1
    assert of(ledger) == {Fate.STORED: 1, Fate.SKIPPED: 1, Fate.PENDING: 1}


IDS = st.sampled_from("abc")
STEPS = st.lists(st.one_of(st.lists(IDS, max_size=4), st.tuples(IDS, st.sampled_from(list(Fate)[:-1]))), max_size=20)


@given(STEPS)
def test_the_equation_holds_after_any_steps(steps: list[object]) -> None:
    ledger = Ledger()
    for step in steps:
        if isinstance(step, list):
            ledger.enter(listing(*step))
        elif isinstance(step, tuple):
            ledger.settle(entries(step[0])[0], step[1])
        assert sum(ledger.fates().values()) == ledger.listed
        assert ledger.fates()[Fate.PENDING] >= 0
