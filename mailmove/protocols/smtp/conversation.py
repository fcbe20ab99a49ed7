"""Mail transactions with one server, without the connection: what was heard, and what it means.

Strategy: the speaker (speaker.py) says one transaction after the other; what comes in answers the oldest command that
is due, and each transaction ends with one outcome, in the order in which they were sent.

Rules that live here:
- An answer before the message is whole ends it: the server may be reading the rest as commands.
- 421 ends the session (RFC 5321 section 3.8): what it answers was not done (section 4.2.1), nor what came behind it.
- 500 and its kin to the octet that goes first are about BDAT (section 4.2.4): the message goes again by DATA.
- The first error is the last event: the connection is dead, and says the same again however often it is asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from mailmove.errors import ConnectionLost, MailmoveError, TryLater
from mailmove.model import Reply, Transcript
from mailmove.protocols.smtp import commands
from mailmove.protocols.smtp.commands import Offers
from mailmove.protocols.smtp.course import Course, Due, Kind, M
from mailmove.protocols.smtp.events import NEED_DATA, NeedData, Outcome
from mailmove.protocols.smtp.replies import ReplyReader, ServerReply
from mailmove.protocols.smtp.speaker import Speaker
from mailmove.protocols.smtp.text import broken, quoted

GATHER = 128 * 1024
"""Octets that are written at once, if so many are at hand."""

CLOSING = 421


class Conversation(Speaker[M]):
    """The client's side, from where mail can be sent. `transcript` is told lines, and of messages only how long."""

    def __init__(self, offers: Offers, transcript: Transcript | None = None) -> None:
        super().__init__(offers, transcript)
        self._reader = ReplyReader()
        self._settled: deque[Outcome[M]] = deque()
        self._taken = 0
        self._at_eof = False
        self._error: MailmoveError | None = None
        self._is_closing = False
        self._is_stuck = False

    # ---- What may be asked

    @property
    def outstanding(self) -> int:
        """How many commands and messages were written and not fully answered."""
        return len(self._due)

    @property
    def has_more_to_say(self) -> bool:
        """Whether some of what was sent is not written yet, so that `data_to_send` is to be asked again."""
        return self._is_writing or bool(self._queue)

    @property
    def under_way(self) -> int:
        """How many messages have no outcome yet."""
        return len(self._under_way) + len(self._queue)

    @property
    def lost_chunking(self) -> bool:
        """Whether CHUNKING was announced, and turned out not to be there."""
        return self._no_chunks is not None

    @property
    def awaits_verdict(self) -> bool:
        """Whether what comes next is the reply to a whole message, which may take long (RFC 5321 section 4.5.3.2.6)."""
        return bool(self._due) and self._due[0].kind is Kind.FINAL and self._is_whole(self._due[0].course)

    @property
    def has_whole_ones(self) -> bool:
        """Whether the next reply is about a message that the network has taken as a whole."""
        return bool(self._due) and self._is_whole(self._due[0].course)

    # ---- The verbs

    def send(self, mails: Sequence[M]) -> None:
        """Queues messages. UsageError or LocalProtocolError if one may not be sent; then nothing has changed."""
        self._raise_if_dead()
        for mail in mails:
            commands.check(mail, self._announced)
        self._queue.extend(Course(mail) for mail in mails)

    def data_to_send(self) -> bytes:
        """What to write now; b"" if something must be heard first, or there is nothing left to say.

        Raises what a message's `chunks()` raise, LocalProtocolError if they are not what was announced: then the
        message was not whole, and nothing more can be written; but what was is still answered.
        """
        self._raise_if_dead()
        if self._is_stuck:
            raise ConnectionLost("The connection is of no use any more, since a message could not be read to its end.")
        parts, size = [], 0
        try:
            while size < GATHER and (part := next(self._writer)):
                parts.append(part)
                size += len(part)
                self._produced += len(part)
        except BaseException:
            self._is_stuck = True
            raise
        return b"".join(parts)

    def sent(self, octets: int) -> None:
        """The network has taken so many octets of what was to be sent."""
        self._taken += octets

    def receive_data(self, data: bytes) -> None:
        """What the server sent; b"" if it will send no more."""
        if data:
            self._reader.receive(data)
        else:
            self._at_eof = True

    def next_event(self) -> Outcome[M] | NeedData:
        """What the octets received so far mean. Raises ProtocolError, ConnectionLost, TryLater (421)."""
        self._settle_unsaid()
        if self._settled:
            return self._settled.popleft()
        self._raise_if_dead()
        try:
            while (reply := self._reader.next_reply()) is not None:
                self._hear(reply)
                self._settle_unsaid()
                if self._settled:
                    return self._settled.popleft()
            if self._at_eof:
                raise self._lost()
        except MailmoveError as error:
            self._error = error
            raise
        return NEED_DATA

    def leftover(self) -> list[Outcome[M]]:
        """After the end: what is known of the messages that had no outcome, in their order. Of others nobody knows."""
        outcomes = [
            Outcome(course.mail, course.replies, unsent=self._is_unsent(course))
            for course in chain(self._under_way, self._queue)
            if course.replies or self._is_unsent(course)
        ]
        self._under_way.clear()
        self._queue.clear()
        return outcomes

    # ---- Hearing

    def _hear(self, heard: ServerReply) -> None:
        reply = heard.reply
        for text in heard.lines if self._transcript else ():
            self._tell("S", f"{reply.code} {text}")
        due = self._due[0] if self._due else None
        if reply.code == CLOSING:
            raise self._closed(due, reply)
        if due is None or self._taken <= due.start:
            raise broken("it sent what answers no command", str(reply))
        course: Course[M] = due.course
        is_early = due.kind is Kind.FINAL and not self._is_whole(course)
        if is_early and reply.is_positive:
            raise broken("it took a message before it had all of it", str(reply))
        if course.book(due.kind, due.recipient, reply, lmtp=self._offers.lmtp):
            self._due.popleft()
            if due.kind is Kind.CLEAR:
                return self._cleared(course)
        self._proven = self._proven or (due.kind is Kind.PROBE and reply.is_positive)
        if is_early:
            raise _cut_off(reply)
        self._note(course, due.kind)
        if course.is_settled:
            self._settle(course)
        return None

    def _cleared(self, course: Course[M]) -> None:
        """What the octet that went first may have begun is over, and so is its transaction."""
        course.is_unclear, course.clean = False, True
        if course.no_chunks:
            self._offers = replace(self._offers, chunking=False, binary=False)
            self._no_chunks = course.no_chunks
        if course.is_refused:
            self._settle(course)
        else:
            self._under_way.popleft()
            self._queue.appendleft(Course(course.mail))

    def _settle_unsaid(self) -> None:
        """What was refused without a word to the server."""
        while self._no_chunks and self._under_way and self._under_way[0].is_settled:
            course = self._under_way.popleft()
            self._settled.append(Outcome(course.mail, course.replies))

    def _settle(self, course: Course[M]) -> None:
        self._under_way.popleft()
        self._dirty = not course.clean
        self._settled.append(Outcome(course.mail, course.replies))

    # ---- The end

    def _closed(self, due: Due | None, reply: Reply) -> TryLater:
        self._is_closing = True
        return TryLater(
            f"The server ended the session: {quoted(str(reply))}.",
            server_text=str(reply),
            command=due.kind.value if due else "",
            code=reply.codes,
        )

    def _is_whole(self, course: Course[M]) -> bool:
        return course.end is not None and self._taken >= course.end

    def _is_unsent(self, course: Course[M]) -> bool:
        """Certainly not delivered to those of whom nothing was said; told for all of a message or for none."""
        is_taken = any(reply.is_positive for reply in course.replies.values())
        return not course.is_refused and not is_taken and (self._is_closing or not self._is_whole(course))

    def _lost(self) -> ConnectionLost:
        where = f" while the reply to {self._due[0].kind.value} was awaited" if self._due else ""
        where = " in the middle of a reply" if self._reader.pending else where
        return ConnectionLost(f"The server closed the connection{where}.")

    def _raise_if_dead(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)


def _cut_off(reply: Reply) -> ConnectionLost:
    return ConnectionLost(
        f"The server refused a message before it was whole ({quoted(str(reply))}), so the connection was dropped.",
        server_text=str(reply),
    )
