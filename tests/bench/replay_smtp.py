"""How fast an archive is handed to an SMTP or LMTP server: mailmove, smtplib, and bare senders without a journal.

    python -m tests.bench.replay_smtp [--only lmtp-rtt100,sink-rtt0] [--rounds 3] [--fresh] [--folder /dev/shm]
    python -m tests.bench.replay_smtp --server postfix --messages 500 --rtt 0.02

Strategy: that of replay_imap.py, whose tables and ratios these are. All send the same messages to one server through
the same delay line (at RTT 0, too; there with `--no-line` over the bare loopback), in turn, and the best round of each
counts. None of them counts until the server has all messages: Dovecot is asked by IMAP what the recipient has, of
Postfix the files it has delivered are counted, and smtp-sink, which keeps nothing, says itself how many ends of a
message it has seen. Servers: `lmtp` (Dovecot, which announces CHUNKING and PIPELINING), `sink` (Postfix's smtp-sink:
PIPELINING), `postfix` (SMTP, both), `postfix-data` (the same without CHUNKING). smtplib sends a `few` where it is slow,
once, and is compared by messages a second. Prints ratios beside the goals, and never judges.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from mailmove.archive.durable import file_system
from tests.bench import replay_imap
from tests.bench.archive import sync
from tests.bench.relayers import BARE, RELAYERS, Destination, bare
from tests.bench.replay_imap import Result, disk, line_of_table, messages, report
from tests.bench.replayers import Account, delivered, messages_of, run
from tests.servers import dovecot, postfix
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import DOMAIN, Postfix, Sink
from tests.support.line import Line
from tests.support.replaying import fill

PATIENCE = 120.0  # until the server has delivered what it took
SAID = {"lmtp": "Dovecot LMTP", "sink": "smtp-sink", "postfix": "Postfix", "postfix-data": "Postfix without CHUNKING"}
SDBOX = "mail_location = sdbox:~/sdbox\n"  # a Maildir takes Dovecot longer for each message that is there already
DATA_ONLY = ("mailmove", "smtplib", "pipelining")  # where CHUNKING is not announced


@dataclass(frozen=True)
class Case(replay_imap.Case):
    """One comparison. `goals`: program -> how many times its messages a second; the `slow` ones send only `few`."""

    server: str = "lmtp"
    programs: tuple[str, ...] = ("mailmove", "smtplib", "bdat", "pipelining")
    slow: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{SAID[self.server]}, {super().__str__()}"


SLOW = ("smtplib", "pipelining")
CASES = {
    "lmtp-rtt100": Case(1_000, 0.1, octets=4_000, slow=SLOW, few=30, goals=(("smtplib", 60.0),)),
    "lmtp-mixed-rtt100": Case(300, 0.1, slow=SLOW, few=30, goals=(("smtplib", 60.0),)),
    "sink-rtt100": Case(100, 0.1, 4_000, server="sink", programs=DATA_ONLY, slow=("smtplib",), goals=(("smtplib", 3),)),
    "postfix-rtt100": Case(300, 0.1, 4_000, server="postfix", slow=SLOW, few=30),
    "postfix-data-rtt100": Case(
        100, 0.1, 4_000, server="postfix-data", programs=DATA_ONLY, slow=("smtplib",), few=30, goals=(("smtplib", 3),)
    ),
    "lmtp-rtt0": Case(3_000, octets=4_000, goals=(("smtplib", 1.15),)),
    "lmtp-mixed-rtt0": Case(3_000, goals=(("smtplib", 1.15),)),
    "sink-rtt0": Case(10_000, octets=4_000, server="sink", programs=DATA_ONLY, goals=(("smtplib", 1.4),)),
    "postfix-rtt0": Case(1_000, octets=4_000, server="postfix"),
}


# ---- The servers


class Server(Protocol):
    """`count` says how many messages there are for this recipient, or at all."""

    port: int

    def count(self, recipient: str) -> int: ...

    def forget(self, recipient: str) -> None:
        """Gives up the room they take, where that is possible."""


class OfDovecot:
    def __init__(self, server: Dovecot) -> None:
        self._server, self.port = server, server.ports["lmtp"]

    def count(self, recipient: str) -> int:
        return delivered(Account(recipient, self._server.ports["imap"]))

    def forget(self, recipient: str) -> None:
        self._server.forget(recipient)


class OfSink:
    """By the counters of `smtp-sink -c`."""

    def __init__(self, server: Sink) -> None:
        self._server, self.port = server, server.ports["smtp"]

    def count(self, recipient: str) -> int:
        return int((re.findall(r"mesg=(\d+)", self._server.log) or ["0"])[-1])

    def forget(self, recipient: str) -> None:
        pass


class OfPostfix:
    def __init__(self, server: Postfix) -> None:
        self._new, self.port = server.folder / "mail" / "all" / "new", server.ports["smtp"]

    def count(self, recipient: str) -> int:
        return sum(1 for _ in self._new.iterdir()) if self._new.exists() else 0

    def forget(self, recipient: str) -> None:
        for path in self._new.iterdir():
            path.unlink()


@contextlib.contextmanager
def of_dovecot(folder: Path) -> Iterator[Server]:
    with Dovecot(ssl=False, lmtp=True, extra=SDBOX, folder=folder / "server") as server:
        yield OfDovecot(server)


@contextlib.contextmanager
def of_sink(folder: Path) -> Iterator[Server]:
    with Sink("-c") as server:
        yield OfSink(server)


@contextlib.contextmanager
def of_postfix(folder: Path, extra: str = "") -> Iterator[Server]:
    """Its queue on the disk that is measured, since it syncs every message."""
    usual, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        server = Postfix(tls=False, extra=extra)
    finally:
        tempfile.tempdir = usual
    with server:
        yield OfPostfix(server)


def of_postfix_data(folder: Path) -> contextlib.AbstractContextManager[Server]:
    return of_postfix(folder, "smtpd_discard_ehlo_keywords = chunking")


SERVERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Server]]] = {
    "lmtp": of_dovecot,
    "sink": of_sink,
    "postfix": of_postfix,
    "postfix-data": of_postfix_data,
}
MISSING = {"lmtp": dovecot.lmtp_missing, "sink": postfix.sink_missing}


# ---- Side by side


@dataclass
class Bench:
    """A server, the line to it, and what is to be sent: `archive`, and `small_archive` for the slow ones."""

    case: Case
    folder: Path
    server: Server
    port: int
    archive: Path
    small_archive: Path
    best: dict[str, Result] = field(default_factory=dict)

    def round(self, number: int) -> None:
        for name in self.case.programs:
            if number and name in self.case.slow:
                continue
            result = self.one_run(name, f"{name}-{number}@{DOMAIN}")
            print(f"  {name}: {result.seconds:.2f} s", file=sys.stderr)
            if name not in self.best or result.rate > self.best[name].rate:
                self.best[name] = result

    def one_run(self, name: str, recipient: str) -> Result:
        """To a recipient of its own, on a disk that has nothing left to write."""
        archive = self.small_archive if name in self.case.slow else self.archive
        sizes = [path.stat().st_size for path in messages_of(archive)]
        before = self.server.count(recipient)
        seconds = self.timed(name, Destination(recipient, self.port, self.case.server == "lmtp"), archive)
        self.prove(name, recipient, before + len(sizes))
        if file_system(self.folder) == "tmpfs":
            self.server.forget(recipient)
        return Result(len(sizes), seconds, sum(sizes))

    def timed(self, name: str, destination: Destination, archive: Path) -> float:
        if name in BARE:
            sync(self.folder)
            return bare(name, destination, archive)
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="one-"))
        RELAYERS[name].stock(archive, folder)
        command = RELAYERS[name].command(destination, folder, archive)
        sync(self.folder)
        return run(command, folder)

    def prove(self, name: str, recipient: str, wanted: int) -> None:
        """Waits until the server has delivered what it took, so that the next one does not pay for it."""
        deadline = time.monotonic() + PATIENCE
        while (there := self.server.count(recipient)) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        assert there == wanted, f"after {name} the server has {there:,} messages, not {wanted:,}"


def compare(name: str, case: Case, options: argparse.Namespace) -> str:
    """All programs, in turn; what is told at the end."""
    if options.programs:
        case = replace(case, programs=tuple(options.programs.split(",")))
    if reason := MISSING.get(case.server, postfix.missing)():
        print(f"\n{name}: left out, {reason}")
        return f"| {case} | left out | |"
    print(f"\n{name}: {case}, best of {options.rounds}")
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
        server = stack.enter_context(SERVERS[case.server](folder))
        port = server.port
        if case.rtt or not options.no_line:
            port = stack.enter_context(Line(port, rtt=case.rtt)).port
        yield Bench(case, folder, server, port, archive, small_archive)


# ---- The command


def own_case(options: argparse.Namespace) -> Case:
    programs = Case.programs if options.server in ("lmtp", "postfix") else DATA_ONLY
    slow = SLOW if options.rtt else ()
    return Case(options.messages, options.rtt, server=options.server, programs=programs, slow=slow, few=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"of {', '.join(CASES)}; separated by commas")
    parser.add_argument("--server", choices=tuple(SERVERS), default="lmtp", help="of a case of your own")
    parser.add_argument("--messages", type=int, help="a case of your own, of mixed sizes")
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds, of a case of your own")
    parser.add_argument("--no-line", action="store_true", help="at RTT 0 straight to the server")
    parser.add_argument("--programs", help="only these of a case's, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--fresh", action="store_true", help="on a new file system in an image (needs root)")
    options = parser.parse_args()
    if options.messages:
        lines = [compare("yours", own_case(options), options)]
    else:
        names = options.only.split(",") if options.only else list(CASES)
        lines = [compare(name, CASES[name], options) for name in names]
    print("\n| case | mailmove | others |\n|---|---|---|", *lines, sep="\n")


if __name__ == "__main__":
    main()
