"""The pass that fills search.db: whatever stops it, and whatever the archive has been through, the end is the same.

Strategy: what a search can depend on (`content`: every row, every word and its place) is compared with that of an index
made in one go over the same archive.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.archive.search.index import BATCH
from mailmove.errors import ArchiveBusy, ArchiveError, Interrupted, UsageError
from mailmove.jobs import index as job
from tests.unit.archive.making import Mail, alter, cut_log, log_lines, some, store
from tests.unit.search.searching import content, found, index, mail, missing


def drop(root: Path) -> None:
    for path in root.glob("search.db*"):
        path.unlink()


def in_one_go(root: Path) -> list[list[tuple[object, ...]]]:
    """The content of an index that is made anew."""
    drop(root)
    index(root)
    return content(root)


@pytest.mark.parametrize("stops", [1, 7, 150, BATCH, BATCH + 1, 2 * BATCH + 10])
def test_interrupted_anywhere_the_next_pass_ends_with_the_same(archive_dir: Path, stops: int) -> None:
    """Interrupted before each `stops`-th message, as often as it takes."""
    store(archive_dir, some(2 * BATCH + 20))
    left = stops
    done = 0

    def ok() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    with pytest.raises(Interrupted):
        index(archive_dir, ok)
    done = sum(1 for _ in content(archive_dir)[0])
    assert done == stops // BATCH * BATCH, "whole batches, and no less than was acknowledged"
    assert index(archive_dir).indexed == 2 * BATCH + 20 - done
    assert content(archive_dir) == in_one_go(archive_dir)


def test_a_failure_within_a_batch_leaves_nothing_of_it(archive_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(archive_dir, some(5))
    index(archive_dir)
    before = content(archive_dir)
    store(archive_dir, some(5, seed=1))
    whole = job.Index._add

    def fails(self: job.Index, one: job.Found) -> None:
        whole(self, one)
        if len(one.digest) and one.digest == max(m.digest for m in some(5, seed=1)):
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch, pytest.raises(ArchiveError):
        patch.setattr(job.Index, "_add", fails)
        index(archive_dir)
    assert content(archive_dir) == before
    assert index(archive_dir).indexed == 5 and content(archive_dir) == in_one_go(archive_dir)


@pytest.mark.parametrize("octets", [b"", b"precious notes, no database" * 200, None], ids=["empty", "notes", "version"])
def test_a_search_db_that_cannot_be_used_is_made_anew(archive_dir: Path, octets: bytes | None) -> None:
    store(archive_dir, some(3))
    index(archive_dir)
    before = content(archive_dir)
    if octets is None:
        with sqlite3.connect(archive_dir / "search.db") as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        drop(archive_dir)
        (archive_dir / "search.db").write_bytes(octets)
    report = index(archive_dir)
    assert report.indexed == 3 and report.anew is (octets != b"") and content(archive_dir) == before


def test_a_void_takes_effect_at_once_and_the_next_pass_forgets_it(archive_dir: Path) -> None:
    """The end of the log was lost at a power cut after it was indexed, and so was the message's file."""
    kept, lost = mail("kept", "word"), mail("lost", "word")
    store(archive_dir, [kept])
    store(archive_dir, [lost], end=False)
    index(archive_dir)
    lost.file(archive_dir).unlink()
    for path in archive_dir.glob("archive.db*"):
        path.unlink()
    with Archive.open(archive_dir) as archive:
        assert archive.recovered.voided
    assert found(archive_dir, "word") == [kept.digest]
    assert index(archive_dir).indexed == 0
    assert content(archive_dir) == in_one_go(archive_dir)
    store(archive_dir, [lost])
    assert index(archive_dir).indexed == 1 and set(found(archive_dir, "word")) == {kept.digest, lost.digest}


def test_a_rebuilt_catalogue_is_the_same_to_it(archive_dir: Path) -> None:
    store(archive_dir, some(3))
    store(archive_dir, some(2, seed=1))
    index(archive_dir)
    before = content(archive_dir)
    for path in archive_dir.glob("archive.db*"):
        path.unlink()
    Archive.open(archive_dir).close()
    assert index(archive_dir).indexed == 0 and content(archive_dir) == before


