"""`mailmove skip`: a person settles what is parked or suspect; the next pull is then complete, and nothing is deleted.

Strategy: the id must mean exactly one thing, so most cases are ids that do not. The command that exit 3 prints is taken
from the report and given to a shell as it stands, with unique ids that a shell or an option parser would like to eat.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import making
from tests.cli.making import COMPLETE, MAILDROP, PARTIAL, USAGE, archive_of, digest, good, one_sentence, run, suspect
from tests.support import archives
from tests.support.cli import Result, environment, mailmove

NASTY = ("-rf", "--json", "a'b", 'a"b', "$(id)`id`", "a;b|c&d", "*{a,b}", "\\", "!x#", "<a>")
UNTYPABLE = ("\xe9", "%41\x01", "A\x01", "-\xff\x80", "\x01\x7f", "a\tb c", "\x1b[31m", "%\xc3\xa9'%", "\x00")
ALIKE = ("a%01b", "a\x01b", "a%2501b", "%E9", "100%", "%")
"""Some are what others look like when they are escaped."""


def skip(archive: Path, identity: str, *more: object) -> Result:
    result = mailmove("skip", "-a", archive, "--json", *more, "--reason", "not needed", "--", identity)
    making.assert_one_document(result)
    return result


def refused(archive: Path, identity: str, *said: str) -> None:
    """Exit 2, one sentence, and nothing in the log."""
    before = archives.records(archive)
    result = skip(archive, identity)
    assert result.code == USAGE, result
    one_sentence(result, *said)
    assert archives.records(archive) == before


@pytest.fixture
def waiting(archive_dir: Path) -> Path:
    """One message archived, one parked, one suspect."""
    return archive_of(archive_dir, *good("a", "b"), suspect("c"), refused=("b",))


# ---- What is settled


def test_a_parked_message_is_skipped_from_then_on(archive_dir: Path) -> None:
    with making.peer(*good("a", "b"), refused=("b",)) as server:
        assert making.pull(server, archive_dir).code == PARTIAL
        result = skip(archive_dir, "b")
        assert result.code == COMPLETE, result
        settled = result.json()
        assert (settled["kind"], settled["maildrop"], settled["unique_id"]) == ("parked", MAILDROP, "b")
        assert settled["reason"] == "not needed"
        following = making.pull(server, archive_dir)
    report = following.json()
    assert (following.code, report["skipped"], report["parked"]) == (COMPLETE, 1, 0), following
    (record,) = (record for record in archives.records(archive_dir) if record["t"] == "skip")
    assert (record["unique_id"], record["maildrop"], record["reason"]) == ("b", MAILDROP, "not needed")


@pytest.mark.parametrize("digits", [8, 16, 64])
def test_a_suspect_is_settled_by_its_digest_and_kept(digits: int, waiting: Path) -> None:
    result = skip(waiting, digest("c")[:digits])
    assert result.code == COMPLETE, result
    assert (result.json()["kind"], result.json()["digest"]) == ("suspect", digest("c"))
    assert digest("c") in archives.files(waiting), "kept"
    assert run("status", waiting).json()["suspects"] == []


def test_a_suspect_is_settled_by_its_unique_id_or_capital_digits(waiting: Path) -> None:
    assert skip(waiting, digest("c")[:12].upper()).code == COMPLETE
    other = archive_of(waiting.with_name("other.mailmove"), suspect("c"))
    assert skip(other, "c").code == COMPLETE


def test_after_all_is_settled_the_next_pull_is_complete(archive_dir: Path) -> None:
    with making.peer(*good("a", "b"), suspect("c"), refused=("b",)) as server:
        assert making.pull(server, archive_dir).code == PARTIAL
        assert skip(archive_dir, "b").code == skip(archive_dir, digest("c")[:16]).code == COMPLETE
        following = making.pull(server, archive_dir)
    assert (following.code, following.json()["exceptions"]) == (COMPLETE, []), following
    assert run("verify", archive_dir).code == COMPLETE


# ---- The id must mean exactly one thing


@pytest.mark.parametrize("identity", ["a", "nobody", "B", "0" * 64, "", "%", "_"])
def test_an_id_of_nothing_that_waits(identity: str, waiting: Path) -> None:
    refused(waiting, identity, "Nothing parked or suspect", "mailmove status")


def test_too_few_digits_of_a_digest(waiting: Path) -> None:
    refused(waiting, digest("c")[:7], "Nothing parked or suspect")


def test_what_is_settled_cannot_be_settled_again(waiting: Path) -> None:
    assert skip(waiting, "b").code == COMPLETE
    refused(waiting, "b", "Nothing parked or suspect")


def test_an_id_in_several_maildrops(waiting: Path) -> None:
    archive_of(waiting, *good("x", "b"), refused=("b",), maildrop="N")
    refused(waiting, "b", "Several maildrops", "M, N", "--maildrop")
    assert skip(waiting, "b", "--maildrop", "N").json()["maildrop"] == "N"
    assert skip(waiting, "b").json()["maildrop"] == "M"


def test_an_id_that_is_one_messages_digest_and_anothers_unique_id(archive_dir: Path) -> None:
    prefix = digest("c")[:8]
    archive = archive_of(archive_dir, *good(prefix, "a"), suspect("c"), refused=(prefix,))
    refused(archive, prefix, "fits several messages", "more digits")
    assert skip(archive, digest("c")[:9]).json()["kind"] == "suspect"
    assert skip(archive, prefix).json()["kind"] == "parked"


@pytest.mark.parametrize("reason", [None, "", "  ", "two\nlines", "\x1b[31m"])
def test_a_reason_is_needed_in_one_line(reason: str | None, waiting: Path) -> None:
    before = archives.records(waiting)
    given = () if reason is None else ("--reason", reason)
    result = run("skip", waiting, "b", *given)
    assert result.code == USAGE and "reason" in result.stderr.lower(), result
    assert archives.records(waiting) == before


# ---- The command that exit 3 prints


@pytest.fixture
def shell_environment(tmp_path: Path) -> dict[str, str]:
    """With a `mailmove` to be found, as after an installation."""
    program = tmp_path / "bin" / "mailmove"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mailmove "$@"\n')
    program.chmod(0o755)
    env = environment()
    return env | {"PATH": f"{program.parent}:{env['PATH']}"}


def commands(report: str) -> list[str]:
    return [line.strip() for line in report.splitlines() if line.strip().startswith("mailmove skip ")]


def settled(archive: Path) -> list[str]:
    return [record["unique_id"] for record in archives.records(archive) if record["t"] == "skip"]


def paste(command: str, env: dict[str, str], cwd: Path) -> None:
    done = subprocess.run(["sh", "-c", command], env=env, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0 and "Settled: " in done.stdout, (command, done)


@pytest.mark.parametrize("nasty", [NASTY, (*UNTYPABLE, *ALIKE)], ids=["quoted", "escaped"])
def test_each_command_of_a_report_can_be_pasted(
    nasty: tuple[str, ...], shell_environment: dict[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "it's my $mail.mailmove"
    with making.peer(*good("a", *nasty), suspect("c"), refused=nasty) as server:
        result = making.pull(server, archive, "-q", maildrop="-me's mail")
        assert result.code == PARTIAL, result
        printed = commands(result.stdout)
        assert len(printed) == len(nasty) + 1 and all(map(str.isascii, printed))
        for command in printed:
            paste(command, shell_environment, tmp_path)
            newest = settled(archive)[-1]
            assert ("--escaped" in command) is (newest in UNTYPABLE or newest == "a\x01b"), (command, newest)
        assert sorted(settled(archive)) == sorted([*nasty, "c"])
        following = making.pull(server, archive, maildrop="-me's mail")
    assert (following.code, following.json()["skipped"]) == (COMPLETE, len(nasty)), following


@pytest.mark.parametrize("identity", ["a%2", "%zz", "%"])
def test_an_escape_that_is_none_is_an_id_of_nothing(identity: str, waiting: Path) -> None:
    result = skip(waiting, identity, "--escaped")
    assert result.code == USAGE and "Nothing parked or suspect" in result.stderr, result


def test_a_report_without_exceptions_prints_no_command(archive_dir: Path) -> None:
    with making.peer(*good("a")) as server:
        result = making.pull(server, archive_dir, "--progress", "json")
    assert result.code == COMPLETE and commands(result.stdout) == []


# ---- What an archive in use says


def test_another_writer_is_named(waiting: Path) -> None:
    import filelock

    with filelock.FileLock(waiting / "lock"):
        result = run("skip", waiting, "b", "--reason", "x")
        assert run("verify", waiting).code == run("status", waiting).code == COMPLETE, "readers take no lock"
    assert (result.code, result.json()["error"]["class"]) == (75, "ArchiveBusy"), result
    one_sentence(result, "is in use", "--wait")
    assert mailmove("skip", "b", "-a", waiting, "--reason", "x").code == COMPLETE
