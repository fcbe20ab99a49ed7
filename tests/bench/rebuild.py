"""How fast archive.db is made anew, and how large the process gets.

    python -m tests.bench.rebuild [--messages 20000] [--size 2048] [--rounds 3] [--folder DIR] [--fresh]

Strategy: one archive, filled as a pull fills it, and rebuilt again and again by the job itself in a process of its own,
as `mailmove rebuild` does it, its start not counted. The files were written before, so they come from memory if there
is enough of it: what is measured is our own work (log, hash, header section, rows), not the disk. Prints, never judges.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mailmove.jobs import Context
from mailmove.jobs.rebuild import RebuildJob, run_rebuild
from tests.bench.archive import fresh_disk, messages, peak_memory, store_archive, sync

GOAL = 5000
GROWTH = 4  # the second figures are taken at so many times the messages


def rebuilt(archive: Path) -> tuple[float, int]:
    """Seconds, and the peak RSS in octets, of one rebuild in a process of its own."""
    program = [sys.executable, "-m", "tests.bench.rebuild", "--child", str(archive)]
    seconds, memory = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return float(seconds), int(memory)


def run_child(archive: Path) -> None:
    started = time.perf_counter()
    report = run_rebuild(RebuildJob(archive), Context())
    seconds = time.perf_counter() - started
    if report.exit_code:
        raise SystemExit(f"not rebuilt: {report}")
    Path(report.kept).unlink()
    print(seconds, peak_memory())


def measure(folder: Path, number: int, options: argparse.Namespace) -> None:
    """Fills, rebuilds, prints one line."""
    folder.mkdir()
    store_archive(folder, messages(number, options.size))
    sync(folder)
    rounds = [rebuilt(folder / "mail.mailmove") for _ in range(options.rounds)]
    seconds, memory = min(one for one, _ in rounds), max(other for _, other in rounds)
    print(f"  {number:>9,}{seconds:>10.2f}{number / seconds:>13,.0f}{memory / 1e6:>12.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=2048, help="octets of each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--fresh", action="store_true", help="on a new file system in an image (needs root)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return run_child(options.child)
    print(f"Rebuilds of messages of {options.size:,} octets, best of {options.rounds} (goal: {GOAL:,} messages/s):\n")
    print(f"  {'messages':>9}{'seconds':>10}{'messages/s':>13}{'peak memory':>15}")
    disk = fresh_disk(options.folder) if options.fresh else contextlib.nullcontext(options.folder)
    with disk as where, tempfile.TemporaryDirectory(dir=where, prefix="mailmove-bench-") as top:
        for number in (options.messages, GROWTH * options.messages):
            measure(Path(top) / str(number), number, options)
    return None


if __name__ == "__main__":
    main()
