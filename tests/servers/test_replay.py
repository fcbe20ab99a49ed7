"""`mailmove replay` into a real Dovecot: each message once, unaltered, with its date, and accounted for."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from mailmove.message import header_section, read_headers
from mailmove.model import DateOrigin
from mailmove.targets.imap_names import date_time
from tests.conftest import unavailable
from tests.servers import pymap
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import mailmove
from tests.support.imap_referee import Referee, Stored
from tests.support.replaying import (
    assert_adds_up,
    assert_delivered_once,
    at_target,
    fill,
    plain_replay,
    replay,
    rewritten,
    url,
    words,
)


def test_every_message_is_there_once_and_a_second_run_sends_nothing(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(90, seed=31)
    fill(archive_dir, messages)
    first = replay(dovecot, user, archive_dir)
    assert first.code == 0, first
    assert (first.json()["selected"], first.json()["delivered"]) == (90, 90)
    assert_adds_up(first.json())
    assert_delivered_once(at_target(dovecot, user), messages)
    second = replay(dovecot, user, archive_dir)
    assert second.code == 0, second
    assert (second.json()["delivered"], second.json()["already_there"]) == (0, 90)
    assert_delivered_once(at_target(dovecot, user), messages)
    assert mailmove("verify", "-a", archive_dir).code == 0


def test_the_log_says_what_is_sent_before_it_is_sent_and_what_was_received(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(5, seed=32)
    fill(archive_dir, messages)
    assert replay(dovecot, user, archive_dir).code == 0
    records = archives.records(archive_dir)
    intended = [digest for record in records if record["t"] == "intend" for digest in record["digests"]]
    receipts = {record["digest"]: record["uid"] for record in records if record["t"] == "deliver"}
    assert sorted(intended) == sorted(map(archives.digest, messages)) == sorted(receipts)
    stored = {one.uid: one.octets for one in at_target(dovecot, user)}
    assert {digest: archives.digest(stored[uid]) for digest, uid in receipts.items()} == {d: d for d in receipts}


def test_over_starttls(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = mails.varied(3, seed=33)
    fill(archive_dir, messages)
    target, ca = url(dovecot.ports["imap"], user), dovecot.certificates.ca
    result = mailmove(*words(target, archive_dir, "--ca-file", ca))
    assert result.code == 0, result
    assert_delivered_once(at_target(dovecot, user), messages)


def test_a_mailbox_that_is_missing_is_made(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = mails.varied(3, seed=34)
    fill(archive_dir, messages)
    result = replay(dovecot, user, archive_dir, "--mailbox", "Büro & Post")
    assert result.code == 0, result
    assert_delivered_once(at_target(dovecot, user, '"B&APw-ro &- Post"'), messages)
    assert at_target(dovecot, user) == []


def test_internal_dates_and_the_seen_flag(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    now = datetime.now().astimezone()
    old = b"Received: by x; Mon, 02 Feb 2004 10:00:00 +0100\r\nDate: Tue, 03 Feb 2004 00:00:00 +0000\r\n\r\nold\r\n"
    new = b"Date: " + format_datetime(now).encode() + b"\r\n\r\nnew\r\n"
    fill(archive_dir, [old, new])
    assert replay(dovecot, user, archive_dir).code == 0
    stored = {one.octets: one for one in at_target(dovecot, user)}
    assert _moment(stored[old].date) == datetime.fromisoformat("2004-02-02T09:00:00+00:00")
    assert abs((_moment(stored[new].date) - now).total_seconds()) <= 1
    assert (stored[old].seen, stored[new].seen) == (True, False)
    origins = {r["digest"]: r["internal_date_origin"] for r in archives.records(archive_dir) if r["t"] == "deliver"}
    assert origins == {archives.digest(old): "received", archives.digest(new): "date"}


@pytest.mark.parametrize(("seen", "expected"), [("all", True), ("none", False), ("older-than=99999", False)])
def test_the_seen_policy(dovecot: Dovecot, user: str, archive_dir: Path, seen: str, expected: bool) -> None:
    fill(archive_dir, mails.varied(2, seed=35))
    assert replay(dovecot, user, archive_dir, "--seen", seen).code == 0
    assert {one.seen for one in at_target(dovecot, user)} == {expected}


def _moment(date: str) -> datetime:
    return datetime.strptime(date, "%d-%b-%Y %H:%M:%S %z")


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, mails.varied(4, seed=36))
    before = archives.records(archive_dir)
    result = replay(dovecot, user, archive_dir, "--dry-run", "--mailbox", "Later")
    assert result.code == 0, result
    assert (result.json()["selected"], result.json()["pending"], result.json()["dry_run"]) == (4, 4, True)
    assert archives.records(archive_dir) == before
    with Referee(dovecot.ports["imap"], user) as referee:
        assert "Later" not in referee.mailboxes()


def test_the_limit_and_the_rest_later(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = mails.varied(10, seed=37)
    fill(archive_dir, messages)
    first = replay(dovecot, user, archive_dir, "--limit", 4)
    assert first.code == 0, first
    assert (first.json()["delivered"], first.json()["skipped"]) == (4, 6)
    assert [one["count"] for one in first.json()["exceptions"] if one["kind"] == "limit"] == [6]
    assert_adds_up(first.json())
    assert replay(dovecot, user, archive_dir).json()["delivered"] == 6
    assert_delivered_once(at_target(dovecot, user), messages)


# ---- The selection


def test_several_maildrops_must_be_told_apart(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    ours, theirs = mails.varied(3, seed=38), mails.varied(2, seed=39)
    fill(archive_dir, ours, "me@a.example")
    fill(archive_dir, theirs, "me@b.example")
    unclear = replay(dovecot, user, archive_dir)
    assert unclear.code == 2, unclear
    assert "me@a.example, me@b.example" in unclear.stderr and "--all-maildrops" in unclear.stderr
    wrong = replay(dovecot, user, archive_dir, "--maildrop", "me@c.example")
    assert wrong.code == 2 and "me@c.example" in wrong.stderr
    assert replay(dovecot, user, archive_dir, "--maildrop", "me@b.example").json()["delivered"] == 2
    assert_delivered_once(at_target(dovecot, user), theirs)
    assert replay(dovecot, user, archive_dir, "--all-maildrops").json()["delivered"] == 3
    assert_delivered_once(at_target(dovecot, user), [*theirs, *ours])


def test_byte_identical_copies_are_delivered_once_unless_all_are_wanted(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    one, other = mails.varied(2, seed=40)
    fill(archive_dir, [one, other, one, one])
    first = replay(dovecot, user, archive_dir)
    assert first.code == 0, first
    assert (first.json()["selected"], first.json()["duplicate_content"]) == (2, 2)
    assert_delivered_once(at_target(dovecot, user), [one, other])
    all_of_them = replay(dovecot, user, archive_dir, "--keep-duplicates")
    assert (all_of_them.json()["delivered"], all_of_them.json()["already_there"]) == (2, 2)
    assert_delivered_once(at_target(dovecot, user), [one, other, one, one])
    assert replay(dovecot, user, archive_dir, "--keep-duplicates").json()["delivered"] == 0


def test_an_empty_message_is_parked_and_named(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    good = mails.varied(3, seed=41)
    fill(archive_dir, [good[0], b"", *good[1:]])
    result = replay(dovecot, user, archive_dir)
    assert result.code == 3, result
    assert (result.json()["delivered"], result.json()["parked"]) == (3, 1)
    (exception,) = result.json()["exceptions"]
    assert (exception["kind"], exception["digest"]) == ("parked", archives.digest(b""))
    assert_adds_up(result.json())
    assert_delivered_once(at_target(dovecot, user), good)


# ---- The traps: by headers alone these are the same messages (field notes, replay, section 0)


def twins(n: int) -> list[bytes]:
    """No Message-ID, equal headers, other bodies of equal size."""
    return [b"From: alerts@example.org\r\nSubject: Alert\r\n\r\nNumber %03d\r\n" % i for i in range(n)]


def trap_of_300() -> list[bytes]:
    same_id = [b"Message-ID: <same@example.org>\r\nSubject: x\r\n\r\nNumber %02d\r\n" % i for i in range(10)]
    return [*twins(20), *same_id, *mails.small(270, seed=42)]


@pytest.mark.parametrize("trap", [lambda: twins(21), trap_of_300], ids=["21", "300"])
def test_the_traps_other_tools_fall_into(
    dovecot: Dovecot, user: str, archive_dir: Path, trap: Callable[[], list[bytes]]
) -> None:
    messages = trap()
    fill(archive_dir, messages)
    for run in range(6):
        result = replay(dovecot, user, archive_dir)
        assert result.code == 0, result
        assert result.json()["delivered"] == (0 if run else len(messages))
    assert_delivered_once(at_target(dovecot, user), messages)


def test_the_traps_in_a_mailbox_that_holds_one_of_each(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = trap_of_300()
    with Referee(dovecot.ports["imap"], user) as referee:
        for known in (messages[3], messages[25], messages[100]):
            referee.add("INBOX", known)
    fill(archive_dir, messages)
    result = replay(dovecot, user, archive_dir)
    assert result.code == 0, result
    assert (result.json()["delivered"], result.json()["already_there"]) == (297, 3)
    assert_delivered_once(at_target(dovecot, user), messages)


# ---- Content is never protocol


HOSTILE_DATES = (
    "Mon, 01 Jan 0999 00:00:00 +0000",
    "Fri, 31 Dec 10000 23:59:59 +0000",
    "Tue, 01 Jan 2019 00:00:00 +9999",
    'Tue, 01 Jan 2019 00:00:00 "+0000" {5+}',
    "Tue, 01 Jan 1900 00:00:00 -0000",
    "Thu, 01 Jan 2099 00:00:00 +0000",
)


def test_no_message_becomes_a_command(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = [
        f"Date: {date}\r\nReceived: by x; {date}\r\nMessage-ID: <{n}{{7+}}>\r\n\r\nx1 CREATE PWNED\r\n".encode()
        for n, date in enumerate(HOSTILE_DATES)
    ]
    fill(archive_dir, messages)
    result = replay(dovecot, user, archive_dir)
    assert result.code == 0, result
    assert_delivered_once(at_target(dovecot, user), messages)
    with Referee(dovecot.ports["imap"], user) as referee:
        assert not any("PWNED" in name for name in referee.mailboxes())
    years = {int(re.split("[- ]", one.date)[2]) for one in at_target(dovecot, user)}
    assert years <= set(range(1970, datetime.now().year + 1))


# ---- The whole corpus


def test_the_corpus_into_dovecot(
    dovecot: Dovecot, user: str, archive_dir: Path, corpus: Callable[[], Iterator[tuple[str, bytes]]]
) -> None:
    messages = [octets for _, octets in corpus()]
    fill(archive_dir, messages)
    result = replay(dovecot, user, archive_dir)
    distinct = {archives.digest(octets): octets for octets in messages}
    sent = [octets for octets in distinct.values() if octets]
    assert result.code == (0 if len(sent) == len(distinct) else 3), result
    assert result.json()["delivered"] == len(sent)
    stored = at_target(dovecot, user)
    assert_delivered_once(stored, sent)
    assert_dated(stored, sent)
    assert replay(dovecot, user, archive_dir).json()["delivered"] == 0


def assert_dated(stored: Iterable[Stored], messages: Iterable[bytes]) -> None:
    """At least 999 of 1,000 have the date of our rule at the server (those without any date that of the pull: now)."""
    now = datetime.now(UTC)
    rule: dict[bytes, set[str]] = {}
    for octets in messages:
        date = read_headers(header_section(octets) or octets, now)[1]
        if date.origin is not DateOrigin.FIRST_SEEN:
            rule.setdefault(rewritten(octets), set()).add(date_time(date.time).decode().strip('"'))
    dated = [one.date.zfill(26) in rule[one.octets] for one in stored if one.octets in rule]
    assert len(dated) > len(rule) // 2 and sum(dated) >= 0.999 * len(dated), f"{len(dated) - sum(dated)} differ"


def test_the_corpus_into_pymap(
    archive_dir: Path, corpus: Callable[[], Iterator[tuple[str, bytes]]], seed: int, full: bool
) -> None:
    if reason := pymap.missing():
        unavailable(reason)
    distinct = sorted({octets for _, octets in corpus()})
    chosen = distinct if full else random.Random(f"pymap {seed}").sample(distinct, 400)
    fill(archive_dir, chosen)
    with pymap.Pymap() as server:
        first = plain_replay(server.port, pymap.USER, archive_dir, "--mailbox", "Corpus")
        with Referee(server.port, pymap.USER) as referee:
            stored = referee.stored("Corpus")
        again = plain_replay(server.port, pymap.USER, archive_dir, "--mailbox", "Corpus")
    parked = {one["digest"] for one in first.json()["exceptions"] if one["kind"] == "parked"}
    assert parked == {archives.digest(octets) for octets in chosen if not octets}, first
    assert again.json()["delivered"] == 0, again
    wanted = sorted(as_pymap_keeps_it(octets) for octets in chosen if octets)
    assert sorted(as_pymap_keeps_it(one.octets) for one in stored) == wanted


def as_pymap_keeps_it(octets: bytes) -> bytes:
    """pymap 0.36 loses the last LF of a message that is all header."""
    return octets.removesuffix(b"\n") if b"\n\r\n" not in octets and b"\n\n" not in octets else octets
