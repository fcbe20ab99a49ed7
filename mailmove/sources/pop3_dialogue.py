"""Commands out, events in: pumps the sans-IO core over a Stream.

Strategy: whatever waits to be sent goes out while the next answer is read, so that neither side ever waits for the
other to read first. The server's refusals become our errors here, with its own words in them.
"""

from __future__ import annotations

import re
from collections import deque

from mailmove.errors import CommandRejected, ConnectionLost, TryLater
from mailmove.model import Transcript
from mailmove.net import Stream
from mailmove.protocols import pop3

WAIT_CODES = frozenset({"IN-USE", "LOGIN-DELAY", "SYS/TEMP"})
"""Response codes that ask us to come back later (RFC 2449 section 8.1, RFC 3206 section 4)."""


def seconds(text: str) -> float | None:
    """The number behind LOGIN-DELAY, if it is one (RFC 2449 section 8.1.1)."""
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


class Dialogue:
    """One connection to a server. `was_pipelined`: several commands were on their way at a time."""

    def __init__(self, stream: Stream, transcript: Transcript | None = None) -> None:
        self.stream = stream
        self.core = pop3.TranscribedConnection(transcript) if transcript else pop3.Connection()
        self.was_pipelined = False
        self._transcript = transcript
        self._outgoing = b""
        self._ahead = deque[pop3.Command]()

    def note(self, what: str) -> None:
        """Tells the transcript something about the connection."""
        if self._transcript:
            self._transcript("-", what)

    @property
    def is_ahead(self) -> bool:
        """Whether something was sent that nobody has asked for yet."""
        return bool(self._ahead)

    def send_ahead(self, *commands: pop3.Command) -> None:
        """These go out together; who asks them later, in this order, finds the answer on its way."""
        for command in commands:
            self.core.send(command)
        self._ahead.extend(commands)

    def ask(self, command: pop3.Command) -> pop3.Event:
        """One command and its answer. Raises CommandRejected or TryLater for -ERR."""
        if self._ahead and self._ahead[0] == command:
            self._ahead.popleft()
        else:
            self.core.send(command)
        event = self.hear()
        if isinstance(event, pop3.Refused):
            raise self._rejection(command, event)
        return event

    def _rejection(self, command: pop3.Command, event: pop3.Refused) -> CommandRejected:
        said = f"{self.stream.peer} refused {command.verb}: {event.text!r}."
        if event.code in WAIT_CODES:
            delay = seconds(event.argument)
            return TryLater(said, server_text=event.text, command=command.verb, code=event.code, delay=delay)
        return CommandRejected(said, server_text=event.text, command=command.verb, code=event.code)

    def hear(self) -> pop3.Event:
        while (event := self.core.next_event()) is pop3.NEED_DATA:
            self.fill()
        if isinstance(event, pop3.Closed):
            raise ConnectionLost(f"{self.stream.peer} closed the connection.")
        return event

    def fill(self) -> None:
        """Reads while it sends, so that neither side ever waits for the other to read first."""
        self._outgoing += self.core.data_to_send()
        sent, data = self.stream.exchange(memoryview(self._outgoing))
        self._outgoing = self._outgoing[sent:]
        if data or not sent:
            self.core.receive_data(data)
