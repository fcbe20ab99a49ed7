"""The Target contract: what a job may ask of a server it delivers to.

Strategy: a Target is one open session. It tells what a mailbox holds, and appends one message at a time, unaltered; it
decides nothing, remembers nothing, and retries nothing, so that exactly-once is the job's to keep (design.md section
7). UIDs mean something only together with the UIDVALIDITY they came with (RFC 9051 section 2.3.1.1). One test suite
(tests/contract/) holds every Target to this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MailboxState:
    """A mailbox at one moment: the next message gets UID `uidnext` or higher; `messages` are in it."""

    uidvalidity: int
    uidnext: int
    messages: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way out.

    `octets`: its exact size. `chunks()` yields exactly that many octets, from the start at each call; it may raise
    ArchiveDamaged, and then the connection must be dropped before the message is whole. `internal_date` is aware, UTC,
    between 1970 and now. `seen`: whether it gets the flag \\Seen.
    """

    octets: int
    internal_date: datetime
    seen: bool
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Receipt:
    """APPENDUID (RFC 4315 section 3): where the message is. Both 0 if the server does not say."""

    uidvalidity: int = 0
    uid: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One message at the target. `octets` is RFC822.SIZE; `message_id` is the raw field's value, unfolded, or ""."""

    uid: int
    octets: int
    message_id: str = ""


class Target(Protocol):
    """One session. `select` comes before whatever is about messages.

    Every method may raise ConnectionLost, ProtocolError, TryLater, Interrupted; after these the session is dead.
    """

    @property
    def merges_message_ids(self) -> bool:
        """Whether equal Message-IDs are merged into one message there (Gmail, X-GM-EXT-1)."""

    def status(self, mailbox: str) -> MailboxState | None:
        """The mailbox as it is now, None if there is none. Nothing is selected or changed by it."""

    def create(self, mailbox: str) -> None:
        """Makes and subscribes the mailbox. Raises MailboxRefused with the server's words."""

    def select(self, mailbox: str, *, read_only: bool = False) -> MailboxState:
        """From here on everything is about this mailbox. Raises MailboxRefused."""

    def append_limit(self) -> int | None:
        """The largest message the selected mailbox takes (RFC 7889), None if the server does not say."""

    def append(self, message: Outgoing) -> Receipt:
        """Appends to the selected mailbox; when it returns, the server has said OK.

        Raises MessageRejected (this one is not there; the session goes on), QuotaExceeded (likewise), and what kills
        the session: then the message may be there or not.
        """

    def found(self, first: int, *, message_ids: bool = False) -> Iterator[Found]:
        """Every message of the selected mailbox with UID `first` or higher, by rising UID."""

    def headers(self, uid: int) -> bytes | None:
        """The header section with the empty line that ends it, as the server has it; None if it is not there."""

    def body(self, uid: int) -> bytes | None:
        """The whole message as the server has it, without setting \\Seen; None if it is not there."""

    def moment(self) -> MailboxState:
        """The selected mailbox as it is now, by NOOP and STATUS: to see whether the server is still at work."""

    def quit(self) -> None:
        """Ends the session politely. Never raises."""

    def close(self) -> None:
        """Drops the connection. Never raises."""
