"""Servers that say no: what concerns one message parks that message, what asks for patience gets it, and a refused
password is never tried twice.

Strategy: the passwords that the server saw are counted, and the waits are written down instead of waited for. A server
that is busy for good ends the run with 75 when the patience is over, and nothing is lost by it.
"""

from __future__ import annotations

from tests.hostile.peer import Quirks, Rule, Then, refuse, without
from tests.hostile.scenario import (
    LOGIN_REFUSED,
    PARTIAL,
    SHORT,
    TRY_AGAIN,
    Ended,
    Run,
    Scenario,
    complete,
    says,
    usual,
)

SIX = usual(6)
PATIENCE = 900.0
LOGINS = "(PASS|AUTH) .*"
ONE_BY_ONE = without("PIPELINING")


def but(*numbers: int) -> list[tuple[str, bytes]]:
    """What is archived when these are not."""
    return [(x.unique_id, x.body) for n, x in enumerate(SIX, 1) if n not in numbers]


# ---- One message


def with_words(words: str) -> Run:
    """One is parked, and the report has the server's own words."""

    def check(ended: Ended) -> None:
        (item,) = (item for item in ended.report["exceptions"] if item["kind"] == "parked")
        assert words in item.get("server_text", ""), item
        assert ended.asked("RETR 3") == 1

    return Run({"stored": 5, "parked": 1}, PARTIAL, named={"parked": ["uid-3"]}, check=check)


def refused(name: str, reply: str | bytes, words: str, **quirks: object) -> Scenario:
    """RETR 3 is refused: parked; tried once more in the next run, and had there."""
    once_per_run = Run({"already_archived": 5, "parked": 1}, PARTIAL, check=tried_once)
    later = Run({"already_archived": 5, "stored": 1}, quirks=Quirks(**quirks))  # type: ignore[arg-type]
    first = Quirks(rules=[says("RETR 3", reply)], **quirks)  # type: ignore[arg-type]
    return Scenario(name, SIX, first, [with_words(words), once_per_run, later])


def tried_once(ended: Ended) -> None:
    assert ended.asked("RETR 3") == 1


ONE_MESSAGE = [
    refused("refused-one-retr", "-ERR broken index, sorry", "broken index, sorry"),
    refused("refused-one-retr-one-by-one", "-ERR no", "no", capabilities=ONE_BY_ONE),
    refused("refused-without-a-word", "-ERR", ""),
    refused("refused-in-latin-1", b"-ERR Nachricht besch\xe4digt", "beschädigt"),
    refused("refused-in-utf-8", "-ERR Nachricht beschädigt", "beschädigt"),
    refused("refused-in-gbk", b"-ERR " + "邮件已损坏".encode("gbk"), "\xd3\xca\xbc\xfe"),
    refused("refused-with-control-characters", b"-ERR \x1b[2J\x00\x07 gone", "gone"),
    refused("refused-with-sys-perm", "-ERR [SYS/PERM] lost on disk", "lost on disk"),
    refused("refused-with-sys-temp", "-ERR [SYS/TEMP] backend of this message", "backend of this message"),
    refused("refused-since-it-exceeds-a-limit", "-ERR message exceeds the maximum size", "exceeds"),
    Scenario("refused-all", SIX, Quirks(rules=[refuse("RETR .*", "-ERR I/O error")]),
             [Run({"parked": 6}, PARTIAL), Run({"stored": 6}, quirks=Quirks())]),
    Scenario("refused-the-last", SIX, Quirks(rules=[refuse("RETR 6")]),
             [Run({"stored": 5, "parked": 1}, PARTIAL), Run({"already_archived": 5, "stored": 1}, quirks=Quirks())]),
    Scenario("expunged-meanwhile", SIX, Quirks(expunged=["uid-3"]),
             [Run({"stored": 5, "gone": 1}, named={"gone": ["uid-3"]}), Run({"already_archived": 5})], but(3)),
    Scenario("expunged-all-meanwhile", SIX, Quirks(expunged=[x.unique_id for x in SIX]),
             [Run({"gone": 6}), Run({})], []),
]  # fmt: skip

