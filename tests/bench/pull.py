"""How fast a maildrop is pulled: mailmove beside mpop, fetchmail and getmail6, and a reader that keeps nothing.

    python -m tests.bench.pull [--only plain,rtt100] [--messages N] [--rtt SECONDS] [--tls] [--rounds 3] [--folder DIR]

Strategy: all pull the same maildrop from one Dovecot through the same delay line (also at RTT 0; with `--no-line`
over the bare loopback there), in turn, each into an empty folder on the same disk; the best round of each counts,
since the machine does other things too. fetchmail and getmail6 take so long that they pull a smaller maildrop of the
same kind, once, and are compared by messages a second. What a program that is started costs is part of its time.
Prints ratios beside the goals, and never judges; a program that is not installed is left out, with a word.
`--messages`, `--rtt` and `--tls` make a case of their own; `--fresh` (as root) is for disks on which much was deleted
(see tests/bench/archive.py), and with `--folder` on a tmpfs for disks that are not always equally fast.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.archive import fresh_disk, sync
from tests.bench.pullers import PULLERS, SLOW, Maildrop, bare, bare_listing, delivered, mailmove, missing, run
from tests.hostile.peer import Letter, Peer, Quirks, without
from tests.servers.dovecot import Dovecot
from tests.support import mails
from tests.support.cli import environment
from tests.support.line import Line

FEW = 500  # what the slow ones pull
USER, FEW_USER = "everything", "few"
PEAK = (
    "import os, resource, sys;"
    "os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0);"
    "print(); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


@dataclass(frozen=True)
class Case:
    """One comparison; `goals`: peer -> how many times its messages a second, "bare" -> how many times its time."""

    messages: int
    rtt: float = 0.0
    tls: bool = False
    peers: tuple[str, ...] = ("mpop",)
    goals: tuple[tuple[str, float], ...] = ()


CASES = {
    "plain": Case(10_000, peers=tuple(PULLERS)[1:], goals=(("mpop", 1.3), ("getmail6", 15.0), ("bare", 3.2))),
    "tls": Case(10_000, tls=True, goals=(("mpop", 1.2),)),
    "rtt20": Case(1_000, 0.02, goals=(("mpop", 1.5),)),
    "rtt100": Case(1_000, 0.1, goals=(("mpop", 2.2),)),
    "rtt100-many": Case(10_000, 0.1, goals=(("mpop", 4.0),)),
}


# ---- Side by side


def compare(name: str, case: Case, options: argparse.Namespace) -> None:
    way = "TLS" if case.tls else "plain"
    print(f"\n{name}: {case.messages:,} messages of mixed sizes, RTT {case.rtt * 1000:g} ms, {way}, best in turn")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Dovecot(ssl=case.tls))
        server.seed(USER, mails.mixed(case.messages))
        server.seed(FEW_USER, mails.mixed(min(FEW, case.messages)))
        port = server.ports["pop3s" if case.tls else "pop3"]
        if case.rtt or not options.no_line:
            port = stack.enter_context(Line(port, rtt=case.rtt)).port
        ca = server.certificates.ca if case.tls else None
        found = measure(case, options, Maildrop(USER, port, ca), Maildrop(FEW_USER, port, ca))
    report(case, found)


@dataclass(frozen=True)
class Result:
    """The best round of one program."""

    messages: int
    seconds: float
    octets: int

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


def measure(case: Case, options: argparse.Namespace, drop: Maildrop, few: Maildrop) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for number in range(options.rounds):
        note("bare", found, Result(case.messages, *bare(drop)))
        for name in ("mailmove", *case.peers):
            if number and name in SLOW:
                continue
            if reason := missing(name):
                print(f"  {name}: left out, {reason}") if not number else None
                continue
            note(name, found, one_run(name, few if name in SLOW else drop, options.folder, found["bare"]))
    return found


def note(name: str, found: dict[str, Result], result: Result) -> None:
    print(f"  {name}: {result.seconds:.2f} s", file=sys.stderr)
    if name not in found or result.rate > found[name].rate:
        found[name] = result


def one_run(name: str, drop: Maildrop, top: Path, everything: Result) -> Result:
    """A program in a folder of its own, on a disk that has nothing left to write. The folder stays until the end.

    ext4 searches past the inodes of files that were just deleted: the next run would pay for it.
    """
    folder = Path(tempfile.mkdtemp(dir=top, prefix="one-"))
    sync(top)
    seconds = run(name, drop, folder)
    messages = delivered(name, folder)
    return Result(messages, seconds, everything.octets * messages // everything.messages)


def report(case: Case, found: dict[str, Result]) -> None:
    ours, goals = found["mailmove"], dict(case.goals)
    print(f"  {'':10}{'messages':>9}{'seconds':>9}{'messages/s':>12}{'MB/s':>8}   mailmove")
    for name, result in found.items():
        goal = f" (goal: {'at most' if name == 'bare' else 'at least'} {goals[name]:g})" if name in goals else ""
        ratio = ours.seconds / result.seconds if name == "bare" else ours.rate / result.rate
        said = f"{ratio:.2f} x its {'time' if name == 'bare' else 'rate'}{goal}" if name != "mailmove" else ""
        speed = f"{result.seconds:>9.2f}{result.rate:>12,.0f}{result.octets / result.seconds / 1e6:>8.1f}"
        print(f"  {name:10}{result.messages:>9,}{speed}   {said}")


# ---- Other promises about time and memory


def no_pipelining(options: argparse.Namespace) -> None:
    """Where every message costs a round trip, nothing else may cost anything."""
    rtt, letters = 0.05, [Letter(f"u{n}", body) for n, body in enumerate(mails.small(500, octets=2000))]
    with Peer(letters, Quirks(capabilities=without("PIPELINING"))) as peer, Line(peer.port, rtt=rtt) as line:
        seconds = one_run("mailmove", Maildrop("me", line.port), options.folder, Result(1, 1, 0)).seconds
    ratio = seconds / ((len(letters) + 10) * rtt)
    print(f"  {len(letters)} messages, RTT {rtt * 1000:g} ms: {seconds:.2f} s, {ratio:.2f} x (N + 10) round trips")
    print("  (goal: at most 1.1)")


def large(options: argparse.Namespace) -> None:
    """Peak memory of one message of 100 MB, against that of `mailmove --help`."""
    body = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * (100_000_000 // 78)
    idle = peak([sys.executable, "-m", "mailmove", "--help"], options.folder)
    with Dovecot(ssl=False) as server:
        server.seed(USER, [body])
        pulled = peak_of_pull(server, USER, options)
    print(f"  --help {idle:.1f} MB, pull {pulled:.1f} MB: {pulled - idle:+.1f} MB (goal: at most +40)")


def many(options: argparse.Namespace) -> None:
    """Memory of a run over 100,000 small messages: after the first 10,000 it does not grow."""
    with Dovecot(ssl=False) as server:
        server.seed(USER, mails.small(100_000, octets=400))
        folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="one-"))
        command = mailmove(Maildrop(USER, server.ports["pop3"]), folder)
        with subprocess.Popen(command, cwd=folder, env=environment()) as process:
            for stored, octets in memory(process, folder / "mail.mailmove" / "log"):
                print(f"  {stored:>7,} stored: {octets / 1e6:.1f} MB")


def memory(process: subprocess.Popen[bytes], log: Path) -> Iterator[tuple[int, int]]:
    """(messages stored, resident octets) about every 10,000 messages, and as late as can be seen (Linux)."""
    told, last = -1, (0, 0)
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            last = sum(path.read_bytes().count(b"\n") for path in log.glob("*.jsonl")), resident or last[1]
        if last[0] // 10_000 > told:
            told = last[0] // 10_000
            yield last
        time.sleep(0.2)
    yield last


def peak_of_pull(server: Dovecot, user: str, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mailmove-bench-") as folder:
        return peak(mailmove(Maildrop(user, server.ports["pop3"]), Path(folder)), Path(folder))


def peak(command: list[str], folder: Path) -> float:
    """The peak RSS of a program, in MB. Told by a small process, since one inherits the peak of who starts it."""
    asker = [sys.executable, "-I", "-S", "-c", PEAK, *command]
    said = subprocess.run(asker, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(said.split()[-1]) * (1 if sys.platform == "darwin" else 1024) / 1e6


def nothing_new(options: argparse.Namespace) -> None:
    """A second run, against a client that asks for UIDL and LIST and throws the answers away."""
    with Dovecot(ssl=False) as server:
        for number in (10_000, 100_000):
            server.seed(f"u{number}", mails.small(number, octets=300))
            drop = Maildrop(f"u{number}", server.ports["pop3"])
            ours, theirs = again(drop, options)
            print(f"  {number:>7,} known: mailmove {ours:.2f} s, bare {theirs:.2f} s: +{ours - theirs:.2f} s")
    print("  (goals: +0.4 s at 10,000; 1.5 x and 0.4 s at 100,000)")


def again(drop: Maildrop, options: argparse.Namespace) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mailmove-bench-") as folder:
        runs = [run("mailmove", drop, Path(folder)) for _ in range(options.rounds + 1)]
        return min(runs[1:]), min(bare_listing(drop) for _ in range(options.rounds))


def version(options: argparse.Namespace) -> None:
    best = 1e9
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mailmove", "--version"], env=environment(), capture_output=True)
        best = min(best, time.perf_counter() - started)
    print(f"  {best:.2f} s (goal: under 0.2)")


OTHERS: dict[str, Callable[[argparse.Namespace], None]] = {
    "no-pipelining": no_pipelining,
    "large": large,
    "many": many,
    "nothing-new": nothing_new,
    "version": version,
}


# ---- The command


def chosen(options: argparse.Namespace) -> Iterable[str]:
    return options.only.split(",") if options.only else (*CASES, *OTHERS)


@contextlib.contextmanager
def disk(options: argparse.Namespace) -> Iterator[None]:
    with fresh_disk(options.folder) if options.fresh else own_folder(options.folder) as options.folder:
        options.folder.chmod(0o755)
        yield


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="mailmove-bench-") as own:
        yield Path(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"of {', '.join((*CASES, *OTHERS))}; separated by commas")
    parser.add_argument("--messages", type=int, help="a case of your own")
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds, of a case of your own")
    parser.add_argument("--tls", action="store_true", help="for a case of your own")
    parser.add_argument("--no-line", action="store_true", help="at RTT 0 straight to the server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--fresh", action="store_true", help="on a new file system in an image (needs root)")
    options = parser.parse_args()
    with disk(options):
        if options.messages:
            compare("yours", Case(options.messages, options.rtt, options.tls), options)
            return
        for name in chosen(options):
            if name in CASES:
                compare(name, CASES[name], options)
            else:
                print(f"\n{name}: {(OTHERS[name].__doc__ or 'how long `mailmove --version` takes').strip()}")
                OTHERS[name](options)


if __name__ == "__main__":
    main()
