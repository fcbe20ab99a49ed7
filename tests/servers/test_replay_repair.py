"""Repairs and the daily limit as a user meets them: `mailmove replay` into a real Cyrus and a real Dovecot.

Strategy: Cyrus refuses what `--repair` mends, so what it holds afterwards shows which repair was made; the archive's
files, its log and a rebuilt catalogue show that nothing else was touched and all of it was told.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from mailmove.repairs import Repair, apply
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.support import archives
from tests.support.cli import Result, finish, kill, mailmove, start_mailmove
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, Session, reset
from tests.support.replaying import assert_adds_up, at_target, fill, plain_replay, replay, url, words

HEAD = b"Subject: %b\r\nMessage-ID: <%b@example.org>\r\n\r\n"
NUL, NEWLINES = Repair.NUL, Repair.BARE_NEWLINES


def message(name: bytes, body: bytes) -> bytes:
    return HEAD % (name, name) + body


FINE = [message(b"fine-%d" % n, b"nothing wrong\r\n") for n in range(3)]
WITH_NUL = message(b"nul", b"a\0b\r\n")
WITH_BARE = message(b"bare", b"one\ntwo\r\n")
WITH_BOTH = message(b"both", b"one\ntwo\0\r\n")
ALL = [*FINE, WITH_NUL, WITH_BARE, WITH_BOTH]


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def at_cyrus(server: Cyrus, user: str) -> Counter[bytes]:
    with Referee(server.ports["imap"], user) as referee:
        return Counter(one.octets for one in referee.stored("INBOX"))


def repaired(result: Result) -> dict[str, str]:
    """digest -> what the report says of it."""
    return {one["digest"]: one["reason"] for one in result.json()["exceptions"] if one["kind"] == "repaired"}


def counts(result: Result, *terms: str) -> list[int]:
    assert_adds_up(result.json())
    return [result.json()[term] for term in terms]


def assert_logged(root: Path, octets: bytes, repairs: Iterable[Repair]) -> None:
    """The last record of this message names the repairs and both digests."""
    record = [one for one in archives.records(root) if one["t"] == "deliver" and one["digest"] == sha256(octets)][-1]
    assert record["repairs"] == [one.value for one in repairs]
    assert record["sent_digest"] == sha256(apply(octets, repairs))


def test_what_is_refused_arrives_repaired_and_the_archive_keeps_it_as_it_came(
    cyrus: Cyrus, user: str, archive_dir: Path
) -> None:
    fill(archive_dir, ALL)
    port, before = cyrus.ports["imap"], archives.files(archive_dir)
    first = plain_replay(port, user, archive_dir)
    assert first.code == 3 and counts(first, "delivered", "parked") == [3, 3]

    unrepaired = plain_replay(port, user, archive_dir, "--retry-parked")
    assert unrepaired.code == 3 and counts(unrepaired, "already_there", "parked") == [3, 3]
    assert repaired(unrepaired) == {} and at_cyrus(cyrus, user) == Counter(FINE)

    second = plain_replay(port, user, archive_dir, "--retry-parked", "--repair", "nul,bare-newlines")
    assert second.code == 3 and counts(second, "delivered", "already_there", "parked") == [2, 3, 1]
    told = repaired(second)
    assert set(told) == {sha256(WITH_NUL), sha256(WITH_BARE)}
    assert "nul" in told[sha256(WITH_NUL)] and sha256(apply(WITH_NUL, {NUL})) in told[sha256(WITH_NUL)]

    third = plain_replay(port, user, archive_dir, "--retry-parked", "--repair", "nul,bare-newlines")
    assert third.code == 0 and counts(third, "delivered", "already_there", "parked") == [1, 5, 0]
    there = [*FINE, apply(WITH_NUL, {NUL}), apply(WITH_BARE, {NEWLINES}), apply(WITH_BOTH, {NUL, NEWLINES})]
    assert at_cyrus(cyrus, user) == Counter(there)
    assert_logged(archive_dir, WITH_NUL, [NUL])
    assert_logged(archive_dir, WITH_BARE, [NEWLINES])
    assert_logged(archive_dir, WITH_BOTH, [NUL, NEWLINES])

    assert archives.files(archive_dir) == before
    assert mailmove("verify", "-a", archive_dir).code == 0
    (archive_dir / "archive.db").unlink()
    last = plain_replay(port, user, archive_dir)
    assert last.code == 0 and counts(last, "delivered", "already_there") == [0, 6]


def test_a_repair_that_does_not_fit_alters_nothing(cyrus: Cyrus, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [WITH_NUL, *FINE])
    port = cyrus.ports["imap"]
    plain_replay(port, user, archive_dir)
    result = plain_replay(port, user, archive_dir, "--retry-parked", "--repair", "long-lines")
    assert result.code == 3 and counts(result, "delivered", "parked") == [0, 1] and repaired(result) == {}
    assert at_cyrus(cyrus, user) == Counter(FINE)


def test_twins_go_out_alike(cyrus: Cyrus, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [WITH_NUL, WITH_NUL])
    port = cyrus.ports["imap"]
    plain_replay(port, user, archive_dir, "--keep-duplicates")
    options = ("--keep-duplicates", "--retry-parked", "--repair", "nul")
    result = plain_replay(port, user, archive_dir, *options)
    assert result.code == 0 and counts(result, "delivered", "parked") == [2, 0]
    assert at_cyrus(cyrus, user) == Counter([apply(WITH_NUL, {NUL})] * 2)


@pytest.mark.parametrize("rebuilt", [False, True])
@pytest.mark.parametrize("kept", [True, False])
def test_a_repaired_message_that_was_cut_off_is_there_once(
    cyrus: Cyrus, user: str, archive_dir: Path, kept: bool, rebuilt: bool
) -> None:
    """kill -9 when half of it is sent; then the server has it after all, or not."""
    octets = message(b"cut-off", b"a\0b\r\n" + b"0123456789abcdef\r\n" * 2_000)
    altered = apply(octets, {NUL})
    fill(archive_dir, [octets])
    port, options = cyrus.ports["imap"], ("--retry-parked", "--repair", "nul")
    assert plain_replay(port, user, archive_dir).code == 3
    with Proxy(port) as proxy:
        process = start_mailmove(*words(url(proxy.port, user), archive_dir, "--allow-plaintext", *options))

        def end_both(session: Session) -> None:
            kill(process)
            reset(session)

        proxy.at_up(len(octets) // 2, end_both)
        finish(process)
    assert archives.unsettled(archive_dir), "nothing was under way"
    if kept:
        with Referee(port, user) as referee:
            referee.add("INBOX", altered)
    if rebuilt:
        (archive_dir / "archive.db").unlink()
    result = plain_replay(port, user, archive_dir)
    assert (result.code, counts(result, "already_there", "parked")) == ((0, [1, 0]) if kept else (3, [0, 1]))
    assert plain_replay(port, user, archive_dir, *options).code == 0
    assert at_cyrus(cyrus, user) == Counter([altered])
    assert_logged(archive_dir, octets, [NUL])


# ---- the daily limit

LARGE = [message(b"large-%d" % n, b"0123456789abcdef\r\n" * 2500) for n in range(4)]
"""45,000 octets and some."""

ANNOUNCED = re.compile(rb'"t":"intend".*"digests":\["')


def test_the_daily_limit_ends_a_run_in_time_and_the_next_one_too(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    fill(archive_dir, LARGE)
    first = replay(dovecot, user, archive_dir, "--daily-limit", "100KB")
    assert first.code == 75 and counts(first, "delivered", "pending") == [2, 2]
    assert first.json()["error"]["class"] == "DailyLimitReached"
    assert "daily limit of 100,000 octets" in first.stderr and "run again after" in first.stderr
    second = replay(dovecot, user, archive_dir, "--daily-limit", "100KB")
    assert second.code == 75 and counts(second, "delivered", "already_there", "pending") == [0, 2, 2]
    assert sorted(one.octets for one in at_target(dovecot, user)) == LARGE[:2]
    third = replay(dovecot, user, archive_dir, "--daily-limit", "1MB")
    assert third.code == 0 and counts(third, "delivered", "already_there") == [2, 2]
    assert sorted(one.octets for one in at_target(dovecot, user)) == LARGE


def test_a_message_over_the_limit_is_parked_and_the_others_go(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [LARGE[0], *FINE])
    result = replay(dovecot, user, archive_dir, "--daily-limit", "40KB")
    assert result.code == 3 and counts(result, "delivered", "parked") == [3, 1]
    (parked,) = [one for one in result.json()["exceptions"] if one["kind"] == "parked"]
    assert parked["digest"] == sha256(LARGE[0]) and "--daily-limit" in parked["reason"]
    assert replay(dovecot, user, archive_dir, "--retry-parked").code == 0


def test_a_run_that_was_killed_has_spent_what_it_was_about_to_send(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    """Killed when the first messages are announced: no later run may forget that they may have gone out."""
    fill(archive_dir, LARGE)
    target = url(dovecot.ports["imaps"], user, "imaps")
    process = start_mailmove(
        *words(target, archive_dir, "--ca-file", dovecot.certificates.ca, "--daily-limit", "100KB")
    )
    while process.poll() is None and not ANNOUNCED.search((archive_dir / "log" / "00000001.jsonl").read_bytes()):
        pass
    kill(process)
    finish(process)
    assert sum(octets for (octets,) in archives.rows(archive_dir, "SELECT octets FROM target_budget")) >= len(LARGE[0])
