"""A loopback listener whose connections are served by threads: what Proxy and the hostile Peer have in common.

Strategy: one thread accepts, one thread serves each connection and is the only one that reads, writes and closes it (a
socket closed by another thread while this one waits on it would send no RST). To end, the sockets are shut down, which
wakes every thread. A thread that fails in any other way than by its connection fails the test: pytest sees to that.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PATIENCE = 10.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


def readable(ends: Sequence[socket.socket]) -> list[socket.socket]:
    """Waits until some have something to read, whatever the numbers of their descriptors: those."""
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select() if isinstance(key.fileobj, socket.socket)]


class Listener:
    """`with Listener() as it: it.port`. A subclass says in serve() what to do with a connection."""

    def __init__(self) -> None:
        self.port = 0
        self._threads: list[threading.Thread] = []
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._ending = threading.Event()
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def secure(self, connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """TLS on top of a connection of this thread's, as the server."""
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._register(secured)
        secured.do_handshake()
        return secured

    def __enter__(self) -> Self:
        self._listen = socket.create_server((HOST, 0), backlog=128)
        self.port = self._listen.getsockname()[1]
        self._waker, self._wake = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name=type(self).__name__, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ending.set()
        self._wake.send(b"!")
        self._acceptor.join(PATIENCE)
        with self._lock:
            for connection in self._connections.values():
                _shut_down(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} does not end"
        for end in (self._listen, self._waker, self._wake):
            end.close()

    def _accept(self) -> None:
        while True:
            if self._waker in readable([self._listen, self._waker]):
                return
            connection, _ = self._listen.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._run, args=(connection,), name="connection", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._register(connection)
            with contextlib.suppress(OSError):  # a connection that broke is the client's affair
                self.serve(connection)
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread()).close()

    def _register(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections[threading.current_thread()] = connection
            if self._ending.is_set():
                _shut_down(connection, socket.SHUT_RDWR)


def reset(connection: socket.socket) -> None:
    """The peer sees ECONNRESET. Only for the thread that serves the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def close(connection: socket.socket) -> None:
    """The peer sees the end of the stream (over TLS: without the alert that would make it honest)."""
    _shut_down(connection, socket.SHUT_WR)


def goodbye(connection: socket.socket) -> None:
    """The end of the stream as an honest server makes it."""
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            connection.settimeout(0)  # send the alert, do not wait for the answer
            connection.unwrap()
    close(connection)


def _shut_down(connection: socket.socket, how: int) -> None:
    """On the TCP level: SSLSocket.shutdown would throw its TLS state away under another thread's feet."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, how)
