"""How fast an archive is delivered to an IMAP server: mailmove, mbsync, imapclient, imaplib, and a bare sender.

    python -m tests.bench.replay_imap [--only small,sync-only] [--messages N] [--rtt SECONDS] [--rounds 3]

Strategy: all deliver the same messages to one Dovecot through the same delay line (also at RTT 0; with `--no-line` over
the bare loopback there), in turn, each to an empty INBOX of a user of its own, and the server is asked whether all of
them are there; the best round of each counts, since the machine does other things too. What starts from an archive or a
Maildir gets a fresh one each round, which is not timed; what a program that is started costs is part of its time. The
slow ones deliver fewer messages, once, and are compared by messages a second. The server's files are on the same disk
and, for all alike, never synced by it. Prints ratios beside the goals, at the end as lines for CONTRIBUTING.md, and
never judges; a program that is not installed is left out, with a word. `--messages` and `--rtt` make a case of their
own; `--fresh` (as root) is for disks on which much was deleted (see tests/bench/archive.py), and with `--folder` on a
tmpfs for disks that are not always equally fast.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailmove.archive.durable import file_system
from tests.bench.archive import fresh_disk, sync
from tests.bench.pull import own_folder
from tests.bench.replayers import REPLAYERS, Account, bare, delivered, messages_of, missing, run
from tests.servers.dovecot import Dovecot
from tests.support import mails
from tests.support.line import Line
from tests.support.proxy import Proxy
from tests.support.replaying import fill

PEERS = ("mbsync", "imapclient", "imaplib")
SYNC_ONLY = "IMAP4rev1 SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT SPECIAL-USE"
LITERAL_MINUS = f"{SYNC_ONLY} LITERAL-"
SAID = {"": "", SYNC_ONLY: ", no LITERAL+, no MULTIAPPEND", LITERAL_MINUS: ", LITERAL-, no MULTIAPPEND"}
KNOWN = 10_000  # at the target when there is nothing new


@dataclass(frozen=True)
class Case:
    """One comparison. The first of `programs` is held against the others; the `slow` ones deliver only `few`, once.

    `goals`: program -> how many times its messages a second, "bare" -> how many times its time.
    """

    messages: int
    rtt: float = 0.0
    octets: int = 0  # of each message; 0: mixed sizes
    capability: str = ""  # what the server says it can do, if not what it can
    programs: tuple[str, ...] = ("mailmove", *PEERS, "bare")
    slow: tuple[str, ...] = ("imapclient", "imaplib")
    few: int = 100
    goals: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        sizes = f"{self.octets:,} octets" if self.octets else "mixed sizes"
        return f"{self.messages:,} messages of {sizes}, RTT {self.rtt * 1000:g} ms{SAID[self.capability]}"


CASES = {
    "mixed300-rtt100": Case(300, 0.1, goals=(("mbsync", 3.0), ("imapclient", 60.0))),
    "mixed1000-rtt100": Case(1_000, 0.1, programs=("mailmove", "mbsync", "bare"), goals=(("mbsync", 7.0),)),
    "mixed300-rtt20": Case(300, 0.02, goals=(("mbsync", 2.0), ("imapclient", 30.0))),
    "mixed3000-rtt0": Case(3_000, few=500, goals=(("mbsync", 1.5),)),
    "mixed10000-rtt0": Case(10_000, few=1_000, goals=(("mbsync", 2.0), ("bare", 1.5))),
    "small": Case(300, 0.04, octets=4_000, goals=(("mbsync", 0.9), ("imapclient", 30.0))),
    "sync-only": Case(
        400,
        0.04,
        octets=4_000,
        capability=SYNC_ONLY,
        programs=("mailmove-4", "mailmove-1", "mbsync", "imapclient"),
        slow=("mailmove-1", "mbsync", "imapclient"),
        goals=(("mailmove-1", 0.8 * 4),),
    ),
    "literal-minus": Case(
        300,
        0.04,
        capability=LITERAL_MINUS,
        programs=("mailmove", "mailmove-1", "mbsync", "imapclient"),
        slow=("mailmove-1", "mbsync", "imapclient"),
    ),
}


# ---- Side by side


@dataclass(frozen=True)
class Result:
    """The best round of one program."""

    messages: int
    seconds: float
    octets: int

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


@dataclass
class Bench:
    """A server, the line to it, and what is to be delivered: `archive`, and `small_archive` for the slow ones."""

    case: Case
    folder: Path
    server: Dovecot
    port: int
    archive: Path
    small_archive: Path
    best: dict[str, Result] = field(default_factory=dict)

    def round(self, number: int) -> None:
        for name in self.case.programs:
            if missing(name) or (number and name in self.case.slow):
                continue
            result = self.one_run(name, f"{name}-{number}")
            print(f"  {name}: {result.seconds:.2f} s", file=sys.stderr)
            if name not in self.best or result.rate > self.best[name].rate:
                self.best[name] = result

    def one_run(self, name: str, user: str) -> Result:
        """To a mailbox of its own, on a disk that has nothing left to write.

        What was delivered stays until the end: ext4 searches past the inodes of files that were just deleted. In memory
        it goes at once: to get more of that can take a virtual machine longer than to fill it.
        """
        archive = self.small_archive if name in self.case.slow else self.archive
        sizes = [path.stat().st_size for path in messages_of(archive)]
        seconds = self.timed(name, Account(user, self.port), archive)
        there = delivered(Account(user, self.server.ports["imap"]))
        assert there == len(sizes), f"{name} delivered {there:,} of {len(sizes):,} messages"
        if file_system(self.folder) == "tmpfs":
            self.server.forget(user)
        return Result(len(sizes), seconds, sum(sizes))

    def timed(self, name: str, account: Account, archive: Path) -> float:
        if name == "bare":
            sync(self.folder)
            return bare(account, archive)
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="one-"))
        REPLAYERS[name].stock(archive, folder)
        command = REPLAYERS[name].command(account, folder, archive)
        sync(self.folder)
        return run(command, folder)


def compare(name: str, case: Case, options: argparse.Namespace) -> str:
    """Runs one case and prints its table; its line of the table at the end."""
    print(f"\n{name}: {case}, best in turn")
    for program in case.programs:
        if reason := missing(program):
            print(f"  {program}: left out, {reason}")
    with bench(case, options) as rig:
        for number in range(options.rounds):
            rig.round(number)
    report(case, rig.best)
    return line_of_table(case, rig.best)


@contextlib.contextmanager
def bench(case: Case, options: argparse.Namespace) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(disk(options))
        archive = fill(folder / "all.mailmove", messages(case, case.messages))
        small_archive = fill(folder / "few.mailmove", messages(case, min(case.few, case.messages)))
        extra = f"imap_capability = {case.capability}" if case.capability else ""
        server = stack.enter_context(Dovecot(ssl=False, extra=extra, folder=folder / "server"))
        port = server.ports["imap"]
        if case.rtt or not options.no_line:
            port = stack.enter_context(Line(port, rtt=case.rtt)).port
        yield Bench(case, folder, server, port, archive, small_archive)


def messages(case: Case, number: int) -> Iterable[bytes]:
    return mails.small(number, octets=case.octets) if case.octets else mails.mixed(number)


@contextlib.contextmanager
def disk(options: argparse.Namespace) -> Iterator[Path]:
    """A folder for one case, which the server, another user, may walk into."""
    with fresh_disk(options.folder) if options.fresh else own_folder(options.folder) as folder:
        folder.chmod(0o755)
        yield folder


# ---- What is told


def report(case: Case, found: dict[str, Result]) -> None:
    print(f"  {'':12}{'messages':>9}{'seconds':>9}{'messages/s':>12}{'MB/s':>8}   {case.programs[0]}")
    for name, result in found.items():
        speed = f"{result.seconds:>9.2f}{result.rate:>12,.0f}{result.octets / result.seconds / 1e6:>8.1f}"
        said = ratio(case, found, name) if name != case.programs[0] else ""
        print(f"  {name:12}{result.messages:>9,}{speed}   {said}")


def ratio(case: Case, found: dict[str, Result], name: str) -> str:
    ours, theirs, goal = found[case.programs[0]], found[name], dict(case.goals).get(name)
    if name == "bare":
        return f"{ours.seconds / theirs.seconds:.2f} x its time" + (f" (goal: at most {goal:g})" if goal else "")
    return f"{ours.rate / theirs.rate:.2f} x its rate" + (f" (goal: at least {goal:g})" if goal else "")


def line_of_table(case: Case, found: dict[str, Result]) -> str:
    ours, *others = (f"{name}: {time_of(case, result)}" for name, result in found.items())
    told = "; ".join(f"{said}, {ratio(case, found, name)}" for said, name in zip(others, list(found)[1:], strict=True))
    return f"| {case} | {ours.removeprefix('mailmove: ')} | {told} |"


def time_of(case: Case, result: Result) -> str:
    """In seconds, or for one that delivered only a few, in messages a second."""
    return f"{result.seconds:.2f} s" if result.messages == case.messages else f"{result.rate:,.1f} a second"


# ---- Nothing new


def nothing_new(options: argparse.Namespace) -> str:
    """A second run when all is delivered: its time, and the number of commands it sends."""
    case, told = Case(KNOWN, octets=600, few=1), []
    with bench(case, options) as rig, Proxy(rig.server.ports["imap"]) as proxy:
        for name in filter(lambda name: not missing(name), ("mailmove", "mbsync")):
            seconds, commands = again(name, rig, proxy, options.rounds)
            told.append(f"{name}: {seconds:.2f} s, {commands} commands")
            print(f"  {KNOWN:>7,} there: {told[-1]}")
    return f"| nothing new of {KNOWN:,} | {told[0].removeprefix('mailmove: ')} | {'; '.join(told[1:])} |"


def again(name: str, rig: Bench, proxy: Proxy, rounds: int) -> tuple[float, int]:
    """The best of the runs after the first, and what one more of them says, through a proxy that writes it down."""
    folder, before = Path(tempfile.mkdtemp(dir=rig.folder, prefix="one-")), len(proxy.sessions)
    REPLAYERS[name].stock(rig.archive, folder)
    ways = [rig.port] * (rounds + 1) + [proxy.port]
    seconds = [run(REPLAYERS[name].command(Account(name, port), folder, rig.archive), folder) for port in ways]
    there = delivered(Account(name, rig.server.ports["imap"]))
    assert there == KNOWN, f"{name} delivered {there:,} of {KNOWN:,} messages"
    return min(seconds[1:-1]), sum(len(session.commands) for session in proxy.sessions[before:])


OTHERS: dict[str, Callable[[argparse.Namespace], str]] = {"nothing-new": nothing_new}


# ---- The command


def run_case(name: str, options: argparse.Namespace) -> str:
    if name in CASES:
        return compare(name, CASES[name], options)
    print(f"\n{name}: {(OTHERS[name].__doc__ or '').strip()}")
    return OTHERS[name](options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"of {', '.join((*CASES, *OTHERS))}; separated by commas")
    parser.add_argument("--messages", type=int, help="a case of your own")
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds, of a case of your own")
    parser.add_argument("--no-line", action="store_true", help="at RTT 0 straight to the server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--fresh", action="store_true", help="on a new file system in an image (needs root)")
    options = parser.parse_args()
    if options.messages:
        lines = [compare("yours", Case(options.messages, options.rtt), options)]
    else:
        names = options.only.split(",") if options.only else (*CASES, *OTHERS)
        lines = [run_case(name, options) for name in names]
    print("\n| case | mailmove | others |\n|---|---|---|", *lines, sep="\n")


if __name__ == "__main__":
    main()
