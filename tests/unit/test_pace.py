"""How much may be under way: what the job allows, less where a server asked for patience, never nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.jobs.pace import AHEAD, CONNECTIONS, Pace
from mailmove.targets import Manner

BATCHES = Manner(pipelined=True, batched=True, tells_uids=True)
PIPELINED = Manner(pipelined=True, tells_uids=True)
ONE_BY_ONE = Manner(tells_uids=True)

MANNERS = st.builds(Manner, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 100))


def test_a_window_is_a_batch_or_all_that_is_under_way() -> None:
    pace = Pace(64, 8_000_000)
    assert pace.group(BATCHES) == (64, 8_000_000)
    assert pace.group(PIPELINED) == (64 // AHEAD, 8_000_000 // AHEAD)
    assert pace.under_way(PIPELINED) == (64, 8_000_000)


def test_without_uids_one_group_at_a_time() -> None:
    assert Pace(64).under_way(Manner(pipelined=True, batched=True)) == (1, 1)


def test_a_window_of_one_waits_for_each() -> None:
    assert Pace(1).under_way(BATCHES) == (1, 1)
    assert Pace(1).group(PIPELINED)[0] == 1


def test_several_sessions_only_where_each_message_waits() -> None:
    assert [Pace().couriers(manner) for manner in (BATCHES, PIPELINED, ONE_BY_ONE)] == [1, 1, CONNECTIONS]
    assert Pace(connections=7).couriers(BATCHES) == 7


@given(MANNERS, st.integers(1, 1000), st.integers(1, 10**8), st.integers(0, 50), st.integers(0, 20))
def test_it_never_stops_and_never_exceeds_what_is_allowed(
    manner: Manner, messages: int, octets: int, connections: int, complaints: int
) -> None:
    pace = Pace(messages, octets, connections)
    before = pace.group(manner), pace.couriers(manner)
    for _ in range(complaints):
        pace.slower()
    assert pace.group(manner)[0] >= 1 and pace.group(manner)[1] >= 1 and pace.couriers(manner) >= 1
    assert pace.group(manner) <= before[0] and pace.couriers(manner) <= before[1]
    assert not manner.most or pace.group(manner)[0] <= manner.most
    for _ in range(1000):
        pace.faster()
    assert (pace.group(manner), pace.couriers(manner)) == before, "it grows back"


@pytest.mark.parametrize("complaints", [1, 2, 3])
def test_each_complaint_halves(complaints: int) -> None:
    pace = Pace(64, 8_000_000, 8)
    for _ in range(complaints):
        pace.slower()
    assert pace.group(BATCHES) == (64 >> complaints, 8_000_000 >> complaints)
    assert pace.couriers(BATCHES) == 8 >> complaints
