"""A recording proxy between a client and a plaintext server, in threads of the test's own process.

    with Proxy(dovecot.ports["pop3"]) as proxy:
        proxy.at(5_000, lambda session: client.kill())     # or proxy.reset, or proxy.close
        ... let the client work on proxy.port ...
    assert proxy.sessions[0].verbs == ["CAPA", "USER", "PASS", "STAT", "UIDL", "LIST", "QUIT"]

Strategy: one thread per connection carries both directions, so nothing needs a lock. What the client writes is kept
line by line. With `context` the client speaks TLS to the proxy (pop3s) and the proxy plaintext to the server, so that
such a session can be read too; after a STLS that the server itself answers there is nothing left to read.
`at(n, action)` is exact: n octets of server text, summed over all sessions, have gone down when the action is called,
and not one more goes until it has returned.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

from tests.support import listener
from tests.support.listener import HOST, PATIENCE, Listener, readable

CHUNK = 1 << 16


class Session:
    """One connection of a client: what it said, and how many octets of the server's went down to it."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.down = 0
        self.ended = threading.Event()
        self.cut = False
        self.connection: socket.socket | None = None
        self._rest = b""

    @property
    def verbs(self) -> list[str]:
        """The first word of every command, in capitals. Lines of an AUTH exchange show up as they are."""
        return [command.partition(" ")[0].upper() for command in self.commands]

    def heard(self, data: bytes) -> None:
        if self.commands and self.commands[-1].upper() == "STLS":
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.commands += [line.removesuffix(b"\r").decode("latin-1") for line in lines]


Action = Callable[[Session], object]


def reset(session: Session) -> None:
    """An action: the client sees ECONNRESET."""
    assert session.connection is not None
    session.cut = True
    listener.reset(session.connection)


def close(session: Session) -> None:
    """An action: the client sees the end of the stream. What it still writes is read, so that no RST follows."""
    assert session.connection is not None
    session.cut = True
    listener.close(session.connection)


class Proxy(Listener):
    """`sessions` fills as clients connect to `port`; `down` and `up` are sums of octets sent to and by them."""

    def __init__(self, to: int, *, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.to, self.context = to, context
        self.sessions: list[Session] = []
        self.down = self.up = 0
        self._actions: list[tuple[int, Action]] = []
        self._up_actions: list[tuple[int, Action]] = []
        self._on_command: tuple[bytes, Action, bool] | None = None

    def at_up(self, octets: int, action: Action) -> None:
        """Calls `action(session)` once, when `octets` of the client's have gone up to the server, and not one more."""
        assert octets > self.up, f"{self.up} octets went up already"
        self._up_actions = sorted([*self._up_actions, (octets, action)], key=lambda pair: pair[0])

    def on_command(self, command: str, action: Action, *, passed: bool) -> None:
        """Calls `action(session)` once, at this command: when the server has been sent it (`passed`), or instead."""
        self._on_command = (command.encode(), action, passed)

    def at(self, octets: int, action: Action) -> None:
        """Calls `action(session)` once, when `octets` have gone down. To be said before they have."""
        assert octets > self.down, f"{self.down} octets went down already"
        self._actions = sorted([*self._actions, (octets, action)], key=lambda pair: pair[0])

    def wait(self, sessions: int = 1) -> None:
        """Until the first `sessions` sessions have ended: nothing is added to them any more."""
        assert len(self.sessions) >= sessions, f"{len(self.sessions)} sessions came, not {sessions}"
        for number, session in enumerate(self.sessions[:sessions], 1):
            assert session.ended.wait(PATIENCE), f"session {number} does not end"

    def serve(self, connection: socket.socket) -> None:
        session = Session()
        self.sessions.append(session)
        try:
            session.connection = self.secure(connection, self.context) if self.context else connection
            with socket.create_connection((HOST, self.to)) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._relay(session, session.connection, server)
        finally:
            session.ended.set()

    def _relay(self, session: Session, client: socket.socket, server: socket.socket) -> None:
        """Both directions, until both have ended or an action has closed the client."""
        open_ends = [client, server]
        while open_ends and client.fileno() >= 0:
            for end in _readable(open_ends):
                data = end.recv(CHUNK)
                if not data:
                    open_ends.remove(end)
                    listener.goodbye(server if end is client else client)
                elif end is client:
                    session.heard(data)
                    self._pass_up(session, server, data)
                else:
                    self._pass_down(session, client, data)

    def _pass_down(self, session: Session, client: socket.socket, data: bytes) -> None:
        while data and not session.cut:
            part = data[: self._actions[0][0] - self.down] if self._actions else data
            client.sendall(part)
            data = data[len(part) :]
            session.down += len(part)
            self.down += len(part)
            _act(self._actions, self.down, session)

    def _pass_up(self, session: Session, server: socket.socket, data: bytes) -> None:
        if self._on_command and (at := (b"\n" + data).find(b"\n" + self._on_command[0])) >= 0:
            (_, action, passed), self._on_command = self._on_command, None
            server.sendall(data if passed else data[:at])
            action(session)
            return
        while data and not session.cut:
            part = data[: self._up_actions[0][0] - self.up] if self._up_actions else data
            server.sendall(part)
            data = data[len(part) :]
            self.up += len(part)
            _act(self._up_actions, self.up, session)


def _act(actions: list[tuple[int, Action]], passed: int, session: Session) -> None:
    while actions and actions[0][0] <= passed:
        _, action = actions.pop(0)
        action(session)


def _readable(ends: list[socket.socket]) -> list[socket.socket]:
    """Those with something to read; TLS may hold octets that the kernel no longer shows."""
    held: list[socket.socket] = [end for end in ends if isinstance(end, ssl.SSLSocket) and end.pending()]
    return held or readable(ends)
