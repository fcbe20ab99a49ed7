"""How much is under way: little, but where a long line would stand idle."""

from __future__ import annotations

from mailmove.jobs.relay_pace import FEW, MOST, RelayPace
from mailmove.targets import RelayTraits

CHUNKING, STEPS = RelayTraits(pipelining=True, chunking=True), RelayTraits(pipelining=True)


def test_where_each_message_is_waited_for_few_are_announced_however_long_the_line() -> None:
    pace = RelayPace()
    pace.answered(0.1)
    assert pace.under_way(STEPS)[0] == FEW


def test_the_longer_the_line_the_more_are_under_way_up_to_a_bound() -> None:
    under_way = []
    for seconds in (0.001, 0.1, 10.0):
        pace = RelayPace()
        pace.answered(seconds)
        under_way.append(pace.under_way(CHUNKING)[0])
    assert FEW <= under_way[0] < under_way[1] < under_way[2] == MOST
    assert under_way[1] >= 300, "100 ms must be filled by what a quick server takes meanwhile"


def test_the_quickest_answer_counts_since_the_others_have_waited_for_their_turn() -> None:
    pace = RelayPace()
    pace.answered(0.001)
    pace.answered(5.0)
    assert pace.answer == 0.001


def test_what_was_asked_for_is_kept_to() -> None:
    pace = RelayPace(messages=1, answer=10.0)
    assert pace.under_way(CHUNKING)[0] == pace.group(CHUNKING)[0] == 1


def test_after_a_drop_less_is_under_way_and_with_deliveries_it_grows_back() -> None:
    pace = RelayPace()
    pace.slower()
    assert pace.under_way(CHUNKING)[0] == FEW // 4
    for _ in range(100):
        pace.faster()
    assert pace.under_way(CHUNKING)[0] == FEW


def test_two_groups_are_under_way_at_once() -> None:
    messages, octets = RelayPace().under_way(STEPS)
    assert RelayPace().group(STEPS) <= (messages // 2, octets // 2)
