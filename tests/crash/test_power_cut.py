"""A power cut after every system call of a pull, on ext4 and btrfs: what is on the disk then, and one more run.

Strategy: power.py gives every state the disk had during a pull, each with what was promised by then. Each is mounted
and looked at before mailmove has mended anything: what was promised is there, whole. Then it is opened, verified and
run once more, and must be what the run left that nobody cut. Controls, in which strace swallows the syncs, show that
one that is missing would be found. All states are looked at; a seeded sample is run once more, all with --full.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailmove.archive import Archive
from mailmove.archive.layout import is_archive
from tests.conftest import unavailable
from tests.crash.power import (
    DIGESTS,
    EXPECTED,
    GROUP,
    GROUPS,
    LETTERS,
    OLD_KERNEL,
    PROMISES,
    STEPS,
    Camera,
    Cut,
    Way,
    archive_on,
    watched,
    words,
)
from tests.hostile.peer import Peer
from tests.support import archives, images
from tests.support.cli import finish, mailmove, start_mailmove
from tests.support.images import CannotMount, Disk, mounted
from tests.unit.archive.making import assert_rebuilds, verify

ON_THE_WAY = GROUP + 1
"""Messages that may come again (P3): one group, and a window; the peer does not announce PIPELINING."""

WAYS = {
    "ext4": Way("ext4"),
    "btrfs": Way("btrfs"),
    "ext4-each-file": Way("ext4", prefix=OLD_KERNEL),
    "btrfs-each-file": Way("btrfs", prefix=OLD_KERNEL),
    "ext4-beside-another": Way("ext4", beside=True),
    "ext4-deleting": Way("ext4", deleting=True),
    "btrfs-deleting": Way("btrfs", deleting=True),
}


@contextlib.contextmanager
def new_disk(kind: str, folder: Path) -> Iterator[Disk]:
    """An empty one, mounted; or the test is skipped."""
    if reason := images.missing(kind):
        unavailable(reason)
    folder.mkdir()
    images.make(folder / "disk.img", kind)
    try:
        with mounted(folder / "disk.img", folder / "disk") as disk:
            yield disk
    except CannotMount as error:
        unavailable(str(error))


@contextlib.contextmanager
def naming(cut: Cut) -> Iterator[None]:
    """So that what goes wrong says where."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"after the power cut {cut}")
        raise


# ---- What must be


def lost(archive: Path, promised: frozenset[str]) -> set[str]:
    """What was promised and is not there: whole, under its name, and in the log."""
    return set(promised) - (whole(archive) & logged(archive))


def whole(archive: Path) -> set[str]:
    return {name for name, octets in archives.files(archive).items() if archives.digest(octets) == name}


def logged(archive: Path) -> set[str]:
    """By complete lines: the last one may be torn."""
    segments = sorted((archive / "log").glob("*.jsonl"))
    lines = [line for path in segments for line in path.read_bytes().splitlines(keepends=True)]
    records = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return {record["digest"] for record in records if record["t"] in ("add", "place")}


SAME = {
    "messages": "digest, octets, message_id, date, subject, sender, recipients, headers_readable, damaged, fingerprint",
    "maildrops": "name, places, octets, suspects, parked, unreliable_sizes, present, deleted, delete_after",
    "places": "digest, maildrop, unique_id, octets, listed, complete, identified_by, internal_date_origin, mailbox, "
    "flags, keywords, counted, settled, present, deleted > 0, "
    "CASE internal_date_origin WHEN 'first-seen' THEN '' ELSE internal_date END",
    "parked": "*",
    "skips": "*",
    "totals": "*",
    "target_mailboxes": "*",
    "deliveries": "*",
}
"""What the catalogue says apart from runs, times and numbers of records."""


