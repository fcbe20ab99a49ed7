"""How fast a whole archive is proven: `mailmove verify` beside `sha256sum` over the same files.

    python -m tests.bench.verify [--messages 5000] [--rounds 5] [--folder DIR] [--cold]

Strategy: one archive of mail of mixed sizes (log-normal, median 8 KB, mean 50 KB), made as a pull makes it, read in
turn by `find mail -name '*.eml' -print0 | xargs -0 sha256sum`, by the same with as many processes as verify has
threads, and by run_verify in this process; the best round of each counts, since the machine does other things too. A
core's work is compared by processor time, which for xargs is that of all it started; of verify it includes everything
else it does: projecting the log, SQLite's own check, comparing the tables, reading every header. `--cold` has the
kernel forget the files before each round, which tells what the disk allows. Prints, and never judges.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mailmove.archive.audit_files import WORKERS
from mailmove.jobs import Context
from mailmove.jobs.verify import VerifyJob, run_verify
from tests.bench.archive import store_archive, sync
from tests.support.mails import mixed

GOAL = 0.8


def sha256sum(archive: Path, processes: int = 1) -> None:
    command = f"find mail -name '*.eml' -print0 | xargs -0 -P {processes} -n 200 sha256sum"
    subprocess.run(command, shell=True, check=True, cwd=archive, stdout=subprocess.DEVNULL)


def verify(archive: Path) -> None:
    report = run_verify(VerifyJob(archive), Context())
    assert report.sound and report.whole, report.findings


def hash_only(archive: Path) -> None:
    """Python's hashlib and nothing else: what verify's other work is measured against."""
    for path in archive.glob("mail/*/*.eml"):
        with path.open("rb", buffering=0) as file:
            hashlib.file_digest(file, "sha256")


WAYS: dict[str, Callable[[Path], None]] = {
    "sha256sum": sha256sum,
    f"sha256sum x {WORKERS}": lambda archive: sha256sum(archive, WORKERS),
    "hashlib, one thread": hash_only,
    "mailmove verify": verify,
}


def measured(way: Callable[[Path], None], archive: Path, *, cold: bool) -> tuple[float, float]:
    """Seconds that passed, and of processor time, of this process and of those it waited for."""
    if cold:
        forget(archive)
    before, started = processor(), time.perf_counter()
    way(archive)
    return time.perf_counter() - started, processor() - before


def forget(archive: Path) -> None:
    """Nothing of the messages is left in memory; what has not been written yet could not be dropped."""
    sync(archive)
    for path in archive.glob("mail/*/*.eml"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def processor() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def report(options: argparse.Namespace, archive: Path) -> None:
    octets = sum(path.stat().st_size for path in archive.glob("mail/*/*.eml"))
    state = "cold" if options.cold else "in the page cache"
    print(f"{options.messages:,} messages, {octets / 1e6:,.0f} MB, {state}, best of {options.rounds}, in turn:\n")
    rounds = [
        {name: measured(way, archive, cold=options.cold) for name, way in WAYS.items()} for _ in range(options.rounds)
    ]
    best = {name: tuple(min(one[name][n] for one in rounds) for n in (0, 1)) for name in WAYS}
    print(f"  {'':22}{'seconds':>9}{'MB/s':>8}{'processor':>12}{'MB/s per core':>16}")
    for name, (seconds, busy) in best.items():
        rates = octets / seconds / 1e6, octets / busy / 1e6
        print(f"  {name:22}{seconds:>9.2f}{rates[0]:>8,.0f}{busy:>10.2f} s{rates[1]:>16,.0f}")
    (theirs, busy), (ours, our_busy) = best["sha256sum"], best["mailmove verify"]
    print(f"\n  ratio per core, mailmove / sha256sum: {busy / our_busy:.2f} (goal: at least {GOAL})")
    print(f"  ratio by the clock, to one sha256sum: {theirs / ours:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--cold", action="store_true", help="have the kernel forget the files before each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mailmove-bench-") as folder:
        store_archive(Path(folder), mixed(options.messages))
        report(options, Path(folder) / "mail.mailmove")


if __name__ == "__main__":
    main()
