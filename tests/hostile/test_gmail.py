"""Gmail-like servers: a few hundred messages a session, and what was retrieved is hidden after QUIT, without DELE.

Strategy: QUIT is the point of no return there, so it may come only when everything retrieved is archived. A run is
stopped in mid session in each way there is; then nothing is hidden, and the next command ends with all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailmove.archive import Archive, Filed, GroupLimits, Received
from mailmove.errors import ArchiveFull
from mailmove.jobs import PullJob
from mailmove.jobs.pull import run_pull
from tests.hostile.peer import Letter, Peer, Quirks, Rule, Then, refuse
from tests.hostile.scenario import PARTIAL, TRY_AGAIN, Hasty, Scenario, job_for, pull, text, usual
from tests.support import archives
from tests.support.cli import PASSWORD_FROM_ENV, kill, start_mailmove
from tests.support.client import HOST

BATCH, MANY, INTERRUPTED = 250, 620, 130
GMAIL = Quirks(shows=BATCH, hides_fetched=True)
ALL = usual(MANY)
SMALL_GROUPS = {"group": GroupLimits(messages=40)}


@pytest.fixture
def gmail() -> Iterator[Peer]:
    with Peer(ALL, GMAIL) as peer:
        yield peer


def job(peer: Peer, archive: Path, **options: object) -> PullJob:
    return job_for(Scenario("", (), options={**SMALL_GROUPS, **options}), peer, archive, None)


def assert_nothing_is_hidden(peer: Peer) -> None:
    assert peer.maildrop.fetched == set() and all("QUIT" not in session.verbs for session in peer.sessions)


def assert_the_next_run_gets_all(peer: Peer, archive: Path) -> None:
    code, report, _ = pull(job(peer, archive))
    assert code == 0 and report["stored"] + report["already_archived"] == MANY, report
    archives.assert_exactly(archive, {letter.unique_id: letter.body for letter in ALL})


def test_one_command_ends_with_all_of_them(gmail: Peer, archive_dir: Path) -> None:
    code, report, _ = pull(job(gmail, archive_dir))
    assert (code, report["listed"], report["stored"]) == (0, MANY, MANY), report
    assert len(gmail.sessions) <= MANY // BATCH + 2
    archives.assert_exactly(archive_dir, {letter.unique_id: letter.body for letter in ALL})


def test_an_interrupted_run_hides_nothing(gmail: Peer, archive_dir: Path) -> None:
    context = Hasty()
    context.ok = lambda: sum(session.verbs.count("RETR") for session in gmail.sessions) == 0
    report = run_pull(job(gmail, archive_dir), context)
    assert report.exit_code == INTERRUPTED
    assert_nothing_is_hidden(gmail)
    assert_the_next_run_gets_all(gmail, archive_dir)


def test_a_full_disk_hides_nothing(gmail: Peer, archive_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, times = Archive.commit, iter(range(10_000))

    def full(archive: Archive, items: list[Received]) -> list[Filed]:
        if next(times) == 2:
            raise ArchiveFull("No space left on device.")
        return list(commit(archive, items))

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "commit", full)
        code, report, _ = pull(job(gmail, archive_dir))
    assert code == TRY_AGAIN and 0 < report["stored"] < BATCH, report
    assert_nothing_is_hidden(gmail)
    assert_the_next_run_gets_all(gmail, archive_dir)


def test_a_dropped_connection_hides_nothing_that_is_not_archived(archive_dir: Path) -> None:
    drop = Rule("RETR 100", then=Then.CLOSE, after=10, session=1)
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[drop])) as peer:
        assert_the_next_run_gets_all(peer, archive_dir)
        assert "QUIT" not in peer.sessions[0].verbs


def test_kill_9_in_mid_session_hides_nothing(archive_dir: Path) -> None:
    stall = Rule("RETR 100", then=Then.STALL, after=10, session=1)
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[stall])) as peer:
        words = ("--allow-plaintext", "--maildrop", "M", "-q", "--group-messages", 40, *PASSWORD_FROM_ENV)
        process = start_mailmove("pull", f"pop3://me@{HOST}:{peer.port}", "-a", archive_dir, *words)
        try:
            assert peer.stalled.wait(30)
        finally:
            kill(process)
            process.communicate()
        assert_nothing_is_hidden(peer)
        peer.go_on.set()
        assert_the_next_run_gets_all(peer, archive_dir)


def test_a_lost_quit_does_not_hold_up_the_batches_behind_it(archive_dir: Path) -> None:
    """All of a batch is archived, and QUIT never arrives: the server goes on to list this batch and no other."""
    pytest.skip("pending: known messages are not retrieved again to have them hidden")
    drop = Rule("QUIT", reply=b"", then=Then.CLOSE, session=1)
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[drop])) as peer:
        assert_the_next_run_gets_all(peer, archive_dir)


def test_a_batch_with_a_suspect_is_not_hidden_before_the_second_look(archive_dir: Path) -> None:
    """design.md 6.4: a session with mismatches ends without QUIT where the provider hides fetched mail."""
    pytest.skip("pending: no profile says yet which provider hides fetched mail, so QUIT is sent in any case")
    torn, whole = text("odd", 3), text("odd", 30)
    odd = Letter("odd", torn, listed=len(whole), later=[whole])
    with Peer([*ALL[:150], odd], GMAIL) as peer:
        code, report, _ = pull(job(peer, archive_dir))
    assert (code, report["stored"], report["suspect"]) == (0, 151, 0), report
    assert archives.digest(whole) in archives.files(archive_dir)


def test_a_refused_message_hides_no_later_batch(archive_dir: Path) -> None:
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[refuse("RETR 7", "-ERR no", times=1)])) as peer:
        code, report, _ = pull(job(peer, archive_dir))
    assert (code, report["stored"], report["parked"]) == (PARTIAL, MANY - 1, 1), report


def test_an_ordinary_maildrop_of_a_few_hundred_costs_one_session_a_night(archive_dir: Path) -> None:
    with Peer(ALL[:300]) as peer:
        assert pull(job(peer, archive_dir))[1]["stored"] == 300
        seen = len(peer.sessions)
        peer.becomes(ALL[:303], None)
        assert pull(job(peer, archive_dir))[1]["stored"] == 3
        assert len(peer.sessions) == seen + 1
