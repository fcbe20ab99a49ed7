"""kill -9 of a pull at random moments, then one more run: the archive holds exactly the maildrop.

Strategy: half of the kills come when a random number of octets has gone down (the proxy holds the rest back until the
process is dead), half after a random time since the first octet, up to the time a whole run takes, so that commits,
the end of the run and the closing are hit too. Directly after a kill, before mailmove has repaired anything, no log
record may be without its file. Groups of 4, so that there are many of all the steps a kill can come between.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, Result, finish, kill, start_mailmove
from tests.support.client import HOST, fetch_all
from tests.support.proxy import Proxy

USER = "killed"
ROUNDS = 8
KILLS, KILLS_IF_FULL = 5, 7  # in each round


@dataclass(frozen=True)
class Mailbox:
    """What is pulled, and what pulling it takes when nobody kills it."""

    port: int
    expected: dict[str, bytes]
    octets: int
    seconds: float


@pytest.fixture(scope="module")
def mailbox(needs_dovecot: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    with Dovecot(ssl=False) as server:
        server.seed(USER, [*mails.varied(80, seed=1), *mails.mixed(40, seed=2)])
        port = server.ports["pop3"]
        octets, seconds = measure(port, tmp_path_factory.mktemp("whole") / "mail.mailmove")
        yield Mailbox(port, fetch_all(port, USER), octets, seconds)


def measure(port: int, archive: Path) -> tuple[int, float]:
    """Octets that go down in one whole run, and the seconds from the first of them to its end."""
    begun: list[float] = []
    with Proxy(port) as proxy:
        proxy.at(1, lambda session: begun.append(time.monotonic()))
        result = finish(start(proxy.port, archive))
        assert result.code == 0, result
        return proxy.down, time.monotonic() - begun[0]


def start(port: int, archive: Path) -> subprocess.Popen[str]:
    source = f"pop3://{USER}@{HOST}:{port}"
    options = ("--maildrop", USER, "--allow-plaintext", "--json", "--group-messages", 4)
    return start_mailmove("pull", source, "-a", archive, *options, *PASSWORD_FROM_ENV)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_after_a_kill_one_more_run_has_exactly_the_maildrop(
    mailbox: Mailbox, archive_dir: Path, seed: int, full: bool, number: int
) -> None:
    rng = random.Random(f"kill {seed} {number}")
    kills = KILLS_IF_FULL if full else KILLS
    for n in range(kills):
        kill_and_resume(mailbox, archive_dir / str(n), rng, by_octets=(number + n) % 2 == 0)


def kill_and_resume(mailbox: Mailbox, archive: Path, rng: random.Random, *, by_octets: bool) -> None:
    """One kill and one more run. A kill by octets always finds the process running; one by time may come too late."""
    with Proxy(mailbox.port) as proxy:
        when = rng.randrange(1, mailbox.octets) if by_octets else rng.uniform(0, mailbox.seconds)
        said = killed_at(proxy, archive, when)
        assert said.code == -signal.SIGKILL or (said.code == 0 and not by_octets), said
        assert_no_record_without_a_file(archive)
        again = finish(start(proxy.port, archive))
    assert again.code == 0, (when, again)
    archives.assert_exactly(archive, mailbox.expected)


def killed_at(proxy: Proxy, archive: Path, when: float) -> Result:
    """A pull killed when `when` octets (int) have gone down, or `when` seconds (float) after the first."""
    process = start(proxy.port, archive)
    if isinstance(when, int):
        proxy.at(when, lambda session: kill(process))
        return finish(process)
    timer = threading.Timer(when, kill, (process,))
    proxy.at(1, lambda session: timer.start())
    result = finish(process)
    timer.cancel()
    timer.join()
    return result


def assert_no_record_without_a_file(archive: Path) -> None:
    """Complete lines only: the last one may be torn. A file with a wrong hash counts as none."""
    sound = {name for name, octets in archives.files(archive).items() if archives.digest(octets) == name}
    segments = sorted((archive / "log").glob("*.jsonl"))
    lines = [line for path in segments for line in path.read_bytes().splitlines(keepends=True)]
    logged = [json.loads(line) for line in lines if line.endswith(b"\n")]
    assert {record["digest"] for record in logged if record["t"] in ("add", "place")} <= sound
