"""The log: appended, synced, read from any position over any number of segments, and never longer than what counts.

Strategy: the Log alone, on real files with small segments. Disks that fail are real too: a limit on file size makes
write() short and then fail, as a full disk does, and a device that cannot be synced makes fsync fail.
"""

from __future__ import annotations

import errno
import hashlib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive import Archive
from mailmove.archive.log import Log, Position
from mailmove.errors import ArchiveDamaged, ArchiveError
from tests.unit.archive.making import (
    assert_sound,
    commit,
    last_segment,
    no_file_longer_than,
    pull,
    running,
    some,
    store,
    tree,
    unknown,
)

LIMIT = 60


def lines(first: int, number: int) -> list[bytes]:
    return [b'{"n":%d}\n' % n for n in range(first, first + number)]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path, segment_limit=LIMIT)


def filled(log: Log, groups: int, size: int = 4) -> list[Position]:
    """The positions before, between and behind the groups."""
    positions = [Position()]
    for n in range(groups):
        positions.append(log.append(lines(n * size, size), positions[-1]))
    return positions


# ---- what was appended is read


def test_what_was_appended_is_read_in_order(log: Log) -> None:
    filled(log, 9)
    read = list(log.read())
    assert [line.data + b"\n" for line in read] == lines(0, 36) and [line.index for line in read] == list(range(36))


def test_a_new_segment_begins_after_the_limit_and_no_line_is_split(log: Log) -> None:
    filled(log, 9)
    segments = log.segments()
    assert list(segments) == list(range(1, len(segments) + 1)) and len(segments) > 3
    assert all(octets >= LIMIT for octets in list(segments.values())[:-1])
    assert all(log.path(number).read_bytes().endswith(b"}\n") for number in segments)


def test_append_returns_the_position_that_reading_comes_to(log: Log) -> None:
    positions = filled(log, 9)
    ends = [line.end for line in log.read()]
    assert ends[3::4] == positions[1:]
    last = lines(35, 1)[0][:-1]
    assert (positions[-1].last_octets, positions[-1].last_hash) == (len(last), hashlib.sha256(last).hexdigest())


def test_reading_goes_on_from_any_position(log: Log) -> None:
    filled(log, 9)
    whole = list(log.read())
    for n, line in enumerate(whole):
        assert list(log.read(line.end)) == whole[n + 1 :]


def test_an_incomplete_last_line_is_not_read_and_can_be_cut(log: Log) -> None:
    end = filled(log, 3)[-1]
    path = log.path(end.segment)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n":')
    assert [line.end for line in log.read()][-1] == end and log.torn_tail(end) == (path, 5)
    assert log.cut(end) == b'{"n":' and path.read_bytes() == whole
    assert log.cut(end) == b"" and log.torn_tail(end) == (path, 0)


def test_an_incomplete_line_in_an_earlier_segment_is_damage(log: Log) -> None:
    filled(log, 9)
    log.path(1).write_bytes(log.path(1).read_bytes()[:-1])
    with pytest.raises(ArchiveDamaged, match=r"00000001\.jsonl ends in the middle of a line.*verify"):
        list(log.read())


def test_a_missing_segment_is_damage_and_is_named(log: Log) -> None:
    filled(log, 9)
    log.path(2).unlink()
    with pytest.raises(ArchiveDamaged, match=r"00000002\.jsonl is missing"):
        list(log.read())


# ---- whether it still is the log that was read


def test_a_log_holds_every_position_it_ever_had(log: Log) -> None:
    assert all(log.holds(position) for position in filled(log, 9))


def test_a_log_does_not_hold_what_was_cut_off(log: Log) -> None:
    positions = filled(log, 2)
    log.path(1).write_bytes(b"".join(lines(0, 7)))
    assert log.holds(positions[1]) and not log.holds(positions[2])


