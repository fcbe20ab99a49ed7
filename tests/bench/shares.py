"""Where the time of a pull goes, step by step: `python -m tests.bench.shares [--messages 5000]`.

Strategy: one pull in this process, from a Dovecot, with a stopwatch around the function that is each step. A step's own
time is without the steps it calls; processor time says what a step costs, the rest of its time is waiting (for the
server, the disk, or the other thread). The stopwatch costs some time itself: shares are what to look at.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from mailmove import archive, net
from mailmove.archive import drafts, durable, log, store
from mailmove.cli.pull import pull
from mailmove.jobs import receiving
from mailmove.protocols.pop3 import framing
from tests.servers.dovecot import Dovecot
from tests.support import mails
from tests.support.cli import PASSWORD_NAME, environment
from tests.support.client import HOST

STEPS: tuple[tuple[str, object, str], ...] = (
    ("read", net.Stream, "exchange"),
    ("un-stuff", framing.Framer, "read_block"),
    ("keep, and find the header", drafts.Draft, "write"),
    ("hash", drafts.Draft, "_hash_waiting"),
    ("open and write", drafts.Draft, "_write_waiting"),
    ("sync", durable.SystemSyncer, "_sync"),
    ("sync", durable, "sync_file"),
    ("sync", log, "sync_file"),
    ("rename", store.Store, "_rename"),
    ("header", archive, "read_headers"),
    ("log", log.Log, "append"),
    ("catalogue", archive.Archive, "_decide"),
    ("catalogue", archive.Archive, "_append"),
    ("wait for the group before", receiving.Receiver, "_keep_up"),
    ("all the rest of retrieving", receiving.Receiver, "retrieve"),
)


class Clock(threading.local):
    """The time of the steps that were called within each open one, of one thread."""

    def __init__(self) -> None:
        self.within: list[list[float]] = []


def watched(step: str, function: Callable[..., Any], clock: Clock, spent: dict[str, list[float]]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **options: Any) -> Any:
        clock.within.append([0.0, 0.0])
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            return function(*args, **options)
        finally:
            took = time.perf_counter() - wall, time.thread_time() - processor
            inner = clock.within.pop()
            for n in range(2):
                spent[step][n] += took[n] - inner[n]
                if clock.within:
                    clock.within[-1][n] += took[n]

    return timed


def measure(port: int, user: str, folder: Path) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    clock = Clock()
    for step, owner, name in STEPS:
        setattr(owner, name, watched(step, getattr(owner, name), clock, spent))
    source = f"pop3://{user}@{HOST}:{port}"
    try:
        pull(source, folder / "mail.mailmove", password_env=PASSWORD_NAME, allow_plaintext=True, quiet=True)
    except typer.Exit as ended:
        if ended.exit_code:
            raise
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    options = parser.parse_args()
    os.environ[PASSWORD_NAME] = environment()[PASSWORD_NAME]
    with Dovecot(ssl=False) as server, tempfile.TemporaryDirectory(dir=options.folder) as folder:
        server.seed("u", mails.mixed(options.messages))
        spent = measure(server.ports["pop3"], "u", Path(folder))
    everything = sum(processor for _, processor in spent.values())
    print(f"{'step':28}{'processor':>10}{'share':>8}{'waiting':>10}")
    for step, (wall, processor) in spent.items():
        print(f"{step:28}{processor:>8.2f} s{processor / everything:>8.0%}{max(wall - processor, 0):>8.2f} s")


if __name__ == "__main__":
    main()
