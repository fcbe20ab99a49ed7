"""Trouble in the middle of a replay: a target that breaks off, a damaged message, Ctrl-C. Nothing is lost or doubled.

Strategy: a real Dovecot behind a line that is cut at a chosen octet, again and again or for good; afterwards the same
archive is replayed directly, and the mailbox must hold every message once. After each cut mailmove watches the target
for some seconds, by design, so such cases run at the same time (SLOW), each with a user and an archive of its own.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.cli.test_bad_input import refused
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import Result, finish, kill, mailmove, start_mailmove
from tests.support.client import HOST
from tests.support.imap_referee import Referee
from tests.support.line import Line
from tests.support.proxy import Proxy, Session, reset
from tests.support.replaying import (
    assert_adds_up,
    assert_delivered_once,
    at_target,
    fill,
    plain_replay,
    replay,
    rewritten,
    url,
    words,
)
from tests.unit.archive.making import alter

SMALL = mails.varied(8, seed=95)
HEAD = b"Message-ID: <huge@example.org>\r\n\r\n"
HUGE = HEAD + (b"x" * 70 + b"\r\n") * 5_000
MESSAGES = [*SMALL[:5], HUGE, *SMALL[5:]]
ON_THE_WAY = 200_000
"""All small messages are before this octet of a connection, and the huge one is not through."""


@pytest.fixture(scope="module")
def plain_dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    """Without TLS, so that octets can be counted."""
    with Dovecot(ssl=False) as server:
        yield server


Case = Callable[[Dovecot, str, Path], None]


@pytest.fixture(scope="module")
def cases(plain_dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """All slow cases are under way from here on; their results are waited for one by one."""
    folder = tmp_path_factory.mktemp("slow")
    with ThreadPoolExecutor(len(SLOW)) as pool:
        yield {
            name: pool.submit(case, plain_dovecot, f"slow.{name}", folder / f"{name}.mailmove")
            for name, case in SLOW.items()
        }


# ---- A target that breaks off


def breaks_in_one_message(server: Dovecot, user: str, archive: Path, how: str) -> None:
    """Whenever the huge message is under way. It is parked and named, the others arrive (P8)."""
    fill(archive, MESSAGES)
    with Line(server.ports["imap"], cut_after=ON_THE_WAY, cut_times=99, cut_how=how, cut_up=True) as line:
        result = plain_replay(line.port, user, archive, "--timeout", 20)
    assert (result.code, result.json()["outcome"]) == (3, "partial"), result
    assert (result.json()["delivered"], result.json()["parked"]) == (8, 1)
    assert_adds_up(result.json())
    (exception,) = result.json()["exceptions"]
    assert (exception["kind"], exception["digest"]) == ("parked", archives.digest(HUGE))
    assert "Traceback" not in result.stderr
    assert_delivered_once(at_target(server, user), SMALL)
    retried = plain_replay(server.ports["imap"], user, archive, "--retry-parked")
    assert (retried.code, retried.json()["delivered"], retried.json()["already_there"]) == (0, 1, 8), retried
    assert_delivered_once(at_target(server, user), MESSAGES)


def is_gone_for_good(server: Dovecot, user: str, archive: Path) -> None:
    """In the middle of the huge message; nobody answers any more."""
    fill(archive, MESSAGES)
    with Proxy(server.ports["imap"]) as proxy, socket.socket() as taken:
        taken.bind((HOST, 0))

        def go(session: Session) -> None:
            proxy.to = taken.getsockname()[1]
            reset(session)

        proxy.at_up(ON_THE_WAY, go)
        result = plain_replay(proxy.port, user, archive)
    assert (result.code, result.json()["outcome"]) == (75, "failed"), result
    assert result.json()["error"]["message"] in result.stderr and "Traceback" not in result.stderr
    assert_adds_up(result.json())
    delivered, pending = result.json()["delivered"], result.json()["pending"]
    assert pending and delivered + pending == len(MESSAGES)
    again = plain_replay(server.ports["imap"], user, archive)
    assert (again.code, again.json()["delivered"]) == (0, pending), again
    assert_delivered_once(at_target(server, user), MESSAGES)


# ---- Ctrl-C, and what a service manager sends


def stops(server: Dovecot, user: str, archive: Path, how: int) -> None:
    """It says how to go on, and does."""
    fill(archive, MESSAGES)
    with Proxy(server.ports["imap"]) as proxy:
        process = start_mailmove(*words(url(proxy.port, user), archive, "--allow-plaintext"))
        proxy.at_up(ON_THE_WAY, lambda session: kill(process, how))
        result = finish(process)
    assert (result.code, result.json()["outcome"]) == (130, "interrupted"), result
    assert len(result.stderr.splitlines()) == 1 and "again to resume" in result.stderr, result
    assert_adds_up(result.json())
    again = plain_replay(server.ports["imap"], user, archive)
    assert again.code == 0, again
    assert again.json()["delivered"] + again.json()["already_there"] == len(MESSAGES)
    assert_delivered_once(at_target(server, user), MESSAGES)


def test_as_text_it_says_the_same(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, MESSAGES)
    with Proxy(plain_dovecot.ports["imap"]) as proxy:
        command = words(url(proxy.port, user), archive_dir, "--allow-plaintext")
        process = start_mailmove(*(word for word in command if word != "--json"))
        proxy.at_up(ON_THE_WAY, lambda session: kill(process, signal.SIGINT))
        result = finish(process)
    assert result.code == 130 and "again to resume" in result.stderr, result
    assert result.stdout.startswith("Interrupted (run the same command again to resume)")
    assert re.search(r" 9  selected\n +\d  delivered\n", result.stdout), result


# ---- A damaged archive


@pytest.mark.parametrize("harm", [Path.unlink, alter], ids=["missing", "altered"])
def test_a_damaged_message_is_named_and_the_others_are_delivered(
    dovecot: Dovecot, user: str, archive_dir: Path, harm: Callable[[Path], object]
) -> None:
    fill(archive_dir, MESSAGES)
    path = file_of(archive_dir, HUGE)
    harm(path)
    for delivered in (8, 0):
        result = replay(dovecot, user, archive_dir)
        refused(result, 4, "mailmove verify")
        assert_adds_up(result.json())
        assert result.json()["delivered"] == delivered
        assert named(result) == [("damaged", archives.digest(HUGE))]
    assert_delivered_once(at_target(dovecot, user), SMALL)
    assert mailmove("verify", "-a", archive_dir).code == 4
    path.unlink(missing_ok=True)
    path.write_bytes(HUGE)
    healed = replay(dovecot, user, archive_dir)
    assert (healed.code, healed.json()["delivered"]) == (0, 1), healed
    assert_delivered_once(at_target(dovecot, user), MESSAGES)


def file_of(archive: Path, octets: bytes) -> Path:
    return archive / "mail" / archives.digest(octets)[:3] / f"{archives.digest(octets)}.eml"


def named(result: Result) -> list[tuple[str, str]]:
    return [(one["kind"], one["digest"]) for one in result.json()["exceptions"]]


def damaged_when_it_must_be_recognised(server: Dovecot, user: str, archive: Path) -> None:
    """The server has it, rewritten, when mailmove is killed; at the next run its file here is damaged, then healed."""
    message = b"Subject: large\n\n" + b"0123456789abcdef\n" * 20_000
    fill(archive, [message, *SMALL])
    cut_off(server, user, archive, len(message) // 2)
    with Referee(server.ports["imap"], user) as referee:
        referee.add("INBOX", rewritten(message))
    path = file_of(archive, message)
    alter(path)
    assert plain_replay(server.ports["imap"], user, archive).code == 4
    path.unlink()
    path.write_bytes(message)
    healed = plain_replay(server.ports["imap"], user, archive)
    assert (healed.code, healed.json()["delivered"], healed.json()["already_there"]) == (0, 0, 9), healed
    assert_delivered_once(at_target(server, user), [message, *SMALL])


def cut_off(server: Dovecot, user: str, archive: Path, octets: int) -> None:
    """A replay that is killed, its connection with it, when so many octets have gone up."""
    with Proxy(server.ports["imap"]) as proxy:
        process = start_mailmove(*words(url(proxy.port, user), archive, "--allow-plaintext"))
        proxy.at_up(octets, lambda session: [kill(process), reset(session)])
        finish(process)
    assert archives.unsettled(archive), "nothing was under way"


def test_a_damaged_message_is_not_called_missing(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    """The mailbox was made anew and holds it, rewritten; its file here is damaged when that is looked at."""
    message, to = b"Subject: one\n\nbody\n", ("--mailbox", "Old", "--redeliver-missing")
    fill(archive_dir, [message])
    port, path = plain_dovecot.ports["imap"], file_of(archive_dir, message)
    assert plain_replay(port, user, archive_dir, *to).code == 0
    with Referee(port, user) as referee:
        referee.delete("Old")
        referee.create("Old")
        referee.add("Old", rewritten(message))
    alter(path)
    assert plain_replay(port, user, archive_dir, *to).json()["missing"] == 1
    path.unlink()
    path.write_bytes(message)
    healed = plain_replay(port, user, archive_dir, *to)
    assert (healed.code, healed.json()["already_there"]) == (0, 1), healed
    assert_delivered_once(at_target(plain_dovecot, user, "Old"), [message])


# ---- What takes long


SLOW: dict[str, Case] = {
    "reset": partial(breaks_in_one_message, how="rst"),
    "closed": partial(breaks_in_one_message, how="fin"),
    "gone": is_gone_for_good,
    "int": partial(stops, how=signal.SIGINT),
    "term": partial(stops, how=signal.SIGTERM),
    "damaged": damaged_when_it_must_be_recognised,
}


@pytest.mark.parametrize("name", SLOW)
def test_nothing_is_lost_or_doubled(cases: dict[str, Future[None]], name: str) -> None:
    cases[name].result()
