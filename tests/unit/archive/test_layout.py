"""What makes a folder an archive: FORMAT decides, creation can be cut short anywhere, and nothing foreign is touched.

Strategy: folders are put together by hand as an earlier crash, a later mailmove, or a user's mistake would leave them;
whatever is refused must be left exactly as it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mailmove import __version__
from mailmove.archive import Archive, Reader, check_creatable
from mailmove.errors import ArchiveDamaged, ArchiveTooNew, MailmoveError, UsageError
from tests.unit.archive.making import (
    assert_sound,
    die_before_catalogue,
    findings,
    pull,
    some,
    store,
    tree,
    unknown,
    verify,
)

MAILS = some(3, seed=1)


def refused(root: Path) -> MailmoveError:
    """What writer and reader say of this folder, in the same words, changing nothing."""
    before = tree(root)
    with pytest.raises(MailmoveError) as writer:
        Archive.open(root, create_missing=True)
    with pytest.raises(MailmoveError) as reader:
        Reader.open(root)
    assert tree(root) == before and writer.value.message == reader.value.message
    return writer.value


# ---- FORMAT


def test_a_new_archive_says_what_it_is(archive_dir: Path) -> None:
    with Archive.open(archive_dir, create_missing=True) as archive:
        lines = (archive_dir / "FORMAT").read_text("ascii").splitlines()
    expected = [f"id {archive.id}", "hash sha256", "shard 3", f"written-by {__version__}"]
    assert lines == ["mailmove-archive 1", *expected] and archive.created
    assert "mail/" in (archive_dir / "README.txt").read_text()


def test_two_archives_have_two_ids(tmp_path: Path) -> None:
    for name in "ab":
        Archive.open(tmp_path / name, create_missing=True).close()
    assert Reader.open(tmp_path / "a").id != Reader.open(tmp_path / "b").id


def test_a_newer_format_is_refused_naming_the_version_to_get(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    (archive_dir / "FORMAT").write_text("mailmove-archive 12\nid 00\nhash blake9\nwritten-by 47.11\n")
    error = refused(archive_dir)
    assert isinstance(error, ArchiveTooNew) and error.exit_code == 78
    assert "format 12" in error.message and "install mailmove 47.11 or later" in error.message


def test_a_newer_format_needs_nothing_of_todays_to_be_refused(archive_dir: Path) -> None:
    archive_dir.mkdir()
    (archive_dir / "FORMAT").write_text("mailmove-archive 2\n")
    assert isinstance(refused(archive_dir), ArchiveTooNew)


DAMAGED = [b"", b"\0" * 100, b"mailmove-archive", b"mailmove-archive one\nid 1\n", b"mailmove-archive 1\n", b"\xff\xfe"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_format_is_named_and_nothing_is_made(archive_dir: Path, content: bytes) -> None:
    store(archive_dir, MAILS)
    (archive_dir / "FORMAT").write_bytes(content)
    error = refused(archive_dir)
    assert isinstance(error, ArchiveDamaged) and error.exit_code == 4
    assert "FORMAT is damaged" in error.message and "Restore it from a copy" in error.message


# ---- creation


def cut_short(root: Path, *names: str) -> None:
    """A folder in which a creation had come so far."""
    whole = root.with_name("whole")
    Archive.open(whole, create_missing=True).close()
    root.mkdir()
    for name in names:
        path = whole / name.partition(".")[0]
        shutil.copytree(path, root / name) if path.is_dir() else shutil.copy(path, root / name)


STAGES = [
    (),
    ("FORMAT.0123abcd.new",),
    ("FORMAT.0123abcd",),
    ("FORMAT", "FORMAT.0123abcd"),
    ("FORMAT",),
    ("FORMAT", "mail"),
    ("FORMAT", "mail", "log", "tmp", "quarantine"),
]


@pytest.mark.parametrize("stage", STAGES, ids=[" ".join(stage) or "empty" for stage in STAGES])
def test_a_creation_cut_short_is_continued(archive_dir: Path, stage: tuple[str, ...]) -> None:
    cut_short(archive_dir, *stage)
    check_creatable(archive_dir)
    store(archive_dir, MAILS)
    left = [name for name in stage if "." in name]
    assert findings(archive_dir) == {("leftover", name) for name in left}
    for name in left:
        (archive_dir / name).unlink()
    assert_sound(archive_dir, *MAILS)


def test_the_id_of_a_creation_cut_short_is_kept(archive_dir: Path) -> None:
    cut_short(archive_dir, "FORMAT")
    said = (archive_dir / "FORMAT").read_bytes()
    with Archive.open(archive_dir, create_missing=True) as archive:
        assert f"id {archive.id}\n".encode() in said and not archive.created
    assert (archive_dir / "FORMAT").read_bytes() == said


def test_missing_parents_are_made_and_only_the_archive_is_private(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "mail.mailmove"
    store(root, MAILS)
    assert root.stat().st_mode & 0o777 == 0o700
    assert_sound(root, *MAILS)


# ---- what is no archive


def test_a_folder_with_other_content_is_refused_and_left_alone(archive_dir: Path) -> None:
    archive_dir.mkdir()
    (archive_dir / "thesis.tex").write_text("mine")
    for action in (check_creatable, lambda root: Archive.open(root, create_missing=True)):
        with pytest.raises(UsageError, match="exists and is not a mailmove archive"):
            action(archive_dir)
    assert tree(archive_dir) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize("below", [(), ("inside",), ("far", "inside")])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, below: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file, but an archive is a folder"):
        Archive.open(tmp_path.joinpath("file", *below), create_missing=True)
    assert tree(tmp_path) == {"file": b"mine"}


def test_nothing_is_made_unless_asked_for(archive_dir: Path) -> None:
    with pytest.raises(UsageError, match="not a mailmove archive"):
        Archive.open(archive_dir)
    with pytest.raises(UsageError, match="does not exist"):
        Reader.open(archive_dir)
    assert not archive_dir.exists()


# ---- an archive is a folder, wherever it is


def test_a_moved_archive_works_even_if_moved_before_recovery(archive_dir: Path) -> None:
    store(archive_dir, MAILS[:1])
    die_before_catalogue(archive_dir, *MAILS[1:])
    moved = archive_dir.rename(archive_dir.with_name("elsewhere"))
    assert pull(moved, *MAILS) == []
    assert_sound(moved, *MAILS)
    assert not archive_dir.exists()


def test_a_copy_is_an_archive_of_its_own(archive_dir: Path) -> None:
    store(archive_dir, MAILS[:1])
    copy = Path(shutil.copytree(archive_dir, archive_dir.with_name("copy")))
    store(copy, MAILS[1:])
    assert unknown(archive_dir, *MAILS) == [mail.unique_id for mail in MAILS[1:]]
    assert_sound(copy, *MAILS)


def test_no_file_of_an_archive_knows_where_it_is(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    die_before_catalogue(archive_dir, *some(1, seed=2))
    assert not [name for name, octets in tree(archive_dir).items() if bytes(archive_dir.parent) in octets]


def test_an_archive_may_be_named_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store(Path("mail.mailmove"), MAILS)
    assert verify(Path("mail.mailmove")).findings == []
    assert_sound(tmp_path / "mail.mailmove", *MAILS)
