"""`mailmove verify`: exit 0 when all is sound, else 4 with every damaged, missing or extra file named; changes nothing.

Strategy: a sound archive, then one thing spoiled by hand, as a bad disk or a careless person would. Each case says what
must be named, in the JSON and in the text for people, and the archive's octets are compared before and after.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import making
from tests.cli.making import COMPLETE, DAMAGED, archive_of, body, digest, file_of, good, overwrite, run
from tests.support.cli import Result, mailmove

NAMES = ("one", "two", "three", "four")


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    return archive_of(archive_dir, *good(*NAMES))


def shown(name: str) -> str:
    return f"mail/{digest(name)[:3]}/{digest(name)}.eml"


def findings(result: Result) -> set[tuple[str, str]]:
    return {(finding["kind"], finding["what"]) for finding in result.json()["findings"]}


def assert_found(archive: Path, *expected: tuple[str, str]) -> Result:
    """Exactly these findings, in both forms of the report; the archive is left as it is."""
    before = making.tree(archive)
    result = run("verify", archive)
    assert (result.code, result.json()["outcome"]) == (DAMAGED, "failed"), result
    assert findings(result) == set(expected), result
    for kind in ("damaged", "missing", "extra"):
        assert result.json()[kind] == sum(found == kind for found, _ in expected), result
    text = mailmove("verify", "-a", archive)
    assert text.code == DAMAGED and "NOT SOUND" in text.stdout, text
    assert all(f"{kind}: {what}: " in text.stdout for kind, what in expected), text
    assert making.tree(archive) == before
    return result


def test_a_sound_archive(archive: Path) -> None:
    before = making.tree(archive)
    result = run("verify", archive)
    report = result.json()
    assert (result.code, report["outcome"], report["findings"]) == (COMPLETE, "complete", []), result
    assert (report["proven"], report["bytes"]) == (len(NAMES), sum(len(body(name)) for name in NAMES))
    assert mailmove("verify", "-a", archive).stdout.startswith("Sound: ")
    assert making.tree(archive) == before


def test_quiet_says_nothing_of_a_sound_archive_and_all_of_another(archive: Path) -> None:
    quiet = mailmove("verify", "-a", archive, "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (COMPLETE, "", ""), quiet
    file_of(archive, "one").unlink()
    assert shown("one") in mailmove("verify", "-a", archive, "-q").stdout


def test_an_archive_without_any_message(archive_dir: Path) -> None:
    result = run("verify", archive_of(archive_dir))
    assert (result.code, result.json()["proven"]) == (COMPLETE, 0)


def other_octets(path: Path) -> None:
    overwrite(path, path.read_bytes().replace(b"body", b"bodY"))


def shorter(path: Path) -> None:
    overwrite(path, path.read_bytes()[:-1])


def empty(path: Path) -> None:
    overwrite(path, b"")


@pytest.mark.parametrize("spoil", [other_octets, shorter, empty])
def test_a_damaged_file(spoil: Callable[[Path], None], archive: Path) -> None:
    spoil(file_of(archive, "two"))
    assert assert_found(archive, ("damaged", shown("two"))).json()["proven"] == len(NAMES) - 1


def test_a_missing_file(archive: Path) -> None:
    file_of(archive, "two").unlink()
    assert_found(archive, ("missing", shown("two")))


def test_a_missing_folder(archive: Path) -> None:
    file_of(archive, "two").unlink()
    file_of(archive, "two").parent.rmdir()
    assert_found(archive, ("missing", shown("two")))


def test_extra_files(archive: Path) -> None:
    """One with a name like ours, one with a right name in a wrong folder, one of somebody else."""
    stranger, astray = file_of(archive, "stranger"), archive / "mail" / "zzz" / file_of(archive, "one").name
    for path in (stranger, astray, archive / "mail" / "notes.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body("stranger"))
    expected = (stranger, astray, archive / "mail" / "notes.txt")
    assert_found(archive, *(("extra", path.relative_to(archive).as_posix()) for path in expected))


def test_every_problem_of_several_is_named(archive: Path) -> None:
    other_octets(file_of(archive, "one"))
    file_of(archive, "two").unlink()
    (file_of(archive, "three").parent / "x").write_bytes(b"")
    extra = f"mail/{digest('three')[:3]}/x"
    assert_found(archive, ("damaged", shown("one")), ("missing", shown("two")), ("extra", extra))


def test_without_its_database(archive: Path) -> None:
    """A projection: all that is needed is mail/ and log/."""
    for path in archive.glob("archive.db*"):
        path.unlink()
    result = run("verify", archive)
    assert (result.code, result.json()["proven"]) == (COMPLETE, len(NAMES)), result
    other_octets(file_of(archive, "one"))
    assert findings(run("verify", archive)) == {("damaged", shown("one"))}
    assert not (archive / "archive.db").exists(), "verify makes nothing"


def test_a_database_that_is_none(archive: Path) -> None:
    for path in archive.glob("archive.db*"):
        path.unlink()
    (archive / "archive.db").write_bytes(b"precious notes, no database" * 100)
    result = run("verify", archive)
    assert (result.code, findings(result)) == (DAMAGED, {("catalogue", "archive.db")}), result
    assert result.json()["proven"] == len(NAMES), "the messages are sound all the same"


def test_a_database_that_says_other_things_than_the_log(archive: Path) -> None:
    with sqlite3.connect(archive / "archive.db") as database:
        database.execute("UPDATE places SET unique_id = 'other' WHERE unique_id = 'one'")
    database.close()
    result = run("verify", archive)
    assert (result.code, findings(result)) == (DAMAGED, {("catalogue", "archive.db, table places")}), result
    assert "'other'" in result.stdout and "'one'" in result.stdout


@pytest.mark.parametrize("how", ["shorter", "other", "gone"])
def test_a_log_that_is_not_what_it_was(how: str, archive: Path) -> None:
    (log,) = (archive / "log").glob("*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    if how == "gone":
        log.unlink()
    else:
        log.write_bytes(b"".join(lines[:-1]) + (lines[-1].replace(b"complete", b"COMPLETE") if how == "other" else b""))
    result = run("verify", archive)
    assert result.code == DAMAGED and "log" in {kind for kind, _ in findings(result)}, result


def test_the_message_that_is_damaged_is_healed_by_the_next_pull(archive: Path) -> None:
    """Once a run has seen the damage: a database made anew looks at every file."""
    other_octets(file_of(archive, "two"))
    for path in archive.glob("archive.db*"):
        path.unlink()
    with making.peer(*good(*NAMES)) as server:
        healed = making.pull(server, archive)
    assert (healed.code, healed.json()["stored"]) == (COMPLETE, 1), healed
    assert run("verify", archive).code == COMPLETE
