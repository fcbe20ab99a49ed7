"""What a replay says before it begins: warnings where there are any, and it goes on; else nothing."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.imap_peer import ImapPeer, ImapQuirks
from tests.support import archives
from tests.support.replaying import fill, plain_replay

LARGE, SMALL = b"Subject: large\r\n\r\n" + b"x" * 3_000 + b"\r\n", b"Subject: small\r\n\r\nx\r\n"
LIMITED = "IMAP4rev1 UIDPLUS QUOTA APPENDLIMIT=2000"


def test_what_is_too_large_is_told_first_and_parked_and_the_rest_is_delivered(archive_dir: Path) -> None:
    fill(archive_dir, [LARGE, SMALL])
    with ImapPeer(ImapQuirks(capabilities=LIMITED)) as peer:
        result = plain_replay(peer.port, "me", archive_dir)
        assert peer.account["INBOX"].stored == [SMALL]
    assert (result.code, result.json()["parked"], result.json()["delivered"]) == (3, 1, 1), result
    assert "1 message is larger than the 2,000 bytes that 'INBOX' takes" in result.stderr
    assert result.json()["exceptions"][0]["digest"] == archives.digest(LARGE)


def test_too_little_room_is_told_first_and_does_not_stop_anything(archive_dir: Path) -> None:
    fill(archive_dir, [LARGE, SMALL])
    with ImapPeer(ImapQuirks(capabilities="IMAP4rev1 QUOTA", quota=(999, 1_001))) as peer:
        result = plain_replay(peer.port, "me", archive_dir)
        assert peer.account["INBOX"].stored == [LARGE, SMALL]
    assert result.code == 0 and "The quota of 'INBOX' leaves 2,048 bytes" in result.stderr, result


def test_nothing_is_asked_or_said_where_there_is_nothing_to_send(archive_dir: Path) -> None:
    fill(archive_dir, [SMALL])
    with ImapPeer(ImapQuirks(capabilities="IMAP4rev1 UIDPLUS QUOTA", quota=(0, 1_000))) as peer:
        first = plain_replay(peer.port, "me", archive_dir)
        again = plain_replay(peer.port, "me", archive_dir)
    assert (first.code, again.code) == (0, 0) and "WARNING" not in first.stderr and "quota" not in first.stderr
    asked = ["GETQUOTAROOT" in {command.split()[1] for command in session} for session in peer.sessions]
    assert asked == [True, False]


def test_a_server_that_does_not_know_its_own_quota_command_stops_nothing(archive_dir: Path) -> None:
    fill(archive_dir, [SMALL])
    replies = {"GETQUOTAROOT": b"{tag} BAD what\r\n"}
    with ImapPeer(ImapQuirks(capabilities="IMAP4rev1 QUOTA", replies=replies)) as peer:
        result = plain_replay(peer.port, "me", archive_dir)
        assert peer.account["INBOX"].stored == [SMALL]
    assert (result.code, result.json()["delivered"], result.json()["sessions"]) == (0, 1, 2), result
