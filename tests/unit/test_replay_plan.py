"""What a replay does with each message it selected: every wanted copy has exactly one fate.

Strategy: all numbers of wanted copies and earlier deliveries are tried, also ones that cannot come about; the sum must
come out right and nothing may be sent that was settled, unless it was asked for.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive.deliveries import Selected
from mailmove.jobs.replay_plan import Decision, decide
from mailmove.model import DateOrigin, Digest, InternalDate

WHEN = InternalDate(datetime(2004, 2, 2, tzinfo=UTC), DateOrigin.RECEIVED)
FEW = st.integers(0, 4)


def message(copies: int = 1, delivered: int = 0, skipped: int = 0, parked: int = 0, uncertain: int = 0) -> Selected:
    return Selected(
        1,
        Digest("0" * 64),
        100,
        WHEN,
        suspect=False,
        copies=copies,
        delivered=delivered,
        skipped=skipped,
        parked=parked,
        uncertain=uncertain,
    )


def decided(selected: Selected, *, resend: bool = False, retry: bool = False) -> Decision:
    return decide(selected, resend_uncertain=resend, retry_parked=retry)


MESSAGES = st.builds(message, st.integers(1, 5), FEW, FEW, FEW, FEW)


@given(MESSAGES, st.booleans(), st.booleans())
def test_every_copy_has_exactly_one_fate(selected: Selected, resend: bool, retry: bool) -> None:
    decision = decided(selected, resend=resend, retry=retry)
    fates = (decision.skipped, decision.uncertain, decision.parked, decision.send)
    assert all(number >= 0 for number in fates)
    assert min(selected.copies, selected.delivered) + sum(fates) == selected.copies


@given(MESSAGES, st.booleans(), st.booleans())
def test_what_has_a_receipt_or_was_settled_is_never_sent(selected: Selected, resend: bool, retry: bool) -> None:
    decision = decided(selected, resend=resend, retry=retry)
    assert decision.send <= max(0, selected.copies - selected.delivered - selected.skipped)


@given(MESSAGES, st.booleans(), st.booleans())
def test_what_is_uncertain_or_parked_is_sent_only_when_asked_for(selected: Selected, resend: bool, retry: bool) -> None:
    decision = decided(selected, resend=resend, retry=retry)
    sent_again = Counter(decision.withdraw)
    assert sent_again["uncertain"] <= selected.uncertain * resend
    assert sent_again["parked"] <= selected.parked * retry
    assert decision.uncertain + sent_again["uncertain"] == decided(selected).uncertain
    assert decision.parked + sent_again["parked"] == decided(selected).parked


@given(MESSAGES, st.booleans(), st.booleans())
def test_each_earlier_delivery_that_is_withdrawn_is_taken_the_place_of(
    selected: Selected, resend: bool, retry: bool
) -> None:
    decision = decided(selected, resend=resend, retry=retry)
    assert len(decision.withdraw) <= decision.send
    assert decision.send - len(decision.withdraw) == decided(selected).send


def test_the_usual_cases() -> None:
    assert decided(message()) == Decision(send=1)
    assert decided(message(delivered=1)) == Decision()
    assert decided(message(skipped=1)) == Decision(skipped=1)
    assert decided(message(parked=1)) == Decision(parked=1)
    assert decided(message(uncertain=1)) == Decision(uncertain=1)
    assert decided(message(copies=3, delivered=1)) == Decision(send=2)


def test_what_was_asked_for() -> None:
    assert decided(message(parked=1), retry=True) == Decision(send=1, withdraw=("parked",))
    assert decided(message(uncertain=1), resend=True) == Decision(send=1, withdraw=("uncertain",))
    assert decided(message(parked=1), resend=True) == Decision(parked=1)
    assert decided(message(uncertain=1), retry=True) == Decision(uncertain=1)
    both = decided(message(copies=3, parked=1, uncertain=1), resend=True, retry=True)
    assert (both.send, sorted(both.withdraw)) == (3, ["parked", "uncertain"])


def test_a_receipt_beyond_what_is_wanted_changes_nothing() -> None:
    """Delivered with --keep-duplicates, selected without."""
    assert decided(message(copies=1, delivered=3)) == Decision()
    assert decided(message(copies=1, delivered=1, parked=1), retry=True) == Decision()
