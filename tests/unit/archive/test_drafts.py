"""Messages on their way in: whatever their size and pieces, their octets arrive, or their group fails as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailmove.archive.drafts import AHEAD, SMALL
from mailmove.errors import ArchiveError
from tests.support import archives
from tests.unit.archive.making import (
    Mail,
    assert_sound,
    commit,
    no_file_longer_than,
    pull,
    receive,
    running,
    some,
    store,
)

HEAD = b"Subject: large\r\n\r\n"


def of_size(octets: int, number: int = 0) -> Mail:
    head = b"Message-ID: <%d@example>\r\n" % number + HEAD
    return Mail(f"u{number}", head + b"x" * (octets - len(head) - 2) + b"\r\n")


@pytest.mark.parametrize("octets", [100, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL])
@pytest.mark.parametrize("piece", [1 << 16, 1 << 20])
def test_a_message_of_any_size_is_filed_octet_for_octet(archive_dir: Path, octets: int, piece: int) -> None:
    mail = of_size(octets)
    with running(archive_dir) as archive:
        draft = archive.draft()
        for start in range(0, len(mail.octets), piece):
            archive.write(draft, mail.octets[start : start + piece])
        archive.finish(draft)
        assert draft.line_ends() == (mail.octets.count(b"\r\n"), 0)
        draft.discard()
    store(archive_dir, [mail])
    assert_sound(archive_dir, mail)


def test_more_than_may_wait_in_memory_is_filed_all_the_same(archive_dir: Path) -> None:
    mails = [of_size(SMALL, number) for number in range(2 * AHEAD // SMALL)]
    store(archive_dir, mails)
    assert_sound(archive_dir, *mails)


def test_a_message_that_could_not_be_written_fails_its_group_and_no_other(archive_dir: Path) -> None:
    before, small, large = of_size(1000, 1), of_size(1000, 2), of_size(SMALL, 3)
    with running(archive_dir) as archive:
        commit(archive, before)
        with no_file_longer_than(SMALL // 2):
            group = [receive(archive, small), receive(archive, large)]
            with pytest.raises(ArchiveError):
                archive.commit(group)
    assert set(archives.files(archive_dir)) == {before.digest}
    assert pull(archive_dir, before, small, large) == [small.unique_id, large.unique_id]
    assert_sound(archive_dir, before, small, large)


def test_what_is_discarded_leaves_nothing_whether_it_was_written_or_not(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        for mail in some(100):
            receive(archive, mail).draft.discard()
    assert not list((archive_dir / "tmp").iterdir()) and archives.files(archive_dir) == {}


def test_what_cannot_be_discarded_hides_no_other_failure(archive_dir: Path) -> None:
    """A disk that refuses a message will hardly remove its file: that must not be what the run ends with."""
    with running(archive_dir) as archive:
        draft = archive.draft()
        draft.path.mkdir()
        draft.discard()
        draft.path.rmdir()
