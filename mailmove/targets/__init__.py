"""The Target and Relay contracts: what a job may ask of a server it delivers to.

Strategy: a Target is one open session. It tells what a mailbox holds, and appends messages, unaltered: `append` one by
one, `send` and `reap` with many under way. It decides nothing and remembers nothing beyond what is under way, so that
exactly-once is the job's to keep (design.md section 7). UIDs mean something only together with the UIDVALIDITY they
came with (RFC 9051 section 2.3.1.1). A Relay is the same for SMTP and LMTP, which have no mailbox to look into. One
test suite each (tests/contract/) holds them to this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mailmove.errors import MailmoveError
from mailmove.model import Body, Reply

SPECIAL_USES = ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash")
"""What a mailbox can be for, whatever its name is (RFC 6154 section 2)."""

SYSTEM_LABELS = ("\\Important", "\\Inbox", "\\Sent", "\\Starred")
"""Gmail's own labels that can be given without moving the message out of sight, as \\Trash and \\Spam would."""


@dataclass(frozen=True, slots=True)
class MailboxState:
    """A mailbox at one moment: the next message gets UID `uidnext` or higher; `messages` are in it."""

    uidvalidity: int
    uidnext: int
    messages: int


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One message on its way out; equal only to itself.

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
class Sent:
    """What became of one message that was sent: the server has it (`receipt`), or refused it (`refusal`)."""

    message: Outgoing
    receipt: Receipt | None = None
    refusal: MailmoveError | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How this server takes messages, from what it announces.

    `pipelined`: messages of any size can follow each other without waiting; else each costs a round trip. `batched`:
    messages sent together are one command, which is taken or refused as a whole. `tells_uids`: receipts hold UIDs.
    `most`: so many messages in one command at most (MESSAGELIMIT, RFC 9738), 0 if the server does not say.
    """

    pipelined: bool = False
    batched: bool = False
    tells_uids: bool = False
    most: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One message at the target. `octets` is RFC822.SIZE; `message_id` is the raw field's value, unfolded, or "".

    `internal_date` is aware, UTC; None if it was not asked for, or is none.
    """

    uid: int
    octets: int
    message_id: str = ""
    internal_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """How much room there is for what `root` counts together: octets, by RFC 9208."""

    used: int
    limit: int
    root: str = ""

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class Traits:
    """What the server offers, for a report. `append_limit`: octets of the largest message it takes, None if unsaid."""

    literal_plus: bool = False
    literal_minus: bool = False
    multiappend: bool = False
    uidplus: bool = False
    gmail: bool = False
    append_limit: int | None = None


