"""Repaired messages: chosen by what the target refused, made from the archive and never written there, found again.

Strategy: real archives whose deliveries are written by the replay's own Journal. The target of the reconciliation is a
list of messages: it says what is there, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.archive.deliveries import Repaired, Selected
from mailmove.errors import ArchiveDamaged, UsageError
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.journal import Journal
from mailmove.jobs.likeness import Likeness
from mailmove.jobs.mended import Mender, as_sent, likeness, told
from mailmove.jobs.reconcile import reconcile
from mailmove.model import Digest
from mailmove.repairs import Repair, apply
from mailmove.targets import Found, MailboxState
from tests.support import archives
from tests.unit.archive.delivering import MAILBOX, TARGET
from tests.unit.archive.making import Mail, log_lines, store

HEAD = b"Message-ID: <one@example.org>\r\nSubject: x\r\n\r\n"
FAULTY = Mail("faulty", HEAD + b"a NUL \0 and a bare\nnewline\r\n")
PLAIN = Mail("plain", b"Message-ID: <two@example.org>\r\n\r\nnothing wrong\r\n")
ALL = frozenset(Repair)
FAULTY_DIGEST, PLAIN_DIGEST = Digest(FAULTY.digest), Digest(PLAIN.digest)


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


@pytest.fixture
def archive(archive_dir: Path) -> Iterator[Archive]:
    store(archive_dir, [FAULTY, PLAIN])
    with Archive.open(archive_dir) as opened:
        opened.begin_run("replay", "", TARGET)
        yield opened


@pytest.fixture
def journal(archive: Archive) -> Journal:
    return Journal(archive, TARGET, MAILBOX)


def refused(journal: Journal, cause: str, repaired: Repaired | None = None) -> None:
    """The target was sent FAULTY, altered or not, and refused it."""
    how = {FAULTY_DIGEST: repaired} if repaired else {}
    number = journal.intend(7, 1, [FAULTY_DIGEST], (), how)
    journal.write([journal.parked(FAULTY_DIGEST, cause, "", intend=number)])


def selected(journal: Journal) -> dict[Digest, Selected]:
    journal.deliveries.select([], keep_duplicates=False)
    return {one.digest: one for one in journal.deliveries.undelivered()}


# ---- which go out repaired


def test_what_was_refused_goes_out_repaired_and_stays_as_it_is_in_the_archive(
    archive: Archive, journal: Journal
) -> None:
    refused(journal, "nul")
    before = archives.files(archive.layout.root)
    mended = Mender(archive.layout, journal.deliveries, ALL).mend(selected(journal)[FAULTY_DIGEST])
    assert mended is not None and mended.octets == FAULTY.octets.replace(b"\0", b"")
    assert mended.how == Repaired(("nul",), Digest(sha256(mended.octets)))
    report = told(FAULTY_DIGEST, mended.how)
    assert (report.kind, report.digest) == ("repaired", FAULTY.digest)
    assert "nul" in report.reason and sha256(mended.octets) in report.reason
    assert archives.files(archive.layout.root) == before


@pytest.mark.parametrize(("cause", "wanted"), [("nul", {Repair.LONG_LINES}), ("size", ALL), ("nul", set())])
def test_what_no_repair_fits_goes_out_as_it_is(
    archive: Archive, journal: Journal, cause: str, wanted: set[Repair]
) -> None:
    refused(journal, cause)
    assert Mender(archive.layout, journal.deliveries, wanted).mend(selected(journal)[FAULTY_DIGEST]) is None


def test_what_was_never_refused_goes_out_as_it_is(archive: Archive, journal: Journal) -> None:
    refused(journal, "nul")
    assert Mender(archive.layout, journal.deliveries, ALL).mend(selected(journal)[PLAIN_DIGEST]) is None


def test_what_was_repaired_and_refused_for_another_fault_gets_both(archive: Archive, journal: Journal) -> None:
    once = apply(FAULTY.octets, {Repair.NUL})
    refused(journal, "bare-newlines", Repaired(("nul",), Digest(sha256(once))))
    mended = Mender(archive.layout, journal.deliveries, ALL).mend(selected(journal)[FAULTY_DIGEST])
    assert mended is not None and mended.how.repairs == ("nul", "bare-newlines")
    assert mended.octets == HEAD + b"a NUL  and a bare\r\nnewline\r\n"


def test_after_a_drop_the_same_run_sends_it_repaired_again(archive: Archive, journal: Journal) -> None:
    """What was parked is withdrawn when it is announced, so the next session does not see any more that it was."""
    refused(journal, "nul")
    mender = Mender(archive.layout, journal.deliveries, ALL)
    first = mender.mend(selected(journal)[FAULTY_DIGEST])
    assert first is not None
    number = journal.intend(
        7, 2, [FAULTY_DIGEST], [journal.withdrawn(FAULTY_DIGEST, "parked", "tried-again")], {FAULTY_DIGEST: first.how}
    )
    journal.write([journal.withdrawn(FAULTY_DIGEST, "intended", "not-found", intend=number)])
    message = selected(journal)[FAULTY_DIGEST]
    assert not message.parked and mender.mend(message) == first


def test_a_damaged_message_is_not_repaired(archive: Archive, journal: Journal) -> None:
    refused(journal, "nul")
    message = selected(journal)[FAULTY_DIGEST]
    FAULTY.file(archive.layout.root).unlink()
    with pytest.raises(ArchiveDamaged):
        Mender(archive.layout, journal.deliveries, ALL).mend(message)


def test_repairs_are_for_what_was_refused_before(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--retry-parked"):
        ReplayJob("imap://a@b", "imap://a@b", tmp_path, repairs=ALL)


# ---- what went out


def test_what_went_out_can_be_made_again(archive: Archive) -> None:
    octets = apply(FAULTY.octets, {Repair.NUL})
    how = Repaired(("nul",), Digest(sha256(octets)))
    assert as_sent(archive.layout, FAULTY_DIGEST, how) == octets
    assert as_sent(archive.layout, FAULTY_DIGEST, None) == FAULTY.octets
    assert likeness(archive.layout, FAULTY_DIGEST, how) == Likeness.of(octets)
    assert likeness(archive.layout, FAULTY_DIGEST, None) == Likeness.of(FAULTY.octets)


def test_what_another_mailmove_repaired_is_known_by_its_digest_and_by_resemblance(archive: Archive) -> None:
    theirs = Repaired(("nul", "a-repair-of-tomorrow"), Digest("f" * 64))
    with pytest.raises(ArchiveDamaged, match="a-repair-of-tomorrow"):
        as_sent(archive.layout, FAULTY_DIGEST, theirs)
    found = likeness(archive.layout, FAULTY_DIGEST, theirs)
    assert found.exact == theirs.digest and found.message_id == "<one@example.org>" and found.whole
    FAULTY.file(archive.layout.root).unlink()
    assert likeness(archive.layout, FAULTY_DIGEST, theirs) == Likeness(theirs.digest)


# ---- after a crash


class Shelf:
    """A mailbox: UIDs from 1 on."""

    def __init__(self, *messages: bytes) -> None:
        self.messages = messages

    def found(self, first: int, **asked: bool) -> Iterator[Found]:
        yield from (Found(uid, len(one)) for uid, one in enumerate(self.messages, 1) if uid >= first)

    def body(self, uid: int) -> bytes:
        return self.messages[uid - 1]

    def bodies_of(self, uids: list[int]) -> dict[int, bytes]:
        return {uid: self.body(uid) for uid in uids}


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_repaired_message_is_found_after_a_crash(archive_dir: Path, rebuilt: bool) -> None:
    octets = apply(FAULTY.octets, ALL)
    how = Repaired(("nul", "bare-newlines"), Digest(sha256(octets)))
    store(archive_dir, [FAULTY, PLAIN])
    with Archive.open(archive_dir) as before:
        before.begin_run("replay", "", TARGET)
        Journal(before, TARGET, MAILBOX).intend(7, 1, [PLAIN_DIGEST, FAULTY_DIGEST], (), {FAULTY_DIGEST: how})
    if rebuilt:
        (archive_dir / "archive.db").unlink()
    with Archive.open(archive_dir) as archive:
        archive.begin_run("replay", "", TARGET)
        journal = Journal(archive, TARGET, MAILBOX)
        context = Context()
        now = context.clock()
        context.clock = lambda: now + timedelta(hours=1)
        shelf = Shelf(b"Message-ID: <theirs@example.org>\r\n\r\nof somebody else\r\n", octets)
        found = reconcile(shelf, MailboxState(7, 3, 2), archive, journal, context)  # type: ignore[arg-type]
        assert [row.digest for row in found.delivered] == [FAULTY_DIGEST]
        assert [row.digest for row in found.not_there] == [PLAIN_DIGEST] and not found.uncertain
        assert [(one.uid, one.repaired) for one in journal.deliveries.receipts(7)] == [(2, how)]
    (record,) = [one for one in map(json.loads, log_lines(archive_dir)) if one["t"] == "deliver"]
    assert (record["digest"], record["sent_digest"]) == (FAULTY.digest, how.digest)
    assert record["repairs"] == ["nul", "bare-newlines"] and record["by"] == "found"
