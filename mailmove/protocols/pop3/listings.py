"""What the lines of a listing say.

Strategy: a listing arrives whole and is taken apart in one pass. Servers are forgiven what cannot be misread ("+OK"
before every line, several blanks, gaps between the numbers, any octets in a unique id, none at all); a line without a
number, or with one that came before, is an error, since then an id might be booked on the wrong message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from mailmove.model import MessageNumber, UniqueId
from mailmove.protocols.pop3.commands import Capa, Command, List
from mailmove.protocols.pop3.events import CapabilityList, ScanListing, UniqueIdListing
from mailmove.protocols.pop3.text import broken, decode, unique_id

T = TypeVar("T")

# The digits are bounded because int() is slow, and refuses to work, on thousands of them.
_ENTRY = re.compile(rb"(?:\+OK[ \t]+)?([0-9]{1,10})(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)
_SIZE = re.compile(rb"([0-9]{1,18})(?:[ \t].*)?", re.DOTALL)


def parse(command: Command, listing: bytes) -> CapabilityList | ScanListing | UniqueIdListing:
    """The event for the listing that answers this command."""
    if isinstance(command, Capa):
        return capability_list(command, listing)
    if isinstance(command, List):
        return scan_listing(command, listing)
    return unique_id_listing(command, listing)


def capability_list(command: Command, listing: bytes) -> CapabilityList:
    """Keyword and parameters of each line (RFC 2449 section 3). What is announced in two lines counts together."""
    capabilities: dict[str, list[str]] = {}
    for words in (decode(line).split() for line in _lines(listing)):
        if words:
            capabilities.setdefault(words[0].upper(), []).extend(words[1:])
    return CapabilityList(command, {keyword: tuple(parameters) for keyword, parameters in capabilities.items()})


def scan_listing(command: Command, listing: bytes) -> ScanListing:
    """Number and size of each message (RFC 1939 section 5); what follows the size is for others to understand."""
    sizes: dict[MessageNumber, int] = {}
    for number, rest, line in _entries(listing):
        size = _SIZE.fullmatch(rest)
        if size is None:
            raise broken("a scan listing has no size", decode(line))
        _add(sizes, number, int(size[1]), line)
    return ScanListing(command, sizes)


def unique_id_listing(command: Command, listing: bytes) -> UniqueIdListing:
    """Number and unique id of each message (RFC 1939 section 7): the id is all the rest of the line."""
    ids: dict[MessageNumber, UniqueId] = {}
    for number, rest, line in _entries(listing):
        _add(ids, number, unique_id(rest), line)
    return UniqueIdListing(command, ids)


def _add(listing: dict[MessageNumber, T], number: MessageNumber, value: T, line: bytes) -> None:
    if number in listing:
        raise broken("a message is listed twice", decode(line))
    listing[number] = value


def _entries(listing: bytes) -> Iterator[tuple[MessageNumber, bytes, bytes]]:
    for line in _lines(listing):
        entry = _ENTRY.fullmatch(line)
        if entry is None or not (number := int(entry[1])):
            raise broken("a line of a listing does not begin with a message number", decode(line))
        yield MessageNumber(number), entry[2] or b"", line


def _lines(listing: bytes) -> Iterator[bytes]:
    lines = listing.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return (line.removesuffix(b"\r").strip(b" \t") for line in lines)