class Target(Protocol):
    """One session. `select` comes before whatever is about messages.

    Every method may raise ConnectionLost, ProtocolError, TryLater, Interrupted; after these the session is dead.
    """

    @property
    def merges_message_ids(self) -> bool:
        """Whether equal Message-IDs are merged into one message there (Gmail, X-GM-EXT-1)."""

    def place(self, wanted: str) -> str:
        """The server's own name for a wanted mailbox, to be given to all methods below; it need not be there yet.

        "/" separates the levels of `wanted`, whatever separates them there, and the first level may be one of
        SPECIAL_USES. The same `wanted` gives the same name in each session, as long as nobody renames anything there.
        Nothing is selected or changed by it. Raises MailboxRefused for a name that cannot exist there.
        """

    def status(self, mailbox: str) -> MailboxState | None:
        """The mailbox as it is now, None if there is none. Nothing is selected or changed by it."""

    def create(self, mailbox: str) -> None:
        """Makes and subscribes the mailbox, for its special use if `place` gave the name for one.

        Raises MailboxRefused with the server's words.
        """

    def select(self, mailbox: str, *, read_only: bool = False) -> MailboxState:
        """From here on everything is about this mailbox. Raises MailboxRefused."""

    def append_limit(self) -> int | None:
        """The largest message the selected mailbox takes (RFC 7889), None if the server does not say."""

    def append(self, message: Outgoing) -> Receipt:
        """Appends to the selected mailbox; when it returns, the server has said OK.

        Raises MessageRejected (this one is not there; the session goes on), QuotaExceeded (likewise), and what kills
        the session: then the message may be there or not.
        """

    @property
    def manner(self) -> Manner:
        """How it takes messages."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Sends messages to the selected mailbox, and waits for answers no longer than the protocol demands.

        What becomes of them is told by `reap`, also when this raises: then what it does not tell of may be there or
        not, as far as their `chunks()` were asked for. Raises what `append` raises but refusals.
        """

    def reap(self, *, wait: bool = True) -> list[Sent]:
        """What became of some of the messages sent, the oldest first; [] when none is under way.

        Without `wait` only what has been answered already, also after an error that ended the session. Refusals that
        are told: MessageRejected, QuotaExceeded, TryLater, MailboxRefused, ConnectionLost (the login has run out).
        Raises what kills the session.
        """

    def found(self, first: int, *, message_ids: bool = False, dates: bool = False) -> Iterator[Found]:
        """Every message of the selected mailbox with UID `first` or higher, by rising UID."""

    def headers(self, uid: int) -> bytes | None:
        """The header section with the empty line that ends it, as the server has it; None if it is not there."""

    def body(self, uid: int) -> bytes | None:
        """The whole message as the server has it, without setting \\Seen; None if it is not there."""

    def headers_of(self, uids: Sequence[int]) -> Mapping[int, bytes]:
        """What `headers` says of each of these messages, in one round trip; those that are not there are left out."""

    def bodies_of(self, uids: Sequence[int]) -> Mapping[int, bytes]:
        """What `body` says of each of these messages, in one round trip; all of them are in memory at once."""

    def dates_of(self, uids: Sequence[int]) -> Mapping[int, datetime]:
        """The INTERNALDATE of each of these messages, in UTC, in one round trip; what is not there is left out."""

    def moment(self) -> MailboxState:
        """The selected mailbox as it is now, by NOOP and STATUS: to see whether the server is still at work."""

    def label(self, uids: Sequence[int], labels: Sequence[str]) -> None:
        """Adds Gmail's labels to messages of the selected mailbox; a message that has one already keeps it.

        Raises ConfigurationError where there are none (`merges_message_ids` is False), and MailboxRefused with the
        server's words.
        """

    def traits(self) -> Traits:
        """What the server says of itself."""

    def quota(self, mailbox: str) -> Quota | None:
        """How much room there is for this mailbox, None if the server does not say. Nothing is selected by it."""

    def round_trip(self) -> float:
        """Seconds from a question to its answer, measured now."""

    def sizes(self, uids: Sequence[int]) -> Mapping[int, int]:
        """UID -> `Found.octets` of these messages of the selected mailbox; those that are not there are left out."""

    def elsewhere(self, message_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Message-ID -> `Found.octets` of each message of the whole account that has it; {} if none can be asked.

        Only where `merges_message_ids`, and while nothing is under way. The same mailbox is selected afterwards.
        """

    def quit(self) -> None:
        """Ends the session politely. Never raises."""

    def close(self) -> None:
        """Drops the connection. Never raises."""


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """One mail transaction on its way out: a message for some recipients (RFC 5321 section 3.3); equal only to itself.

    `sender`: the reverse path, "" for <>. Addresses are without angle brackets, and hold neither spaces nor control
    characters. `octets` and `chunks` as in Outgoing. `body`: what it takes to carry it.
    """

    sender: str
    recipients: tuple[str, ...]
    octets: int
    body: Body
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of one parcel: the server's last word for each recipient.

    `unsent`: the session died before its last octet was given to the network, so that it is certainly not delivered;
    then `replies` may lack recipients, which had no word yet.
    """

    parcel: Parcel
    replies: Mapping[str, Reply]
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class RelayTraits:
    """What an SMTP or LMTP server offers. `largest`: octets of the largest message it takes, None if unsaid."""

    lmtp: bool = False
    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    binary: bool = False
    utf8: bool = False
    largest: int | None = None
    authenticated: bool = False
    greeting: str = ""


class Relay(Protocol):
    """One session with an SMTP or LMTP server, which takes mail and shows none of it.

    Every method may raise ConnectionLost, ProtocolError, TryLater (421), Interrupted; after these the session is dead.
    """

    @property
    def traits(self) -> RelayTraits:
        """What the server offers in this session."""

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Sends parcels, and waits for replies no longer than the protocol demands.

        What becomes of them is told by `reap`, also when this raises. Nothing of a parcel goes out that the server
        could not carry unaltered; that is refused by the caller, by `traits`.
        """

    def reap(self, *, wait: bool = True) -> list[Posted]:
        """What became of some of the parcels, the oldest first; [] when none is under way.

        Without `wait` only what has been answered already. After an error that ended the session, also what is
        certainly not delivered (`Posted.unsent`); of what is never told nobody knows. Refusals are replies, not errors.
        """

    def quit(self) -> None:
        """Ends the session politely. Never raises."""

    def close(self) -> None:
        """Drops the connection. Never raises."""
