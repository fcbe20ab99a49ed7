"""A POP3 server that knows nothing but how to be logged in to, by a dialogue that the test writes down.

    with SaslPeer("SASL XOAUTH2", ["+ ", "+OK welcome"]) as peer:
        ... log in on peer.port ...
    assert peer.sessions == [["AUTH XOAUTH2", "dXNlcj1…"]]

Strategy: CAPA, STLS, STAT, UIDL and LIST are answered honestly (of an empty maildrop); every other line gets the next
line of the dialogue, and is kept. A reply may be a function of what the client said, for mechanisms that compute.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence

from tests.support import listener
from tests.support.listener import Listener

Reply = str | Callable[[str], str]
HONEST = {"STAT": "+OK 0 0", "UIDL": "+OK\r\n.", "LIST": "+OK\r\n.", "QUIT": "+OK bye"}


class SaslPeer(Listener):
    """`dialogue` is played anew in each session; behind it the connection ends. `context`: TLS from the start."""

    def __init__(
        self,
        capabilities: str,
        dialogue: Sequence[Reply],
        *,
        greeting: str = "+OK ready",
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self.capabilities, self.dialogue, self.greeting, self.context = capabilities, dialogue, greeting, context
        self.sessions: list[list[str]] = []

    def serve(self, connection: socket.socket) -> None:
        said: list[str] = []
        self.sessions.append(said)
        if self.context:
            connection = self.secure(connection, self.context)
        replies = iter(self.dialogue)
        connection.sendall(f"{self.greeting}\r\n".encode())
        with connection.makefile("rb") as lines:
            for octets in lines:
                line = octets.decode().removesuffix("\r\n")
                reply = self._honest(line) or self._next(replies, said, line)
                if not reply:
                    break
                connection.sendall(f"{reply}\r\n".encode())
        listener.goodbye(connection)

    def _honest(self, line: str) -> str:
        capa = "\r\n".join(["+OK", *self.capabilities.splitlines(), "."])
        return capa if line == "CAPA" else HONEST.get(line, "")

    def _next(self, replies: object, said: list[str], line: str) -> str:
        said.append(line)
        reply = next(replies, "")  # type: ignore[call-overload]
        return str(reply(line) if callable(reply) else reply)
