"""How fast messages become durable: the archive beside a bare loop that only writes files.

    python -m tests.bench.archive [--messages 5000] [--size 10240] [--rounds 5] [--folder DIR] [--fresh]

Strategy: both store the same messages, made before the clock starts, on the same file system in the same run, in turn,
and the best round of each counts, since the machine does other things too. `mailmove` goes through Archive and Group as
the pull does: draft, write, finish, commit, in the default groups, from an open archive to the end of the run. `bare`
knows the names before it starts, writes each file once under its final name, and lets one syncfs follow every 100: no
hash, no rename, no log, no catalogue. Memory and syncs are taken in processes of their own, which are not timed: peak
RSS at two numbers of messages, and the syncs that strace sees (SQLite's too). Prints, and never judges.

ext4 gives no inode out again for minutes after its file was deleted, and searches long for others: after a run of the
tests, or of this, every new file on the same disk is slow. `--fresh` (as root) measures on a new ext4 in an image file.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import hashlib
import itertools
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mailmove.archive import Archive, GroupLimits, Received
from mailmove.archive.durable import file_system
from mailmove.jobs.group import Group
from mailmove.model import Digest, MaildropEntry, MessageNumber, UniqueId

GOAL = 0.5
GROWTH = 4  # the second memory figure is taken at so many times the messages
BARE_GROUP = 100
IMAGE_SIZE = 8 << 30  # sparse
MAILDROP = "me@pop.example"
LINE = 78


def messages(number: int, size: int) -> Iterator[bytes]:
    """Header-shaped octets, no two alike, of base64 that does not compress; the same ones each time."""
    rng = random.Random(f"bench {size}")
    text = base64.b64encode(rng.randbytes(3 * size + 3000))
    for i in range(number):
        head = (
            f"Return-Path: <x@example.org>\r\nReceived: from a.example by b.example; Mon, 1 Jan 2024 10:00:00 +0000"
            f"\r\nMessage-ID: <{i}.{rng.getrandbits(64):016x}@example.org>\r\nDate: Mon, 1 Jan 2024 09:59:58 +0000\r\n"
            f"From: Somebody <somebody@example.org>\r\nTo: me@example.net\r\nSubject: message {i} of the bench\r\n\r\n"
        ).encode("ascii")
        start = rng.randrange(len(text) // 2)
        lines = (text[at : at + LINE - 2] for at in range(start, start + size, LINE - 2))
        yield (head + b"\r\n".join(lines))[: size - 2] + b"\r\n"


# ---- The two ways to store them


def store_archive(folder: Path, contents: Iterable[bytes]) -> float:
    """As the pull does it; the seconds from the first draft to the end of the run."""
    group = Group(GroupLimits())
    with Archive.open(folder / "mail.mailmove", create_missing=True) as archive:
        archive.begin_run("pull", MAILDROP)
        archive.begin_session()
        started = time.perf_counter()
        stored = 0
        for stored, content in enumerate(contents, 1):
            group.add(_received(archive, stored, content))
            if group.due(settled=True):
                archive.commit(group.take())
        archive.commit(group.take())
        archive.end_run("complete", {"listed": stored, "stored": stored})
        return time.perf_counter() - started


def _received(archive: Archive, number: int, content: bytes) -> Received:
    draft = archive.draft()
    archive.write(draft, content)
    archive.finish(draft)
    return Received(MaildropEntry(MessageNumber(number), UniqueId(f"uid-{number:08d}"), len(content)), draft)


def store_bare(folder: Path, contents: Iterable[bytes]) -> float:
    """The same files, and nothing else; the seconds from the first file to the last sync."""
    named = [(folder / "mail", Digest(hashlib.sha256(content).hexdigest()), content) for content in contents]
    (folder / "mail").mkdir()
    started = time.perf_counter()
    for at in range(0, len(named), BARE_GROUP):
        for mail, digest, content in named[at : at + BARE_GROUP]:
            _write(f"{mail}/{digest[:3]}", f"{digest}.eml", content)
        sync(folder)
    return time.perf_counter() - started


def _write(shard: str, name: str, content: bytes) -> None:
    try:
        fd = os.open(f"{shard}/{name}", os.O_WRONLY | os.O_CREAT, 0o444)
    except FileNotFoundError:
        os.mkdir(shard)
        fd = os.open(f"{shard}/{name}", os.O_WRONLY | os.O_CREAT, 0o444)
    os.write(fd, content)
    os.close(fd)


def sync(folder: Path) -> None:
    """Everything written to this file system is durable."""
    if sys.platform != "linux":
        return os.sync()
    fd = os.open(folder, os.O_RDONLY)
    failed = ctypes.CDLL(None, use_errno=True).syncfs(fd)
    os.close(fd)
    if failed:
        raise OSError(ctypes.get_errno(), "syncfs failed")
    return None


WAYS: dict[str, Callable[[Path, Iterable[bytes]], float]] = {"mailmove": store_archive, "bare": store_bare}


# ---- Measuring


def best_seconds(options: argparse.Namespace) -> dict[str, float]:
    """The best round of each way, in turn, each in a new folder on a disk that has nothing left to write.

    All folders stay until the end, so that no round is slowed down by what another one deleted.
    """
    contents = list(messages(options.messages, options.size))
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mailmove-bench-") as top:
        for number, (name, store) in itertools.product(range(1, options.rounds + 1), WAYS.items()):
            folder = Path(top) / f"{name}-{number}"
            folder.mkdir()
            sync(folder)
            found[name].append(store(folder, contents))
            print(f"  round {number}: {name} {found[name][-1]:.2f} s", file=sys.stderr)
    return {name: min(seconds) for name, seconds in found.items()}


def child(way: str, options: argparse.Namespace, number: int, prefix: tuple[str, ...] = ()) -> int:
    """Stores `number` messages in a process of its own, made as they are needed; its peak RSS in octets."""
    program = [*prefix, sys.executable, "-m", "tests.bench.archive", "--child", way, "--messages", str(number)]
    program += ["--size", str(options.size), "--folder", str(options.folder)]
    return int(subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run_child(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mailmove-bench-") as folder:
        WAYS[options.child](Path(folder), messages(options.messages, options.size))
    return peak_memory()


def peak_memory() -> int:
    """Octets. On Linux not ru_maxrss, which a process inherits from the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def syncs(way: str, options: argparse.Namespace) -> str:
    """How many syncs strace sees, or "?" where it may not look."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        prefix = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync", "-o", str(trace))
        if not shutil.which("strace") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            return "?"
        child(way, options, options.messages, prefix)
        return f"{sum('resumed>' not in line for line in trace.read_text().splitlines()):,}"


@contextlib.contextmanager
def fresh_disk(folder: Path) -> Iterator[Path]:
    """A new ext4 on a loop device, its image in `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="mailmove-bench-") as top:
        Path(top).chmod(0o755)  # getmail6 delivers as another user
        image, mounted = Path(top) / "image", Path(top) / "disk"
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
        try:
            yield mounted
        finally:
            subprocess.run(["umount", str(mounted)], check=True)


# ---- The table


def report(options: argparse.Namespace) -> None:
    kind = file_system(options.folder) or "an unknown file system"
    print(f"{options.messages:,} messages of {options.size:,} octets, on {kind}, best of {options.rounds}, in turn:\n")
    print(f"  {'':10}{'seconds':>10}{'messages/s':>13}{'files/s':>10}{'MB/s':>8}{'syncs':>8}")
    best = best_seconds(options)
    for name, seconds in best.items():
        rate, megabytes = options.messages / seconds, options.messages * options.size / seconds / 1e6
        print(f"  {name:10}{seconds:>10.2f}{rate:>13,.0f}{rate:>10,.0f}{megabytes:>8.1f}{syncs(name, options):>8}")
    print(f"\n  ratio mailmove / bare: {best['bare'] / best['mailmove']:.2f} (goal: at least {GOAL})\n")
    for number in (options.messages, GROWTH * options.messages):
        print(f"  peak memory of mailmove at {number:>7,} messages: {child('mailmove', options, number) / 1e6:6.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--size", type=int, default=10 * 1024, help="octets of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--fresh", action="store_true", help="on a new file system in an image (needs root)")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(run_child(options))
        return
    with fresh_disk(options.folder) if options.fresh else contextlib.nullcontext(options.folder) as options.folder:
        report(options)


if __name__ == "__main__":
    main()