# ---- The whole maildrop, for now


def waited(least: float, most: float) -> Run:
    def check(ended: Ended) -> None:
        assert least <= sum(ended.waits) <= most, ended.waits

    return Run({"stored": 6}, check=check)


def gave_up(ended: Ended) -> None:
    """Patient to the end, and not by asking again and again."""
    assert PATIENCE / 2 <= sum(ended.waits) <= PATIENCE * 1.1, ended.waits
    assert ended.logins <= 40, ended.logins


def busy(name: str, reply: str, times: int = 2, least: float = 1, most: float = 600) -> Scenario:
    """The login is refused this way a few times, then all is well."""
    runs = [waited(least, most), Run({"already_archived": 6})]
    return Scenario(name, SIX, Quirks(rules=[says(LOGINS, reply, times=times)]), runs)


def busy_for_good(name: str, reply: str) -> Scenario:
    """An archive is there from a better day; it stays as it was."""
    locked = Quirks(rules=[says(LOGINS, reply)])
    return Scenario(name, SIX, runs=[Run({"stored": 6}), Run({}, TRY_AGAIN, quirks=locked, check=gave_up)])


BUSY = [
    busy("busy-in-use", "-ERR [IN-USE] Do you have another POP session running?"),
    busy("busy-in-use-in-lower-case", "-ERR [in-use] locked"),
    busy("busy-login-delay-in-seconds", "-ERR [LOGIN-DELAY 300] come back later", 1, 300, 301),
    busy("busy-login-delay", "-ERR [LOGIN-DELAY] minimum time between mail checks violation"),
    busy("busy-sys-temp", "-ERR [SYS/TEMP] backend down"),
    busy("busy-locked-in-the-words-of-rfc-1939", "-ERR maildrop already locked"),
    busy("busy-unable-to-lock", "-ERR unable to lock maildrop"),
    busy("busy-mailbox-locked", "-ERR Mailbox is locked by POP server"),
    busy("busy-login-limit-of-exchange", "-ERR Exceeded the login limit for a 15 minute period. Reduce the frequency"),
    busy_for_good("locked-for-good", "-ERR [IN-USE] locked"),
    busy_for_good("sys-temp-for-good", "-ERR [SYS/TEMP] backend down"),
    Scenario("login-delay-in-capa-is-kept-between-sessions", SIX,
             Quirks(capabilities=[*without(), "LOGIN-DELAY 60"], rules=[refuse("RETR 3", times=1)]),
             [Run({"stored": 5, "parked": 1}, PARTIAL,
                  check=lambda ended: gaps_of(ended, 50))], but(3)),
]  # fmt: skip


def gaps_of(ended: Ended, least: float) -> None:
    """Between any two logins there was a wait as the server wants it."""
    assert len([wait for wait in ended.waits if wait >= least]) >= len(ended.sessions) - 1, ended.waits


def quota(name: str, reply: str) -> Scenario:
    """From the third message on the day's quota is used up; a later session of the same run gets the rest."""
    rule = Rule("RETR [3-6]", reply=reply.encode() + b"\r\n", session=1)
    return Scenario(name, SIX, Quirks(rules=[rule]), complete(6))


def quota_for_good(name: str, reply: str) -> Scenario:
    used_up = Quirks(rules=[says("RETR [3-6]", reply)])
    runs = [
        Run({"stored": 2, "pending": 4}, TRY_AGAIN, check=gave_up),
        Run({"already_archived": 2, "stored": 4}, quirks=Quirks()),
    ]
    return Scenario(name, SIX, used_up, runs)


NETEASE = "-ERR Download exceed. msg=10"

