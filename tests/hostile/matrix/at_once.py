"""Servers that take one command at a time, whatever they announce, and show it when they are asked for their listing.

Strategy: CAPA, STAT, UIDL and LIST go out together after the login where PIPELINING is announced. Whatever goes wrong
with that, nothing of it is believed, and one further login asks them one after the other; the mail is archived under
its own ids, with its own sizes, and is known in the next run.
"""

from __future__ import annotations

from tests.hostile.peer import Quirks, Rule, Then, without
from tests.hostile.scenario import SHORT, Ended, Run, Scenario, usual

SIX = usual(6)
UIDS = b"".join(b"%d %s\r\n" % (n, x.unique_id.encode()) for n, x in enumerate(SIX, 1))


def two_logins(ended: Ended) -> None:
    assert len(ended.sessions) == 2, [x.commands for x in ended.sessions]


def and_many_at_a_time(ended: Ended) -> None:
    """The messages themselves are asked for as ever."""
    two_logins(ended)
    assert ended.sessions[-1].window > 1


def one_login(ended: Ended) -> None:
    assert len(ended.sessions) == 1, [x.commands for x in ended.sessions]


def false_listing(name: str, *rules: Rule, **options: object) -> Scenario:
    first = Run({"stored": 6}, check=and_many_at_a_time, logins=2)
    later = Run({"already_archived": 6}, check=two_logins, logins=2)
    return Scenario(name, SIX, Quirks(rules=rules), [first, later], options=options)


def waiting(command: str, reply: bytes, then: Then = Then.GO_ON) -> Rule:
    return Rule(command, reply, then, crowded=True)


SCENARIOS = [
    false_listing("listing-at-once-ends-the-connection", waiting("CAPA", b"", Then.CLOSE)),
    false_listing("listing-at-once-resets-the-connection", waiting("STAT", b"", Then.RESET)),
    false_listing("listing-at-once-loses-a-reply", waiting("UIDL", b""), timeout=SHORT),
    false_listing("listing-at-once-falls-silent", waiting("UIDL", b"", Then.STALL), timeout=SHORT),
    false_listing("listing-at-once-answers-with-an-empty-line", waiting("STAT", b"\r\n")),
    false_listing("listing-at-once-answers-twice", waiting("STAT", b"+OK 6 100\r\n+OK 6 100\r\n")),
    false_listing("listing-at-once-mixes-up-its-replies", waiting("STAT", b"+OK\r\n" + UIDS + b".\r\n")),
    false_listing("listing-at-once-refuses-stat", waiting("STAT", b"-ERR one thing at a time\r\n")),
    Scenario(
        "listing-at-once-refuses-uidl",
        SIX,
        Quirks(rules=[waiting("UIDL", b"-ERR one thing at a time\r\n")]),
        [Run({"stored": 6}, check=one_login), Run({"already_archived": 6}, check=one_login)],
    ),
    Scenario(
        "listing-step-by-step-without-pipelining",
        SIX,
        Quirks(rules=[waiting(".*", b"", Then.CLOSE)], capabilities=without("PIPELINING")),
        [Run({"stored": 6}, check=one_login), Run({"already_archived": 6}, check=one_login)],
    ),
]
