"""What was delivered and is not there any more (design.md section 7, "Selection").

Strategy: people read, move and delete, so fewer messages than we delivered are normal and nothing is done about them
unbidden. A mailbox that was recreated (another UIDVALIDITY) is told of. `--redeliver-missing` compares: within one
UIDVALIDITY the UID map says which are gone, two sorted streams side by side; over two of them only the octets do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mailmove.archive import Archive
from mailmove.archive.deliveries import Delivered, MailboxFacts
from mailmove.archive.records import Record
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.journal import Journal
from mailmove.jobs.reconcile import local_likeness, match, unclaimed
from mailmove.jobs.replay_report import ReplayReport
from mailmove.model import Digest
from mailmove.targets import MailboxState, Receipt, Target

BATCH = 500


class Losses:
    """What a mailbox has lost of what was delivered to it: says so, and does about it what the job asks for."""

    def __init__(
        self, job: ReplayJob, archive: Archive, journal: Journal, context: Context, report: ReplayReport
    ) -> None:
        self._job, self._archive, self._journal = job, archive, journal
        self._context, self._report = context, report
        self._told = False

    def look(self, target: Target, state: MailboxState) -> None:
        """Before the plan is made, in each session until there is one. `state` is of the selected mailbox."""
        report, deliveries = self._report, self._journal.deliveries
        facts = deliveries.facts()
        report.at_target, report.delivered_ever = state.messages, facts.delivered
        if self._job.redeliver_missing and facts.delivered:
            report.redelivered = forget_missing(
                target, state, self._archive, self._journal, self._context, self._concerns
            )
        if stale := deliveries.stale(state.uidvalidity):
            self._made_anew(state, stale, facts)
        elif state.messages < facts.delivered and not self._told:
            self._told = True
            self._tell_of_fewer(state.messages, facts.delivered)

    def _concerns(self, digest: Digest) -> bool:
        """What this job does not select is not sent by it, so it must not count as missing for a later one."""
        return self._journal.deliveries.selects(digest, self._job.maildrops)

    def _made_anew(self, state: MailboxState, stale: int, facts: MailboxFacts) -> None:
        """So many deliveries went into an earlier incarnation of the mailbox; its owner may have accepted that."""
        if facts.accepted_uidvalidity == state.uidvalidity:
            return
        if self._job.ignore_missing:
            self._journal.accept(state.uidvalidity)
            return
        self._report.missing = stale
        self._context.progress.note(
            f"{self._job.mailbox!r} was made anew since {stale:,} messages were delivered to it. What is new is "
            "delivered; --redeliver-missing sends what is not there, --ignore-missing accepts it."
        )

    def _tell_of_fewer(self, there: int, delivered: int) -> None:
        self._context.progress.note(
            f"{self._job.mailbox!r} holds {there:,} messages, and {delivered:,} were delivered to it: "
            "some were moved or deleted there. --redeliver-missing would send them again."
        )


def forget_missing(
    target: Target,
    state: MailboxState,
    archive: Archive,
    journal: Journal,
    context: Context,
    concerns: Callable[[Digest], bool],
) -> int:
    """Every delivery that `concerns` us and is not there any more counts as not delivered from now on; how many."""
    forgotten = _by_content(target, state, archive, journal, context, concerns)
    gone = [journal.missing(old) for old in _gone(target, state, journal) if concerns(old.digest)]
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


def _by_content(
    target: Target,
    state: MailboxState,
    archive: Archive,
    journal: Journal,
    context: Context,
    concerns: Callable[[Digest], bool],
) -> int:
    """Receipts of an earlier incarnation: renewed where the message is there, uncertain where something like it is."""
    stale = [old for old in journal.deliveries.stale_receipts(state.uidvalidity) if concerns(old.digest)]
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