def content(archive: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that two archives of the same maildrop have in common, however many runs it took."""
    return {table: sorted(archives.rows(archive, f"SELECT {what} FROM {table}")) for table, what in SAME.items()}


def assert_nothing_is_lost(archive: Path, cut: Cut) -> None:
    """Right after the cut, before mailmove has looked at it."""
    assert set(archives.files(archive)) == whole(archive), "a partial file has its final name"
    assert logged(archive) <= whole(archive), "a record without its file"
    assert not lost(archive, cut.promised)


def open_again(archive: Path) -> None:
    """What a cut left is mended by opening it, and `verify` has nothing to say. There may be no archive yet."""
    if is_archive(archive):
        Archive.open(archive).close()
        assert verify(archive).exit_code == 0


def run_once_more(way: Way, archive: Path, cut: Cut) -> None:
    """Nothing that was promised is received again, and of the rest no more than what was on its way."""
    with Peer(cut.left, way.quirks) as peer:
        result = mailmove(*words(peer.port, archive, *way.options))
        again = cut.received & set(peer.maildrop.retrievals)
        left = peer.maildrop.listing(())
    assert result.code == 0, result
    assert not {DIGESTS[unique_id] for unique_id in again} & cut.promised, result
    assert way.deleting or len(again) <= ON_THE_WAY, again
    assert len(left) == (0 if way.deleting else len(LETTERS)), result


def assert_survived(way: Way, archive: Path, cut: Cut, expected: dict[str, list[tuple[Any, ...]]]) -> None:
    open_again(archive)
    run_once_more(way, archive, cut)
    archives.assert_exactly(archive, EXPECTED)
    assert content(archive) == expected
    assert verify(archive).exit_code == 0
    assert_rebuilds(archive)


def assert_a_stop_after_every_step(way: Way, camera: Camera) -> None:
    """In every group; each promise; the syncs are those of this way, and the disk was seen to change by them."""
    for step, pattern in STEPS.items():
        seen = sum(any(re.match(pattern, call) for call in calls) for calls in camera.stops)
        assert seen >= GROUPS, f"{seen} stops after {step!r}"
    calls = [call for stop in camera.stops for call in stop]
    promised = {name for name, pattern in PROMISES.items() if any(re.match(pattern, call) for call in calls)}
    assert promised >= (set(PROMISES) if way.deleting else {"said"})
    assert any(call.startswith("syncfs(") for call in calls) is not bool(way.prefix)
    assert len(camera.cuts) > 4 * GROUPS, "files, names, log and catalogue of each group"


def sample(cuts: Sequence[Cut], rng: random.Random) -> list[Cut]:
    """One from before the first message, one with named files that no record tells of, any other, and the very last."""
    began = next(n for n, cut in enumerate(cuts) if cut.came_after("draft written"))
    unlogged = [cut for cut in cuts if cut.came_after("names synced") and cut.came_after("logged")]
    return [rng.choice(cuts[:began]), rng.choice(unlogged), rng.choice(cuts[began:-1]), cuts[-1]]


# ---- The tests


@pytest.mark.timeout(900)  # with --full every copy is run once more
@pytest.mark.parametrize("name", WAYS)
def test_after_a_power_cut_at_every_call(strace: str, tmp_path: Path, seed: int, full: bool, name: str) -> None:
    way, rng = WAYS[name], random.Random(f"power cut {seed} {name}")
    if subprocess.run([*way.prefix, sys.executable, "-c", ""], capture_output=True).returncode:
        unavailable(f"{' '.join(way.prefix)} does not work here")
    with new_disk(way.kind, tmp_path / "run") as disk:
        camera = watched(strace, way, disk, tmp_path, rng)
        archives.assert_exactly(archive_on(disk), EXPECTED)
        expected = content(archive_on(disk))
    assert_a_stop_after_every_step(way, camera)
    chosen = camera.cuts if full else sample(camera.cuts, rng)
    for cut in camera.cuts:  # one at a time, and only now: btrfs does not like two disks with one and the same id
        with naming(cut), mounted(cut.image, tmp_path / "copy") as disk:
            assert_nothing_is_lost(archive_on(disk), cut)
            if cut in chosen:
                assert_survived(way, archive_on(disk), cut, expected)
        cut.image.unlink()


@pytest.mark.parametrize("swallowed", ["syncfs", "fsync,fdatasync"])
@pytest.mark.parametrize("kind", images.MAKERS)
def test_a_sync_that_does_nothing_is_found(strace: str, tmp_path: Path, kind: str, swallowed: str) -> None:
    """The control: the same pull, but these calls only say that they have done it."""
    prefix = (strace, "-f", "-o", "/dev/null", "-e", f"trace={swallowed}", "-e", f"inject={swallowed}:retval=0")
    with new_disk(kind, tmp_path / "run") as disk, Peer(LETTERS) as peer:
        result = finish(start_mailmove(*words(peer.port, archive_on(disk)), prefix=prefix))
        assert (result.code, result.json()["stored"]) == (0, len(LETTERS)), result
        disk.copy(tmp_path / "copy.img")
    with mounted(tmp_path / "copy.img", tmp_path / "copy") as disk:
        assert lost(archive_on(disk), frozenset(DIGESTS.values()))
