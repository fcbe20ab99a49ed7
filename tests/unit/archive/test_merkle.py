"""The tree over the log: RFC 6962's, kept by its edge; a checkpoint of it catches whoever rewrites the past."""

from __future__ import annotations

import base64
import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive import Archive, Reader
from mailmove.archive.checkpoint import Checkpoint
from mailmove.archive.merkle import Tree
from tests.unit.archive.making import assert_rebuilds, findings, log_lines, running, some, store

OLD, NEW = some(3, seed=1), some(3, seed=2)


def mth(lines: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if not lines:
        return hashlib.sha256(b"").digest()
    if len(lines) == 1:
        return hashlib.sha256(b"\0" + lines[0]).digest()
    k = 1 << (len(lines) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + mth(lines[:k]) + mth(lines[k:])).digest()


def log(root: Path) -> list[bytes]:
    return [line.removesuffix(b"\n") for line in log_lines(root)]


@given(st.lists(st.binary(max_size=5), max_size=70), st.integers(0, 70))
def test_the_root_is_that_of_the_rfc_however_the_lines_come(lines: list[bytes], cut: int) -> None:
    tree = Tree().extended(lines[:cut]).extended(lines[cut:])
    assert (tree.size, tree.root, tree.is_whole) == (len(lines), mth(lines), True)


@pytest.mark.parametrize(
    ("leaves", "root"),
    [
        ([], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ([""], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (["", "00"], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (["", "00", "10"], "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ],
)
def test_roots_that_others_have_published(leaves: list[str], root: str) -> None:
    """From the test data of certificate-transparency."""
    assert Tree().extended(bytes.fromhex(leaf) for leaf in leaves).root.hex() == root


def test_a_run_leaves_a_checkpoint_of_the_whole_log(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    origin, size, root = (archive_dir / "log" / "checkpoint").read_text().splitlines()
    lines = log(archive_dir)
    assert origin == f"mailmove/{Reader.open(archive_dir).id}" and int(size) == len(lines)
    assert base64.b64decode(root) == mth(lines)
    assert Reader.open(archive_dir).tree().root == mth(lines)


def test_the_edge_in_the_catalogue_is_made_good_for_an_archive_from_before_it(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    with sqlite3.connect(archive_dir / "archive.db") as connection:
        connection.execute("UPDATE position SET edge = x''")
    assert findings(archive_dir) == set()
    store(archive_dir, NEW)
    assert Reader.open(archive_dir).tree().root == mth(log(archive_dir)) and findings(archive_dir) == set()
    assert_rebuilds(archive_dir)


def test_a_checkpoint_that_is_missing_or_altered_is_named(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    path = archive_dir / "log" / "checkpoint"
    sound = path.read_bytes()
    for place in range(len(sound) - 1):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert findings(archive_dir), f"flip in octet {place}"
    path.unlink()
    assert findings(archive_dir) == {("missing", "log/checkpoint")}
    Archive.open(archive_dir).close()
    assert findings(archive_dir) == set()


def test_one_that_a_killed_run_left_behind_is_older_not_wrong(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    store(archive_dir, NEW, end=False)
    assert findings(archive_dir) == set()


def test_every_flipped_bit_of_the_log_is_found(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    path = archive_dir / "log" / "00000001.jsonl"
    sound = path.read_bytes()
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << place % 8]) + sound[place + 1 :])
        assert findings(archive_dir), f"flip in octet {place}"


def test_a_rewritten_past_does_not_extend_an_earlier_checkpoint(archive_dir: Path, tmp_path: Path) -> None:
    """Mail, log and catalogue rewritten together agree with each other; what was kept elsewhere tells."""
    store(archive_dir, OLD)
    kept = tmp_path / "kept"
    shutil.copy(archive_dir / "log" / "checkpoint", kept)
    store(archive_dir, NEW)
    assert findings(archive_dir, since=kept) == set()
    rewritten = tmp_path / "rewritten"
    store(rewritten, OLD[1:])
    store(rewritten, NEW)
    shutil.copy(archive_dir / "FORMAT", rewritten / "FORMAT")
    (rewritten / "log" / "checkpoint").unlink()
    Archive.open(rewritten).close()
    assert findings(rewritten) == set()
    assert findings(rewritten, since=kept) == {("log", "log")}


def test_a_log_that_was_cut_does_not_extend_an_earlier_checkpoint(archive_dir: Path, tmp_path: Path) -> None:
    store(archive_dir, OLD)
    shorter = tmp_path / "shorter"
    shutil.copytree(archive_dir, shorter)
    store(archive_dir, NEW)
    assert findings(shorter, since=archive_dir / "log" / "checkpoint") == {("log", "log")}


def test_what_follows_the_three_lines_is_for_others() -> None:
    checkpoint = Checkpoint.of("0a1b", Tree().extended([b"x"]))
    assert Checkpoint.parse(checkpoint.text().encode() + "\n— somebody c2lnbmF0dXJl\n".encode()) == checkpoint


@pytest.mark.parametrize("text", ["", "mailmove/x\n1\n", "mailmove/x\n-1\nAAAA\n", "other/x\n1\nAAAA\n", "\xff\n\n\n"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Checkpoint.parse(text.encode("latin-1"))


def test_appending_does_not_read_the_log_again(archive_dir: Path) -> None:
    """The log may be gone from memory and far away: the root comes from the edge alone."""
    store(archive_dir, OLD)
    with running(archive_dir) as archive:
        before = archive.catalogue.position
        archive._log.read = None  # type: ignore[assignment, method-assign]
        archive.end_run("complete", {})
        after = archive.catalogue.position
    assert after.tree == before.tree.extended(log(archive_dir)[before.records :])
