"""What a dead run leaves without a record: sound files wait to be adopted, everything else of it goes.

Strategy: a run stops for real between renaming and logging, or in the middle of receiving; then the next opening, the
next pull and `verify` must each come to the right end. A file that mailmove never announced is not taken for its own.
"""

from __future__ import annotations

from pathlib import Path

from mailmove.archive import Archive
from mailmove.archive.drafts import SMALL
from tests.unit.archive.making import (
    Mail,
    alter,
    assert_sound,
    commit,
    die_before_catalogue,
    die_before_log,
    findings,
    kinds,
    pull,
    receive,
    running,
    some,
    store,
    summary,
    unknown,
    verify,
)

OLD, NEW = some(2, seed=1), some(3, seed=2)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def group_file(root: Path) -> Path:
    (path,) = (root / "tmp").glob("*.group")
    return path


def leftover(mail: Mail, root: Path) -> tuple[str, str]:
    return "leftover", mail.file(root).relative_to(root).as_posix()


# ---- files under their final names


def test_a_sound_leftover_is_kept_and_is_no_message_yet(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    die_before_log(archive_dir, *NEW)
    with Archive.open(archive_dir) as archive:
        assert archive.recovered.leftovers == 3 and archive.recovered.records == 0
    assert all(mail.file(archive_dir).read_bytes() == mail.octets for mail in NEW)
    assert unknown(archive_dir, *OLD, *NEW) == [mail.unique_id for mail in NEW]
    assert summary(archive_dir).messages == 2


def test_a_leftover_is_adopted_when_its_digest_is_received(archive_dir: Path) -> None:
    die_before_log(archive_dir, *NEW)
    assert [one.new for one in store(archive_dir, NEW)] == [True] * 3
    assert kinds(archive_dir) == ["run", "add", "add", "add", "run"]
    assert names(archive_dir / "tmp") == []
    assert_sound(archive_dir, *NEW)


def test_a_leftover_waits_through_runs_that_do_not_receive_it(archive_dir: Path) -> None:
    die_before_log(archive_dir, *NEW)
    store(archive_dir, OLD)
    store(archive_dir, NEW[:1])
    assert findings(archive_dir) == {leftover(mail, archive_dir) for mail in NEW[1:]}
    pull(archive_dir, *OLD, *NEW)
    assert_sound(archive_dir, *OLD, *NEW)


def test_a_leftover_with_a_wrong_hash_is_removed(archive_dir: Path) -> None:
    die_before_log(archive_dir, *NEW)
    alter(NEW[0].file(archive_dir))
    with Archive.open(archive_dir) as archive:
        assert archive.recovered.leftovers == 2
    assert not NEW[0].file(archive_dir).exists()
    assert findings(archive_dir) == {leftover(mail, archive_dir) for mail in NEW[1:]}


def test_a_damaged_message_named_in_a_group_is_not_removed(archive_dir: Path) -> None:
    """It has a record: whatever is left of it is all there is."""
    store(archive_dir, OLD)
    die_before_log(archive_dir, OLD[0])
    alter(OLD[0].file(archive_dir))
    Archive.open(archive_dir).close()
    assert OLD[0].file(archive_dir).exists()
    assert {kind for kind, _ in findings(archive_dir)} == {"damaged"}


def test_a_group_that_was_logged_leaves_nothing(archive_dir: Path) -> None:
    die_before_catalogue(archive_dir, *NEW)
    assert names(archive_dir / "tmp") == [group_file(archive_dir).name]
    Archive.open(archive_dir).close()
    assert names(archive_dir / "tmp") == []
    assert_sound(archive_dir, *NEW)


def test_a_truncated_group_file_loses_only_the_claim(archive_dir: Path) -> None:
    """Only a disk that lies about syncs can leave one; then the files it no longer names are extra, not lost."""
    die_before_log(archive_dir, *NEW)
    path = group_file(archive_dir)
    path.write_bytes(path.read_bytes()[:100])
    assert {kind for kind, _ in findings(archive_dir)} == {"leftover", "extra"}
    pull(archive_dir, *NEW)
    assert_sound(archive_dir, *NEW)


def test_a_group_file_of_rubbish_is_removed_and_harms_nothing(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    (archive_dir / "tmp" / "rubbish.group").write_bytes(b"../../FORMAT\n\xff\xfe\n\0" + b"f" * 64)
    Archive.open(archive_dir).close()
    assert names(archive_dir / "tmp") == [] and (archive_dir / "FORMAT").exists()
    assert_sound(archive_dir, *OLD)


# ---- tmp/


def test_drafts_of_a_dead_run_are_removed(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        receive(archive, NEW[0])
        archive.write(archive.draft(), b"half a mess" * SMALL)
        archive.store._writer.wait()
    assert len(names(archive_dir / "tmp")) == 2
    Archive.open(archive_dir).close()
    assert names(archive_dir / "tmp") == []


def test_a_draft_is_in_tmp_and_has_no_name_in_mail_before_it_is_settled(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        received = receive(archive, NEW[0])
        assert received.draft.path.parent == archive_dir / "tmp"
        assert names(archive_dir / "mail") == []
        received.draft.discard()
        assert names(archive_dir / "tmp") == []


# ---- verify


def test_verify_counts_leftovers_as_sound(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    die_before_log(archive_dir, *NEW)
    report = verify(archive_dir)
    assert report.sound and report.exit_code == 0
    assert report.as_dict()["leftover"] == 3 and report.proven == 2


def test_verify_counts_a_leftover_that_is_not_sound_as_extra(archive_dir: Path) -> None:
    die_before_log(archive_dir, NEW[0])
    alter(NEW[0].file(archive_dir))
    assert findings(archive_dir) == {("extra", leftover(NEW[0], archive_dir)[1])}


def test_verify_names_every_other_unclaimed_file(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    shard = OLD[0].file(archive_dir).parent
    stray = [
        shard / "note.txt",
        shard / f"{'0' * 64}.eml",
        archive_dir / "mail" / "stray.eml",
        NEW[0].file(archive_dir),
    ]
    for path in stray:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(NEW[0].octets)
    assert findings(archive_dir) == {("extra", path.relative_to(archive_dir).as_posix()) for path in stray}
    assert verify(archive_dir).exit_code == 4 and verify(archive_dir).proven == 2


def test_a_stray_file_is_never_removed(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    stray = OLD[0].file(archive_dir).with_name("note.txt")
    stray.write_bytes(b"somebody's")
    store(archive_dir, NEW)
    assert stray.read_bytes() == b"somebody's"


def test_verify_beside_a_pull_finds_no_file_extra(archive_dir: Path) -> None:
    """Whatever the pull does between two looks of verify: here, the next group comes in while files are walked."""
    store(archive_dir, OLD)
    with running(archive_dir) as archive:
        moments = iter(NEW)
        report = verify(archive_dir, lambda: bool(commit(archive, *[next(moments, OLD[0])])))
        assert report.findings == []
