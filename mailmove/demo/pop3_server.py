"""The demo's POP3 server: mailboxes in memory, on a loopback port, as fast or as slow as one likes to watch.

Strategy: one command line after the other is read from a bounded buffer, and the next is read only when the reply is
with the operating system; so any number may be pipelined, and neither memory nor the network can be flooded. What the
replies say is `pop3_session`'s business. On request one connection is dropped in the middle of a message, so that a
client can show what it does then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from mailmove.demo.background import Handler, LoopbackServer, Reader, Writer
from mailmove.demo.messages import DemoMessage
from mailmove.demo.pop3_session import Maildrop, Session

BLOCK = 16 * 1024
"""Octets written at once: the steps in which a throttled reply comes."""
COARSE = 0.005
"""Seconds: shorter pauses are saved up, for an event loop cannot keep them."""
SLACK = 0.1
"""Seconds a throttled connection may be behind its pace and still catch up."""


class Pop3Server(LoopbackServer):
    """`mailboxes`: {user: (password, messages)}.

    `cut_after=N`: the first session to get so far loses its connection in the middle of its N-th message, once; `cuts`
    says whether that has happened. `bytes_per_second` holds each connection to that pace, and `delay` makes every reply
    that many seconds late.
    """

    def __init__(
        self,
        mailboxes: Mapping[str, tuple[str, Iterable[DemoMessage]]],
        *,
        cut_after: int | None = None,
        bytes_per_second: float | None = None,
        delay: float = 0.0,
    ) -> None:
        super().__init__()
        self.cuts = 0
        self._maildrops = {user: Maildrop(password, messages) for user, (password, messages) in mailboxes.items()}
        self._cut_after, self._bytes_per_second, self._delay = cut_after, bytes_per_second, delay

    def messages(self, user: str) -> Sequence[DemoMessage]:
        """What this user's maildrop holds now."""
        return self._maildrops[user].messages

    async def prepare(self) -> Handler:
        return self._serve

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        writer.transport.set_write_buffer_limits(0)  # drain() then means that the operating system has all of it
        session, pace = Session(self._maildrops), _Pace(self._bytes_per_second)
        await self._send(writer, session.greeting, pace)
        while not session.ended:
            reply = session.answer(await _read_line(reader))
            if self._is_to_be_cut(session):
                await self._cut(writer, reply, pace)
                break
            await self._send(writer, reply, pace)

    async def _send(self, writer: Writer, data: bytes, pace: _Pace) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            writer.write(block)
            await writer.drain()
            await pace.sent(len(block))

    def _is_to_be_cut(self, session: Session) -> bool:
        return not self.cuts and self._cut_after is not None and session.retrieved >= self._cut_after

    async def _cut(self, writer: Writer, reply: bytes, pace: _Pace) -> None:
        """Half of the message, then nothing: the caller drops the connection without a word."""
        self.cuts += 1
        status = reply.index(b"\r\n") + 2
        await self._send(writer, reply[: (status + len(reply)) // 2], pace)


async def _read_line(reader: Reader) -> bytes:
    """The next command line. Raises EOFError when the client has gone, or sends a line longer than any buffer."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise EOFError("a command line without an end") from error


class _Pace:
    """Holds one connection to so many octets per second, by the clock and not by adding up pauses."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._due = 0.0

    async def sent(self, octets: int) -> None:
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - SLACK) + octets / self._rate
        if self._due - now > COARSE:
            await asyncio.sleep(self._due - now)
