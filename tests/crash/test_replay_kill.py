"""kill -9 of a replay at random moments, then one more run: the mailbox holds every message once.

Strategy: half of the kills come when a random number of octets has gone up to the server, half after a random time;
the seed also draws the server (all of what Dovecot offers, or less), the window, how many copies of twins are wanted,
and whether archive.db is deleted in between. What the dead client had written still reaches the server, as it would in
life, so the second run must wait for it and look. The messages are the hard ones: without Message-ID, with equal ones,
equal headers, byte-identical twins, and some the server rewrites. The second runs mostly wait, so several kills are
under way at once, each with a user and an archive of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.hostile.imap_peer import ImapPeer, ImapQuirks
from tests.servers import cyrus
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import Result, finish, kill, start_mailmove
from tests.support.imap_referee import Referee
from tests.support.line import Line
from tests.support.proxy import Action, Proxy, close, reset
from tests.support.replaying import (
    assert_adds_up,
    assert_delivered_once,
    at_target,
    fill,
    plain_replay,
    rewritten,
    url,
    words,
)

KILLS, KILLS_IF_FULL = 24, 200
CYRUS_KILLS, CYRUS_KILLS_IF_FULL = 6, 50
AT_ONCE = 8
WINDOWS = (1, 2, 7, 16, 64)
NO_BATCHES = "imap_capability = IMAP4rev1 LITERAL+ UIDPLUS NAMESPACE SPECIAL-USE"
ONE_BY_ONE = "imap_capability = IMAP4rev1 UIDPLUS NAMESPACE SPECIAL-USE"


def hard_messages() -> list[bytes]:
    """Beside these every server gets what it rewrites, if it takes that at all."""
    equal_headers = [b"From: a@example.org\r\nSubject: Alert\r\n\r\nNumber %03d\r\n" % n for n in range(15)]
    equal_ids = [b"Message-ID: <same@example.org>\r\n\r\nNumber %02d\r\n" % n for n in range(8)]
    twins = [b"Subject: twin %d\r\n\r\nthe same\r\n" % (n // 3) for n in range(9)]
    return [*equal_headers, *mails.varied(60, seed=61), *equal_ids, *twins, *mails.mixed(12, seed=62)]


def rewritten_messages() -> list[bytes]:
    return [b"Subject: %d\r\n\r\na\x00b\nc\r\r\n" % n for n in range(6)]


Place = tuple[int, Callable[[], list[bytes]]]
"""A port, and what the mailbox that is reached by it holds."""


@dataclass(frozen=True)
class Case:
    """What is delivered, where to, and what it takes when nobody kills it. `place`: of a user, for a stack's life."""

    place: Callable[[ExitStack, str], Place]
    archive: Path
    messages: list[bytes]
    octets: int = 0
    seconds: float = 0.0
    server: Dovecot | None = None

    @property
    def port(self) -> int:
        assert self.server
        return self.server.ports["imap"]

    @property
    def once(self) -> list[bytes]:
        return list(dict.fromkeys(self.messages))

    def measured(self, folder: Path) -> Case:
        """The same with what one undisturbed replay takes."""
        copy = folder / "measured.mailmove"
        shutil.copytree(self.archive, copy)
        with ExitStack() as stack:
            proxy = stack.enter_context(Proxy(self.place(stack, "measured")[0]))
            began: list[float] = []
            proxy.at(1, lambda session: began.append(time.monotonic()))
            result = finish(start(proxy.port, "measured", copy, "--keep-duplicates"))
            assert result.code == 0, result
            return replace(self, octets=proxy.up, seconds=time.monotonic() - began[0])


def on(server: Dovecot) -> Callable[[ExitStack, str], Place]:
    return lambda stack, user: (server.ports["imap"], lambda: [one.octets for one in at_target(server, user)])


def on_a_peer(capabilities: str, appended: bytes = b"") -> Callable[[ExitStack, str], Place]:
    def place(stack: ExitStack, user: str) -> Place:
        peer = stack.enter_context(ImapPeer(ImapQuirks(capabilities=capabilities, appended=appended)))
        return peer.port, lambda: peer.account["INBOX"].stored

    return place


