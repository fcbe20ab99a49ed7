"""What was delivered and is not there any more (design.md section 7, "Selection").

Strategy: people read, move and delete, so fewer messages than we delivered are normal and nothing is done about them
unbidden. A mailbox that was recreated (another UIDVALIDITY) is told of. `--redeliver-missing` compares, as `verify
--against` does (against_locate.py): what no UID leads to is looked for by its octets; only what is not found is sent.
"""

from __future__ import annotations

from collections.abc import Callable

from mailmove.archive import Archive
from mailmove.archive.against import Comparison
from mailmove.archive.deliveries import MailboxFacts
from mailmove.archive.delivery_projection import ALTERED
from mailmove.archive.records import Record
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.against_locate import Located, Search, list_mailbox, renewal
from mailmove.jobs.against_verdict import Kind
from mailmove.jobs.journal import Journal
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
        self._told = self._looked = False

    def look(self, target: Target, state: MailboxState) -> None:
        """Before the plan is made, in each session until there is one. `state` is of the selected mailbox."""
        report, deliveries = self._report, self._journal.deliveries
        facts = deliveries.facts()
        if not self._looked:
            self._looked = True
            report.at_target += state.messages
            report.delivered_ever += facts.delivered
        if self._job.redeliver_missing and facts.delivered:
            report.redelivered += forget_missing(
                target, state, self._archive, self._journal, self._context, self._concerns
            )
        if self._told:
            return
        self._told = True
        if stale := deliveries.stale(state.uidvalidity):
            self._made_anew(state, stale, facts)
        elif state.messages < facts.delivered:
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
        self._report.missing += stale
        self._context.progress.note(
            f"{self._journal.deliveries.mailbox!r} was made anew since {stale:,} messages were delivered to it. "
            "What is new is delivered; --redeliver-missing sends what is not there, --ignore-missing accepts it."
        )

    def _tell_of_fewer(self, there: int, delivered: int) -> None:
        self._context.progress.note(
            f"{self._journal.deliveries.mailbox!r} holds {there:,} messages, and {delivered:,} were delivered to it: "
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
    """Every delivery that `concerns` us and is not there any more counts as not delivered from now on; how many.

    Also what `verify --against` found altered where it lies. What is there under another UID gets that.
    """
    held = Comparison(archive.catalogue, journal.deliveries.target, journal.deliveries.mailbox)
    held.begin(state.uidvalidity)
    list_mailbox(held, target, context)
    held.leave_out_unless(concerns)
    records = [journal.missing(ours.receipt, ALTERED) for ours in held.marked() if concerns(ours.digest)]
    for found in Search(held, target, archive.layout, context).run():
        records += _record(journal, state, found)
    for start in range(0, len(records), BATCH):
        journal.write(records[start : start + BATCH])
    return sum(record["t"] == "void" for record in records)


def _record(journal: Journal, state: MailboxState, found: Located) -> list[Record]:
    """What becomes of a delivery that no UID leads to; none of a message that is damaged here: nobody can tell.

    Where it was is known only by a UID that still means something. Without one nobody can tell who made of it what is
    only much like it now: that is uncertain, and is not sent.
    """
    ours = found.ours
    if found.theirs is not None:
        return [renewal(journal, ours, Receipt(state.uidvalidity, found.theirs.uid))]
    if found.verdict.kind is Kind.UNPROVEN:
        return []
    if found.uid and not (ours.uid and ours.uidvalidity == state.uidvalidity):
        return [journal.doubtful(ours.receipt, found.uid)]
    return [journal.missing(ours.receipt)]
