"""The network: a Stream, and how to open one (design.md section 4).

Strategy: sockets never block. One place waits (`_wait`), in slices, so that a timeout means "no progress for so long",
never "took so long in all". `exchange` reads while it writes: a server that stops reading until its output is taken
cannot deadlock us. Beside dial.py the only import of socket, and beside tls.py of ssl.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl

from mailmove.dial import Ahead, Deadline, Ok, dial, dial_unix, shown_peer, wait_for
from mailmove.errors import ConfigurationError, ConnectionLost, HostUnreachable, MailmoveError, TimedOut
from mailmove.hosts import wire_name
from mailmove.tls import TlsPolicy, pin_of, refusal

READ = 256 * 1024
TLS_ADVICE = "use the server's TLS port (995 for POP3), or pop3:// to start TLS after the greeting (STLS, port 110)"
TLS_RECORD = 16 * 1024

CERTIFICATE_ALERTS = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
"""What a server says that wants another client certificate, or one at all (RFC 8446 section 6.2)."""


class Stream:
    """A connection: TCP, or TLS over it. Every wait ends with progress, ConnectionLost, or Interrupted."""

    def __init__(self, sock: socket.socket, peer: str, timeout: float, ok: Ok) -> None:
        self._socket = sock
        self.peer = peer
        self.timeout = timeout
        self._ok = ok
        self._broken: OSError | None = None
        self._ended = False
        self.encrypted = False

    def exchange(self, outgoing: memoryview, timeout: float | None = None) -> tuple[int, bytes]:
        """Sends what the peer takes and reads what it offers: (octets taken, octets read); (0, b"") is EOF.

        Waits until at least one of the two makes progress, for `timeout` seconds. Raises ConnectionLost, Interrupted;
        but not when octets were taken, since whoever counts what went out must hear of it: then the next call does.
        A peer that has ended is sent nothing more.
        """
        deadline = Deadline(timeout or self.timeout)
        while True:
            sent = 0
            try:
                if self._broken:
                    raise self._broken
                if self._ended:
                    return 0, b""
                sent, wants_write = self._try_send(outgoing)
                data = self._try_read()
                self._ended = data == b""
            except (OSError, ssl.SSLError) as error:
                if not sent:
                    raise self._lost(error) from error
                self._broken, data = error, None
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
        context, tls = policy.context(), None
        try:
            tls = context.wrap_socket(self._socket, server_hostname=_tls_name(host), do_handshake_on_connect=False)
            self._socket = tls
            while not self._try_handshake(tls, deadline):
                pass
        except ssl.SSLCertVerificationError as error:
            raise refusal(self.peer, host, error, tls) from error
        except ssl.SSLError as error:
            raise self._no_tls(error, advice) from error
        except OSError as error:
            raise HostUnreachable(
                f"{self.peer} closed the connection in the TLS handshake ({_words(error)}); is this its TLS port?"
            ) from error
        policy.check(tls, self.peer)
        self.encrypted = True

    @property
    def protection(self) -> str:
        """The version of TLS, its cipher and the server's certificate, for a person; "" without TLS."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return ""
        cipher, certificate = self._socket.cipher(), self._socket.getpeercert(binary_form=True)
        return f"{self._socket.version()} {cipher[0] if cipher else ''}, certificate {pin_of(certificate or b'')}"

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

    def _no_tls(self, error: ssl.SSLError, advice: str) -> MailmoveError:
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            return HostUnreachable(f"{self.peer} does not speak TLS on this port; {advice}.")
        if error.reason in CERTIFICATE_ALERTS:
            return self._wants_certificate(error)
        also = "; it may want a client certificate (--client-cert FILE)" if "HANDSHAKE_FAILURE" in str(error) else ""
        return HostUnreachable(
            f"{self.peer} and we could not agree on TLS 1.2 or later ({error.reason or error}){also}."
        )

    def _wants_certificate(self, error: ssl.SSLError) -> ConfigurationError:
        said = str(error.reason).lower().replace("_", " ")
        return ConfigurationError(
            f"{self.peer} wants a client certificate it knows ({said}); give one with --client-cert FILE."
        )

    def _wait(self, events: int, deadline: Deadline) -> None:
        if not wait_for(self._socket, events, deadline, self._ok):
            raise TimedOut(f"{self.peer} made no progress for {deadline.seconds:g} s.")

    def _lost(self, error: Exception) -> MailmoveError:
        if isinstance(error, ssl.SSLError) and error.reason in CERTIFICATE_ALERTS:  # TLS 1.3: after our handshake
            return self._wants_certificate(error)
        return ConnectionLost(f"The connection to {self.peer} broke: {_words(error)}.")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


def connect(host: str, port: int, *, timeout: float, ok: Ok, ahead: Ahead | None = None) -> Stream:
    """A TCP connection to the first address of `host` that answers; the one that was made `ahead`, if one was.

    Raises HostUnreachable, Interrupted, UsageError.
    """
    sock = ahead.take(ok) if ahead else dial(host, port, timeout=timeout, ok=ok)
    return Stream(sock, shown_peer(host, port), timeout, ok)


def connect_unix(path: str, *, timeout: float, ok: Ok) -> Stream:
    """A connection to the Unix socket at `path`, which is its peer's name, too. Raises HostUnreachable, UsageError."""
    return Stream(dial_unix(path), path, timeout, ok)


def _tls_name(host: str) -> str:
    """What the certificate must name, and SNI says: an address without its zone (RFC 6874)."""
    return host.partition("%")[0] if ":" in host else wire_name(host)


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "it was cut without a TLS goodbye"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower().rstrip(".")
