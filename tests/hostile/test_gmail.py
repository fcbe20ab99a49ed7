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
    assert not any("TOP" in session.verbs for session in gmail.sessions), "a new batch is no old one with new ids"
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
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit(session=1)])) as peer:
        assert_the_next_run_gets_all(peer, archive_dir)
        assert transferred(peer) == MANY + BATCH and len(peer.sessions) <= MANY // BATCH + 4


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


# ---- A session that was not ended by QUIT, whose messages stay listed and hold up those behind them


def lost_quit(then: Then = Then.CLOSE, **when: int) -> Rule:
    """QUIT comes to nothing: the server hides nothing, and does not answer."""
    return Rule("QUIT", reply=b"", then=then, **when)  # type: ignore[arg-type]


def transferred(peer: Peer, sessions: slice = slice(None)) -> int:
    """How many messages were asked for."""
    return sum(session.verbs.count("RETR") for session in peer.sessions[sessions])


def kill_at(peer: Peer, archive: Path) -> None:
    """kill -9 as soon as the peer stalls."""
    words = ("--allow-plaintext", "--maildrop", "M", "-q", "--group-messages", 40, *PASSWORD_FROM_ENV)
    process = start_mailmove("pull", f"pop3://me@{HOST}:{peer.port}", "-a", archive, *words)
    try:
        assert peer.stalled.wait(30)
    finally:
        kill(process)
        process.communicate()
    peer.go_on.set()


@pytest.mark.parametrize("session", [2, 3])
def test_a_lost_quit_of_a_later_batch(archive_dir: Path, session: int) -> None:
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit(session=session)])) as peer:
        assert_the_next_run_gets_all(peer, archive_dir)


def test_a_kill_between_the_last_message_of_a_batch_and_quit(archive_dir: Path) -> None:
    """All 250 are archived, and listed again: only the QUIT of a session that fetches them shows what is behind."""
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit(Then.STALL, session=1)])) as peer:
        kill_at(peer, archive_dir)
        assert len(archives.files(archive_dir)) == BATCH and peer.maildrop.fetched == set()
        assert_the_next_run_gets_all(peer, archive_dir)
        assert transferred(peer) == MANY + BATCH
        assert pull(job(peer, archive_dir))[1]["listed"] == 0 and transferred(peer) == MANY + BATCH


def test_many_kills_at_that_point(archive_dir: Path) -> None:
    """Each run is killed there, and still the last one ends with all."""
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit(Then.STALL, times=3)])) as peer:
        for _ in range(3):
            peer.stalled.clear()
            peer.go_on.clear()
            kill_at(peer, archive_dir)
        assert_the_next_run_gets_all(peer, archive_dir)


@pytest.mark.parametrize("number", [100, 240, 249])
def test_what_a_broken_session_left_behind_does_not_narrow_the_batches(archive_dir: Path, number: int) -> None:
    """What came in before the break is listed on and on; it is fetched once more when the server is seen to hide."""
    drop = Rule(f"RETR {number}", then=Then.CLOSE, after=10, session=1)
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[drop])) as peer:
        assert_the_next_run_gets_all(peer, archive_dir)
        assert transferred(peer) <= MANY + 2 * BATCH and len(peer.sessions) <= 8
        assert peer.maildrop.fetched == {letter.unique_id for letter in ALL}


@pytest.mark.parametrize(("later", "suspect"), [([text("odd", 30)], 0), ([], 1)])
def test_what_looked_incomplete_in_a_batch_that_is_fetched_again(
    archive_dir: Path, later: list[bytes], suspect: int
) -> None:
    """Its second look has come by that."""
    odd = Letter("odd", text("odd", 3), listed=len(text("odd", 30)), later=later)
    with Peer([odd, *ALL], dataclasses.replace(GMAIL, rules=[lost_quit(session=1)])) as peer:
        code, report, _ = pull(job(peer, archive_dir))
        assert (code, report["stored"], report["suspect"]) == (PARTIAL if suspect else 0, MANY + 1, suspect), report
        assert peer.maildrop.retrievals["odd"] == 2
    assert archives.digest((later or [odd.body])[0]) in archives.files(archive_dir)


