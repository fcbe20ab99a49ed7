"""A POP3 server that lies as its script says, and the wire to it, both in memory: nothing blocks and nothing is timed.

Strategy: tests/hostile's HonestSession computes what an honest server would answer, and the next item of the script
says what becomes of it: sent as it is, replaced, damaged, doubled, swallowed, or cut off by the end of the connection.
`Wire` stands in for net.Stream. It takes and gives as many octets as the program's style says, and where a real one
would wait for ever it times out. What must never cross it, a password in the clear, is an AssertionError at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mailmove.errors import ConnectionLost, HostUnreachable, TimedOut
from mailmove.net import Stream
from mailmove.protocols import sasl
from tests.fuzz import inputs
from tests.hostile.honest import HonestSession, Maildrop
from tests.hostile.quirks import Letter, Quirks

USER, PASSWORD = "somebody", "Xq7-never-in-a-log-Zk2"
LOGINS = (b"PASS ", b"APOP ", b"AUTH ")
MECHANISMS = frozenset(kind.name.encode() for kind in sasl.MECHANISMS.values())
MAX_TURNS = 20_000


@dataclass
class Liar:
    """One session; those of one run share their `turns`.

    `out` is what it has said and nobody has read; `ending` how the connection ends behind that.
    """

    letters: list[Letter]
    quirks: Quirks
    stls: bool
    turns: Iterator[inputs.Item]
    out: bytes = b""
    ending: str = ""
    heard: bytes = b""
    commands: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.honest = HonestSession(Maildrop(self.letters), self.quirks, 1, offers_stls=self.stls)
        self._say((self.quirks.greeting or b"") + self.quirks.line_end, b"")

    def hear(self, octets: bytes) -> None:
        """Answers every command that is complete."""
        self.heard += octets
        while b"\n" in self.heard and not self.ending:
            line, _, self.heard = self.heard.partition(b"\n")
            self.commands.append(line.removesuffix(b"\r"))
            self._say(self.honest.answer(self.commands[-1].decode("latin-1")), self.commands[-1])

    def _say(self, reply: bytes, line: bytes) -> None:
        kind, payload = next(self.turns)
        lie = LIES.get(KINDS[kind % len(KINDS)])
        self.out += lie(self, reply, payload, line) if lie else reply
        if self.honest.ended:
            self.ending = self.ending or "FIN"

    @property
    def secrets(self) -> list[bytes]:
        """What the client said in confidence: the last word of a login command, and a line that is no command."""
        words = [line.split(b" ")[-1] for line in self.commands if line[:5] in LOGINS or not line[:4].isupper()]
        return [PASSWORD.encode(), *(word for word in words if len(word) > 10 and word not in MECHANISMS)]

    def end(self, how: str) -> bytes:
        self.ending = how
        return b""


def turns(script: Iterable[inputs.Item]) -> Iterator[inputs.Item]:
    """What becomes of each reply: as the script says, and then for ever as an honest server would have it."""
    for kind, payload in script:
        if KINDS[kind % len(KINDS)] == "honest":
            yield from [(0, b"")] * (1 + sum(payload[:1]) % 8)
        else:
            yield kind, payload
    yield from itertools.repeat((0, b""))


class Wire(Stream):
    """What open_pop3 gets instead of a connection."""

    def __init__(self, liar: Liar, style: int, *, open_password: bool, lazy: bool) -> None:
        self.liar, self.peer, self.timeout = liar, "liar.test:110", 30.0
        self.encrypted = self.closed = False
        self.lengths = inputs.lengths(style, 1 << 30)
        self.open_password, self.lazy = open_password, lazy
        self.last = self.delivered = b""
        self.turns = 0

    def exchange(self, outgoing: memoryview, timeout: float | None = None) -> tuple[int, bytes]:
        self.turns += 1
        assert self.turns < MAX_TURNS, "the source never ends"
        assert not self.closed, "the source uses a connection it has closed"
        taken = 0 if self.liar.ending or (self.lazy and self.liar.out) else self._take(outgoing)
        data = self._give()
        if not taken and not data and self.liar.ending != "FIN":
            raise ConnectionLost("Reset.") if self.liar.ending == "RST" else TimedOut("Nothing comes.")
        return taken, data

    def _take(self, outgoing: memoryview) -> int:
        octets = bytes(outgoing[: next(self.lengths)])
        already = len(self.liar.commands)
        self.liar.hear(octets)
        self._check_secrecy(already)
        return len(octets)

    def _check_secrecy(self, already: int) -> None:
        in_clear = not self.encrypted and not self.open_password
        logins = [line for line in self.liar.commands[already:] if line[:5] in LOGINS]
        assert not (in_clear and logins), f"a login crosses the network in the clear: {logins}"

    def _give(self) -> bytes:
        length = next(self.lengths)
        data, self.liar.out = self.liar.out[:length], self.liar.out[length:]
        self.last = data or self.last
        self.delivered += data
        return data

    def start_tls(self, *arguments: Any, **options: Any) -> None:
        """Nothing but the +OK may have come in; what comes behind it would be read as a handshake."""
        assert self.last.find(b"\n") == len(self.last) - 1, f"plaintext behind STLS's +OK: {self.last!r}"
        expected = self.liar.honest.starts_tls or not self.liar.commands
        if self.liar.ending or not expected or (self.liar.out and self.liar.commands):
            raise HostUnreachable("No TLS is spoken here.")
        self.encrypted, self.liar.honest.starts_tls = True, False

    @property
    def protection(self) -> str:
        return "in memory"

    def close(self) -> None:
        self.closed = True


# ---- What becomes of a reply

Lie = Callable[[Liar, bytes, bytes, bytes], bytes]


def _at(reply: bytes, payload: bytes) -> int:
    return sum(payload[:1]) % (len(reply) + 1)


def _insert(liar: Liar, reply: bytes, payload: bytes, line: bytes) -> bytes:
    return reply[: _at(reply, payload)] + payload[1:] + reply[_at(reply, payload) :]


def _overwrite(liar: Liar, reply: bytes, payload: bytes, line: bytes) -> bytes:
    return reply[: _at(reply, payload)] + payload[1:] + reply[_at(reply, payload) + len(payload[1:]) :]


def _drop(liar: Liar, reply: bytes, payload: bytes, line: bytes) -> bytes:
    return reply[: _at(reply, payload)] + reply[_at(reply, payload) + sum(payload[1:2]) :]


def _end(how: str) -> Lie:
    return lambda liar, reply, payload, line: reply[: _at(reply, payload)] + liar.end(how)


def _echo(liar: Liar, reply: bytes, payload: bytes, line: bytes) -> bytes:
    """What came, or the last login command, sent back: as a refusal, or behind an answer."""
    how = sum(payload[:1])
    logins = [command for command in liar.commands if command[:5] in LOGINS]
    echoed = logins[-1] if logins and how & 2 else line
    return reply + echoed + b"\r\n" if how & 1 else b"-ERR [SYS/PERM] " + echoed + b"\r\n"


LIES: dict[str, Lie] = {
    "replaced": lambda liar, reply, payload, line: payload,
    "inserted": _insert,
    "overwritten": _overwrite,
    "dropped": _drop,
    "twice": lambda liar, reply, payload, line: reply + reply,
    "followed": lambda liar, reply, payload, line: reply + payload,
    "refused": lambda liar, reply, payload, line: b"-ERR [" + payload.translate(None, b"\r\n") + b"] no\r\n",
    "silence": lambda liar, reply, payload, line: b"",
    "FIN": _end("FIN"),
    "RST": _end("RST"),
    "stall": _end("stall"),
    "echo": _echo,
}
KINDS = ("honest", *LIES, "letter")
"""Items of a program; "honest" is 1 to 8 replies sent as they are, "letter" a message of the maildrop."""
