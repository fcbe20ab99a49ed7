"""The demo's mailbox: the same for everybody, whole, and with all that makes real mail hard to move in it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from email import message_from_bytes
from email.header import decode_header, make_header
from itertools import islice

import pytest

from mailmove.demo.messages import KINDS, DemoMessage, generate
from tests.support.cli import REPO

COUNT = 300


@pytest.fixture(scope="module")
def mailbox() -> list[DemoMessage]:
    return list(generate())


def header(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[0]


def fields(octets: bytes, name: bytes) -> list[bytes]:
    """Every field of this name, unfolded."""
    unfolded = re.sub(rb"\r\n(?=[ \t])", b"", header(octets))
    return [value.strip() for value in re.findall(rb"(?mi)^%b:(.*?)\r?$" % name, unfolded)]


def those(mailbox: list[DemoMessage], kind: str) -> list[bytes]:
    found = [message.octets for message in mailbox if message.kind == kind]
    assert found, f"there is no {kind}"
    return found


# ---- The same for everybody


def test_a_seed_always_makes_the_same_mailbox(mailbox: list[DemoMessage]) -> None:
    assert list(generate()) == mailbox


def test_it_is_the_same_in_another_process() -> None:
    script = (
        "import hashlib; from mailmove.demo.messages import generate;"
        "print(hashlib.sha256(b''.join(m.octets for m in generate(90))).hexdigest())"
    )
    env = os.environ | {"PYTHONPATH": str(REPO), "PYTHONHASHSEED": "4711", "TZ": "Asia/Kathmandu"}
    there = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert there.strip() == hashlib.sha256(b"".join(message.octets for message in generate(90))).hexdigest()


def test_another_seed_makes_another_one() -> None:
    one, other = list(generate(60, seed=1)), list(generate(60, seed=2))
    assert not {m.octets for m in one} & {m.octets for m in other}
    assert not {m.unique_id for m in one} & {m.unique_id for m in other}


@pytest.mark.parametrize("count", [0, 1, 29, 171])
def test_a_longer_mailbox_begins_with_the_shorter_one(mailbox: list[DemoMessage], count: int) -> None:
    assert list(generate(count)) == mailbox[:count]


# ---- Whole


def test_there_are_as_many_as_asked_for_and_no_two_alike(mailbox: list[DemoMessage]) -> None:
    assert len(mailbox) == COUNT
    assert len({message.octets for message in mailbox}) == COUNT


def test_unique_ids_are_unique_and_such_as_a_server_may_send(mailbox: list[DemoMessage]) -> None:
    assert len({message.unique_id for message in mailbox}) == COUNT
    assert all(re.fullmatch(r"[\x21-\x7e]{1,70}", message.unique_id) for message in mailbox)


def test_every_line_ends_in_crlf_and_there_is_no_nul(mailbox: list[DemoMessage]) -> None:
    odd = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
    assert [m.kind for m in mailbox if odd.search(m.octets) or not m.octets.endswith(b"\r\n")] == []


def test_every_message_has_a_header_section_with_a_trace(mailbox: list[DemoMessage]) -> None:
    line = re.compile(rb"[!-9;-~]+:.*|[ \t].*")
    for message in mailbox:
        assert b"\r\n\r\n" in message.octets
        assert all(line.fullmatch(one) for one in header(message.octets).split(b"\r\n")), message.kind
        assert fields(message.octets, b"Received"), message.kind


def test_it_is_large_enough_to_be_watched_and_small_enough_to_be_made(mailbox: list[DemoMessage]) -> None:
    assert 15e6 < sum(len(message.octets) for message in mailbox) < 25e6


def test_one_message_at_a_time_is_in_memory() -> None:
    """Far below the 16 MB of the whole, though one message is of 2 MB and a few copies of it are made."""
    tracemalloc.start()
    try:
        for _ in islice(generate(), 200):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12e6


# ---- What is in it


def test_every_kind_is_there_as_often_as_it_should(mailbox: list[DemoMessage]) -> None:
    often = Counter(message.kind for message in mailbox)
    expected = {kind.__name__: 10 * times for kind, times in KINDS.items()}
    assert often.pop("large") == 1
    assert sum(often.values()) + 1 == sum(expected.values())
    assert [kind for kind, times in expected.items() if not times - 1 <= often[kind] <= times] == []


def test_attachments_are_real_files_of_real_sizes(mailbox: list[DemoMessage]) -> None:
    sizes = [len(octets) for octets in those(mailbox, "attachment")]
    assert len(sizes) > 50
    assert 50_000 < min(sizes) < 100_000
    assert 250_000 < max(sizes) < 310_000
    (large,) = those(mailbox, "large")
    assert 2_000_000 < len(large) < 2_200_000
    file = list(message_from_bytes(large).walk())[-1]
    assert file.get_filename()
    assert len(base64.b64decode(str(file.get_payload()))) > 1_500_000


def test_subjects_hold_umlauts_in_every_spelling(mailbox: list[DemoMessage]) -> None:
    subjects = [fields(octets, b"Subject")[0] for octets in (message.octets for message in mailbox)]
    assert any(subject.startswith(b"=?utf-8?") for subject in subjects)
    assert any(subject.startswith(b"=?iso-8859-1?") for subject in subjects)
    raw = [subject for subject in subjects if not subject.isascii()]
    assert any(b"\xc3\xbc" in subject for subject in raw), "none in UTF-8"
    assert any(b"\xfc" in subject and b"\xc3\xbc" not in subject for subject in raw), "none in Latin-1"


def test_what_is_encoded_can_be_read(mailbox: list[DemoMessage]) -> None:
    message = next(m for m in mailbox if m.kind == "reply" and b"=?" in fields(m.octets, b"Subject")[0])
    subject = str(make_header(decode_header(fields(message.octets, b"Subject")[0].decode())))
    assert re.match(r"(Re|AW|Antwort): ", subject)
    assert not subject.isascii()


def test_bodies_are_in_the_charset_they_name(mailbox: list[DemoMessage]) -> None:
    for octets in those(mailbox, "latin1"):
        body = octets.partition(b"\r\n\r\n")[2]
        assert "Viele Grüße" in body.decode("latin-1")
        with pytest.raises(UnicodeDecodeError):
            body.decode("utf-8")
    assert all("Viele Grüße" in octets.partition(b"\r\n\r\n")[2].decode("utf-8") for octets in those(mailbox, "letter"))


def test_newsletters_have_html(mailbox: list[DemoMessage]) -> None:
    for octets in those(mailbox, "newsletter"):
        kinds = [part.get_content_type() for part in message_from_bytes(octets).walk()]
        assert kinds == ["multipart/alternative", "text/plain", "text/html"]
        assert fields(octets, b"List-Unsubscribe")


def test_answers_refer_to_messages_that_came_before(mailbox: list[DemoMessage]) -> None:
    seen: set[bytes] = set()
    longest = 0
    for message in mailbox:
        said = b" ".join(fields(message.octets, b"References")).split()
        assert set(said) <= seen
        longest = max(longest, len(said))
        seen.update(fields(message.octets, b"Message-ID"))
    assert longest >= 3


def test_equal_message_ids_come_with_other_octets(mailbox: list[DemoMessage]) -> None:
    ids = Counter(one for message in mailbox for one in fields(message.octets, b"Message-ID"))
    assert sum(times > 1 for times in ids.values()) >= 5


def test_some_have_no_message_id(mailbox: list[DemoMessage]) -> None:
    assert {m.kind for m in mailbox if not fields(m.octets, b"Message-ID")} == {"no_message_id"}


def test_dates_are_missing_and_odd(mailbox: list[DemoMessage]) -> None:
    dates = [fields(octets, b"Date") for octets in those(mailbox, "odd_date")]
    assert [] in dates
    said = b"\n".join(date[0] for date in dates if date)
    for odd in (b" 0999 ", b" +9999", b" Mar 99 "):
        assert odd in said


def test_lines_begin_with_dots_are_far_too_long_or_are_not_there_at_all(mailbox: list[DemoMessage]) -> None:
    assert all(b"\r\n.\r\n" in octets and b"\r\n..\r\n" in octets for octets in those(mailbox, "leading_dots"))
    assert all(max(map(len, octets.split(b"\r\n"))) > 4000 for octets in those(mailbox, "long_lines"))
    assert all(octets.endswith(b"\r\n\r\n") for octets in those(mailbox, "empty_body"))
    assert all(octets.count(b"\r\n\r\n") == 1 for octets in those(mailbox, "empty_body"))
