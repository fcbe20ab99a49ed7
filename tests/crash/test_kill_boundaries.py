"""kill -9 at every boundary of a pull: between two commands, between two replies.

Strategy: an undisturbed run through a recording proxy says where the boundaries are, in octets up and down; Dovecot
says the same again each time, so a kill at that octet is a kill at that boundary. In keep and in delete mode. Right
after each kill nothing may be gone from the server that is not in the archive; after one more run the archive holds
exactly the maildrop, each message once. A seeded sample by default, all with --full; several at once, each with a user
and an archive of its own. Kills at every file-system call: test_syscalls_kill.py.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, finish, kill, mailmove, start_mailmove
from tests.support.client import HOST, fetch_all
from tests.support.proxy import Proxy, Session

MESSAGES = 20
SAMPLE, AT_ONCE = 24, 4
DELETE = ("--delete-after", 0, "--allow-mass-delete")
MULTILINE = re.compile(r"(CAPA|UIDL|LIST|RETR)\b")


class Recorder(Proxy):
    """Keeps what went down."""

    def __init__(self, to: int) -> None:
        super().__init__(to)
        self.said = b""

    def _pass_down(self, session: Session, client: object, data: bytes) -> None:
        self.said += data
        super()._pass_down(session, client, data)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Point:
    """A boundary: so many octets up to the server, or down from it."""

    up: bool
    octets: int


@pytest.fixture(scope="module")
def server(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False) as plain:
        yield plain


def words(port: int, user: str, archive: Path, *more: object) -> tuple[object, ...]:
    source = f"pop3://{user}@{HOST}:{port}"
    options = ("--maildrop", "me", "--allow-plaintext", "--json", "--group-messages", 4, *PASSWORD_FROM_ENV)
    return ("pull", source, "-a", archive, *options, *more)


def boundaries(server: Dovecot, archive: Path, messages: Sequence[bytes], more: Sequence[object]) -> list[Point]:
    """All of them, by one undisturbed run."""
    server.seed("measured", messages)
    with Recorder(server.ports["pop3"]) as proxy:
        result = finish(start_mailmove(*words(proxy.port, "measured", archive, *more)))
        assert result.code == 0, result
        proxy.wait(len(proxy.sessions))
        sessions = [session.commands for session in proxy.sessions]
        said = proxy.said
    server.forget("measured")
    lengths = [len(command) + 2 for commands in sessions for command in commands]
    ups = [Point(True, sum(lengths[: n + 1])) for n in range(len(lengths))]
    return [*ups, *(Point(False, octets) for octets in replies(sessions, said))]


def replies(sessions: Sequence[Sequence[str]], said: bytes) -> Iterator[int]:
    """Where each reply ends, the greeting of each session first."""
    at = 0
    for command in (command for commands in sessions for command in ("the greeting", *commands)):
        end = b"\r\n.\r\n" if MULTILINE.match(command) and not command.startswith("LIST ") else b"\r\n"
        at = said.index(end, at) + len(end)
        yield at
    assert at == len(said)


@pytest.mark.parametrize("more", [(), DELETE], ids=["keep", "delete"])
def test_at_every_boundary_of_the_conversation(
    server: Dovecot, tmp_path: Path, seed: int, full: bool, more: tuple[object, ...]
) -> None:
    messages = mails.varied(MESSAGES, seed=91)
    points = boundaries(server, tmp_path / "measured", messages, more)
    assert len(points) > 2 * MESSAGES
    chosen = points if full else random.Random(f"boundary {seed} {more}").sample(points, min(SAMPLE // 2, len(points)))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        kind = "delete" if more else "keep"
        jobs = [
            pool.submit(kill_at, server, tmp_path / str(n), f"{kind}.{n}", messages, point, more)
            for n, point in enumerate(chosen)
        ]
        for job in jobs:
            job.result()


def kill_at(
    server: Dovecot, archive: Path, user: str, messages: Sequence[bytes], point: Point, more: tuple[object, ...]
) -> None:
    server.seed(user, messages)
    expected = fetch_all(server.ports["pop3"], user)
    with Proxy(server.ports["pop3"]) as proxy:
        (proxy.at_up if point.up else proxy.at)(point.octets, lambda session: kill(process))
        process = start_mailmove(*words(proxy.port, user, archive, *more))
        finish(process)
    assert_nothing_lost(server, archive, user, expected)
    again = mailmove(*words(server.ports["pop3"], user, archive, *more))
    assert again.code == 0, (point, again)
    archives.assert_exactly(archive, expected)
    assert fetch_all(server.ports["pop3"], user) == ({} if more else expected)
    server.forget(user)


def assert_nothing_lost(server: Dovecot, archive: Path, user: str, expected: dict[str, bytes]) -> None:
    """What is not on the server any more is in the archive, file and record."""
    left = fetch_all(server.ports["pop3"], user)
    gone = {archives.digest(octets) for unique_id, octets in expected.items() if unique_id not in left}
    stored = {name for name, octets in archives.files(archive).items() if archives.digest(octets) == name}
    assert gone <= stored


@pytest.mark.parametrize("more", [(), DELETE], ids=["keep", "delete"])
def test_at_random_octets_of_a_larger_job(
    server: Dovecot, tmp_path: Path, seed: int, full: bool, more: tuple[object, ...]
) -> None:
    messages = list(mails.small(200, seed=93))
    points = boundaries(server, tmp_path / "measured", messages, more)
    last = max(point.octets for point in points if not point.up)
    rng, kind = random.Random(f"random octets {seed} {more}"), "delete" if more else "keep"
    chosen = [Point(False, rng.randrange(1, last)) for _ in range(50 if full else 12)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(kill_at, server, tmp_path / str(n), f"large.{kind}.{n}", messages, point, more)
            for n, point in enumerate(chosen)
        ]
        for job in jobs:
            job.result()
