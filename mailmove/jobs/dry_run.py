"""The plan of a pull, and nothing else: no lock, no archive made, no message fetched (`--dry-run`)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailmove.archive import Reader, is_archive
from mailmove.archive.listings import Listings
from mailmove.jobs import Context, PullJob
from mailmove.jobs.deletion import Policy, due
from mailmove.jobs.plan import PullPlan, plan_pull
from mailmove.jobs.report import RunReport
from mailmove.model import Fate, MaildropEntry


def dry_run(job: PullJob, context: Context) -> RunReport:
    """Lists, plans and reports. Raises what `open_source` raises."""
    started = time.monotonic()
    report = RunReport(job.name, "", str(job.archive.absolute()), job.source, str(job.maildrop))
    report.dry_run = True
    source = context.open_source(job, 1)
    try:
        listing = source.list()
    except BaseException:
        source.close()
        raise
    source.quit()
    plan = _plan_for_reader(job, listing)
    report.would_delete = _would_delete(job, listing, plan, context)
    report.listed, report.sessions = len(listing), 1
    report.octets = plan.octets
    report.fates = {
        Fate.ALREADY_ARCHIVED: len(plan.known),
        Fate.SKIPPED: len(plan.skipped) + len(plan.beyond_limit),
        Fate.PENDING: len(plan.retrieve),
    }
    report.seconds = time.monotonic() - started
    return report


def _would_delete(job: PullJob, listing: Sequence[MaildropEntry], plan: PullPlan, context: Context) -> int:
    """How many messages a run would delete now: what is due, and what would be pulled if nothing is kept."""
    if job.delete_after is None:
        return 0
    policy, new = Policy(job.delete_after, job.trust_received), 0 if job.delete_after else len(plan.retrieve)
    if is_archive(job.archive):
        with Reader.open(job.archive, state_dir=job.state_dir).catalogue() as catalogue:
            if catalogue is not None:
                kept = Listings(catalogue, str(job.maildrop), listing).kept()
                return new + len(due(listing, kept, policy, context.clock())[0])
    return new


def _plan_for_reader(job: PullJob, listing: Sequence[MaildropEntry]) -> PullPlan:
    name = str(job.maildrop)
    if is_archive(job.archive):
        with Reader.open(job.archive, state_dir=job.state_dir).catalogue() as catalogue:
            if catalogue is not None:
                listings = Listings(catalogue, name, listing)
                return plan_pull(listing, listings.known(), listings.skipped(), (), job.limit)
    return plan_pull(listing, {}, (), (), job.limit)
