"""The pre-flight of a replay: what it tells beforehand, and that it changes nothing, as seen on the wire.

Strategy: a real Dovecot with quota behind a proxy that keeps every command; where Dovecot has no such thing
(APPENDLIMIT, Gmail), the scripted server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.imap_peer import ALL_MAIL, ImapPeer, ImapQuirks
from tests.servers.dovecot import Dovecot
from tests.support import archives
from tests.support.cli import Result, mailmove
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy
from tests.support.replaying import fill, plain_replay, words
from tests.support.replaying import url as target_url

READS = {"CAPABILITY", "LOGIN", "NAMESPACE", "LIST", "STATUS", "EXAMINE", "GETQUOTAROOT", "NOOP", "LOGOUT"}
"""All that a dry run may say; SELECT is none of these, since it takes \\Recent off messages."""

QUOTA = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=100K
}
"""


@pytest.fixture(scope="module")
def small_dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False, extra=QUOTA) as server:
        yield server


def letter(number: int, octets: int = 500, message_id: str = "", year: int = 2003) -> bytes:
    head = (
        f"Received: from a by b; Sat, 01 Feb {year} 04:05:06 +0000\r\n"
        f"Message-ID: <{message_id or number}@preflight.example>\r\nSubject: letter {number}\r\n\r\n"
    ).encode()
    return head + b"x" * (octets - len(head) - 2) + b"\r\n"


def said(commands: Sequence[str]) -> set[str]:
    """The verbs, without tags."""
    return {command.split()[1].upper() for command in commands if len(command.split()) > 1}


def dry_run(port: int, user: str, archive: Path, *more: object) -> Any:
    result = plain_replay(port, user, archive, "--dry-run", *more)
    assert result.code == 0, result
    report = result.json()
    assert report["dry_run"] is True
    return report


def shown(port: int, user: str, archive: Path, *more: object) -> str:
    """What a person reads."""
    args = [word for word in words(target_url(port, user), archive, "--allow-plaintext", *more) if word != "--json"]
    result: Result = mailmove(*args, "--dry-run")
    assert result.code == 0, result
    return result.stdout


# ---- nothing is changed


@pytest.mark.parametrize("mailbox", ["INBOX", "There", "Not there yet", "Archive/{year}"])
def test_a_dry_run_says_nothing_that_writes(small_dovecot: Dovecot, user: str, archive_dir: Path, mailbox: str) -> None:
    fill(archive_dir, [letter(n, year=2000 + n) for n in range(1, 4)])
    port = small_dovecot.ports["imap"]
    with Referee(port, user) as referee:
        referee.create("There")
        referee.add("INBOX", letter(99))
        before = referee.mailboxes(), referee.subscribed(), referee.stored("INBOX")
    log = archives.records(archive_dir)
    with Proxy(port) as proxy:
        report = dry_run(proxy.port, user, archive_dir, "--mailbox", mailbox)
        proxy.wait()
        (session,) = proxy.sessions
        commands = session.commands
    assert report["pending"] == 3
    assert said(commands) <= READS and {"STATUS", "EXAMINE", "GETQUOTAROOT"} <= said(commands)
    with Referee(port, user) as referee:
        assert (referee.mailboxes(), referee.subscribed(), referee.stored("INBOX")) == before
    assert archives.records(archive_dir) == log


