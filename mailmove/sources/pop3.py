"""A POP3 maildrop as a Source: pumps the sans-IO core over a Stream (design.md section 6).

Strategy: `open_pop3` logs in and hands over a session in the transaction state; nothing here decides what to fetch or
what it was worth. Retrieval keeps a window of RETRs in flight, refilled in batches, and always reads while it sends.
The server's refusals become our errors here, with its own words in them.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    ConnectionLost,
    HostUnreachable,
    MailmoveError,
    MessageRejected,
    NoUniqueIds,
    PlaintextRefused,
    ProtocolError,
    TimedOut,
    TryLater,
)
from mailmove.model import MaildropEntry, MessageNumber, UniqueId
from mailmove.net import Ok, Stream, TlsPolicy, connect
from mailmove.protocols import pop3, sasl
from mailmove.sources import Incoming, Refused

GREETING_TIMEOUT = 30.0
QUIT_TIMEOUT = 10.0
WAIT_CODES = frozenset({"IN-USE", "LOGIN-DELAY", "SYS/TEMP"})
"""Response codes that ask us to come back later (RFC 2449 section 8.1, RFC 3206 section 4)."""

Capabilities = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Pop3Endpoint:
    """Where a maildrop is, and how the way there must be protected.

    `tls` means TLS from the first octet (port 995); without it STLS is required (RFC 2595) unless `allow_plaintext`.
    """

    host: str
    port: int
    user: str
    tls: bool
    policy: TlsPolicy = field(default_factory=TlsPolicy)
    allow_plaintext: bool = False
    timeout: float = 60.0
    window: pop3.Window = field(default_factory=pop3.Window)


def open_pop3(endpoint: Pop3Endpoint, password: str, ok: Ok) -> Pop3Source:
    """Connects and logs in.

    Raises HostUnreachable, CertificateRefused, PlaintextRefused, AuthenticationRejected, TryLater, ConnectionLost,
    ProtocolError, Interrupted.
    """
    stream = connect(endpoint.host, endpoint.port, timeout=min(endpoint.timeout, GREETING_TIMEOUT), ok=ok)
    try:
        source = Pop3Source(stream, endpoint)
        source.begin()
        source.log_in(password)
    except BaseException:
        stream.close()
        raise
    stream.timeout = endpoint.timeout
    return source


def _seconds(text: str) -> float | None:
    """The number behind LOGIN-DELAY, if it is one (RFC 2449 section 8.1.1)."""
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


class Pop3Source:
    """One session."""

    def __init__(self, stream: Stream, endpoint: Pop3Endpoint) -> None:
        self._stream = stream
        self._endpoint = endpoint
        self._core = pop3.Connection()
        self._outgoing = b""
        self.capabilities: Capabilities = {}

    # ---- the beginning of a session (RFC 1939 section 4, RFC 2595 section 4)

    def begin(self) -> None:
        """From the connection to a protected, greeted one."""
        endpoint = self._endpoint
        if endpoint.tls:
            self._stream.start_tls(endpoint.policy, endpoint.host)
        self._greeting()
        self._ask_capabilities()
        if endpoint.tls:
            return
        if "STLS" in self.capabilities:
            self._ask(pop3.Stls())
            self._stream.start_tls(endpoint.policy, endpoint.host)
            self._ask_capabilities()
        elif not endpoint.allow_plaintext:
            raise PlaintextRefused(
                f"{self._stream.peer} offers no STLS, so the password would cross the network unencrypted; use pop3s://,"
                " or give --allow-plaintext if you accept that."
            )

    def _greeting(self) -> None:
        try:
            event = self._next()
        except TimedOut as error:
            hint = "" if self._endpoint.tls else "; is this a TLS port? Then use pop3s://"
            raise HostUnreachable(
                f"{self._stream.peer} sent no greeting for {self._stream.timeout:g} s{hint}."
            ) from error
        if isinstance(event, pop3.Refused):
            raise TryLater(
                f"{self._stream.peer} takes no connection now: {event.text!r}.", server_text=event.text, code=event.code
            )

    def _ask_capabilities(self) -> None:
        """CAPA is optional (RFC 2449): a server that refuses it is asked for nothing beyond RFC 1939."""
        self._send(pop3.Capa())
        event = self._next()
        self.capabilities = event.capabilities if isinstance(event, pop3.CapabilityList) else {}
        self._core.pipelining = "PIPELINING" in self.capabilities

    # ---- the login

    def log_in(self, password: str) -> None:
        """USER and PASS, or SASL PLAIN if only that is announced. Raises AuthenticationRejected, TryLater."""
        if "USER" not in self.capabilities and "PLAIN" in map(str.upper, self.capabilities.get("SASL", ())):
            self._log_in_plain(password)
        else:
            self._login_step(pop3.User(self._endpoint.user))
            self._login_step(pop3.Pass(password))
        self._ask_capabilities()

    def _log_in_plain(self, password: str) -> None:
        secret = sasl.plain(self._endpoint.user, password)
        event = self._login_step(pop3.Auth("PLAIN", secret))
        if isinstance(event, pop3.Challenge):
            self._login_step(pop3.AuthResponse(secret))

    def _login_step(self, command: pop3.Command) -> pop3.Event:
        try:
            return self._ask(command)
        except TryLater:
            raise
        except CommandRejected as error:
            raise AuthenticationRejected(
                f"{self._stream.peer} refused the login of {self._endpoint.user}: {error.server_text!r}. Check the "
                "user name and password, and whether the provider wants POP3 switched on or an app password.",
                server_text=error.server_text,
                command=error.command,
                code=error.code,
            ) from error

    # ---- the listing

    def list(self) -> Sequence[MaildropEntry]:
        """STAT, UIDL and LIST, joined by message number; asked once more if they do not fit each other.

        Mail that arrives between the two commands is on one of the lists only; a server that still lacks a unique id
        for a listed message after that has no working UIDL.
        """
        self._ask(pop3.Stat())
        ids, sizes = self._unique_ids(), self._sizes()
        if ids.keys() != sizes.keys():
            ids, sizes = self._unique_ids(), self._sizes()
        if missing := sorted(sizes.keys() - ids.keys()):
            raise NoUniqueIds(
                f"{self._stream.peer} lists message {missing[0]} but gives no unique id for it (UIDL), so mailmove "
                "could not tell it apart in the next run; nothing was fetched."
            )
        return [MaildropEntry(number, ids[number], sizes.get(number, 0)) for number in sorted(ids)]

    def _unique_ids(self) -> Mapping[MessageNumber, UniqueId]:
        try:
            event = self._ask(pop3.Uidl())
        except CommandRejected as error:
            raise NoUniqueIds(
                f"{self._stream.peer} has no working UIDL (it answered {error.server_text!r}), so mailmove could not "
                "tell messages apart in the next run; nothing was fetched.",
                server_text=error.server_text,
            ) from error
        return event.ids if isinstance(event, pop3.UniqueIdListing) else {}

    def _sizes(self) -> Mapping[MessageNumber, int]:
        event = self._ask(pop3.List())
        return event.sizes if isinstance(event, pop3.ScanListing) else {}

    # ---- retrieval

    def retrieve(self, entries: Sequence[MaildropEntry]) -> Iterator[Incoming | Refused]:
        """RETR of each entry, many in flight where the server takes it (RFC 2449 section 6.6)."""
        window = self._window()
        pending, in_flight = deque(entries), deque[MaildropEntry]()
        while pending or in_flight:
            for entry in window.refill(pending):
                self._core.send(pop3.Retr(entry.number))
                in_flight.append(entry)
            event = self._next()
            entry = in_flight.popleft()
            if isinstance(event, pop3.MessageStart):
                yield Incoming(entry, event.octets, self._message())
            else:
                yield Refused(entry, self._message_rejected(event))
            window.answered(entry.octets)

    def _window(self) -> pop3.Window:
        limits = self._endpoint.window
        return pop3.Window(limits.max_messages if self._core.pipelining else 1, limits.max_octets)

    def _message(self) -> Iterator[bytes]:
        while isinstance(event := self._next(), pop3.MessageData):
            yield event.data

    def _message_rejected(self, event: pop3.Event) -> MessageRejected:
        if not isinstance(event, pop3.Refused):
            raise ProtocolError(f"{self._stream.peer} answered RETR with something else ({type(event).__name__}).")
        return MessageRejected(
            f"{self._stream.peer} refused a message: {event.text!r}.",
            server_text=event.text,
            command="RETR",
            code=event.code,
        )

    # ---- the end

    def quit(self) -> None:
        """QUIT, and its answer if it comes soon. Nothing depends on it: no message is deleted."""
        with contextlib.suppress(MailmoveError):
            self._stream.timeout = min(self._stream.timeout, QUIT_TIMEOUT)
            self._ask(pop3.Quit())
        self.close()

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