def test_a_log_restored_from_an_older_copy_and_gone_on_is_followed(archive_dir: Path) -> None:
    first, gone, instead = mail("first", "word"), mail("gone", "word"), mail("instead", "word")
    store(archive_dir, [first])
    octets = sum(map(len, log_lines(archive_dir)))
    store(archive_dir, [gone])
    index(archive_dir)
    cut_log(archive_dir, sum(map(len, log_lines(archive_dir))) - octets)
    gone.file(archive_dir).unlink()
    for path in (*archive_dir.glob("archive.db*"), archive_dir / "log" / "checkpoint"):
        path.unlink()
    store(archive_dir, [instead])
    index(archive_dir)
    assert set(found(archive_dir, "word")) == {first.digest, instead.digest}
    assert content(archive_dir) == in_one_go(archive_dir)


@pytest.mark.parametrize("harm", [Path.unlink, alter], ids=["missing", "altered"])
def test_a_damaged_message_is_named_and_indexed_once_it_is_healed(
    archive_dir: Path, harm: Callable[[Path], object]
) -> None:
    good, bad = mail("good", "word"), mail("bad", "word")
    store(archive_dir, [good, bad])
    harm(bad.file(archive_dir))
    report = index(archive_dir)
    assert (report.indexed, report.damaged, report.exit_code) == (1, 1, 4)
    assert [(remark.kind, remark.digest) for remark in report.remarks] == [("damaged", bad.digest)]
    assert (found(archive_dir, "word"), missing(archive_dir)) == ([good.digest], 1)
    assert index(archive_dir).damaged == 1, "every pass says it"
    bad.file(archive_dir).unlink(missing_ok=True)
    bad.file(archive_dir).write_bytes(bad.octets)
    report = index(archive_dir)
    assert (report.indexed, report.damaged, missing(archive_dir)) == (1, 0, 0) and content(archive_dir) == in_one_go(
        archive_dir
    )


def test_messages_that_are_not_indexed_as_a_whole_are_said(archive_dir: Path) -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
    mails = [Mail("deep", b"Subject: deep\r\n" + deep), Mail("long", b"Subject: long\r\n\r\n" + b"a " * 300_000)]
    store(archive_dir, mails)
    report = index(archive_dir)
    assert (report.indexed, report.headers, report.partly, report.exit_code) == (2, 1, 1, 0)
    assert {(remark.kind, remark.digest) for remark in report.remarks} == {
        ("headers", mails[0].digest),
        ("partly", mails[1].digest),
    }
    assert found(archive_dir, "subject:deep") == [mails[0].digest]


def test_only_the_beginning_of_a_very_long_message_is_taken_apart(
    archive_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "OCTETS_LIMIT", 1000)
    long = mail("long", "needle " + "x" * 600_000 + " haystack")
    store(archive_dir, [long])
    assert index(archive_dir).partly == 1
    assert found(archive_dir, "needle") == [long.digest] and found(archive_dir, "haystack") == []


def test_two_passes_at_once(archive_dir: Path) -> None:
    """The second one is told who is at it; what it would have done is done."""
    store(archive_dir, some(3))

    def meanwhile() -> bool:
        with pytest.raises(ArchiveBusy, match="in use by process"):
            index(archive_dir)
        return True

    assert index(archive_dir, meanwhile).indexed == 3 and missing(archive_dir) == 0


def test_a_pass_and_a_search_stand_in_nobodys_way(archive_dir: Path) -> None:
    """While the one writer of the archive holds its lock, and goes on to write."""
    store(archive_dir, some(3))
    with Archive.open(archive_dir):
        assert index(archive_dir).indexed == 3
        assert len(found(archive_dir, "after:1970-01-01")) == 3


def test_without_a_catalogue_or_an_index_it_is_said_what_to_do(archive_dir: Path) -> None:
    store(archive_dir, some(1))
    with pytest.raises(UsageError, match="mailmove index"):
        found(archive_dir, "x")
    for path in archive_dir.glob("archive.db*"):
        path.unlink()
    with pytest.raises(UsageError, match="no catalogue"):
        index(archive_dir)
    assert not (archive_dir / "search.db").exists()


def test_the_whole_corpus_is_indexed(archive_dir: Path, corpus: Callable[[], Iterator[tuple[str, bytes]]]) -> None:
    mails = [Mail(name, octets) for name, octets in corpus()]
    store(archive_dir, *(mails[at : at + 256] for at in range(0, len(mails), 256)))
    report = index(archive_dir)
    digests = {mail.digest for mail in mails}
    assert (report.indexed, report.headers, report.damaged) == (len(digests), 0, 0)
    assert set(found(archive_dir, "after:1970-01-01")) == digests and missing(archive_dir) == 0
