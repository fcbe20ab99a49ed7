"""Whatever arrives, however cut: understood as the reference reads it, or ProtocolError or ConnectionLost is raised.

    python -m tests.fuzz.framing [--seconds N] [FILE...]

That is: no octet of a message is lost or altered, no answer is booked on another command, a reply line and a listing
are bounded, at most four octets of a message wait for more, the first error is the last event, and a command that may
not be sent changes nothing.

Strategy: two kinds of programs. In `check_replies` a logged-in connection has sent all its commands; the stream is made
of honest replies and of noise, and what comes out is compared with `reference`, and with what honest replies meant. In
`check_session` (session.py) commands and octets come in any order from the greeting on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mailmove.errors import ConnectionLost, ProtocolError
from mailmove.model import MessageNumber
from mailmove.protocols import pop3
from mailmove.protocols.pop3.framing import Framer
from tests.fuzz import inputs, reference
from tests.fuzz.reference import Answer, Reading, stuffed, whole
from tests.fuzz.session import check_session

HEAD = 3
LF, SMALL, EOF = 1, 2, 4
"""Flags of the third octet: a server of bare LF, limits that a short input can reach, the end after all octets."""
LIMITS = (64, 200)
SLOW = 4000
"""Longer streams are not cut into single octets."""


@dataclass
class Exchange:
    """A command, the octets that answer it, and what they mean where they were honest; None where they are noise."""

    command: pop3.Command | None
    said: bytes
    meant: Answer | None = None


def check(data: bytes) -> None:
    """One input. The first octet says of which kind it is, the second how the stream is cut."""
    (mode, style, flags), items = inputs.parse(data, HEAD)
    if mode % 2:
        check_session(items, style, pipelining=bool(flags & 1))
    else:
        check_replies(items, style, flags)


def check_replies(items: list[inputs.Item], style: int, flags: int) -> None:
    line_end = b"\n" if flags & LF else b"\r\n"
    limits = LIMITS if flags & SMALL else None
    exchanges = [_exchange(number, item, line_end) for number, item in enumerate(items, 1)]
    commands = [exchange.command for exchange in exchanges if exchange.command]
    stream = b"".join(exchange.said for exchange in exchanges)
    expected = reference.read([command.verb for command in commands], stream, line_end, limits)
    if limits is None and all(exchange.meant for exchange in exchanges):
        assert expected == Reading([exchange.meant for exchange in exchanges if exchange.meant])
    listener = Listener(_logged_in(line_end, limits), commands)
    listener.hear(inputs.cut(stream, max(style, 2) if len(stream) > SLOW else style), at_eof=bool(flags & EOF))
    _compare(listener, expected, at_eof=bool(flags & EOF))


def _logged_in(line_end: bytes, limits: tuple[int, int] | None) -> pop3.Connection:
    connection = pop3.Connection()
    if limits:
        connection._framer = Framer(*limits)
    for command in (None, pop3.User("me"), pop3.Pass("x")):
        if command:
            connection.send(command)
        connection.receive_data(b"+OK" + line_end)
        connection.next_event()
    connection.pipelining = True
    return connection


def _compare(listener: Listener, expected: Reading, at_eof: bool) -> None:
    ends = {expected.end} | ({"broken"} if expected.may_break else set())
    if at_eof:
        ends = {{"done": "closed", "waiting": "lost"}.get(end, end) for end in ends}
    assert listener.answers == expected.answers, (listener.answers, expected)
    assert listener.end in ends, (listener.end, expected)
    if listener.partial is not None and expected.end == "waiting":
        assert expected.partial.startswith(listener.partial), (listener.partial, expected)
        assert len(expected.partial) - len(listener.partial) <= reference.LAG, (listener.partial, expected)


class Listener:
    """Takes what a connection says apart, and holds each event against the command it should answer."""

    def __init__(self, connection: pop3.Connection, commands: Iterable[pop3.Command]) -> None:
        self.connection, self.asked = connection, deque(commands)
        self.answers: list[Answer] = []
        self.partial: bytes | None = None
        self.end = ""
        for command in self.asked:
            connection.send(command)

    def hear(self, pieces: Iterable[bytes], at_eof: bool) -> None:
        for piece in [b"", *pieces, *([b""] if at_eof else [])]:
            if piece or self.end:
                self.connection.receive_data(piece)
            self.end = self._drain()
            if self.end == "broken":
                return

    def _drain(self) -> str:
        try:
            while (event := self.connection.next_event()) is not pop3.NEED_DATA:
                if isinstance(event, pop3.Closed):
                    return "closed"
                self._take(event)
        except (ProtocolError, ConnectionLost) as error:
            return "broken" if isinstance(error, ProtocolError) else "lost"
        assert self.connection.outstanding == len(self.asked)
        return "waiting" if self.asked else "done"

    def _take(self, event: pop3.Event) -> None:
        assert not isinstance(event, pop3.Greeting | pop3.Closed)
        assert event.command is self.asked[0], (event, self.asked[0])
        if isinstance(event, pop3.MessageStart):
            self.partial = b""
        elif isinstance(event, pop3.MessageData):
            assert event.data and self.partial is not None
            self.partial += event.data
        else:
            self.answers.append(self._answer(event))
            self.asked.popleft()
            self.partial = None

    def _answer(self, event: pop3.Event) -> Answer:
        if isinstance(event, pop3.MessageEnd):
            return "message", self.partial
        if isinstance(event, pop3.ScanListing | pop3.UniqueIdListing):
            entries = event.sizes if isinstance(event, pop3.ScanListing) else event.ids
            return event.command.verb, dict(entries)
        if isinstance(event, pop3.MaildropStatus):
            return "status", (event.count, event.octets)
        assert isinstance(event, pop3.Refused | pop3.Accepted), event
        return ("refused" if isinstance(event, pop3.Refused) else "accepted"), event.text


# ---- What the items of check_replies are

Kind = Callable[[MessageNumber, bytes, bytes], Exchange]


def _exchange(number: int, item: inputs.Item, line_end: bytes) -> Exchange:
    kind, payload = item
    return list(KINDS.values())[kind % len(KINDS)](MessageNumber(number), payload, line_end)


def _message(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    said = b"+OK" + line_end + stuffed(payload, line_end)
    return Exchange(pop3.Retr(number), said, ("message", whole(payload, line_end)))


def _long_message(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    return _message(number, payload * 100, line_end)


def _top(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    exchange = _message(number, payload, line_end)
    return Exchange(pop3.Top(number, 0), exchange.said, exchange.meant)


def _refused(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    text = payload.translate(None, b"\r\n").lstrip(b" \t")
    return Exchange(pop3.Retr(number), b"-ERR " + text + line_end, ("refused", reference.words(text)))


def _sizes(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    sizes: dict[int, object] = {place * 7: octet * 1001 for place, octet in enumerate(payload, 1)}
    return _listing(pop3.List(), {place: str(size).encode() for place, size in sizes.items()}, sizes, line_end)


def _unique_ids(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    ids = dict(enumerate((part.strip(b" \t\r") for part in payload.replace(b"\n", b",").split(b",")), 1))
    return _listing(pop3.Uidl(), ids, {place: one.decode("latin-1") for place, one in ids.items()}, line_end)


def _listing(command: pop3.Command, values: dict[int, bytes], meant: object, line_end: bytes) -> Exchange:
    lines = b"".join(b"%d %b" % entry + line_end for entry in values.items())
    return Exchange(command, b"+OK" + line_end + stuffed(lines, line_end), (command.verb, meant))


def _status(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    return Exchange(pop3.Stat(), b"+OK %d %d" % (len(payload), number) + line_end, ("status", (len(payload), number)))


def _noise(number: MessageNumber, payload: bytes, line_end: bytes) -> Exchange:
    return Exchange(None, payload)


def _answered_by_noise(make: Callable[[MessageNumber], pop3.Command]) -> Kind:
    return lambda number, payload, line_end: Exchange(make(number), payload)


KINDS: dict[str, Kind] = {
    "message": _message,
    "refused": _refused,
    "top": _top,
    "sizes": _sizes,
    "ids": _unique_ids,
    "status": _status,
    "long": _long_message,
    "noise": _noise,
    "RETR?": _answered_by_noise(pop3.Retr),
    "LIST?": _answered_by_noise(lambda number: pop3.List()),
    "UIDL?": _answered_by_noise(lambda number: pop3.Uidl()),
    "STAT?": _answered_by_noise(lambda number: pop3.Stat()),
    "NOOP?": _answered_by_noise(lambda number: pop3.Noop()),
}


if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("framing")
