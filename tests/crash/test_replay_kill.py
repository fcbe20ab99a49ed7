"""kill -9 of a replay at random moments, then one more run: the mailbox holds every message once.

Strategy: half of the kills come when a random number of octets has gone up to the server, half after a random time.
What the dead client had written still reaches the server, as it would in life, so the second run must wait for it and
look. The messages are the hard ones: without Message-ID, with equal ones, equal headers, and some the server rewrites.
The second runs mostly wait, so several kills are under way at once, each with a user and an archive of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import Result, finish, kill, start_mailmove
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, close, reset
from tests.support.replaying import assert_adds_up, assert_delivered_once, at_target, fill, plain_replay, url, words

KILLS, KILLS_IF_FULL = 20, 60
AT_ONCE = 8


def hard_messages() -> list[bytes]:
    equal_headers = [b"From: a@example.org\r\nSubject: Alert\r\n\r\nNumber %03d\r\n" % n for n in range(15)]
    equal_ids = [b"Message-ID: <same@example.org>\r\n\r\nNumber %02d\r\n" % n for n in range(8)]
    rewritten = [b"Subject: %d\r\n\r\na\x00b\nc\r\r\n" % n for n in range(6)]
    return [*equal_headers, *mails.varied(60, seed=61), *equal_ids, *rewritten, *mails.mixed(12, seed=62)]


@dataclass(frozen=True)
class Case:
    """What is delivered, from where, and what it takes when nobody kills it."""

    server: Dovecot
    archive: Path
    messages: list[bytes]
    octets: int
    seconds: float

    @property
    def port(self) -> int:
        return self.server.ports["imap"]


@pytest.fixture(scope="module")
def case(needs_dovecot: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    messages = hard_messages()
    archive = fill(tmp_path_factory.mktemp("whole") / "mail.mailmove", messages)
    with Dovecot(ssl=False) as server:
        copy = tmp_path_factory.mktemp("measured") / "mail.mailmove"
        shutil.copytree(archive, copy)
        with Proxy(server.ports["imap"]) as proxy:
            began: list[float] = []
            proxy.at(1, lambda session: began.append(time.monotonic()))
            result = finish(start(proxy.port, "measured", copy))
            assert result.code == 0, result
            yield Case(server, archive, messages, proxy.up, time.monotonic() - began[0])


def start(port: int, user: str, archive: Path) -> subprocess.Popen[str]:
    return start_mailmove(*words(url(port, user), archive, "--allow-plaintext"))


def test_after_a_kill_one_more_run_has_every_message_once(case: Case, tmp_path: Path, seed: int, full: bool) -> None:
    kills = KILLS_IF_FULL if full else KILLS
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(kill_and_resume, case, tmp_path / str(n), f"killed.{n}", f"{seed} {n}") for n in range(kills)
        ]
        for job in jobs:
            job.result()


def kill_and_resume(case: Case, archive: Path, user: str, seed: str) -> None:
    """One kill and one more run. A kill by octets always finds the process running; one by time may come too late."""
    rng = random.Random(f"replay kill {seed}")
    shutil.copytree(case.archive, archive)
    with Proxy(case.port) as proxy:
        by_octets = rng.random() < 0.5
        when = rng.randrange(1, case.octets) if by_octets else rng.uniform(0, case.seconds)
        said = killed_at(proxy, user, archive, when)
        assert said.code == -signal.SIGKILL or (said.code == 0 and not by_octets), said
        again = plain_replay(case.port, user, archive)
    assert again.code == 0, (when, again)
    assert_adds_up(again.json())
    assert_delivered_once(at_target(case.server, user), case.messages)
    assert plain_replay(case.port, user, archive).json()["delivered"] == 0


def killed_at(proxy: Proxy, user: str, archive: Path, when: float) -> Result:
    """A replay killed when `when` octets (int) have gone up, or `when` seconds (float) after the greeting."""
    process = start(proxy.port, user, archive)
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
def test_a_connection_that_breaks_in_the_middle_of_a_message(
    case: Case, archive_dir: Path, user: str, seed: int, action: object
) -> None:
    shutil.copytree(case.archive, archive_dir)
    rng = random.Random(f"replay drop {seed} {action}")
    with Proxy(case.port) as proxy:
        for where in sorted(rng.sample(range(2_000, case.octets), 2)):
            proxy.at_up(where, action)  # type: ignore[arg-type]
        result = plain_replay(proxy.port, user, archive_dir)
    assert result.code == 0, result
    assert result.json()["delivered"] == result.json()["selected"]
    assert result.json()["retries"] >= 1
    assert_delivered_once(at_target(case.server, user), case.messages)


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
    assert_delivered_once(at_target(case.server, user), case.messages)


def hold_in_flight(proxy: Proxy, case: Case, archive: Path, user: str) -> int:
    """Stops the server's process, waits until mailmove waits for it, and kills mailmove. Returns the server's pid."""
    pids: list[int] = []

    def hold(session: object) -> None:
        pids.append(imap_process(case.server, user))
        os.kill(pids[0], signal.SIGSTOP)

    process = start(proxy.port, user, archive)
    proxy.at_up(case.octets // 2, hold)
    waiting = threading.Event()
    while process.poll() is None and not (pids and stalled(proxy, waiting)):
        waiting.wait(0.05)
    kill(process)
    finish(process)
    assert archives.records(archive)[-1]["t"] == "intend"
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
        assert archives.records(archive_dir)[-1]["t"] == "intend"
        proxy.at_up(2 * middle, late_copy)
        resumed = start(proxy.port, user, archive_dir)
        result = finish(resumed)
    assert result.code == 3, result
    assert result.json()["extra_at_target"] == 1
    assert [one["kind"] for one in result.json()["exceptions"]] == ["extra_at_target"]
    assert [one.octets for one in at_target(case.server, user)] == [message, message]
