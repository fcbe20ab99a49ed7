"""What is said when: the writing half of a conversation (RFC 5321 section 3.3).

Strategy: a generator says one transaction after the other, and yields b"" where it must hear first. By what the server
offers:
- CHUNKING and PIPELINING (RFC 3030, RFC 2920): whole transactions follow each other, none waits for replies.
- PIPELINING: MAIL, RCPTs and DATA in one flight, and with the next flight the message and its dot.
- neither: one command at a time.

Rules that live here:
- No octet of a message goes out where a server could take it for a command, as far as it is for us to know: without
  waiting only to an envelope that was accepted before on this connection, and behind a first transaction that was
  settled; never above LARGE, since a refusal must not cost the whole way up.
- A refused BDAT leaves the transaction in a state that nobody knows (RFC 3030 section 2), and what follows could end
  in it; so each transaction begins with RSET unless the one before is known to be over.
- A server, or what stands before it, may announce CHUNKING and not know BDAT: then a message would be read as
  commands. So the first octet of the first message goes alone, with its recipients, and nothing more before the reply;
  where that is no, an empty line and RSET end what the octet may have begun, and messages go by DATA from then on. What
  only BDAT can carry is refused to the caller in the server's words.
- In LMTP nothing follows a message for several before all their replies are in: a server that gives one for all would
  have later replies taken for the missing ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Generic

from mailmove.model import Body, Reply, Transcript
from mailmove.protocols.smtp import commands
from mailmove.protocols.smtp.commands import Offers
from mailmove.protocols.smtp.content import END, stuffed
from mailmove.protocols.smtp.course import Course, Due, Kind, M
from mailmove.protocols.whole import whole

LARGE = 1024 * 1024
"""Octets of a message that always waits until its recipients were accepted."""

KNOWN = 1000
"""So many accepted envelopes are remembered."""


class Speaker(Generic[M]):
    """The queue, what is under way, and what replies are due. `_produced`: octets that `_writer` has yielded."""

    def __init__(self, offers: Offers, transcript: Transcript | None) -> None:
        self._announced = self._offers = offers
        self._no_chunks: Reply | None = None
        self._transcript = transcript
        self._queue: deque[Course[M]] = deque()
        self._under_way: deque[Course[M]] = deque()
        self._due: deque[Due] = deque()
        self._writer = self._write()
        self._is_writing = False
        self._produced = 0
        self._known: set[tuple[object, ...]] = set()
        self._dirty = self._fence = self._proven = False
        self._is_first = True

    def _write(self) -> Iterator[bytes]:
        while True:
            if not self._queue:
                yield b""
                continue
            course = self._queue.popleft()
            self._under_way.append(course)
            self._is_writing = True
            yield from self._transaction(course)
            self._is_writing = False

    def _transaction(self, course: Course[M]) -> Iterator[bytes]:
        if self._fence or not self._offers.pipelining:
            yield from self._until_answered()
            self._fence = False
        if self._no_chunks and course.mail.body is Body.BINARY:
            course.refuse(self._no_chunks)
            return
        first, rest = self._halves(course)
        yield from self._envelope(course, first)
        if not self._flows(course):
            yield from self._until_answered()
            if course.is_unclear:
                yield from self._clear(course)
                return
            if course.is_settled:
                return
        yield from self._by_chunk(course, rest, len(first)) if self._offers.chunking else self._by_data(course, rest)

    def _halves(self, course: Course[M]) -> tuple[bytes, Iterator[bytes]]:
        """What of it goes with its envelope, to see whether the server knows BDAT, and the rest."""
        octets = whole(course.mail.chunks(), course.mail.octets)
        if self._proven or not self._offers.chunking or not course.mail.octets:
            return b"", octets
        piece = next(octets)
        return piece[:1], chain(filter(None, [piece[1:]]), octets)

    def _until_answered(self) -> Iterator[bytes]:
        while self._due:
            yield b""

    def _envelope(self, course: Course[M], first: bytes) -> Iterator[bytes]:
        """`first`: octets that go along with it, as a chunk of their own."""
        lines = self._envelope_lines(course)
        if self._offers.pipelining:
            for kind, recipient, line in lines:
                self._expect(kind, course, line, recipient)
            yield b"".join(line for _, _, line in lines) + self._probe(course, first)
            return
        for kind, recipient, line in lines:
            self._expect(kind, course, line, recipient)
            yield line
            yield from self._until_answered()
            if course.is_settled:
                return
        if first:
            yield self._probe(course, first)

    def _probe(self, course: Course[M], first: bytes) -> bytes:
        if not first:
            return b""
        line = commands.chunk(len(first))
        self._expect(Kind.PROBE, course, line)
        return line + first

    def _clear(self, course: Course[M]) -> Iterator[bytes]:
        self._expect(Kind.CLEAR, course, commands.RSET)
        yield b"\r\n" + commands.RSET
        yield from self._until_answered()

    def _envelope_lines(self, course: Course[M]) -> list[tuple[Kind, str, bytes]]:
        mail, recipients = commands.envelope(course.mail, self._offers)
        lines = [(Kind.MAIL, "", mail)]
        if self._dirty or (self._offers.chunking and self._due):
            lines.insert(0, (Kind.RESET, "", commands.RSET))
            self._dirty = False
        lines += [
            (Kind.RECIPIENT, recipient, line)
            for recipient, line in zip(course.mail.recipients, recipients, strict=True)
        ]
        if self._offers.pipelining and not self._offers.chunking:
            lines.append((Kind.DATA, "", commands.DATA))
        return lines

    def _flows(self, course: Course[M]) -> bool:
        """Whether its octets may go before its recipients are known to be accepted."""
        can = self._offers.chunking and self._offers.pipelining and self._proven
        return can and course.mail.octets <= LARGE and course.envelope in self._known

    def _by_chunk(self, course: Course[M], rest: Iterator[bytes], gone: int) -> Iterator[bytes]:
        line = commands.bdat(course.mail.octets - gone)
        self._expect(Kind.FINAL, course, line)
        yield from self._content(course, chain([line], rest))
        self._fence = self._needs_fence(course) or self._is_first
        self._is_first = False

    def _by_data(self, course: Course[M], octets: Iterator[bytes]) -> Iterator[bytes]:
        if not self._offers.pipelining:
            self._expect(Kind.DATA, course, commands.DATA)
            yield commands.DATA
            yield from self._until_answered()
        if course.is_settled:
            return
        if not course.accepted:
            yield self._lone_dot(course)
            return
        self._expect(Kind.FINAL, course, b"")
        yield from self._content(course, chain(stuffed(octets), [END]))
        self._fence = self._needs_fence(course)

    def _content(self, course: Course[M], parts: Iterator[bytes]) -> Iterator[bytes]:
        held = b""
        for part in parts:
            if held:
                yield held
            held = part
        course.written = True
        course.end = self._produced + len(held)
        self._tell("C", f"[{course.mail.octets} octets of message]")
        yield held

    def _lone_dot(self, course: Course[M]) -> bytes:
        """The server asks for a message of which it has refused every recipient: it gets none.

        In LMTP no reply follows, since there is one for each recipient; RSET shows whether that is so.
        """
        course.written = course.clean = True
        self._tell("C", ".")
        if not self._offers.lmtp:
            self._expect(Kind.NOBODY, course, b"")
            return END
        self._expect(Kind.RESET, course, commands.RSET)
        self._fence = True
        return END + commands.RSET

    def _needs_fence(self, course: Course[M]) -> bool:
        return self._offers.lmtp and len(course.mail.recipients) > 1

    def _expect(self, kind: Kind, course: Course[M], line: bytes, recipient: str = "") -> None:
        self._due.append(Due(kind, course, recipient, self._produced))
        course.unanswered += 1
        if line:
            self._tell("C", line)

    def _note(self, course: Course[M], kind: Kind) -> None:
        """Remembers whether its envelope is one that is accepted."""
        if kind is Kind.RECIPIENT and len(course.accepted) == len(course.mail.recipients):
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known.add(course.envelope)
        elif course.replies and kind in (Kind.MAIL, Kind.RECIPIENT):
            self._known.discard(course.envelope)

    def _tell(self, direction: str, line: bytes | str) -> None:
        if self._transcript:
            self._transcript(direction, line.decode().removesuffix("\r\n") if isinstance(line, bytes) else line)
