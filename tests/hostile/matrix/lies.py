"""Servers that announce what they cannot do, answer too much or too little, or know half of POP3.

Strategy: a lie about PIPELINING shows only when commands wait (`crowded`), so the same server is honest to a client
that asks one thing at a time. Wherever the replies went, each message is archived under its own unique id in the end.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.hostile.peer import Letter, Quirks, Rule, Then, refuse, without
from tests.hostile.scenario import (
    CONFIGURATION,
    SHORT,
    TRY_AGAIN,
    Ended,
    Run,
    Scenario,
    complete,
    says,
    text,
    usual,
)

EIGHT = usual(8)
EQUAL = [Letter(f"uid-{n}", text(f"m{n}")) for n in range(1, 9)]
"""All of one size, so that no size tells one from another."""
LATE = [Letter("late-1", text("late", 20)), Letter("late-2", text("late", 21))]
QUICK = {"timeout": SHORT}
REPLY, END = b"+OK\r\n", b".\r\n"


def one_by_one(ended: Ended) -> None:
    """It was seen to lie, and asked one thing at a time from then on."""
    assert ended.sessions[0].window > 1 and ended.sessions[-1].window == 1
    assert len(ended.sessions) <= 4, f"{len(ended.sessions)} sessions"


def from_the_start(ended: Ended) -> None:
    """What this maildrop's server is worth was remembered."""
    assert {session.window for session in ended.sessions} == {1} and ended.report["retries"] == 0


def booked(letters: list[Letter], **bodies: int) -> list[tuple[str, bytes]]:
    """Under which unique id the body of which letter came first: kept, beside the right one."""
    return [(unique_id.replace("_", "-"), letters[number - 1].body) for unique_id, number in bodies.items()]


def false_pipelining(
    name: str, rules: list[Rule], letters: list[Letter] = EIGHT, wrong: list[tuple[str, bytes]] | None = None,
    twice: int = 0, **quirks: object,
) -> Scenario:  # fmt: skip
    """Everything comes in, with window 1 in the end, and in the next run with window 1 from the start.

    `wrong` is what came in under a wrong unique id at first; `twice` of it came in once more as another message.
    """
    first = {"stored": len(letters) - twice} | ({"duplicate_content": twice} if twice else {})
    later = Run({"stored": 2, "already_archived": len(letters)}, letters=[*letters, *LATE], check=from_the_start)
    archived = [*((x.unique_id, x.body) for x in (*letters, *LATE)), *(wrong or [])]
    options = Quirks(rules=rules, **quirks)  # type: ignore[arg-type]
    return Scenario(name, letters, options, [Run(first, check=one_by_one), later], archived, options=QUICK)


def crowded(command: str, reply: bytes) -> Rule:
    return Rule(command, reply=reply, crowded=True)


def merged(first: int, letters: list[Letter]) -> list[Rule]:
    """The replies to two RETRs as one."""
    one, two = letters[first - 1].body, letters[first].body
    return [crowded(f"RETR {first}", REPLY + one), crowded(f"RETR {first + 1}", two + END)]


def only_then(name: str, rules: list[Rule], wrong: list[tuple[str, bytes]] | None = None) -> Scenario:
    """A lie that shows in one message only, and puts nothing out of step: all come in, nothing is to be remembered."""
    archived = [*((x.unique_id, x.body) for x in EIGHT), *(wrong or [])]
    return Scenario(name, EIGHT, Quirks(rules=rules), complete(8), archived)


ONE_LOST = {"uid_3": 4, "uid_4": 5, "uid_5": 6, "uid_6": 7, "uid_7": 8}
THREE, FIVE = REPLY + EIGHT[2].body, REPLY + EIGHT[4].body
EQUAL_THREE = REPLY + EQUAL[2].body + END

