"""A POP3 maildrop as a Source: pumps the sans-IO core over a Stream (design.md section 6).

Strategy: `open_pop3` logs in (pop3_login.py) and hands over a session in the transaction state; nothing here decides
what to fetch or what it was worth. Retrieval keeps a window of RETRs in flight, refilled in batches, and always reads
while it sends. The server's refusals become our errors here, with its own words in them.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mailmove.errors import (
    CommandRejected,
    ConnectionLost,
    MailmoveError,
    MessageRejected,
    ProtocolError,
    TryLater,
)
from mailmove.model import MaildropEntry, MessageNumber, Transcript, UniqueId
from mailmove.net import Ok, Stream, connect
from mailmove.protocols import pop3
from mailmove.sources import Incoming, Refused
from mailmove.sources.pop3_login import Capabilities, CapaFailed, Pop3Endpoint, Pop3Login

GREETING_TIMEOUT = 30.0
QUIT_TIMEOUT = 10.0
WAIT_CODES = frozenset({"IN-USE", "LOGIN-DELAY", "SYS/TEMP"})
"""Response codes that ask us to come back later (RFC 2449 section 8.1, RFC 3206 section 4)."""

NO_ID = UniqueId("")
SHORT_ANSWERS = 1000
"""So many TOPs or DELEs may be in flight."""


def open_pop3(endpoint: Pop3Endpoint, secret: str, ok: Ok, transcript: Transcript | None = None) -> Pop3Source:
    """Connects and logs in; what crosses the wire is told to `transcript`, without secrets and messages.

    Raises HostUnreachable, CertificateRefused, ConfigurationError, PlaintextRefused, AuthenticationRejected, TryLater,
    ConnectionLost, ProtocolError, Interrupted.
    """
    try:
        return _open(endpoint, secret, ok, transcript, capa=True)
    except CapaFailed:
        return _open(endpoint, secret, ok, transcript, capa=False)


def _open(endpoint: Pop3Endpoint, secret: str, ok: Ok, transcript: Transcript | None, *, capa: bool) -> Pop3Source:
    stream = connect(endpoint.host, endpoint.port, timeout=min(endpoint.timeout, GREETING_TIMEOUT), ok=ok)
    try:
        source = Pop3Source(stream, endpoint, transcript)
        source.log_in(secret, capa=capa)
    except BaseException:
        stream.close()
        raise
    stream.timeout = endpoint.timeout
    return source


@dataclass(frozen=True, slots=True)
class _Short:
    """An entry whose answer is short, whatever the size of its message."""

    entry: MaildropEntry
    octets: int = 0


@dataclass(slots=True)
class _Flight:
    """What one retrieval has still to ask for, and what it has asked for."""

    window: pop3.Window
    pending: deque[MaildropEntry]
    asked: deque[MaildropEntry] = field(default_factory=deque)


def _nothing() -> None:
    pass


def _seconds(text: str) -> float | None:
    """The number behind LOGIN-DELAY, if it is one (RFC 2449 section 8.1.1)."""
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


class Pop3Source:
    """One session."""

    def __init__(self, stream: Stream, endpoint: Pop3Endpoint, transcript: Transcript | None = None) -> None:
        self._stream = stream
        self._endpoint = endpoint
        self._transcript = transcript
        self._core = pop3.TranscribedConnection(transcript) if transcript else pop3.Connection()
        self._outgoing = b""
        self._was_pipelined = False
        self.capabilities: Capabilities = {}

    def log_in(self, secret: str, *, capa: bool = True) -> None:
        """From the connection to the transaction state, by pop3_login.py. Raises what Pop3Login raises."""
        login = Pop3Login(self._stream, self._endpoint, self._ask, self._next, self._note, capa=capa)
        login.begin()
        login.log_in(secret)
        self.capabilities = login.capabilities
        self._core.pipelining = "PIPELINING" in self.capabilities

    def _note(self, what: str) -> None:
        if self._transcript:
            self._transcript("-", what)

    # ---- the listing

    @property
    def login_delay(self) -> float:
        words = self.capabilities.get("LOGIN-DELAY", ())
        return (_seconds(words[0]) or 0.0) if words else 0.0

    @property
    def pipelining(self) -> bool:
        return self._core.pipelining

    def list(self) -> Sequence[MaildropEntry]:
        """STAT, UIDL and LIST, joined by message number; asked once more if they do not fit each other.

        Mail that arrives between the two commands is on one of the lists only. A message without a unique id after
        that, or a server without UIDL, has an empty one.
        """
        self._ask(pop3.Stat())
        ids, sizes = self._unique_ids(), self._sizes()
        if ids and ids.keys() != sizes.keys():
            ids, sizes = self._unique_ids(), self._sizes()
        numbers = sorted(ids.keys() | sizes.keys())
        return [MaildropEntry(number, ids.get(number, NO_ID), sizes.get(number, 0)) for number in numbers]

    def _unique_ids(self) -> Mapping[MessageNumber, UniqueId]:
        try:
            event = self._ask(pop3.Uidl())
        except TryLater:
            raise
        except CommandRejected:
            return {}
        return event.ids if isinstance(event, pop3.UniqueIdListing) else {}

    def _sizes(self) -> Mapping[MessageNumber, int]:
        event = self._ask(pop3.List())
        return event.sizes if isinstance(event, pop3.ScanListing) else {}

    # ---- retrieval

    def retrieve(self, entries: Sequence[MaildropEntry]) -> Iterator[Incoming | Refused]:
        """RETR of each entry, many in flight where the server takes it (RFC 2449 section 6.6)."""
        flight = _Flight(self._window(), deque(entries))
        while flight.pending or flight.asked:
            self._ask_for_more(flight)
            event = self._next()
            entry = flight.asked.popleft()
            if isinstance(event, pop3.MessageStart):
                yield Incoming(entry, event.octets, self._message(partial(self._go_on, flight, entry)))
            else:
                flight.window.answered(entry.octets)
                yield Refused(entry, self._message_rejected(event))

    def _ask_for_more(self, flight: _Flight) -> bool:
        """Whether there was something to ask for, and room for it."""
        admitted = flight.window.refill(flight.pending)
        flight.asked.extend(admitted)
        for entry in admitted:
            self._core.send(pop3.Retr(entry.number))
        self._was_pipelined |= len(flight.asked) > 1
        return bool(admitted)

    def _go_on(self, flight: _Flight, entry: MaildropEntry) -> None:
        """The server has its next command while we still store this message: without PIPELINING that saves most.

        What goes wrong here goes wrong again when the next answer is awaited, and then it is not this message's fault.
        """
        flight.window.answered(entry.octets)
        with contextlib.suppress(ConnectionLost, ProtocolError):
            if self._ask_for_more(flight):
                self._fill()

    def _window(self) -> pop3.Window:
        limits = self._endpoint.window
        return pop3.Window(limits.max_messages if self._core.pipelining else 1, limits.max_octets)

    def _message(self, ended: Callable[[], None] = _nothing) -> Iterator[bytes]:
        """The octets of a message. `ended` is called when all are here, and the last of them are yet to be yielded."""
        held = b""
        while True:
            event = self._core.next_event()
            if held and not isinstance(event, pop3.MessageEnd):
                yield held
            if event is pop3.NEED_DATA:
                held, event = b"", self._next()
            if not isinstance(event, pop3.MessageData):
                break
            held = event.data
        ended()
        if held:
            yield held

    def _message_rejected(self, event: pop3.Event) -> MessageRejected:
        if not isinstance(event, pop3.Refused):
            raise ProtocolError(f"{self._stream.peer} answered RETR with something else ({type(event).__name__}).")
        return MessageRejected(
            f"{self._stream.peer} refused a message: {event.text!r}.",
            server_text=event.text,
            command="RETR",
            code=event.code,
        )

    # ---- headers and deletions, many commands in flight likewise

    def heads(self, entries: Sequence[MaildropEntry]) -> Iterator[tuple[MaildropEntry, bytes | None]]:
        """TOP n 0 of each entry. A server that sends the whole message all the same is read to its end."""
        for entry, event in self._answers(entries, lambda entry: pop3.Top(entry.number, 0)):
            yield entry, b"".join(self._message()) if isinstance(event, pop3.MessageStart) else None

    def delete(self, entries: Sequence[MaildropEntry]) -> Sequence[MaildropEntry]:
        """DELE of each entry."""
        answers = self._answers(entries, lambda entry: pop3.Dele(entry.number))
        return [entry for entry, event in answers if not isinstance(event, pop3.Refused)]

    def keep_alive(self) -> None:
        """NOOP."""
        self._ask(pop3.Noop())

    def _answers(
        self, entries: Sequence[MaildropEntry], command: Callable[[MaildropEntry], pop3.Command]
    ) -> Iterator[tuple[MaildropEntry, pop3.Event]]:
        """Each entry with the first event of its answer. Sizes do not count here: the answers are short."""
        many = self._core.pipelining and self._endpoint.window.max_messages > 1
        window = pop3.Window(SHORT_ANSWERS if many else 1)
        pending, in_flight = deque(map(_Short, entries)), deque[MaildropEntry]()
        while pending or in_flight:
            for short in window.refill(pending):
                self._core.send(command(short.entry))
                in_flight.append(short.entry)
            yield in_flight.popleft(), self._next()
            window.answered(0)

    # ---- the end

    def quit(self) -> bool:
        """QUIT, and its answer if it comes soon: -ERR means that some deletions were not made (RFC 1939 section 6).

        What a server says too much shows itself here at the latest, since QUIT is never pipelined.
        """
        confirmed = False
        try:
            self._stream.timeout = min(self._stream.timeout, QUIT_TIMEOUT)
            self._ask(pop3.Quit())
            confirmed = True
            self._core.next_event()
        except MailmoveError as error:
            if self._was_pipelined and isinstance(error, ProtocolError):
                raise
        finally:
            self.close()
        return confirmed

    def close(self) -> None:
        """Drops the connection without QUIT."""
        self._stream.close()

    # ---- the pump

    def _send(self, command: pop3.Command) -> None:
        self._core.send(command)

    def _ask(self, command: pop3.Command) -> pop3.Event:
        """One command and its answer. Raises CommandRejected or TryLater for -ERR."""
        self._send(command)
        event = self._next()
        if isinstance(event, pop3.Refused):
            raise self._rejection(command, event)
        return event

    def _rejection(self, command: pop3.Command, event: pop3.Refused) -> CommandRejected:
        said = f"{self._stream.peer} refused {command.verb}: {event.text!r}."
        if event.code in WAIT_CODES:
            delay = _seconds(event.argument)
            return TryLater(said, server_text=event.text, command=command.verb, code=event.code, delay=delay)
        return CommandRejected(said, server_text=event.text, command=command.verb, code=event.code)

    def _next(self) -> pop3.Event:
        while (event := self._core.next_event()) is pop3.NEED_DATA:
            self._fill()
        if isinstance(event, pop3.Closed):
            raise ConnectionLost(f"{self._stream.peer} closed the connection.")
        return event

    def _fill(self) -> None:
        """Reads while it sends, so that neither side ever waits for the other to read first."""
        self._outgoing += self._core.data_to_send()
        sent, data = self._stream.exchange(memoryview(self._outgoing))
        self._outgoing = self._outgoing[sent:]
        if data or not sent:
            self._core.receive_data(data)
