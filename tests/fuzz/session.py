"""The second half of tests.fuzz.framing: commands and octets in any order, from the greeting on.

Strategy: a model that knows only what was sent and not yet answered. Every event must answer the first of it and be of
a kind that command can get; what may not be sent must change nothing; after an error everything says the same error
again. The program is played twice, whole and cut, and must tell the same. The octets are noise, or an honest answer to
what is asked at that moment, so that a program gets deep into a session.
"""

from __future__ import annotations

import types
from collections import deque

from mailmove.errors import ConnectionLost, LocalProtocolError, ProtocolError
from mailmove.model import MessageNumber
from mailmove.protocols import pop3
from tests.fuzz import inputs
from tests.fuzz.reference import stuffed

VERBS = ("CAPA", "STLS", "USER", "PASS", "AUTH", "response", "cancel", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE")
VERBS += ("RSET", "NOOP", "QUIT")
OTHERS = ("noise", "honest", "honest then noise", "EOF")
KINDS = VERBS + OTHERS

LISTINGS = {pop3.Capa: pop3.CapabilityList, pop3.List: pop3.ScanListing, pop3.Uidl: pop3.UniqueIdListing}
GREETING = b"+OK <1@x>\r\n"


def check_session(items: list[inputs.Item], style: int, *, pipelining: bool) -> None:
    told = [Session(pipelining, style).play(items) for style in (0, style)]
    assert told[0] == told[1], told


class Session:
    """One connection and the model of it. `told` are its events, adjacent MessageData merged, and the error's class."""

    def __init__(self, pipelining: bool, style: int) -> None:
        self.connection = pop3.Connection()
        self.connection.pipelining = pipelining
        self.style = style
        self.unanswered: deque[pop3.Command] = deque()
        self.told: list[object] = []
        self.greeted = self.in_message = self.at_eof = self.over = self.secured = False

    def play(self, items: list[inputs.Item]) -> list[object]:
        for kind, payload in items:
            name = KINDS[kind % len(KINDS)]
            if name in VERBS:
                self._send(_command(name, payload))
            else:
                self._receive(name, payload)
            if self.over:
                break
        return self._without_stls()

    def _without_stls(self) -> list[object]:
        """Whether the last +OK to STLS is told depends on whether the octets behind it came with it."""
        if self.told[-1:] == [ProtocolError]:
            while _answers_stls(self.told[-2:-1]):
                del self.told[-2]
        return self.told

    def _send(self, command: pop3.Command) -> None:
        try:
            self.connection.send(command)
        except LocalProtocolError:
            assert self.connection.outstanding == len(self.unanswered)
            assert self.connection.data_to_send() == b""
        else:
            self.unanswered.append(command)
            assert self.connection.data_to_send() == command.line()

    def _receive(self, name: str, payload: bytes) -> None:
        if self.at_eof:
            return
        octets = b"" if name == "EOF" else self._octets(name, payload)
        self.at_eof = name == "EOF"
        for piece in [b""] if self.at_eof else inputs.cut(octets, self.style):
            self.connection.receive_data(piece)
            self._drain()
            if self.over:
                return

    def _octets(self, name: str, payload: bytes) -> bytes:
        honest = b"" if name == "noise" else self._honest(payload if name == "honest" else b"")
        return honest + (b"" if name == "honest" else payload)

    def _honest(self, payload: bytes) -> bytes:
        if not self.greeted:
            return GREETING
        if not self.unanswered or self.in_message:
            return b""
        command = self.unanswered[0]
        if command.reply is pop3.ReplyKind.CHALLENGE and not payload:
            return b"+ \r\n"
        return b"+OK 1 2\r\n" + (b"" if command.reply in _SINGLE else _body(command, payload))

    def _drain(self) -> None:
        self.secured = False
        try:
            while (event := self.connection.next_event()) is not pop3.NEED_DATA and not self.over:
                self._take(event)
        except (ProtocolError, ConnectionLost) as error:
            self._end(error)
        else:
            assert self.over or self.connection.outstanding == len(self.unanswered)

    def _end(self, error: ProtocolError | ConnectionLost) -> None:
        assert isinstance(error, ProtocolError) or self.at_eof
        assert not self.secured, "STLS was accepted, with plaintext behind its +OK"
        self.told.append(type(error))
        self.over = True
        assert self.connection.state is pop3.State.CLOSED
        for again in (self.connection.next_event, lambda: self.connection.send(pop3.Noop())):
            try:
                again()
            except (ProtocolError, ConnectionLost) as repeated:
                assert repeated is error
            else:
                raise AssertionError("the connection lives on after its error")

    def _take(self, event: pop3.Event) -> None:
        if isinstance(event, pop3.Closed):
            assert self.at_eof and not self.unanswered
            self.over = True
        elif not self.greeted:
            assert isinstance(event, pop3.Greeting) or event.command is None
            self.greeted = True
        else:
            self._answer(event)
            self.secured = _answers_stls([event])
        self._tell(event)

    def _answer(self, event: pop3.Event) -> None:
        assert not isinstance(event, pop3.Greeting | pop3.Closed)
        command = self.unanswered[0]
        assert event.command is command, (event, command)
        assert _fits(event, self.in_message), (event, self.in_message)
        self.in_message = isinstance(event, pop3.MessageStart | pop3.MessageData)
        if not self.in_message:
            self.unanswered.popleft()

    def _tell(self, event: pop3.Event) -> None:
        last = self.told[-1] if self.told else None
        if isinstance(event, pop3.MessageData) and isinstance(last, pop3.MessageData):
            self.told[-1] = pop3.MessageData(last.command, last.data + event.data)
        else:
            self.told.append(event)


_SINGLE = (pop3.ReplyKind.SINGLE, pop3.ReplyKind.CHALLENGE)


def _fits(event: pop3.Event, in_message: bool) -> bool:
    """Whether this command can get such an event now."""
    assert not isinstance(event, pop3.Greeting | pop3.Closed)
    if isinstance(event, pop3.MessageData | pop3.MessageEnd):
        return in_message
    if in_message or event.command is None:
        return False
    return isinstance(event, pop3.Refused | _accepting(event.command))


def _accepting(command: pop3.Command) -> type | types.UnionType:
    if command.reply is pop3.ReplyKind.BODY:
        return pop3.MessageStart
    if command.reply is pop3.ReplyKind.CHALLENGE:
        return pop3.Accepted | pop3.Challenge
    if isinstance(command, pop3.Stat):
        return pop3.MaildropStatus | pop3.Accepted
    return LISTINGS.get(type(command), pop3.Accepted)


def _answers_stls(told: list[object]) -> bool:
    return any(isinstance(event, pop3.Accepted) and isinstance(event.command, pop3.Stls) for event in told)


def _body(command: pop3.Command, payload: bytes) -> bytes:
    if command.reply is pop3.ReplyKind.BODY or isinstance(command, pop3.Capa):
        return stuffed(payload, b"\r\n")
    return stuffed(b"".join(b"%d %d\r\n" % entry for entry in enumerate(payload, 1)), b"\r\n")


def _command(name: str, payload: bytes) -> pop3.Command:
    number = MessageNumber(1 + sum(payload[:1]))
    commands: dict[str, pop3.Command] = {
        "CAPA": pop3.Capa(),
        "STLS": pop3.Stls(),
        "USER": pop3.User("me"),
        "PASS": pop3.Pass("secret"),
        "AUTH": pop3.Auth("PLAIN", payload or None),
        "response": pop3.AuthResponse(payload),
        "cancel": pop3.AuthCancel(),
        "STAT": pop3.Stat(),
        "LIST": pop3.List(),
        "UIDL": pop3.Uidl(),
        "RETR": pop3.Retr(number),
        "TOP": pop3.Top(number, len(payload)),
        "DELE": pop3.Dele(number),
        "RSET": pop3.Rset(),
        "NOOP": pop3.Noop(),
        "QUIT": pop3.Quit(),
    }
    return commands[name]
