"""One connection of a scripted IMAP server: its lines and literals, and what the test has it say out of turn.

Strategy: what an honest server answers is a subclass's (imap_peer.py). Here is how a command is read, which of the
test's own answers comes instead, and what happens in the middle of a literal. What follows a BAD is read as commands,
literal or not, as Dovecot does it.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.hostile.imap_account import Draft
from tests.hostile.imap_quirks import ImapQuirks, Then
from tests.support import listener

STALL_LIMIT = 120.0
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")
_ARGUMENTS = re.compile(
    rb'(?:^\S+ APPEND (?:"(?:[^"\\]|\\.)*"|\S+))? (?:\(([^)]*)\) )?(?:"([^"]*)" )?\{', re.IGNORECASE
)


class Refused(Exception):
    """What a command is answered with, without its tag."""


class Records(Protocol):
    """What a peer keeps of all its connections."""

    commands: list[str]
    sessions: list[list[str]]
    literals: int
    ended: threading.Event


class Conversation:
    """One connection. `ANSWERS`: verb -> method(tag, line); everything else is `unknown`."""

    ANSWERS: Mapping[str, str] = {}

    def __init__(self, records: Records, connection: socket.socket, quirks: ImapQuirks) -> None:
        self.records, self.quirks, self.connection = records, quirks, connection
        self.buffer = bytearray()
        self.over = False
        self.times: dict[str, int] = {}
        self.commands: list[str] = []

    def run(self) -> None:
        self.records.sessions.append(self.commands)
        if not self.quirks.greeting:
            self.stall()
        self.connection.sendall(self.quirks.greeting)
        while not self.over and (line := self.line()):
            command = line.decode("latin-1").removesuffix("\r\n")
            self.commands.append(command)
            self.records.commands.append(command)
            self.answer(line.split(b" ")[0].strip(), verb(command), line)
        if not self.over:
            listener.goodbye(self.connection)

    def answer(self, tag: bytes, name: str, line: bytes) -> None:
        try:
            if own := self.own_reply(name):
                self.answer_wrongly(tag, line, own)
            else:
                getattr(self, self.ANSWERS.get(name, "unknown"))(tag, line)
        except Refused as refused:
            self.say(tag + b" " + refused.args[0])

    def answer_wrongly(self, tag: bytes, line: bytes, own: bytes) -> None:
        """A literal that comes unasked is read before it is refused, but not before a BAD."""
        found = _LITERAL.search(line)
        if found and found[2] and b" BAD " not in own:
            self.drafts(tag, line)
        self.connection.sendall(own.replace(b"{tag}", tag))

    def own_reply(self, name: str) -> bytes:
        replies = self.quirks.replies.get(name, b"")
        if isinstance(replies, bytes):
            return replies
        place = self.times.get(name, 0)
        self.times[name] = place + 1
        return replies[min(place, len(replies) - 1)]

    def unknown(self, tag: bytes, line: bytes) -> None:
        raise Refused(b"BAD unknown command")

    def say(self, *lines: bytes) -> None:
        self.connection.sendall(b"".join(line + b"\r\n" for line in lines))

    # ---- reading

    def line(self) -> bytes:
        """The next line with its end, or b"" when the client has gone."""
        while (end := self.buffer.find(b"\n")) < 0:
            if not self.more():
                return b""
        return self.take(end + 1)

    def take(self, octets: int) -> bytes:
        taken = bytes(self.buffer[:octets])
        del self.buffer[:octets]
        return taken

    def more(self) -> bool:
        data = self.connection.recv(1 << 16)
        self.buffer += data
        return bool(data)

    def drafts(self, tag: bytes, line: bytes) -> Sequence[Draft] | None:
        """Every message of an APPEND, MULTIAPPEND (RFC 3502) or not; None when the connection is over.

        Raises Refused for what is outside the grammar; then nothing more of it is read.
        """
        drafts: list[Draft] = []
        while found := _LITERAL.search(line):
            octets, unasked = int(found[1]), bool(found[2])
            arguments = _ARGUMENTS.match(line)
            if arguments is None or (drafts and not self.quirks.offers("MULTIAPPEND")):
                raise Refused(b"BAD no such arguments")
            if unasked and not self.quirks.takes_unasked(octets):
                raise Refused(b"BAD no such literal")
            if not unasked:
                self.ask_for(octets)
            literal = self.literal(tag, octets)
            if literal is None:
                return None
            drafts.append(Draft(literal, arguments[1] or b"", arguments[2] or b""))
            if not (line := self.line()):
                return None
        if not drafts or line != b"\r\n":
            raise Refused(b"BAD no literal")
        return drafts

    def ask_for(self, octets: int) -> None:
        if self.quirks.append_limit and octets > self.quirks.append_limit:
            raise Refused(b"NO [TOOBIG] too large")
        self.say(b"+ go on")

    def literal(self, tag: bytes, octets: int) -> bytes | None:
        """A literal; None when it is not to be read to its end."""
        self.records.literals += 1
        interruption = self.quirks.interruption
        if interruption and interruption.literal in (0, self.records.literals):
            while len(self.buffer) < min(octets, interruption.after) and self.more():
                pass
            self.connection.sendall(interruption.says.replace(b"{tag}", tag))
            self.follow(interruption.then)
        while not self.over and len(self.buffer) < octets:
            self.over = not self.more()
        return None if self.over else self.take(octets)

    # ---- the end

    def follow(self, then: Then) -> None:
        self.over = then is not Then.GO_ON
        if then is Then.RESET:
            listener.reset(self.connection)
        elif then is Then.CLOSE:
            listener.close(self.connection)
            while self.connection.recv(1 << 16):  # closing with octets unread would send RST
                pass
        elif then is Then.STALL:
            self.stall()

    def stall(self) -> None:
        assert self.records.ended.wait(STALL_LIMIT), "the peer was never ended"
        self.over = True


def verb(command: str) -> str:
    """A command's name in capitals: "FETCH", "UID FETCH", or "" of a line of one word."""
    words = command.upper().split()[1:3]
    return " ".join(words if words[:1] == ["UID"] else words[:1])
