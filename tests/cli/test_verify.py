"""`mailmove verify`: exit 0 when all is sound, else 4 with every damaged, missing or extra file named; changes nothing.

Strategy: a sound archive, then one thing spoiled by hand, as a bad disk or a careless person would. Each case says what
must be named, in the JSON and in the text for people, and the octets are compared before and after. Parts and deadlines
are tried without a clock: a time limit of 0 s ends after one folder, and each message here has a folder of its own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import making
from tests.cli.making import COMPLETE, DAMAGED, archive_of, body, digest, file_of, good, overwrite, run
from tests.support.cli import Result, mailmove

NAMES = ("one", "two", "three", "four")
LEDGER = "verify.json"


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    return archive_of(archive_dir, *good(*NAMES))


def tree(archive: Path) -> dict[str, bytes]:
    """All but what verify notes of itself."""
    return {name: octets for name, octets in making.tree(archive).items() if name != LEDGER}


def shown(name: str) -> str:
    return f"mail/{digest(name)[:3]}/{digest(name)}.eml"


def findings(result: Result) -> set[tuple[str, str]]:
    return {(finding["kind"], finding["what"]) for finding in result.json()["findings"]}


def assert_found(archive: Path, *expected: tuple[str, str]) -> Result:
    """Exactly these findings, in both forms of the report; the archive is left as it is."""
    before = tree(archive)
    result = run("verify", archive)
    assert (result.code, result.json()["outcome"]) == (DAMAGED, "failed"), result
    assert findings(result) == set(expected), result
    for kind in ("damaged", "missing", "extra"):
        assert result.json()[kind] == sum(found == kind for found, _ in expected), result
    text = mailmove("verify", "-a", archive)
    assert text.code == DAMAGED and "NOT SOUND" in text.stdout, text
    assert all(f"{kind}: {what}: " in text.stdout for kind, what in expected), text
    assert tree(archive) == before
    return result


def test_a_sound_archive(archive: Path) -> None:
    before = tree(archive)
    result = run("verify", archive)
    report = result.json()
    assert (result.code, report["outcome"], report["findings"]) == (COMPLETE, "complete", []), result
    assert (report["proven"], report["bytes"]) == (len(NAMES), sum(len(body(name)) for name in NAMES))
    assert mailmove("verify", "-a", archive).stdout.startswith("Sound: ")
    assert tree(archive) == before


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


# ---- a part of it


def ledger(archive: Path) -> dict[str, str]:
    """Folder of mail/ -> when it was last proven."""
    return dict(json.loads((archive / LEDGER).read_bytes())["proven"])


def folders(*names: str) -> set[str]:
    return {digest(name)[:3] for name in names}


def test_a_whole_verification_notes_every_folder(archive: Path) -> None:
    report = run("verify", archive).json()
    assert set(ledger(archive)) == folders(*NAMES)
    assert (report["whole"], report["folders"], report["of_folders"], report["folders_left"]) == (True, 4, 4, 0)


@pytest.mark.parametrize("parts", [1, 3, 4096])
def test_the_parts_make_up_the_whole(archive: Path, parts: int) -> None:
    """Each message is in one part; of 4,096 most hold nothing."""
    numbers = {int(digest(name)[:3], 16) * parts // 4096 + 1 for name in NAMES} | {1, parts}
    proven = 0
    for n in numbers:
        result = run("verify", archive, "--part", f"{n}/{parts}")
        assert result.code == COMPLETE and result.json()["whole"] == (parts == 1), result
        proven += result.json()["proven"]
    assert proven == len(NAMES) and set(ledger(archive)) == folders(*NAMES)


def test_a_part_finds_what_is_in_it_and_says_that_it_is_one(archive: Path) -> None:
    file_of(archive, "one").unlink()
    at = int(digest("one")[:3], 16) + 1
    bad, good = (mailmove("verify", "-a", archive, "--part", f"{n}/4096") for n in (at, at % 4096 + 1))
    assert bad.code == DAMAGED and f"missing: {shown('one')}" in bad.stdout, bad
    assert good.code == COMPLETE and good.stdout.startswith("Sound as far as this part goes: "), good
    assert "A part: 0 of 4 folders of mail/ looked at; the archive has 4 messages." in good.stdout, good


def test_log_and_catalogue_and_what_has_no_folder_are_checked_in_every_part(archive: Path) -> None:
    (archive / "mail" / "notes.txt").write_bytes(b"")
    (archive / "log" / "notes.txt").write_bytes(b"")
    with sqlite3.connect(archive / "archive.db") as database:
        database.execute("UPDATE runs SET outcome = 'other'")
    database.close()
    expected = {("extra", "mail/notes.txt"), ("extra", "log/notes.txt"), ("catalogue", "archive.db, table runs")}
    for option in (("--part", "1/4096"), ("--due", "1d"), ("--max-duration", "0")):
        assert findings(run("verify", archive, *option)) == expected


def test_a_time_limit_ends_cleanly_and_the_next_run_goes_on_from_there(archive: Path) -> None:
    seen = set[str]()
    for left in (3, 2, 1, 0):
        result = run("verify", archive, "--due", "1h", "--max-duration", "0")
        assert (result.code, result.json()["proven"], result.json()["folders_left"]) == (COMPLETE, 1, left), result
        assert result.json()["whole"] is False and len(ledger(archive).keys() - seen) == 1
        seen |= ledger(archive).keys()
    assert seen == folders(*NAMES)
    nothing = mailmove("verify", "-a", archive, "--due", "1h")
    assert nothing.code == COMPLETE and "0 messages proven" in nothing.stdout, nothing


def test_what_was_proven_longest_ago_comes_first(archive: Path) -> None:
    run("verify", archive)
    times = dict.fromkeys(folders(*NAMES), "2026-01-03T00:00:00.000Z")
    times |= {digest("three")[:3]: "2026-01-02T00:00:00.000Z"}
    document = json.loads((archive / LEDGER).read_bytes()) | {"proven": times}
    (archive / LEDGER).write_text(json.dumps(document))
    text = mailmove("verify", "-a", archive, "--max-duration", "0")
    assert text.code == COMPLETE, text
    assert "1 of 4 folders of mail/ looked at, 3 more were due when time was up" in text.stdout, text
    assert [folder for folder, time in ledger(archive).items() if time > "2026-01-04"] == [digest("three")[:3]]


def test_a_damaged_folder_is_due_until_it_is_sound(archive: Path) -> None:
    run("verify", archive)
    sound = file_of(archive, "two").read_bytes()
    other_octets(file_of(archive, "two"))
    assert findings(run("verify", archive, "--due", "1d")) == set(), "it was proven a moment ago"
    run("verify", archive)
    assert set(ledger(archive)) == folders(*NAMES) - folders("two")
    for _ in range(2):
        assert findings(run("verify", archive, "--due", "1d")) == {("damaged", shown("two"))}
    overwrite(file_of(archive, "two"), sound)
    assert run("verify", archive, "--due", "1d").json()["proven"] == 1
    assert set(ledger(archive)) == folders(*NAMES)


def test_nothing_is_proven_by_a_log_that_is_damaged(archive: Path) -> None:
    run("verify", archive)
    (log,) = (archive / "log").glob("*.jsonl")
    log.write_bytes(log.read_bytes().replace(b"listed", b"Listed"))
    assert run("verify", archive).code == DAMAGED
    assert ledger(archive) == {}


@pytest.mark.parametrize("octets", [b"", b"[]", b'{"archive": 1}', b'{"archive": "ID", "proven": {"abc": 1}}'])
def test_a_ledger_that_is_lost_or_damaged_is_begun_anew(archive: Path, octets: bytes) -> None:
    number = run("checkpoint", archive).json()["id"]
    (archive / LEDGER).write_bytes(octets.replace(b"ID", number.encode()))
    assert run("verify", archive, "--due", "1d").json()["proven"] == len(NAMES)
    assert set(ledger(archive)) == folders(*NAMES)


def test_a_ledger_that_cannot_be_written_is_told_and_fails_nothing(archive: Path) -> None:
    (archive / LEDGER).mkdir()
    result = run("verify", archive)
    assert (result.code, result.json()["proven"]) == (COMPLETE, len(NAMES)), result
    assert "verify.json cannot be written" in result.stderr, result


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(("--part", text) for text in ("0/3", "4/3", "1", "1/5000")),
        *(("--due", text) for text in ("soon", "-1d")),
        *(("--max-duration", text) for text in ("10 minutes", "1.5")),
    ],
)
def test_an_option_that_makes_no_sense(archive_dir: Path, option: str, text: str) -> None:
    result = run("verify", archive_dir, f"{option}={text}")
    assert result.code == making.USAGE, result
    making.one_sentence(result, option, text)