@pytest.mark.parametrize("options", [{"session_messages": 60}, {"session_octets": 100_000}, {"limit": 5}])
def test_a_run_in_small_pieces_gets_on_after_a_kill(archive_dir: Path, options: dict[str, int]) -> None:
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit(Then.STALL, session=1)])) as peer:
        kill_at(peer, archive_dir)
        code, report, _ = pull(job(peer, archive_dir, **options))
        assert (code, report["stored"]) == (0, options.get("limit", MANY - BATCH)), report
        assert_the_next_run_gets_all_that_is_left(peer, archive_dir)


def assert_the_next_run_gets_all_that_is_left(peer: Peer, archive: Path) -> None:
    assert pull(job(peer, archive))[0] == 0
    archives.assert_exactly(archive, {letter.unique_id: letter.body for letter in ALL})


def test_deleting_there_after_a_lost_quit(archive_dir: Path) -> None:
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit(session=1)])) as peer:
        code, report, _ = pull(job(peer, archive_dir, delete_after=0.0, allow_mass_delete=True))
        assert (code, report["stored"], report["deleted"]) == (0, MANY, MANY), report
        assert len(peer.maildrop.deleted) == MANY
    archives.assert_exactly(archive_dir, {letter.unique_id: letter.body for letter in ALL})


def test_a_quit_that_is_always_lost_ends_and_says_so(archive_dir: Path) -> None:
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit()])) as peer:
        code, report, context = pull(job(peer, archive_dir))
        assert (code, report["stored"]) == (0, BATCH) and len(peer.sessions) <= 4, report
        assert any("did not confirm" in note and "more behind" in note for note in context.notes.texts)


def test_a_line_that_always_breaks_in_a_batch_that_is_fetched_again_is_given_up(archive_dir: Path) -> None:
    """What is fetched again is no progress: the usual tries, and 75."""
    with Peer(ALL, dataclasses.replace(GMAIL, rules=[lost_quit(session=1)])) as peer:
        breaks = [Rule("RETR 100", then=Then.CLOSE, after=10, session=n) for n in range(2, 40)]
        peer.quirks = dataclasses.replace(peer.quirks, rules=[lost_quit(session=1), *breaks])
        code, report, _ = pull(job(peer, archive_dir))
        assert (code, report["stored"]) == (TRY_AGAIN, BATCH) and len(peer.sessions) <= 10, report
        peer.becomes(None, GMAIL)
        assert_the_next_run_gets_all(peer, archive_dir)


# ---- A server that hides nothing, with as many messages as a batch has


ORDINARY = ALL[:300]


def test_an_ordinary_server_that_never_answers_quit_sends_nothing_a_third_time(archive_dir: Path) -> None:
    with Peer(ORDINARY, Quirks(rules=[lost_quit()])) as peer:
        assert pull(job(peer, archive_dir))[1]["stored"] == 300
        assert transferred(peer) <= 600
        for letters, new in ((None, 0), (ALL[:303], 3)):
            before = len(peer.sessions)
            peer.becomes(letters, None)
            assert pull(job(peer, archive_dir))[1]["stored"] == new
            assert transferred(peer, slice(before, None)) == new and len(peer.sessions) == before + 1


def test_an_ordinary_server_sends_them_again_once_after_a_kill_before_quit(archive_dir: Path) -> None:
    with Peer(ORDINARY, Quirks(rules=[lost_quit(Then.STALL, session=1)])) as peer:
        kill_at(peer, archive_dir)
        for again in (300, 0, 0):
            before = len(peer.sessions)
            code, report, _ = pull(job(peer, archive_dir))
            assert (code, report["already_archived"], report["stored"]) == (0, 300, 0), report
            assert transferred(peer, slice(before, None)) == again
        archives.assert_exactly(archive_dir, {letter.unique_id: letter.body for letter in ORDINARY})


@pytest.mark.parametrize("count", [99, 501])
def test_a_maildrop_of_another_size_is_never_sent_again(archive_dir: Path, count: int) -> None:
    with Peer(ALL[:count], Quirks(rules=[lost_quit(Then.STALL, session=1)])) as peer:
        kill_at(peer, archive_dir)
        assert pull(job(peer, archive_dir))[1]["already_archived"] == count
        assert transferred(peer) == count


def test_a_limit_of_nothing_fetches_nothing_again(archive_dir: Path) -> None:
    with Peer(ORDINARY, Quirks(rules=[lost_quit(Then.STALL, session=1)])) as peer:
        kill_at(peer, archive_dir)
        assert pull(job(peer, archive_dir, limit=0))[1]["already_archived"] == 300
        assert transferred(peer) == 300
