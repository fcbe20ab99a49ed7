"""`mailmove replay --query`: what a search finds is delivered, and nothing else; what it leaves out can follow later.

Strategy: against a real Dovecot, with messages that say in their subject what finds them. The index is never filled by
the test where the promise is that nobody need think of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mailmove.archive.lock import WriterLock
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import Result, mailmove
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, reset
from tests.support.replaying import (
    assert_adds_up,
    assert_delivered_once,
    at_target,
    fill,
    plain_replay,
    replay,
)

USAGE, DAMAGED, BUSY = 2, 4, 75


def letters(word: str, n: int) -> list[bytes]:
    head = b"From: %s@example.org\r\nMessage-ID: <%s-%d@example.org>\r\nSubject: about %s %d\r\n\r\nletter %d\r\n"
    return [head % (word.encode(), word.encode(), i, word.encode(), i, i) for i in range(n)]


APPLES, PEARS = letters("apple", 5), letters("pear", 4)


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    return fill(archive_dir, [*APPLES, *PEARS])


def assert_one_sentence(result: Result, *said: str) -> None:
    assert len(result.stderr.splitlines()) == 1 and "Traceback" not in result.stderr, result
    assert all(word in result.stderr for word in said), result


def test_only_what_it_finds_is_sent_and_the_rest_can_follow(dovecot: Dovecot, user: str, archive: Path) -> None:
    first = replay(dovecot, user, archive, "--query", "subject:pear")
    assert first.code == 0, first
    assert (first.json()["selected"], first.json()["delivered"]) == (4, 4)
    assert_adds_up(first.json())
    assert_delivered_once(at_target(dovecot, user), PEARS)
    again = replay(dovecot, user, archive, "--query", "from:pear OR letter -apple")
    assert (again.json()["delivered"], again.json()["already_there"]) == (0, 4), again
    rest = replay(dovecot, user, archive)
    assert (rest.json()["delivered"], rest.json()["already_there"]) == (5, 4), rest
    assert_delivered_once(at_target(dovecot, user), [*APPLES, *PEARS])
    assert mailmove("verify", "-a", archive).code == 0


def test_what_came_in_since_the_last_index_is_found_too(dovecot: Dovecot, user: str, archive: Path) -> None:
    assert mailmove("index", "-a", archive, "-q").code == 0
    more = letters("pear", 7)[4:]
    fill(archive, more)
    result = replay(dovecot, user, archive, "--query", "pear")
    assert (result.code, result.json()["delivered"]) == (0, 7), result
    assert_delivered_once(at_target(dovecot, user), [*PEARS, *more])


def test_one_that_finds_nothing_sends_nothing(dovecot: Dovecot, user: str, archive: Path) -> None:
    result = replay(dovecot, user, archive, "--query", "plum")
    assert (result.code, result.json()["selected"], result.json()["outcome"]) == (0, 0, "complete"), result
    assert at_target(dovecot, user) == []


def test_a_dry_run_changes_nothing_and_says_when_it_cannot_know(dovecot: Dovecot, user: str, archive: Path) -> None:
    before = {
        path: path.read_bytes() for path in archive.rglob("*") if path.is_file() and "archive.db-" not in path.name
    }
    words = ("--query", "pear", "--dry-run")
    none = replay(dovecot, user, archive, *words)
    assert (none.code, none.stdout) == (USAGE, ""), none
    assert_one_sentence(none, "no index", f"mailmove index -a {archive}")
    assert {path: path.read_bytes() for path in before} == before and not list(archive.glob("search.db*"))
    assert mailmove("index", "-a", archive, "-q").code == 0
    told = replay(dovecot, user, archive, *words)
    assert (told.code, told.json()["selected"], told.json()["pending"]) == (0, 4, 4), told
    fill(archive, letters("pear", 6)[4:])
    behind = replay(dovecot, user, archive, *words)
    assert behind.code == USAGE
    assert_one_sentence(behind, "lacks 2 of the messages", "mailmove index")
    assert at_target(dovecot, user) == []


@pytest.mark.parametrize("query", ["", "befor:2024-01-01", '"pear', "(pear"])
def test_a_wrong_query_sends_nothing_and_asks_nobody(archive: Path, query: str) -> None:
    """Least of all everything, where a script has an empty variable."""
    for more in ((), ("--dry-run",)):
        result = plain_replay(1, "nobody", archive, "--query", query, *more)
        assert (result.code, result.stdout) == (USAGE, ""), result
        assert_one_sentence(result, "The query is wrong")


def test_it_says_nothing_of_it_in_the_log(dovecot: Dovecot, user: str, archive: Path) -> None:
    """A record carries no subject and no text (design.md, section 5), so no word that looks for them either."""
    assert replay(dovecot, user, archive, "--query", "subject:pear").code == 0
    assert not any(b"pear" in path.read_bytes() for path in (archive / "log").glob("*.jsonl"))


def test_within_the_maildrops_that_are_named(dovecot: Dovecot, user: str, archive: Path) -> None:
    theirs = letters("pear", 6)[4:]
    fill(archive, theirs, "you@other.example")
    unclear = replay(dovecot, user, archive, "--query", "pear")
    assert unclear.code == USAGE and "--all-maildrops" in unclear.stderr, unclear
    words = ("--query", "pear", "--maildrop", "you@other.example")
    assert replay(dovecot, user, archive, *words).json()["delivered"] == 2
    assert_delivered_once(at_target(dovecot, user), theirs)
    words = ("--query", "pear -maildrop:you@other.example", "--all-maildrops")
    assert replay(dovecot, user, archive, *words).json()["delivered"] == 4
    assert_delivered_once(at_target(dovecot, user), [*theirs, *PEARS])


def test_a_message_that_cannot_be_read_is_named_whatever_is_in_it(dovecot: Dovecot, user: str, archive: Path) -> None:
    (name,) = (archives.digest(APPLES[0]),)
    (archive / "mail" / name[:3] / f"{name}.eml").unlink()
    for words in (("--query", "pear"), ("--query", "pear", "--dry-run")):
        result = replay(dovecot, user, archive, *words)
        assert result.json()["selected"] == 5, result
    result = replay(dovecot, user, archive, "--query", "pear")
    assert (result.code, result.json()["already_there"]) == (DAMAGED, 4), result
    assert [one["digest"] for one in result.json()["exceptions"] if one["kind"] == "damaged"] == [name]
    assert_adds_up(result.json())
    assert_delivered_once(at_target(dovecot, user), PEARS)


def test_a_connection_that_breaks_doubles_nothing_and_widens_nothing(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    wanted, others = letters("pear", 30), mails.small(30, seed=77)
    fill(archive_dir, [message for pair in zip(wanted, others, strict=True) for message in pair])
    with Proxy(dovecot.ports["imaps"]) as proxy:
        proxy.at_up(4_000, reset)
        result = replay(dovecot, user, archive_dir, "--query", "pear", port=proxy.port)
    assert (result.code, result.json()["sessions"], result.json()["selected"]) == (0, 2, 30), result
    assert_adds_up(result.json())
    assert_delivered_once(at_target(dovecot, user), wanted)


def test_what_is_missing_is_sent_again_as_far_as_it_is_asked_for(dovecot: Dovecot, user: str, archive: Path) -> None:
    """What was deleted there on purpose must not come back with the next replay."""
    assert replay(dovecot, user, archive).json()["delivered"] == 9
    with Referee(dovecot.ports["imap"], user) as referee:
        gone = [one.uid for one in referee.stored("INBOX") if one.octets in (APPLES[1], PEARS[2])]
        referee.expunge("INBOX", *gone)
    result = replay(dovecot, user, archive, "--query", "pear", "--redeliver-missing")
    assert (result.code, result.json()["redelivered"], result.json()["delivered"]) == (0, 1, 1), result
    left = [message for message in [*APPLES, *PEARS] if message != APPLES[1]]
    assert_delivered_once(at_target(dovecot, user), left)
    assert replay(dovecot, user, archive).json()["delivered"] == 0
    assert replay(dovecot, user, archive, "--redeliver-missing").json()["delivered"] == 1
    assert_delivered_once(at_target(dovecot, user), [*APPLES, *PEARS])


def test_while_another_process_fills_the_index(archive: Path) -> None:
    lock = WriterLock(archive / "search.lock")
    lock.acquire(archive)
    try:
        result = plain_replay(1, "nobody", archive, "--query", "pear")
    finally:
        lock.release()
    assert result.code == BUSY and result.json()["error"]["class"] == "ArchiveBusy", result
    assert_one_sentence(result, "search.db is in use by process", "--wait")
