"""kill -9 of a replay over SMTP or LMTP at random moments, then one more run: nothing is lost, nothing is there twice.

Strategy: half of the kills come when a random number of octets has gone up to the server, half after a random time; the
seed also draws the server (scripted, in each way a message can be sent; or Dovecot's LMTP), the window, and whether
archive.db is deleted in between. A relay shows nothing of what it has taken. So after one more run each (recipient,
message) is at the server, or named uncertain, or both; none is there twice; and no more are uncertain than can have
been under way. Only --resend-uncertain sends those again, and then everything is there.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unavailable
from tests.hostile.smtp_peer import SmtpPeer, SmtpQuirks, without
from tests.servers import dovecot as dovecot_server
from tests.servers.dovecot import Dovecot
from tests.support import mails
from tests.support.cli import Result, finish, kill, start_mailmove
from tests.support.proxy import Proxy
from tests.support.relaying import (
    Pair,
    arrived,
    assert_accounted,
    assert_polite,
    delivered_by_lmtp,
    named,
    pairs,
    words,
)
from tests.support.replaying import fill

KILLS, KILLS_IF_FULL = 14, 100
AT_ONCE = 4
WINDOWS = (1, 2, 7, 16)
FEW, MANY = 32, 512
"""Messages that are announced and not settled, at most: where each costs a round trip, and where chunks follow each
other without waiting (relay_pace.py); fewer with a smaller --window."""

FLIGHTS = without("CHUNKING", "BINARYMIME")
ONE_BY_ONE = without("CHUNKING", "BINARYMIME", "PIPELINING")
WAYS = {
    "chunks": SmtpQuirks(),
    "flights": SmtpQuirks(extensions=FLIGHTS),
    "one by one": SmtpQuirks(extensions=ONE_BY_ONE),
    "lmtp chunks": SmtpQuirks(lmtp=True),
    "lmtp flights": SmtpQuirks(lmtp=True, extensions=FLIGHTS),
    "lmtp one by one": SmtpQuirks(lmtp=True, extensions=ONE_BY_ONE),
}


def hard_messages() -> list[bytes]:
    """Without Message-ID, with equal ones, equal headers, twins: nothing that a server could tell them apart by."""
    equal_headers = [b"From: a@example.org\r\nSubject: Alert\r\n\r\nNumber %03d\r\n" % n for n in range(25)]
    equal_ids = [b"Message-ID: <same@example.org>\r\n\r\nNumber %02d\r\n" % n for n in range(8)]
    twins = [b"Subject: twin %d\r\n\r\nthe same\r\n" % (n // 3) for n in range(9)]
    return [*equal_headers, *mails.varied(60, seed=81), *equal_ids, *twins, *mails.mixed(12, seed=82)]


@dataclass(frozen=True)
class Place:
    """Where it goes: a port, and what has come for each recipient. `leave` waits until no session is at work on it."""

    port: int
    found: Callable[[], list[tuple[str, bytes]]]
    leave: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Case:
    """What is delivered, to whom, and what it takes when nobody kills it. `place`: a new one, for a stack's life."""

    place: Callable[[ExitStack, Sequence[str]], Place]
    archive: Path
    messages: list[bytes]
    lmtp: bool
    recipients: int
    most: int
    octets: int = 0
    seconds: float = 0.0

    def to(self, name: str) -> tuple[str, ...]:
        return tuple(f"{name}.{n}@new.example" for n in range(self.recipients))

    def measured(self, folder: Path) -> Case:
        """The same with what one undisturbed replay takes."""
        copy = folder / "measured.mailmove"
        shutil.copytree(self.archive, copy)
        with ExitStack() as stack:
            to = self.to("measured")
            proxy = stack.enter_context(Proxy(self.place(stack, to).port))
            began: list[float] = []
            proxy.at(1, lambda session: began.append(time.monotonic()))
            result = finish(self.start(proxy.port, copy, to))
            assert result.code == 0, result
            return replace(self, octets=proxy.up, seconds=time.monotonic() - began[0])

    def start(self, port: int, archive: Path, to: Iterable[str], *more: object) -> subprocess.Popen[str]:
        return start_mailmove(*words(port, archive, *more, lmtp=self.lmtp, to=to))


def on_a_peer(quirks: SmtpQuirks) -> Callable[[ExitStack, Sequence[str]], Place]:
    def place(stack: ExitStack, to: Sequence[str]) -> Place:
        peer = stack.enter_context(SmtpPeer(quirks))
        return Place(peer.port, lambda: peer.arrived, peer.wait, lambda: assert_polite(peer))

    return place


def on_dovecot(server: Dovecot) -> Callable[[ExitStack, Sequence[str]], Place]:
    return lambda stack, to: Place(server.ports["lmtp"], lambda: delivered_by_lmtp(server, to))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("filled") / "mail.mailmove", hard_messages())


