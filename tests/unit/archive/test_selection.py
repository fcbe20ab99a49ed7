"""What a replay selects: every message once, dated by its earliest place, and nothing that has a receipt.

Strategy: small archives in which one thing is unusual: several places of one digest, several maildrops, suspects, a
clock that goes back, more messages than a page holds. Asked as the replay asks, also while it writes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mailmove.archive.deliveries import PAGE, Deliveries, Selected
from mailmove.jobs import Context
from mailmove.jobs.skip import SkipJob, run_skip
from mailmove.model import Complete, DateOrigin, Digest, InternalDate
from mailmove.targets import Receipt
from tests.unit.archive.delivering import asking, replaying
from tests.unit.archive.making import MAILDROP, Mail, commit, running, some, store

MAILS = some(5, seed=1)
DIGESTS = [Digest(mail.digest) for mail in MAILS]


def undelivered(deliveries: Deliveries, *maildrops: str, keep_duplicates: bool = False) -> list[Selected]:
    deliveries.select(maildrops, keep_duplicates=keep_duplicates)
    return list(deliveries.undelivered())


def moment(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


def store_on(root: Path, day: int, mail: Mail, maildrop: str = MAILDROP) -> None:
    """A message without a date is dated by when it is first seen; here a clock may also go back."""
    with running(root, maildrop, clock=lambda: moment(day)) as archive:
        commit(archive, mail)


def test_of_several_places_the_earliest_date_counts(archive_dir: Path) -> None:
    mail = Mail("a", b"Subject: no date\r\n\r\n")
    for day, maildrop in ((3, MAILDROP), (2, MAILDROP), (1, "you@mail.example")):
        store_on(archive_dir, day, Mail(f"{day}", mail.octets), maildrop)
    with asking(archive_dir) as deliveries:
        for maildrops, day in (([], 1), ([MAILDROP], 2), (["you@mail.example"], 1)):
            (found,) = undelivered(deliveries, *maildrops)
            assert found.internal_date == InternalDate(moment(day), DateOrigin.FIRST_SEEN)


def test_byte_identical_copies_are_counted_beside(archive_dir: Path) -> None:
    one, other = MAILS[:2]
    store(archive_dir, [one, other, Mail("copy", one.octets), Mail("another", one.octets)])
    with asking(archive_dir) as deliveries:
        assert deliveries.select([], keep_duplicates=False) == (2, 2)
        assert deliveries.select([], keep_duplicates=True) == (4, 0)
        copies = [(row.digest, row.copies) for row in undelivered(deliveries, keep_duplicates=True)]
    assert copies == [(one.digest, 3), (other.digest, 1)]


def test_a_message_that_came_again_is_no_copy(archive_dir: Path) -> None:
    """Healed, or fetched a second time because it looked incomplete."""
    store(archive_dir, MAILS[:1])
    MAILS[0].file(archive_dir).unlink()
    store(archive_dir, MAILS[:1])
    with asking(archive_dir) as deliveries:
        assert deliveries.select([], keep_duplicates=True) == (1, 0)


def test_the_selection_keeps_to_its_maildrops(archive_dir: Path) -> None:
    store(archive_dir, MAILS[:3])
    store(archive_dir, [MAILS[2], *MAILS[3:5]], maildrop="you@mail.example")
    with asking(archive_dir) as deliveries:
        assert deliveries.select([MAILDROP], keep_duplicates=False) == (3, 0)
        assert [row.digest for row in undelivered(deliveries, "you@mail.example")] == DIGESTS[2:5]
        assert deliveries.select([MAILDROP, "you@mail.example"], keep_duplicates=False) == (5, 1)
        assert deliveries.select([], keep_duplicates=False) == (5, 1)


def test_suspects_are_selected_and_named_until_they_are_settled(archive_dir: Path) -> None:
    good, odd, settled = MAILS[0], Mail("odd", MAILS[1].octets, Complete.NO), Mail("ok", MAILS[2].octets, Complete.NO)
    store(archive_dir, [good, odd, settled])
    run_skip(SkipJob(archive_dir, "ok", "looked at"), Context())
    with replaying(archive_dir) as journal:
        assert [row.suspect for row in undelivered(journal.deliveries)] == [False, True, False]
        assert list(journal.deliveries.suspects()) == [odd.digest]
        journal.write([journal.delivered(Digest(odd.digest), Receipt(7, 1), "append")])
        assert [row.digest for row in undelivered(journal.deliveries)] == [good.digest, settled.digest]
        assert list(journal.deliveries.suspects()) == []


def test_a_selection_of_several_pages_comes_in_the_order_of_the_log(archive_dir: Path) -> None:
    """And stays what it is, whatever is written while it is read: so a limit means the first N."""
    mails = some(PAGE + 20, seed=9)
    store(archive_dir, mails)
    seen: list[str] = []
    with replaying(archive_dir) as journal:
        journal.write([journal.delivered(Digest(mail.digest), Receipt(7, 1), "append") for mail in mails[::2]])
        assert journal.deliveries.select([], keep_duplicates=False) == (len(mails), 0)
        for row in journal.deliveries.undelivered():
            seen.append(row.digest)
            if len(seen) % 100 == 0:
                journal.write([journal.delivered(row.digest, Receipt(7, 2), "append")])
        assert journal.deliveries.already_delivered() == len(mails[::2])
    assert seen == [mail.digest for mail in mails[1::2]]


def test_copies_that_have_a_receipt_are_counted_as_far_as_they_are_wanted(archive_dir: Path) -> None:
    store(archive_dir, [MAILS[0], Mail("copy", MAILS[0].octets)])
    with replaying(archive_dir) as journal:
        journal.write([journal.delivered(DIGESTS[0], Receipt(7, uid), "append") for uid in (1, 2, 3)])
        for keep, wanted in ((False, 1), (True, 2)):
            assert undelivered(journal.deliveries, keep_duplicates=keep) == []
            assert journal.deliveries.already_delivered() == wanted
