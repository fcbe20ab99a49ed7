"""Readable in ten years: what README.txt in an archive tells to type is enough to list, check and copy every message.

Strategy: the commands are taken out of the file in the archive, as somebody would who has nothing else, and run by `sh`
with a PATH that holds no mailmove and no Python. The archive has everything that a log can tell of: several maildrops,
the same octets at several places, voided records, what was parked and skipped, deleted on the server, delivered and
lost again, and unique ids with everything in them that could trip a shell, awk or jq. What must come out is known from
the messages that went in.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.archive.deliveries import Delivered
from mailmove.jobs import Context
from mailmove.jobs.skip import SkipJob, run_skip
from mailmove.model import Digest
from mailmove.targets import Receipt
from tests.conftest import unavailable
from tests.unit.archive.delivering import replaying
from tests.unit.archive.making import (
    MAILDROP,
    Mail,
    alter,
    commit,
    die_before_catalogue,
    kinds,
    last_segment,
    log_lines,
    running,
    some,
    store,
)

FEW = ("sh", "sha256sum", "grep", "jq")
TOOLS = ("sh", "cat", "find", "sha256sum", "awk", "jq", "sort", "xargs", "cp", "mkdir")
OTHER = "you@[2001:db8::1]"
FIRST, SECOND = some(6, seed=1), some(4, seed=2)
SHARED = Mail("elsewhere-1", FIRST[0].octets)
TWICE = Mail("once-more", FIRST[1].octets)
LOST, NEVER = some(2, seed=3)
HIDDEN = Mail("no-date", b"\r\n.\r\n\x00\xff\r\n")
IDS = (
    "a b",
    "tab\tid",
    "'; rm -rf x; '",
    '"quoted" \\ $HOME `id`',
    "\x1b[31m",
    "Ünïcode\x9b",
    "-n",
    "%s%n",
    "*",
    "&|<>",
)
ODD = [Mail(unique_id, mail.octets) for unique_id, mail in zip(IDS, some(len(IDS), seed=4), strict=True)]
PLACES = [*((MAILDROP, mail) for mail in (*FIRST, TWICE, LOST, HIDDEN, *ODD)), *((OTHER, m) for m in (SHARED, *SECOND))]


@pytest.fixture(autouse=True)
def tools() -> None:
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        unavailable(f"not installed: {', '.join(missing)}")


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    store(archive_dir, FIRST[:3], FIRST[3:], [TWICE, HIDDEN])
    store(archive_dir, [SHARED, *SECOND], maildrop=OTHER)
    store(archive_dir, ODD)
    void(archive_dir, LOST)
    store(archive_dir, [LOST])
    void(archive_dir, NEVER)
    _park_and_skip(archive_dir)
    _delete(archive_dir, FIRST[2])
    _deliver(archive_dir)
    told = set(kinds(archive_dir))
    assert told == {"run", "add", "place", "void", "park", "skip", "gone", "delete", "intend", "deliver"}
    return archive_dir


def void(root: Path, mail: Mail) -> None:
    """A power cut took its file and left its record."""
    die_before_catalogue(root, mail)
    mail.file(root).unlink()
    Archive.open(root).close()


def _park_and_skip(root: Path) -> None:
    with running(root) as archive:
        archive.park("refused", 100, "refused", "", "-ERR no")
        archive.gone([("gone", 100)])
    run_skip(SkipJob(root, "refused", "spam"), Context())


def _delete(root: Path, mail: Mail) -> None:
    with running(root) as archive:
        places = [[mail.unique_id, len(mail.octets), mail.digest]]
        archive.append(archive.event("delete", event="asked", maildrop=MAILDROP, delete_after=0, places=places))
        archive.append(archive.event("delete", event="confirmed", maildrop=MAILDROP, places=places))
        archive.append(archive.event("gone", maildrop=MAILDROP, ids=[["once-more", len(TWICE.octets)]]))


def _deliver(root: Path) -> None:
    """Void records of deliveries are about no record of a message."""
    with replaying(root) as journal:
        digest = Digest(FIRST[0].digest)
        number = journal.intend(7, 1, [digest])
        journal.write([journal.delivered(digest, Receipt(7, 1), "append", intend=number)])
        journal.write([journal.missing(Delivered(digest, 7, 1))])


# ---- what somebody would type


def commands(root: Path) -> dict[str, str]:
    """First word -> script, of every indented block behind a line that ends with a colon."""
    text = (root / "README.txt").read_text(encoding="utf-8")
    blocks = re.findall(r"^(\w+)[^\n]*(?:\n\S[^\n]*)*:\n((?: {4}[^\n]*\n)+)", text, re.MULTILINE)
    return dict(blocks)


def typed(root: Path, word: str, tmp_path: Path) -> list[str]:
    """The lines printed by the command that begins with this word; a tool that fails says so on stderr."""
    done = run(commands(root)[word], root, tmp_path, TOOLS)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode("utf-8").splitlines()


def run(script: str, root: Path, tmp_path: Path, tools: Collection[str]) -> subprocess.CompletedProcess[bytes]:
    """What sh makes of it in the archive's folder where there are only these tools."""
    folder = tmp_path / "-".join(("with", *tools))
    folder.mkdir(exist_ok=True)
    for tool in tools:
        if not (folder / tool).exists():
            (folder / tool).symlink_to(str(shutil.which(tool)))
    return subprocess.run(
        ["sh", "-eu"], input=script.encode(), cwd=root, capture_output=True, env={"PATH": str(folder)}
    )


def shown(mail: Mail) -> str:
    return f"mail/{mail.digest[:3]}/{mail.digest}.eml"