PIPELINING = [
    false_pipelining("pipelining-forgets-what-waits", [], forgets_pipelined=True),
    false_pipelining("pipelining-answers-one-of-three", [crowded("RETR [235678]", b"")],
                     EIGHT, booked(EIGHT, uid_2=4, uid_3=8), 2),
    false_pipelining("pipelining-loses-one-reply", [crowded("RETR 3", b"")], EIGHT, booked(EIGHT, **ONE_LOST), 1),
    false_pipelining("pipelining-loses-one-reply-among-equals", [crowded("RETR 3", b"")],
                     EQUAL, booked(EQUAL, **ONE_LOST), 1),
    false_pipelining("pipelining-loses-three-replies-among-equals", [crowded("RETR [247]", b"")],
                     EQUAL, booked(EQUAL, uid_2=3, uid_3=5, uid_4=6, uid_5=8), 2),
    false_pipelining("pipelining-merges-two-replies", merged(2, EIGHT), EIGHT,
                     [("uid-2", EIGHT[1].body + EIGHT[2].body), *booked(EIGHT, **ONE_LOST)], 1),
    false_pipelining("pipelining-answers-twice-among-equals", [crowded("RETR 3", EQUAL_THREE * 2)],
                     EQUAL, booked(EQUAL, uid_4=3, uid_5=4, uid_6=5, uid_7=6, uid_8=7), 1),
    false_pipelining("pipelining-answers-with-an-empty-line", [crowded("RETR 3", b"\r\n")]),
    false_pipelining("pipelining-answers-with-a-dot", [crowded("RETR 3", END)]),
    false_pipelining("pipelining-answers-with-a-word", [crowded("RETR 3", b"what?\r\n" + THREE + END)]),
    only_then("pipelining-says-ok-twice", [crowded("RETR 3", REPLY + THREE + END)], [("uid-3", THREE)]),
    only_then("pipelining-says-ok-twice-for-two",
              [crowded("RETR 3", REPLY + THREE + END), crowded("RETR 5", REPLY + FIVE + END)],
              [("uid-3", THREE), ("uid-5", FIVE)]),
    only_then("pipelining-says-ok-twice-behind-a-message", [crowded("RETR 3", THREE + END + REPLY)],
              [("uid-4", b"+OK %d octets\r\n" % len(EIGHT[3].body) + EIGHT[3].body)]),
    only_then("pipelining-ends-the-connection", [Rule("RETR 3", b"", Then.CLOSE, crowded=True)]),
    only_then("pipelining-ends-the-connection-always", [Rule("RETR .*", b"", Then.CLOSE, crowded=True)]),
    only_then("pipelining-resets-the-connection-always", [Rule("RETR .*", b"", Then.RESET, crowded=True)]),
]  # fmt: skip

GONE = [Rule(".*", b"", Then.CLOSE, session=number) for number in range(2, 40)]
"""From the second session on."""


def out_of_step(ended: Ended) -> None:
    """Why they are suspect is told as it is: all sizes fit."""
    reasons = [item["reason"] for item in ended.report["exceptions"] if item["kind"] == "suspect"]
    assert len(reasons) == 7 and all("out of step" in reason and "size" not in reason for reason in reasons), reasons


def no_retr(ended: Ended) -> None:
    assert all("RETR" not in session.verbs for session in ended.sessions)


NO_SECOND_LOOK = [
    Scenario("pipelining-loses-one-reply-and-the-server-is-gone", EQUAL,
             Quirks(rules=[crowded("RETR 3", b""), *GONE]),
             [Run({"stored": 7, "pending": 1, "suspect": 7}, TRY_AGAIN, check=out_of_step),
              Run({"already_archived": 7, "duplicate_content": 1}, quirks=Quirks()),
              Run({"already_archived": 8}, check=no_retr)],
             [*((x.unique_id, x.body) for x in EQUAL), *booked(EQUAL, **ONE_LOST)], options=QUICK),
]  # fmt: skip
"""What came in under a wrong id is found out by the next run, which has the right one then."""


# ---- A lie about PIPELINING that shows when headers are asked for (design.md 6.7)

MOVED = [Letter(f"old-{n}", text(f"moved-{n}", 40)) for n in range(10, 50)]
RENAMED = [Letter(x.unique_id.replace("old", "new"), x.body) for x in MOVED]
AND_ONE_MORE = [*RENAMED, Letter("new-50", text("moved-50", 40))]
"""The last of them is not archived; all are of one size."""


def top_reply(letter: Letter) -> bytes:
    return REPLY + letter.body.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + END


def false_top(name: str, rule: Rule | None = None, letters: list[Letter] = RENAMED, **quirks: object) -> Scenario:
    """The server was moved, and has given all messages new ids; what it says to many TOPs at a time is not believed.

    In the next run it is asked one thing at a time from the start.
    """
    new = len(letters) - len(MOVED)
    found = {"already_archived": 40} | ({"stored": new} if new else {})
    lies = Quirks(rules=[rule] if rule else [], **quirks)  # type: ignore[arg-type]
    runs = [
        Run({"stored": 40}),
        Run(found, letters=letters, quirks=lies, check=few_retrieved(new)),
        Run({"already_archived": len(letters), "stored": 2}, letters=[*letters, *LATE], check=from_the_start),
    ]
    archived = [(x.unique_id, x.body) for x in (*MOVED, *letters, *LATE)]
    return Scenario(name, MOVED, runs=runs, archived=archived, options=QUICK)


def few_retrieved(new: int) -> Callable[[Ended], None]:
    def check(ended: Ended) -> None:
        retrieved = sum(session.verbs.count("RETR") for session in ended.sessions)
        assert retrieved <= new + 1 and len(ended.sessions) <= 4, f"{retrieved}, in {len(ended.sessions)} sessions"

    return check


def only_window_one(ended: Ended) -> None:
    assert {session.window for session in ended.sessions} == {1} and "TOP" in ended.sessions[0].verbs