@given(st.integers(0, 7), st.integers(1, 255))
def test_a_log_does_not_hold_a_last_line_of_which_an_octet_changed(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    end = filled(log, 1, size=3)[-1]
    octets = bytearray(log.path(1).read_bytes())
    octets[-1 - place] ^= change
    log.path(1).write_bytes(octets)
    assert not log.holds(end)


# ---- disks that fail


def test_a_failed_append_is_cut_off_to_the_last_good_length(log: Log) -> None:
    end = filled(log, 1)[-1]
    before = log.path(1).read_bytes()
    with no_file_longer_than(end.octets + 10), pytest.raises(OSError) as caught:
        log.append(lines(4, 4), end)
    assert caught.value.errno == errno.EFBIG and log.path(1).read_bytes() == before
    assert log.append(lines(4, 4), end).records == 8
    assert [line.data + b"\n" for line in log.read()] == lines(0, 8)


def test_a_failed_append_to_a_new_segment_leaves_nothing_in_it(log: Log) -> None:
    end = filled(log, 2)[-1]
    with no_file_longer_than(10), pytest.raises(OSError):
        log.append(lines(8, 4), end)
    assert log.path(2).read_bytes() == b""
    assert log.append(lines(8, 4), end).segment == 2 and len(list(log.read())) == 12


def test_a_log_that_failed_to_sync_takes_nothing_more(log: Log) -> None:
    log.path(1).symlink_to("/dev/null")  # takes every octet, and cannot be synced
    with pytest.raises(OSError) as caught:
        log.append(lines(0, 1), Position())
    assert caught.value.errno == errno.EINVAL
    log.path(1).unlink()  # as if the disk were well again
    with pytest.raises(ArchiveError, match=r"could not be synced before.*run again"):
        log.append(lines(0, 1), Position())
    assert log.segments() == {}


def test_a_log_that_somebody_else_wrote_to_takes_nothing(log: Log) -> None:
    end = filled(log, 1)[-1]
    with log.path(1).open("ab") as other:
        other.write(lines(99, 1)[0])
    with pytest.raises(ArchiveDamaged, match="changed under this run"):
        log.append(lines(4, 1), end)
    assert [line.data + b"\n" for line in log.read()] == lines(0, 4) + lines(99, 1)


# ---- the same, seen from the archive


def test_a_group_whose_log_lines_do_not_fit_is_not_stored(archive_dir: Path) -> None:
    old, new = some(8, seed=1), some(2, seed=2)
    store(archive_dir, old)
    before = last_segment(archive_dir).read_bytes()
    with running(archive_dir) as archive, no_file_longer_than(len(before) + 300):
        with pytest.raises(ArchiveError):
            commit(archive, *new)
        assert last_segment(archive_dir).read_bytes() == before
        assert not any(archive.catalogue.has_message(mail.digest) for mail in new)  # type: ignore[arg-type]
    assert pull(archive_dir, *old, *new) == [mail.unique_id for mail in new]
    assert_sound(archive_dir, *old, *new)


def test_a_run_whose_log_failed_to_sync_stores_nothing_more(archive_dir: Path) -> None:
    (mail,) = some(1)
    with running(archive_dir) as archive:
        segment = archive_dir / "log" / "00000001.jsonl"
        segment.symlink_to("/dev/null")
        with pytest.raises(ArchiveError):
            commit(archive, mail)
        segment.unlink()
        with pytest.raises(ArchiveError, match="run again"):
            commit(archive, mail)
        assert not archive.catalogue.has_message(mail.digest)  # type: ignore[arg-type]
    assert not segment.exists() and unknown(archive_dir, mail) == [mail.unique_id]


def test_an_archive_of_many_segments_is_one_archive(archive_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailmove.archive.Log", partial(Log, segment_limit=1000))
    mails = some(12)
    store(archive_dir, *([mail] for mail in mails[:6]))
    store(archive_dir, *([mail] for mail in mails[6:]))
    assert sum("log/" in name for name in tree(archive_dir)) > 3
    assert_sound(archive_dir, *mails)
    Archive.open(archive_dir).close()