def test_the_file_has_these_commands(archive: Path) -> None:
    assert list(commands(archive)) == ["Check", "List", "Copy", "Prove", "Get"]


def test_a_sound_archive_gives_no_complaint(archive: Path, tmp_path: Path) -> None:
    assert typed(archive, "Check", tmp_path) == []


def test_every_place_of_every_message_is_listed(archive: Path, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in typed(archive, "List", tmp_path)]
    dates = [row[0] for row in rows]
    assert dates == sorted(dates)
    found = sorted((maildrop, json.loads(unique_id), file) for _, file, maildrop, unique_id in rows)
    assert found == sorted((maildrop, mail.unique_id, shown(mail)) for maildrop, mail in PLACES)
    assert "\x1b" not in "".join(map("".join, rows)), "nothing for a terminal to obey"


def test_every_message_is_copied_with_its_octets(archive: Path, tmp_path: Path) -> None:
    typed(archive, "Copy", tmp_path)
    copied = {path.name: path.read_bytes() for path in (archive.parent / "copied").iterdir()}
    assert copied == {f"{mail.digest}.eml": mail.octets for _, mail in PLACES}


def test_an_archive_without_any_message(archive_dir: Path, tmp_path: Path) -> None:
    store(archive_dir)
    assert [typed(archive_dir, word, tmp_path) for word in ("Check", "List", "Copy")] == [[], [], []]
    assert list((archive_dir.parent / "copied").iterdir()) == []


def test_damaged_missing_and_extra_files_are_named(archive: Path, tmp_path: Path) -> None:
    alter(FIRST[0].file(archive))
    SECOND[0].file(archive).unlink()
    stranger = NEVER.file(archive)
    stranger.parent.mkdir(exist_ok=True)
    for path in (stranger, archive / "mail" / "a note.txt", FIRST[3].file(archive).with_suffix(".bak")):
        path.write_bytes(NEVER.octets)
    assert typed(archive, "Check", tmp_path) == sorted(
        [
            f"DAMAGED {shown(FIRST[0])}",
            f"MISSING {shown(SECOND[0])}",
            f"EXTRA {shown(NEVER)}",
            "EXTRA mail/a note.txt",
            f"EXTRA {shown(FIRST[3])[:-4]}.bak",
        ]
    )


def test_two_files_that_were_swapped_are_both_named(archive: Path, tmp_path: Path) -> None:
    one, two = FIRST[3].file(archive), FIRST[4].file(archive)
    octets = one.read_bytes(), two.read_bytes()
    for path, content in zip((two, one), octets, strict=True):
        path.unlink()
        path.write_bytes(content)
    assert typed(archive, "Check", tmp_path) == sorted(f"DAMAGED {shown(mail)}" for mail in FIRST[3:5])


def test_records_are_numbered_through_all_segments(archive: Path, tmp_path: Path) -> None:
    """A void record names the number of another: not one in its own file."""
    listed = typed(archive, "List", tmp_path)
    lines, only = log_lines(archive), last_segment(archive)
    only.write_bytes(b"".join(lines[:4]))
    only.with_name("00000002.jsonl").write_bytes(b"".join(lines[4:]))
    assert typed(archive, "List", tmp_path) == listed and typed(archive, "Check", tmp_path) == []


def test_what_a_run_that_was_killed_left_behind_is_extra(archive: Path, tmp_path: Path) -> None:
    """The file has its name, the log no record; the README says so."""
    with running(archive) as opened:
        commit(opened, NEVER)
    only = last_segment(archive)
    only.write_bytes(b"".join(log_lines(archive)[:-1]))
    assert typed(archive, "Check", tmp_path) == [f"EXTRA {shown(NEVER)}"]


# ---- with four tools


def test_sh_sha256sum_grep_and_jq_list_and_check_every_message(archive: Path, tmp_path: Path) -> None:
    proven = run(commands(archive)["Prove"], archive, tmp_path, FEW)
    assert (proven.returncode, proven.stdout, proven.stderr) == (0, b"", b"")
    listed = (archive.parent / "messages.sha256").read_text().splitlines()
    assert listed == sorted({f"{mail.digest}  {shown(mail)}" for _, mail in PLACES})
    asked = run(f"grep -c {FIRST[0].digest} ../messages.sha256", archive, tmp_path, FEW)
    assert asked.stdout == b"1\n"


def test_and_name_what_is_damaged_or_missing(archive: Path, tmp_path: Path) -> None:
    alter(FIRST[0].file(archive))
    FIRST[1].file(archive).unlink()
    proven = run(commands(archive)["Prove"], archive, tmp_path, FEW)
    named = sorted(proven.stdout.decode().splitlines())
    assert proven.returncode != 0 and named == sorted(
        [f"{shown(FIRST[0])}: FAILED", f"{shown(FIRST[1])}: FAILED open or read"]
    )


def test_and_after_that_every_message_is_got_with_its_octets(archive: Path, tmp_path: Path) -> None:
    for word in ("Prove", "Get"):
        assert run(commands(archive)[word], archive, tmp_path, (*FEW, "mkdir", "cp")).returncode == 0
    got = {path.name: path.read_bytes() for path in (archive.parent / "messages").iterdir()}
    assert got == {f"{mail.digest}.eml": mail.octets for _, mail in PLACES}


def test_and_find_nothing_wrong_with_an_archive_without_messages(archive_dir: Path, tmp_path: Path) -> None:
    store(archive_dir)
    proven = run(commands(archive_dir)["Prove"], archive_dir, tmp_path, FEW)
    assert (proven.returncode, proven.stdout, proven.stderr) == (0, b"", b"")
