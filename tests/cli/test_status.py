"""`mailmove status`: what is archived, what waits for a decision, the last runs; exit 0, or 4 with known damage.

Strategy: archives in known states, read in both forms. It only looks, so the archive is the same afterwards.
"""

from __future__ import annotations

from pathlib import Path

from tests.cli import making
from tests.cli.making import COMPLETE, DAMAGED, MAILDROP, archive_of, body, digest, file_of, good, run, suspect
from tests.support.cli import mailmove


def text(archive: Path, code: int = COMPLETE) -> str:
    result = mailmove("status", "-a", archive)
    assert result.code == code and result.stderr == "", result
    return result.stdout


def test_a_fresh_archive(archive_dir: Path) -> None:
    archive = archive_of(archive_dir, *good("a", "b"))
    before = making.tree(archive)
    result = run("status", archive)
    status = result.json()
    octets = len(body("a")) + len(body("b"))
    assert (result.code, status["messages"], status["octets"], status["damaged"]) == (COMPLETE, 2, octets, 0), result
    assert (status["parked"], status["suspects"], status["uncatalogued"]) == ([], [], 0)
    (maildrop,) = status["maildrops"]
    assert (maildrop["name"], maildrop["places"], maildrop["octets"]) == (MAILDROP, 2, octets)
    (last,) = status["runs"]
    assert (last["job"], last["outcome"], last["counts"]["stored"]) == ("pull", "complete", 2)
    assert f"{MAILDROP}: 2 messages" in text(archive) and "complete, 2 stored" in text(archive)
    assert making.tree(archive) == before


def test_an_archive_without_any_message(archive_dir: Path) -> None:
    archive = archive_of(archive_dir)
    assert run("status", archive).json()["messages"] == 0 and "0 messages" in text(archive)


def test_the_newest_of_several_runs_comes_first_and_sums_are_kept(archive_dir: Path) -> None:
    archive_of(archive_dir, *good("a"))
    archive_of(archive_dir, *good("a", "b", "c"))
    archive_of(archive_dir, *good("a"), maildrop="N")
    status = run("status", archive_dir).json()
    assert [(run["maildrop"], run["counts"]["stored"]) for run in status["runs"]] == [("N", 0), ("M", 2), ("M", 1)]
    assert [(row["name"], row["places"]) for row in status["maildrops"]] == [("M", 3), ("N", 1)]
    assert status["messages"] == 3, "the same octets in two maildrops are one message"


def test_what_waits_for_a_decision_is_listed(archive_dir: Path) -> None:
    archive = archive_of(archive_dir, *good("a", "b"), suspect("c"), refused=("b",))
    result = run("status", archive)
    (parked,), (waiting,) = result.json()["parked"], result.json()["suspects"]
    assert result.code == COMPLETE, "nothing is damaged"
    assert (parked["maildrop"], parked["unique_id"]) == (MAILDROP, "b") and "cannot read it" in parked["server_text"]
    assert (waiting["maildrop"], waiting["unique_id"], waiting["digest"]) == (MAILDROP, "c", digest("c"))
    (maildrop,) = result.json()["maildrops"]
    assert (maildrop["parked"], maildrop["suspects"]) == (1, 1)
    shown = text(archive)
    assert "parked: b of M: " in shown and f"suspect: {digest('c')[:16]}" in shown
    assert "1 parked, 1 suspect" in shown


def test_what_is_settled_is_listed_no_more(archive_dir: Path) -> None:
    archive = archive_of(archive_dir, *good("a", "b"), suspect("c"), refused=("b",))
    for identity in ("b", digest("c")[:8]):
        assert run("skip", archive, identity, "--reason", "x").code == COMPLETE
    status = run("status", archive).json()
    assert (status["parked"], status["suspects"]) == ([], [])
    assert "parked" not in text(archive) and "suspect" not in text(archive)


def test_known_damage_is_named_and_exit_4(archive_dir: Path) -> None:
    archive = archive_of(archive_dir, *good("a", "b"))
    making.overwrite(file_of(archive, "b"), b"something else")
    assert run("status", archive).code == COMPLETE, "not known yet: only `verify` reads the files"
    for path in archive.glob("archive.db*"):
        path.unlink()
    with making.peer() as empty_maildrop:
        making.pull(empty_maildrop, archive)
    result = run("status", archive)
    assert (result.code, result.json()["damaged"], result.json()["damaged_messages"]) == (DAMAGED, 1, [digest("b")])
    assert f"damaged: {digest('b')}" in text(archive, DAMAGED)
    archive_of(archive, *good("a", "b"))
    healed = run("status", archive)
    assert (healed.code, healed.json()["damaged"], healed.json()["damaged_messages"]) == (COMPLETE, 0, [])


def test_without_its_database_it_says_that_the_next_run_takes_the_log_in(archive_dir: Path) -> None:
    archive = archive_of(archive_dir, *good("a", "b"))
    for path in archive.glob("archive.db*"):
        path.unlink()
    result = run("status", archive)
    assert result.code == COMPLETE and result.json()["uncatalogued"] > 0, result
    assert "the next run takes it in" in text(archive)
    assert not (archive / "archive.db").exists(), "status makes nothing"


def test_control_characters_of_a_server_do_not_reach_the_terminal(archive_dir: Path) -> None:
    quirks = making.Quirks(rules=[making.refuse("RETR 1", "-ERR \x1b[2J\x07 go away")])
    with making.Peer(good("a"), quirks) as server:
        making.pull(server, archive_dir)
    shown = text(archive_dir)
    assert "go away" in shown and all(line.isprintable() for line in shown.splitlines())


def test_a_flip_in_the_name_of_a_column_is_damage_and_no_bug(archive_dir: Path) -> None:
    """SQLite hands such a name out as it is, and Python cannot read it."""
    archive = archive_of(archive_dir, *good("a"))
    path = archive / "archive.db"
    octets = path.read_bytes()
    assert octets.count(b" outcome TEXT") == 1
    making.overwrite(path, octets.replace(b" outcome TEXT", b" \xefutcome TEXT"))
    result = run("status", archive)
    assert result.code == DAMAGED, result
    making.one_sentence(result, "archive.db is damaged", "mailmove rebuild")
