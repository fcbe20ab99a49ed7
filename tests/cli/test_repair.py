"""`mailmove repair`: damaged and missing messages put back from a second copy or the server; nothing is destroyed.

Strategy: archives made by a pull from a Peer; a copy is a copy; then files are spoiled by hand. After a repair `verify`
must find nothing and the files must be the ones from before, octet by octet; what could not be repaired must be named,
in both forms of the report, and left as it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mailmove.archive import Archive
from tests.cli import making
from tests.cli.making import (
    COMPLETE,
    DAMAGED,
    MAILDROP,
    PARTIAL,
    USAGE,
    archive_of,
    body,
    digest,
    file_of,
    good,
    one_sentence,
    overwrite,
    run,
)
from tests.hostile.peer import Peer
from tests.support import archives
from tests.support.cli import PASSWORD_FROM_ENV, Result, mailmove
from tests.support.client import HOST

NAMES = ("one", "two", "three", "four")
BUSY = 75


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    return archive_of(archive_dir, *good(*NAMES))


@pytest.fixture
def copy(archive: Path, tmp_path: Path) -> Path:
    shutil.copytree(archive, tmp_path / "copy.mailmove")
    return tmp_path / "copy.mailmove"


def flip(path: Path) -> None:
    octets = path.read_bytes()
    overwrite(path, octets[:-1] + bytes([octets[-1] ^ 1]))


def from_server(server: Peer, archive: Path, *more: object, maildrop: str = MAILDROP) -> Result:
    url = f"pop3://me@{HOST}:{server.port}"
    return run("repair", archive, url, "--maildrop", maildrop, "--allow-plaintext", *PASSWORD_FROM_ENV, *more)


def fates(result: Result) -> dict[str, tuple[str, str]]:
    """Digest -> (kind, repaired from)."""
    return {one["digest"]: (one["kind"], one.get("repaired_from", "")) for one in result.json()["findings"]}


def repairs(archive: Path) -> list[dict[str, object]]:
    return [record for record in archives.records(archive) if record["t"] == "repair"]


def quarantined(archive: Path) -> list[bytes]:
    return [path.read_bytes() for path in (archive / "quarantine").iterdir()]


def assert_whole(archive: Path, *names: str) -> None:
    """Every message has its octets, read-only; log, files and database agree, and there is nothing else."""
    assert archives.files(archive) == {digest(name): body(name) for name in names}
    assert {file_of(archive, name).stat().st_mode & 0o777 for name in names} == {0o444}
    archives.assert_consistent(archive)
    verified = run("verify", archive)
    assert (verified.code, verified.json()["findings"]) == (COMPLETE, []), verified
    assert run("status", archive).json()["damaged"] == 0


def assert_adds_up(result: Result) -> None:
    report = result.json()
    fates = report["from_copy"] + report["from_source"] + report["not_repaired"]
    assert report["damaged"] + report["missing"] == fates == len(report["findings"]), result


# ---- nothing to do


def test_a_sound_archive_is_left_as_it_is(archive: Path, copy: Path) -> None:
    before = making.tree(archive)
    result = run("repair", archive, "--from", copy)
    report = result.json()
    assert (result.code, report["outcome"], report["findings"]) == (COMPLETE, "complete", []), result
    assert (report["checked"], report["octets"]) == (len(NAMES), sum(len(body(name)) for name in NAMES))
    assert making.tree(archive) == before
    quiet = mailmove("repair", "-a", archive, "--from", copy, "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (COMPLETE, "", ""), quiet
    with making.peer(*good(*NAMES, "new")) as server:
        assert from_server(server, archive).code == COMPLETE
        assert server.sessions == [], "nobody is asked for what is not needed"


# ---- from a second copy


def test_from_a_second_copy(archive: Path, copy: Path) -> None:
    flip(file_of(archive, "one"))
    damaged = file_of(archive, "one").read_bytes()
    file_of(archive, "two").unlink()
    result = run("repair", archive, "--from", copy)
    assert result.code == COMPLETE, result
    assert fates(result) == {digest("one"): ("damaged", "copy"), digest("two"): ("missing", "copy")}
    assert_adds_up(result)
    assert quarantined(archive) == [damaged], "the bad file is kept"
    told = {(one["digest"], one["from"], one["was"], one.get("quarantined", "") != "") for one in repairs(archive)}
    assert told == {(digest("one"), "copy", "damaged", True), (digest("two"), "copy", "missing", False)}
    (kept,) = (str(one["quarantined"]) for one in repairs(archive) if one["was"] == "damaged")
    assert (archive / "quarantine" / kept).read_bytes() == damaged
    assert_whole(archive, *NAMES)
    rebuilt = run("rebuild", archive)
    assert (rebuilt.code, rebuilt.json()["messages"]) == (COMPLETE, len(NAMES)), "the records change nothing"


def emptied(path: Path) -> None:
    overwrite(path, b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def without_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def a_file_for_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"a file")


WRONG = [flip, emptied, Path.unlink, a_folder, a_link_to_nothing, without_its_folder, a_file_for_its_folder]


@pytest.mark.parametrize("spoil", WRONG)
def test_whatever_is_in_its_place(archive: Path, copy: Path, spoil: Callable[[Path], None]) -> None:
    spoil(file_of(archive, "three"))
    result = run("repair", archive, "--from", copy)
    assert (result.code, result.json()["from_copy"]) == (COMPLETE, 1), result
    assert_whole(archive, *NAMES)


def test_what_the_catalogue_knows_to_be_damaged_is_sound_for_it_again(archive: Path, copy: Path) -> None:
    flip(file_of(archive, "one"))
    assert run("rebuild", archive).code == DAMAGED
    assert run("status", archive).json()["damaged"] == 1
    assert run("repair", archive, "--from", copy).code == COMPLETE
    assert_whole(archive, *NAMES)
    with making.peer(*good(*NAMES)) as server:
        assert making.pull(server, archive).json()["already_archived"] == len(NAMES)


def test_a_copy_that_is_damaged_itself_is_not_believed(archive: Path, copy: Path) -> None:
    for folder in (archive, copy):
        flip(file_of(folder, "one"))
        file_of(folder, "two").unlink()
    flip(file_of(archive, "three"))
    bad = file_of(archive, "one").read_bytes()
    result = run("repair", archive, "--from", copy)
    assert (result.code, result.json()["outcome"]) == (DAMAGED, "failed"), result
    assert fates(result) == {
        digest("one"): ("damaged", ""),
        digest("two"): ("missing", ""),
        digest("three"): ("damaged", "copy"),
    }
    assert_adds_up(result)
    assert file_of(archive, "one").read_bytes() == bad, "what is not repaired stays where it is"
    text = mailmove("repair", "-a", archive, "--from", copy)
    assert text.code == DAMAGED and "NOT ALL REPAIRED" in text.stdout
    for name in ("one", "two"):
        assert f"mail/{digest(name)[:3]}/{digest(name)}.eml: not repaired: {copy}" in text.stdout, text
    assert run("status", archive).json()["damaged"] == 2
    assert [path.name for path in (archive / "tmp").iterdir()] == []


def test_more_than_one_group(archive_dir: Path, tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(300)]
    archive_of(archive_dir, *good(*names))
    shutil.copytree(archive_dir, tmp_path / "copy")
    shutil.rmtree(archive_dir / "mail")
    result = run("repair", archive_dir, "--from", tmp_path / "copy")
    assert (result.code, result.json()["from_copy"]) == (COMPLETE, len(names)), result
    assert_whole(archive_dir, *names)


# ---- from the server


def test_from_the_server(archive: Path) -> None:
    flip(file_of(archive, "one"))
    damaged = file_of(archive, "one").read_bytes()
    file_of(archive, "two").unlink()
    with making.peer(*good(*NAMES)) as server:
        result = from_server(server, archive)
        retrieved = [command for session in server.sessions for command in session.commands if "RETR" in command]
    assert result.code == COMPLETE, result
    assert fates(result) == {digest("one"): ("damaged", "source"), digest("two"): ("missing", "source")}
    assert_adds_up(result)
    assert len(retrieved) == 2, "nothing else is fetched"
    assert quarantined(archive) == [damaged]
    assert {(one["digest"], one["from"]) for one in repairs(archive)} == {
        (digest(name), "source") for name in ("one", "two")
    }
    assert (result.json()["pull"]["stored"], result.json()["pull"]["already_archived"]) == (2, 2)
    assert_whole(archive, *NAMES)


def test_what_the_server_has_no_more_is_named_and_left(archive: Path) -> None:
    flip(file_of(archive, "one"))
    flip(file_of(archive, "two"))
    bad, healed = file_of(archive, "one").read_bytes(), file_of(archive, "two").read_bytes()
    with making.peer(*good("two", "three", "four")) as server:
        result = from_server(server, archive)
    assert (result.code, result.json()["outcome"]) == (DAMAGED, "failed"), result
    assert fates(result) == {digest("one"): ("damaged", ""), digest("two"): ("damaged", "source")}
    assert_adds_up(result)
    assert file_of(archive, "one").read_bytes() == bad
    assert quarantined(archive) == [healed]
    assert run("status", archive).json()["damaged_messages"] == [digest("one")]


def test_what_a_killed_run_stored_is_not_given_up_when_it_cannot_be_had(archive: Path, tmp_path: Path) -> None:
    """It was acknowledged: it stays known, as damaged, however the run ended that stored it."""
    lines = (archive / "log" / "00000001.jsonl").read_bytes().splitlines(keepends=True)
    (archive / "log" / "00000001.jsonl").write_bytes(b"".join(lines[:-1]))  # the run's end
    for path in archive.glob("archive.db*"):
        path.unlink()
    Archive.open(archive).close()
    flip(file_of(archive, "one"))
    with making.peer(*good("two", "three", "four")) as server:
        assert from_server(server, archive).code == DAMAGED
    assert "void" not in {record["t"] for record in archives.records(archive)}
    assert run("status", archive).json()["damaged_messages"] == [digest("one")]


def test_first_from_the_copy_then_from_the_server(archive: Path, copy: Path) -> None:
    for name in ("one", "two"):
        flip(file_of(archive, name))
    file_of(copy, "one").unlink()
    with making.peer(*good(*NAMES)) as server:
        result = from_server(server, archive, "--from", copy)
    assert result.code == COMPLETE, result
    assert fates(result) == {digest("one"): ("damaged", "source"), digest("two"): ("damaged", "copy")}
    assert_adds_up(result)
    assert_whole(archive, *NAMES)


def test_a_server_that_is_not_there(archive: Path) -> None:
    flip(file_of(archive, "one"))
    bad = file_of(archive, "one").read_bytes()
    with making.peer(*good(*NAMES)) as server:
        pass
    result = from_server(server, archive)
    assert (result.code, result.json()["not_repaired"]) == (DAMAGED, 1), result
    assert str(server.port) in result.stderr
    assert (file_of(archive, "one").read_bytes(), quarantined(archive)) == (bad, [])
    with making.peer(*good(*NAMES)) as server:
        assert from_server(server, archive).code == COMPLETE
    assert_whole(archive, *NAMES)


def test_all_repaired_and_something_else_refused_is_partial(archive: Path) -> None:
    flip(file_of(archive, "one"))
    with making.peer(*good(*NAMES, "bad"), refused=("bad",)) as server:
        result = from_server(server, archive)
    assert (result.code, result.json()["outcome"], result.json()["from_source"]) == (PARTIAL, "partial", 1), result


def test_a_maildrop_that_was_never_pulled_is_not_pulled_now(archive: Path) -> None:
    flip(file_of(archive, "one"))
    with making.peer(*good("stranger")) as server:
        result = from_server(server, archive, maildrop="other")
        assert server.sessions == []
    assert result.code == USAGE, result
    one_sentence(result, "other", MAILDROP, "--maildrop")


def test_of_two_maildrops_only_the_one_it_came_from_is_asked(archive: Path) -> None:
    archive_of(archive, *good("five"), maildrop="second")
    flip(file_of(archive, "one"))
    with making.peer(*good("five")) as server:
        result = from_server(server, archive, maildrop="second")
        assert server.sessions == [], "it cannot have it"
    assert (result.code, result.json()["not_repaired"]) == (DAMAGED, 1), result
    assert "did not come from second" in result.json()["findings"][0]["reason"]


# ---- a dry run


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(archive: Path, copy: Path) -> None:
    for name in ("one", "two"):
        flip(file_of(archive, name))
    flip(file_of(copy, "two"))
    before = making.tree(archive)
    result = run("repair", archive, "--from", copy, "--dry-run")
    assert fates(result) == {digest("one"): ("damaged", "copy"), digest("two"): ("damaged", "")}
    assert (result.code, result.json()["dry_run"]) == (DAMAGED, True), result
    with making.peer(*good(*NAMES)) as server:
        both = from_server(server, archive, "--from", copy, "--dry-run")
        assert server.sessions == []
    assert (both.code, both.json()["from_copy"], both.json()["from_source"]) == (COMPLETE, 1, 1), both
    assert (
        "Dry run: 1 could be repaired, 1 not" in mailmove("repair", "-a", archive, "--from", copy, "--dry-run").stdout
    )
    assert making.tree(archive) == before


# ---- bad input


BAD: dict[str, tuple[tuple[object, ...], str]] = {
    "no origin": ((), "--from DIR"),
    "no such copy": (("--from", "/nonexistent/copy"), "/nonexistent/copy"),
    "no archive as copy": (("--from", "/"), "mail/"),
    "a password for nobody": (("--from", "/", *PASSWORD_FROM_ENV), "SOURCE"),
    "no source": (("imaps://me@host.example", *PASSWORD_FROM_ENV), "pop3s://"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_bad_input(archive: Path, words: tuple[object, ...], said: str) -> None:
    before = making.tree(archive)
    result = run("repair", archive, *words)
    assert result.code == USAGE, result
    one_sentence(result, said)
    assert making.tree(archive) == before


def test_the_archive_itself_is_no_second_copy(archive: Path) -> None:
    result = run("repair", archive, "--from", archive)
    assert result.code == USAGE
    one_sentence(result, "itself")


def test_what_is_no_archive(tmp_path: Path, copy: Path) -> None:
    result = run("repair", tmp_path / "nothing", "--from", copy)
    assert result.code == USAGE and not (tmp_path / "nothing").exists()
    one_sentence(result, "nothing")


def test_an_archive_in_use(archive: Path, copy: Path) -> None:
    with Archive.open(archive):
        result = run("repair", archive, "--from", copy)
    assert result.code == BUSY and "in use by process" in result.stderr, result


def test_a_database_that_is_damaged_is_rebuilt_first(archive: Path, copy: Path) -> None:
    for path in archive.glob("archive.db*"):
        path.unlink()
    (archive / "archive.db").write_bytes(b"no database " * 1000)
    for more in ((), ("--dry-run",)):
        result = run("repair", archive, "--from", copy, *more)
        assert result.code == DAMAGED and "`mailmove rebuild`" in result.stderr, result
