"""Invariant: `read_headers` makes something of any octets whatever, and an InternalDate is always a sane one, in UTC.

Strategy: hypothesis throws octets, and pieces of mail put together wrongly, at the whole module; the standard library's
own parser says which fields a header section has. Beside that, tables: dates no calendar has, RFC 2047 nonsense, NUL.
"""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.message import HEADER_LIMIT, header_section, internal_date, parse_date, read_headers
from mailmove.model import DateOrigin, Headers, InternalDate

NOW = datetime(2026, 1, 31, 2, 0, 7, tzinfo=UTC)
RECEIVED = "from a.example by b.example; Mon, 5 Jan 2026 10:00:00 +0100"
AT_NINE = datetime(2026, 1, 5, 9, tzinfo=UTC)

PIECES = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b"\0", b"\xff", b"\xc3\xbc", b"x", b"From ", b"x y: z", b"\x0b"),
    *(
        b"Subject: ",
        b"From:",
        b"To: ",
        b"Cc: ",
        b"Date: ",
        b"Message-ID: ",
        b"Received: ",
        b"=?",
        b"?=",
        b"?B?",
        b"?Q?",
    ),
    *(b"=?utf-8?B?4pyT?=", b"=?x?Q?=FF?=", b"=?utf-7?Q?+2AA-?=", b"Mon, 5 Jan 2026 10:00:00 +0100", b"<a@b>", b"9999"),
)
OCTETS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))


def headers(**fields: bytes) -> Headers:
    """Of a header section with these fields."""
    lines = [name.replace("_", "-").encode() + b": " + value + b"\r\n" for name, value in fields.items()]
    return read_headers(b"".join(lines), NOW)[0]


# ---- Any octets


@given(OCTETS)
@example(b"=?utf-7?B?2AA=?=")
@example(b"Subject: =?utf-8?B?A?=\r\n")
@example(b"Date: \0\r\nReceived: ;;;\0\r\n")
def test_any_octets_can_be_read(octets: bytes) -> None:
    found, date = read_headers(octets, NOW)
    texts = (found.message_id, found.date, found.subject, found.sender, found.recipients)
    for text in texts:
        assert len(text) <= 5000 and not any(ord(c) < 32 or ord(c) == 127 for c in text)
    assert datetime(1970, 1, 1, tzinfo=UTC) <= date.time <= NOW + timedelta(days=1)
    assert date.time.utcoffset() == timedelta(0) and date.origin is not DateOrigin.SOURCE


@given(OCTETS)
@example(b"From me Mon Jan  5\r\nSubject: x\r\n")
@example(b"Subject: x\r\nFrom me Mon Jan  5\r\nFrom: y\r\n")
@example(b" not a continuation\r\nSubject: x\r\n")
@example(b": no name\r\nSubject: x\r\n")
@example(b"Subject : no field, and the end\r\nFrom: x\r\n")
@example(b"Subject: x\ry\r\n z\rFrom: y\n")
def test_the_fields_are_those_of_the_standard_parser(octets: bytes) -> None:
    parsed = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(octets)
    found, _ = read_headers(octets, NOW)
    assert found.readable
    for field, text in (("message-id", found.message_id), ("subject", found.subject), ("from", found.sender)):
        value = next((value for name, value in parsed.raw_items() if name.lower() == field), "")
        assert text == headers(Subject=value.encode("ascii", "surrogateescape")).subject


@given(OCTETS, OCTETS)
def test_the_body_is_not_looked_at(head: bytes, body: bytes) -> None:
    section = header_section(head + b"\r\n\r\n" + body)
    assert section is not None
    assert section.rstrip(b"\r\n") == (header_section(head + b"\r\n\r\n") or b"").rstrip(b"\r\n")
    assert (head + b"\r\n\r\n").startswith(section)


