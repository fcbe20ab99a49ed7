"""One connection of a scripted SMTP server: its lines and octets, what the test has it say, and what it notes of it.

Strategy: what an honest server answers is a subclass's (smtp_peer.py). Here is how a command and a message are read,
which Rule decides what is said, and what follows. What a client may not do (RFC 2920: talk ahead without being invited;
RFC 3030, RFC 6152: send octets that the transaction was not announced for) is noted, and not minded.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tests.hostile.smtp_quirks import Rule, SmtpQuirks, Then
from tests.support import listener

STALL_LIMIT = 120.0
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_HIGH = re.compile(rb"[\x80-\xff]")


@dataclass(eq=False)
class Transaction:
    """What one MAIL began. `parameters` are those of MAIL; `offered`: every RCPT; `recipients`: those accepted.

    `octets` is what has come of the message, un-stuffed; `by` is the command it came by, "" if none was accepted.
    `kept`: the recipients for whom the server has it. `ended`: the message was whole.
    """

    sender: str
    parameters: str = ""
    offered: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    octets: bytes = b""
    by: str = ""
    kept: list[str] = field(default_factory=list)
    ended: bool = False

    def broken_rules(self) -> list[str]:
        """What its octets need that was not asked for."""
        binary, eight = "BODY=BINARYMIME" in self.parameters, "BODY=8BITMIME" in self.parameters
        found = []
        size = re.search(r"SIZE=(\d+)", self.parameters.upper())
        if size and self.octets and not 0 <= len(self.octets) - int(size[1]) <= 2:
            found.append(f"{len(self.octets)} octets by {self.by} with {size[0]}")
        if binary and self.by == "DATA":
            found.append("BODY=BINARYMIME by DATA")
        if not binary and _BARE.search(self.octets):
            found.append(f"NUL or bare newline by {self.by} without BODY=BINARYMIME")
        if not (binary or eight) and _HIGH.search(self.octets):
            found.append(f"8 bits by {self.by} without BODY=8BITMIME")
        return found


class Records(Protocol):
    """What a peer keeps of all its connections."""

    commands: list[str]
    transactions: list[Transaction]
    violations: list[str]
    ended: threading.Event

    def begin(self) -> tuple[int, list[str]]:
        """A session's number, from 1, and where its commands are kept."""

    def rule_for(self, stage: str, session: int, octets: bytes, *, crowded: bool) -> Rule: ...


class Conversation:
    """One connection. A subclass says in `answer` what to do with a command."""

    def __init__(self, records: Records, connection: socket.socket, quirks: SmtpQuirks) -> None:
        self.records, self.quirks, self.connection = records, quirks, connection
        self.buffer = bytearray()
        self.over = False
        self.number, self.commands = records.begin()
        self.transaction: Transaction | None = None

    def run(self) -> None:
        self.exchange("GREETING", b"220 peer.example ready\r\n")
        while not self.over and (line := self.line()):
            command = line.decode("latin-1").removesuffix("\n").removesuffix("\r")
            self.commands.append(command)
            self.records.commands.append(command)
            self.answer(command)
            if self.quirks.forgets_pipelined:
                self.buffer.clear()
        if not self.over:
            listener.goodbye(self.connection)

    def answer(self, command: str) -> None:
        raise NotImplementedError

    # ---- what is said

    def exchange(self, stage: str, honest: bytes, octets: bytes = b"", kept: Callable[[], object] | None = None) -> str:
        """Answers, and does what the test has follow: the first digit of the reply, swallowed or not.

        `kept` is called before anything is said, if the server has now taken what it is about.
        """
        rule = self.rule(stage, octets)
        if kept and rule.takes(honest):
            kept()
        said = rule.said(honest)
        self.connection.sendall(said)
        self.follow(rule.then)
        return (said or honest)[:1].decode("latin-1")

    def rule(self, stage: str, octets: bytes = b"") -> Rule:
        return self.records.rule_for(stage, self.number, octets, crowded=bool(self.buffer))

    def violated(self, what: str) -> None:
        self.records.violations.append(what)

    # ---- what is read

    def line(self) -> bytes:
        """Up to LF, or b"" when the client has ended: half a line is none."""
        while (end := self.buffer.find(b"\n")) < 0:
            if not self.more():
                return b""
        return self.take(end + 1)

    def take(self, count: int) -> bytes:
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def more(self) -> bool:
        data = self.connection.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def chunk(self, octets: int, *, last: bool = True) -> bytes | None:
        """So many octets; None when they do not come, or the test has the connection end in the middle of them."""
        if last and not self._begins(lambda: len(self.buffer) >= octets):
            return None
        while len(self.buffer) < octets:
            if not self.more():
                return None
        return self.take(octets)

    def lines_to_the_dot(self) -> bytes | None:
        """What DATA is followed by, un-stuffed; None as above."""
        ends = re.compile(self.quirks.data_ends)
        self.buffer[:0] = b"\r\n"  # the line end behind DATA, so that a dot can be the first line
        if not self._begins(lambda: ends.search(self.buffer) is not None):
            return None
        searched = 0
        while (found := ends.search(self.buffer, searched)) is None:
            searched = max(0, len(self.buffer) - 8)
            if not self.more():
                return None
        body = self.take(found.end())[: found.end(1)]
        return re.sub(rb"(?<=\r\n)\.", b"", body)[2:]

    def _begins(self, whole: Callable[[], bool]) -> bool:
        """False when the test has something happen in a message, and that ends the connection."""
        rule = self.rule(f"BODY {self.transaction.parameters if self.transaction else ''}")
        if rule.reply is None and rule.then is Then.GO_ON:
            return True
        while len(self.buffer) < rule.after and not whole() and self.more():
            pass
        self.connection.sendall(rule.said(b""))
        self.follow(rule.then)
        return not self.over

    # ---- the end

    def follow(self, then: Then) -> None:
        self.over = self.over or then is not Then.GO_ON
        if then is Then.RESET:
            listener.reset(self.connection)
        elif then is Then.GOODBYE:
            listener.goodbye(self.connection)
        elif then is Then.CLOSE:
            listener.close(self.connection)
            while self.connection.recv(1 << 16):  # closing with octets unread would send RST
                pass
        elif then is Then.STALL:
            assert self.records.ended.wait(STALL_LIMIT), "the peer was never ended"