TOPS = [
    false_top("top-loses-one-reply", crowded("TOP 3 0", b"")),
    false_top("top-forgets-what-waits", forgets_pipelined=True),
    false_top("top-ends-the-connection", Rule("TOP .*", b"", Then.CLOSE, crowded=True)),
    false_top("top-answers-with-a-word", crowded("TOP 3 0", b"what?\r\n")),
    false_top("top-answers-twice-before-a-new-message", crowded("TOP 3 0", top_reply(RENAMED[2]) * 2), AND_ONE_MORE),
    Scenario("top-from-a-server-that-has-lied-about-retr", MOVED, Quirks(rules=[crowded("RETR 3", b"\r\n")]),
             [Run({"stored": 40}, check=one_by_one),
              Run({"already_archived": 40}, letters=RENAMED, quirks=Quirks(), check=only_window_one)],
             [(x.unique_id, x.body) for x in (*MOVED, *RENAMED)]),
]  # fmt: skip

ALWAYS = [
    Scenario(
        "ok-twice-to-user",
        EIGHT,
        Quirks(rules=[says("USER .*", "+OK\r\n+OK")], capabilities=without("SASL PLAIN")),
        [Run({}, TRY_AGAIN, logins=0)],
        [],
    ),
]


def never_in_the_open(ended: Ended) -> None:
    for session in ended.sessions:
        assert session.secured or {"USER", "PASS", "AUTH"}.isdisjoint(session.verbs), session.commands


INJECTED = Quirks(after_stls=b"+OK injected\r\n+OK injected\r\n")
HALF_A_LINE = Quirks(after_stls=b"+")
NO_CAPA = Quirks(capabilities=None)

CAPA = [
    Scenario("capa-is-refused", EIGHT, NO_CAPA, complete(8)),
    Scenario("capa-hangs", EIGHT, Quirks(rules=[Rule("CAPA", reply=b"")]), complete(8), options=QUICK),
    Scenario("capa-hangs-behind-the-login", EIGHT, Quirks(rules=[Rule("CAPA", reply=b"", exchange=4)]), complete(8),
             options=QUICK),
    Scenario("capa-ends-the-connection", EIGHT, Quirks(rules=[Rule("CAPA", reply=b"", then=Then.CLOSE)]), complete(8)),
    Scenario("capa-resets-the-connection", EIGHT, Quirks(rules=[Rule("CAPA", reply=b"", then=Then.RESET)]),
             complete(8)),
    Scenario("capa-is-answered-by-garbage", EIGHT, Quirks(rules=[says("CAPA", "what?")]), complete(8)),
    Scenario("capa-of-nothing", EIGHT, Quirks(capabilities=()), complete(8)),
    Scenario("capa-in-lower-case-with-blanks", EIGHT,
             Quirks(capabilities=["  top ", "uidl", "pipelining  ", "", "x-odd \xff"]), complete(8)),
    Scenario("only-rfc-1939-and-uidl", EIGHT, Quirks(capabilities=None, without=["TOP", "NOOP", "RSET"]), complete(8)),
]  # fmt: skip

STLS = [
    Scenario("stls-works", EIGHT, runs=[Run({"stored": 8}, check=never_in_the_open), *complete(8)[1:]], tls="stls"),
    Scenario("stls-is-advertised-and-refused", EIGHT, Quirks(rules=[refuse("STLS", "-ERR no TLS today")]),
             [Run({}, TRY_AGAIN, logins=0, check=never_in_the_open)], [], tls="stls"),
    Scenario("stls-is-advertised-and-unknown", EIGHT, Quirks(rules=[says("STLS", "what?")]),
             [Run({}, TRY_AGAIN, logins=0)], [], tls="stls"),
    Scenario("stls-is-not-advertised", EIGHT, Quirks(capabilities=()),
             [Run({}, CONFIGURATION, logins=0)], [], options={"allow_plaintext": False}),
    Scenario("stls-without-capa", EIGHT, NO_CAPA, [Run({}, CONFIGURATION, logins=0)], [],
             options={"allow_plaintext": False}),
    Scenario("stls-octets-injected-behind-its-ok", EIGHT, INJECTED, [Run({}, TRY_AGAIN, logins=0)], [], tls="stls"),
    Scenario("stls-half-a-line-injected", EIGHT, HALF_A_LINE, [Run({}, TRY_AGAIN, logins=0)], [], tls="stls"),
]  # fmt: skip

GREETINGS = [
    Scenario("greeting-of-no-words", EIGHT, Quirks(greeting=b"+OK"), complete(8)),
    Scenario("greeting-in-lower-case", EIGHT, Quirks(greeting=b"+ok \xe4\xf6\xfc"), complete(8)),
    Scenario("greeting-refuses", EIGHT, Quirks(greeting=b"-ERR too many connections"), [Run({}, TRY_AGAIN, logins=0)],
             []),
    Scenario("greeting-of-smtp", EIGHT, Quirks(greeting=b"220 mail.example ESMTP"), [Run({}, TRY_AGAIN, logins=0)], []),
    Scenario("greeting-never-comes", EIGHT, Quirks(greeting=None), [Run({}, TRY_AGAIN, logins=0)], [], options=QUICK),
]  # fmt: skip

SCENARIOS = [*PIPELINING, *NO_SECOND_LOOK, *TOPS, *ALWAYS, *CAPA, *STLS, *GREETINGS]
