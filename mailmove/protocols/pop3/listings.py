"""What the lines of a listing say.

Strategy: a listing arrives whole and is taken apart in one pass. One in which every line is as the RFC has it, of which
there may be 10^5, is taken apart as a whole; any other, line by line. Servers are forgiven what cannot be misread
("+OK" before every line, several blanks, gaps between the numbers, any octets in a unique id, none at all); a line
without a number, or with one that came before, is an error, since then an id might be booked on the wrong message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

from mailmove.model import MaildropEntry, MessageNumber, UniqueId
from mailmove.protocols.pop3.commands import Capa, Command, List
from mailmove.protocols.pop3.events import CapabilityList, ScanListing, UniqueIdListing
from mailmove.protocols.pop3.text import broken, decode, unique_id

T = TypeVar("T")
NO_ID = UniqueId("")

# The digits are bounded because int() is slow, and refuses to work, on thousands of them.
_ENTRY = re.compile(rb"(?:\+OK[ \t]+)?([0-9]{1,10})(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)
_PLAIN_IDS = re.compile(r"(?:[1-9][0-9]{0,9} [!-~]+\r\n)+")
_PLAIN_SIZES = re.compile(r"(?:[1-9][0-9]{0,9} [0-9]{1,18}\r\n)+")
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
    if plain := _plain(listing, _PLAIN_SIZES):
        return ScanListing(command, dict(zip(plain, map(int, plain.values()), strict=True)))
    sizes: dict[MessageNumber, int] = {}
    for number, rest, line in _entries(listing):
        size = _SIZE.fullmatch(rest)
        if size is None:
            raise broken("a scan listing has no size", decode(line))
        _add(sizes, number, int(size[1]), line)
    return ScanListing(command, sizes)


def unique_id_listing(command: Command, listing: bytes) -> UniqueIdListing:
    """Number and unique id of each message (RFC 1939 section 7): the id is all the rest of the line."""
    if plain := _plain(listing, _PLAIN_IDS):
        return UniqueIdListing(command, plain)
    ids: dict[MessageNumber, UniqueId] = {}
    for number, rest, line in _entries(listing):
        _add(ids, number, unique_id(rest), line)
    return UniqueIdListing(command, ids)


def _plain(listing: bytes, whole: re.Pattern[str]) -> dict[MessageNumber, UniqueId]:
    """What each line says after its number, if all lines are as `whole` has them, and no number comes twice."""
    text = listing.decode("latin-1")
    if not whole.fullmatch(text):
        return {}
    words = text.split()
    plain = dict(zip(map(int, words[::2]), words[1::2], strict=True))
    # Wrapping each of 10^5 in its NewType would be a call for nothing.
    return cast("dict[MessageNumber, UniqueId]", plain) if len(plain) * 2 == len(words) else {}


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


def joined(ids: Mapping[MessageNumber, UniqueId], sizes: Mapping[MessageNumber, int]) -> list[MaildropEntry]:
    """Both listings as one, in message number order. What is in one of them only has no id, or 0 octets."""
    if list(ids) == list(sizes) == sorted(ids):
        return list(map(MaildropEntry._make, zip(ids, ids.values(), sizes.values(), strict=True)))
    numbers = sorted(ids.keys() | sizes.keys())
    return [MaildropEntry(number, ids.get(number, NO_ID), sizes.get(number, 0)) for number in numbers]
