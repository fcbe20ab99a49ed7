"""`mailmove rebuild` as a user runs it: the next pull transfers nothing again, the next replay sends nothing again.

Strategy: real pulls and replays against servers in this process; the servers' own records say what was asked of them.
What a rebuild makes of every kind of log and database is in tests/unit/archive/test_rebuilding.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailmove.archive import Archive
from mailmove.demo import ImapServer
from tests.cli import making
from tests.cli.making import (
    COMPLETE,
    DAMAGED,
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
    suspect,
)
from tests.conftest import unavailable
from tests.servers import pymap
from tests.support import archives, mails
from tests.support.cli import finish, kill, mailmove, start_mailmove
from tests.support.client import PASSWORD
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy
from tests.support.replaying import fill, plain_replay, url, words

NAMES = ("one", "two", "three", "four")
USER = "anna"
BUSY = 75


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    return archive_of(archive_dir, *good(*NAMES))


@pytest.fixture
def imap() -> Iterator[ImapServer]:
    if reason := pymap.missing():
        unavailable(reason)
    with ImapServer(USER, PASSWORD) as server:
        yield server


def deleted(archive: Path) -> None:
    for path in archive.glob("archive.db*"):
        path.unlink()


def half_written(archive: Path) -> None:
    database = archive / "archive.db"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2 + 100])


def no_database(archive: Path) -> None:
    overwrite(archive / "archive.db", b"precious notes " * 1000)


SPOIL = pytest.mark.parametrize("spoil", [deleted, half_written, no_database])
Spoil = Callable[[Path], None]


# ---- what comes after it


def shown(archive: Path) -> dict[str, Any]:
    """What `status` says, but for the server's own words, which may be lost."""
    status = run("status", archive).json()
    for parked in status["parked"]:
        parked.pop("server_text")
    return dict(status)


@SPOIL
def test_the_next_pull_transfers_nothing_again(archive_dir: Path, spoil: Spoil) -> None:
    """What was pulled, refused, deleted on the server, or looked incomplete: all is as it was."""
    with making.peer(*good(*NAMES), suspect("odd"), *good("bad"), refused=("bad",)) as server:
        assert making.pull(server, archive_dir).code == PARTIAL
        before = shown(archive_dir)
        asked = len(server.sessions)
        spoil(archive_dir)
        assert run("rebuild", archive_dir).code == COMPLETE
        assert shown(archive_dir) == before
        again = making.pull(server, archive_dir)
        server.wait(len(server.sessions))
        commands = [command for session in server.sessions[asked:] for command in session.commands]
    assert (again.json()["stored"], again.json()["already_archived"]) == (0, len(NAMES) + 1), again
    assert {command for command in commands if command.startswith("RETR")} <= {"RETR 6"}, "only what was refused"
    assert run("verify", archive_dir).code == COMPLETE


@SPOIL
def test_what_was_deleted_on_the_server_stays_deleted_for_it(archive_dir: Path, spoil: Spoil) -> None:
    with making.peer(*good(*NAMES)) as server:
        delete = ("--delete-after", 0, "--allow-mass-delete", "--json")
        assert making.pull(server, archive_dir, *delete).json()["deleted"] == len(NAMES)
    spoil(archive_dir)
    assert run("rebuild", archive_dir).code == COMPLETE
    with making.peer(*good("one", "new")) as server:
        again = making.pull(server, archive_dir)
    assert again.json()["stored"] == 1, "a message that comes again under a deleted one's id is fetched, and known"
    assert again.json()["duplicate_content"] == 1, again


@SPOIL
def test_the_next_replay_sends_nothing_again(archive_dir: Path, imap: ImapServer, spoil: Spoil) -> None:
    messages = mails.varied(12, seed=301)
    fill(archive_dir, messages)
    assert plain_replay(imap.port, USER, archive_dir).json()["delivered"] == len(messages)
    spoil(archive_dir)
    assert run("rebuild", archive_dir).code == COMPLETE
    again = plain_replay(imap.port, USER, archive_dir)
    report = again.json()
    assert (again.code, report["delivered"], report["already_there"]) == (COMPLETE, 0, len(messages)), again
    with Referee(imap.port, USER) as referee:
        assert len(referee.stored("INBOX")) == len(messages)