@pytest.fixture(scope="module")
def cases(needs_dovecot: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """The same mail for servers of several kinds: all that Dovecot offers, or less, or less than was promised."""
    folder = tmp_path_factory.mktemp("cases")
    hard, all_of_them = hard_messages(), [*hard_messages(), *rewritten_messages()]
    plain, archive = fill(folder / "plain.mailmove", hard), fill(folder / "mail.mailmove", all_of_them)
    made = {
        "no UIDs": Case(on_a_peer("IMAP4rev1 LITERAL+ MULTIAPPEND"), plain, hard),
        "UIDs promised": Case(on_a_peer("IMAP4rev1 LITERAL+ UIDPLUS", b"OK taken"), plain, hard),
        "small literals": Case(on_a_peer("IMAP4rev1 LITERAL- UIDPLUS"), plain, hard),
    }
    with ExitStack() as stack:
        for name, extra in {"batches": "", "no batches": NO_BATCHES, "one by one": ONE_BY_ONE}.items():
            server = stack.enter_context(Dovecot(ssl=False, extra=extra))
            made[name] = Case(on(server), archive, all_of_them, server=server)
        yield {name: case.measured(tmp_path_factory.mktemp("one")) for name, case in made.items()}


@pytest.fixture(scope="module")
def case(cases: dict[str, Case]) -> Case:
    return cases["batches"]


def start(port: int, user: str, archive: Path, *more: object) -> subprocess.Popen[str]:
    return start_mailmove(*words(url(port, user), archive, "--allow-plaintext", *more))


def test_after_a_kill_one_more_run_has_every_message_once(
    cases: dict[str, Case], tmp_path: Path, seed: int, full: bool
) -> None:
    kill_often(list(cases.values()), KILLS_IF_FULL if full else KILLS, tmp_path, f"{seed}")


def test_cyrus_has_every_message_once_too(tmp_path: Path, seed: int, full: bool) -> None:
    if reason := cyrus.missing():
        unavailable(reason)
    messages = hard_messages()
    with Cyrus(extra="munge8bit: no") as server:

        def place(stack: ExitStack, user: str) -> Place:
            return server.ports["imap"], lambda: stored_at(server.ports["imap"], user)

        case = Case(place, fill(tmp_path / "mail.mailmove", messages), messages).measured(tmp_path)
        kill_often([case], CYRUS_KILLS_IF_FULL if full else CYRUS_KILLS, tmp_path, f"cyrus {seed}")


def stored_at(port: int, user: str) -> list[bytes]:
    with Referee(port, user) as referee:
        return [one.octets for one in referee.stored("INBOX")]


def kill_often(cases: list[Case], kills: int, folder: Path, seed: str) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(kill_and_resume, cases[n % len(cases)], folder / str(n), f"killed.{n}", f"{seed} {n}")
            for n in range(kills)
        ]
        for job in jobs:
            job.result()


