"""One POP3 connection, without the connection.

Strategy: commands wait in a queue in the order they were sent, and whatever comes in answers the first of them. What is
expected next is a method, `_read`; it returns an event, or None if it must see more octets, and replaces itself where
the grammar goes on to something else. Octets that answer nothing are an error, never the beginning of the next answer.

Rules that live here:
- The first error is the last event: the connection is dead, and says the same again however often it is asked.
- A fence has the pipe for itself; so has every command before the login, and without PIPELINING (RFC 2449 section 6.6).
- What is in the buffer behind the +OK to STLS was not protected by TLS: somebody put it there (RFC 2595 section 4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mailmove.errors import ConnectionLost, LocalProtocolError, ProtocolError
from mailmove.protocols.pop3 import listings, replies, states
from mailmove.protocols.pop3.commands import Command, ReplyKind, Stat, Stls, masked
from mailmove.protocols.pop3.events import (
    NEED_DATA,
    Accepted,
    Closed,
    Event,
    MessageData,
    MessageEnd,
    NeedData,
)
from mailmove.protocols.pop3.framing import Framer
from mailmove.protocols.pop3.states import Answer, State
from mailmove.protocols.pop3.text import broken, decode

TORN = 4
"""So many characters of a secret at the end of a text are not there by chance."""


class Connection:
    """The client's side of RFC 1939, with the extensions of RFC 2449, 2595, 3206 and 5034.

    `pipelining` is for the caller to set, when the server's CAPA says so.
    """

    def __init__(self) -> None:
        self.pipelining = False
        self._state = State.GREETING
        self._unanswered: deque[Command] = deque()
        self._confidential: list[Command] = []
        self._masks: list[tuple[str, str]] = []
        self._to_send: list[bytes] = []
        self._framer = Framer()
        self._framer.quotable = self._quotable
        self._read: Callable[[], Event | None] = self._read_greeting
        self._at_eof = False
        self._error: ConnectionLost | ProtocolError | None = None

    @property
    def state(self) -> State:
        """Where the session is (RFC 1939 section 3), as far as it has been answered."""
        return self._state

    @property
    def outstanding(self) -> int:
        """How many commands were sent and are not fully answered."""
        return len(self._unanswered)

    def send(self, command: Command) -> None:
        """Queues a command. LocalProtocolError if it may not be sent now; then nothing has changed."""
        self._raise_if_dead()
        if objection := self._objection(command):
            raise LocalProtocolError(f"{command} cannot be sent now, {objection}: this is a bug in mailmove.")
        if not self._unanswered:
            self._refuse_unsolicited()
        self._unanswered.append(command)
        if command.confidential:
            self._confidential.append(command)
            self._masks += command.masks()
        self._to_send.append(command.line())

    def data_to_send(self) -> bytes:
        """What to write to the server now."""
        data = b"".join(self._to_send)
        self._to_send.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """What the server sent; b"" if it will send no more."""
        if self._at_eof and data:
            raise LocalProtocolError("Octets were received after the end of them: this is a bug in mailmove.")
        if data:
            self._framer.receive(data)
        else:
            self._at_eof = True

    def next_event(self) -> Event | NeedData:
        """What the octets received so far mean. Raises ProtocolError or ConnectionLost, and nothing else."""
        self._raise_if_dead()
        try:
            event = self._read()
            return self._starve() if event is None else event
        except (ConnectionLost, ProtocolError) as error:
            self._die(error)
            raise

    def mask(self, text: str) -> str:
        """A text of the server's without what was sent in confidence: any later line may echo it."""
        return masked(text, self._masks)

    # Sending

    def _objection(self, command: Command) -> str:
        if not states.is_allowed(self._state, command):
            return f"in the {self._state.value} state"
        if not self._unanswered:
            return ""
        if command.fence or self._unanswered[-1].fence or self._state is not State.TRANSACTION:
            return f"while {self._unanswered[-1]} is unanswered"
        return "" if self.pipelining else "since the server did not announce PIPELINING"

    # Receiving: each reader returns an event, or None for want of octets

    def _read_greeting(self) -> Event | None:
        line = self._framer.read_line()
        if line is None:
            return None
        answer, text = replies.split(None, line)
        self._state = states.after(self._state, None, answer)
        self._read = self._read_reply
        return replies.greeting(text) if answer is Answer.ACCEPTED else replies.refused(None, text)

    def _read_reply(self) -> Event | None:
        if not self._unanswered:
            self._refuse_unsolicited()
            return None
        line = self._framer.read_line()
        if line is None:
            return None
        command = self._unanswered[0]
        if command.reply is ReplyKind.CHALLENGE and replies.is_challenge(line):
            event = replies.challenge(command, line)
            self._finish(Answer.CHALLENGED)
            return event
        answer, text = replies.split(command, self._masked(line))
        if answer is Answer.REFUSED:
            self._finish(answer)
            return replies.refused(command, text)
        return self._accept(command, text)

    def _accept(self, command: Command, text: str) -> Event | None:
        if command.reply is ReplyKind.BODY:
            self._framer.begin_body()
            self._read = self._read_message
            return replies.message_start(command, text)
        if command.reply is ReplyKind.LISTING:
            self._framer.begin_body()
            self._read = self._read_listing
            return self._read_listing()
        if isinstance(command, Stls) and self._framer.pending:
            raise broken("it sent more before TLS began, which may be an attack", self._framer.peek())
        event = replies.maildrop_status(command, text) if isinstance(command, Stat) else Accepted(command, text)
        self._finish(Answer.ACCEPTED)
        return event

    def _masked(self, line: bytes) -> bytes:
        text = decode(line)
        shown = self.mask(text)
        return line if shown == text else shown.encode()

    def _read_message(self) -> Event | None:
        block = self._framer.read_block()
        if block is None:
            return None
        if block:
            return MessageData(self._unanswered[0], block)
        event = MessageEnd(self._unanswered[0])
        self._finish(Answer.ACCEPTED)
        return event

    def _read_listing(self) -> Event | None:
        listing = self._framer.read_listing()
        if listing is None:
            return None
        event = listings.parse(self._unanswered[0], listing)
        self._finish(Answer.ACCEPTED)
        return event

    def _finish(self, answer: Answer) -> None:
        self._state = states.after(self._state, self._unanswered.popleft(), answer)
        self._read = self._read_reply

    # The end

    def _starve(self) -> Event | NeedData:
        if not self._at_eof:
            return NEED_DATA
        if awaited := self._awaited():
            raise ConnectionLost(f"The server closed the connection while {awaited} was awaited.")
        self._state = State.CLOSED
        return Closed()

    def _awaited(self) -> str:
        if self._state is State.GREETING:
            return "the greeting"
        if self._state is State.AUTHENTICATING and not self._unanswered:
            return "the end of the login"
        if not self._unanswered:
            return ""
        part = "the reply to" if self._read == self._read_reply else "the rest of the reply to"
        return f"{part} {self._unanswered[0]}"

    def _refuse_unsolicited(self) -> None:
        if self._framer.pending:
            error = broken("it sent what answers no command", self._framer.quotable(self._framer.peek()))
            self._die(error)
            raise error

    def _quotable(self, text: str) -> str:
        """Masked, though an echo may not be all here."""
        text = self.mask(text)
        for command in self._confidential:
            text = _without_torn_echo(text, command)
        return text

    def _raise_if_dead(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _die(self, error: ConnectionLost | ProtocolError) -> None:
        self._error = error
        self._state = State.CLOSED


def _without_torn_echo(text: str, command: Command) -> str:
    """`text` up to an echo of the command that breaks off within its secret, if at least some of it is there."""
    shown = str(command).removesuffix("***")
    for line in (command.line()[:-2].decode(), command.line()[:-2].decode("latin-1")):  # as text.decode may have it
        in_the_open = len(shown) if line.startswith(shown) else 0
        for length in range(len(line), in_the_open + TORN - 1, -1):
            if text.endswith(line[:length]):
                return text[:-length] + str(command)
    return text
