"""`mailmove verify --against` a real Dovecot: what is missing, altered or there twice is named, and nothing else.

Strategy: an archive is replayed, somebody changes the mailbox behind our back (another mail program, or a hand in the
maildir), and the report must name exactly that. What it found is then redelivered, and must be all there was to do.
"""

from __future__ import annotations

import csv
import random
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from mailmove.archive import Archive
from mailmove.jobs.journal import Journal
from mailmove.jobs.mended import mended
from mailmove.model import Digest
from mailmove.repairs import Repair
from mailmove.targets import Receipt
from tests.cli.test_bad_input import refused
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, Result, mailmove
from tests.support.client import HOST
from tests.support.imap_referee import Referee
from tests.support.line import Line
from tests.support.replaying import assert_delivered_once, at_target, fill, replay, rewritten, url
from tests.unit.archive.making import alter, assert_rebuilds

BARE_CR = re.compile(rb"\r(?!\n)")
KINDS = ("there", "rewritten", "altered", "missing", "unproven", "pending")


def words(url: str, archive: Path, *more: object) -> tuple[object, ...]:
    return ("verify", "--against", url, "-a", archive, *PASSWORD_FROM_ENV, *more)


def verify(dovecot: Dovecot, user: str, archive: Path, *more: object) -> Result:
    """With --json."""
    target, ca = url(dovecot.ports["imaps"], user, "imaps"), dovecot.certificates.ca
    return mailmove(*words(target, archive, "--ca-file", ca, "--json", *more))


def counts(result: Result) -> dict[str, int]:
    """Every count that is not 0. The equation must hold (P4)."""
    report = result.json()
    assert report["delivered"] == sum(report[kind] for kind in KINDS), result
    names = (*KINDS, "other_date", "extra", "not_delivered", "elsewhere", "skipped", "renewed")
    return {name: report[name] for name in names if report[name]}


def named(result: Result) -> list[tuple[str, str]]:
    """(kind, digest) of each exception."""
    return sorted((one["kind"], one.get("digest", "")) for one in result.json()["exceptions"])


def reason(result: Result) -> str:
    (exception,) = result.json()["exceptions"]
    return str(exception["reason"])


def letter(name: str, body: bytes = b"body\r\n") -> bytes:
    return f"Message-ID: <{name}@example.org>\r\nSubject: {name}\r\n\r\n".encode() + body


def delivered(dovecot: Dovecot, user: str, archive: Path, messages: list[bytes], *more: object) -> dict[bytes, int]:
    """An archive of these, replayed. Octets at the target -> UID."""
    fill(archive, messages)
    result = replay(dovecot, user, archive, *more)
    assert result.code == 0, result
    return {one.octets: one.uid for one in at_target(dovecot, user)}


def redelivered(dovecot: Dovecot, user: str, archive: Path) -> int:
    result = replay(dovecot, user, archive, "--redeliver-missing")
    assert result.code == 0, result
    return int(result.json()["delivered"])


def expunge(dovecot: Dovecot, user: str, *uids: int) -> None:
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.expunge("INBOX", *uids)


def add(dovecot: Dovecot, user: str, *messages: bytes) -> None:
    with Referee(dovecot.ports["imap"], user) as referee:
        for octets in messages:
            referee.add("INBOX", octets)


# ---- All is well


