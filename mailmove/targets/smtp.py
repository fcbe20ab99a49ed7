"""An SMTP or LMTP session (RFC 5321, 2033) that is greeted, protected and logged in: mail goes out, replies come in.

Strategy: what to say and what was heard is the core's (`protocols/smtp/`); here octets are moved between it and the
Stream, always reading while writing, so that a server that talks before it reads on cannot deadlock us. Waiting ends
with progress, never with a total. How a session is opened is in smtp_session.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mailmove.errors import ConnectionLost, MailmoveError, TimedOut, TryLater
from mailmove.model import Transcript
from mailmove.net import Stream
from mailmove.protocols.smtp import NEED_DATA, Conversation, Offers
from mailmove.protocols.smtp.commands import QUIT
from mailmove.targets import Parcel, Posted, RelayTraits
from mailmove.targets.imap_refusals import delay_of

PATIENCE = 10
"""So many timeouts may pass before the reply to a whole message, at which a server may work for minutes: RFC 5321
section 4.5.3.2.6 wants 10 minutes where it wants 1 to 5 elsewhere. Too short a wait makes messages uncertain."""

GOODBYE = 5.0
"""Seconds that the reply to QUIT is waited for."""


class SmtpRelay:
    """See Relay. `stream`: greeted, protected, logged in, nothing unread; `traits`: what was announced in it.

    After an error `reap` tells, the oldest first: what was answered, also a Posted that is not `unsent` and lacks
    recipients, of which nobody knows; and what is certainly not delivered (`unsent`). After 421 that is also what was
    answered so or went out behind it: a server that ends the session takes nothing more. The reply to a whole
    message is waited for longer than `stream.timeout`. A message without a line end at its end gets one where the
    server does not offer CHUNKING.
    """

    def __init__(self, stream: Stream, traits: RelayTraits, *, transcript: Transcript | None = None) -> None:
        self._stream = stream
        self._traits = traits
        self._transcript = transcript
        self._conversation: Conversation[Parcel] = Conversation(_offers(traits), transcript)
        self._outgoing = memoryview(b"")
        self._told: list[Posted] = []
        self._end: MailmoveError | None = None

    @property
    def traits(self) -> RelayTraits:
        """Less CHUNKING from when the server has shown that it does not know BDAT."""
        if self._traits.chunking and self._conversation.lost_chunking:
            self._traits = replace(self._traits, chunking=False, binary=False)
        return self._traits

    def send(self, parcels: Sequence[Parcel]) -> None:
        """See Relay. Also raises UsageError for an address and LocalProtocolError for what `traits` exclude: then
        none of the parcels was sent, none will be told of, and the session goes on. Raises what `chunks()` raise: then
        the connection is dropped."""
        self._check()
        self._conversation.send(parcels)
        with self._ends_with_error():
            while self._conversation.has_more_to_say or self._outgoing:
                self._turn()

    def reap(self, *, wait: bool = True) -> list[Posted]:
        """See Relay. With `wait` on a session that has ended: what is left to tell, then its error again."""
        if wait and not self._told:
            self._check()
            with self._ends_with_error():
                while not self._told and self._conversation.under_way:
                    self._turn()
        told, self._told = self._told, []
        return told

    def quit(self) -> None:
        if self._end is None and not self._conversation.under_way:
            with contextlib.suppress(MailmoveError):
                self._say_goodbye()
        self.close()

    def close(self) -> None:
        self._finish(ConnectionLost(f"The connection to {self._stream.peer} was closed before."))

    def _turn(self) -> None:
        """Writes what can be written, reads what is there, and waits until at least one of the two goes on."""
        if not self._outgoing:
            self._outgoing = self._next_octets()
        if self._outgoing or self._conversation.outstanding:
            self._exchange()
        self._hear()

    def _next_octets(self) -> memoryview:
        """What to write next. If a message cannot be read, those before it are heard of first, and not in doubt."""
        try:
            return memoryview(self._conversation.data_to_send())
        except MailmoveError:
            with contextlib.suppress(MailmoveError):
                while self._conversation.has_whole_ones:
                    self._exchange()
                    self._hear()
            raise

    def _exchange(self) -> None:
        patient = self._conversation.awaits_verdict and not self._outgoing
        try:
            sent, data = self._stream.exchange(self._outgoing, self._stream.timeout * (PATIENCE if patient else 1))
        except TimedOut:
            raise
        except ConnectionLost:
            self._hear_out()
            raise
        self._conversation.sent(sent)
        self._outgoing = self._outgoing[sent:]
        if data or not sent:
            self._conversation.receive_data(data)

    def _hear(self) -> None:
        while (outcome := self._conversation.next_event()) is not NEED_DATA:
            self._told.append(Posted(outcome.mail, outcome.replies))

    def _hear_out(self) -> None:
        """What the server said before it hung up: the verdict on earlier messages, and perhaps why."""
        with contextlib.suppress(ConnectionLost):
            while data := self._stream.read():
                self._conversation.receive_data(data)
                self._hear()

    def _say_goodbye(self) -> None:
        rest = memoryview(QUIT)
        if self._transcript:
            self._transcript("C", "QUIT")
        while rest:
            sent, data = self._stream.exchange(rest, GOODBYE)
            rest = rest[sent:]
            if data or not sent:
                return
        self._stream.read(GOODBYE)

    # ---- The end

    def _check(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    @contextlib.contextmanager
    def _ends_with_error(self) -> Iterator[None]:
        """Whatever goes wrong, the session is over: nothing half-written can be taken back."""
        try:
            yield
        except MailmoveError as error:
            if isinstance(error, TryLater):
                error.delay = delay_of(error.server_text)
            if self._transcript:
                self._transcript("-", error.message)
            self._finish(error)
            raise
        except BaseException:
            self.close()
            raise

    def _finish(self, error: MailmoveError) -> None:
        if self._end is not None:
            return
        self._end = error
        self._stream.close()
        self._told += [Posted(left.mail, left.replies, left.unsent) for left in self._conversation.leftover()]


def _offers(traits: RelayTraits) -> Offers:
    return Offers(
        lmtp=traits.lmtp,
        pipelining=traits.pipelining,
        chunking=traits.chunking,
        eight_bit=traits.eight_bit,
        binary=traits.binary,
        utf8=traits.utf8,
        size=traits.largest is not None,
    )
