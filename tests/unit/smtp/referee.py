"""An SMTP or LMTP server without a network that takes every word as it stands, and the other half of a conversation.

Strategy: it shares nothing with the code under test: it reads octet by octet, un-stuffs by a state machine of its own,
and is as nasty as RFC 3030 allows: a refused BDAT leaves the transaction open, so that a recipient named without RSET
would get somebody else's mail. What it delivered is the truth that outcomes are held against. What is no command it
counts as `strangers`: those would be content, read as commands.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mailmove.errors import MailmoveError
from mailmove.model import Body
from mailmove.protocols.smtp import Conversation, NeedData, Offers, Outcome

Answers = Callable[[str, int], str]
"""What a command is answered with: its verb (or "final"), and which one of its kind it is, from 0; "" is a yes."""

COMMAND = re.compile(rb"(MAIL FROM|RCPT TO):<([^<>\s]*)>((?: [A-Z0-9=]+)*)|(DATA|RSET|QUIT)|BDAT (\d+)( LAST)?")
YES = {"DATA": "354 go ahead"}


@dataclass(frozen=True, eq=False)
class Letter:
    """A message of a test, in the chunks it is given in."""

    pieces: Sequence[bytes]
    recipients: tuple[str, ...] = ("new@example.org",)
    sender: str = "me@example.org"
    body: Body = Body.SEVEN_BIT

    @property
    def whole(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def octets(self) -> int:
        return len(self.whole)

    @property
    def chunks(self) -> Callable[[], Iterator[bytes]]:
        return lambda: iter(self.pieces)


@dataclass
class Referee:
    """The server. `delivered`: (recipient, octets) of each message it took, in order. `gullible`: it says 354 though it
    refused everybody. `closed`: it has said 421, and takes nothing more. Without `knows_bdat` chunks are lines."""

    lmtp: bool = False
    answers: Answers = lambda verb, number: ""
    gullible: bool = False
    delivered: list[tuple[str, bytes]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    strangers: list[bytes] = field(default_factory=list)
    closed: bool = False
    _counts: dict[str, int] = field(default_factory=dict)
    _input: bytearray = field(default_factory=bytearray)
    _sender: bytes | None = None
    _recipients: list[str] = field(default_factory=list)
    _mode: str = "command"
    knows_bdat: bool = True
    _wanted: int = 0
    _last: bool = True
    _chunks: bytes = b""
    _text: bytearray = field(default_factory=bytearray)

    def hear(self, data: bytes) -> bytes:
        """Octets of the client's; what the server says to them."""
        said = b""
        for octet in data:
            if not self.closed:
                self._input.append(octet)
                said += self._step()
        return said

    def _step(self) -> bytes:
        if self._mode == "chunk":
            return self._chunk() if len(self._input) == self._wanted else b""
        if not self._input.endswith(b"\r\n"):
            return b""
        line, self._input = bytes(self._input[:-2]), bytearray()
        return self._text_line(line) if self._mode == "text" else self._command(line)

    def _text_line(self, line: bytes) -> bytes:
        """A reference un-stuffer (RFC 5321 section 4.5.2): what matters is the first character of a line."""
        if line == b".":
            self._mode = "command"
            return self._final(bytes(self._text), over=True)
        self._text += (line[1:] if line.startswith(b".") else line) + b"\r\n"
        return b""

    def _chunk(self) -> bytes:
        octets, self._input, self._mode = bytes(self._input), bytearray(), "command"
        if not self._last and not self._recipients:
            return b"503 5.5.1 no RCPT\r\n"
        if not self._last:
            answer = self._answer("chunk")
            self._chunks += octets if answer.startswith("2") else b""
            return answer.encode() + b"\r\n"
        message, self._chunks = self._chunks + octets, b""
        return self._final(message, over=False)

    def _command(self, line: bytes) -> bytes:
        found = COMMAND.fullmatch(line)
        if found is None or (found[5] and not self.knows_bdat):
            self.strangers.append(line)
            return b"500 what?\r\n"
        self.lines.append(line)
        if found[5]:
            self._mode, self._wanted, self._last = "chunk", int(found[5]), bool(found[6])
            return b"" if self._wanted else self._chunk()
        verb = (found[1] or found[4]).decode().split()[0]
        refusal = self._objection(verb)
        answer = refusal or self._answer(verb)
        if answer[0] in "23":
            self._obey(verb, (found[2] or b"").decode())
        return answer.encode() + b"\r\n"

    def _objection(self, verb: str) -> str:
        if verb == "MAIL" and self._sender is not None:
            return "503 5.5.1 nested MAIL"
        if verb == "RCPT" and self._sender is None:
            return "503 5.5.1 no MAIL"
        return "503 5.5.1 no RCPT" if verb == "DATA" and not self._recipients and not self.gullible else ""

    def _answer(self, verb: str) -> str:
        number = self._counts[verb] = self._counts.get(verb, -1) + 1
        answer = self.answers(verb, number) or YES.get(verb, f"250 2.0.0 {verb} {number}")
        self.closed = answer.startswith("421")
        return answer

    def _obey(self, verb: str, address: str) -> None:
        if verb == "MAIL":
            self._sender, self._recipients, self._chunks = address.encode(), [], b""
        elif verb == "RCPT":
            self._recipients.append(address)
        elif verb == "RSET":
            self._sender, self._recipients, self._chunks = None, [], b""
        elif verb == "DATA":
            self._mode, self._text = "text", bytearray()

    def _final(self, message: bytes, *, over: bool) -> bytes:
        """`over`: a refused BDAT is not the end of a transaction (RFC 3030 section 2), a dot is."""
        if not self._recipients and not over:
            return b"503 5.5.1 no RCPT\r\n"
        answers = []
        for _ in self._recipients if self.lmtp else [""]:
            answers += [self._answer("final")] if not self.closed else []
        for recipient, answer in zip(self._recipients, answers if self.lmtp else answers * 99, strict=False):
            if answer.startswith("2"):
                self.delivered.append((recipient, message))
        if over or any(answer.startswith("2") for answer in answers):
            self._sender, self._recipients = None, []
        return b"".join(answer.encode() + b"\r\n" for answer in answers)