@given(OCTETS)
def test_a_section_is_found_as_soon_as_it_is_there_and_stays_the_same(octets: bytes) -> None:
    """The pull asks after every chunk, so what is found early must be what would be found in the end."""
    whole = header_section(octets)
    for end in range(len(octets)):
        if (part := header_section(octets[:end])) is not None:
            assert part == whole
            break


@pytest.mark.parametrize(
    ("head", "section"),
    [
        (b"", None),
        (b"A: b\r\n", None),
        (b"A: b\r\n\r\nbody", b"A: b"),
        (b"A: b\n\nbody\r\n\r\n", b"A: b"),
        (b"A: b\r\n\nbody", b"A: b"),
        (b"A: b\n\r\nbody", b"A: b"),
        (b"\r\nbody\r\n\r\n", b""),
        (b"\nbody\n\n", b""),
        (b"A: b\r\n \r\n\r\n", b"A: b\r\n "),
        (b"A: b\r\rbody", None),
    ],
)
def test_where_a_header_section_ends(head: bytes, section: bytes | None) -> None:
    found = header_section(head)
    assert (found if found is None else found.rstrip(b"\r\n")) == section


# ---- Texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"  folded\r\n\tonce ", "folded once"),
        (b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
        (b"Gr\xfc\xdfe", "Grüße"),
        (b"=?utf-8?B?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?ISO-8859-1?Q?Gr=FC=DFe?= =?utf-8?q?_=e2=9c=93?=", "Grüße ✓"),
        (b"a\0b\x1b[31mc\x07", "a b [31mc"),
        (b"=?no-such-charset?Q?Gr=FC=DFe?=", "Grüße"),
        (b"=?utf-8?B?!!!!?=", "=?utf-8?B?!!!!?="),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?Q?", "=?utf-8?Q?"),
        (b"=?utf-8?Q?a=00b?=", "a b"),
        (b"", ""),
    ],
)
def test_a_subject_is_decoded_as_far_as_it_can_be(value: bytes, text: str) -> None:
    found = headers(Subject=value)
    assert found.readable and (found.subject == text or (b"!!!!" in value and found.subject.isprintable()))


@pytest.mark.parametrize(
    "charset", [b"utf-7", b"utf-16", b"idna", b"punycode", b"hex", b"rot13", b"unicode_escape", b"\xff"]
)
def test_no_charset_of_a_subject_does_harm(charset: bytes) -> None:
    found = headers(Subject=b"=?" + charset + b"?B?" + b"2AAA3P//" + b"?=", From=b"me@example.org")
    assert found.readable and found.sender == "me@example.org"
    found.subject.encode("utf-8", "strict")


def test_a_field_is_kept_to_a_length_and_the_others_do_not_suffer() -> None:
    found = headers(Subject=b"x" * 100_000, From=b"me@example.org", To=b"a@b, " * 50_000, Cc=b"c@d")
    assert 1000 < len(found.subject) < 5000 and len(found.recipients) < 5000
    assert found.sender == "me@example.org" and found.recipients.endswith("c@d")


def test_the_first_of_several_fields_counts_and_case_does_not() -> None:
    found, _ = read_headers(b"SUBJECT: one\r\nSubject: two\r\nmessage-id: <a>\r\nTO: x\r\ncC: y\r\n", NOW)
    assert (found.subject, found.message_id, found.recipients) == ("one", "<a>", "x, y")


def test_a_large_section_is_read_in_linear_time() -> None:
    """No clock: a pattern that goes back and forth would not come to an end within the test's limit."""
    for piece in (b" \r\n", b"x: y\r\n z\r\n", b"\r", b"x", b"Subject:", b"=?utf-8?Q?", b":\r\n", b"\t\n\r"):
        read_headers(piece * (HEADER_LIMIT // len(piece)), NOW)


# ---- Dates


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Mon, 5 Jan 2026 10:00:00 +0100", AT_NINE),
        ("5 Jan 2026 10:00:00 +0100 (CET)", AT_NINE),
        ("5 Jan 2026 09:00 -0000", AT_NINE),
        ("Mon, 5 Jan 26 04:00:00 EST", AT_NINE),
        ("  Mon,  5 Jan 2026\r\n 09:00:00 GMT ", AT_NINE),
        ("Sun, 1 Feb 2026 01:00:00 +0000", datetime(2026, 2, 1, 1, tzinfo=UTC)),
        ("Sat, 3 Jan 1970 00:00:00 +0000", datetime(1970, 1, 3, tzinfo=UTC)),
    ],
)
def test_a_sane_date_in_utc(text: str, time: datetime) -> None:
    assert parse_date(text, NOW) == time


