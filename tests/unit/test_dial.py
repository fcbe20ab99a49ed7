"""A connection that is made ahead: it is there when it is wanted, and so is what went wrong; a stop is heard."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mailmove.dial import Ahead
from mailmove.errors import HostUnreachable, Interrupted
from mailmove.net import connect


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def test_the_stream_is_the_connection_that_was_made_ahead(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    ahead = Ahead("127.0.0.1", port)
    server, _ = listener.accept()  # before anybody comes for it
    with server:
        server.sendall(b"+OK\r\n")
        stream = connect("127.0.0.1", port, timeout=10, ok=lambda: True, ahead=ahead)
        assert (stream.read(), stream.peer) == (b"+OK\r\n", f"127.0.0.1:{port}")
        stream.close()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_what_went_wrong_is_told_to_whoever_comes_for_it() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        with pytest.raises(HostUnreachable, match=f"127.0.0.1:{port} could not be reached: connection refused"):
            Ahead("127.0.0.1", port).take(lambda: True)


def test_a_stop_is_heard_while_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is looked up for ever: nothing in Python can end that."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **kind: release.wait(60) and [])
    ahead = Ahead("silent.example", 110)
    try:
        with pytest.raises(Interrupted):
            ahead.take(lambda: False)
    finally:
        release.set()
