"""What lies in an archive's folder and is no part of it: verify names it, wherever it was put.

Strategy: an archive that has everything an archive can have (each file of its own made by the command that makes it)
is sound; then one thing more is put there by hand. What a system drops anywhere is named too, and harms nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mailmove.archive import Archive, Reader
from mailmove.archive.timestamps import keep, stamp_of
from tests.cli.making import DAMAGED
from tests.support.cli import mailmove
from tests.unit.archive.making import findings, running, some, store, tree, verify
from tests.unit.search.searching import index

MAILS = some(3)
SHARD = f"mail/{MAILS[0].digest[:3]}"


@pytest.fixture
def root(archive_dir: Path) -> Path:
    """Pulled into, rebuilt, indexed, stamped, verified: all that an archive's folder can hold, and tmp/ not empty."""
    store(archive_dir, MAILS)
    assert mailmove("rebuild", "-a", archive_dir).code == 0
    index(archive_dir)
    keep(stamp_of(Reader.open(archive_dir).layout, 3), b"a checkpoint", b"a token")
    (archive_dir / "tmp" / "0001.draft").write_bytes(b"of a run under way")
    assert verify(archive_dir).exit_code == 0
    assert {"quarantine", "search.db", "search.lock", "lock", "verify.json"} <= {p.name for p in archive_dir.iterdir()}
    return archive_dir


def put(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if name.endswith("/") else path.write_bytes(b"x")


def test_a_whole_archive_has_no_strangers(root: Path) -> None:
    assert findings(root) == set()
    with Archive.open(root):
        assert findings(root) == set()


def test_nor_while_a_run_is_under_way_that_began_it(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        archive.draft()
        assert findings(archive_dir) == set()


def test_nor_where_the_state_is_elsewhere_or_in_a_folder_of_it(archive_dir: Path, tmp_path: Path) -> None:
    for state in (tmp_path / "state", archive_dir / "state"):
        store(archive_dir, MAILS)
        with running(archive_dir, state_dir=state, take_over=True):
            assert (archive_dir / "writer").exists() and findings(archive_dir) == set()
        (archive_dir / "writer").unlink()


STRANGERS = (
    "notes.txt",
    "photos/cat.jpg",
    "empty/",
    "archive.db.old",
    "archive.db-wal2",
    "search.db~",
    "FORMAT~",
    "FORMAT.old",
    ".hidden",
    "verify.json.bak",
    "\x1b[31mred",
    "mail/notes.txt",
    f"{SHARD}/notes.txt",
    f"{SHARD}/folder/",
    "log/notes.txt",
    "log/00000001.jsonl.gz",
    "log/ts/notes.txt",
    "log/ts/03.tsr",
    "log/ts/3.tsr.old",
    "log/ts/folder/",
)


@pytest.mark.parametrize("name", STRANGERS, ids=ascii)
def test_what_nobody_owns_is_extra(root: Path, name: str) -> None:
    put(root, name)
    top = name.rstrip("/") if name.startswith(("mail/", "log/")) else name.partition("/")[0]
    assert findings(root) == {("extra", top)} and verify(root).exit_code == DAMAGED


def test_all_of_them_at_once_in_any_part_and_none_is_touched(root: Path) -> None:
    for name in STRANGERS:
        put(root, name)
    before = {name: octets for name, octets in tree(root).items() if name != "verify.json"}
    result = mailmove("verify", "-a", root, "--part", "1/4096", "--json")
    outside = [name for name in STRANGERS if not name.startswith(SHARD)]
    assert result.code == DAMAGED and result.json()["extra"] >= len(outside), result
    text = mailmove("verify", "-a", root)
    assert "extra: \\x1b[31mred: no part of an archive" in text.stdout and "\x1b" not in text.stdout
    assert {name: octets for name, octets in tree(root).items() if name != "verify.json"} == before


def test_a_folder_where_a_file_belongs_and_the_other_way_round(root: Path) -> None:
    (root / "quarantine").rename(root.parent / "aside")
    (root / "quarantine").write_bytes(b"")
    assert findings(root) == {("extra", "quarantine")}


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "Thumbs.db", "desktop.ini", "Desktop.ini", "._archive.db", "lost+found/", ".Trash-1000/",
     "System Volume Information/", "@eaDir/", ".nfs0000000000a1", ".directory"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["", "mail/", f"{SHARD}/", "log/", "log/ts/"])
def test_what_a_system_drops_is_named_and_harms_nothing(root: Path, where: str, name: str) -> None:
    put(root, where + name)
    if name == "@eaDir/":
        put(root, where + name + "thumb.jpg")
    report = verify(root)
    assert [(one.kind, one.what) for one in report.findings] == [("note", where + name.rstrip("/"))]
    assert (report.exit_code, report.as_dict()["note"], report.proven) == (0, 1, len(MAILS))


@pytest.mark.parametrize(
    "name",
    ["FORMAT.0123abcd", "FORMAT.0123abcd.new", "README.txt.new", "writer.new", "verify.json.0123abcd",
     "archive.db.new", "archive.db.new-journal", "log/checkpoint.new", "log/ts/4.checkpoint", "log/ts/4.tsr.0123abcd",
     "log/ts/4.checkpoint.0123abcd.new"],
)  # fmt: skip
def test_what_a_command_leaves_that_is_cut_off_is_left_over(root: Path, name: str) -> None:
    put(root, name)
    assert findings(root) == {("leftover", name)} and verify(root).exit_code == 0


def test_strangers_take_no_proof_away(root: Path) -> None:
    """A note somebody put into log/ makes no message less proven."""
    put(root, "log/notes.txt")
    (root / "verify.json").unlink()
    assert mailmove("verify", "-a", root).code == DAMAGED
    assert mailmove("verify", "-a", root, "--due", "1d", "--json").json()["proven"] == 0
