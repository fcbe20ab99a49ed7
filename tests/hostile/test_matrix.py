"""The quirk matrix: whatever a POP3 server does, the end state is the one its row says.

Strategy: the rows are in tests/hostile/matrix/, by what goes wrong; one test plays each of them as it stands, another
lets mailmove delete and asks only whether what is gone is archived. A row may wait here for a feature that is not there
yet; it is skipped by its reason, and never forgotten.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.matrix import SCENARIOS, drops
from tests.hostile.peer import Letter, Peer, Quirks
from tests.hostile.scenario import TRY_AGAIN, Scenario, job_for, play, play_deleting, pull, says, usual
from tests.support.cli import PASSWORD_FROM_ENV, mailmove
from tests.support.client import HOST

PENDING: dict[str, str] = {}
"""Name of a scenario -> the feature it waits for."""

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@each_scenario
def test_the_end_state(scenario: Scenario, archive_dir: Path, request: pytest.FixtureRequest) -> None:
    if reason := PENDING.get(scenario.name):
        pytest.skip(f"pending: {reason}")
    play(scenario, archive_dir, request.getfixturevalue("certificates") if scenario.tls else None)


@each_scenario
def test_what_is_deleted_is_archived(scenario: Scenario, archive_dir: Path, request: pytest.FixtureRequest) -> None:
    gone = play_deleting(scenario, archive_dir, request.getfixturevalue("certificates") if scenario.tls else None)
    if scenario in drops.EVERYWHERE or scenario.name == "pipelining-forgets-what-waits":
        assert len(gone) == len(scenario.letters), "all were archived, so all were to go"


def test_the_matrix_is_whole() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) >= 40 and len(set(names)) == len(names)
    assert set(PENDING) <= set(names)
    assert all(scenario.runs for scenario in SCENARIOS)


def test_ten_thousand_new_ids_cost_neither_files_nor_transfers(archive_dir: Path, full: bool) -> None:
    """design.md 6.7: a server was moved; by TOP, less than 5 % of the octets cross the wire again."""
    count = 10_000 if full else 1_500
    body = b"a line of text\r\n" * 1_000
    before = [Letter(f"old-{n}", b"Message-ID: <%d@example>\r\n\r\n" % n + body) for n in range(count)]
    after = [Letter(f"new-{n}", letter.body) for n, letter in enumerate(before)]
    scenario = Scenario("", before, options={"timeout": 60.0})
    with Peer(before) as peer:
        job = job_for(scenario, peer, archive_dir, None)
        assert pull(job)[1]["stored"] == count
        files, octets = set((archive_dir / "mail").glob("*/*")), sum(session.sent for session in peer.sessions)
        peer.becomes(after, None)
        code, report, _ = pull(job)
        again = sum(session.sent for session in peer.sessions) - octets
    assert (code, report["already_archived"], report["stored"]) == (0, count, 0), report
    assert set((archive_dir / "mail").glob("*/*")) == files
    assert again < octets * 0.05, f"{again} of {octets} octets were sent again"


def test_patience_is_an_option(archive_dir: Path) -> None:
    locked = Quirks(rules=[says("(PASS|AUTH) .*", "-ERR [IN-USE] locked")])
    words = ("--allow-plaintext", "--maildrop", "M", "--json", *PASSWORD_FROM_ENV, "--patience", 0)
    with Peer(usual(1), locked) as peer:
        result = mailmove("pull", f"pop3://me@{HOST}:{peer.port}", "-a", archive_dir, *words)
    assert result.code == TRY_AGAIN and "locked" in result.stderr, result
    assert not archive_dir.exists()
