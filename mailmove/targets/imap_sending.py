"""Messages under way to an IMAP mailbox: commands in flight, and what became of each (design.md section 7).

Strategy: what the server announces decides how much can go without waiting. With LITERAL+ nothing waits but the first
message of each (mailbox, flags) and large ones, so that a server that dislikes them says so before it could take a
message for commands; with LITERAL- that holds for small messages; else each message waits for its go-ahead, and the
next command is sent right behind it. With MULTIAPPEND what is sent together is one command, taken or refused as a
whole; a refused one is sent again message by message, so that only those at fault stay out. Answers come in the order
of the commands.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property

from mailmove.errors import CommandRejected, ConnectionLost, MailboxRefused, MailmoveError, TryLater
from mailmove.targets import Manner, Outgoing, Receipt, Sent, imap_names, imap_refusals
from mailmove.targets.imap_append import Part
from mailmove.targets.imap_connection import ImapConnection

SEEN, UNSEEN = b"(\\Seen)", b"()"
LARGE = 1024 * 1024
"""Octets of a message that always waits for its go-ahead: a refusal must not cost the whole way up."""

MINUS = 4096
"""The longest literal that LITERAL- lets go without waiting (RFC 7888 section 5)."""

LARGEST = 0xFFFF_FFFF
"""UIDs and UIDVALIDITY have 32 bits (RFC 9051 section 9, nz-number)."""

_APPENDUID = re.compile(r"\[APPENDUID ([1-9][0-9]{0,9}) ([0-9:,]+)\]", re.IGNORECASE)
_RANGE = re.compile(r"([1-9][0-9]{0,9})(?::([1-9][0-9]{0,9}))?")


class Sender:
    """What is under way over one connection."""

    def __init__(self, connection: ImapConnection) -> None:
        self._connection = connection
        self._under_way: deque[tuple[bytes, str, list[Outgoing]]] = deque()
        self._told: list[Sent] = []
        self._accepted: set[tuple[str, bytes]] = set()
        self._trouble: MailmoveError | None = None

    @cached_property
    def _words(self) -> frozenset[str]:
        return self._connection.capabilities

    @property
    def manner(self) -> Manner:
        """By the capabilities of the session."""
        words = self._words
        most = next((word.partition("=")[2] for word in words if word.startswith("MESSAGELIMIT=")), "")
        return Manner(
            pipelined="LITERAL+" in words,
            batched="MULTIAPPEND" in words,
            tells_uids="UIDPLUS" in words or "IMAP4REV2" in words,
            most=int(most) if most.isdecimal() else 0,
        )

    # ---- sending

    def send(self, mailbox: str, messages: Sequence[Outgoing]) -> None:
        """One command for all where the server batches, else one for each."""
        self.check()
        if self.manner.batched:
            self._begin(mailbox, list(messages))
        else:
            for message in messages:
                self._begin(mailbox, [message])

    def _begin(self, mailbox: str, messages: list[Outgoing]) -> None:
        try:
            tag = self._connection.begin_append(mailbox, self._parts(mailbox, messages))
        except TryLater:
            raise
        except CommandRejected as error:
            self._cut_off(mailbox, messages, error)
        else:
            self._under_way.append((tag, mailbox, messages))

    def _cut_off(self, mailbox: str, messages: list[Outgoing], error: CommandRejected) -> None:
        """A refusal in the middle of a message, after which the connection was dropped: it is known of one alone."""
        if len(messages) == 1:
            self._told.append(Sent(messages[0], refusal=self._meaning(mailbox, error)))
        raise ConnectionLost(
            f"{self._connection.peer} refused a message before it was whole ({error.server_text!r}), so the "
            "connection was dropped.",
            server_text=error.server_text,
        ) from error

    def _parts(self, mailbox: str, messages: Sequence[Outgoing]) -> Iterator[Part]:
        words = self._words
        plus, minus = "LITERAL+" in words, "LITERAL-" in words or "IMAP4REV2" in words
        for message in messages:
            flags = SEEN if message.seen else UNSEEN
            free = (plus and message.octets <= LARGE) or (minus and message.octets <= MINUS)
            sync = not free or (mailbox, flags) not in self._accepted
            head = flags + b" " + imap_names.date_time(message.internal_date)
            yield Part(head, message.octets, message.chunks(), sync)
            self._accepted.add((mailbox, flags))  # it is asked for the next one only when this one went out

    # ---- hearing

    def reap(self, *, wait: bool = True) -> list[Sent]:
        """See Target.reap. What an answer means that ended the session is raised by whatever is called next."""
        if wait:
            self.check()
            self._reap()
        else:
            try:
                self._reap_answered()
            except MailmoveError as error:
                self._trouble = error
        told, self._told = self._told, []
        return told

    def check(self) -> None:
        """Raises what an answer meant that has ended the session, if nobody was told yet."""
        trouble, self._trouble = self._trouble, None
        if trouble:
            raise trouble

    def _reap(self) -> None:
        while self._under_way and (not self._told or self._is_answered()):
            self._hear(*self._under_way.popleft())
            self._connection.hear_what_came()

    def _reap_answered(self) -> None:
        while self._under_way and self._is_answered() and not self._is_refused_batch():
            self._hear(*self._under_way.popleft())

    def _is_answered(self) -> bool:
        return self._connection.is_answered(self._under_way[0][0])

    def _is_refused_batch(self) -> bool:
        """To be sent again message by message, which only waiting does; until then it is under way."""
        tag, _, messages = self._under_way[0]
        return len(messages) > 1 and self._connection.is_refused(tag)

    def _hear(self, tag: bytes, mailbox: str, messages: list[Outgoing]) -> None:
        try:
            receipts = _receipts(self._connection.finish_append(tag), len(messages))
        except TryLater:
            raise  # a BYE or BAD that asks for patience: the session is over
        except CommandRejected as error:
            meaning = self._meaning(mailbox, error)
            if len(messages) == 1 or isinstance(meaning, TryLater | MailboxRefused | ConnectionLost):
                self._tell(messages, meaning)
            else:
                for message in messages:
                    self._begin(mailbox, [message])
        else:
            self._told += [Sent(message, receipt) for message, receipt in zip(messages, receipts, strict=True)]

    def _tell(self, messages: Sequence[Outgoing], refusal: MailmoveError) -> None:
        self._told += [Sent(message, refusal=refusal) for message in messages]

    def _meaning(self, mailbox: str, error: CommandRejected) -> MailmoveError:
        if isinstance(error, TryLater):
            return error
        return imap_refusals.message_refused(self._connection.peer, mailbox, error)


def _receipts(said: str, number: int) -> list[Receipt]:
    """APPENDUID (RFC 4315 section 3), one receipt a message in the order they were sent.

    What is not exactly an APPENDUID of so many messages is none: a wrong UID would be worse than no UID.
    """
    found = _APPENDUID.match(said)
    uids = _uids(found[2], number) if found else []
    if not found or len(uids) != number or max(int(found[1]), uids[-1]) > LARGEST:
        return [Receipt()] * number
    return [Receipt(int(found[1]), uid) for uid in uids]


def _uids(text: str, number: int) -> list[int]:
    """A uid-set, rising, of `number` UIDs; [] if it is not that."""
    uids: list[int] = []
    for one in text.split(","):
        found = _RANGE.fullmatch(one)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first or last - first >= number or (uids and first <= uids[-1]):
            return []
        uids += range(first, last + 1)
    return uids
