"""A POP3 maildrop as a Source: pumps the sans-IO core over a Stream (design.md section 6).

Strategy: `open_pop3` logs in (pop3_login.py) and hands over a session in the transaction state; nothing here decides
what to fetch or what it was worth. Retrieval keeps a window of RETRs in flight, refilled in batches, and always reads
while it sends. The server's refusals become our errors here, with its own words in them.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mailmove.dial import Ahead, Ok
from mailmove.errors import (
    CommandRejected,
    ConnectionLost,
    MailmoveError,
    MessageRejected,
    ProtocolError,
    TryLater,
)
from mailmove.model import MaildropEntry, MessageNumber, Transcript, UniqueId
from mailmove.net import Stream, connect
from mailmove.protocols import pop3
from mailmove.sources import Incoming, Refused
from mailmove.sources.pop3_dialogue import Dialogue, seconds
from mailmove.sources.pop3_login import Capabilities, CapaFailed, Pop3Endpoint, Pop3Login

GREETING_TIMEOUT = 30.0
QUIT_TIMEOUT = 10.0
SHORT_ANSWERS = 1000
"""So many TOPs or DELEs may be in flight."""


def open_pop3(
    endpoint: Pop3Endpoint,
    secret: str,
    ok: Ok,
    transcript: Transcript | None = None,
    ahead: Ahead | None = None,
) -> Pop3Source:
    """Connects and logs in; what crosses the wire is told to `transcript`, without secrets and messages.

    `ahead`: the connection, where it was made before.

    Raises HostUnreachable, CertificateRefused, ConfigurationError, PlaintextRefused, AuthenticationRejected, TryLater,
    ConnectionLost, ProtocolError, Interrupted.
    """
    try:
        return _open(endpoint, secret, ok, transcript, ahead)
    except CapaFailed:
        return _open(endpoint, secret, ok, transcript, capa=False)
    except AtOnceFailed:
        return _open(endpoint, secret, ok, transcript, at_once=False)


def _open(
    endpoint: Pop3Endpoint,
    secret: str,
    ok: Ok,
    transcript: Transcript | None,
    ahead: Ahead | None = None,
    *,
    capa: bool = True,
    at_once: bool = True,
) -> Pop3Source:
    wait = min(endpoint.timeout, GREETING_TIMEOUT)
    stream = connect(endpoint.host, endpoint.port, timeout=wait, ok=ok, ahead=ahead)
    try:
        source = Pop3Source(stream, endpoint, transcript)
        source.log_in(secret, capa=capa, at_once=at_once)
    except BaseException:
        stream.close()
        raise
    return source


class AtOnceFailed(ConnectionLost):
    """The session broke when its listing was asked for in one go: it can be tried step by step."""


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


class Pop3Source:
    """One session."""

    def __init__(self, stream: Stream, endpoint: Pop3Endpoint, transcript: Transcript | None = None) -> None:
        self._talk = Dialogue(stream, transcript)
        self._endpoint = endpoint
        self._listed: Sequence[MaildropEntry] | None = None
        self.capabilities: Capabilities = {}

    def log_in(self, secret: str, *, capa: bool = True, at_once: bool = True) -> None:
        """From the connection to the transaction state, by pop3_login.py.

        With `at_once` the listing comes along, where the server takes many commands at a time: three round trips less.
        Raises what Pop3Login raises, and AtOnceFailed.
        """
        talk = self._talk
        login = Pop3Login(talk.stream, self._endpoint, talk.ask, talk.hear, talk.note, capa=capa)
        login.begin()
        login.log_in(secret)
        talk.stream.timeout = self._endpoint.timeout
        if at_once and "PIPELINING" in login.capabilities and self._endpoint.window.max_messages > 1:
            self._list_at_once(login)
        else:
            self._capable(login)

    def _list_at_once(self, login: Pop3Login) -> None:
        self._talk.core.pipelining = self._talk.was_pipelined = True
        try:
            self._talk.send_ahead(pop3.Capa(), pop3.Stat(), pop3.Uidl(), pop3.List())
            self._capable(login)
            self._listed = self.list()
        except TryLater:
            raise
        except (ConnectionLost, ProtocolError, CommandRejected) as error:
            raise AtOnceFailed(error.message, server_text=error.server_text) from error

    def _capable(self, login: Pop3Login) -> None:
        """Asks once more what the server can do, which may differ now (RFC 2449 section 5)."""
        login.ask_capabilities()
        self.capabilities = login.capabilities
        self._talk.core.pipelining = "PIPELINING" in self.capabilities

    # ---- the listing

    @property
    def login_delay(self) -> float:
        words = self.capabilities.get("LOGIN-DELAY", ())
        return (seconds(words[0]) or 0.0) if words else 0.0

    @property
    def pipelining(self) -> bool:
        return self._talk.core.pipelining

    def list(self) -> Sequence[MaildropEntry]:
        """STAT, UIDL and LIST, joined by message number; asked once more if they do not fit each other.

        Mail that arrives between the two commands is on one of the lists only. A message without a unique id after
        that, or a server without UIDL, has an empty one.
        """
        if (listed := self._listed) is not None:
            self._listed = None
            return listed
        self._talk.ask(pop3.Stat())
        at_once = self._talk.is_ahead
        ids, sizes = self._unique_ids(), self._sizes()
        if at_once and sizes and not ids:  # perhaps it was refused for that
            ids = self._unique_ids()
        if ids and ids.keys() != sizes.keys():
            ids, sizes = self._unique_ids(), self._sizes()
        return pop3.joined(ids, sizes)

    def _unique_ids(self) -> Mapping[MessageNumber, UniqueId]:
        try:
            event = self._talk.ask(pop3.Uidl())
        except TryLater:
            raise
        except CommandRejected:
            return {}
        return event.ids if isinstance(event, pop3.UniqueIdListing) else {}

    def _sizes(self) -> Mapping[MessageNumber, int]:
        event = self._talk.ask(pop3.List())
        return event.sizes if isinstance(event, pop3.ScanListing) else {}

    # ---- retrieval

    def retrieve(self, entries: Sequence[MaildropEntry]) -> Iterator[Incoming | Refused]:
        """RETR of each entry, many in flight where the server takes it (RFC 2449 section 6.6)."""
        flight = _Flight(self._window(), deque(entries))
        while flight.pending or flight.asked:
            self._ask_for_more(flight)
            event = self._talk.hear()
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
            self._talk.core.send(pop3.Retr(entry.number))
        self._talk.was_pipelined |= len(flight.asked) > 1
        return bool(admitted)

    def _go_on(self, flight: _Flight, entry: MaildropEntry) -> None:
        """The server has its next command while we still store this message: without PIPELINING that saves most.

        What goes wrong here goes wrong again when the next answer is awaited, and then it is not this message's fault.
        """
        flight.window.answered(entry.octets)
        with contextlib.suppress(ConnectionLost, ProtocolError):
            if self._ask_for_more(flight):
                self._talk.fill()

    def _window(self) -> pop3.Window:
        limits = self._endpoint.window
        return pop3.Window(limits.max_messages if self._talk.core.pipelining else 1, limits.max_octets)

    def _message(self, ended: Callable[[], None] | None = None) -> Iterator[bytes]:
        """The octets of a message. `ended` is called when all are here, and the last of them are yet to be yielded."""
        held = b""
        while True:
            event = self._talk.core.next_event()
            if held and not isinstance(event, pop3.MessageEnd):
                yield held
            if event is pop3.NEED_DATA:
                held, event = b"", self._talk.hear()
            if not isinstance(event, pop3.MessageData):
                break
            held = event.data
        if ended:
            ended()
        if held:
            yield held

    def _message_rejected(self, event: pop3.Event) -> MessageRejected:
        if not isinstance(event, pop3.Refused):
            raise ProtocolError(f"{self._talk.stream.peer} answered RETR with something else ({type(event).__name__}).")
        said = f"{self._talk.stream.peer} refused a message: {event.text!r}."
        return MessageRejected(said, server_text=event.text, command="RETR", code=event.code)

    # ---- headers and deletions, many commands in flight likewise

    def heads(self, entries: Sequence[MaildropEntry]) -> Iterator[tuple[MaildropEntry, bytes | None]]:
        """TOP n 0 of each entry. A server that sends the whole message all the same is read to its end.

        Raises ProtocolError at the end if more was answered than asked for: then none of it can be believed.
        """
        for entry, event in self._answers(entries, lambda entry: pop3.Top(entry.number, 0)):
            yield entry, b"".join(self._message()) if isinstance(event, pop3.MessageStart) else None
        if self._many and len(entries) > 1:
            self.keep_alive()
            self._talk.core.next_event()

    @property
    def _many(self) -> bool:
        return self._talk.core.pipelining and self._endpoint.window.max_messages > 1

    def delete(self, entries: Sequence[MaildropEntry]) -> Sequence[MaildropEntry]:
        """DELE of each entry."""
        answers = self._answers(entries, lambda entry: pop3.Dele(entry.number))
        return [entry for entry, event in answers if not isinstance(event, pop3.Refused)]

    def keep_alive(self) -> None:
        """NOOP. A server that refuses it has heard from us all the same."""
        with contextlib.suppress(CommandRejected):
            self._talk.ask(pop3.Noop())

    def _answers(
        self, entries: Sequence[MaildropEntry], command: Callable[[MaildropEntry], pop3.Command]
    ) -> Iterator[tuple[MaildropEntry, pop3.Event]]:
        """Each entry with the first event of its answer. Sizes do not count here: the answers are short."""
        window = pop3.Window(SHORT_ANSWERS if self._many else 1)
        pending, in_flight = deque(map(_Short, entries)), deque[MaildropEntry]()
        while pending or in_flight:
            for short in window.refill(pending):
                self._talk.core.send(command(short.entry))
                in_flight.append(short.entry)
            yield in_flight.popleft(), self._talk.hear()
            window.answered(0)

    # ---- the end

    def quit(self) -> bool:
        """QUIT, and its answer if it comes soon: -ERR means that some deletions were not made (RFC 1939 section 6).

        What a server says too much shows itself here at the latest, since QUIT is never pipelined.
        """
        confirmed = False
        try:
            self._talk.stream.timeout = min(self._talk.stream.timeout, QUIT_TIMEOUT)
            self._talk.ask(pop3.Quit())
            confirmed = True
            self._talk.core.next_event()
        except MailmoveError as error:
            if self._talk.was_pipelined and isinstance(error, ProtocolError):
                raise
        finally:
            self.close()
        return confirmed

    def close(self) -> None:
        """Drops the connection without QUIT."""
        self._talk.stream.close()
