"""A server that reads no command while its replies are not taken, small buffers on both ends: nobody waits for ever.

Strategy: the server writes one reply after the other and blocks, like many a real one; its connection has buffers of
64 KB, and ours too, so that neither the commands nor the replies fit into what lies between. A client that writes all
its commands first would wait for the server, and the server for it.
"""

from __future__ import annotations

import socket

import pytest

from mailmove import dial
from mailmove.protocols.pop3 import Window
from mailmove.sources import Incoming
from mailmove.sources.pop3 import Pop3Endpoint, open_pop3
from tests.support.client import HOST, PASSWORD
from tests.support.listener import Listener

MESSAGES = 20_000
BUFFER = 64 * 1024
NUMBERS = range(1, MESSAGES + 1)


def body(number: int) -> bytes:
    return b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * 100)


def shrink(connection: socket.socket) -> socket.socket:
    """The kernel makes a buffer twice as large as it is told."""
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, buffer, BUFFER // 2)
    return connection


class OneAfterTheOther(Listener):
    """Reads a command, writes its reply until it is taken, and only then looks for the next one."""

    def serve(self, connection: socket.socket) -> None:
        shrink(connection).sendall(b"+OK ready\r\n")
        with connection.makefile("rb") as commands:
            for command in commands:
                connection.sendall(self.reply(*command.split()))

    def reply(self, verb: bytes, argument: bytes = b"") -> bytes:
        listings = {
            b"CAPA": b"PIPELINING\r\nUSER\r\nUIDL\r\n",
            b"UIDL": b"".join(b"%d u%d\r\n" % (n, n) for n in NUMBERS) if verb == b"UIDL" else b"",
            b"LIST": b"".join(b"%d %d\r\n" % (n, len(body(n))) for n in NUMBERS) if verb == b"LIST" else b"",
            b"RETR": body(int(argument)) if verb == b"RETR" else b"",
        }
        status = b"+OK %d 0\r\n" % MESSAGES
        return status + listings[verb] + b".\r\n" if verb in listings else status


@pytest.fixture
def narrow_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small buffers on our end."""
    connected = dial._connected
    monkeypatch.setattr(dial, "_connected", lambda *args: shrink(connected(*args)))


def test_20000_commands_in_flight_and_a_server_that_stops_reading(narrow_client: None) -> None:
    assert sum(len(f"RETR {n}\r\n") for n in NUMBERS) > 3 * BUFFER  # the server's file reads ahead, too
    with OneAfterTheOther() as server:
        endpoint = Pop3Endpoint(
            HOST, server.port, "me", tls=False, allow_plaintext=True, timeout=60, window=Window(max_messages=MESSAGES)
        )
        source = open_pop3(endpoint, PASSWORD, lambda: True)
        received = [b"".join(item.chunks) for item in source.retrieve(source.list()) if isinstance(item, Incoming)]
        source.quit()
    assert received == [body(number) for number in NUMBERS]
