"""Deliveries: log records become rows, and the rows can always be made anew (P10).

Strategy: the records are written by the replay's own Journal into real archives, in the orders a replay can write them,
named ones and random ones. After each the counters are held against the rows, and a catalogue that is rebuilt from the
log against the one that grew with it.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.archive.deliveries import PAGE, Delivered, Repaired
from mailmove.errors import UsageError
from mailmove.jobs import Context
from mailmove.jobs.journal import Journal
from mailmove.jobs.skip import SkipJob, run_skip
from mailmove.model import DateOrigin, Digest, InternalDate
from mailmove.targets import Receipt
from tests.support import archives
from tests.unit.archive.delivering import MAILBOX, TARGET, asking, replaying
from tests.unit.archive.making import (
    Mail,
    assert_rebuilds,
    catalogue_left_behind,
    projected,
    some,
    store,
    verify,
)

MAILS = some(8, seed=1)
DIGESTS = [Digest(mail.digest) for mail in MAILS]
MENDED = Repaired(("nul", "long-lines"), DIGESTS[7])
STATES = ("intended", "delivered", "parked", "uncertain", "skipped")


def states(root: Path) -> Counter[str]:
    return Counter(state for (state,) in archives.rows(root, "SELECT state FROM deliveries"))


def assert_counters(root: Path) -> None:
    """What `status` shows is what the rows say."""
    for row in archives.rows(root, f"SELECT id, {', '.join(STATES)} FROM target_mailboxes"):
        counted = Counter(s for (s,) in archives.rows(root, f"SELECT state FROM deliveries WHERE mailbox = {row[0]}"))
        assert row[1:] == tuple(counted[state] for state in STATES)


# ---- Records become rows


def test_what_is_announced_is_open_until_it_is_settled(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        number = journal.intend(7, 40, DIGESTS[:3])
        journal.write([journal.delivered(DIGESTS[0], Receipt(7, 41), "append", intend=number)])
    with asking(archive_dir) as deliveries:
        assert [(row.digest, row.uidvalidity, row.floor) for row in deliveries.open()] == [
            (digest, 7, 40) for digest in DIGESTS[1:3]
        ]
        assert deliveries.facts().delivered == 1 and not deliveries.facts().first_contact
        assert deliveries.has_receipt(7, 41) and not deliveries.has_receipt(8, 41)
    assert_counters(archive_dir)


def test_of_twins_each_is_settled_once(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    twins = [DIGESTS[0]] * 3
    with replaying(archive_dir) as journal:
        number = journal.intend(7, 1, twins)
        journal.write([journal.delivered(DIGESTS[0], Receipt(7, uid), "append", intend=number) for uid in (1, 2)])
        assert [row.digest for row in journal.deliveries.open()] == twins[:1]
        assert list(journal.deliveries.receipts(7)) == [Delivered(DIGESTS[0], 7, 1), Delivered(DIGESTS[0], 7, 2)]
    assert_counters(archive_dir)


def test_a_refusal_keeps_its_cause_and_the_targets_words(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        number = journal.intend(7, 1, DIGESTS[:1])
        journal.write([journal.parked(DIGESTS[0], "size", "TOOBIG", intend=number)])
        journal.deliveries.remember_text(DIGESTS[0], "NO [TOOBIG] really")
        assert journal.deliveries.text(DIGESTS[0]) == ("size", "NO [TOOBIG] really")
        assert journal.deliveries.text(DIGESTS[1]) == ("", "")
    assert "really" not in (archive_dir / "log" / "00000001.jsonl").read_text()


def test_a_withdrawn_delivery_leaves_nothing_behind(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        number = journal.intend(7, 1, DIGESTS[:2])
        journal.write([journal.withdrawn(digest, "intended", "not-sent", intend=number) for digest in DIGESTS[:2]])
        assert journal.deliveries.open() == [] and journal.deliveries.facts().first_contact
    assert states(archive_dir) == Counter()
    assert_counters(archive_dir)


def test_skip_settles_what_is_parked_or_uncertain_and_nothing_else(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        number = journal.intend(7, 1, DIGESTS[:4])
        journal.write(
            [
                journal.parked(DIGESTS[0], "size", "", intend=number),
                journal.uncertain(DIGESTS[1], 9, number),
                journal.delivered(DIGESTS[2], Receipt(7, 3), "append", intend=number),
            ]
        )
    for digest in DIGESTS[:2]:
        run_skip(SkipJob(archive_dir, digest[:16], "spam", target=TARGET), Context())
    for digest in DIGESTS[2:4]:
        with pytest.raises(UsageError, match="Nothing parked or uncertain"):
            run_skip(SkipJob(archive_dir, digest, "spam", target=TARGET), Context())
    assert states(archive_dir) == {"skipped": 2, "delivered": 1, "intended": 1}
    assert_counters(archive_dir)


def test_a_receipt_moves_with_a_mailbox_that_was_made_anew(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        journal.write([journal.delivered(digest, Receipt(7, n), "append") for n, digest in enumerate(DIGESTS[:2], 1)])
        assert journal.deliveries.stale(8) == 2 and journal.deliveries.stale(7) == 0
        kept, lost = journal.deliveries.stale_receipts(8)
        journal.write([journal.renewed(kept, Receipt(8, 1)), journal.missing(lost)])
        assert journal.deliveries.stale(8) == 0
        assert list(journal.deliveries.receipts(8)) == [Delivered(DIGESTS[0], 8, 1)]
    assert states(archive_dir) == {"delivered": 1}
    assert_counters(archive_dir)


def test_how_a_message_was_altered_stays_with_it_and_stands_in_the_log(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        number = journal.intend(7, 1, DIGESTS[:4], (), dict.fromkeys(DIGESTS[:3], MENDED))
        assert [row.repaired for row in journal.deliveries.open()] == [MENDED, MENDED, MENDED, None]
        journal.write(
            [
                journal.delivered(DIGESTS[0], Receipt(7, 1), "append", intend=number, repaired=MENDED),
                journal.parked(DIGESTS[1], "header", "", intend=number),
                journal.parked(DIGESTS[2], "size", "", intend=number),
                journal.delivered(DIGESTS[3], Receipt(7, 2), "append", intend=number),
            ]
        )
        assert [receipt.repaired for receipt in journal.deliveries.receipts(7)] == [MENDED, None]
        assert journal.deliveries.refusal(DIGESTS[1]) == ("header", MENDED.repairs)
        assert journal.deliveries.refusal(DIGESTS[0]) == journal.deliveries.refusal(DIGESTS[3]) == ("", ())
        (old,) = [one for one in journal.deliveries.stale_receipts(8) if one.repaired]
        journal.write([journal.renewed(old, Receipt(8, 5))])
        journal.write([journal.delivered(DIGESTS[2], Receipt(8, 6), "present", was="parked")])
        assert [receipt.repaired for receipt in journal.deliveries.receipts(8)] == [MENDED, None]
    said = (archive_dir / "log" / "00000001.jsonl").read_text()
    whole = f'"digest":"{DIGESTS[0]}","uidvalidity":7,"uid":1,"by":"append"'
    (line,) = [one for one in said.splitlines() if whole in one]
    assert f'"repairs":["nul","long-lines"],"sent_digest":"{MENDED.digest}"' in line
    assert_rebuilds(archive_dir)


def test_of_twins_the_one_that_is_missing_is_forgotten(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        journal.write([journal.delivered(DIGESTS[0], Receipt(7, uid), "append") for uid in (1, 2, 3)])
        journal.write([journal.missing(Delivered(DIGESTS[0], 7, 2)), journal.missing(Delivered(DIGESTS[0], 7, 9))])
        assert [receipt.uid for receipt in journal.deliveries.receipts(7)] == [1, 3]
    assert_counters(archive_dir)


def test_receipts_come_by_rising_uid_over_many_pages(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    uids = random.Random(5).sample(range(1, 10_000), 2 * PAGE + 1)
    with replaying(archive_dir) as journal:
        journal.write([journal.delivered(DIGESTS[0], Receipt(7, uid), "append") for uid in uids])
        journal.write([journal.delivered(DIGESTS[1], Receipt(8, 1), "append")])
        assert [receipt.uid for receipt in journal.deliveries.receipts(7)] == sorted(uids)


def test_mailboxes_and_targets_know_nothing_of_each_other(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with replaying(archive_dir) as journal:
        journal.write([journal.delivered(DIGESTS[0], Receipt(7, 1), "append")])
        journal.decide_skip_present(7, 1, skip_present=True)
    for target, mailbox in ((TARGET, "Other"), ("imap://me@else.example", MAILBOX)):
        with asking(archive_dir, target, mailbox) as deliveries:
            assert deliveries.facts().first_contact and not deliveries.has_receipt(7, 1)
            deliveries.select([], keep_duplicates=False)
            assert deliveries.already_delivered() == 0


# ---- The rows can be made anew


def eventful(root: Path) -> None:
    """All that can become of a delivery, with twins, in two mailboxes, the last window still open."""
    store(root, MAILS, [Mail("twin", MAILS[0].octets)])
    with replaying(root) as journal:
        journal.decide_skip_present(7, 1, skip_present=False)
        first = journal.intend(7, 1, [DIGESTS[0], DIGESTS[0], *DIGESTS[1:6]])
        date = InternalDate(datetime(2004, 2, 2, tzinfo=UTC), DateOrigin.RECEIVED)
        journal.write(
            [
                *(journal.delivered(DIGESTS[0], Receipt(7, uid), "append", intend=first, date=date) for uid in (5, 4)),
                journal.parked(DIGESTS[1], "size", "TOOBIG", intend=first),
                journal.uncertain(DIGESTS[2], 6, first),
                journal.withdrawn(DIGESTS[3], "intended", "not-sent", intend=first),
                journal.delivered(DIGESTS[4], Receipt(7, 8), "found", intend=first),
                journal.delivered(DIGESTS[5], Receipt(), "append", intend=first),
                journal.delivered(DIGESTS[6], Receipt(7, 2), "present"),
                journal.parked(DIGESTS[7], "empty", ""),
            ]
        )
        journal.accept(8)
        old = journal.deliveries.stale_receipts(8)
        journal.write([journal.renewed(old[0], Receipt(8, 1)), *map(journal.missing, old[1:])])
        again = [journal.withdrawn(DIGESTS[1], "parked", "tried-again")]
        second = journal.intend(8, 2, [DIGESTS[1], DIGESTS[3]], again, {DIGESTS[1]: MENDED})
        done = journal.delivered(DIGESTS[1], Receipt(8, 2), "append", intend=second, repaired=MENDED)
        journal.write([done, journal.parked(DIGESTS[3], "nul", "", intend=second)])
        third = [journal.withdrawn(DIGESTS[3], "parked", "tried-again")]
        journal.intend(8, 3, [DIGESTS[3]], third, {DIGESTS[3]: MENDED})
    run_skip(SkipJob(root, DIGESTS[2][:12], "as good as there", target=TARGET), Context())
    with replaying(root, mailbox="Büro") as journal:
        journal.intend(3, 1, [DIGESTS[0], DIGESTS[0]])


def test_a_deleted_archive_db_is_rebuilt_equal(archive_dir: Path) -> None:
    eventful(archive_dir)
    assert set(states(archive_dir)) == {"intended", "delivered", "parked", "skipped"}
    assert_counters(archive_dir)
    assert verify(archive_dir).findings == []
    assert_rebuilds(archive_dir)
    assert verify(archive_dir).findings == []


def test_a_catalogue_that_missed_it_all_comes_out_equal(archive_dir: Path) -> None:
    store(archive_dir, some(1, seed=2))
    with catalogue_left_behind(archive_dir):
        eventful(archive_dir)
        expected = projected(archive_dir)
    Archive.open(archive_dir).close()
    assert projected(archive_dir) == expected and verify(archive_dir).findings == []


def test_a_row_that_says_otherwise_is_found(archive_dir: Path) -> None:
    eventful(archive_dir)
    with Archive.open(archive_dir) as archive:
        archive.catalogue.connection.execute("UPDATE deliveries SET uid = uid + 1 WHERE state = 'delivered'")
    (finding,) = verify(archive_dir).findings
    assert (finding.kind, finding.what) == ("catalogue", "archive.db, table deliveries")


def test_any_history_is_rebuilt_equal(archive_dir: Path, seed: int) -> None:
    rng = random.Random(f"history {seed}")
    store(archive_dir, MAILS)
    for _ in range(6):
        with replaying(archive_dir, mailbox=rng.choice(["INBOX", "Other"])) as journal:
            for _ in range(rng.randint(1, 4)):
                a_window(journal, rng)
    assert_counters(archive_dir)
    assert_rebuilds(archive_dir)
    assert_counters(archive_dir)


def a_window(journal: Journal, rng: random.Random) -> None:
    """Some messages, twins among them, are announced; some of them are settled, in any order and any way."""
    digests = rng.choices(DIGESTS, k=rng.randint(1, 9))
    repaired = {digest: MENDED for digest in digests if rng.random() < 0.3}
    number = journal.intend(rng.randint(7, 8), rng.randint(1, 99), digests, (), repaired)
    settled = rng.sample(digests, rng.randint(0, len(digests)))
    journal.write([an_end(journal, rng, digest, number) for digest in settled])
    for old in rng.sample(found := list(journal.deliveries.receipts(7)), len(found) // 3):
        renew = rng.random() < 0.5
        journal.write([journal.renewed(old, Receipt(8, rng.randint(1, 99))) if renew else journal.missing(old)])


def an_end(journal: Journal, rng: random.Random, digest: Digest, intend: int) -> dict[str, object]:
    receipt = Receipt(rng.randint(7, 8), rng.randint(1, 99))
    return rng.choice(
        [
            journal.delivered(digest, receipt, rng.choice(["append", "found"]), intend=intend),
            journal.parked(digest, "nul", "CANNOT", intend=intend),
            journal.uncertain(digest, receipt.uid, intend),
            journal.withdrawn(digest, "intended", "not-found", intend=intend),
        ]
    )
