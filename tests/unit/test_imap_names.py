"""Arguments of IMAP commands: whatever is in them, they stay one argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.errors import UsageError
from mailmove.targets.imap_names import date_time, quoted, quoted_string, same

QUOTED = re.compile(rb'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"')
"""quoted of RFC 9051 section 9, without octets beyond ASCII."""

DATE_TIME = re.compile(
    rb'"[0-3]\d-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-\d{4} [0-2]\d:[0-5]\d:[0-5]\d \+0000"'
)
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", b'"INBOX"'),
        ("Entwürfe", b'"Entw&APw-rfe"'),
        ("a & b", b'"a &- b"'),
        ('say "hi" \\', b'"say \\"hi\\" \\\\"'),
        ("{5+}", b'"{5+}"'),
        ("台北/日本語", b'"&U,BTFw-/&ZeVnLIqe-"'),  # RFC 3501 section 5.1.3
        ("tab\there", b'"tab&AAk-here"'),
    ],
)
def test_mailbox_names(name: str, wire: bytes) -> None:
    assert quoted(name) == wire


@given(st.text(min_size=1).filter(lambda text: not set(text) & set("\r\n\0")))
def test_every_name_is_one_quoted_string_of_ascii(name: str) -> None:
    assert QUOTED.fullmatch(quoted(name))


@given(st.text(st.characters(max_codepoint=127, exclude_characters="\r\n\0")))
def test_every_ascii_text_is_quoted_and_comes_back(text: str) -> None:
    wire = quoted_string(text)
    assert wire[:1] == wire[-1:] == b'"'
    assert re.sub(rb"\\(.)", rb"\1", wire[1:-1], flags=re.DOTALL).decode() == text
    assert not re.search(rb'(?<!\\)(\\\\)*"', wire[1:-1])


@pytest.mark.parametrize("name", ["", "a\rb", "a\nb", "a\r\nx1 CREATE PWNED", "a\0b", "\ud800"])
def test_names_that_cannot_be_sent_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        quoted(name)


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\0b", "ä"])
def test_texts_that_cannot_be_quoted_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        quoted_string(text)
    assert text not in caught.value.message


def test_inbox_is_the_same_in_any_case_and_nothing_else_is() -> None:
    assert same("INBOX", "Inbox") and same("a", "a")
    assert not same("a", "A") and not same("INBOX", "INBOX.x")


@pytest.mark.parametrize(
    ("moment", "wire"),
    [
        (datetime(1999, 3, 5, 1, 2, 3, tzinfo=UTC), b'"05-Mar-1999 01:02:03 +0000"'),
        (datetime(1999, 3, 5, 1, 2, 3, 999_999, tzinfo=UTC), b'"05-Mar-1999 01:02:03 +0000"'),
        (datetime(1999, 3, 5, 1, 2, 3, tzinfo=timezone(timedelta(hours=5))), b'"04-Mar-1999 20:02:03 +0000"'),
        (datetime(1999, 3, 5, 1, 2, 3), b'"05-Mar-1999 01:02:03 +0000"'),
        (datetime(999, 1, 1, tzinfo=UTC), b'"01-Jan-1970 00:00:00 +0000"'),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), b'"01-Jan-1970 00:00:00 +0000"'),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), b'"01-Jan-1970 00:00:00 +0000"'),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), b'"06-May-2026 07:08:09 +0000"'),
        (NOW + timedelta(seconds=1), b'"06-May-2026 07:08:09 +0000"'),
    ],
)
def test_dates(moment: datetime, wire: bytes) -> None:
    assert date_time(moment, NOW) == wire


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_every_date_is_one_a_server_can_read(moment: datetime) -> None:
    wire = date_time(moment, NOW)
    assert DATE_TIME.fullmatch(wire)
    read = datetime.strptime(wire.decode(), '"%d-%b-%Y %H:%M:%S %z"')
    assert datetime(1970, 1, 1, tzinfo=UTC) <= read <= NOW


def test_months_are_english_whatever_the_locale_says() -> None:
    months = [date_time(datetime(2001, month, 1, tzinfo=UTC), NOW)[4:7].decode() for month in range(1, 13)]
    assert months == ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