INSANE = (
    *("", "yesterday", "\0", "Mon", "5 Jan", "Mon, 32 Foo 2026 25:61:00 +0000", "Mon, 30 Feb 2026 10:00:00 +0000"),
    *("Mon, 1 Jan 0999 00:00:00 +0000", "Mon, 1 Jan 10000 00:00:00 +0000"),
    *("Fri, 31 Dec 9999 23:59:59 -1400", "Wed, 31 Dec 1969 23:59:59 +0000", "Thu, 1 Jan 1970 00:00:00 +1400"),
    *("Mon, 2 Feb 2026 02:00:08 +0000", "Mon, 1 Jan 2099 00:00:00 +0000", "Mon, 5 Jan 2026 24:00:00 +0000"),
    *("Mon, 5 Jan 2026 10:00:00 +999999999999", "Mon, 5 Jan 99999999999999999999 10:00:00 +0000"),
    *("Mon, -5 Jan 2026 10:00:00 +0000", "Mon, 5 Jan 2026 -10:00:00 +0000"),
)


@pytest.mark.parametrize("text", INSANE)
def test_no_date(text: str) -> None:
    assert parse_date(text, NOW) is None
    assert internal_date(f"by b.example; {text}", text, NOW) == InternalDate(NOW, DateOrigin.FIRST_SEEN)


@pytest.mark.parametrize("text", ["Mon, 5 Jan 2026 10:00:00 +9999", "Mon, 5 Jan 2026 10:00:00 -9999"])
def test_an_offset_no_place_has_gives_a_sane_date_or_none(text: str) -> None:
    time = parse_date(text, NOW)
    assert time is None or abs(time - AT_NINE) < timedelta(days=5)


def test_tomorrow_is_just_believed() -> None:
    assert parse_date("Sun, 1 Feb 2026 02:00:07 +0000", NOW) == NOW + timedelta(days=1)
    assert parse_date("Sun, 1 Feb 2026 02:00:08 +0000", NOW) is None


# ---- The InternalDate and where it is from


@pytest.mark.parametrize("bad", ["", "by b.example", "by b.example; nonsense", f"; {INSANE[7]}"])
def test_received_then_date_then_first_seen(bad: str) -> None:
    date = "Sun, 4 Jan 2026 09:00:00 +0000"
    day_before = AT_NINE - timedelta(days=1)
    assert internal_date(RECEIVED, date, NOW) == InternalDate(AT_NINE, DateOrigin.RECEIVED)
    assert internal_date(bad, date, NOW) == InternalDate(day_before, DateOrigin.DATE)
    assert internal_date(bad, "nonsense", NOW) == InternalDate(NOW, DateOrigin.FIRST_SEEN)


def test_the_topmost_received_counts_and_its_last_semicolon() -> None:
    top = b"Received: by b (x; y); Mon, 5 Jan 2026\r\n\t10:00:00 +0100\r\n"
    below = b"Received: by a; Sun, 4 Jan 2026 10:00:00 +0100\r\nDate: Sat, 3 Jan 2026 10:00:00 +0100\r\n"
    assert read_headers(top + below, NOW)[1] == InternalDate(AT_NINE, DateOrigin.RECEIVED)


def test_no_header_at_all() -> None:
    empty = Headers(fingerprint=hashlib.sha256(b"").hexdigest())
    assert read_headers(b"", NOW) == (empty, InternalDate(NOW, DateOrigin.FIRST_SEEN))
