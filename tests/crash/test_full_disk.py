"""A disk that fills up: exit 75 with one sentence, and one more run with room again gives exactly the maildrop.

Strategy: the archive lies on a tmpfs of its own. The proxy holds the server's octets back while the disk is shrunk to
what is on it and a little more, so how much fits from a known octet on is exact, and a sample of those amounts makes
the disk run full in the drafts, between the renames, in the log and in SQLite alike. Running out of inodes is another
way to be full, and counted the same. The free-space check before a pull is held against servers with honest sizes.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.hostile.peer import Letter, Peer
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, Result, mailmove
from tests.support.client import HOST
from tests.support.proxy import Proxy

COMPLETE, PARTIAL, TRY_AGAIN = 0, 3, 75
ROOMY = 256 << 20
SMALL = 2 << 20
MARGIN = 64 << 20  # what a pull wants to be free beside its messages
LINE = b"y" * 76 + b"\r\n"
PAGE = os.sysconf("SC_PAGE_SIZE")
GROUP = 4
FILLS, FILLS_IF_FULL, MOST_PAGES, MOST_INODES, TRIES = 6, 60, 160, 160, 1000
LETTERS = [Letter(f"uid-{n}", body.rstrip() + b"\r\n") for n, body in enumerate(mails.varied(60, seed=5))]
TERMS = ("stored", "already_archived", "duplicate_content", "skipped", "gone", "parked", "pending")
EXPECTED = {letter.unique_id: letter.body for letter in LETTERS}
OCTETS = sum(len(letter.body) for letter in LETTERS)


class SmallDisk:
    """A tmpfs whose size can be changed while it is in use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.archive = root / "mail.mailmove"

    def mount(self, *how: str) -> str:
        """What mount has to complain about, or ""."""
        done = subprocess.run(["mount", *how, str(self.root)], capture_output=True, text=True)
        return done.stderr.strip() if done.returncode else ""

    def resize(self, octets: int = ROOMY) -> None:
        said = self.mount("-o", f"remount,size={octets},nr_inodes=1000000")
        assert not said, said

    def leave(self, octets: int) -> None:
        """So many octets are free from now on. Again, where somebody who still writes made the size too small."""
        assert any(not self.mount("-o", f"remount,size={self.used + octets}") for _ in range(TRIES))

    def leave_inodes(self, number: int) -> None:
        assert any(not self.mount("-o", f"remount,nr_inodes={self.used_inodes + number}") for _ in range(TRIES))

    @property
    def used(self) -> int:
        stat = os.statvfs(self.root)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    @property
    def used_inodes(self) -> int:
        stat = os.statvfs(self.root)
        return stat.f_files - stat.f_ffree


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if not Path("/proc/mounts").exists() or os.getuid() != 0:
        unavailable("only root on Linux can mount a small tmpfs")
    found = SmallDisk(tmp_path / "disk")
    found.root.mkdir()
    if said := found.mount("-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs"):
        unavailable(f"no tmpfs can be mounted here: {said}")
    try:
        yield found
    finally:
        subprocess.run(["umount", str(found.root)], check=True)


def pull(port: int, archive: Path, *more: object) -> Result:
    words = ("pull", f"pop3://me@{HOST}:{port}", "-a", archive, "--maildrop", "M", "--allow-plaintext", "--json", "-q")
    return mailmove(*words, "--group-messages", GROUP, *PASSWORD_FROM_ENV, *more)


def assert_full(result: Result) -> None:
    """One sentence that names the full disk and what to do, no traceback, one JSON document that says failed."""
    assert result.code == TRY_AGAIN, result
    (sentence,) = result.stderr.splitlines()
    assert "full" in sentence and "free some space and run again" in sentence, result
    document = result.json()
    assert document["outcome"] == "failed" and document["error"]["message"] in sentence, result
    assert document.get("listed", 0) == sum(document.get(term, 0) for term in TERMS), result


