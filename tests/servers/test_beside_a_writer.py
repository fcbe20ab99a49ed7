"""Two processes at once on one archive: a second writer is told who is there, or waits; readers are never in the way.

Strategy: a real pull from a real Dovecot, held in the middle of a message by the proxy for as long as the others take,
so that none of them is early or late. Two moments of a commit that a proxy cannot hold are held in this process: files
renamed and not yet logged, and a log that is ahead of the catalogue, whose transaction is open.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.log import Log
from tests.servers.dovecot import Dovecot
from tests.servers.test_pull import plain_words
from tests.support import archives, mails
from tests.support.cli import REPO, Result, environment, finish, kill, mailmove, start_mailmove
from tests.support.client import fetch_all
from tests.support.proxy import Proxy, Session
from tests.support.replaying import plain_replay
from tests.unit.archive.making import commit, running, some, store

HELD_AT = 400_000  # octets that have gone down; the messages have some 50,000 each, and a group is of four
BUSY = 75


@pytest.fixture(scope="module")
def server(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False) as server:
        yield server


@pytest.fixture
def mailbox(server: Dovecot, user: str) -> Dovecot:
    server.seed(user, mails.mixed(40, seed=81))
    return server


def pull(port: int, user: str, archive: Path, *more: object) -> Result:
    return mailmove(*plain_words(port, user, archive), *more)


def during_a_pull(
    server: Dovecot, user: str, archive: Path, act: Callable[[subprocess.Popen[str]], Any]
) -> tuple[Result, Any]:
    """A pull, and what `act` returned while it was held in the middle of a message, and alive."""
    done: list[Any] = []
    with Proxy(server.ports["pop3"]) as proxy:
        process = start_mailmove(*plain_words(proxy.port, user, archive), "--group-messages", 4)

        def held(session: Session) -> None:
            until_a_group_is_durable(archive)
            assert process.poll() is None
            done.append(act(process))

        proxy.at(HELD_AT, held)
        result = finish(process, 300)
    assert len(done) == 1, "nothing was done while it was held"
    return result, done[0]


def until_a_group_is_durable(archive: Path) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 30
    while not logged(archive):
        assert time.monotonic() < deadline, f"nothing was stored of {HELD_AT} octets"
        pause.wait(0.02)


def logged(archive: Path) -> list[str]:
    """The digests that the log tells of now; its last line may still be on its way."""
    lines = (line for path in (archive / "log").glob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True))
    found = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return sorted({record["digest"] for record in found if record["t"] == "add"})


# ---- readers


def look(archive: Path, port: int, user: str) -> dict[str, Result]:
    """Every command that only reads, and the one that fills the index."""
    digest = logged(archive)[0]
    found = {
        "status": mailmove("status", "-a", archive, "--json"),
        "verify": mailmove("verify", "-a", archive, "--json"),
        "checkpoint": mailmove("checkpoint", "-a", archive, "--json"),
        "index": mailmove("index", "-a", archive, "--json"),
        "search": mailmove("search", "larger:0", "-a", archive, "--json", "--limit", "1000"),
        "show": mailmove("show", digest, "-a", archive, "--json"),
        "raw": mailmove("show", digest, "-a", archive, "--attachments", archive.parent / "saved"),
        "replay": plain_replay(port, user, archive, "--dry-run"),
    }
    assert {name: one.code for name, one in found.items()} == dict.fromkeys(found, 0), found
    return found


def test_readers_work_while_a_pull_is_in_the_middle_of_a_message(
    mailbox: Dovecot, user: str, archive_dir: Path
) -> None:
    """A group may be on its way to the disk meanwhile, so each sees what was durable before, or a little more."""
    durable: list[int] = []

    def act(process: subprocess.Popen[str]) -> dict[str, Result]:
        durable.append(len(logged(archive_dir)))
        found = look(archive_dir, mailbox.ports["imap"], user)
        durable.append(len(logged(archive_dir)))
        assert process.poll() is None
        return found

    result, found = during_a_pull(mailbox, user, archive_dir, act)
    assert result.code == 0, result
    before, after = durable
    assert 0 < before <= after < len(logged(archive_dir)) == 40
    assert {one["kind"] for one in found["verify"].json()["findings"]} <= {"leftover"}
    assert (found["index"].json()["damaged"], found["search"].json()["not_indexed"]) == (0, 0)
    seen = [
        ("status", "messages"),
        ("verify", "proven"),
        ("index", "indexed"),
        ("search", "count"),
        ("replay", "selected"),
    ]
    for name, number in seen:
        assert before <= found[name].json()[number] <= after, (name, durable, found[name])
    archives.assert_exactly(archive_dir, fetch_all(mailbox.ports["pop3"], user))
    assert mailmove("verify", "-a", archive_dir).code == 0


MOMENTS = {"before-the-log": (Log, "append"), "before-the-catalogue": (Catalogue, "advance")}


@pytest.mark.parametrize("moment", MOMENTS)
def test_readers_work_in_the_middle_of_a_commit(
    moment: str, mailbox: Dovecot, user: str, archive_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files renamed and not logged; logged, and the catalogue's transaction open: readers see what was before."""
    owner, name = MOMENTS[moment]
    first, second = some(3, seed=1), some(3, seed=2)
    store(archive_dir, first)
    seen: list[dict[str, Result]] = []
    whole = getattr(owner, name)

    def held(*args: object) -> object:
        if name == "advance":
            whole(*args)
        if not seen:
            seen.append(look(archive_dir, mailbox.ports["imap"], user))
        return None if name == "advance" else whole(*args)

    with running(archive_dir) as archive:
        monkeypatch.setattr(owner, name, held)
        commit(archive, *second)
        archive.end_run("complete", {"stored": 3})
    (found,) = seen
    logged = 3 if moment == "before-the-catalogue" else 0
    assert found["status"].json()["messages"] == found["search"].json()["count"] == len(first)
    assert found["verify"].json()["proven"] == len(first) + logged
    assert {one["kind"] for one in found["verify"].json()["findings"]} == (set() if logged else {"leftover"})
    assert (found["status"].json()["uncatalogued"] > 0) == bool(logged)
    archives.assert_exactly(archive_dir, {mail.unique_id: mail.octets for mail in [*first, *second]})


