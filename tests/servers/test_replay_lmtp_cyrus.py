"""`mailmove replay lmtp://` into a real Cyrus, which drops what it has had and says 250 all the same: warned about.

Strategy: what Cyrus does by its default `duplicatesuppression` is written down here once, and proven by what the inbox
holds. mailmove cannot see it, so it must say so first, and afterwards claim nothing but what the server said. Cyrus has
its trace fields put above a message; with `munge8bit: no` all below them is the archive's, octet by octet.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.servers.cyrus import Cyrus
from tests.support import archives
from tests.support.cli import Result
from tests.support.cli import mailmove as run
from tests.support.imap_referee import Referee
from tests.support.relaying import words
from tests.support.replaying import assert_adds_up, fill

WARNED, SHARED = "This is Cyrus.", "of the selected messages share both with another one"
TRACE = b"X-Sieve: CMU Sieve 3.0\r\n"
"""The last field Cyrus puts above a message."""

GIVEN_ID = re.compile(rb"Message-ID: <cmu-lmtpd-[^>\r\n]*>\r\n")
"""It gives one to a message that has none, at the end of its header section."""


@pytest.fixture(scope="module")
def lenient(needs_cyrus: None) -> Iterator[Cyrus]:
    """One that leaves 8-bit headers alone, but drops what it has had, as it comes."""
    with Cyrus(extra="munge8bit: no") as server:
        yield server


def letter(subject: str, message_id: str = "", day: int = 1) -> bytes:
    field = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return f"{field}Date: Wed, {day:02} Jan 2020 00:00:00 +0000\r\nSubject: {subject}\r\n\r\nText.\r\n".encode()


def relayed(server: Cyrus, user: str, archive: Path, *more: object) -> Result:
    return run(*words(server.ports["lmtp"], archive, *more, lmtp=True, to=(address(user),)))


def address(user: str) -> str:
    """Without virtual domains Cyrus takes the local part for the mailbox, whatever is behind it."""
    return f"{user}@new.example"


def inbox(server: Cyrus, user: str) -> Counter[bytes]:
    with Referee(server.ports["imap"], user) as referee:
        return Counter(without_trace(one.octets) for one in referee.stored("INBOX"))


def without_trace(octets: bytes) -> bytes:
    above, mark, ours = octets.partition(TRACE)
    assert mark and above.startswith(b"Return-Path: <>\r\nReceived: from "), octets[:500]
    return GIVEN_ID.sub(b"", ours, count=1)


def codes(archive: Path) -> list[str]:
    return [record["code"] for record in archives.records(archive) if record["t"] == "deliver"]


def assert_told(result: Result, *, delivered: int, exit_code: int = 0) -> None:
    report = result.json()
    assert_adds_up(report)
    assert (result.code, report["delivered"]) == (exit_code, delivered), result


# ---- What it drops


def test_what_cyrus_drops_is_warned_about_and_told_as_what_the_server_said(
    lenient: Cyrus, user: str, archive_dir: Path
) -> None:
    kept, dropped = letter("first", "1@a.example"), letter("other octets", "1@a.example")
    others = [
        letter("another day", "1@a.example", day=8),
        letter("no id"),
        letter("nor here"),
        letter("z", "2@a.example"),
    ]
    fill(archive_dir, [kept, dropped, *others])
    result = relayed(lenient, user, archive_dir)
    assert_told(result, delivered=6)
    assert result.stderr.count(WARNED) == 1 and f"2 {SHARED}" in result.stderr, result
    assert "duplicatesuppression" in result.stderr
    assert inbox(lenient, user) == Counter([kept, *others])
    assert codes(archive_dir) == ["250 2.1.5"] * 6
    assert result.json()["exceptions"] == []


def test_without_such_messages_it_warns_of_what_the_mailbox_has_had_before(
    lenient: Cyrus, user: str, archive_dir: Path, tmp_path: Path
) -> None:
    """As when mail was forwarded there all along: nobody but Cyrus can know of it."""
    message = letter("the same", "1@b.example")
    assert_told(relayed(lenient, user, fill(tmp_path / "other.mailmove", [message])), delivered=1)
    result = relayed(lenient, user, fill(archive_dir, [message, letter("new", "2@b.example")]))
    assert_told(result, delivered=2)
    assert WARNED in result.stderr and SHARED not in result.stderr, result
    assert inbox(lenient, user) == Counter([message, letter("new", "2@b.example")])


def test_a_second_run_has_nothing_to_send_and_says_nothing_of_it(lenient: Cyrus, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter("once", "1@c.example")])
    assert_told(relayed(lenient, user, archive_dir), delivered=1)
    again = relayed(lenient, user, archive_dir)
    assert_told(again, delivered=0)
    assert again.json()["already_there"] == 1 and WARNED not in again.stderr, again


def test_where_suppression_is_off_everything_arrives(needs_cyrus: None, user: str, archive_dir: Path) -> None:
    """So it is this setting, and not something else, that the warning is about."""
    messages = [letter("first", "1@a.example"), letter("other octets", "1@a.example")]
    fill(archive_dir, messages)
    with Cyrus(extra="duplicatesuppression: no") as server:
        assert_told(relayed(server, user, archive_dir), delivered=2)
        assert inbox(server, user) == Counter(messages)


# ---- What it keeps, and what it refuses


def test_every_octet_below_the_trace_fields_is_the_archives(lenient: Cyrus, user: str, archive_dir: Path) -> None:
    messages = list(difficult())
    fill(archive_dir, messages)
    assert_told(relayed(lenient, user, archive_dir), delivered=len(messages))
    assert inbox(lenient, user) == Counter(messages)


def difficult() -> Iterable[bytes]:
    """Dots, and what looks like commands, and octets above 0x7F; more of it in test_replay_lmtp_octets.py."""
    bodies = [
        b".\r\n",
        b"..\r\n.\r\n",
        b".hidden\r\nQUIT\r\n.\r\n",
        b"\r\n.\r\nMAIL FROM:<>\r\n",
        b"\xe4\xff\r\n" * 9_000,
    ]
    for number, body in enumerate(bodies):
        yield letter(f"Gr\xfc\xdfe {number}", f"{number}@d.example").replace(b"Text.\r\n", body)


def test_what_cyrus_refuses_is_parked_with_its_words_and_the_others_arrive(
    lenient: Cyrus, user: str, archive_dir: Path
) -> None:
    bad = letter("no field", "1@e.example").replace(b"Subject:", b"Subject")
    good = [letter("good", "2@e.example"), letter("better", "3@e.example")]
    fill(archive_dir, [good[0], bad, good[1]])
    result = relayed(lenient, user, archive_dir)
    assert_told(result, delivered=2, exit_code=3)
    (parked,) = [one for one in result.json()["exceptions"] if one["kind"] == "parked"]
    assert parked["digest"] == archives.digest(bad)
    assert "Message contains invalid header" in parked["server_text"], parked
    assert inbox(lenient, user) == Counter(good)
