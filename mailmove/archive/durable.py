"""Makes things durable: two ways to sync a group of files, chosen by the file system (design.md section 5).

Strategy: on a local ext4, xfs or btrfs one `syncfs` makes a whole group durable for the price of one flush; elsewhere
every file is synced, in a small pool, since the flushes of several files can share one journal commit. A failed sync
is never retried: after it the kernel may have dropped the pages and would call the next one a success.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

LOCAL_SYNCFS = frozenset({"ext4", "xfs", "btrfs"})
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "ncpfs", "coda"}
    | {"fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.davfs2", "davfs", "webdav", "vboxsf"}
)
SYNCFS_REPORTS_ERRORS = (5, 8)
"""The first Linux whose syncfs returns write-back errors (man 2 syncfs)."""

SLOW_SYNCFS = 2.0
"""Seconds: a syncfs slower than this is flushing other programs' data, so the run changes to syncing its own files."""

POOL = 6


def file_system(path: Path) -> str:
    """The type of the file system that holds `path` as Linux names it, or "" where that cannot be told."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        device = path.stat().st_dev
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    rows = [line.split() for line in table.splitlines()]
    return next(
        (row[row.index("-") + 1] for row in rows if row[2] == wanted and "-" in row), _longest_mount(path, rows)
    )


def _longest_mount(path: Path, rows: list[list[str]]) -> str:
    """btrfs subvolumes have device numbers that mountinfo does not show: then the longest mount point above counts."""
    where = str(path.resolve())
    above = [row for row in rows if "-" in row and (where + "/").startswith(row[4].rstrip("/") + "/")]
    best = max(above, key=lambda row: len(row[4]), default=None)
    return best[best.index("-") + 1] if best else ""


def is_network(path: Path) -> bool:
    """Whether `path` lies on a network file system, where SQLite's WAL and locks do not work."""
    return file_system(path) in NETWORK


def sync_file(fd: int) -> None:
    """Flushes a file through the drive's cache (F_FULLFSYNC on macOS, where fsync stops short of it)."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def sync_directory(path: Path | str) -> None:
    """Makes the names in a directory durable. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    with directory(path) as fd:
        sync_file(fd)


@contextlib.contextmanager
def directory(path: Path | str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        yield fd
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes) -> None:
    """Writes a small file under a temporary name, syncs it, renames it into place, syncs the directory."""
    draft = path.with_name(path.name + ".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_all(fd, data)
        sync_file(fd)
    finally:
        os.close(fd)
    draft.replace(path)
    sync_directory(path.parent)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """os.write until all is written: a short write is legal, and is how a full disk announces itself."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Syncer(Protocol):
    """One way to make a group durable."""

    keeps_open: bool
    """Whether files must stay open until `files` has synced them."""

    def begin(self) -> None:
        """Before a file is written: errors from here on must reach us."""

    def files(self, fds: Iterable[int], folder: Path) -> None:
        """Everything written since `begin` to these open files, and the names in `folder`, are durable."""

    def directories(self, folders: Iterable[Path | str]) -> None:
        """The names in these folders are durable."""

    def close(self) -> None:
        """The run is over."""


class FileSyncer:
    """fsync of each file and directory, in a pool."""

    keeps_open = True

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(POOL, thread_name_prefix="mailmove-sync")

    def begin(self) -> None:
        """Nothing to do: the files' own descriptors carry the errors."""

    def files(self, fds: Iterable[int], folder: Path) -> None:
        for _ in self._pool.map(sync_file, fds):
            pass
        sync_directory(folder)

    def directories(self, folders: Iterable[Path | str]) -> None:
        for _ in self._pool.map(sync_directory, folders):
            pass

    def close(self) -> None:
        self._pool.shutdown()


class SystemSyncer:
    """One syncfs for all (Linux). The descriptor is opened before the run's first write: it sees every error."""

    keeps_open = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.too_slow = False

    def begin(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._folder, os.O_RDONLY)

    def files(self, fds: Iterable[int], folder: Path) -> None:
        self._sync()

    def directories(self, folders: Iterable[Path | str]) -> None:
        self._sync()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _sync(self) -> None:
        started = time.monotonic()
        if self._libc.syncfs(self._fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self._folder))
        self.too_slow = self.too_slow or time.monotonic() - started > SLOW_SYNCFS


def choose_syncer(folder: Path) -> FileSyncer | SystemSyncer:
    """syncfs where it is safe and cheap, else fsync of each file."""
    if sys.platform == "linux" and file_system(folder) in LOCAL_SYNCFS and _kernel() >= SYNCFS_REPORTS_ERRORS:
        return SystemSyncer(folder)
    return FileSyncer()


def _kernel() -> tuple[int, ...]:
    major, _, rest = os.uname().release.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
