"""What a server says: replies of one line or many (RFC 5321 section 4.2), with enhanced codes (RFC 2034).

Strategy: framing comes before meaning: a line ends with LF, whatever is in it, and every line of a reply begins with
the same code. Lines and their number are bounded, so that no server can fill the memory. A reply of one line is looked
up before it is parsed: a server says "250 2.1.0 Ok" thousands of times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from mailmove.model import Reply
from mailmove.protocols.smtp.text import broken, readable

MAX_LINE = 8_192
"""Octets of a line with its line end. RFC 5321 section 4.5.3.1.5 allows 512; servers do not all know."""

MAX_LINES = 500
"""Lines of one reply."""

MAX_TEXT = 1_000
"""Characters of a reply's text that are kept."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?![^ ])")


@dataclass(frozen=True, slots=True)
class ServerReply:
    """One whole reply. `lines`: the text of each line behind the code, without control characters, as it came."""

    reply: Reply
    lines: tuple[str, ...]

    @property
    def code(self) -> int:
        return self.reply.code


class ReplyReader:
    """The receive buffer of one connection: octets in, replies out."""

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._searched = 0
        self._code = b""
        self._lines: list[str] = []

    def receive(self, data: bytes) -> None:
        """More octets from the server."""
        self._data = self._data[self._position :] + data
        self._searched -= self._position
        self._position = 0

    @property
    def pending(self) -> bool:
        """Whether there are octets that are not part of a reply that was read; behind STARTTLS's they are an attack."""
        return self._position < len(self._data) or bool(self._lines)

    @property
    def said(self) -> str:
        """The beginning of what is pending, to be quoted."""
        return readable(self._data[self._position : self._position + MAX_LINE]) or " / ".join(self._lines[:1])

    def next_reply(self) -> ServerReply | None:
        """The next reply, None if it is not all here. Raises ProtocolError, which quotes the words."""
        while (line := self._next_line()) is not None:
            if not self._lines and line[3:4] != b"-":
                return _single(line)
            if (reply := self._add(line)) is not None:
                return reply
        return None

    def _next_line(self) -> bytes | None:
        """A line without its line end. Octets that were searched once are not searched again."""
        end = self._data.find(b"\n", max(self._searched, self._position))
        if (end if end >= 0 else len(self._data)) - self._position >= MAX_LINE:
            raise broken(f"a line is over {MAX_LINE} octets", self.said)
        if end < 0:
            self._searched = len(self._data)
            return None
        line = self._data[self._position : end].removesuffix(b"\r")
        self._position = end + 1
        return line

    def _add(self, line: bytes) -> ServerReply | None:
        code, is_last, text = _split(line)
        if self._lines and code != self._code:
            raise broken(f"a line of a reply {self._code.decode()} has another code", readable(line))
        if len(self._lines) >= MAX_LINES:
            raise broken(f"a reply has over {MAX_LINES} lines", " / ".join(self._lines[:3]))
        self._code = code
        self._lines.append(text)
        if not is_last:
            return None
        lines, self._lines = tuple(self._lines), []
        return _reply(code, lines)


@lru_cache(maxsize=512)
def _single(line: bytes) -> ServerReply:
    code, _, text = _split(line)
    return _reply(code, (text,))


def _split(line: bytes) -> tuple[bytes, bool, str]:
    """Its code, whether it is the last of its reply, and its text. Raises ProtocolError."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise broken("that is no reply", readable(line))
    return found[1], found[2] != b"-", readable(found[3] or b"").strip()


def _reply(code: bytes, lines: tuple[str, ...]) -> ServerReply:
    found = _ENHANCED.match(lines[0])
    enhanced = found[0] if found and found[1] == code[:1].decode() else ""
    return ServerReply(Reply(int(code), enhanced, _joined(enhanced, lines)), lines)


def _joined(enhanced: str, lines: Iterable[str]) -> str:
    """The lines without the enhanced code, which each of them may repeat (RFC 2034 section 4)."""
    words = (line[len(enhanced) :].strip() if _repeats(enhanced, line) else line for line in lines)
    text = " / ".join(filter(None, words))
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _repeats(enhanced: str, line: str) -> bool:
    found = _ENHANCED.match(line)
    return found is not None and found[0] == enhanced