# ---- writers


def test_a_second_writer_is_told_the_pid_and_the_start_of_the_first(
    mailbox: Dovecot, user: str, archive_dir: Path
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    def act(process: subprocess.Popen[str]) -> list[Result]:
        second = pull(mailbox.ports["pop3"], user, archive_dir)
        others = [
            mailmove("skip", "x", "--reason", "y", "-a", archive_dir, "--json"),
            mailmove("rebuild", "-a", archive_dir, "--json"),
            plain_replay(mailbox.ports["imap"], user, archive_dir),
        ]
        for one in (second, *others):
            told = re.search(r"in use by process (\d+), running since (\S+);", one.stderr)
            assert (one.code, one.json()["error"]["class"]) == (BUSY, "ArchiveBusy") and told, one
            started = datetime.fromisoformat(told[2])
            assert int(told[1]) == process.pid and before <= started <= datetime.now(UTC) + timedelta(seconds=1)
            assert "--wait" in one.stderr and len(one.stderr.splitlines()) == 1, one
        return [second, *others]

    result, _ = during_a_pull(mailbox, user, archive_dir, act)
    assert result.code == 0, result
    archives.assert_exactly(archive_dir, fetch_all(mailbox.ports["pop3"], user))


SAYS_THAT_IT_WAITS = """
import sys, time
sleep, told = time.sleep, []
def and_say_so(seconds):
    if not told:
        told.append(print("waiting", file=sys.stderr, flush=True))
    sleep(seconds)
time.sleep = and_say_so
from mailmove.cli import main
main()
"""


def test_a_second_writer_that_waits_goes_on_when_the_first_has_ended(
    mailbox: Dovecot, user: str, archive_dir: Path
) -> None:
    def act(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        words = plain_words(mailbox.ports["pop3"], user, archive_dir)
        second = subprocess.Popen(
            [sys.executable, "-c", SAYS_THAT_IT_WAITS, *map(str, words), "--wait", "300", "-q"],
            cwd=REPO, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert second.stderr is not None and second.stderr.readline() == "waiting\n"
        return second

    result, second = during_a_pull(mailbox, user, archive_dir, act)
    with contextlib.closing(second.stdout), second:
        report = json.loads(second.communicate(timeout=300)[0])
    assert (result.code, second.returncode) == (0, 0), report
    assert (report["stored"], report["already_archived"]) == (0, result.json()["listed"])
    archives.assert_exactly(archive_dir, fetch_all(mailbox.ports["pop3"], user))


def test_the_lock_of_a_killed_pull_blocks_nobody(mailbox: Dovecot, user: str, archive_dir: Path) -> None:
    killed, _ = during_a_pull(mailbox, user, archive_dir, kill)
    assert killed.code == -signal.SIGKILL and (archive_dir / "lock").read_text().startswith("pid ")
    again = pull(mailbox.ports["pop3"], user, archive_dir)
    assert again.code == 0, again
    archives.assert_exactly(archive_dir, fetch_all(mailbox.ports["pop3"], user))
