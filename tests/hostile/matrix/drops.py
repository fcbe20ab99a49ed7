"""Connections that end, or fall silent, wherever that hurts: the run goes on in another session and ends complete.

Strategy: the same maildrop each time, and one rule that ends the connection once. What was stored before is not asked
for again, and nothing is ended by QUIT that is not stored. A message that ends the connection every time is parked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from tests.hostile.peer import Quirks, Rule, Then, cut, without
from tests.hostile.scenario import PARTIAL, SHORT, TRY_AGAIN, Ended, Run, Scenario, complete, usual

SIX = usual(6)
EXCHANGES = 30
QUICK = {"timeout": SHORT}
ONE_BY_ONE = without("PIPELINING")


def without_quit(ended: Ended) -> None:
    """No session but the last two said QUIT, and nothing was retrieved twice that had come in whole."""
    assert "QUIT" not in ended.sessions[0].verbs
    assert ended.asked("RETR 1") == 1


def in_one_go(ended: Ended) -> None:
    """Nothing was taken for a reason to ask again, or more slowly."""
    assert len(ended.sessions) == 1 and ended.sessions[0].window > 1


def once(name: str, rule: Rule, tls: str = "", **options: object) -> Scenario:
    """The connection breaks once, in the fourth message."""
    first = Run({"stored": 6}, check=without_quit)
    return Scenario(name, SIX, Quirks(rules=[rule]), [first, Run({"already_archived": 6})], tls=tls, options=options)


IN_MID_MESSAGE = [
    once("drop-fin-in-mid-message", cut("RETR 4", 20, Then.CLOSE)),
    once("drop-rst-in-mid-message", cut("RETR 4", 20, Then.RESET)),
    once("drop-tls-close-notify-in-mid-message", cut("RETR 4", 20, Then.GOODBYE), "pop3s"),
    once("drop-tls-cut-in-mid-message", cut("RETR 4", 20, Then.CLOSE), "pop3s"),
    once("drop-tls-rst-in-mid-message", cut("RETR 4", 20, Then.RESET), "pop3s"),
    once("drop-stls-cut-in-mid-message", cut("RETR 4", 20, Then.CLOSE), "stls"),
    once("drop-right-behind-the-last-line-end", cut("RETR 4", len(SIX[3].body), Then.CLOSE)),
    once("drop-in-the-terminator", cut("RETR 4", len(SIX[3].body) + 2, Then.CLOSE)),
    once("stall-in-mid-message", cut("RETR 4", 20, Then.STALL), **QUICK),
    once("stall-before-a-reply", Rule("RETR 4", then=Then.STALL, after=0, times=1), **QUICK),
]

AT_QUIT = [
    Scenario("stall-at-quit", SIX, Quirks(rules=[Rule("QUIT", reply=b"", then=Then.STALL)]), complete(6),
             options=QUICK),
    Scenario("drop-at-quit", SIX, Quirks(rules=[Rule("QUIT", reply=b"", then=Then.CLOSE)]), complete(6)),
    Scenario("rst-at-quit", SIX, Quirks(rules=[Rule("QUIT", reply=b"", then=Then.RESET)]), complete(6)),
    Scenario("quit-is-refused", SIX, Quirks(rules=[Rule("QUIT", reply=b"-ERR no\r\n")]), complete(6)),
    Scenario("quit-is-answered-by-garbage", SIX, Quirks(rules=[Rule("QUIT", reply=b"ciao\r\n")]),
             [Run({"stored": 6}, check=in_one_go),
              Run({"already_archived": 6, "stored": 2}, letters=usual(8), check=in_one_go)],
             [(x.unique_id, x.body) for x in usual(8)]),
]  # fmt: skip

BAD_LINES = [
    Scenario("drop-behind-every-third-message", usual(12),
             Quirks(rules=[Rule(exchange=11, then=Then.CLOSE, reply=b"")]), complete(12)),
    Scenario("drop-before-every-second-message", SIX,
             Quirks(rules=[Rule(exchange=9, then=Then.CLOSE, reply=b"")], capabilities=ONE_BY_ONE), complete(6)),
]  # fmt: skip


def poison(name: str, rules: list[Rule], bad: int = 1, **options: object) -> Scenario:
    """Messages 3 and on, `bad` of them, break the connection each time: parked; all others come in, in the same run."""
    ids = [x.unique_id for x in SIX[2 : 2 + bad]]
    first = Run({"stored": 6 - bad, "parked": bad}, PARTIAL, named={"parked": ids})

    def once_each(ended: Ended) -> None:
        assert len(ended.sessions) <= bad + 1, f"{len(ended.sessions)} sessions for {bad} known to break them"

    later = Run({"already_archived": 6 - bad, "parked": bad}, PARTIAL, named={"parked": ids}, check=once_each)
    stored = [(x.unique_id, x.body) for x in SIX if x.unique_id not in ids]
    return Scenario(name, SIX, Quirks(rules=rules, **options), [first, later], stored)  # type: ignore[arg-type]


def ends(numbers: str, then: Then = Then.CLOSE, reply: bytes | None = b"", **options: int) -> list[Rule]:
    return [Rule(f"RETR [{numbers}]", reply, then, **options)]


POISON = [
    poison("poison-ends-in-mid-message", ends("3", reply=None, after=20)),
    poison("poison-ends-before-its-reply", ends("3")),
    poison("poison-ends-before-its-reply-one-by-one", ends("3"), capabilities=ONE_BY_ONE),
    poison("poison-is-answered-by-garbage", ends("3", Then.GO_ON, b"Segmentation fault\r\n")),
    poison("poison-is-answered-by-garbage-one-by-one", ends("3", Then.GO_ON, b"oops\r\n"), capabilities=ONE_BY_ONE),
    poison("poison-of-two-neighbours", ends("34"), 2),
    poison("poison-of-two-neighbours-answered-by-garbage", ends("34", Then.GO_ON, b"\r\n"), 2),
]

OTHERS = 20


def poisoned(name: str, bad: Collection[int], others: int = OTHERS, **rule: object) -> Scenario:
    """So many messages have these numbers and break the connection: parked, at two sessions each; all others come in.

    Those that were parked cost the next run one session each. In the last run the server is mended.
    """
    letters = usual(len(bad) + others)
    ids = [f"uid-{n}" for n in sorted(bad)]
    rules = [Rule(f"RETR ({'|'.join(map(str, bad))})", then=Then.CLOSE, **rule)]  # type: ignore[arg-type]
    stored = {"stored": others} if others else {}
    known = {"already_archived": others} if others else {}
    runs = [
        Run(stored | {"parked": len(bad)}, PARTIAL, named={"parked": ids}, check=at_most(2 * len(bad) + 3)),
        Run(known | {"parked": len(bad)}, PARTIAL, named={"parked": ids}, check=at_most(len(bad) + 1)),
        Run(known | {"stored": len(bad)}, quirks=Quirks()),
    ]
    return Scenario(name, letters, Quirks(rules=rules), runs)


def at_most(sessions: int) -> Callable[[Ended], None]:
    def check(ended: Ended) -> None:
        assert len(ended.sessions) <= sessions, f"{len(ended.sessions)} sessions, not {sessions} at most"

    return check


BEFORE, MIDWAY = {"reply": b""}, {"after": 20}
IN_A_ROW = [
    poisoned(f"poison-of-{count:02}-{where}{how}", range(first, first + count), **rule)
    for count in (1, 6, 12)
    for where, first in (("at-the-start", 1), ("in-the-middle", OTHERS // 2), ("at-the-end", OTHERS + 1))
    for how, rule in (("", BEFORE), ("-in-mid-message", MIDWAY))
]
ANYWHERE = [
    poisoned("poison-of-every-second-of-24", range(1, 24, 2), 12, **BEFORE),
    poisoned("poison-before-the-only-good-one", range(1, 13), 1, **BEFORE),
    poisoned("poison-of-all-6", range(1, 7), 0, **BEFORE),
    poisoned("poison-of-all-25", range(1, 26), 0, **MIDWAY),
]

# ---- A server that is dead, and no message to blame for it

DEAD = Quirks(rules=[Rule("RETR .*", reply=b"", then=Then.CLOSE)])


def dead(name: str, command: str) -> Scenario:
    """Every connection ends at this command: 75 after the usual tries, and nothing is parked."""
    quirks = Quirks(rules=[Rule(command, reply=b"", then=Then.CLOSE)])
    return Scenario(name, SIX, quirks, [Run({}, TRY_AGAIN, check=at_most(12))], [])


DEAD_SERVERS = [
    dead("dead-at-stat", "STAT"),
    dead("dead-at-list", "LIST"),
    Scenario("dead-at-retr-of-a-large-maildrop", usual(200), DEAD,
             [Run({"pending": 200}, TRY_AGAIN, check=at_most(70)), Run({"stored": 200}, quirks=Quirks())]),
    Scenario("dead-at-retr-after-a-better-day", usual(240),
             runs=[Run({"stored": 200}, letters=usual(200)),
                   Run({"already_archived": 200, "pending": 40}, TRY_AGAIN, letters=usual(240), quirks=DEAD,
                       check=at_most(12)),
                   Run({"already_archived": 200, "stored": 40}, quirks=Quirks())]),
]  # fmt: skip

EVERYWHERE = [
    Scenario(
        f"drop-at-exchange-{number:02}",
        usual(25),
        Quirks(rules=[Rule(exchange=number, session=1, reply=b"", then=Then.CLOSE)]),
        [Run({"stored": 25})],
    )
    for number in range(1, EXCHANGES + 1)
]
"""CAPA, USER, PASS, CAPA, STAT, UIDL, LIST, 25 times RETR, QUIT: the first 30 of them end the connection, in turn."""

SCENARIOS = [
    *(*IN_MID_MESSAGE, *AT_QUIT, *BAD_LINES, *POISON, *IN_A_ROW, *ANYWHERE, *DEAD_SERVERS, *EVERYWHERE),
]
