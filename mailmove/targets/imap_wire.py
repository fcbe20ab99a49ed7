"""imaplib, made to run over our Stream: the lines and literals of one IMAP connection.

Strategy: imaplib reads and writes through four methods; replaced, they give it our TLS rules, timeouts by progress and
interruption (net.py). Three of its hooks are replaced as well, so that a NO, a BAD and a BYE are our errors from the
start and imaplib's own never get out. What is left of it is the grammar of responses. APPEND is in imap_append.py.
Private names of imaplib used here and there (_command, _new_tag, _get_response, _get_tagged_response, _append_untagged,
_command_complete, tagged_commands) are the same from CPython 3.11 to 3.14; `file`, a property since 3.14, is not used.
"""

from __future__ import annotations

import imaplib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mailmove.errors import (
    CommandRejected,
    ConnectionLost,
    HostUnreachable,
    ProtocolError,
    TimedOut,
)
from mailmove.net import Stream
from mailmove.targets.imap_refusals import bad, code_of, farewell
from mailmove.tls import TlsPolicy

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GREETING = "the greeting"
LINE_LIMIT = 1_000_000
LITERAL_LIMIT = 1 << 30
SHOWN = 500
"""Characters of a server's words that an error keeps."""

CRLF = b"\r\n"


class Wire(imaplib.IMAP4):
    """imaplib over a Stream. `messages`: how many the selected mailbox holds; `expunges`: EXPUNGEs heard."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.doing = GREETING
        self.messages = 0
        self.expunges = 0
        self._hidden: Sequence[str] = ()
        self._input = bytearray()
        self._line = b""
        self._closed = False
        super().__init__(stream.peer, 0)

    # ---- imaplib's way to the network

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        self.host, self.port = host, port

    def read(self, size: int) -> bytes:
        if size > LITERAL_LIMIT:
            raise self.broken(f"announced a literal of {size} octets")
        while len(self._input) < size:
            self._fill()
        return self._take(size)

    def readline(self) -> bytes:
        searched = 0
        while (end := self._input.find(b"\n", searched)) < 0:
            searched = len(self._input)
            if searched > LINE_LIMIT:
                raise self.broken(f"sent a line of more than {LINE_LIMIT} octets")
            self._fill()
        self._line = self._take(end + 1)
        return self._line

    def send(self, data: ReadableBuffer) -> None:
        view = memoryview(data)
        while view:
            view = view[self._exchange(view) :]

    def shutdown(self) -> None:
        self._closed = True
        self.stream.close()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._input[:size])
        del self._input[:size]
        return taken

    def _fill(self) -> None:
        try:
            self._exchange(memoryview(b""))
        except TimedOut as error:
            if self.doing == GREETING:
                hint = "" if self.stream.encrypted else "; is this a TLS port? Then use imaps://"
                raise HostUnreachable(
                    f"{self.stream.peer} sent no greeting for {self.stream.timeout:g} s{hint}."
                ) from error
            raise

    def _exchange(self, outgoing: memoryview) -> int:
        if self._closed:
            raise ConnectionLost(f"The connection to {self.stream.peer} was closed before.")
        sent, received = self.stream.exchange(outgoing)
        if not sent and not received:
            raise ConnectionLost(f"{self.stream.peer} closed the connection in the middle of {self.doing}.")
        self._input += received
        return sent

    # ---- imaplib's reading of responses

    def _get_capabilities(self) -> None:
        """Those that came with the greeting (RFC 9051 section 7.1) save a round trip; else they are asked for."""
        told: list[Any] = self.untagged_responses.pop("CAPABILITY", [])
        if told and self.doing == GREETING:
            self.capabilities = tuple(self.words(told[-1]).upper().split())
        else:
            super()._get_capabilities()  # type: ignore[misc]

    def _command(self, name: str, *args: Any) -> bytes:
        self.doing = f"{name} {args[0]}" if name == "UID" else name
        tag: bytes = super()._command(name, *args)  # type: ignore[misc]
        return tag

    def _get_response(self, *args: Any) -> bytes | None:
        try:
            line: bytes | None = super()._get_response(*args)  # type: ignore[misc]
        except (imaplib.IMAP4.error, ValueError):
            text = self.words(self._line.rstrip(CRLF))
            raise self.broken(f"sent something that is no IMAP in {self.doing}: {text!r}", text) from None
        return line

    def _command_complete(self, name: str, tag: bytes) -> tuple[str, list[Any]]:
        """The tagged answer. Raises CommandRejected for NO (its code and words in it), what `bad` says for BAD."""
        kind, data = self._get_tagged_response(tag, expect_bye=name == "LOGOUT")
        text = self.words(data[-1])
        if kind == "NO":
            raise CommandRejected(
                f"{self.stream.peer} refused {self.doing}: {text!r}.",
                server_text=text,
                command=self.doing,
                code=code_of(text),
            )
        if kind == "BAD":
            self.shutdown()
            raise bad(self.stream.peer, self.doing, text)
        return kind, data

    def _append_untagged(self, kind: str, data: Any) -> None:
        """Every untagged response comes by here. Raises what a BYE means when we did not ask for it."""
        if kind == "BYE" and self.doing != "LOGOUT":
            self.shutdown()
            raise farewell(self.stream.peer, self.doing, self.words(data))
        if kind == "EXISTS":
            self.messages = int(data)
        elif kind == "EXPUNGE":
            self.messages -= 1
            self.expunges += 1
        super()._append_untagged(kind, data)  # type: ignore[misc]

    def _log(self, line: str) -> None:
        """imaplib would keep the last commands, the password among them."""

    def _mesg(self, s: str, secs: float | None = None) -> None:
        """imaplib would print to stderr."""

    def hide(self, *secrets: str) -> None:
        """From here on these are not shown, as they are or quoted, when a server repeats them."""
        quoted = (secret.replace("\\", "\\\\").replace('"', '\\"') for secret in secrets)
        self._hidden = [secret for secret in (*quoted, *secrets) if secret]

    def words(self, data: bytes | str | None) -> str:
        """A server's words, fit to be shown: not too long, and without the password it may have echoed."""
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data or ""
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text if len(text) <= SHOWN else text[:SHOWN] + "…"

    def broken(self, what: str, text: str = "") -> ProtocolError:
        """The connection is dropped; nobody can know any more what its octets mean."""
        self.shutdown()
        return ProtocolError(f"{self.stream.peer} {what}.", server_text=text)

    # ---- STARTTLS (RFC 9051 section 6.2.1)

    def start_tls(self, policy: TlsPolicy, host: str) -> None:
        self._simple_command("STARTTLS")
        if self._input:
            raise self.broken("sent something between STARTTLS and TLS, as somebody in between would")
        self.stream.start_tls(policy, host)
        self.untagged_responses.clear()
        self._get_capabilities()
