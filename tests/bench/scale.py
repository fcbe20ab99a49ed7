"""What grows with the archive, and what does not: the same small job on archives of 10^4, 10^5 and 10^6 messages.

    python -m tests.bench.scale [--sizes 10000,100000,1000000] [--rounds 7] [--folder DIR] [--keep] [--all-listed]

Strategy: the archives are made as a pull makes them, through Archive.commit, in runs of 10,000 small messages; each run
finds that what the run before brought has gone from the server, as with a mailbox that is tidied up. So the mailbox
always holds the last 10,000, and what is measured differs in nothing but the size of the archive: opening it for
writing, `status`, the plan of a pull from a mailbox of 11,000 of which 1,000 are new, and a search for a word that 20
messages have, the same in each archive (all of it is indexed before, as `mailmove index` does). Each measurement is a
process of its own, the sizes in turn, and the best round counts; imports and the start of Python are not in it, but
they are in the memory, the peak RSS of that process. `--all-listed` leaves everything on the server: then the listing
itself, and the plan with it, is as long as the archive. `--keep` leaves the archives in the folder, to be used again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mailmove.archive import Archive, GroupLimits, Reader, Received
from mailmove.archive.listings import Listings
from mailmove.archive.search.find import Finder
from mailmove.archive.search.query import parse
from mailmove.archive.summary import summarise
from mailmove.jobs import Context
from mailmove.jobs.group import Group
from mailmove.jobs.index import IndexJob, run_index
from mailmove.jobs.plan import plan_pull
from mailmove.model import MaildropEntry, MessageNumber, UniqueId
from tests.bench.archive import peak_memory

SIZES = "10000,100000,1000000"
MAILDROP = "me@pop.example"
A_RUN = 10_000
NEW = 1_000
AT_ONCE = 500  # ids in one `gone` record, as jobs/look.py has it
GOAL = 1.5
NEEDLE = "needle"
NEEDLES = range(0, A_RUN, A_RUN // 20)  # the messages that have the word
LIMIT = 100  # as `search` has it
FILLER = b"the same line of text in each of them, as in a notification by a machine\r\n" * 4


def content(number: int) -> bytes:
    """A small message, no two alike."""
    head = (
        f"Received: from a.example by b.example; Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <{number}@scale.example>"
        f"\r\nDate: Mon, 1 Jan 2024 09:59:58 +0000\r\nFrom: a@example.org\r\nTo: me@example.net\r\nSubject: {number}"
        "\r\n\r\n"
    )
    return head.encode("ascii") + FILLER + (f"{NEEDLE}\r\n".encode("ascii") if number in NEEDLES else b"")


def entry(number: int) -> MaildropEntry:
    return MaildropEntry(MessageNumber(number + 1), UniqueId(f"{number:010d}"), len(content(number)))


# ---- Making an archive


def make(root: Path, size: int, *, all_listed: bool) -> float:
    """An archive of so many messages; the seconds it took."""
    started = time.perf_counter()
    for first in range(0, size, A_RUN):
        with Archive.open(root, create_missing=True) as archive:
            archive.begin_run("pull", MAILDROP)
            archive.begin_session()
            if first and not all_listed:
                _leave(archive, range(first - A_RUN, first))
            count = min(A_RUN, size - first)
            _store(archive, range(first, first + count))
            archive.end_run("complete", {"listed": count, "stored": count})
    return time.perf_counter() - started


def _leave(archive: Archive, numbers: range) -> None:
    """These are on the server no more."""
    for start in range(numbers.start, numbers.stop, AT_ONCE):
        ids = [list(entry(number)[1:3]) for number in range(start, min(start + AT_ONCE, numbers.stop))]
        archive.append(archive.event("gone", maildrop=MAILDROP, ids=ids))


def _store(archive: Archive, numbers: range) -> None:
    group = Group(GroupLimits(messages=2000))
    for number in numbers:
        draft = archive.draft()
        archive.write(draft, content(number))
        archive.finish(draft)
        group.add(Received(entry(number), draft))
        if group.due(settled=True):
            archive.commit(group.take())
    archive.commit(group.take())


def _index(root: Path) -> None:
    """Makes all of it findable, as `mailmove index` does; what was before is not read again."""
    report = run_index(IndexJob(root), Context())
    if report.indexed:
        rate = f"{report.indexed / report.seconds:,.0f} messages/s"
        print(f"  indexed {report.indexed:,} in {report.seconds:.0f} s ({rate})", file=sys.stderr)


# ---- What is measured, each in a process of its own


def open_it(root: Path, size: int, all_listed: bool) -> float:
    started = time.perf_counter()
    Archive.open(root).close()
    return time.perf_counter() - started


def status(root: Path, size: int, all_listed: bool) -> float:
    started = time.perf_counter()
    reader = Reader.open(root)
    with reader.catalogue() as catalogue:
        summary = summarise(catalogue, reader.log)
    seconds = time.perf_counter() - started
    assert summary.messages == size, summary
    return seconds


def plan(root: Path, size: int, all_listed: bool) -> float:
    """As jobs/look.py looks at a listing; the listing itself, which a server sends, is there before."""
    listing = [entry(number) for number in range(0 if all_listed else max(0, size - A_RUN), size + NEW)]
    with Archive.open(root) as archive:
        started = time.perf_counter()
        listings = Listings(archive.catalogue, MAILDROP, listing)
        still = listings.before == listings.still_listed()
        found = plan_pull(listing, listings.known(), listings.skipped())
        changes = [*listings.absent(), *listings.back()]
        seconds = time.perf_counter() - started
    assert still and not changes and len(found.retrieve) == NEW and len(found.known) == len(listing) - NEW
    return seconds


def search(root: Path, size: int, all_listed: bool) -> float:
    """As cli/search.py asks."""
    started = time.perf_counter()
    with Finder.open(Reader.open(root).layout) as finder:
        hits, missing = finder.hits(parse(NEEDLE), LIMIT), finder.missing()
    seconds = time.perf_counter() - started
    assert sorted(int(hit.subject) for hit in hits) == [number for number in NEEDLES if number < size] and not missing
    return seconds


MEASURED: dict[str, Callable[[Path, int, bool], float]] = {
    "open": open_it,
    "status": status,
    "plan": plan,
    "search": search,
}


def child(what: str, root: Path, size: int, options: argparse.Namespace) -> tuple[float, int]:
    """(seconds, peak octets of memory)."""
    program = [sys.executable, "-m", "tests.bench.scale", "--child", what, "--folder", str(root), "--sizes", str(size)]
    program += ["--all-listed"] if options.all_listed else []
    seconds, octets = json.loads(subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return seconds, octets


def measure(roots: dict[int, Path], options: argparse.Namespace) -> dict[tuple[int, str], tuple[float, int]]:
    """(size, what) -> the least seconds, and the most memory."""
    found: dict[tuple[int, str], tuple[float, int]] = {}
    for _ in range(options.rounds):
        for size, root in roots.items():
            for what in MEASURED:
                seconds, octets = child(what, root, size, options)
                best, most = found.get((size, what), (seconds, octets))
                found[size, what] = (min(best, seconds), max(most, octets))
    return found


# ---- The table


@contextlib.contextmanager
def archives(options: argparse.Namespace) -> Iterator[dict[int, Path]]:
    """The archive of each size: found in the folder, or made, and removed afterwards if nobody wants to keep it."""
    with contextlib.ExitStack() as stack:
        top = options.folder
        if not options.keep:
            top = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=top, prefix="mailmove-bench-")))
        roots = {}
        for size in map(int, options.sizes.split(",")):
            roots[size] = top / f"{'listed' if options.all_listed else 'tidy'}-{size}.mailmove"
            if not roots[size].exists():
                seconds = make(roots[size], size, all_listed=options.all_listed)
                print(f"  made {size:,} in {seconds:.0f} s ({size / seconds:,.0f} messages/s)", file=sys.stderr)
            _index(roots[size])
        yield roots


def report(roots: dict[int, Path], options: argparse.Namespace) -> None:
    found = measure(roots, options)
    first = min(roots)
    print(f"best of {options.rounds}; ratio to {first:,} messages (goal: {GOAL}); most memory (goal: 200 MB)\n")
    print(f"  {'messages':>10}" + "".join(f"{what:>12}{'ratio':>7}" for what in MEASURED) + f"{'memory':>12}")
    for size in sorted(roots):
        cells = [(found[size, what][0], found[first, what][0]) for what in MEASURED]
        memory = max(found[size, what][1] for what in MEASURED)
        row = "".join(f"{1e3 * seconds:>9.1f} ms{seconds / at_first:>7.2f}" for seconds, at_first in cells)
        print(f"  {size:>10,}{row}{memory / 1e6:>9.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help="messages, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--keep", action="store_true", help="leave the archives there, and use what is there")
    parser.add_argument("--all-listed", action="store_true", help="nothing ever leaves the server")
    parser.add_argument("--child", choices=MEASURED, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        seconds = MEASURED[options.child](options.folder, int(options.sizes), options.all_listed)
        print(json.dumps([seconds, peak_memory()]))
        return
    with archives(options) as roots:
        report(roots, options)


if __name__ == "__main__":
    main()