@dataclass
class Talk:
    """How a conversation went. `error`: what ended it; `flights`: what was written at a time; `said`: replies."""

    outcomes: list[Outcome[Letter]] = field(default_factory=list)
    error: MailmoveError | None = None
    flights: list[bytes] = field(default_factory=list)
    said: bytes = b""

    @property
    def codes(self) -> list[dict[str, int]]:
        return [{name: reply.code for name, reply in outcome.replies.items()} for outcome in self.outcomes]


def talk(
    offers: Offers,
    referee: Referee,
    letters: Sequence[Letter],
    *,
    seed: int | None = None,
    takes: int = 1 << 60,
    hears: int = 1 << 60,
) -> Talk:
    """Sends the letters. With a `seed` octets come and go in pieces, else as much as there is. The network breaks when
    it has taken `takes` octets or would bring the octet after `hears`."""
    conversation, course = Conversation[Letter](offers), Talk()
    conversation.send(letters)
    lengths = random.Random(seed)
    outgoing = incoming = b""
    try:
        while conversation.under_way:
            if not outgoing and (outgoing := conversation.data_to_send()):
                course.flights.append(outgoing)
            sent = _length(lengths if seed is not None else None, len(outgoing[:takes]))
            conversation.sent(sent)
            incoming += referee.hear(outgoing[:sent])
            heard = _length(lengths if seed is not None else None, len(incoming[:hears]))
            if outgoing[:takes] or incoming[:hears]:
                course.said += incoming[:heard]
                conversation.receive_data(incoming[:heard]) if heard else None
            else:
                conversation.receive_data(b"")
            outgoing, incoming, takes, hears = outgoing[sent:], incoming[heard:], takes - sent, hears - heard
            _drain(conversation, course)
    except MailmoveError as error:
        course.error = error
        course.outcomes += conversation.leftover()
    return course


def _length(lengths: random.Random | None, most: int) -> int:
    return most if lengths is None else min(most, lengths.choice((0, 1, 2, 5, 60, 4000)))


def _drain(conversation: Conversation[Letter], course: Talk) -> None:
    while not isinstance(outcome := conversation.next_event(), NeedData):
        course.outcomes.append(outcome)


def assert_true(done: Talk, referee: Referee, letters: Sequence[Letter]) -> None:
    """Whether what was told is so, by what the server knows. No two of the letters are alike."""
    delivered = set(referee.delivered)
    assert all(len(line) < 2 for line in referee.strangers if referee.knows_bdat or line != b"BDAT 1")
    assert len(delivered) == len(referee.delivered)
    told = [outcome.mail for outcome in done.outcomes]
    assert told == [letter for letter in letters if letter in told]
    for outcome in done.outcomes:
        for recipient in outcome.mail.recipients:
            is_there = (recipient, outcome.mail.whole) in delivered
            if recipient in outcome.replies:
                assert outcome.replies[recipient].is_positive == is_there
            elif outcome.unsent:
                assert not is_there
    if done.error is None:
        assert told == letters
        assert all(set(outcome.replies) == set(outcome.mail.recipients) for outcome in done.outcomes)
