"""Whom to blame: sessions played as lists of what happened, without a connection.

Strategy: `session` tells a Trouble what a session asked for and what came of it; asserted is what the next session
would do about it: what is asked for last, what is hopeless, whether the maildrop is left alone, and who has lied.
"""

from __future__ import annotations

import pytest

from mailmove.errors import ConnectionLost, MessageRejected, ProtocolError, TimedOut
from mailmove.jobs.plan import key
from mailmove.jobs.trouble import IN_VAIN, MOST_IN_VAIN, Trouble, is_for_now
from mailmove.model import MaildropEntry, MessageNumber, UniqueId

ENTRIES = [MaildropEntry(MessageNumber(n), UniqueId(f"uid-{n}"), 100 + n) for n in range(1, 7)]
KEYS = [key(entry) for entry in ENTRIES]
LOST, SILENT, GARBAGE = ConnectionLost("reset"), TimedOut("silent"), ProtocolError("what?")
QUOTA = MessageRejected("no", server_text="Download exceed. msg=10", command="RETR")
BROKEN = MessageRejected("no", server_text="broken index", command="RETR")


def session(trouble: Trouble, whole: int, *, many: bool = True, begun: bool = False) -> None:
    """All entries are asked for in order, `whole` come in, and of the next one a part if `begun`."""
    trouble.asked(ENTRIES, many=many)
    for place in range(whole + begun):
        trouble.begin(KEYS[place])
        if place < whole:
            trouble.over()


@pytest.mark.parametrize("begun", [False, True], ids=["before its reply", "in mid message"])
def test_the_message_it_broke_in_is_to_blame(begun: bool) -> None:
    trouble = Trouble()
    session(trouble, 2, begun=begun)
    assert trouble.blamed(LOST) == KEYS[2]
    assert [entry.number for entry in trouble.last_of_all(ENTRIES)] == [1, 2, 4, 5, 6, 3]


def test_nobody_is_to_blame_when_all_came_in() -> None:
    trouble = Trouble()
    session(trouble, 6)
    assert trouble.blamed(GARBAGE) is None and trouble.last_of_all(ENTRIES) == ENTRIES


@pytest.mark.parametrize("before", [0, 3], ids=["nothing came in", "others came in"])
@pytest.mark.parametrize("begun", [False, True])
def test_the_second_break_is_hopeless_when_nothing_came_in_before_it(before: int, begun: bool) -> None:
    trouble = Trouble()
    bad = KEYS[before]
    session(trouble, before, many=False, begun=begun)
    assert trouble.blamed(LOST) == bad and not trouble.is_hopeless(bad)
    trouble.asked(ENTRIES[before:], many=False)
    assert trouble.blamed(LOST) == bad and trouble.is_hopeless(bad)
    assert not any(trouble.is_hopeless(key) for key in KEYS if key != bad)


def test_breaks_among_many_in_flight_are_not_enough_but_those_of_the_last_one_are() -> None:
    trouble = Trouble()
    for _ in range(5):
        session(trouble, 0, many=True)
        assert trouble.blamed(LOST) == KEYS[0] and not trouble.is_hopeless(KEYS[0])
    trouble.asked(ENTRIES[:1], many=True)
    assert trouble.blamed(LOST) == KEYS[0] and trouble.is_hopeless(KEYS[0])


def in_vain(trouble: Trouble, breaks: int, entries: list[MaildropEntry]) -> list[bool]:
    """Sessions that get nothing at all; whether each was put down to its message."""
    verdicts = []
    for _ in range(breaks):
        trouble.asked(trouble.last_of_all(entries), many=False)
        trouble.blamed(LOST)
        verdicts.append(trouble.is_its_own)
    return verdicts


MANY = [MaildropEntry(MessageNumber(n), UniqueId(f"many-{n}"), 100 + n) for n in range(1, 101)]
KNOWN = [MaildropEntry(MessageNumber(n), UniqueId(f"known-{n}"), 1000 - n) for n in range(101, 104)]


