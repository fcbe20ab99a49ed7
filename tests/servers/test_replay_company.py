"""A mailbox that is not ours alone: others put mail into it, or make it anew, while a replay is under way or cut off.

Strategy: what others do comes at chosen octets of the replay, by a client of its own; afterwards their mail must be
exactly as they left it, and ours there once. A kill in the middle makes the second run look at all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import mails
from tests.support.cli import finish, kill, start_mailmove
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, Session, reset
from tests.support.replaying import assert_adds_up, assert_delivered_once, at_target, fill, plain_replay, url, words

OURS = [b"Message-ID: <%d@ours.example>\r\nSubject: ours\r\n\r\n" % n + b"x" * 3_000 + b"\r\n" for n in range(150)]
MIDDLE = 200_000


@pytest.fixture(scope="module")
def server(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False) as server:
        yield server


def theirs(number: int) -> bytes:
    """Much like ours: the same subject, the same size, sometimes the same Message-ID."""
    name = b"<%d@%s.example>" % (number, b"ours" if number % 3 == 0 else b"them")
    return b"Message-ID: %s\r\nSubject: ours\r\n\r\n" % name + b"y" * 3_000 + b"\r\n"


class Company:
    """Others at work in the same mailbox."""

    def __init__(self, server: Dovecot, user: str) -> None:
        self.port, self.user, self.added = server.ports["imap"], user, 0

    def come(self, session: Session) -> None:
        with Referee(self.port, self.user) as referee:
            for _ in range(4):
                referee.add("INBOX", theirs(self.added))
                self.added += 1

    @property
    def mail(self) -> list[bytes]:
        return [theirs(number) for number in range(self.added)]


def test_mail_that_comes_in_meanwhile_is_left_alone(server: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, OURS)
    company = Company(server, user)
    with Proxy(server.ports["imap"]) as proxy:
        for where in (5_000, 60_000, 150_000, 300_000):
            proxy.at_up(where, company.come)
        result = plain_replay(proxy.port, user, archive_dir)
    assert (result.code, result.json()["delivered"], result.json()["already_there"]) == (0, 150, 0), result
    assert company.added == 16
    assert_delivered_once(at_target(server, user), [*OURS, *company.mail])
    again = plain_replay(server.ports["imap"], user, archive_dir)
    assert (again.code, again.json()["delivered"], again.json()["extra_at_target"]) == (0, 0, 0), again


def test_mail_that_comes_in_before_and_after_a_kill_is_not_claimed(
    server: Dovecot, user: str, archive_dir: Path
) -> None:
    """Those with a Message-ID of ours make what is under way uncertain at most, never delivered."""
    fill(archive_dir, OURS)
    company = Company(server, user)
    with Proxy(server.ports["imap"]) as proxy:
        process = start_mailmove(*words(url(proxy.port, user), archive_dir, "--allow-plaintext"))
        proxy.at_up(MIDDLE, lambda session: [kill(process), company.come(session), reset(session)])  # type: ignore[func-returns-value]
        finish(process)
    before = {one.uid: one for one in at_target(server, user) if one.octets in company.mail}
    result = plain_replay(server.ports["imap"], user, archive_dir, "--resend-uncertain")
    result = plain_replay(server.ports["imap"], user, archive_dir, "--resend-uncertain")
    assert result.code == 0, result
    assert_adds_up(result.json())
    stored = at_target(server, user)
    assert_delivered_once(stored, [*OURS, *company.mail])
    assert {one.uid: one for one in stored if one.octets in company.mail} == before, "not touched"


def test_a_mailbox_made_anew_after_a_kill_gets_what_was_under_way(
    server: Dovecot, user: str, archive_dir: Path
) -> None:
    """What was delivered before is told of as missing; what nobody knows of is looked for in the new mailbox."""
    messages = mails.varied(40, seed=611)
    fill(archive_dir, messages)
    port, more = server.ports["imap"], ("--mailbox", "Old", "--window", 8)
    assert plain_replay(port, user, archive_dir, *more, "--limit", 15).json()["delivered"] == 15
    with Proxy(port) as proxy:
        process = start_mailmove(*words(url(proxy.port, user), archive_dir, "--allow-plaintext", *more))
        proxy.at_up(sum(map(len, messages[15:])) // 2, lambda session: [kill(process), reset(session)])  # type: ignore[func-returns-value]
        finish(process)
    with Referee(port, user) as referee:
        referee.delete("Old")
        referee.create("Old")
    first = plain_replay(port, user, archive_dir, *more)
    assert first.code == 3, first
    assert_adds_up(first.json())
    assert first.json()["missing"] == 15, first
    last = plain_replay(port, user, archive_dir, *more, "--redeliver-missing")
    assert last.code == 0, last
    assert_delivered_once(at_target(server, user, "Old"), set(messages))