def test_what_is_all_there_is_complete_and_neither_lock_nor_log_is_touched(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    delivered(dovecot, user, archive_dir, mails.varied(60, seed=71))
    before = archives.records(archive_dir)
    with Archive.open(archive_dir):
        for more in ((), ("--deep",)):
            result = verify(dovecot, user, archive_dir, *more)
            assert result.code == 0, result
            found = counts(result)
            assert found.pop("there") + found.pop("rewritten", 0) == 60 and not found
            assert {kind for kind, _ in named(result)} <= {"rewritten"}
    assert archives.records(archive_dir) == before


def test_mail_of_others_is_neither_counted_nor_named(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    """Not even such as looks like ours: the same header and size, or the same Message-ID, with other octets."""
    nameless = b"From: alerts@example.org\r\nSubject: Alert\r\n\r\nNumber 001\r\n"
    delivered(dovecot, user, archive_dir, [letter("ours"), nameless])
    theirs = [nameless.replace(b"001", b"002"), letter("ours", b"ydob\r\n"), letter("ours", b"more\r\n" * 9)]
    add(dovecot, user, *theirs, *mails.varied(20, seed=72))
    for more in ((), ("--deep",)):
        result = verify(dovecot, user, archive_dir, *more)
        assert (result.code, counts(result), named(result)) == (0, {"there": 2}, []), result
        assert result.json()["at_target"] == 25


# ---- Missing


def test_a_message_deleted_at_the_target_is_named_and_redelivered(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(12, seed=73)
    uids = delivered(dovecot, user, archive_dir, messages)
    gone = [messages[2], messages[7]]
    expunge(dovecot, user, *(uids[rewritten(octets)] for octets in gone))
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)["missing"]) == (3, 2), result
    missing = {one["digest"]: one["reason"] for one in result.json()["exceptions"] if one["kind"] == "missing"}
    assert set(missing) == {archives.digest(octets) for octets in gone}
    for octets in gone:
        assert f"UID {uids[rewritten(octets)]} " in missing[archives.digest(octets)]
    assert redelivered(dovecot, user, archive_dir) == 2
    assert_delivered_once(at_target(dovecot, user), messages)
    assert verify(dovecot, user, archive_dir).code == 0


def test_in_a_mailbox_that_is_gone_all_is_missing(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = mails.varied(3, seed=74)
    fill(archive_dir, messages)
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.delete("Old")
    result = verify(dovecot, user, archive_dir, "--mailbox", "Old")
    assert (result.code, counts(result)) == (3, {"missing": 3}), result
    assert named(result) == sorted(("missing", archives.digest(octets)) for octets in messages)


# ---- Altered


def test_an_altered_copy_in_the_place_of_a_message_is_named_with_what_was_changed(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    message, other = letter("a"), letter("b")
    uids = delivered(dovecot, user, archive_dir, [message, other])
    expunge(dovecot, user, uids[message])
    add(dovecot, user, b"X-Scanned: yes\r\n" + message.replace(b"body", b"bold"))
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (3, {"there": 1, "altered": 1}), result
    assert named(result) == [("altered", archives.digest(message))]
    assert "added: X-Scanned" in reason(result) and "body differs" in reason(result)
    assert redelivered(dovecot, user, archive_dir) == 1
    assert verify(dovecot, user, archive_dir).code == 0


def test_a_changed_body_of_equal_size_is_found_by_a_deep_look_only_and_then_remembered(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = [letter(str(n), b"body of %d\r\n" % n) for n in range(5)]
    uids = delivered(dovecot, user, archive_dir, messages)
    message = messages[3]
    stored = {octets.replace(b"\r\n", b"\n"): octets for octets in messages}
    path = next(
        p for p in dovecot.maildir(user).glob("*/*") if stored.get(p.read_bytes().replace(b"\r\n", b"\n")) == message
    )
    path.write_bytes(path.read_bytes().replace(b"body of", b"body oF"))
    assert verify(dovecot, user, archive_dir).code == 0
    deep = verify(dovecot, user, archive_dir, "--deep")
    assert (deep.code, counts(deep)) == (3, {"there": 4, "altered": 1}), deep
    assert named(deep) == [("altered", archives.digest(message))] and "its body differs" in reason(deep)
    assert verify(dovecot, user, archive_dir).code == 3
    assert_rebuilds(archive_dir)
    assert redelivered(dovecot, user, archive_dir) == 1
    assert Counter(one.octets for one in at_target(dovecot, user))[message] == 1
    assert uids[message] in {one.uid for one in at_target(dovecot, user)}  # what was altered is nobody's to delete
    assert verify(dovecot, user, archive_dir, "--deep").code == 0


def test_what_was_altered_and_is_right_again_is_there(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    message = letter("a")
    delivered(dovecot, user, archive_dir, [message])
    (path,) = [path for path in dovecot.maildir(user).glob("*/*") if b"Subject: a" in path.read_bytes()]
    right = path.read_bytes()
    path.write_bytes(right.replace(b"body", b"bold"))
    assert verify(dovecot, user, archive_dir, "--deep").code == 3
    path.write_bytes(right)
    assert verify(dovecot, user, archive_dir, "--deep").code == 0
    assert verify(dovecot, user, archive_dir).code == 0
    assert redelivered(dovecot, user, archive_dir) == 0


# ---- Rewritten, as a server does with all such messages


REWRITTEN = {
    "bare LF": (letter("lf", b"one\ntwo\n").replace(b"\r\n", b"\n"), "bare LF became CRLF", ()),
    "NUL in the header": (letter("nul").replace(b"Subject: nul", b"Subject: n\0l"), "NUL became 0x80", ()),
    "NUL in the body": (letter("nul", b"b\0dy\r\n"), "NUL became 0x80", ("--deep",)),
    "both": (b"Subject: b\0th\nX: y\n\nbody\n", "NUL became 0x80, bare LF became CRLF", ()),
}


@pytest.mark.parametrize("case", REWRITTEN)
def test_what_the_server_rewrites_is_named_with_the_reason_and_all_is_well(
    dovecot: Dovecot, user: str, archive_dir: Path, case: str
) -> None:
    message, why, more = REWRITTEN[case]
    delivered(dovecot, user, archive_dir, [letter("plain"), message])
    result = verify(dovecot, user, archive_dir, *more)
    assert (result.code, counts(result)) == (0, {"there": 1, "rewritten": 1}), result
    assert named(result) == [("rewritten", archives.digest(message))]
    assert why in reason(result)
    assert redelivered(dovecot, user, archive_dir) == 0


@pytest.mark.parametrize("more", [(), ("--deep",)])
def test_what_was_sent_repaired_is_there_as_it_was_sent(
    dovecot: Dovecot, user: str, archive_dir: Path, more: tuple[str, ...]
) -> None:
    message = letter("nul", b"b\0dy\r\n")
    after = mended(message, [Repair.NUL])
    fill(archive_dir, [message])
    digest = Digest(archives.digest(message))
    with Archive.open(archive_dir) as opened:
        opened.begin_run("replay", "", f"imap://{user}@{HOST}")
        journal = Journal(opened, f"imap://{user}@{HOST}", "INBOX")
        number = journal.intend(7, 1, [digest], repaired={digest: after.how})
        journal.write([journal.delivered(digest, Receipt(), "append", intend=number, repaired=after.how)])
        opened.end_run("complete", {})
    add(dovecot, user, after.octets)
    for renewed in (1, 0):
        result = verify(dovecot, user, archive_dir, *more)
        assert (result.code, result.json()["rewritten"], result.json()["renewed"]) == (0, 1, renewed), result
        assert "as --repair asked for (nul)" in reason(result)
    assert redelivered(dovecot, user, archive_dir) == 0
    add(dovecot, user, after.octets)
    assert ("extra", digest) in named(verify(dovecot, user, archive_dir, *more))
    assert_rebuilds(archive_dir)


def test_nothing_of_the_corpus_is_called_altered_and_all_of_it_is_found_again(
    dovecot: Dovecot, user: str, archive_dir: Path, corpus: Callable[[], Iterator[tuple[str, bytes]]], seed: int
) -> None:
    distinct = sorted({octets for _, octets in corpus() if octets})
    messages = random.Random(f"against {seed}").sample(distinct, 150)
    fill(archive_dir, messages)
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
    for more in ((), ("--deep",)):
        result = verify(dovecot, user, archive_dir, "--mailbox", "Old", *more)
        assert result.code == 0, result
    stored = [one.octets for one in at_target(dovecot, user, "Old")]
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.delete("Old")
        referee.create("Old")
        for octets in stored:
            referee.add("Old", octets)
    again = verify(dovecot, user, archive_dir, "--mailbox", "Old")
    altered = [octets for octets in messages if BARE_CR.search(rewritten(octets))]  # by imaplib, when it adds them
    assert again.json()["renewed"] == 150 - len(altered), again
    lost = sorted(digest for kind, digest in named(again) if kind in ("missing", "altered"))
    assert lost == sorted(map(archives.digest, altered)), again


# ---- There twice


def test_a_second_copy_that_we_did_not_deliver_is_named_and_nothing_is_done_about_it(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    lines, plain, single = letter("lf", b"one\ntwo\n").replace(b"\r\n", b"\n"), letter("plain"), letter("single")
    delivered(dovecot, user, archive_dir, [lines, plain, single])
    add(dovecot, user, plain, rewritten(lines))
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (3, {"there": 2, "rewritten": 1, "extra": 2}), result
    extra = [digest for kind, digest in named(result) if kind == "extra"]
    assert extra == sorted(map(archives.digest, [plain, lines]))
    assert len(at_target(dovecot, user)) == 5


def test_copies_that_were_asked_for_are_not_too_many(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    delivered(dovecot, user, archive_dir, [letter("a"), letter("a"), letter("b")], "--keep-duplicates")
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (0, {"there": 3}), result


# ---- Dates


def test_another_date_is_named_with_the_reason(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    ahead = format_datetime(datetime.now(UTC) + timedelta(hours=6)).encode()
    future, old = b"Date: " + ahead + b"\r\n" + letter("f"), b"Date: Mon, 02 Feb 2004 10:00:00 +0100\r\n" + letter("o")
    uids = delivered(dovecot, user, archive_dir, [future, old, letter("c")])
    expunge(dovecot, user, uids[old])
    add(dovecot, user, old)  # with the date of today
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (0, {"there": 3, "other_date": 2, "renewed": 1}), result
    why = {one["digest"]: one["reason"] for one in result.json()["exceptions"]}
    assert "clamped" in why[archives.digest(future)]
    assert "ignored its date 2004-02-02 09:00:00Z" in why[archives.digest(old)]


# ---- UIDs that lead nowhere


def recreated(dovecot: Dovecot, user: str, archive: Path, messages: list[bytes], kept: list[bytes]) -> None:
    """Delivered to the mailbox Old, which is then made anew with only these."""
    fill(archive, messages)
    assert replay(dovecot, user, archive, "--mailbox", "Old").code == 0
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.delete("Old")
        referee.create("Old")
        for octets in kept:
            referee.add("Old", octets)


def test_after_another_uidvalidity_what_is_there_is_found_by_content_and_its_uid_renewed(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    lines = letter("lf", b"one\ntwo\n").replace(b"\r\n", b"\n")
    twins = [b"From: a@example.org\r\nSubject: Alert\r\n\r\nNumber %02d\r\n" % n for n in range(6)]
    messages = [*mails.varied(20, seed=75), *twins, lines]
    recreated(dovecot, user, archive_dir, messages, [*map(rewritten, reversed(messages)), letter("theirs")])
    result = verify(dovecot, user, archive_dir, "--mailbox", "Old")
    assert result.code == 0, result
    assert result.json()["renewed"] == result.json()["delivered"] == 27
    stored = {one.uid: one.octets for one in at_target(dovecot, user, "Old")}
    receipts = archives.rows(archive_dir, "SELECT digest, uid FROM deliveries WHERE state = 'delivered'")
    by_digest = {archives.digest(octets): rewritten(octets) for octets in messages}
    assert {digest: stored[uid] for digest, uid in receipts} == by_digest
    assert_rebuilds(archive_dir)
    before = archives.records(archive_dir)
    again = verify(dovecot, user, archive_dir, "--mailbox", "Old")
    assert (again.code, again.json()["renewed"]) == (0, 0), again
    assert archives.records(archive_dir) == before
    after = replay(dovecot, user, archive_dir, "--mailbox", "Old")
    assert (after.code, after.json()["missing"], after.json()["delivered"]) == (0, 0, 0), after


def test_after_another_uidvalidity_exactly_what_is_missing_is_redelivered(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(8, seed=76)
    recreated(dovecot, user, archive_dir, messages, messages[:3] + messages[5:])
    result = verify(dovecot, user, archive_dir, "--mailbox", "Old")
    assert (result.code, result.json()["missing"], result.json()["renewed"]) == (3, 2, 6), result
    assert [digest for kind, digest in named(result) if kind == "missing"] == sorted(
        map(archives.digest, messages[3:5])
    )
    sent = replay(dovecot, user, archive_dir, "--mailbox", "Old", "--redeliver-missing")
    assert (sent.code, sent.json()["delivered"]) == (0, 2), sent
    assert_delivered_once(at_target(dovecot, user, "Old"), messages)


def test_a_message_that_was_moved_away_and_back_is_there(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = mails.varied(5, seed=77)
    uids = delivered(dovecot, user, archive_dir, messages)
    expunge(dovecot, user, uids[rewritten(messages[1])])
    add(dovecot, user, messages[1])
    result = verify(dovecot, user, archive_dir)
    assert (result.code, result.json()["renewed"], result.json()["missing"]) == (0, 1, 0), result
    assert redelivered(dovecot, user, archive_dir) == 0


def test_without_verify_redelivery_finds_what_was_moved_away_and_back_too(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(5, seed=78)
    uids = delivered(dovecot, user, archive_dir, messages)
    expunge(dovecot, user, uids[rewritten(messages[1])], uids[rewritten(messages[4])])
    add(dovecot, user, messages[1])
    assert redelivered(dovecot, user, archive_dir) == 1
    assert_delivered_once(at_target(dovecot, user), messages)


def without_uids(dovecot: Dovecot, user: str, archive: Path, messages: list[bytes]) -> None:
    """As after a replay to a server without UIDPLUS: delivered, and nobody knows where."""
    fill(archive, messages)
    with Archive.open(archive) as opened:
        opened.begin_run("replay", "", f"imap://{user}@{HOST}")
        journal = Journal(opened, f"imap://{user}@{HOST}", "INBOX")
        journal.write([journal.delivered(Digest(archives.digest(m)), Receipt(), "append") for m in messages])
        opened.end_run("complete", {})


def test_where_the_server_gave_no_uids_the_octets_tell_and_many_messages_cost_few_commands(
    dovecot: Dovecot, user: str, archive_dir: Path, tmp_path: Path
) -> None:
    messages = list(mails.small(1500, seed=79))
    without_uids(dovecot, user, archive_dir, messages)
    dovecot.seed(user, [octets for n, octets in enumerate(messages) if n not in (3, 1400)])
    first = verify(dovecot, user, archive_dir)
    seeded = {"there": 1498, "missing": 2, "other_date": 1498}  # the maildir's dates, not ours
    assert (first.code, counts(first)) == (3, seeded | {"renewed": 1498}), first
    logs = {more: tmp_path / f"wire{len(more)}.log" for more in ((), ("--deep",))}
    for more, log in logs.items():
        second = verify(dovecot, user, archive_dir, "--wire-log", log, *more)
        assert (second.code, counts(second)) == (3, seeded), second
        fetches = [line for line in log.read_text().splitlines() if " C: " in line and "FETCH" in line]
        assert 0 < len(fetches) <= 2 + 1500 / 250 + 2, fetches
    assert redelivered(dovecot, user, archive_dir) == 2
    assert verify(dovecot, user, archive_dir).code == 0
    assert_delivered_once(at_target(dovecot, user), messages)


def test_where_nobody_knows_what_became_of_a_message_it_is_altered_and_not_sent_again_unasked(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    without_uids(dovecot, user, archive_dir, [letter("a")])
    add(dovecot, user, b"X-Scanned: yes\r\n" + letter("a"))
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (3, {"altered": 1}), result
    unsure = replay(dovecot, user, archive_dir, "--redeliver-missing")
    assert (unsure.code, unsure.json()["delivered"], unsure.json()["uncertain"]) == (3, 0, 1), unsure
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (3, {"not_delivered": 1}), result
    assert "--resend-uncertain" in reason(result)


# ---- Not delivered


def test_what_was_never_delivered_is_counted_and_the_command_that_delivers_it_printed(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    delivered(dovecot, user, archive_dir, [letter("a")])
    fill(archive_dir, [letter("b"), letter("c")])
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (3, {"there": 1, "not_delivered": 2}), result
    assert [one["count"] for one in result.json()["exceptions"]] == [2]
    paste_and_run(dovecot, user, archive_dir)
    assert verify(dovecot, user, archive_dir).code == 0
    assert len(at_target(dovecot, user)) == 3


def paste_and_run(dovecot: Dovecot, user: str, archive: Path, *more: object) -> None:
    """The command that the report ends with does what it says."""
    target, ca = url(dovecot.ports["imaps"], user, "imaps"), dovecot.certificates.ca
    said = mailmove(*words(target, archive, "--ca-file", ca, *more))
    (command,) = [line for line in said.stdout.splitlines() if line.strip().startswith("mailmove replay")]
    assert mailmove(*shlex.split(command)[1:], "--ca-file", ca, *PASSWORD_FROM_ENV).code == 0


def test_the_command_that_is_printed_is_about_the_same_target_mailbox_and_maildrops(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    fill(archive_dir, [letter("a"), letter("b")], "me@a.example")
    fill(archive_dir, [letter("c")], "me@b.example")
    about = ("--target-name", "the new one", "--mailbox", "Old mail", "--maildrop", "me@a.example")
    assert replay(dovecot, user, archive_dir, *about).code == 0
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.expunge('"Old mail"', at_target(dovecot, user, '"Old mail"')[0].uid)
    assert verify(dovecot, user, archive_dir, *about).json()["missing"] == 1
    paste_and_run(dovecot, user, archive_dir, *about)
    assert verify(dovecot, user, archive_dir, *about).code == 0
    assert_delivered_once(at_target(dovecot, user, '"Old mail"'), [letter("a"), letter("b")])


def test_what_the_target_refused_is_named_until_it_is_settled(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter("a"), b""])
    assert replay(dovecot, user, archive_dir).code == 3
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (3, {"there": 1, "not_delivered": 1}), result
    assert named(result) == [("not_delivered", archives.digest(b""))] and "--retry-parked" in reason(result)
    target = url(dovecot.ports["imaps"], user, "imaps")
    skip = ("skip", archives.digest(b""), "-a", archive_dir, "--target", target, "--reason", "empty")
    assert mailmove(*skip).code == 0
    settled = verify(dovecot, user, archive_dir)
    assert (settled.code, counts(settled)) == (0, {"there": 1, "skipped": 1}), settled


def test_what_another_mailbox_was_given_is_not_asked_of_this_one(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    fill(archive_dir, [letter("a"), letter("b")], "me@a.example")
    fill(archive_dir, [letter("c")], "me@b.example")
    for maildrop, mailbox in (("me@a.example", "A"), ("me@b.example", "B")):
        assert replay(dovecot, user, archive_dir, "--maildrop", maildrop, "--mailbox", mailbox).code == 0
    unclear = verify(dovecot, user, archive_dir, "--mailbox", "A")
    assert unclear.code == 2 and "--all-maildrops" in unclear.stderr, unclear
    every = verify(dovecot, user, archive_dir, "--mailbox", "A", "--all-maildrops")
    assert (every.code, counts(every)) == (0, {"there": 2, "elsewhere": 1}), every
    one = verify(dovecot, user, archive_dir, "--mailbox", "A", "--maildrop", "me@a.example")
    assert (one.code, counts(one)) == (0, {"there": 2}), one


def test_what_the_target_would_merge_with_another_is_not_asked_of_it(
    needs_dovecot: None, user: str, archive_dir: Path
) -> None:
    """As Gmail does, which gives itself away by this capability."""
    first, version = letter("same"), letter("same", b"other\r\n")
    with Dovecot(extra="imap_capability = +X-GM-EXT-1") as server:
        without_uids(server, user, archive_dir, [first])
        fill(archive_dir, [version])
        add(server, user, first)
        result = verify(server, user, archive_dir)
    assert result.code == 0, result
    assert (result.json()["there"], result.json()["skipped"], result.json()["not_delivered"]) == (1, 1, 0)
    assert ("skipped", archives.digest(version)) in named(result)


def test_a_query_narrows_what_is_compared(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter("apples"), letter("pears")])
    assert replay(dovecot, user, archive_dir, "--query", "subject:apples").code == 0
    assert verify(dovecot, user, archive_dir).code == 3
    narrowed = verify(dovecot, user, archive_dir, "--query", "subject:apples")
    assert (narrowed.code, counts(narrowed)) == (0, {"there": 1}), narrowed


# ---- How it is told


def test_the_table_and_the_document_name_the_same(
    dovecot: Dovecot, user: str, archive_dir: Path, tmp_path: Path
) -> None:
    messages = [letter(str(n)) for n in range(30)]
    uids = delivered(dovecot, user, archive_dir, messages)
    expunge(dovecot, user, *(uids[octets] for octets in messages[:25]))
    table = tmp_path / "found.csv"
    result = verify(dovecot, user, archive_dir, "--csv", table)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    exceptions: list[dict[str, Any]] = result.json()["exceptions"]
    assert len(rows) == 25
    assert [(row["kind"], row["digest"], row["reason"]) for row in rows] == [
        (one["kind"], one["digest"], one["reason"]) for one in exceptions
    ]
    target, ca = url(dovecot.ports["imaps"], user, "imaps"), dovecot.certificates.ca
    said = mailmove(*words(target, archive_dir, "--ca-file", ca))
    assert said.code == 3 and sum(line.startswith("  missing: ") for line in said.stdout.splitlines()) == 20, said
    assert "and 5 more" in said.stdout and "--redeliver-missing" in said.stdout
    assert mailmove(*words(target, archive_dir, "--ca-file", ca, "-q")).stdout.startswith("NOT ALL")


def test_quiet_says_nothing_when_all_is_well(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    delivered(dovecot, user, archive_dir, [letter("a")])
    target, ca = url(dovecot.ports["imaps"], user, "imaps"), dovecot.certificates.ca
    result = mailmove(*words(target, archive_dir, "--ca-file", ca, "-q"))
    assert (result.code, result.stdout, result.stderr) == (0, "", ""), result


# ---- Trouble


def test_a_wrong_password_is_refused_and_nothing_is_claimed(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    delivered(dovecot, user, archive_dir, [letter("a")])
    target, ca = url(dovecot.ports["imaps"], user, "imaps"), dovecot.certificates.ca
    env = {"WRONG": "not the password"}
    table = archive_dir.parent / "table.csv"
    table.write_text("an earlier one", "utf-8")
    wrong = mailmove(
        *(
            "verify",
            "--against",
            target,
            "-a",
            archive_dir,
            "--ca-file",
            ca,
            "--password-env",
            "WRONG",
            "--json",
            "--csv",
            table,
        ),
        env=env,
    )
    assert (wrong.code, wrong.json()["outcome"], wrong.json()["there"]) == (77, "failed", 0), wrong
    assert "not the password" not in wrong.stdout + wrong.stderr
    assert table.read_text("utf-8") == "an earlier one"


def test_a_broken_connection_is_opened_again_and_nothing_counted_twice(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = [letter(str(n), b"x" * 70 + b"\r\n") for n in range(300)]
    delivered(dovecot, user, archive_dir, messages)
    with Line(dovecot.ports["imap"], cut_after=60_000, cut_times=1, cut_how="rst") as line:
        target, ca = url(line.port, user), dovecot.certificates.ca
        result = mailmove(*words(target, archive_dir, "--ca-file", ca, "--json", "--deep"))
    assert (result.code, counts(result)) == (0, {"there": 300}), result
    assert (result.json()["sessions"], result.json()["retries"]) == (2, 1)


def test_where_the_archive_itself_is_damaged_nobody_can_tell(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = [letter("a"), letter("b")]
    uids = delivered(dovecot, user, archive_dir, messages)
    expunge(dovecot, user, uids[messages[0]])
    digest = archives.digest(messages[0])
    alter(archive_dir / "mail" / digest[:3] / f"{digest}.eml")
    result = verify(dovecot, user, archive_dir)
    assert (result.code, counts(result)) == (4, {"there": 1, "unproven": 1}), result
    assert named(result) == [("unproven", digest)]


def test_when_the_archive_is_in_use_what_was_found_is_told_but_not_noted(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    message = letter("a")
    uids = delivered(dovecot, user, archive_dir, [message])
    expunge(dovecot, user, uids[message])
    add(dovecot, user, message)
    with Archive.open(archive_dir):
        busy = verify(dovecot, user, archive_dir)
    assert (busy.code, busy.json()["there"], busy.json()["error"]["class"]) == (75, 1, "ArchiveBusy"), busy
    assert verify(dovecot, user, archive_dir).json()["renewed"] == 1


@pytest.mark.parametrize(
    "more",
    [("--deep",), ("--csv", "x"), ("--mailbox", "X"), ("--timeout", "3"), ("--password-env", "X")],
)
def test_what_is_about_a_target_needs_one(archive_dir: Path, more: tuple[str, ...]) -> None:
    fill(archive_dir, [letter("a")])
    refused(mailmove("verify", "-a", archive_dir, *more), 2, more[0], "--against")


def test_what_is_about_the_archive_alone_is_refused(archive_dir: Path, tmp_path: Path) -> None:
    fill(archive_dir, [letter("a")])
    refused(mailmove(*words("imaps://me@localhost", archive_dir, "--part", "1/2")), 2, "--part")
    refused(mailmove(*words("pop3s://me@localhost", archive_dir)), 2, "IMAP target")
    refused(mailmove(*words("imaps://me@localhost", archive_dir, "--csv", tmp_path / "no" / "x.csv")), 78, "x.csv")


def test_a_mailbox_that_nothing_went_to_is_not_called_sound(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, mails.varied(3, seed=81))
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
    result = verify(dovecot, user, archive_dir, "--mailbox", "Odl")
    assert result.code == 2 and "'Odl'" in result.stderr and "'Old'" in result.stderr, result
    assert verify(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
