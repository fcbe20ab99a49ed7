"""The referee: a POP3 client of 100 lines on a bare socket, sharing nothing with mailmove and nothing with poplib.

Strategy: as dumb as RFC 1939 allows. One command, one reply, one line at a time; un-stuffing is "a line that begins
with a dot loses it". Slow, obvious, and therefore what the fast code is compared with.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Self

HOST, PASSWORD = "127.0.0.1", "secret"
PATIENCE = 30.0


class Refused(Exception):
    """The server said -ERR; the text is its own."""


class Referee:
    """One POP3 session. `context` makes it TLS from the start, or after STLS with `stls=True`."""

    def __init__(
        self, port: int, *, context: ssl.SSLContext | None = None, stls: bool = False, line_end: bytes = b"\r\n"
    ) -> None:
        self._line_end = line_end
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        self._file = self._socket.makefile("rb")
        try:
            self.greeting = self._greet(context, stls)
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> bytes:
        """Sends one command; the text behind +OK."""
        self._socket.sendall(command.encode("latin-1") + b"\r\n")
        return self._status()

    def ask_lines(self, command: str) -> list[bytes]:
        """Sends one command with a multi-line reply; its lines, un-stuffed, with their line ends."""
        self.ask(command)
        return list(self._lines())

    def login(self, user: str, password: str = PASSWORD) -> None:
        self.ask(f"USER {user}")
        self.ask(f"PASS {password}")

    def capabilities(self) -> list[str]:
        return [line.decode("latin-1").strip() for line in self.ask_lines("CAPA")]

    def unique_ids(self) -> dict[int, str]:
        """{message number: unique id}."""
        pairs = (line.split() for line in self.ask_lines("UIDL"))
        return {int(number): unique_id.decode("latin-1") for number, unique_id in pairs}

    def sizes(self) -> dict[int, int]:
        """{message number: octets}."""
        pairs = (line.split()[:2] for line in self.ask_lines("LIST"))
        return {int(number): int(octets) for number, octets in pairs}

    def retrieve(self, number: int) -> bytes:
        return b"".join(self.ask_lines(f"RETR {number}"))

    def quit(self) -> None:
        self.ask("QUIT")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _greet(self, context: ssl.SSLContext | None, stls: bool) -> bytes:
        if context and not stls:
            self._wrap(context)
        greeting = self._status()
        if context and stls:
            self.ask("STLS")
            self._wrap(context)
        return greeting

    def _wrap(self, context: ssl.SSLContext) -> None:
        self._file.close()
        self._socket = context.wrap_socket(self._socket, server_hostname=HOST)
        self._file = self._socket.makefile("rb")

    def _status(self) -> bytes:
        line = self._line().removesuffix(self._line_end)
        if not line.startswith(b"+OK"):
            raise Refused(line.decode("latin-1"))
        return line[3:].strip()

    def _lines(self) -> Iterator[bytes]:
        """Un-stuffed: only ".." can be a stuffed dot. A lone leading one was not stuffed (Dovecot 2.3 leaves the very
        first octet of a message so), and is content."""
        while (line := self._line()) != b"." + self._line_end:
            yield line[1:] if line.startswith(b"..") else line

    def _line(self) -> bytes:
        """Up to CRLF: a bare LF is an octet like any other, unless the server ends all its lines so."""
        line = b""
        while not line.endswith(self._line_end):
            piece = self._file.readline()
            if not piece.endswith(b"\n"):
                raise EOFError(f"the connection ended in the middle of a reply: {line + piece!r}")
            line += piece
        return line


def fetch_all(
    port: int,
    user: str,
    password: str = PASSWORD,
    *,
    context: ssl.SSLContext | None = None,
    stls: bool = False,
    line_end: bytes = b"\r\n",
) -> dict[str, bytes]:
    """{unique id: octets} of everything in a maildrop, one RETR after the other. Unique ids have to be unique."""
    with Referee(port, context=context, stls=stls, line_end=line_end) as session:
        session.login(user, password)
        ids = session.unique_ids()
        assert len(set(ids.values())) == len(ids), "this maildrop lists a unique id twice: use Referee itself"
        found = {unique_id: session.retrieve(number) for number, unique_id in ids.items()}
        session.quit()
    return found