QUOTA = [
    quota("quota-of-netease", NETEASE),
    quota("quota-with-sys-temp", "-ERR [SYS/TEMP] too many requests"),
    quota("quota-of-bandwidth", "-ERR bandwidth quota exceeded, try again later"),
    quota_for_good("quota-of-netease-for-good", NETEASE),
    quota_for_good("quota-with-sys-temp-for-good", "-ERR [SYS/TEMP] too many requests"),
]

# ---- The login


def login(name: str, code: int = LOGIN_REFUSED, **quirks: object) -> Scenario:
    """The server sees exactly one password."""
    return Scenario(name, SIX, Quirks(**quirks), [Run({}, code, logins=1)], [])  # type: ignore[arg-type]


LOGIN = [
    login("wrong-password-is-never-retried", password="another"),
    login("wrong-password-by-sasl-plain", password="another", capabilities=without("USER")),
    login("login-with-auth", rules=[says(LOGINS, "-ERR [AUTH] invalid credentials")]),
    login("login-with-sys-perm", rules=[says(LOGINS, "-ERR [SYS/PERM] no such mailbox")]),
    login("login-of-gmx-switched-off", rules=[says(LOGINS, "-ERR authentication failed")]),
    login("login-of-a-locked-account", rules=[says(LOGINS, "-ERR [AUTH] account is locked")]),
    login("login-of-a-locked-account-without-code", rules=[says(LOGINS, "-ERR your account has been locked")]),
    login("login-refused-in-gbk", rules=[says(LOGINS, b"-ERR " + "密码错误".encode("gbk"))]),
    Scenario("user-is-unknown", SIX, Quirks(rules=[says("USER .*", "-ERR no such user")], capabilities=None),
             [Run({}, LOGIN_REFUSED, logins=0)], []),
]  # fmt: skip

# ---- A login without an answer


def says_why(ended: Ended) -> None:
    """What happened, where, and what to do; and nothing of the password."""
    error = ended.report["error"]
    said = error if isinstance(error, str) else error["message"]
    assert "The login of me at 127.0.0.1:" in said and "got no answer" in said and "before you run again" in said, said
    assert "secret" not in said, said


def unanswered(name: str, then: Then, *, archived: bool = False, **quirks: object) -> Scenario:
    """Each try may count as a login, so there are two in all."""
    silent = Quirks(rules=[Rule(LOGINS, b"", then)], **quirks)  # type: ignore[arg-type]
    better_day = [Run({"stored": 6}, quirks=Quirks())] if archived else []
    runs = [*better_day, Run({}, TRY_AGAIN, quirks=silent, logins=2, check=says_why)]
    return Scenario(name, SIX, silent, runs, None if archived else [], options={"timeout": SHORT})


UNANSWERED = [
    unanswered("login-ends-the-connection", Then.CLOSE),
    unanswered("login-resets-the-connection", Then.RESET),
    unanswered("login-falls-silent", Then.STALL),
    unanswered("login-ends-the-connection-at-pass", Then.CLOSE, capabilities=without("SASL PLAIN")),
    unanswered("login-ends-the-connection-after-a-better-day", Then.CLOSE, archived=True),
    Scenario("login-ends-the-connection-once", SIX, Quirks(rules=[Rule(LOGINS, b"", Then.CLOSE, times=1)]),
             [Run({"stored": 6}, logins=2), Run({"already_archived": 6}, logins=1)]),
    Scenario("login-ends-the-connection-once-in-a-session-that-goes-on", SIX,
             Quirks(rules=[Rule(LOGINS, b"", Then.CLOSE, session=1), Rule("RETR 4", b"", Then.CLOSE, session=2),
                           Rule(LOGINS, b"", Then.CLOSE, session=3)]),
             [Run({"stored": 6}, logins=4)]),
]  # fmt: skip

SCENARIOS = [*ONE_MESSAGE, *BUSY, *QUOTA, *LOGIN, *UNANSWERED]
