"""`mailmove replay` into a server that merges by Message-ID as Gmail does: nothing is lost without a word.

Strategy: the scripted server, which answers OK whatever it keeps; what is at it is compared with what the report says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.imap_peer import ALL_MAIL, ImapPeer, ImapQuirks, Interruption, Then
from tests.support import archives
from tests.support.replaying import assert_adds_up, fill, plain_replay

MERGED = "merged-by-message-id"


def letter(number: int, message_id: str = "", lines: int = 1) -> bytes:
    field = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return f"{field}Subject: {number}\r\n\r\n".encode() + b"text\r\n" * lines


def many() -> list[bytes]:
    """Small and large ones (LITERAL- takes 4,096 octets), most with a Message-ID of their own."""
    return [letter(n, f"{n}@gmail.example" if n % 7 else "", 1 + (n * 37) % 1500) for n in range(60)]


def named(report: dict[str, list[dict[str, str]]]) -> set[str]:
    return {item["digest"] for item in report["exceptions"] if item["reason"].startswith(MERGED)}


def test_versions_and_what_all_mail_has_are_named_and_all_else_is_there(archive_dir: Path) -> None:
    versions = [letter(n, "versions", lines=n) for n in (1, 2, 3)]
    swallowed, same = letter(4, "swallowed", lines=4), letter(5, "same")
    messages = [*many(), *versions, swallowed, same]
    fill(archive_dir, messages)
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        peer.account.add(ALL_MAIL, letter(98, "swallowed"), same)
        first = plain_replay(peer.port, "me", archive_dir, "--no-skip-present")
        again = plain_replay(peer.port, "me", archive_dir)
        stored = peer.account["INBOX"].stored
    lost = [*versions[1:], swallowed]
    assert sorted(stored) == sorted(octets for octets in messages if octets not in lost)
    for result, delivered in ((first, len(messages) - 3), (again, 0)):
        report = result.json()
        assert result.code == 0 and (report["skipped"], report["delivered"]) == (3, delivered), result
        assert_adds_up(report)
        assert named(report) == set(map(archives.digest, lost))


def test_an_ok_for_what_is_not_there_is_no_delivery(archive_dir: Path) -> None:
    """A Message-ID that cannot be searched for: only the size of what is there tells."""
    mine, others = letter(1, "b\u00fcro", lines=9), [letter(2, "a"), letter(3)]
    fill(archive_dir, [mine, *others])
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        peer.account.add(ALL_MAIL, letter(98, "b\u00fcro"))
        result = plain_replay(peer.port, "me", archive_dir, "--no-skip-present")
    report = result.json()
    assert result.code == 0 and (report["delivered"], report["skipped"]) == (2, 1), result
    assert named(report) == {archives.digest(mine)}
    receipts = [record["digest"] for record in archives.records(archive_dir) if record["t"] == "deliver"]
    assert sorted(receipts) == sorted(map(archives.digest, others))


@pytest.mark.parametrize(("literal", "then"), [(1, Then.RESET), (17, Then.CLOSE), (60, Then.RESET)])
def test_a_connection_that_breaks_loses_nothing_and_names_the_same(archive_dir: Path, literal: int, then: Then) -> None:
    version = letter(99, "1@gmail.example", lines=3)
    messages = [*many(), version]
    fill(archive_dir, messages)
    with ImapPeer(ImapQuirks(gmail=True, interruption=Interruption(10, b"", then, literal))) as peer:
        result = plain_replay(peer.port, "me", archive_dir)
        stored = peer.account["INBOX"].stored
    report = result.json()
    assert (result.code, report["skipped"], report["delivered"]) == (0, 1, len(messages) - 1), result
    assert sorted(stored) == sorted(many()) and named(report) == {archives.digest(version)}


def test_copies_that_were_asked_for_are_one_there(archive_dir: Path) -> None:
    twin, nameless = letter(1, "twin"), letter(2)
    fill(archive_dir, [twin, nameless, twin, nameless, twin])
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        result = plain_replay(peer.port, "me", archive_dir, "--keep-duplicates")
        assert sorted(peer.account["INBOX"].stored) == sorted([twin, nameless, nameless])
    report = result.json()
    assert (result.code, report["selected"], report["delivered"], report["skipped"]) == (0, 5, 3, 2), result
    assert named(report) == {archives.digest(twin)}


def test_versions_that_belong_in_two_mailboxes_are_one_there(archive_dir: Path) -> None:
    """Of the same size, so that only the archive knows that they are two; the one that comes first is sent second."""
    received = "Received: from a by b; Sat, 01 Feb {} 04:05:06 +0000\r\n"
    late, early = (received.format(year).encode() + letter(year, "same") for year in (2004, 2003))
    alone = received.format(2005).encode() + letter(5, "alone")
    fill(archive_dir, [late, early, alone])
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        result = plain_replay(peer.port, "me", archive_dir, "--mailbox", "Archive/{year}")
        again = plain_replay(peer.port, "me", archive_dir, "--mailbox", "Archive/{year}")
        stored = peer.account[ALL_MAIL].stored
    report = result.json()
    assert (result.code, report["delivered"], report["skipped"], report["pending"]) == (0, 2, 1, 0), result
    assert_adds_up(report)
    lost = {archives.digest(early), archives.digest(late)} - set(map(archives.digest, stored))
    assert len(stored) == 2 and named(report) == lost == named(again.json()) and again.code == 0


def test_a_daily_limit_ends_a_run_with_all_that_was_sent_proven(archive_dir: Path) -> None:
    messages = [letter(n, f"{n}@x", 100) for n in range(20)]
    fill(archive_dir, messages)
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        result = plain_replay(peer.port, "me", archive_dir, "--daily-limit", str(len(messages[0]) * 10))
        stored = peer.account["INBOX"].stored
    receipts = [record["digest"] for record in archives.records(archive_dir) if record["t"] == "deliver"]
    assert result.code == 75 and sorted(receipts) == sorted(map(archives.digest, stored)) and stored, result
