"""What was delivered and is not there any more (design.md section 7, "Selection").

Strategy: people read, move and delete, so fewer messages than we delivered are normal and nothing is done about them
unbidden. A mailbox that was recreated (another UIDVALIDITY) is told of. `--redeliver-missing` compares: within one
UIDVALIDITY the UID map says which are gone, two sorted streams side by side; over two of them only the octets do.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailmove.archive import Archive
from mailmove.archive.deliveries import Delivered
from mailmove.archive.records import Record
from mailmove.jobs import Context
from mailmove.jobs.journal import Journal
from mailmove.jobs.reconcile import local_likeness, match, unclaimed
from mailmove.targets import MailboxState, Receipt, Target

BATCH = 500


def forget_missing(target: Target, state: MailboxState, archive: Archive, journal: Journal, context: Context) -> int:
    """Every delivery that is not there any more counts as not delivered from now on; returns how many."""
    forgotten = _by_content(target, state, archive, journal, context)
    gone = [journal.missing(old) for old in _gone(target, state, journal)]
    for start in range(0, len(gone), BATCH):
        journal.write(gone[start : start + BATCH])
    return forgotten + len(gone)


def _gone(target: Target, state: MailboxState, journal: Journal) -> Iterator[Delivered]:
    """Receipts of this incarnation whose UID is not in the mailbox: both come sorted by UID."""
    there = (found.uid for found in target.found(1))
    uid = next(there, None)
    for receipt in journal.deliveries.receipts(state.uidvalidity):
        while uid is not None and uid < receipt.uid:
            uid = next(there, None)
        if uid != receipt.uid:
            yield receipt


def _by_content(target: Target, state: MailboxState, archive: Archive, journal: Journal, context: Context) -> int:
    """Receipts of an earlier incarnation: renewed where the message is there, uncertain where something like it is."""
    stale = journal.deliveries.stale_receipts(state.uidvalidity)
    if not stale:
        return 0
    wanted = [local_likeness(archive, old.digest) for old in stale]
    candidates = unclaimed(target, journal.deliveries, state.uidvalidity, 1)
    forgotten = 0
    records: list[Record] = []
    for old, ours, claim in zip(stale, wanted, match(target, wanted, candidates, context), strict=True):
        if claim.certain:
            records.append(journal.renewed(old, Receipt(state.uidvalidity, claim.uid)))
        elif claim.uid:
            records.append(journal.doubtful(old, claim.uid))
        elif ours.whole:  # of a message that is damaged here, nobody can tell what is not there
            records.append(journal.missing(old))
            forgotten += 1
    journal.write(records)
    return forgotten
