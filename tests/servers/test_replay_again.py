"""Replays that come back: to a mailbox that changed, to refusals, and to what a person decided."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import finish, kill, mailmove, start_mailmove
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, reset
from tests.support.replaying import (
    assert_adds_up,
    assert_delivered_once,
    at_target,
    fill,
    plain_replay,
    replay,
    url,
    words,
)

SMALL_QUOTA = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=60K
  quota_max_mail_size = 20K
}
"""


@pytest.fixture(scope="module")
def small_dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    """A mailbox of 60 KB, and no message above 20 KB."""
    with Dovecot(extra=SMALL_QUOTA) as server:
        yield server


def letter(name: str, octets: int) -> bytes:
    head = f"Message-ID: <{name}@example.org>\r\nSubject: {name}\r\n\r\n".encode()
    return head + (b"x" * 70 + b"\r\n") * ((octets - len(head)) // 72)


# ---- A mailbox that holds mail already


def test_what_is_there_already_is_not_sent_again_and_that_is_said(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(12, seed=51)
    with Referee(dovecot.ports["imap"], user) as referee:
        for known in messages[:5]:
            referee.add("INBOX", known)
        referee.add("INBOX", letter("theirs", 300))
    fill(archive_dir, messages)
    before = {one.uid for one in at_target(dovecot, user)}
    result = replay(dovecot, user, archive_dir)
    assert result.code == 0, result
    assert "--no-skip-present" in result.stderr
    found = result.json()["already_there"]
    assert result.json()["delivered"] == 12 - found
    stored = at_target(dovecot, user)
    assert before <= {one.uid for one in stored}
    assert_delivered_once(stored, [*messages, letter("theirs", 300)])


def test_the_decision_stays_until_it_is_taken_back(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    first, second, third = letter("a", 300), letter("b", 300), letter("c", 300)
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.add("INBOX", first)
        fill(archive_dir, [first])
        assert replay(dovecot, user, archive_dir).json()["already_there"] == 1
        referee.add("INBOX", second)
        fill(archive_dir, [second])
        assert replay(dovecot, user, archive_dir).json()["delivered"] == 0
        referee.add("INBOX", third)
    fill(archive_dir, [third])
    assert replay(dovecot, user, archive_dir, "--no-skip-present").json()["delivered"] == 1
    assert_delivered_once(at_target(dovecot, user), [first, second, third, third])


def test_into_an_empty_mailbox_nothing_is_looked_for(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    first, second = letter("a", 300), letter("b", 300)
    fill(archive_dir, [first])
    assert replay(dovecot, user, archive_dir).code == 0
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.add("INBOX", second)
    fill(archive_dir, [second])
    assert replay(dovecot, user, archive_dir).json()["delivered"] == 1


# ---- A mailbox that lost mail


def test_a_mailbox_its_owner_emptied_is_normal_and_both_numbers_are_shown(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(6, seed=52)
    fill(archive_dir, messages)
    assert replay(dovecot, user, archive_dir).code == 0
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.expunge("INBOX", *(one.uid for one in at_target(dovecot, user)[:4]))
    result = replay(dovecot, user, archive_dir)
    assert result.code == 0, result
    assert (result.json()["at_target"], result.json()["delivered_ever"]) == (2, 6)
    assert "holds 2 messages, and 6 were delivered" in result.stderr
    assert "--redeliver-missing" in result.stderr
    assert len(at_target(dovecot, user)) == 2


def test_redeliver_missing_sends_what_is_not_there_and_nothing_else(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(8, seed=53)
    fill(archive_dir, messages)
    assert replay(dovecot, user, archive_dir).code == 0
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.expunge("INBOX", *(one.uid for one in at_target(dovecot, user)[2:5]))
    result = replay(dovecot, user, archive_dir, "--redeliver-missing")
    assert result.code == 0, result
    assert (result.json()["delivered"], result.json()["already_there"], result.json()["redelivered"]) == (3, 5, 3)
    assert_delivered_once(at_target(dovecot, user), messages)
    assert replay(dovecot, user, archive_dir, "--redeliver-missing").json()["delivered"] == 0


def recreate(dovecot: Dovecot, user: str, mailbox: str, *kept: bytes) -> None:
    with Referee(dovecot.ports["imap"], user) as referee:
        referee.delete(mailbox)
        referee.create(mailbox)
        for octets in kept:
            referee.add(mailbox, octets)


def test_a_mailbox_made_anew_is_told_of_until_somebody_decides(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    old, new = mails.varied(4, seed=54), letter("new", 300)
    fill(archive_dir, old)
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
    recreate(dovecot, user, "Old")
    fill(archive_dir, [new])
    for delivered in (1, 0):
        result = replay(dovecot, user, archive_dir, "--mailbox", "Old")
        assert result.code == 3, result
        assert (result.json()["delivered"], result.json()["missing"]) == (delivered, 4)
        assert "--redeliver-missing" in result.stderr and "--ignore-missing" in result.stderr
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old", "--ignore-missing").code == 0
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
    assert_delivered_once(at_target(dovecot, user, "Old"), [new])


def test_redelivery_into_a_mailbox_made_anew_finds_what_survived(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    messages = mails.varied(5, seed=55)
    fill(archive_dir, messages)
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
    recreate(dovecot, user, "Old", messages[1], messages[3])
    result = replay(dovecot, user, archive_dir, "--mailbox", "Old", "--redeliver-missing")
    assert result.code == 0, result
    assert_delivered_once(at_target(dovecot, user, "Old"), messages)
    assert result.json()["delivered"] == 3
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").json()["delivered"] == 0


def test_in_a_mailbox_made_anew_what_only_resembles_is_uncertain(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    first, second = letter("a", 300), letter("b", 300)
    fill(archive_dir, [first, second])
    assert replay(dovecot, user, archive_dir, "--mailbox", "Old").code == 0
    recreate(dovecot, user, "Old", b"X-Moved: yes\r\n" + first)
    result = replay(dovecot, user, archive_dir, "--mailbox", "Old", "--redeliver-missing")
    assert (result.code, result.json()["delivered"], result.json()["uncertain"]) == (3, 1, 1), result
    assert_delivered_once(at_target(dovecot, user, "Old"), [b"X-Moved: yes\r\n" + first, second])


# ---- Refusals


def test_a_message_the_target_refuses_is_parked_and_the_others_go_on(
    small_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    small, large = [letter(str(n), 500) for n in range(4)], letter("large", 30_000)
    fill(archive_dir, [*small[:2], large, *small[2:]])
    result = replay(small_dovecot, user, archive_dir)
    assert result.code == 3, result
    assert (result.json()["delivered"], result.json()["parked"]) == (4, 1)
    (exception,) = result.json()["exceptions"]
    assert exception["digest"] == archives.digest(large) and exception["server_text"]
    assert_delivered_once(at_target(small_dovecot, user), small)
    again = replay(small_dovecot, user, archive_dir)
    assert (again.code, again.json()["parked"], again.json()["delivered"]) == (3, 1, 0)
    assert again.json()["exceptions"][0]["server_text"] == exception["server_text"]


def test_a_parked_message_is_tried_again_when_asked_for(small_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    large = letter("large", 30_000)
    fill(archive_dir, [large])
    assert replay(small_dovecot, user, archive_dir).code == 3
    refused = replay(small_dovecot, user, archive_dir, "--retry-parked")
    assert (refused.code, refused.json()["parked"]) == (3, 1)
    assert_adds_up(refused.json())
    name = refused.json()["target"]
    with Dovecot() as roomy:
        taken = replay(roomy, user, archive_dir, "--retry-parked", "--target-name", name)
        assert taken.code == 0, taken
        assert_delivered_once(at_target(roomy, user), [large])


def test_skip_settles_a_delivery_by_the_command_that_is_printed(
    small_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    fill(archive_dir, [letter("large", 30_000)])
    target = f"imaps://{user}@127.0.0.1:{small_dovecot.ports['imaps']}"
    ca = small_dovecot.certificates.ca
    said = mailmove("replay", target, "-a", archive_dir, "--ca-file", ca, "--password-env", "MAILMOVE_TEST_PASSWORD")
    assert said.code == 3, said
    (command,) = [line for line in said.stdout.splitlines() if line.strip().startswith("mailmove skip")]
    assert mailmove(*shlex.split(command)[1:]).code == 0
    settled = replay(small_dovecot, user, archive_dir)
    assert (settled.code, settled.json()["skipped"], settled.json()["parked"]) == (0, 1, 0)


def test_a_full_target_stops_the_run_and_loses_nothing(small_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = [letter(str(n), 9_000) for n in range(10)]
    fill(archive_dir, messages)
    full = replay(small_dovecot, user, archive_dir)
    assert full.code == 75, full
    assert full.json()["error"]["server_text"] in full.stderr
    assert full.json()["error"]["class"] == "QuotaExceeded"
    assert_adds_up(full.json())
    delivered, pending = full.json()["delivered"], full.json()["pending"]
    assert 0 < delivered < 10 and delivered + pending == 10
    there = [one.octets for one in at_target(small_dovecot, user)]
    rest = [octets for octets in messages if octets not in there]
    assert (len(there), len(rest)) == (delivered, pending), "each of them once, and nothing else"
    with Referee(small_dovecot.ports["imap"], user) as referee:
        referee.expunge("INBOX", *(one.uid for one in at_target(small_dovecot, user)))
    more = replay(small_dovecot, user, archive_dir)
    assert more.json()["already_there"] == delivered
    now_there = [one.octets for one in at_target(small_dovecot, user)]
    assert len(now_there) == len(set(now_there)) == more.json()["delivered"] and set(now_there) <= set(rest)


def test_status_shows_what_is_delivered_where(small_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter("a", 300), letter("large", 30_000)])
    replay(small_dovecot, user, archive_dir)
    shown = mailmove("status", "-a", archive_dir)
    assert f"imap://{user}@127.0.0.1 INBOX: 1 delivered, 1 parked" in shown.stdout
    (row,) = mailmove("status", "-a", archive_dir, "--json").json()["targets"]
    assert (row["delivered"], row["parked"]) == (1, 1)


# ---- Something much like it is there


def cut_off(dovecot: Dovecot, user: str, archive: Path, octets: int) -> None:
    """A replay that dies when so many octets have gone up: announced, and nothing is there."""
    with Proxy(dovecot.ports["imap"]) as proxy:
        process = start_mailmove(*words(url(proxy.port, user), archive, "--allow-plaintext"))
        proxy.at_up(octets, lambda session: [kill(process), reset(session)])
        finish(process)
    assert archives.unsettled(archive), "nothing was under way"


def test_what_may_be_there_is_named_and_sent_again_only_when_asked(user: str, archive_dir: Path) -> None:
    message = letter("large", 40_000)
    fill(archive_dir, [message])
    with Dovecot(ssl=False) as server:
        port = server.ports["imap"]
        cut_off(server, user, archive_dir, 20_000)
        with Referee(port, user) as referee:
            referee.add("INBOX", b"X-Scanned: yes\r\n" + message)
        for _ in range(2):
            unsure = plain_replay(port, user, archive_dir)
            assert (unsure.code, unsure.json()["uncertain"], unsure.json()["delivered"]) == (3, 1, 0), unsure
            assert [one["kind"] for one in unsure.json()["exceptions"]] == ["uncertain"]
            assert_adds_up(unsure.json())
        again = plain_replay(port, user, archive_dir, "--resend-uncertain")
        assert (again.code, again.json()["delivered"]) == (0, 1), again
        assert [one.octets for one in at_target(server, user)] == [b"X-Scanned: yes\r\n" + message, message]