def test_a_replay_that_was_killed_goes_on_after_it_without_a_copy_too_many(archive_dir: Path, imap: ImapServer) -> None:
    """The intents are in the log: what may have arrived is looked for, not sent again."""
    messages = [body(f"number {n}") for n in range(40)]
    fill(archive_dir, messages)
    with Proxy(imap.port) as proxy:
        proxy.at_up(sum(map(len, messages)) // 2, lambda session: kill(process))
        process = start_mailmove(*words(url(proxy.port, USER), archive_dir, "--allow-plaintext"))
        finish(process)
    assert archives.unsettled(archive_dir), "nothing was under way"
    deleted(archive_dir)
    assert run("rebuild", archive_dir).code == COMPLETE
    again = plain_replay(imap.port, USER, archive_dir)
    assert (again.code, again.json()["uncertain"]) == (COMPLETE, 0), again
    with Referee(imap.port, USER) as referee:
        assert sorted(one.octets for one in referee.stored("INBOX")) == sorted(messages)


# ---- what it says


def test_the_report(archive: Path) -> None:
    records = len(archives.records(archive))
    old = (archive / "archive.db").read_bytes()
    result = run("rebuild", archive)
    report = result.json()
    assert (result.code, report["job"], report["outcome"], report["exceptions"]) == (0, "rebuild", "complete", [])
    assert (report["records"], report["messages"], report["damaged"]) == (records, len(NAMES), 0)
    assert report["octets"] == sum(len(body(name)) for name in NAMES) and report["seconds"] >= 0
    assert Path(report["kept"]).read_bytes() == old and Path(report["kept"]).parent == archive / "quarantine"
    text = mailmove("rebuild", "-a", archive)
    assert text.stdout.startswith("Rebuilt: ") and "4 messages" in text.stdout and "quarantine" in text.stdout, text
    quiet = mailmove("rebuild", "-a", archive, "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (COMPLETE, "", ""), quiet
    drawn = mailmove("rebuild", "-a", archive, "--progress", "json").stderr
    assert f'"what": "rebuild", "messages": {len(NAMES)}' in drawn, drawn


def test_damaged_messages_are_named(archive: Path) -> None:
    file_of(archive, "one").unlink()
    result = run("rebuild", archive)
    assert (result.code, result.json()["outcome"], result.json()["damaged"]) == (DAMAGED, "failed", 1), result
    assert result.json()["exceptions"] == [{"kind": "damaged", "digest": digest("one")}]
    text = mailmove("rebuild", "-a", archive, "-q")
    assert text.code == DAMAGED and digest("one") in text.stdout and "`mailmove repair`" in text.stdout, text


@SPOIL
def test_verify_prints_the_command_that_mends_it(archive: Path, spoil: Spoil) -> None:
    no_database(archive)
    hint = next(line.strip() for line in run_verify(archive) if line.strip().startswith("mailmove rebuild"))
    spoil(archive)
    assert mailmove(*shlex.split(hint)[1:]).code == COMPLETE
    assert mailmove("verify", "-a", archive).code == COMPLETE
    file_of(archive, "one").unlink()
    assert any(line.strip().startswith("mailmove repair") for line in run_verify(archive))


def run_verify(archive: Path) -> list[str]:
    result = mailmove("verify", "-a", archive)
    assert result.code == DAMAGED, result
    return result.stdout.splitlines()


# ---- when it cannot be done


def test_a_line_that_cannot_be_understood(archive: Path) -> None:
    log = archive / "log" / "00000001.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], b'{"t":"add"}\n', *lines[3:]]))
    before = making.tree(archive)
    result = run("rebuild", archive)
    assert (result.code, result.json()["outcome"]) == (DAMAGED, "failed"), result
    one_sentence(result, "00000001.jsonl, line 3", "cannot be understood", "Restore the log from a copy")
    assert making.tree(archive) == before


def test_an_archive_in_use(archive: Path) -> None:
    with Archive.open(archive):
        result = run("rebuild", archive)
    assert result.code == BUSY and "in use by process" in result.stderr, result


@pytest.mark.parametrize("words", [("-a", "nothing"), (), ("-a", "file"), ("-a", "folder"), ("extra",)])
def test_bad_input(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    result = mailmove("rebuild", *words, "--json", cwd=tmp_path)
    assert (result.code, result.stdout) == (USAGE, "") and "Traceback" not in result.stderr, result
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
