"""A disk that takes long while the server waits for QUIT: it hears from us meanwhile, whatever it answers to that.

Strategy: the first commit waits until the peer has heard NOOP, or has broken the connection at it; so nobody sleeps,
and a pull that said nothing would never end its commit. What counts is the archive, and what the peer heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from mailmove.archive import Archive, Filed, GroupLimits, Received
from tests.hostile.peer import Peer, Quirks, Rule, Then
from tests.hostile.scenario import Scenario, job_for, pull, usual
from tests.support import archives

PATIENCE = 20.0
LETTERS = usual(6)
Wait = Callable[[Peer], None]


def until_noop(peer: Peer) -> None:
    assert peer.stalled.wait(PATIENCE), "no NOOP came"
    peer.go_on.set()


def until_the_end(peer: Peer) -> None:
    assert peer.sessions[0].ended.wait(PATIENCE), "no NOOP came, at which the connection was to break"


def at_noop(reply: bytes | None, then: Then) -> Quirks:
    return Quirks(rules=[Rule("NOOP", reply, then, after=0, times=1)])


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Peer, Wait], None]]:
    """Makes the first commit wait; a server is to hear from us all the time."""
    monkeypatch.setattr("mailmove.jobs.receiving.KEEP_ALIVE", 0.01)
    commit, waited = Archive.commit, Event()

    def make(peer: Peer, wait: Wait) -> None:
        def slowly(archive: Archive, items: list[Received]) -> list[Filed]:
            if not waited.is_set():
                waited.set()
                wait(peer)
            return list(commit(archive, items))

        monkeypatch.setattr(Archive, "commit", slowly)

    yield make
    assert waited.is_set()


@pytest.mark.parametrize("group", [256, 8], ids=["the only group", "the last but one"])
@pytest.mark.parametrize("reply", [None, b"-ERR what is NOOP?\r\n"], ids=["answered", "refused"])
def test_the_server_hears_from_us_and_quit_comes_last(
    archive_dir: Path, slow: Callable[[Peer, Wait], None], reply: bytes | None, group: int
) -> None:
    with Peer(LETTERS, at_noop(reply, Then.STALL)) as peer:
        slow(peer, until_noop)
        options = {"group": GroupLimits(messages=group)}
        code, report, _ = pull(job_for(Scenario("", (), options=options), peer, archive_dir, None))
        (session,) = peer.sessions
        assert (code, report["stored"], session.verbs[-1]) == (0, 6, "QUIT"), report
        assert session.verbs.index("NOOP") > session.commands.index("RETR 6"), "nothing was in flight"
    archives.assert_exactly(archive_dir, {letter.unique_id: letter.body for letter in LETTERS})


@pytest.mark.parametrize("group", [256, 8], ids=["the only group", "the last but one"])
@pytest.mark.parametrize(("reply", "then"), [(b"", Then.RESET), (b"what?\r\n", Then.RESET)], ids=["broken", "nonsense"])
def test_a_connection_that_ends_meanwhile_loses_nothing(
    archive_dir: Path, slow: Callable[[Peer, Wait], None], reply: bytes, then: Then, group: int
) -> None:
    with Peer(LETTERS, Quirks(rules=[Rule("NOOP", reply, then, times=1)])) as peer:
        slow(peer, until_the_end)
        options = {"group": GroupLimits(messages=group)}
        code, report, _ = pull(job_for(Scenario("", (), options=options), peer, archive_dir, None))
        assert (code, report["stored"], report["suspect"]) == (0, 6, 0), report
        assert sum(session.verbs.count("RETR") for session in peer.sessions) == 6, "all were committed"
        assert "QUIT" not in peer.sessions[0].verbs and peer.sessions[-1].verbs[-1] == "QUIT"
    archives.assert_exactly(archive_dir, {letter.unique_id: letter.body for letter in LETTERS})


def test_a_disk_that_is_fast_enough_costs_the_server_no_command(archive_dir: Path) -> None:
    with Peer(LETTERS) as peer:
        assert pull(job_for(Scenario("", ()), peer, archive_dir, None))[0] == 0
        assert "NOOP" not in peer.sessions[0].verbs
