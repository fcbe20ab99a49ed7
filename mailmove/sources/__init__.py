"""The Source contract: what a job may ask of a mailbox it pulls from.

Strategy: a Source is one open session. It lists, retrieves in the order asked, and ends; it stores nothing, decides
nothing and retries nothing. Octets come as they are received, and each answer names the entry it belongs to. One test
suite (tests/contract/) holds every Source to this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailmove.errors import MessageRejected
from mailmove.model import MaildropEntry


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message is coming in: `chunks` yields its exact octets and must be used up before the next one is asked for.

    `announced` is the size the server names with the message itself, None if it names none.
    """

    entry: MaildropEntry
    announced: int | None
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Refused:
    """The server would not hand over this message; the session goes on."""

    entry: MaildropEntry
    error: MessageRejected


class Source(Protocol):
    """One session with a mailbox."""

    @property
    def login_delay(self) -> float:
        """Seconds the server wants between two logins (RFC 2449 section 6.5); 0 if it does not say."""

    @property
    def pipelining(self) -> bool:
        """Whether the server announced that it takes many commands at once (RFC 2449 section 6.6)."""

    def list(self) -> Sequence[MaildropEntry]:
        """Every message of the mailbox, in message number order; with an empty unique id where the server has none.

        Raises ConnectionLost, ProtocolError.
        """

    def heads(self, entries: Sequence[MaildropEntry]) -> Iterator[tuple[MaildropEntry, bytes | None]]:
        """The header section of each (TOP n 0), in this order; None where the server refuses.

        Raises ConnectionLost, ProtocolError, Interrupted.
        """

    def retrieve(self, entries: Sequence[MaildropEntry]) -> Iterator[Incoming | Refused]:
        """These messages, one after another, in this order. Raises ConnectionLost, ProtocolError, Interrupted."""

    def delete(self, entries: Sequence[MaildropEntry]) -> Sequence[MaildropEntry]:
        """Marks these as deleted; returns those the server took. They go when `quit` is confirmed, else they stay.

        Raises ConnectionLost, ProtocolError, Interrupted.
        """

    def keep_alive(self) -> None:
        """Shows the server that we are still here, while something else takes long. Raises ConnectionLost."""

    def quit(self) -> bool:
        """Ends the session as the protocol asks: only when everything retrieved is committed.

        Raises ProtocolError, after closing, if it shows that earlier replies were out of step with their commands.
        Returns whether the server confirmed it: then what was marked as deleted is gone.
        """

    def close(self) -> None:
        """Drops the connection: the server learns nothing of what was retrieved. Never raises."""
