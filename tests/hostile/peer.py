"""A POP3 server that does what a test tells it to, however wrong, in threads of the test's own process.

    with Peer([Letter("a", b"Subject: x\\r\\n\\r\\n")], Quirks(rules=[cut("RETR 1", after=5)])) as peer:
        ... let the client work on peer.port (any user, password "secret") ...
    assert peer.sessions[0].commands == ["CAPA", ...]

Strategy: honest.py computes the reply an honest server would give, the first Rule that matches decides what becomes of
it, and this file reads commands and writes replies. Commands are taken from a buffer, so any number may be under way;
nothing sleeps: a stall waits for `go_on`, and `stalled` says that it has begun.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.hostile.honest import HonestSession, Maildrop
from tests.hostile.quirks import HONEST, Letter, Quirks, Rule, Then, cut, refuse, without
from tests.support import listener
from tests.support.listener import PATIENCE, Listener

__all__ = ["HONEST", "Letter", "Peer", "Quirks", "Rule", "Session", "Then", "cut", "refuse", "without"]

STALL_LIMIT = 120.0


@dataclass
class Session:
    """What one connection said. `window`: most commands that were waiting at one time, the answered one included.

    `sent`: octets of the replies.
    """

    commands: list[str] = field(default_factory=list)
    window: int = 0
    sent: int = 0
    secured: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def verbs(self) -> list[str]:
        return [command.partition(" ")[0].upper() for command in self.commands]


class Peer(Listener):
    """`context` makes it TLS from the start, or by STLS only with `stls=True`. All sessions share one maildrop."""

    def __init__(
        self,
        letters: Sequence[Letter],
        quirks: Quirks = HONEST,
        *,
        context: ssl.SSLContext | None = None,
        stls: bool = False,
    ) -> None:
        super().__init__()
        self.maildrop, self.quirks = Maildrop(list(letters)), quirks
        self.context, self.stls = context, stls
        self.sessions: list[Session] = []
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self._applied: dict[int, int] = {}

    def wait(self, sessions: int = 1) -> None:
        """Until the first `sessions` sessions have ended: nothing is added to them any more."""
        assert len(self.sessions) >= sessions, f"{len(self.sessions)} sessions came, not {sessions}"
        for number, session in enumerate(self.sessions[:sessions], 1):
            assert session.ended.wait(PATIENCE), f"session {number} does not end"

    def __exit__(self, *error: object) -> None:
        self.go_on.set()
        super().__exit__(None, None, None)

    def serve(self, connection: socket.socket) -> None:
        session = Session()
        with self._lock:
            self.sessions.append(session)
            number = len(self.sessions)
        try:
            if self.context and not self.stls:
                connection = self.secure(connection, self.context)
                session.secured = True
            honest = HonestSession(self.maildrop, self.quirks, number, offers_stls=self.stls)
            _Conversation(self, session, honest, connection).run()
        finally:
            session.ended.set()

    def becomes(self, letters: Sequence[Letter] | None, quirks: Quirks | None) -> None:
        """From the next session on it has other letters, or other quirks."""
        if letters is not None:
            self.maildrop.letters = list(letters)
        if quirks is not None:
            self.quirks, self._applied = quirks, {}

    def rule_for(self, command: str, exchange: int, session: int, *, crowded: bool) -> Rule | None:
        """The first rule that matches and is not used up; using it counts."""
        for place, rule in enumerate(self.quirks.rules):
            used = self._applied.get(place, 0)
            free = rule.times is None or used < rule.times
            if free and rule.matches(command, exchange, session, crowded=crowded):
                self._applied[place] = used + 1
                return rule
        return None

    def stall(self) -> None:
        self.stalled.set()
        assert self.go_on.wait(STALL_LIMIT), "the test never let the stalled peer go on"


class _Conversation:
    """Reads commands and writes replies on one connection."""

    def __init__(self, peer: Peer, session: Session, honest: HonestSession, connection: socket.socket) -> None:
        self.peer, self.session, self.honest, self.connection = peer, session, honest, connection
        self.buffer = b""
        self.over = False

    def run(self) -> None:
        if self.peer.quirks.greeting is not None:
            self.connection.sendall(self.peer.quirks.greeting + self.peer.quirks.line_end)
        for exchange in itertools.count(1):
            command = self._next_command()
            if command is None:
                break
            self._exchange(command, exchange)
            if self.over:
                return
        listener.goodbye(self.connection)

    def _next_command(self) -> str | None:
        """The next line, or None when the client has ended or has been sent home."""
        while b"\n" not in self.buffer:
            data = b"" if self.honest.ended else self.connection.recv(1 << 16)
            if not data:
                return None
            self.buffer += data
        self.session.window = max(self.session.window, self.buffer.count(b"\n"))
        line, _, self.buffer = self.buffer.partition(b"\n")
        if self.peer.quirks.forgets_pipelined:
            self.buffer = b""
        command = line.removesuffix(b"\r").decode("latin-1")
        self.session.commands.append(command)
        return command

    def _exchange(self, command: str, exchange: int) -> None:
        rule = self.peer.rule_for(command, exchange, self.honest.number, crowded=b"\n" in self.buffer)
        reply = self.honest.answer(command) if rule is None or rule.reply is None else rule.reply
        head = len(reply)
        if rule and rule.after is not None:
            head = min(head, self.honest.status_line(reply) + rule.after)
        self.connection.sendall(reply[:head])
        self.session.sent += head
        self._follow(rule.then if rule else Then.GO_ON, reply[head:])
        if self.honest.starts_tls and not self.over:
            self._secure()

    def _follow(self, then: Then, rest: bytes) -> None:
        self.over = then in (Then.RESET, Then.CLOSE, Then.GOODBYE)
        if then is Then.RESET:
            listener.reset(self.connection)
        elif then is Then.GOODBYE:
            listener.goodbye(self.connection)
        elif then is Then.CLOSE:
            listener.close(self.connection)
            self._drain()
        elif then is Then.STALL:
            self.peer.stall()
            self.connection.sendall(rest)

    def _drain(self) -> None:
        """Reads until the client has gone: closing with octets unread would send RST."""
        while self.connection.recv(1 << 16):
            pass

    def _secure(self) -> None:
        """What came in plaintext behind STLS is thrown away, as RFC 2595 wants it."""
        assert self.peer.context is not None
        self.buffer, self.honest.starts_tls = b"", False
        self.connection = self.peer.secure(self.connection, self.peer.context)
        self.session.secured = True