def test_breaks_in_one_message_after_another_are_theirs_up_to_a_bound() -> None:
    assert in_vain(Trouble(), MOST_IN_VAIN + 2, MANY) == [True] * MOST_IN_VAIN + [False] * 2


def test_breaks_in_vain_are_looked_for_all_over_the_listing() -> None:
    trouble, begun_with = Trouble(), []
    for _ in range(6):
        begun_with.append(int(trouble.last_of_all(MANY)[0].number))
        in_vain(trouble, 1, MANY)
    assert begun_with[0] == 1 and all(any(abs(n - place) < 5 for n in begun_with) for place in (25, 50, 75)), begun_with
    assert sorted(trouble.last_of_all(MANY)) == MANY, "each of them once"


def test_after_several_breaks_in_vain_a_known_message_is_to_show_that_the_server_is_well() -> None:
    trouble = Trouble()
    in_vain(trouble, IN_VAIN - 1, MANY)
    assert trouble.proof(KNOWN) == []
    in_vain(trouble, 1, MANY)
    (proof,) = trouble.proof(KNOWN)
    assert proof.octets == min(entry.octets for entry in KNOWN) and trouble.is_proof(key(proof))
    trouble.asked([proof, *MANY], many=False)
    trouble.begin(key(proof))
    trouble.over()
    assert trouble.blamed(LOST) == key(MANY[0]) and trouble.is_its_own
    assert trouble.proof(KNOWN) == [], "the server is well"


def test_a_proof_that_breaks_the_connection_speaks_against_the_server() -> None:
    trouble = Trouble()
    in_vain(trouble, IN_VAIN, MANY)
    proofs = []
    for _ in KNOWN:
        proofs += trouble.proof(KNOWN)
        trouble.asked([proofs[-1], *MANY], many=False)
        assert trouble.blamed(LOST) == key(proofs[-1])
        assert not trouble.is_its_own and not trouble.is_hopeless(key(proofs[-1]))
    assert len(set(proofs)) == len(KNOWN), "another one each time"


def test_a_break_after_others_came_in_may_be_the_lines() -> None:
    trouble = Trouble()
    session(trouble, 3)
    trouble.blamed(LOST)
    assert not trouble.is_its_own


def test_header_sections_that_come_only_one_by_one_show_a_lie() -> None:
    for errors in ([GARBAGE], [SILENT], [LOST, LOST]):
        trouble = Trouble()
        assert [trouble.heads_broke(error, many=True) for error in errors][-1]  # type: ignore[arg-type]
        trouble.heads_came(many=True)
        assert not trouble.lied
        trouble.heads_came(many=False)
        assert trouble.lied


def test_header_sections_that_break_once_show_nothing() -> None:
    trouble = Trouble()
    assert not trouble.heads_broke(LOST, many=True) and not trouble.heads_broke(SILENT, many=False)
    trouble.heads_came(many=False)
    assert not trouble.lied


@pytest.mark.parametrize("begun", [False, True])
def test_a_line_that_breaks_after_something_came_in_is_not_the_messages_fault(begun: bool) -> None:
    trouble = Trouble()
    for _ in range(10):
        session(trouble, 1, begun=begun)
        assert trouble.blamed(LOST) == KEYS[1]
    assert not trouble.is_hopeless(KEYS[1])


def test_what_earlier_runs_have_parked_comes_last_and_is_hopeless_at_once() -> None:
    trouble = Trouble()
    trouble.expect([KEYS[0]])
    assert trouble.last_of_all(ENTRIES)[-1] is ENTRIES[0] and not trouble.is_hopeless(KEYS[0])
    session(trouble, 0)
    assert trouble.blamed(LOST) == KEYS[0] and trouble.is_hopeless(KEYS[0])
    assert trouble.is_expected(KEYS[0]) and not trouble.is_expected(KEYS[1])


