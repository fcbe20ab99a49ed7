"""What a broken session tells: nothing that was delivered is told as unsent, nothing undelivered as delivered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmove.errors import ConnectionLost, TryLater
from mailmove.protocols.smtp import Offers
from tests.unit.smtp.referee import Letter, Referee, assert_true, talk

BOTH = (False, True)
OFFERS = [Offers(lmtp, pipelining, chunking) for lmtp in BOTH for pipelining in BOTH for chunking in BOTH]
LETTERS = [
    Letter((b"one\r\n",), ("a@x",)),
    Letter((b".two\r\n..\r\n",), ("a@x", "b@x")),
    Letter((b"three\r\n",), ("a@x",)),
    Letter((b"four\r\n",), ("b@x", "c@x")),
    *[Letter((b"%d\r\n" % number,), ("a@x",)) for number in range(5, 9)],
    Letter((b"nine\r\n",), ("b@x", "c@x")),
]
YES, NO, LATER, CLOSE = "", "550 5.1.1 no", "451 4.3.0 later", "421 4.3.2 closing"


@pytest.mark.parametrize("offers", OFFERS, ids=str)
def test_a_line_that_breaks_at_any_octet(offers: Offers) -> None:
    everything = sum(map(len, talk(offers, Referee(offers.lmtp), LETTERS).flights))
    for takes in range(everything):
        referee = Referee(offers.lmtp)
        done = talk(offers, referee, LETTERS, takes=takes)
        assert isinstance(done.error, ConnectionLost)
        assert_true(done, referee, LETTERS)
        known = [outcome for outcome in done.outcomes if outcome.replies or outcome.unsent]
        assert len(known) == len(LETTERS)  # each reply to what was taken came in, so nothing is uncertain


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(OFFERS),
    st.one_of(st.none(), st.integers(0, 99)),
    st.integers(0, 1500),
    st.integers(0, 1500),
    st.lists(st.sampled_from([YES, YES, YES, NO, LATER, CLOSE]), max_size=25),
    st.booleans(),
)
def test_any_refusals_and_any_break(
    offers: Offers, seed: int | None, takes: int, hears: int, script: list[str], knows_bdat: bool
) -> None:
    answers = iter(script)
    referee = Referee(offers.lmtp, lambda verb, number: next(answers, YES) if verb != "RSET" else YES)
    referee.knows_bdat = knows_bdat
    assert_true(talk(offers, referee, LETTERS, seed=seed, takes=takes, hears=hears), referee, LETTERS)


@pytest.mark.parametrize("offers", OFFERS, ids=str)
@pytest.mark.parametrize(("verb", "number"), [("MAIL", 2), ("RCPT", 3), ("final", 2), ("RSET", 0), ("DATA", 2)])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_421_ends_the_session_and_what_follows_was_not_taken(
    offers: Offers, verb: str, number: int, seed: int | None
) -> None:
    referee = Referee(offers.lmtp, lambda said, count: CLOSE if (said, count) == (verb, number) else YES)
    done = talk(offers, referee, LETTERS, seed=seed)
    assert_true(done, referee, LETTERS)
    if referee.closed:
        assert isinstance(done.error, TryLater)
        assert done.error.delay is None
        assert "421 4.3.2 closing" in done.error.message
        unknown = [letter for letter in LETTERS if letter not in [outcome.mail for outcome in done.outcomes]]
        assert not unknown
