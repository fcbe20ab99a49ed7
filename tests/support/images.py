"""File systems in image files, mounted by loop devices: what a disk holds at any moment, to be copied and looked at.

    make(image, "ext4")
    with mounted(image, folder) as disk:
        ... let programs write to disk.root ...
        disk.copy(copy)                      # what is left if the power fails now
    with mounted(copy, folder) as disk: ...  # its journal is replayed

Strategy: an image file has what the file system handed to its device, and nothing of what is only in the page cache of
the mounted file system, so a copy of it is the disk after a power cut. Nothing may be frozen for it (that would flush):
the kernel counts what a device has been given, and a copy during which the count has changed, or something was under
way, is thrown away and made again. Mounted so that the file system writes nothing of its own accord for minutes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OCTETS = 256 << 20  # sparse; a pull wants 64 MB to be free
MAKERS = {
    "ext4": ("e2fsprogs", "mkfs.ext4", "-q", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "btrfs": ("btrfs-progs", "mkfs.btrfs", "-q"),
}
OPTIONS = "loop,commit=300"
COUNTED = (4, 6, 11, 15)  # writes, sectors, discards, flushes: Documentation/block/stat.rst
UNDER_WAY = 8
PATIENCE = 30.0


class CannotMount(Exception):
    """This machine mounts no images of this kind; the text says why."""


def missing(kind: str) -> str:
    """Why there can be no image of this kind here, or ""."""
    package, program, *_ = MAKERS[kind]
    if not Path("/proc/self/mountinfo").exists() or os.getuid() != 0:
        return "only root on Linux can mount an image"
    return "" if shutil.which(program) else f"{program} is not installed (Debian: apt install {package})"


def make(image: Path, kind: str) -> None:
    """A new, empty file system."""
    with image.open("wb") as file:
        file.truncate(OCTETS)
    subprocess.run([*MAKERS[kind][1:], str(image)], check=True, capture_output=True)


@dataclass(frozen=True)
class Disk:
    """A mounted image."""

    image: Path
    root: Path

    def state(self) -> tuple[int, ...]:
        """What the device was given so far, in numbers: as long as they are the same, the image is."""
        deadline = time.monotonic() + PATIENCE
        while (found := self._counters())[UNDER_WAY]:
            assert time.monotonic() < deadline, f"{self.image} is never quiet"
        return tuple(found[place] for place in COUNTED)

    def copy(self, to: Path) -> tuple[int, ...]:
        """The disk as it is at one moment; returns its `state`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            before = self.state()
            subprocess.run(["cp", "--sparse=always", str(self.image), str(to)], check=True)
            if self.state() == before:
                return before
            assert time.monotonic() < deadline, f"{self.image} is never quiet"

    def _counters(self) -> list[int]:
        device = _device(self.root).removeprefix("/dev/")
        return [int(word) for word in Path(f"/sys/block/{device}/stat").read_text().split()]


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Disk]:
    """Mounts an image on `folder`, which is made if missing. Raises CannotMount."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", OPTIONS, str(image), str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise CannotMount(f"no image can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(image, folder)
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """The loop device goes with it; where somebody is still at it (a test has failed), as soon as nobody is."""
    if subprocess.run(["umount", str(folder)], capture_output=True).returncode:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _device(folder: Path) -> str:
    """What is mounted there."""
    rows = [row.split() for row in Path("/proc/self/mountinfo").read_text().splitlines()]
    return next(row[row.index("-") + 2] for row in rows if row[4] == str(folder))