def lied(error: Exception, *, many: bool = True, begun: bool = False, times: int = 1) -> bool:
    """Whether the server is taken for a liar when what broke with `error` comes in alone afterwards."""
    trouble = Trouble()
    for _ in range(times):
        session(trouble, 2, many=many, begun=begun)
        trouble.blamed(error)  # type: ignore[arg-type]
    session(trouble, 6, many=False)
    return trouble.lied


def test_what_comes_in_alone_after_nonsense_or_silence_shows_a_lie() -> None:
    assert lied(GARBAGE) and lied(SILENT) and lied(LOST, times=2)
    assert not lied(SILENT, begun=True) and not lied(LOST) and not lied(GARBAGE, many=False)


def test_a_liar_is_not_shown_by_more_of_the_same_or_by_another_message() -> None:
    trouble = Trouble()
    session(trouble, 2)
    trouble.blamed(GARBAGE)
    session(trouble, 6, many=True)
    session(trouble, 2, many=False)
    assert not trouble.lied


@pytest.mark.parametrize(
    ("error", "many", "begun", "expected"),
    [
        (GARBAGE, True, False, True),
        (GARBAGE, True, True, True),
        (GARBAGE, False, False, False),
        (SILENT, True, False, True),
        (SILENT, True, True, False),
        (SILENT, False, False, False),
        (LOST, True, False, False),
    ],
)
def test_when_replies_may_be_out_of_step(error: ConnectionLost, many: bool, begun: bool, expected: bool) -> None:
    trouble = Trouble()
    session(trouble, 2, many=many, begun=begun)
    assert trouble.out_of_step(error) is expected


def refusals(trouble: Trouble, *errors: MessageRejected) -> list[bool]:
    """One after the other, from the first entry on."""
    trouble.asked(ENTRIES, many=True)
    return [trouble.refused(identity, error) for identity, error in zip(KEYS, errors, strict=False)]


def test_two_refusals_in_a_row_for_now_are_about_the_maildrop() -> None:
    trouble = Trouble()
    assert refusals(trouble, BROKEN, QUOTA, QUOTA) == [False, False, True]
    assert trouble.postponed() == KEYS[1:3]
    assert [entry.number for entry in trouble.last_of_all(ENTRIES)] == [1, 4, 5, 6, 2, 3]


def test_refusals_of_other_kinds_or_apart_are_about_messages() -> None:
    assert refusals(Trouble(), BROKEN, BROKEN, QUOTA, BROKEN, QUOTA) == [False] * 5
    trouble = Trouble()
    trouble.asked(ENTRIES, many=True)
    said = []
    for identity in KEYS[:4]:
        said.append(trouble.refused(identity, QUOTA))
        trouble.begin(identity)
        trouble.over()
    assert said == [False] * 4


def test_postponed_messages_that_are_refused_after_others_came_in_are_at_fault_themselves() -> None:
    trouble = Trouble()
    assert refusals(trouble, QUOTA, QUOTA)[-1]
    trouble.postponed()
    assert refusals(trouble, QUOTA, QUOTA)[-1], "nothing came in: still the quota"
    trouble.postponed()
    session(trouble, 3)
    assert refusals(trouble, QUOTA, QUOTA) == [False, False]


def test_a_refusal_right_before_a_break_is_forgiven_once() -> None:
    trouble = Trouble()
    for expected in ([KEYS[0]], []):
        refusals(trouble, BROKEN)
        assert trouble.forgiven() == expected


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("SYS/TEMP", "", True),
        ("", "Download exceed. msg=10", True),
        ("", "Quota reached", True),
        ("SYS/PERM", "exceeds", False),
        ("", "no such message", False),
        ("", "", False),
    ],
)
def test_which_words_ask_for_patience(code: str, text: str, expected: bool) -> None:
    assert is_for_now(MessageRejected("no", server_text=text, code=code)) is expected