@pytest.fixture(scope="module")
def cases(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    made = [
        Case(
            *(on_a_peer(quirks), archive, hard_messages(), quirks.lmtp, 2 if quirks.lmtp else 1),
            most=MANY if quirks.offers("CHUNKING") else FEW,
        )
        for quirks in WAYS.values()
    ]
    return [case.measured(tmp_path_factory.mktemp("one")) for case in made]


@pytest.fixture(scope="module")
def dovecot_case(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    if reason := dovecot_server.lmtp_missing():
        unavailable(reason)
    with Dovecot(ssl=False, lmtp=True) as server:
        case = Case(on_dovecot(server), archive, hard_messages(), lmtp=True, recipients=2, most=MANY)
        yield case.measured(tmp_path_factory.mktemp("one"))


def test_after_a_kill_nothing_is_lost_and_nothing_is_there_twice(
    cases: list[Case], tmp_path: Path, seed: int, full: bool
) -> None:
    kill_often(cases, KILLS_IF_FULL if full else KILLS, tmp_path, f"{seed}")


def test_nor_at_dovecot(dovecot_case: Case, tmp_path: Path, seed: int, full: bool) -> None:
    kill_often([dovecot_case], (KILLS_IF_FULL if full else KILLS) // 2, tmp_path, f"dovecot {seed}")


def kill_often(cases: list[Case], kills: int, folder: Path, seed: str) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(kill_and_resume, cases[n % len(cases)], folder / str(n), f"killed{n}", f"{seed} {n}")
            for n in range(kills)
        ]
        for job in jobs:
            job.result()


def kill_and_resume(case: Case, archive: Path, name: str, seed: str) -> None:
    """One kill and the runs after it. A kill by octets always finds the process running; one by time may be late."""
    rng = random.Random(f"relay kill {seed}")
    shutil.copytree(case.archive, archive)
    window = rng.choice(WINDOWS) if rng.random() < 0.5 else 0
    options = ("--window", window) if window else ()
    rebuilt, by_octets, to = rng.random() < 0.25, rng.random() < 0.5, case.to(name)
    when = rng.randrange(1, case.octets * 9 // 10) if by_octets else rng.uniform(0, case.seconds)
    with ExitStack() as stack:
        place = case.place(stack, to)
        said = killed_at(case, place.port, archive, to, when, *options)
        assert said.code == -signal.SIGKILL or (said.code == 0 and not by_octets), (seed, said)
        place.leave()
        if rebuilt:
            (archive / "archive.db").unlink(missing_ok=True)
        left = unsettled(archive)
        assert len(left) <= (window or case.most) * len(to), (seed, when, options, len(left))
        resumed(case, place, archive, to, options, left, f"{seed}: killed at {when}, {options}, rebuilt: {rebuilt}")


def resumed(
    case: Case, place: Place, archive: Path, to: Sequence[str], options: tuple[object, ...], left: set[Pair], how: str
) -> None:
    """`left`: what the log had announced, and not settled."""
    again = finish(case.start(place.port, archive, to, *options))
    place.leave()
    there = assert_accounted(again, place.found(), case.messages, to)
    uncertain = named(again.json(), "uncertain", to)
    assert again.code == (3 if uncertain else 0), (how, again)
    assert uncertain == left, (how, again)
    assert set(there) | uncertain == pairs(case.messages, to), (how, again)
    third = finish(case.start(place.port, archive, to, *options))
    assert (third.json()["delivered"], named(third.json(), "uncertain", to)) == (0, uncertain), (how, third)
    assert arrived(place.found(), case.messages) == there, (how, third)
    everything(case, place, archive, to, uncertain, how)


def everything(case: Case, place: Place, archive: Path, to: Sequence[str], uncertain: set[Pair], how: str) -> None:
    """What may be there is sent again if that is asked for, and nothing else is."""
    before = arrived(place.found(), case.messages)
    last = finish(case.start(place.port, archive, to, "--resend-uncertain"))
    place.leave()
    assert (last.code, last.json()["delivered"]) == (0, len(uncertain)), (how, last)
    after = arrived(place.found(), case.messages)
    assert after == before + Counter(uncertain), (how, last)
    assert set(after) == pairs(case.messages, to), (how, last)
    place.check()


def unsettled(archive: Path) -> set[Pair]:
    """What was announced and of which the log says nothing more; a line that is cut off in the middle is none."""
    open_ones: set[Pair] = set()
    intended: dict[int, str] = {}
    for number, record in enumerate(whole_records(archive)):
        if record["t"] == "intend":
            intended[number] = record["mailbox"]
            open_ones |= {(record["mailbox"], digest) for digest in record["digests"]}
        elif "intend" in record:
            open_ones.discard((intended[record["intend"]], record["digest"]))
    return open_ones


def whole_records(archive: Path) -> Iterator[dict[str, Any]]:
    """Every record of a log whose last line may be cut off."""
    for segment in sorted((archive / "log").glob("*.jsonl")):
        yield from (json.loads(line) for line in segment.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))


def killed_at(case: Case, port: int, archive: Path, to: Sequence[str], when: float, *options: object) -> Result:
    """A replay killed when `when` octets (int) have gone up, or `when` seconds (float) after the greeting.

    When it returns, the proxy has passed on what the dead client had written.
    """
    with Proxy(port) as proxy:
        process = case.start(proxy.port, archive, to, *options)
        if isinstance(when, int):
            proxy.at_up(when, lambda session: kill(process))
            said = finish(process)
        else:
            timer = threading.Timer(when, kill, (process,))
            proxy.at(1, lambda session: timer.start())
            said = finish(process)
            timer.cancel()
            timer.join()
        proxy.wait(len(proxy.sessions))
        return said