def test_a_replay_does_write_and_that_is_seen(small_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    """So that the test above can fail."""
    fill(archive_dir, [letter(1)])
    with Proxy(small_dovecot.ports["imap"]) as proxy:
        assert plain_replay(proxy.port, user, archive_dir, "--mailbox", "New").code == 0
        proxy.wait()
        assert {"SELECT", "CREATE", "SUBSCRIBE", "APPEND"} <= said(proxy.sessions[0].commands)


# ---- mailboxes


def test_what_is_missing_and_what_goes_where(small_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(n, octets=400, year=2000 + n // 2) for n in range(6)])
    port = small_dovecot.ports["imap"]
    with Referee(port, user) as referee:
        referee.create("Archive")
        referee.create("Archive.2001")
        referee.add("Archive.2001", letter(99))
    looks = dry_run(port, user, archive_dir, "--mailbox", "Archive/{year}")["preflight"]["mailboxes"]
    assert [(one["mailbox"], one["exists"], one["messages"], one["to_send"]) for one in looks] == [
        (f"Archive.{year}", year == 2001, int(year == 2001), {"messages": 2, "bytes": 800})
        for year in (2000, 2001, 2002)
    ]
    text = shown(port, user, archive_dir, "--mailbox", "Archive/{year}")
    assert "Archive.2000: missing, will be created; 2 to send" in text
    assert "Archive.2001: 1 there; 2 to send" in text


# ---- room


def test_too_little_room_is_told_with_both_figures(small_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = [letter(n, octets=30_000) for n in range(5)]
    fill(archive_dir, messages)
    port = small_dovecot.ports["imap"]
    with Referee(port, user) as referee:
        referee.add("INBOX", letter(99, octets=10_240))
    (quota,) = dry_run(port, user, archive_dir)["preflight"]["quotas"]
    left = 100 * 1024 - 10_240
    assert quota == {
        "root": "User quota",
        "used": 10_240,
        "limit": 102_400,
        "left": left,
        "to_send": 150_000,
        "short_of": 150_000 - left,
        "mailboxes": ["INBOX"],
    }
    text = shown(port, user, archive_dir)
    assert f"WARNING: The quota of 'INBOX' leaves {left:,} bytes" in text and "150,000 are to be sent" in text
    assert "WARNING" not in shown(port, user, archive_dir, "--limit", "3")


def test_room_for_a_mailbox_that_is_missing(small_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(1, octets=200_000)])
    text = shown(small_dovecot.ports["imap"], user, archive_dir, "--mailbox", "Nowhere yet")
    assert "does not exist yet" in text and "WARNING: The quota of 'Nowhere yet' leaves 102,400 bytes" in text


# ---- sizes


def test_messages_the_target_would_not_take_are_named(archive_dir: Path) -> None:
    large, small = letter(1, octets=3_000), letter(2, octets=2_000)
    fill(archive_dir, [large, small])
    with ImapPeer(ImapQuirks(capabilities="IMAP4rev1 UIDPLUS APPENDLIMIT=2000")) as peer:
        report = dry_run(peer.port, "me", archive_dir)
        text = shown(peer.port, "me", archive_dir)
        assert said(peer.commands) <= READS
    (look,) = report["preflight"]["mailboxes"]
    assert look["append_limit"] == 2_000
    assert look["oversize"] == [{"digest": archives.digest(large), "octets": 3_000, "subject": "letter 1"}]
    assert look["to_send"] == {"messages": 1, "bytes": 2_000}
    assert "WARNING: 1 message is larger than the 2,000 bytes" in text
    assert f"too large: {archives.digest(large)[:16]} 3.0 KB 'letter 1'" in text
    assert "The server offers UIDPLUS." in text


# ---- time


def test_a_time_is_the_least_it_can_be_or_that_of_an_earlier_run(
    small_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    port = small_dovecot.ports["imap"]
    fill(archive_dir, [letter(n) for n in range(30)])
    first = dry_run(port, user, archive_dir)["preflight"]
    assert first["estimate"] == "at least, for round trips" and first["round_trip"] > 0
    assert "How long it takes: less than 1 s for round trips of" in shown(port, user, archive_dir)
    assert "at least 9 days, by --daily-limit" in shown(port, user, archive_dir, "--daily-limit", "1500")
    assert plain_replay(port, user, archive_dir).code == 0
    fill(archive_dir, [letter(n) for n in range(30, 40)], maildrop="other@old.example")
    again = dry_run(port, user, archive_dir, "--all-maildrops")["preflight"]
    assert again["estimate"] == "as an earlier run" and again["estimated_seconds"] > 0
    assert "if it goes as an earlier replay there" in shown(port, user, archive_dir, "--all-maildrops")


# ---- Gmail


def test_what_gmail_would_merge_is_named_beforehand(archive_dir: Path) -> None:
    first, version, other = letter(1, message_id="same"), letter(2, message_id="same"), letter(3)
    fill(archive_dir, [first, version, other])
    with ImapPeer(ImapQuirks(gmail=True, quota=(0, 15 * 1024 * 1024))) as peer:
        report = dry_run(peer.port, "me", archive_dir)
        assert said(peer.commands) <= READS
        assert peer.account[ALL_MAIL].stored == []
        text = shown(peer.port, "me", archive_dir)
    assert (report["pending"], report["skipped"]) == (2, 1)
    (named,) = report["exceptions"]
    assert named["digest"] == archives.digest(version) and named["kind"] == "skipped"
    assert named["reason"].startswith("merged-by-message-id") and archives.digest(first) in named["reason"]
    assert "The server offers LITERAL-, UIDPLUS, Gmail's extensions." in text and "merged-by-message-id" in text
    assert "The largest message it takes: 35.7 MB." in text and "Room left: 16.1 GB" in text
