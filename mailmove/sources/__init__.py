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

    def list(self) -> Sequence[MaildropEntry]:
        """Every message of the mailbox, in message number order. Raises ConnectionLost, ProtocolError, NoUniqueIds."""

    def retrieve(self, entries: Sequence[MaildropEntry]) -> Iterator[Incoming | Refused]:
        """These messages, one after another, in this order. Raises ConnectionLost, ProtocolError, Interrupted."""

    def quit(self) -> None:
        """Ends the session as the protocol asks: only when everything retrieved is committed. Never raises."""

    def close(self) -> None:
        """Drops the connection: the server learns nothing of what was retrieved. Never raises."""
