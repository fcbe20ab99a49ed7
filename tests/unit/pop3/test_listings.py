"""STAT, LIST and UIDL, with what real servers make of them."""

from __future__ import annotations

import pytest

from mailmove.errors import ProtocolError
from mailmove.protocols.pop3 import Accepted, List, MaildropStatus, Refused, ScanListing, Stat, Uidl, UniqueIdListing
from tests.unit.wire import logged_in, run


def listing(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"+OK", *lines, b"."))


@pytest.mark.parametrize(
    ("text", "count", "octets"),
    [
        (b"2 320", 2, 320),
        (b"0 0", 0, 0),
        (b" 2  320 octets", 2, 320),
        (b"2\t320 ", 2, 320),
        (b"20437 99999999999", 20437, 99999999999),
    ],
)
def test_the_drop_listing(text: bytes, count: int, octets: int) -> None:
    assert run(logged_in, Stat(), b"+OK " + text + b"\r\n") == [MaildropStatus(Stat(), count, octets)]


@pytest.mark.parametrize("text", [b"", b"2", b"two messages", b"-1 5", b"2 3x", b"1 " + b"9" * 5000, "٢ ٣".encode()])
def test_a_drop_listing_that_is_not_two_numbers_is_only_not_believed(text: bytes) -> None:
    (event,) = run(logged_in, Stat(), b"+OK " + text + b"\r\n")
    assert isinstance(event, Accepted)


def test_stat_may_be_refused() -> None:
    assert run(logged_in, Stat(), b"-ERR no\r\n") == [Refused(Stat(), "no")]


def test_scan_listings() -> None:
    reply = listing(b"1 120", b"3  200 extra words", b"+OK 4 7", b" 10 0 ", b"11\t5", b"+ok 12 1")
    assert run(logged_in, List(), reply) == [ScanListing(List(), {1: 120, 3: 200, 4: 7, 10: 0, 11: 5, 12: 1})]
    assert run(logged_in, List(), listing()) == [ScanListing(List(), {})]
    assert run(logged_in, List(), b"-ERR no\r\n") == [Refused(List(), "no")]


@pytest.mark.parametrize(
    ("line", "unique_id"),
    [
        (b"1 whqtswO00WBw418f9t5JxYwZ", "whqtswO00WBw418f9t5JxYwZ"),
        (b"1   spaces   in it  ", "spaces   in it"),
        (b"1 " + b"x" * 300, "x" * 300),
        (b"1 caf\xe9\xff", "café\xff"),
        ("1 é".encode(), "\xc3\xa9"),
        (b"1", ""),
        (b"1 ", ""),
        (b"1 \t ", ""),
        (b"1 a/b-c", "a/b-c"),
        (b"1 AbC", "AbC"),
        (b"1 <id@host>", "<id@host>"),
        (b"1 \0\x01\x7f", "\0\x01\x7f"),
        (b"1 a\rb\r", "a\rb\r"),
        (b"+OK 1 x", "x"),
        (b"0001 x", "x"),
    ],
)
def test_a_unique_id_is_the_rest_of_the_line(line: bytes, unique_id: str) -> None:
    assert run(logged_in, Uidl(), listing(line)) == [UniqueIdListing(Uidl(), {1: unique_id})]


def test_unique_id_listings_with_gaps_and_repeated_ids() -> None:
    reply = listing(b"2 same", b"5 same", b"4000000000 last")
    assert run(logged_in, Uidl(), reply) == [UniqueIdListing(Uidl(), {2: "same", 5: "same", 4000000000: "last"})]
    assert run(logged_in, Uidl(), b"-ERR no\r\n") == [Refused(Uidl(), "no")]


def test_a_listing_may_have_bare_line_feeds() -> None:
    assert run(logged_in, Uidl(), b"+OK\n1 a\n2 b\r\n.\r\n") == [UniqueIdListing(Uidl(), {1: "a", 2: "b"})]


@pytest.mark.parametrize("command", [List(), Uidl()])
@pytest.mark.parametrize(
    "line",
    [b"0 5", b"-1 5", b"+1 5", b"x 5", b"1x 5", b"1.5 5", b"", b"9" * 11 + b" 5", b"9" * 5000 + b" 5", b"\xb2 5"],
)
def test_a_line_begins_with_a_message_number(command: List | Uidl, line: bytes) -> None:
    assert run(logged_in, command, listing(b"1 1", line)) == [ProtocolError]


@pytest.mark.parametrize("command", [List(), Uidl()])
def test_no_message_is_listed_twice(command: List | Uidl) -> None:
    assert run(logged_in, command, listing(b"1 1", b"2 2", b"01 1")) == [ProtocolError]


@pytest.mark.parametrize("size", [b"", b" x", b" -1", b" 12x", b" " + b"9" * 19, b" 0x10", "\u0662".encode()])
def test_a_scan_listing_has_a_size(size: bytes) -> None:
    assert run(logged_in, List(), listing(b"1" + size)) == [ProtocolError]