def kill_and_resume(case: Case, archive: Path, user: str, seed: str) -> None:
    """One kill and one more run. A kill by octets always finds the process running; one by time may come too late."""
    rng = random.Random(f"replay kill {seed}")
    shutil.copytree(case.archive, archive)
    twins, window, rebuilt = rng.random() < 0.5, rng.choice(WINDOWS), rng.random() < 0.25
    options = ("--window", window, *["--keep-duplicates"] * twins)
    with ExitStack() as stack:
        port, stored = case.place(stack, user)
        proxy = stack.enter_context(Proxy(port))
        by_octets = rng.random() < 0.5
        when = rng.randrange(1, case.octets * 9 // 10) if by_octets else rng.uniform(0, case.seconds)
        said = killed_at(proxy, user, archive, when, *options)
        assert said.code == -signal.SIGKILL or (said.code == 0 and not by_octets), said
        if rebuilt:
            (archive / "archive.db").unlink(missing_ok=True)
        again = plain_replay(proxy.port, user, archive, *options)
        assert again.code == 0, (seed, when, options, again)
        assert_adds_up(again.json())
        wanted = Counter(map(rewritten, case.messages if twins else case.once))
        found = Counter(stored())
        assert found == wanted, (
            seed,
            when,
            options,
            f"{(wanted - found).total()} missing, {(found - wanted).total()} extra",
        )
        assert plain_replay(proxy.port, user, archive, *options).json()["delivered"] == 0


def killed_at(proxy: Proxy, user: str, archive: Path, when: float, *options: object) -> Result:
    """A replay killed when `when` octets (int) have gone up, or `when` seconds (float) after the greeting."""
    process = start(proxy.port, user, archive, *options)
    if isinstance(when, int):
        proxy.at_up(when, lambda session: kill(process))
        return finish(process)
    timer = threading.Timer(when, kill, (process,))
    proxy.at(1, lambda session: timer.start())
    result = finish(process)
    timer.cancel()
    timer.join()
    return result


@pytest.mark.parametrize("action", [reset, close], ids=["reset", "closed"])
@pytest.mark.parametrize("name", ["batches", "no batches", "one by one", "no UIDs", "UIDs promised", "small literals"])
def test_a_connection_that_breaks_in_the_middle_of_a_message(
    cases: dict[str, Case], name: str, archive_dir: Path, user: str, seed: int, action: Action
) -> None:
    case = cases[name]
    shutil.copytree(case.archive, archive_dir)
    rng = random.Random(f"replay drop {seed} {action} {name}")
    with ExitStack() as stack:
        port, stored = case.place(stack, user)
        proxy = stack.enter_context(Proxy(port))
        for where in sorted(rng.sample(range(2_000, case.octets * 9 // 10), 2)):
            proxy.at_up(where, action)
        result = plain_replay(proxy.port, user, archive_dir)
        assert result.code == 0, result
        assert result.json()["delivered"] == result.json()["selected"]
        assert result.json()["retries"] >= 1
        assert Counter(stored()) == Counter(map(rewritten, case.once))


@pytest.mark.parametrize("how", ["rst", "stall"])
def test_a_line_that_is_cut_or_goes_silent_in_the_middle_of_a_literal(
    case: Case, archive_dir: Path, user: str, seed: int, how: str
) -> None:
    shutil.copytree(case.archive, archive_dir)
    where = random.Random(f"replay cut {seed} {how}").randrange(3_000, case.octets * 9 // 10)
    with Line(case.port, rtt=0.01, cut_after=where, cut_times=1, cut_how=how, cut_up=True) as line:
        result = plain_replay(line.port, user, archive_dir, "--timeout", "2")
    assert result.code == 0, result
    assert result.json()["delivered"] == result.json()["selected"] and result.json()["retries"] >= 1
    assert case.server
    assert_delivered_once(at_target(case.server, user), case.once)


# ---- A server that is still at work on a dead connection's bytes


def imap_process(server: Dovecot, user: str) -> int:
    """The pid of the process that serves this user, by the log line of the last login."""
    lines = [line for line in server.log.splitlines() if "imap-login: Info: Login" in line and f"<{user}>" in line]
    return int(lines[-1].partition("mpid=")[2].split(",")[0])


def test_a_server_that_was_held_and_goes_on_during_the_next_run(case: Case, archive_dir: Path, user: str) -> None:
    """SIGSTOP while the message is on its way, kill -9 of mailmove, SIGCONT while the next run watches."""
    shutil.copytree(case.archive, archive_dir)
    with Proxy(case.port) as proxy:
        held = hold_in_flight(proxy, case, archive_dir, user)
        try:
            process = start(case.port, user, archive_dir)
            assert process.stderr is not None
            said = process.stderr.readline()
        finally:
            os.kill(held, signal.SIGCONT)
        assert "watching the target" in said, said
        result = finish(process)
    assert result.code == 0, result
    assert result.json()["extra_at_target"] == 0
    assert case.server
    assert_delivered_once(at_target(case.server, user), case.once)


def hold_in_flight(proxy: Proxy, case: Case, archive: Path, user: str) -> int:
    """Stops the server's process, waits until mailmove waits for it, and kills mailmove. Returns the server's pid."""
    pids: list[int] = []

    def hold(session: object) -> None:
        assert case.server
        pids.append(imap_process(case.server, user))
        os.kill(pids[0], signal.SIGSTOP)

    process = start(proxy.port, user, archive)
    proxy.at_up(case.octets // 2, hold)
    waiting = threading.Event()
    while process.poll() is None and not (pids and stalled(proxy, waiting)):
        waiting.wait(0.05)
    kill(process)
    finish(process)
    assert archives.unsettled(archive), "nothing was under way"
    return pids[0]


def stalled(proxy: Proxy, waiting: threading.Event) -> bool:
    """Nothing has gone up for a while: mailmove awaits an answer."""
    before = proxy.up
    waiting.wait(1.0)
    return proxy.up == before


def test_a_copy_too_many_is_told_of_and_not_deleted(case: Case, user: str, archive_dir: Path) -> None:
    """The server kept a cut-off delivery after all, and shows it only while it is being sent again."""
    message = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 2_000
    middle = len(message) // 2

    def late_copy(session: object) -> None:
        with Referee(case.port, user) as referee:
            referee.add("INBOX", message)

    fill(archive_dir, [message])
    with Proxy(case.port) as proxy:
        process = start(proxy.port, user, archive_dir)
        proxy.at_up(middle, lambda session: [kill(process), reset(session)])
        finish(process)
        assert archives.unsettled(archive_dir)
        proxy.at_up(2 * middle, late_copy)
        resumed = start(proxy.port, user, archive_dir)
        result = finish(resumed)
    assert result.code == 3, result
    assert result.json()["extra_at_target"] == 1
    assert [one["kind"] for one in result.json()["exceptions"]] == ["extra_at_target"]
    assert case.server
    assert [one.octets for one in at_target(case.server, user)] == [message, message]
