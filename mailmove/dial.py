"""A TCP connection to a host, or one to a Unix socket, before anything is said on it.

Strategy: sockets never block. One place waits (`wait_for`), in slices, so that a stop that was asked for is heard
within half a second. Nothing of TLS is loaded here, so that `Ahead` can connect while the rest of the program is.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from mailmove.errors import HostUnreachable, Interrupted, UsageError
from mailmove.hosts import wire_name

SLICE = 0.5
"""Seconds between two looks at whether the run shall stop."""

CONNECT_TIMEOUT = 30.0
"""Seconds that a connection made ahead may take."""

Ok = Callable[[], bool]


class Deadline:
    """So many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


def wait_for(sock: socket.socket, events: int, deadline: Deadline, ok: Ok) -> bool:
    """Waits until one of `events` is there; False when the deadline has come. Raises Interrupted when not `ok`."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, events)
        while not selector.select(min(SLICE, deadline.left)):
            if not ok():
                raise Interrupted("Interrupted.")
            if not deadline.left:
                return False
    return True


def dial(host: str, port: int, *, timeout: float, ok: Ok) -> socket.socket:
    """A TCP connection to the first address of `host` that answers. Raises HostUnreachable, Interrupted, UsageError."""
    try:
        name = wire_name(host).encode("ascii")  # octets: of a str Python makes them by IDNA, which takes long to load
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise HostUnreachable(
            f"There is no host {host!r} ({_words(error)}); check the spelling and the network."
        ) from error
    failures: list[OSError] = []
    for family, kind, protocol, _, address in addresses:
        try:
            return _connected(socket.socket(family, kind, protocol), address, timeout, ok)
        except OSError as error:
            failures.append(error)
    raise HostUnreachable(
        f"{shown_peer(host, port)} could not be reached: {_words(failures[0])}; check host and port."
    ) from failures[0]


def dial_unix(path: str) -> socket.socket:
    """A connection to the Unix socket at `path`. Raises HostUnreachable, UsageError."""
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError(f"There are no Unix sockets on this system; {path!r} cannot be reached.")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # it is connected at once or never: its other end is on this machine
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise HostUnreachable(
            f"The socket {path} could not be reached: {_words(error)}; check the path, and whether its server runs."
        ) from error
    return sock


def shown_peer(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Ahead:
    """A connection that is being made by a thread of its own, for whoever comes for it."""

    def __init__(self, host: str, port: int) -> None:
        self._outcome: list[socket.socket | BaseException] = []
        self._thread = threading.Thread(target=self._dial, args=(host, port), name="mailmove-dial", daemon=True)
        self._thread.start()

    def _dial(self, host: str, port: int) -> None:
        try:
            self._outcome.append(dial(host, port, timeout=CONNECT_TIMEOUT, ok=lambda: True))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever comes for the connection
            self._outcome.append(error)

    def take(self, ok: Ok) -> socket.socket:
        """The connection, once. Raises what `dial` raises, and Interrupted as soon as it is not `ok`."""
        while self._thread.is_alive():
            self._thread.join(SLICE)
            if not ok():
                raise Interrupted("Interrupted.")
        found = self._outcome.pop()
        if isinstance(found, BaseException):
            raise found
        return found


def _connected(sock: socket.socket, address: object, timeout: float, ok: Ok) -> socket.socket:
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address)  # type: ignore[arg-type]  # whatever getaddrinfo gave for this family
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            code = _wait_connected(sock, timeout, ok)
        if code:
            raise OSError(code, os.strerror(code))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _wait_connected(sock: socket.socket, timeout: float, ok: Ok) -> int:
    if not wait_for(sock, selectors.EVENT_WRITE, Deadline(timeout), ok):
        return errno.ETIMEDOUT
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _words(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower().rstrip(".")
