"""How fast messages become findable, and are found.

    python -m tests.bench.search [--messages 10000 100000] [--kind varied|small|mixed] [--folder DIR]

Strategy: for each number of messages an archive is made by a real run (not timed); `mailmove index` then runs as a
process of its own, timed by its own report, its peak memory by the kernel. Each query is asked several times in this
process, opening search.db anew each time, and the median counts; `search` as a command is timed too, interpreter
included. Goals (issue 5): 800 messages/s, some 50 ms a query, memory that does not grow. Prints, and never judges.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mailmove.archive import Archive, GroupLimits, Reader, Received
from mailmove.archive.search.find import Finder
from mailmove.archive.search.query import parse
from mailmove.jobs.group import Group
from mailmove.model import MaildropEntry, MessageNumber, UniqueId
from tests.support import mails

KINDS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "varied": lambda n: itertools.chain.from_iterable(mails.varied(min(500, n - i), i) for i in range(0, n, 500)),
    "small": mails.small,
    "mixed": mails.mixed,
}
GOAL = 800
ROUNDS = 7
LIMIT = 100
QUERIES = (
    "needle",  # in 20 messages, whatever their number
    "Grüße zwei",
    '"über list"',
    "subject:Grüße* -attached",
    "has:attachment after:2010-01-01 larger:5k",
    "from:example.org",  # all of them
    "maildrop:me@pop.example before:2010-01-01",
)
NEEDLES = 20


def make(folder: Path, number: int, kind: str) -> int:
    """An archive of so many messages, twenty of them with a word that the others do not have; its octets."""
    group, octets = Group(GroupLimits()), 0
    with Archive.open(folder, create_missing=True) as archive:
        archive.begin_run("pull", "me@pop.example")
        archive.begin_session()
        for at, message in enumerate(KINDS[kind](number)):
            content = message + (b"needle\r\n" if at % (number // NEEDLES) == 0 else b"")
            draft = archive.draft()
            archive.write(draft, content)
            archive.finish(draft)
            octets += len(content)
            group.add(Received(MaildropEntry(MessageNumber(at + 1), UniqueId(f"uid-{at}"), len(content)), draft))
            if group.due(settled=True):
                archive.commit(group.take())
        archive.commit(group.take())
        archive.end_run("complete", {"stored": number})
    return octets


def index(folder: Path) -> tuple[float, float, float]:
    """(seconds, seconds of processor, peak megabytes) of `mailmove index`, as a process of its own."""
    program = (
        "import sys, time; from mailmove.cli.app import command_line\n"
        "sys.argv = ['mailmove', 'index', '-q', '--json', '-a', sys.argv[1]]\n"
        "try: command_line()()\n"
        "except SystemExit: pass\n"
        "print(time.process_time())\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    said = subprocess.run([sys.executable, "-c", program, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    document, processor, memory = said.stdout.rstrip().rsplit("\n", 2)
    return float(json.loads(document)["seconds"]), float(processor), int(memory) / 1000


def ask(folder: Path, query: str) -> tuple[int, float, float]:
    """(how many, milliseconds for the newest, milliseconds to count all)."""
    number, newest, counted = 0, [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        with Finder.open(Reader.open(folder).layout) as finder:
            finder.hits(parse(query), LIMIT)
            newest.append(time.perf_counter() - started)
            started = time.perf_counter()
            number = finder.count(parse(query))
            counted.append(time.perf_counter() - started)
    return number, 1000 * statistics.median(newest), 1000 * statistics.median(counted)


def command(folder: Path) -> float:
    """Milliseconds of the whole command, from the shell and back."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "mailmove", "search", QUERIES[0], "-a", str(folder)], check=True, capture_output=True
        )
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def report(folder: Path, number: int, kind: str) -> None:
    octets = make(folder, number, kind)
    seconds, processor, memory = index(folder)
    found = (folder / "search.db").stat().st_size
    print(f"\n{number:,} messages ({kind}), {octets / 1e6:,.0f} MB:")
    print(
        f"  index: {seconds:.1f} s, {number / seconds:,.0f} messages/s (goal: {GOAL}), {processor:.1f} s of processor,"
    )
    print(f"         peak memory {memory:.0f} MB, search.db {found / 1e6:,.0f} MB;")
    print(f"         a second pass over nothing new: {index(folder)[0]:.2f} s")
    print(f"  the command `search {QUERIES[0]}`: {command(folder):.0f} ms\n")
    print(f"  {'query':46}{'found':>9}{f'newest {LIMIT}':>13}{'count':>10}")
    for query in QUERIES:
        many, newest, counted = ask(folder, query)
        print(f"  {query:46}{many:>9,}{newest:>10.1f} ms{counted:>7.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kind", choices=KINDS, default="varied")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    options = parser.parse_args()
    for number in options.messages:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="mailmove-bench-") as top:
            report(Path(top) / "mail.mailmove", number, options.kind)


if __name__ == "__main__":
    main()
