"""What a hostile POP3 peer is told to do wrong, as plain values.

Strategy: the default of every field is an honest server, so a test states its one lie and nothing else. What cannot be
said by a field is said by a Rule: for commands that match, another reply, and then go on, reset, close or stall.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

CAPABILITIES = ("TOP", "UIDL", "USER", "SASL PLAIN", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING")


@dataclass(frozen=True)
class Letter:
    """One message of the maildrop. `body` is what the peer holds, with CRLF and not stuffed.

    `listed` is what LIST says instead of the true size, `said` what "+OK n octets" says. With `raw` the body goes out
    as it is: stuffed and ended (or not) by the test. `later` are the bodies of the second and further RETRs.
    """

    unique_id: str
    body: bytes
    listed: int | None = None
    said: int | None = None
    raw: bool = False
    later: Sequence[bytes] = ()

    def body_at(self, retrieval: int) -> bytes:
        """The body of the n-th RETR, from 0; the last one is repeated."""
        bodies = (self.body, *self.later)
        return bodies[min(retrieval, len(bodies) - 1)]


class Then(enum.Enum):
    """What follows a reply."""

    GO_ON = enum.auto()
    RESET = enum.auto()
    CLOSE = enum.auto()
    STALL = enum.auto()
    GOODBYE = enum.auto()
    """As an honest server ends: over TLS with the alert that says so."""


@dataclass(frozen=True)
class Rule:
    """For the commands it matches: `reply`, raw octets (None: the honest one), and `then`.

    `after` sends only so many octets of an honest reply, counted from behind the status line of a multi-line reply and
    from its beginning otherwise, before `then`. A stall waits for `Peer.go_on` and sends the rest. `exchange` and
    `session` count from 1 and narrow the rule to the n-th command of a session and to one session; `times` is how often
    it applies in all. `crowded` narrows it to commands behind which others wait already: to a client that pipelines.
    """

    command: str = ".*"
    reply: bytes | None = None
    then: Then = Then.GO_ON
    after: int | None = None
    exchange: int | None = None
    session: int | None = None
    times: int | None = None
    crowded: bool = False

    def matches(self, command: str, exchange: int, session: int, *, crowded: bool = False) -> bool:
        return (
            self.exchange in (None, exchange)
            and self.session in (None, session)
            and (crowded or not self.crowded)
            and re.fullmatch(self.command, command, re.IGNORECASE | re.DOTALL) is not None
        )


@dataclass(frozen=True)
class Quirks:
    """`greeting=None`: not a word comes first. `capabilities=None`: CAPA is refused. `without`: verbs answered by -ERR.

    `expunged`: unique ids that go away while the first session has them listed: RETR fails, later sessions list less.
    `forgets_pipelined`: what came in behind a command is thrown away when that command is answered.
    `after_stls`: octets smuggled in plaintext behind STLS's +OK. `numbers`: the message numbers, when not 1, 2, 3 …
    `shows`: a session lists so many letters at most. `hides_fetched`: what was retrieved in a session that ended with
    QUIT is listed no more, as Gmail does it.
    """

    rules: Sequence[Rule] = ()
    greeting: bytes | None = b"+OK ready"
    capabilities: Sequence[str] | None = CAPABILITIES
    without: Sequence[str] = ()
    password: str = "secret"
    line_end: bytes = b"\r\n"
    expunged: Sequence[str] = ()
    forgets_pipelined: bool = False
    after_stls: bytes = b""
    says_octets: bool = True
    numbers: Sequence[int] = ()
    shows: int | None = None
    hides_fetched: bool = False


HONEST = Quirks()


def without(*capabilities: str) -> tuple[str, ...]:
    """The usual capabilities less these: `Quirks(capabilities=without("PIPELINING"))`."""
    return tuple(one for one in CAPABILITIES if one not in capabilities)


def refuse(command: str, text: str = "-ERR no", times: int | None = None) -> Rule:
    """-ERR to the commands that match: `refuse("RETR 3", "-ERR [SYS/TEMP] later")`."""
    return Rule(command, reply=text.encode("latin-1") + b"\r\n", times=times)


def cut(command: str, after: int = 0, then: Then = Then.RESET, times: int | None = 1) -> Rule:
    """The connection ends `after` octets into the body (or the one line) of a reply, the first time."""
    return Rule(command, then=then, after=after, times=times)
