"""Reading messages back: the exact octets, or no whole message at all (P1).

Strategy: files of sizes around the length of a piece are altered in every way a disk or a person might: one octet
anywhere, shorter, longer, gone, unreadable, or altered between two pieces. Whoever passes the pieces on must never have
passed on a whole message that is not the archived one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailmove.archive.layout import Layout
from mailmove.archive.reading import PIECE, is_sound, pieces, read_message
from mailmove.errors import ArchiveDamaged
from mailmove.model import Digest
from tests.support.replaying import fill

SIZES = [1, 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7]


def octets_of(size: int) -> bytes:
    return hashlib.shake_256(b"%d" % size).digest(size)


def archived(root: Path, octets: bytes) -> tuple[Layout, Digest, Path]:
    """An archive with one message, and where its file is."""
    layout, digest = Layout(root, root), Digest(hashlib.sha256(octets).hexdigest())
    fill(root, [octets])
    path = layout.message(digest)
    path.chmod(0o644)
    return layout, digest, path


def passed_on(layout: Layout, digest: Digest) -> bytes:
    """What came out until it was said that the message is damaged."""
    taken = bytearray()
    with pytest.raises(ArchiveDamaged) as caught:
        for piece in pieces(layout, digest):
            taken += piece
    assert str(layout.message(digest)) in caught.value.message and "verify" in caught.value.message
    return bytes(taken)


@pytest.mark.parametrize("size", [0, *SIZES])
def test_the_octets_come_back(archive_dir: Path, size: int) -> None:
    layout, digest, _ = archived(archive_dir, octets_of(size))
    assert b"".join(pieces(layout, digest)) == read_message(layout, digest) == octets_of(size)
    assert all(pieces(layout, digest)) and is_sound(layout, digest)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
def test_one_altered_octet(archive_dir: Path, size: int, where: float) -> None:
    layout, digest, path = archived(archive_dir, octets_of(size))
    flip(path, round(where * (size - 1)))
    assert len(passed_on(layout, digest)) < size
    assert not is_sound(layout, digest)


def flip(path: Path, place: int) -> None:
    octets = bytearray(path.read_bytes())
    octets[place] ^= 1
    path.write_bytes(octets)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("harm", [lambda o: o[:-1], lambda o: b"", lambda o: o[: len(o) // 2]])
def test_a_file_that_is_shorter(archive_dir: Path, size: int, harm: Callable[[bytes], bytes]) -> None:
    layout, digest, path = archived(archive_dir, octets_of(size))
    path.write_bytes(harm(octets_of(size)))
    assert len(passed_on(layout, digest)) < size
    assert not is_sound(layout, digest)


@pytest.mark.parametrize("size", [0, *SIZES])
def test_a_file_that_is_longer_never_ends_well(archive_dir: Path, size: int) -> None:
    layout, digest, path = archived(archive_dir, octets_of(size))
    path.write_bytes(octets_of(size) + b"\r\n")
    assert octets_of(size).startswith(passed_on(layout, digest)[:size])
    assert not is_sound(layout, digest)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: (path.unlink(), path.mkdir())], ids=["missing", "folder"])
def test_a_file_that_cannot_be_read(archive_dir: Path, harm: Callable[[Path], object]) -> None:
    layout, digest, path = archived(archive_dir, b"x")
    harm(path)
    assert passed_on(layout, digest) == b""
    assert not is_sound(layout, digest)
    with pytest.raises(ArchiveDamaged):
        read_message(layout, digest)


def test_a_file_that_is_altered_while_it_is_being_read(archive_dir: Path) -> None:
    octets = octets_of(3 * PIECE)
    layout, digest, path = archived(archive_dir, octets)
    reading = pieces(layout, digest)
    taken = next(reading)
    flip(path, len(octets) - 1)
    with pytest.raises(ArchiveDamaged):
        taken += b"".join(reading)
    assert octets.startswith(taken) and len(taken) < len(octets)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(min_size=1, max_size=50), st.binary(max_size=50))
def test_nothing_else_ever_comes_out_under_a_name(tmp_path: Path, octets: bytes, other: bytes) -> None:
    layout, digest = Layout(tmp_path, tmp_path), Digest(hashlib.sha256(octets).hexdigest())
    path = layout.message(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(other)
    if other == octets:
        assert read_message(layout, digest) == octets
    else:
        assert passed_on(layout, digest) == b""
