"""What a server's octets mean, read the plain way: whole streams, split into lines, with no thought of speed.

Strategy: shares nothing with mailmove/protocols, neither code nor method. `read` takes the verbs that were asked, in
order, and all that the server ever sent; an answer is a tuple whose first part says of what kind it is. What it leaves
out (which states allow what, the words of a greeting) is not for it to judge.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field

BODIES = frozenset({"RETR", "TOP"})
LISTINGS = frozenset({"CAPA", "LIST", "UIDL"})
MAX_LINE, MAX_LISTING = 65_536, 256 * 1024 * 1024
LAG = 4
"""Most octets that may be held back, since they may begin a terminator: CR LF dot CR."""

Answer = tuple[str, object]


@dataclass
class Reading:
    """`end`: "done", "waiting" (for more octets) or "broken". `partial`: the message or listing that has no end yet.

    `may_break`: a listing so near to its limit that both "waiting" and "broken" are right.
    """

    answers: list[Answer] = field(default_factory=list)
    end: str = "done"
    partial: bytes = b""
    may_break: bool = False


class Broken(Exception):
    """Not POP3."""


class Unfinished(Exception):
    """There is more to come. Its argument is what there is of the body."""


def read(verbs: Iterable[str], stream: bytes, line_end: bytes, limits: tuple[int, int] | None = None) -> Reading:
    """The answers to these commands. `limits` are the most octets of a line and of a listing."""
    reader, reading = _Reader(stream, line_end, *(limits or (MAX_LINE, MAX_LISTING))), Reading()
    try:
        reading.answers.extend(reader.answer(verb) for verb in verbs)
        reading.end = "broken" if reader.rest else "done"
    except Broken:
        reading.end = "broken"
    except Unfinished as unfinished:
        reading.end, reading.partial, reading.may_break = "waiting", unfinished.args[0], reader.near_limit
    return reading


def stuffed(message: bytes, line_end: bytes) -> bytes:
    """What an honest server sends for a message: with a last line end, dots doubled, and the terminator."""
    lines = whole(message, line_end).split(line_end)[:-1]
    return b"".join((b"." if line[:1] == b"." else b"") + line + line_end for line in lines) + b"." + line_end


def whole(message: bytes, line_end: bytes) -> bytes:
    """A message as it arrives: POP3 cannot say that the last line has no end."""
    return message if not message or message.endswith(line_end) else message + line_end


def words(octets: bytes) -> str:
    """A text for people: UTF-8, or else latin-1."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


class _Reader:
    """`rest` is what no answer has used yet."""

    def __init__(self, stream: bytes, line_end: bytes, max_line: int, max_listing: int) -> None:
        self.rest, self.line_end = stream, line_end
        self.max_line, self.max_listing = max_line, max_listing
        self.near_limit = False

    def answer(self, verb: str) -> Answer:
        line = self.line()
        if verb == "AUTH" and (line == b"+" or line[:2] == b"+ "):
            return "challenge", _decoded(line[1:].strip(b" \t"))
        if line[:4].upper() == b"-ERR" and not line[4:5].isalnum():
            return "refused", words(line[4:].lstrip(b" \t"))
        if line[:3].upper() != b"+OK" or line[3:4].isalnum():
            raise Broken
        return self.accepted(verb, line[3:].lstrip(b" \t"))

    def accepted(self, verb: str, text: bytes) -> Answer:
        if verb in BODIES:
            return "message", self.body()
        if verb in LISTINGS:
            return verb, _listed(verb, self.listing())
        status = _status(text) if verb == "STAT" else None
        return ("status", status) if status else ("accepted", words(text))

    def line(self) -> bytes:
        line, end, _ = self.rest[: self.max_line].partition(b"\n")
        if not end and len(self.rest) >= self.max_line:
            raise Broken
        if not end:
            raise Unfinished(b"")
        self.rest = self.rest[len(line) + 1 :]
        return line.removesuffix(b"\r")

    def body(self) -> bytes:
        lines = self.rest.split(self.line_end)
        if b"." not in lines[:-1]:
            raise Unfinished(self.line_end.join(map(_unstuffed, lines)))
        dot = lines.index(b".")
        self.rest = self.line_end.join(lines[dot + 1 :])
        return b"".join(_unstuffed(line) + self.line_end for line in lines[:dot])

    def listing(self) -> bytes:
        try:
            listing = self.body()
        except Unfinished as unfinished:
            size = len(unfinished.args[0])
            if size - LAG > self.max_listing:
                raise Broken from None
            self.near_limit = size > self.max_listing
            raise
        if len(listing) > self.max_listing:
            raise Broken
        return listing


def _unstuffed(line: bytes) -> bytes:
    return line[1:] if line[:2] == b".." else line


def _decoded(challenge: bytes) -> bytes:
    try:
        return base64.b64decode(challenge, validate=True)
    except binascii.Error:
        raise Broken from None


def _status(text: bytes) -> tuple[int, int] | None:
    """Number and size of all messages; None for other words, which are no reason to give up."""
    parts = [part for part in text.replace(b"\t", b" ").split(b" ") if part]
    try:
        return _number(b"".join(parts[:1]), 18), _number(b"".join(parts[1:2]), 18)
    except Broken:
        return None


def _number(digits: bytes, most: int) -> int:
    if not digits.isdigit() or len(digits) > most:
        raise Broken
    return int(digits)


def _listed(verb: str, listing: bytes) -> dict[int, object]:
    """Number -> size or unique id. What a capability list says is not compared."""
    entries: dict[int, object] = {}
    for line in listing.removesuffix(b"\n").split(b"\n") if listing and verb != "CAPA" else ():
        number, value = _entry(line.removesuffix(b"\r").strip(b" \t"))
        if number in entries or not number:
            raise Broken
        entries[number] = value.decode("latin-1") if verb == "UIDL" else _number(_first(value), 18)
    return entries


def _entry(line: bytes) -> tuple[int, bytes]:
    if line[:3].upper() == b"+OK" and line[3:4] in (b" ", b"\t"):
        line = line[3:].lstrip(b" \t")
    number = _first(line)
    return _number(number, 10), line[len(number) :].lstrip(b" \t")


def _first(line: bytes) -> bytes:
    return line.replace(b"\t", b" ").split(b" ")[0]
