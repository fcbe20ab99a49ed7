"""The demo's POP3 server for tests, and our own POP3 source opened on it: the shortest way to a real session.

with serving(named(b"Subject: x\\r\\n\\r\\n")) as server, ours(server.port) as source:
    assert list(retrieved(source, source.list())) == [b"Subject: x\\r\\n\\r\\n"]
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from mailmove.demo import DemoMessage, Pop3Server, generate
from mailmove.model import MaildropEntry, UniqueId
from mailmove.protocols import pop3
from mailmove.sources import Incoming
from mailmove.sources.pop3 import Pop3Endpoint, Pop3Source, open_pop3

HOST, PASSWORD = "127.0.0.1", "secret"
MAIL = tuple(generate(60))


def serving(
    messages: Sequence[DemoMessage] = MAIL,
    *,
    cut_after: int | None = None,
    rate: float | None = None,
    delay: float = 0.0,
) -> Pop3Server:
    """A server with these messages for anna; the options are Pop3Server's."""
    mailboxes = {"anna": (PASSWORD, messages)}
    return Pop3Server(mailboxes, cut_after=cut_after, bytes_per_second=rate, delay=delay)


def named(*bodies: bytes) -> list[DemoMessage]:
    """Messages of these octets, with unique ids of their own."""
    return [DemoMessage(UniqueId(f"id{place}"), body) for place, body in enumerate(bodies)]


@contextmanager
def ours(port: int, user: str = "anna", password: str = PASSWORD, window: int = 1000) -> Iterator[Pop3Source]:
    """Our own source, logged in."""
    endpoint = Pop3Endpoint(HOST, port, user, tls=False, allow_plaintext=True, window=pop3.Window(window))
    with closing(open_pop3(endpoint, password, lambda: True)) as source:
        yield source


def retrieved(source: Pop3Source, entries: Sequence[MaildropEntry]) -> Iterator[bytes]:
    """The octets of these entries; every size that was named has to be right."""
    for incoming in source.retrieve(entries):
        assert isinstance(incoming, Incoming)
        octets = b"".join(incoming.chunks)
        assert incoming.announced == incoming.entry.octets == len(octets)
        yield octets


@contextmanager
def raw(port: int) -> Iterator[socket.socket]:
    """A connection to a server that has greeted."""
    with socket.create_connection((HOST, port), 30) as connection:
        assert connection.recv(1000).startswith(b"+OK ")
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server has gone, however it goes."""
    octets = bytearray()
    try:
        while data := connection.recv(1 << 16):
            octets += data
    except ConnectionError:
        pass
    return bytes(octets)
