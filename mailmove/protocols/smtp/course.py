"""One mail transaction under way: what was said of each recipient so far (RFC 5321 section 3.3, RFC 2033).

Strategy: a recipient's last word is the first refusal it meets (of MAIL, of its RCPT, of DATA), else the final reply.
Everything that decides about a recipient lives here; what is said when, and in which order, is the conversation's.
"""

from __future__ import annotations

import enum
from typing import Generic, NamedTuple, TypeVar

from mailmove.model import Reply
from mailmove.protocols.smtp.commands import Mail
from mailmove.protocols.smtp.text import broken

M = TypeVar("M", bound=Mail)

START_MAIL_INPUT = 354
UNKNOWN = (500, 501, 502, 504)
"""Codes that are about a command and not about a message (RFC 5321 section 4.2.4)."""


class Kind(enum.Enum):
    """What a reply answers."""

    RESET = "RSET"
    MAIL = "MAIL FROM"
    RECIPIENT = "RCPT TO"
    DATA = "DATA"
    PROBE = "BDAT"
    CLEAR = "an empty line and RSET"
    FINAL = "a message"
    NOBODY = "a message for nobody"


class Course(Generic[M]):
    """`written`: nothing more will be said in it. `end`: how many octets of the whole conversation there are up to the
    last one of its message; None before that is known. `unanswered`: commands of it that were not answered.
    `is_unclear`: the server may have taken octets of it for the beginning of a command. `no_chunks`: how it said that
    it does not know BDAT."""

    __slots__ = (
        *("_left", "_strays", "accepted", "clean", "end", "go_ahead", "is_unclear", "mail", "no_chunks", "replies"),
        *("unanswered", "written"),
    )

    def __init__(self, mail: M) -> None:
        self.mail = mail
        self.replies: dict[str, Reply] = {}
        self.accepted: list[str] = []
        self.unanswered = 0
        self.written = False
        self.end: int | None = None
        self.go_ahead = False
        self.clean = False
        self.is_unclear = False
        self.no_chunks: Reply | None = None
        self._strays = 0
        self._left: list[str] | None = None

    @property
    def envelope(self) -> tuple[object, ...]:
        return self.mail.sender, self.mail.recipients, self.mail.body

    @property
    def is_refused(self) -> bool:
        """Every recipient has had its last word."""
        return len(self.replies) == len(self.mail.recipients)

    @property
    def is_settled(self) -> bool:
        """All is said and answered. Where DATA was taken, something must still follow, if only the dot."""
        ended = self.written or (self.is_refused and not self.go_ahead)
        return ended and not self.unanswered and not self.is_unclear

    def book(self, kind: Kind, recipient: str, reply: Reply, *, lmtp: bool) -> bool:
        """Takes one reply; whether the command has had all of its replies. Raises ProtocolError for a contradiction."""
        is_final = kind in (Kind.FINAL, Kind.NOBODY)
        if kind is Kind.DATA:
            self._book_data(reply)
        elif 300 <= reply.code < 400 or (kind is Kind.RESET and not reply.is_positive):
            raise broken(f"that is no answer to {kind.value}", str(reply))
        elif kind is Kind.MAIL:
            self._book_mail(reply)
        elif kind is Kind.RECIPIENT:
            self._book_recipient(recipient, reply)
        elif kind is Kind.PROBE:
            self._book_probe(reply)
        elif (kind is Kind.CLEAR and self._is_stray(reply)) or (is_final and not self._book_final(kind, reply, lmtp)):
            return False
        self.unanswered -= 1
        return True

    def refuse(self, reply: Reply) -> None:
        """Before anything is said."""
        self.replies = dict.fromkeys(self.mail.recipients, reply)

    def _book_mail(self, reply: Reply) -> None:
        if not reply.is_positive:
            self.replies = dict.fromkeys(self.mail.recipients, reply)

    def _book_recipient(self, recipient: str, reply: Reply) -> None:
        if recipient in self.replies:
            return  # MAIL was refused, and whatever is said of a transaction that there is not means nothing
        if reply.is_positive:
            self.accepted.append(recipient)
        else:
            self.replies[recipient] = reply

    def _book_data(self, reply: Reply) -> None:
        if reply.is_positive and reply.code != START_MAIL_INPUT:
            raise broken("that is no answer to DATA", str(reply))
        self.go_ahead = reply.code == START_MAIL_INPUT
        if not self.go_ahead:
            self._tell(self.accepted, reply)

    def _book_probe(self, reply: Reply) -> None:
        """The first octet of a message alone (RFC 3030 section 2): all but a yes ends the transaction."""
        self.is_unclear = not reply.is_positive
        if reply.code in UNKNOWN:
            self.no_chunks = reply
        elif not reply.is_positive:
            self._tell(self.accepted, reply)

    def _is_stray(self, reply: Reply) -> bool:
        """Whether this is about the line before RSET, of which a server says something or nothing."""
        self._strays += not reply.is_positive
        if self._strays > 1:
            raise broken("that is no answer to RSET", str(reply))
        return not reply.is_positive

    def _book_final(self, kind: Kind, reply: Reply, lmtp: bool) -> bool:
        """RFC 2033 section 4.2: one reply for each recipient that was accepted, in their order. A yes to a message of
        which every recipient was refused is not believed."""
        self.clean = self.clean or reply.is_positive or self.go_ahead
        if kind is Kind.NOBODY or not self.accepted:
            if lmtp and reply.is_positive:
                raise broken("it took a message of which it had refused all recipients", str(reply))
            return True
        if not lmtp:
            self._tell(self.accepted, reply)
            return True
        if self._left is None:
            self._left = self.accepted[::-1]
        self._tell([self._left.pop()], reply)
        return not self._left

    def _tell(self, recipients: list[str], reply: Reply) -> None:
        for recipient in recipients:
            self.replies[recipient] = reply


class Due(NamedTuple):
    """A command that was written. `start`: octets of the conversation before it, so that no answer can be earlier."""

    kind: Kind
    course: Course  # type: ignore[type-arg]  # a NamedTuple cannot say of which mail
    recipient: str
    start: int
