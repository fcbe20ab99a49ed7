"""A connection that tells what it says and hears, without the secrets, for a log that a person may show around.

Strategy: the core is listened to from outside, so that it costs nothing where nobody listens. Whole lines are told as
they crossed the wire; of a message only how long it is. What a SASL exchange says is masked in both directions: the
server's half of SCRAM, for one, is enough to try out passwords.
"""

from __future__ import annotations

from collections.abc import Callable

from mailmove.errors import ConnectionLost, ProtocolError
from mailmove.model import Transcript
from mailmove.protocols.pop3 import replies
from mailmove.protocols.pop3.commands import Command, ReplyKind
from mailmove.protocols.pop3.connection import Connection
from mailmove.protocols.pop3.events import Event, NeedData
from mailmove.protocols.pop3.framing import Framer
from mailmove.protocols.pop3.login_commands import Apop, User
from mailmove.protocols.pop3.text import decode


class TranscribedConnection(Connection):
    """A Connection whose lines go to `transcript`, too."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__()
        self._transcript = transcript
        self._told: Exception | None = None
        self._framer: _TranscribedFramer = _TranscribedFramer(self._heard)
        self._framer.quotable = self._quotable

    def send(self, command: Command) -> None:
        super().send(command)
        self._transcript("C", f"{command.verb} ***" if isinstance(command, User | Apop) else str(command))

    def next_event(self) -> Event | NeedData:
        try:
            return super().next_event()
        except (ConnectionLost, ProtocolError) as error:
            self._tell_of(error)
            raise

    def _tell_of(self, error: ConnectionLost | ProtocolError) -> None:
        if error is self._told:  # a dead connection says the same whenever it is asked
            return
        self._told = error
        if self._framer.octets:
            self._transcript("S", f"[{self._framer.octets} octets of message, unfinished]")
        self._transcript("-", error.message)

    def _heard(self, line: bytes) -> None:
        command = self._unanswered[0] if self._unanswered else None
        if command and command.reply is ReplyKind.CHALLENGE and replies.is_challenge(line) and line.strip() != b"+":
            self._transcript("S", "+ ***")
        else:
            self._transcript("S", self.mask(decode(line)))


class _TranscribedFramer(Framer):
    """A Framer that tells each line, each line of a listing, and the length of each message."""

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        super().__init__()
        self._tell = tell
        self._in_listing = False
        self.octets = 0

    def read_line(self) -> bytes | None:
        line = super().read_line()
        if line is not None:
            self._tell(line)
        return line

    def read_block(self) -> bytes | None:
        block = super().read_block()
        if block and not self._in_listing:
            self.octets += len(block)
        elif block == b"" and not self._in_listing:
            self._tell(b"[%d octets of message]" % self.octets)
            self._tell(b".")
            self.octets = 0
        return block

    def read_listing(self) -> bytes | None:
        self._in_listing = True
        listing = super().read_listing()
        self._in_listing = False
        if listing is not None:
            for line in (*listing.splitlines(), b"."):
                self._tell(line)
        return listing
