"""Message files: the exact octets, under the sha256 of them, and no record of a message without its file (P1, P2).

Strategy: whatever octets in whatever groups, by either way to sync (one syncfs on a local disk, fsync of each file
elsewhere), come out of plain files that the standard library can check. Failures are real: something is in the way.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmove.archive import Archive, Draft, Received
from mailmove.archive.durable import FileSyncer, SystemSyncer, choose_syncer
from mailmove.errors import ArchiveError, LocalProtocolError
from tests.conftest import unavailable
from tests.support import archives
from tests.unit.archive.making import (
    Mail,
    alter,
    assert_sound,
    commit,
    findings,
    pull,
    receive,
    running,
    some,
    store,
    unknown,
)

MEMORY = Path("/dev/shm")


@pytest.fixture(params=[SystemSyncer, FileSyncer], ids=["syncfs", "fsync"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An archive's place where groups are synced in this way."""
    with tempfile.TemporaryDirectory(dir=tmp_path if request.param is SystemSyncer else _memory()) as folder:
        if not isinstance(choose_syncer(Path(folder)), request.param):
            unavailable(f"no folder here is synced by {request.param.__name__}")
        yield Path(folder) / "mail.mailmove"


def _memory() -> Path | None:
    return MEMORY if MEMORY.is_dir() else None


GROUPS = st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=4)


@settings(max_examples=25, deadline=None)
@given(GROUPS)
def test_any_octets_in_any_groups_come_out_exactly(groups: list[list[bytes]]) -> None:
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        root = Path(folder) / "a"
        mails = [[Mail(f"{g}-{n}", octets) for n, octets in enumerate(group)] for g, group in enumerate(groups)]
        store(root, *mails)
        assert archives.files(root) == {archives.digest(octets): octets for group in groups for octets in group}
        archives.assert_consistent(root)
        assert unknown(root, *(mail for group in mails for mail in group)) == []


def test_both_ways_to_sync_store_alike(root: Path) -> None:
    mails = some(9)
    store(root, mails[:4], mails[4:8], mails[8:])
    assert_sound(root, *mails)


def test_a_file_is_read_only_in_a_folder_named_by_its_first_digits(root: Path) -> None:
    (mail,) = some(1)
    store(root, [mail])
    (path,) = (root / "mail").rglob("*.eml")
    assert path == root / "mail" / mail.digest[:3] / f"{mail.digest}.eml"
    assert path.stat().st_mode & 0o777 == 0o444 and path.read_bytes() == mail.octets


def test_a_message_in_any_pieces_is_one_file(root: Path) -> None:
    octets = some(1)[0].octets * 3
    with running(root) as archive:
        whole = receive(archive, Mail("1", octets)).draft
        pieces = archive.draft()
        for n in range(len(octets)):
            archive.write(pieces, octets[n : n + 1])
        archive.finish(pieces)
        assert (pieces.digest, pieces.octets, pieces.headers) == (whole.digest, whole.octets, whole.headers)
        assert (
            pieces.line_ends() == whole.line_ends() == (octets.count(b"\r\n"), len(re.findall(rb"(?<!\r)\n", octets)))
        )


def test_line_ends_are_counted_wherever_a_block_of_the_file_ends(
    archive_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = b"\na\r\n\rb\n\r\n\r\n"
    with running(archive_dir) as archive:
        draft = receive(archive, Mail("1", octets)).draft
        for block in range(1, len(octets) + 1):
            monkeypatch.setattr("mailmove.archive.drafts.READ_BLOCK", block)
            assert draft.line_ends() == (3, 2)


def test_a_damaged_file_is_healed_by_renaming_over_it(root: Path) -> None:
    mails = some(2)
    store(root, mails)
    alter(mails[0].file(root))
    store(root, mails)
    assert mails[0].file(root).read_bytes() == mails[0].octets and findings(root) == set()


def test_a_slow_syncfs_makes_the_run_sync_file_by_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a message that was half in when the way was changed."""
    monkeypatch.setattr("mailmove.archive.durable.SLOW_SYNCFS", -1.0)
    mails = some(2)
    with running(root) as archive:
        half = archive.draft()
        archive.write(half, mails[1].octets[:100])
        commit(archive, mails[0])
        assert isinstance(archive.store._syncer, FileSyncer)
        archive.write(half, mails[1].octets[100:])
        archive.finish(half)
        archive.commit([Received(mails[1].entry, half)])
    archives.assert_exactly(root, {mail.unique_id: mail.octets for mail in mails})


def test_a_slow_syncfs_is_still_the_way_for_what_came_in_before_the_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next group comes in while one is committed; its files may be closed by then."""
    monkeypatch.setattr("mailmove.archive.durable.SLOW_SYNCFS", -1.0)
    mails = some(4)
    with running(root) as archive:
        first, *others = (receive(archive, mail) for mail in mails[:3])
        archive.commit([first])
        archive.commit([*others, receive(archive, mails[3])])
    archives.assert_exactly(root, {mail.unique_id: mail.octets for mail in mails})


# ---- failures


def stored_nothing(root: Path, mail: Mail) -> None:
    """A commit that fails leaves no record, and the message comes in once nothing is in the way."""
    with running(root) as archive:
        with pytest.raises(ArchiveError):
            commit(archive, mail)
        assert not archive.catalogue.has_message(mail.digest)  # type: ignore[arg-type]
    assert archives.records(root) == []


def test_a_message_that_cannot_get_its_name_is_not_recorded(root: Path) -> None:
    (mail,) = some(1)
    store(root, end=False)
    mail.file(root).mkdir(parents=True)
    stored_nothing(root, mail)
    mail.file(root).rmdir()
    pull(root, mail)
    assert_sound(root, mail)


def test_a_message_whose_folder_cannot_be_made_is_not_recorded(root: Path) -> None:
    (mail,) = some(1)
    store(root, end=False)
    mail.file(root).parent.write_text("in the way")
    stored_nothing(root, mail)
    mail.file(root).parent.unlink()
    pull(root, mail)
    assert_sound(root, mail)


def test_a_failed_sync_leaves_the_message_without_a_name_and_without_a_record(root: Path) -> None:
    (mail,) = some(1)
    with running(root) as archive:
        received = receive(archive, mail)
        make_unsyncable(archive, received.draft)
        with pytest.raises(ArchiveError):
            archive.commit([received])
        assert archives.files(root) == {} and archives.records(root) == []
    assert pull(root, mail) == [mail.unique_id]
    assert_sound(root, mail)


def make_unsyncable(archive: Archive, draft: Draft) -> None:
    """What will be synced is no disk any more, as after it went away."""
    if isinstance(archive.store._syncer, SystemSyncer):
        os.close(archive.store._syncer._fd)
        archive.store._syncer._fd = os.open("/dev/null", os.O_RDONLY | os.O_PATH)
    else:
        archive.store._writer.wait()
        with open("/dev/null", "wb") as null:
            os.dup2(null.fileno(), draft.fd)


def test_nothing_is_written_outside_a_run(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        archive._store = None
        with pytest.raises(LocalProtocolError):
            archive.draft()


def test_an_empty_group_is_no_group(archive_dir: Path) -> None:
    store(archive_dir, [], [], end=False)
    assert archives.records(archive_dir) == []
