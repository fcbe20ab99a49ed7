"""Why a server refuses a message: by its status code, else by its words, else by its reply code."""

from __future__ import annotations

import pytest

from mailmove.jobs.relay_refusals import cause_of, is_too_many
from mailmove.model import Reply
from mailmove.repairs import Repair

SAID = [
    (Reply(552, "5.3.4", "Message too big for system"), "size"),
    (Reply(552, "5.2.3", "x"), "size"),
    (Reply(554, "", "Message size exceeds fixed maximum message size"), "size"),
    (Reply(552, "", ""), "size"),
    (Reply(550, "5.1.1", "<me@new.example> User doesn't exist: me"), "no-such-user"),
    (Reply(550, "", "Requested action not taken: mailbox unavailable"), "no-such-user"),
    (Reply(551, "", "User not local"), "no-such-user"),
    (Reply(550, "5.2.1", "disabled"), "mailbox-disabled"),
    (Reply(552, "5.2.2", "Mailbox is full"), "quota"),
    (Reply(554, "", "Quota exceeded (mailbox for user is full)"), "quota"),
    (Reply(550, "5.7.1", "This message is spam"), "spam"),
    (Reply(550, "5.7.26", "Unauthenticated email is not accepted"), "policy"),
    (Reply(550, "5.7.1", "Virus found"), "virus"),
    (Reply(554, "5.7.1", "<x@y.example>: Relay access denied"), "relay-denied"),
    (Reply(554, "5.4.6", "too many hops"), "loop"),
    (Reply(550, "5.6.11", "bare <LF> received after DATA"), "bare-newlines"),
    (Reply(550, "", "Bare newlines are not allowed"), "bare-newlines"),
    (Reply(554, "5.6.0", "NUL characters are not allowed"), "nul"),
    (Reply(500, "", "Line too long"), "long-lines"),
    (Reply(553, "5.7.1", "Sender address rejected: not owned by user me"), "sender"),
    (Reply(554, "5.0.0", "Duplicate header 'Delivered-To'"), "duplicate"),
    (Reply(554, "", "Transaction failed"), "refused"),
]


@pytest.mark.parametrize(("reply", "cause"), SAID)
def test_a_refusal_has_a_cause(reply: Reply, cause: str) -> None:
    assert cause_of(reply) == cause


def test_causes_that_can_be_repaired_are_words_of_repair() -> None:
    assert {cause for _, cause in SAID} >= {Repair.NUL.value, Repair.BARE_NEWLINES.value, Repair.LONG_LINES.value}


@pytest.mark.parametrize(
    ("reply", "late"),
    [
        (Reply(452, "4.5.3", "Error: too many recipients"), True),
        (Reply(452, "", "Too many recipients"), True),
        (Reply(552, "5.5.3", "Too many recipients"), True),
        (Reply(452, "4.3.1", "Insufficient system storage"), False),
        (Reply(452, "4.2.2", "Mailbox full"), False),
        (Reply(450, "4.5.3", "no"), False),
        (Reply(250, "2.1.5", "Ok"), False),
    ],
)
def test_who_came_too_late_is_told_from_who_is_not_wanted_now(reply: Reply, late: bool) -> None:
    assert is_too_many(reply) is late
