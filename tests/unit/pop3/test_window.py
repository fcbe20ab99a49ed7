"""How many messages are in flight."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmove.errors import LocalProtocolError
from mailmove.model import MaildropEntry, MessageNumber, UniqueId
from mailmove.protocols.pop3 import Window


def entries(*sizes: int) -> deque[MaildropEntry]:
    return deque(MaildropEntry(MessageNumber(n), UniqueId(str(n)), size) for n, size in enumerate(sizes, 1))


def test_an_empty_window_admits_anything() -> None:
    window = Window(10, 100)
    assert window.admits(1_000_000)
    window.sent(1_000_000)
    assert not window.admits(0)


def test_it_is_bounded_by_count_and_by_octets() -> None:
    window = Window(3, 100)
    assert [entry.octets for entry in window.refill(entries(1, 2, 3, 4))] == [1, 2, 3]
    window = Window(10, 100)
    assert [entry.octets for entry in window.refill(entries(50, 50, 1))] == [50, 50]


def test_a_window_of_one_is_one_after_another() -> None:
    window, pending = Window(1), entries(5, 6, 7)
    for size in (5, 6, 7):
        assert [entry.octets for entry in window.refill(pending)] == [size]
        assert window.refill(pending) == []
        window.answered(size)
    assert window.refill(pending) == []


def test_it_is_refilled_in_batches() -> None:
    window, pending = Window(10, 1000), entries(*[1] * 30)
    batches = []
    for _ in range(30):
        batches.append(len(window.refill(pending)))
        window.answered(1)
    assert [batch for batch in batches if batch] == [10, 5, 5, 5, 5]


def test_many_octets_in_flight_hold_back_the_next_batch() -> None:
    window = Window(10, 100)
    window.sent(60)
    window.sent(1)
    assert window.refill(entries(1)) == []
    window.answered(60)
    assert len(window.refill(entries(1))) == 1


def test_what_nobody_asked_for_cannot_be_answered() -> None:
    with pytest.raises(LocalProtocolError):
        Window().answered(1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 120), max_size=60), st.integers(1, 8), st.integers(1, 200))
def test_all_is_sent_in_order_and_within_bounds(sizes: list[int], max_messages: int, max_octets: int) -> None:
    """Every message is asked for once, in order; more than one in flight never exceeds either bound; it never stops."""
    window, pending = Window(max_messages, max_octets), entries(*sizes)
    flying: deque[MaildropEntry] = deque()
    asked: list[int] = []
    while pending or flying:
        flying.extend(window.refill(pending))
        assert flying
        assert len(flying) == 1 or sum(entry.octets for entry in flying) <= max_octets
        assert len(flying) <= max_messages
        asked.append(flying[0].octets)
        window.answered(flying.popleft().octets)
    assert asked == sizes
    assert (window.messages, window.octets) == (0, 0)
