"""APPEND on the wire, pipelined: RFC 9051 section 6.3.12, MULTIAPPEND (RFC 3502), LITERAL+ and LITERAL- (RFC 7888).

Strategy: a command is begun and heard of in two calls, so that any number can be under way. No octet of a message is
altered, and none is sent where the server could take it for a command: a message's last chunk is held back until it is
known to be the last, and an answer that comes while a message is on its way ends the connection. While it sends it
reads, so a server that talks before it reads on cannot deadlock us.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mailmove.errors import ConnectionLost, TimedOut
from mailmove.protocols.whole import whole
from mailmove.targets.imap_wire import CRLF, Wire

GATHER = 64 * 1024
"""Octets that go out in one write, if so many are at hand."""


@dataclass(frozen=True, slots=True)
class Part:
    """One message of an APPEND. `head`: its flags and date. `sync`: wait for the go-ahead before its octets."""

    head: bytes
    octets: int
    chunks: Iterable[bytes]
    sync: bool


class AppendWire(Wire):
    """A Wire that appends."""

    def begin_append(self, mailbox: bytes, parts: Iterable[Part]) -> bytes:
        """Sends APPEND with all its messages; the tag by which its answer is known.

        Ends early if the server refuses a part before its octets were sent: the answer is there already then. Raises
        CommandRejected for a refusal in the middle of a message, and LocalProtocolError or whatever the chunks raise
        for a message that is not what was announced; after these the connection is closed.
        """
        self.doing = "APPEND"
        tag: bytes = self._new_tag()
        line = tag + b" APPEND " + mailbox
        for part in parts:
            line += b" " + part.head + (b" {%d}" if part.sync else b" {%d+}") % part.octets + CRLF
            if part.sync:
                self._push(tag, line)
                if self._refused(tag):
                    return tag
                line = b""
            line = self._push_whole(tag, line, part)
        self._push(tag, line + CRLF)
        return tag

    def is_answered(self, tag: bytes) -> bool:
        """Whether the answer to a command that was begun has been read."""
        return self.tagged_commands.get(tag) is not None

    def is_refused(self, tag: bytes) -> bool:
        """Whether the answer that has been read is not OK."""
        answer: Any = self.tagged_commands[tag]
        return bool(answer) and answer[0] != "OK"

    def finish_append(self, tag: bytes) -> str:
        """The text behind OK; waits for it. Raises CommandRejected, ProtocolError."""
        self.doing = "APPEND"
        _, data = self._command_complete("APPEND", tag)
        return self.words(data[-1])

    def hear_what_came(self) -> None:
        """Reads answers that are in already."""
        while b"\n" in self._input:
            self._get_response()

    def _refused(self, tag: bytes) -> bool:
        """Waits for "+". True for a NO: the session goes on, no octet of the literal was sent."""
        while self._get_response() is not None:
            answer: Any = self.tagged_commands[tag]
            if answer and answer[0] != "NO":
                self._answered_before(tag)
            if answer:
                return True
        return False

    def _answered_before(self, tag: bytes) -> None:
        """Raises for an answer that came where none belongs."""
        self._command_complete("APPEND", tag)
        raise self.broken("answered APPEND with OK before it had the message")

    def _push_whole(self, tag: bytes, line: bytes, part: Part) -> bytes:
        """Sends `line` and the message; returns what is left to be sent with what follows."""
        waiting, octets = [line], len(line)
        for piece in whole(part.chunks, part.octets):
            waiting.append(piece)
            octets += len(piece)
            if octets >= GATHER:
                self._push(tag, b"".join(waiting))
                waiting, octets = [], 0
        return b"".join(waiting)

    def _push(self, tag: bytes, data: bytes) -> None:
        """Sends while it listens: an answer to this command that comes before the message is whole ends it."""
        piece = memoryview(data)
        while piece:
            self._answered_early(tag)
            try:
                piece = piece[self._exchange(piece) :]
            except TimedOut:
                raise
            except ConnectionLost:
                self._hear_out()
                self._answered_early(tag)
                raise

    def _hear_out(self) -> None:
        """What the server said before it hung up, which tells why."""
        with contextlib.suppress(ConnectionLost):
            while data := self.stream.read():
                self._input += data

    def _answered_early(self, tag: bytes) -> None:
        while b"\n" in self._input:
            self._get_response()
            if self.tagged_commands[tag]:
                self.shutdown()
                self._answered_before(tag)
