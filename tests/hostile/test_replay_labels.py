"""`mailmove replay --label` into a scripted Gmail: nothing counts as delivered there before it has its labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.hostile.imap_peer import ImapPeer, ImapQuirks
from tests.support import archives
from tests.support.replaying import assert_adds_up, fill, plain_replay

LABELS = ("--label", "Old mail", "--label", r"\Starred")
WANTED = {"Old mail", r"\Starred"}


def letters(number: int) -> list[bytes]:
    return [b"Message-ID: <%d@x.example>\r\n\r\n" % n + b"line\r\n" * (900 * (n % 2) + 1) for n in range(number)]


def labels(peer: ImapPeer) -> list[set[str]]:
    return [entry.mail.labels for entry in peer.account["INBOX"].entries]


def test_all_that_is_delivered_is_labelled_and_nothing_else(archive_dir: Path) -> None:
    fill(archive_dir, letters(12))
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        peer.account.add("INBOX", b"Message-ID: <theirs@x.example>\r\n\r\ntheirs\r\n")
        result = plain_replay(peer.port, "me", archive_dir, *LABELS)
        assert (result.code, result.json()["delivered"]) == (0, 12), result
        assert labels(peer) == [set()] + [WANTED] * 12
        before = len(peer.commands)
        assert plain_replay(peer.port, "me", archive_dir, *LABELS).json()["already_there"] == 12
        assert not any(" STORE " in command for command in peer.commands[before:])


def test_what_could_not_be_labelled_is_found_again_labelled_and_not_sent_twice(archive_dir: Path) -> None:
    fill(archive_dir, letters(5))
    honest = ImapQuirks(gmail=True)
    with ImapPeer(replace(honest, replies={"UID STORE": b"{tag} BAD not today\r\n"})) as peer:
        result = plain_replay(peer.port, "me", archive_dir, *LABELS)
        assert (result.code, result.json()["delivered"]) == (75, 0) and "not today" in result.stderr, result
        assert_adds_up(result.json())
        arrived = len(labels(peer))
        assert arrived and set().union(*labels(peer)) == set()
        assert "deliver" not in {record["t"] for record in archives.records(archive_dir)}
        peer.quirks = honest
        result = plain_replay(peer.port, "me", archive_dir, *LABELS)
        assert result.code == 0, result
        assert labels(peer) == [WANTED] * 5 and len(peer.stored) == 5