def assert_not_begun(result: Result) -> None:
    assert (result.code, len(result.stderr.splitlines())) == (TRY_AGAIN, 1), result
    assert "octets of free space" in result.stderr and "free some" in result.stderr, result
    assert result.json()["outcome"] == "failed", result


def assert_nothing_false(archive: Path, result: Result) -> None:
    """Whatever is under a final name is whole, what was reported as stored is there, and `verify` is content."""
    stored = archives.files(archive)
    assert {name for name, octets in stored.items() if archives.digest(octets) != name} == set()
    logged = {digest for _, digest in archives.places(archive)}
    assert result.json().get("stored", 0) <= len(logged) and logged <= set(stored)
    verified = mailmove("verify", "-a", archive, "--json")
    assert verified.code == COMPLETE, verified


def assert_resumes(disk: SmallDisk, port: int, expected: dict[str, bytes] = EXPECTED) -> None:
    disk.resize()
    again = pull(port, disk.archive)
    assert again.code == COMPLETE, again
    archives.assert_exactly(disk.archive, expected)


# ---- Full in the middle


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(LETTERS) as server:
        yield server


def fill(disk: SmallDisk, peer: Peer, rng: random.Random, *, inodes: bool) -> bool:
    """One pull on a disk that shrinks under it, and one more with room. Whether the first one ran into the end."""
    with Proxy(peer.port) as proxy:
        room = rng.randrange(MOST_INODES) if inodes else rng.randrange(MOST_PAGES) * PAGE
        shrink = disk.leave_inodes if inodes else disk.leave
        proxy.at(rng.randrange(OCTETS // 10, OCTETS), lambda session: shrink(room))
        result = pull(proxy.port, disk.archive)
        if result.code != COMPLETE:
            assert_full(result)
        disk.resize()
        assert_nothing_false(disk.archive, result)
        assert_resumes(disk, proxy.port)
    return result.code != COMPLETE


@pytest.mark.parametrize("inodes", [False, True], ids=["octets", "inodes"])
def test_full_in_the_middle(inodes: bool, disk: SmallDisk, peer: Peer, seed: int, full: bool) -> None:
    hits = 0
    fills = FILLS_IF_FULL if full else FILLS
    for number in range(fills):
        disk.archive = disk.root / f"{number}.mailmove"
        hits += fill(disk, peer, random.Random(f"full {seed} {inodes} {number}"), inodes=inodes)
    assert hits >= fills / 4, f"only {hits} of {fills} disks ran full"


def test_a_disk_of_2_mb_is_full_after_the_first_messages(disk: SmallDisk) -> None:
    """It was larger when the pull began, so the check before it passed. What fits is stored, the rest comes later."""
    letters = [Letter(f"uid-{n}", b"Subject: %d\r\n\r\n" % n + LINE * 1300) for n in range(40)]
    with Peer(letters) as peer, Proxy(peer.port) as proxy:
        proxy.at(len(letters[0].body), lambda session: disk.resize(SMALL))
        result = pull(proxy.port, disk.archive)
        assert_full(result)
        assert 0 < result.json()["stored"] < SMALL / len(letters[0].body), result
        assert_nothing_false(disk.archive, result)
        again = pull(proxy.port, disk.archive)  # not begun, or there is not even room for the record that it began
        assert (again.code, len(again.stderr.splitlines())) == (TRY_AGAIN, 1) and "free some" in again.stderr, again
        assert again.json()["outcome"] == "failed" and not again.json().get("stored"), again
        assert_resumes(disk, proxy.port, {letter.unique_id: letter.body for letter in letters})


# ---- Full before it begins


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_nothing_is_begun_on_a_disk_of_2_mb(there: bool, disk: SmallDisk, peer: Peer) -> None:
    """An archive of little mail fits on it, and is of use there, but no pull is begun that might not fit."""
    if there:
        assert pull(peer.port, disk.archive, "--limit", 3).code == COMPLETE
    disk.resize(SMALL)
    result = pull(peer.port, disk.archive)
    assert_not_begun(result)
    assert result.json()["pending"] == len(LETTERS) - 3 * there, result
    assert_nothing_false(disk.archive, result)
    assert_resumes(disk, peer.port)


def test_what_will_not_fit_is_not_begun(disk: SmallDisk, peer: Peer) -> None:
    """An honest listing that needs more than is free: both figures are named, and nothing is asked for."""
    disk.resize(MARGIN)
    result = pull(peer.port, disk.archive)
    assert result.code == TRY_AGAIN, result
    (sentence,) = result.stderr.splitlines()
    needs, has = (int(word.strip(",;").replace(",", "")) for word in sentence.split() if word[0].isdigit())
    assert MARGIN + OCTETS <= needs <= MARGIN + 2 * OCTETS and MARGIN // 2 < has < MARGIN, result
    assert (result.json()["outcome"], result.json()["pending"]) == ("failed", len(LETTERS)), result
    assert "RETR" not in [verb for session in peer.sessions for verb in session.verbs]
    assert_resumes(disk, peer.port)


def test_a_listing_of_known_messages_needs_no_space(disk: SmallDisk, peer: Peer) -> None:
    assert pull(peer.port, disk.archive).code == COMPLETE
    disk.leave(1 << 20)
    again = pull(peer.port, disk.archive)
    assert (again.code, again.json()["already_archived"]) == (COMPLETE, len(LETTERS)), again
    archives.assert_exactly(disk.archive, EXPECTED)


def look(command: str, archive: Path) -> Result:
    more = ("uid-1", "--reason", "because") if command == "skip" else ()
    return mailmove(command, *more, "-a", archive, "--json")


@pytest.mark.parametrize("command", ["pull", "verify", "status", "skip"])
def test_not_an_octet_left(command: str, disk: SmallDisk, peer: Peer) -> None:
    """Each command does its work or says that the disk is full; afterwards all is as it was."""
    assert pull(peer.port, disk.archive).code == COMPLETE
    disk.leave(0)
    result = pull(peer.port, disk.archive) if command == "pull" else look(command, disk.archive)
    if result.code != COMPLETE:
        assert_full(result)
    assert_resumes(disk, peer.port)
    assert mailmove("verify", "-a", disk.archive).code == COMPLETE


@pytest.mark.parametrize("pages", [1, 2, 5, 10, 20, 40])
def test_no_room_for_an_archive(pages: int, disk: SmallDisk, peer: Peer) -> None:
    """Its creation is cut short at one step or another, or it is there and the pull will not fit."""
    disk.leave(pages * PAGE)
    result = pull(peer.port, disk.archive)
    assert (result.code, len(result.stderr.splitlines())) == (TRY_AGAIN, 1), result
    assert "free some" in result.stderr and result.json()["outcome"] == "failed", result
    assert "RETR" not in [verb for session in peer.sessions for verb in session.verbs]
    assert_resumes(disk, peer.port)


def test_a_server_that_lists_too_little_fills_the_disk(disk: SmallDisk) -> None:
    """The check before the pull passes, and the disk is full in the middle of one message: it is in tmp/ only."""
    disk.resize(MARGIN + (4 << 20))
    small, huge = (
        Letter("small", LETTERS[0].body),
        Letter("huge", b"Subject: x\r\n\r\n" + LINE * 1_000_000, listed=1000),
    )
    with Peer([small, huge]) as peer:
        result = pull(peer.port, disk.archive, "--group-messages", 1)
        assert_full(result)
        assert (result.json()["stored"], result.json()["pending"]) == (1, 1), result
        assert list(archives.files(disk.archive)) == [archives.digest(small.body)]
        disk.resize()
        assert_nothing_false(disk.archive, result)
        assert pull(peer.port, disk.archive).code == PARTIAL, (
            "there now, and suspect, as its size is not the one listed"
        )
    archives.assert_consistent(disk.archive)
    assert archives.files(disk.archive)[archives.digest(huge.body)] == huge.body
