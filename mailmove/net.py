"""The network: a Stream, how to open one, and what TLS must prove (design.md section 4).

Strategy: sockets never block. One place waits (`_wait`), in slices, so that a stop that was asked for is heard within
half a second, and so that a timeout means "no progress for so long", never "took so long in all". `exchange` reads
while it writes: a server that stops reading until its output is taken cannot deadlock us. The only import of socket and
ssl.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mailmove.errors import (
    CertificateRefused,
    ConfigurationError,
    ConnectionLost,
    HostUnreachable,
    Interrupted,
    TimedOut,
)

SLICE = 0.5
"""Seconds between two looks at whether the run shall stop."""

READ = 256 * 1024
TLS_ADVICE = "use the server's TLS port (995 for POP3), or pop3:// to start TLS after the greeting (STLS, port 110)"
TLS_RECORD = 16 * 1024

Ok = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """How a server proves who it is: by the system's authorities, or those in `ca_file`. TLS 1.2 or later."""

    ca_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises ConfigurationError if the CA file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or "it holds no certificate in PEM format"
            raise ConfigurationError(f"The CA file {self.ca_file} cannot be used: {reason}.") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


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


class Stream:
    """A connection: TCP, or TLS over it. Every wait ends with progress, ConnectionLost, or Interrupted."""

    def __init__(self, sock: socket.socket, peer: str, timeout: float, ok: Ok) -> None:
        self._socket = sock
        self.peer = peer
        self.timeout = timeout
        self._ok = ok
        self.encrypted = False

    def exchange(self, outgoing: memoryview, timeout: float | None = None) -> tuple[int, bytes]:
        """Sends what the peer takes and reads what it offers: (octets taken, octets read); (0, b"") is EOF.

        Waits until at least one of the two makes progress, for `timeout` seconds. Raises ConnectionLost, Interrupted.
        """
        deadline = Deadline(timeout or self.timeout)
        while True:
            try:
                sent, wants_write = self._try_send(outgoing)
                data = self._try_read()
            except (OSError, ssl.SSLError) as error:
                raise self._lost(error) from error
            if data is not None or sent:
                return sent, data or b""
            self._wait(selectors.EVENT_READ | (selectors.EVENT_WRITE if wants_write else 0), deadline)

    def read(self, timeout: float | None = None) -> bytes:
        """What the peer sends next, b"" at EOF. Raises ConnectionLost, Interrupted."""
        return self.exchange(memoryview(b""), timeout)[1]

    def _try_send(self, outgoing: memoryview) -> tuple[int, bool]:
        if not outgoing:
            return 0, False
        try:
            return self._socket.send(outgoing), False
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0, True
        except ssl.SSLWantReadError:
            return 0, False

    def _try_read(self) -> bytes | None:
        """None: nothing there yet; b"": EOF."""
        try:
            if not isinstance(self._socket, ssl.SSLSocket):
                return self._socket.recv(READ)
            return self._read_records(self._socket)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLZeroReturnError:
            return b""

    @staticmethod
    def _read_records(tls: ssl.SSLSocket) -> bytes:
        """Several TLS records at once, as many as are there: a record holds 16 KB at most."""
        parts = [tls.recv(TLS_RECORD)]
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLZeroReturnError):
            while parts[-1] and len(parts) < READ // TLS_RECORD:
                parts.append(tls.recv(TLS_RECORD))
        return b"".join(parts)

    def start_tls(self, policy: TlsPolicy, host: str, *, advice: str = TLS_ADVICE) -> None:
        """The TLS handshake; `advice` is for somebody who has found a port where no TLS is spoken.

        Raises CertificateRefused, ConnectionLost, HostUnreachable (no TLS spoken there).
        """
        deadline = Deadline(self.timeout)
        try:
            tls = policy.context().wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
            self._socket = tls
            while not self._try_handshake(tls, deadline):
                pass
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(certificate_sentence(self.peer, host, error)) from error
        except ssl.SSLError as error:
            raise HostUnreachable(self._no_tls(error, advice)) from error
        except OSError as error:
            raise HostUnreachable(
                f"{self.peer} closed the connection in the TLS handshake ({_words(error)}); is this its TLS port?"
            ) from error
        self.encrypted = True

    def _try_handshake(self, tls: ssl.SSLSocket, deadline: Deadline) -> bool:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._wait(selectors.EVENT_READ, deadline)
            return False
        except ssl.SSLWantWriteError:
            self._wait(selectors.EVENT_WRITE, deadline)
            return False
        return True

    def _no_tls(self, error: ssl.SSLError, advice: str) -> str:
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            return f"{self.peer} does not speak TLS on this port; {advice}."
        return f"{self.peer} and we could not agree on TLS 1.2 or later ({error.reason or error})."

    def _wait(self, events: int, deadline: Deadline) -> None:
        if not wait_for(self._socket, events, deadline, self._ok):
            raise TimedOut(f"{self.peer} made no progress for {deadline.seconds:g} s.")

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"The connection to {self.peer} broke: {_words(error)}.")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


def connect(host: str, port: int, *, timeout: float, ok: Ok) -> Stream:
    """A TCP connection to the first address of `host` that answers. Raises HostUnreachable, Interrupted."""
    peer = f"{host}:{port}"
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise HostUnreachable(
            f"There is no host {host!r} ({_words(error)}); check the spelling and the network."
        ) from error
    failures: list[OSError] = []
    for family, kind, protocol, _, address in addresses:
        try:
            return Stream(_connected(socket.socket(family, kind, protocol), address, timeout, ok), peer, timeout, ok)
        except OSError as error:
            failures.append(error)
    raise HostUnreachable(f"{peer} could not be reached: {_words(failures[0])}; check host and port.") from failures[0]


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


def certificate_sentence(peer: str, host: str, error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a certificate, and what to do about it."""
    reason = (error.verify_message or str(error)).rstrip(".")
    if "expired" in reason:
        advice = "the server's operator must renew it"
    elif "match" in reason:
        advice = f"it was made for another name than {host!r}: use the name the provider documents"
    else:
        advice = "if it is your own server, name its authority with --ca-file FILE"
    return f"The certificate of {peer} was refused ({reason}); {advice}. Nothing was sent."


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "it was cut without a TLS goodbye"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower().rstrip(".")
