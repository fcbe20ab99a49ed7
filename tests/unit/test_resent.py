"""The resent block: a mail program reads who has sent it on, and everything below it is what it was, octet by octet.

Strategy: what a block means is asked of the standard library's parser, which shares nothing with the code under test.
"""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.errors import LocalProtocolError
from mailmove.jobs.resent import above, resender, resent_block, resent_id

NOW = datetime(2026, 1, 31, 14, 40, 12, 345678, tzinfo=timezone(timedelta(hours=1)))
ID = "<mailmove.20260131T134012Z-0a1b2c3d.00ff@new.example>"
MESSAGE = b"From: you@old.example\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: x\r\n\r\nbody\r\n"
FIELDS = ["Resent-Date", "Resent-From", "Resent-To", "Resent-Message-ID"]


def test_the_four_fields_stand_together_above_the_message() -> None:
    block = resent_block("me@old.example", ["me@new.example"], NOW, ID)
    assert block == (
        b"Resent-Date: Sat, 31 Jan 2026 13:40:12 +0000\r\n"
        b"Resent-From: me@old.example\r\n"
        b"Resent-To: me@new.example\r\n"
        b"Resent-Message-ID: " + ID.encode() + b"\r\n"
    )
    read = email.message_from_bytes(above(block, MESSAGE) + MESSAGE, policy=email.policy.default)
    assert read.keys()[:4] == FIELDS and read.keys()[4:] == ["From", "Date", "Subject"]
    assert read["resent-date"].datetime == NOW.replace(microsecond=0)
    assert read["date"].datetime == datetime(2026, 1, 5, 9, tzinfo=UTC) and read.get_content() == "body\r\n"
    assert [one.addr_spec for one in read["resent-to"].addresses] == ["me@new.example"]


LOCAL = st.from_regex(r"[a-z0-9ü+_-]{1,60}", fullmatch=True)
PEOPLE = st.lists(st.builds("{}@{}.example".format, LOCAL, st.from_regex(r"[a-z]{1,40}", fullmatch=True)), min_size=1)


@given(PEOPLE)
def test_however_many_recipients_all_are_read_back_from_short_lines(people: list[str]) -> None:
    block = resent_block("me@old.example", people, NOW, ID)
    read = email.message_from_bytes(block + MESSAGE, policy=email.policy.SMTPUTF8)
    assert read.keys()[:4] == FIELDS and not read.defects
    field = block.decode().partition("Resent-To:")[2].partition("\r\nResent-Message-ID")[0]
    assert field.replace("\r\n ", " ").strip().split(", ") == people
    for line in block.splitlines():
        assert len(line) <= 78 or len(line.split()[-1]) > 60, line
    assert re.fullmatch(rb"(?:[^\r\n]+\r\n)+", block)


@pytest.mark.parametrize(
    ("head", "joins"),
    [
        (MESSAGE, True),
        (b"From me Mon Jan  5 10:00:00 2026\r\n" + MESSAGE, True),
        (b"From me Mon Jan  5 10:00:00 2026\n", True),
        (b"X-Odd : yes\r\n\r\n", True),
        (b"\r\nonly a body\r\n", True),
        (b"\nonly a body\n", True),
        (b"Hello,\r\n\r\nthere is no header: none\r\n", False),
        (b" folded: from the start\r\n", False),
        (b"\xff\xfe\0", False),
        (b"", False),
    ],
)
def test_a_message_without_a_header_becomes_the_body_and_no_field(head: bytes, joins: bool) -> None:
    block = resent_block("me@old.example", ["me@new.example"], NOW, ID)
    before = above(block, head)
    assert before == block + (b"" if joins else b"\r\n")
    read = email.message_from_bytes(before + head)
    assert read.keys()[:4] == FIELDS
    if not joins:
        assert read.keys() == FIELDS and (before + head).partition(b"\r\n\r\n")[2] == head


@pytest.mark.parametrize(
    ("sender", "people", "message_id"),
    [
        ("me@old.example\r\nBcc: you@old.example", ["me@new.example"], ID),
        ("", ["me@new.example"], ID),
        ("me@old.example", ["me@new.example\n"], ID),
        ("me@old.example", [], ID),
        ("me@old.example", ["me@new.example"], "<x@y>\r\nBcc: a@b"),
        ("me@old.example", ["me@new.example"], "x@y"),
    ],
)
def test_nothing_can_break_out_of_its_line(sender: str, people: list[str], message_id: str) -> None:
    with pytest.raises(LocalProtocolError):
        resent_block(sender, people, NOW, message_id)


def test_a_message_id_of_ones_own() -> None:
    one = resent_id("me@old.example", "00ff" * 16, "20260131T134012Z-0a1b2c3d")
    assert one == resent_id("me@old.example", "00ff" * 16, "20260131T134012Z-0a1b2c3d")
    assert one.endswith("@old.example>") and "00ff00ff" in one
    assert one != resent_id("me@old.example", "00fe" * 16, "20260131T134012Z-0a1b2c3d")
    for sender in ("me@old.example", "alice", "jörg@xn--bcher-kva.example", "me@[127.0.0.1]"):
        assert b"Resent-Message-ID: <" in resent_block(sender, ["alice"], NOW, resent_id(sender, "00ff" * 16, "1-2"))


@pytest.mark.parametrize(
    ("path", "user", "people", "who"),
    [
        ("me@old.example", "you@old.example", ["me@new.example"], "me@old.example"),
        ("", "you@old.example", ["me@new.example"], "you@old.example"),
        ("", "you", ["me@new.example", "x@new.example"], "me@new.example"),
        ("", "", ["alice"], "alice"),
    ],
)
def test_somebody_is_named_who_sends_it_on(path: str, user: str, people: list[str], who: str) -> None:
    assert resender(path, user, people) == who
