"""What a replay would do, and nothing else: no lock, no log, nothing written at the target (`--dry-run`)."""

from __future__ import annotations

import time

from mailmove.archive import Reader
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.deliveries import Deliveries
from mailmove.errors import UsageError
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.replay_plan import decide
from mailmove.jobs.replay_query import narrow_down
from mailmove.jobs.replay_report import ReplayReport, Term


def replay_dry_run(job: ReplayJob, context: Context, reader: Reader) -> ReplayReport:
    """Logs in, looks, plans and reports; `pending` is what would be sent. Raises what `open_target` raises."""
    started = time.monotonic()
    report = ReplayReport(job.name, "", str(job.archive.absolute()), job.target_name, job.mailbox, dry_run=True)
    _look(job, context, report)
    with reader.catalogue() as catalogue:
        if catalogue is None:
            raise UsageError(f"{job.archive} has no archive.db; the next run without --dry-run makes it.")
        _plan(job, context, catalogue, report)
    report.sessions, report.seconds = 1, time.monotonic() - started
    return report


def _look(job: ReplayJob, context: Context, report: ReplayReport) -> None:
    target = context.open_target(job)
    try:
        state = target.status(job.mailbox)
    except BaseException:
        target.close()
        raise
    target.quit()
    report.at_target = state.messages if state else 0
    report.mailbox_missing = state is None


def _plan(job: ReplayJob, context: Context, catalogue: Catalogue, report: ReplayReport) -> None:
    deliveries = Deliveries(catalogue, job.target_name, job.mailbox)
    check_maildrops(job, catalogue)
    narrow_down(job, context, deliveries)
    report.delivered_ever = deliveries.facts().delivered
    selected, duplicates = deliveries.select(job.maildrops, keep_duplicates=job.keep_duplicates)
    report.selected, report.duplicate_content = selected, duplicates
    report.terms[Term.ALREADY_THERE] = deliveries.already_delivered()
    to_send = 0
    for message in deliveries.undelivered():
        decision = decide(message, resend_uncertain=job.resend_uncertain, retry_parked=job.retry_parked)
        report.terms[Term.SKIPPED] += decision.skipped
        report.terms[Term.UNCERTAIN] += decision.uncertain
        report.terms[Term.PARKED] += decision.parked
        within = decision.send if job.limit is None else max(0, min(decision.send, job.limit - to_send))
        report.terms[Term.SKIPPED] += decision.send - within
        to_send += within
        report.octets += within * message.octets


def check_maildrops(job: ReplayJob, catalogue: Catalogue) -> None:
    """Raises UsageError if it is not clear which maildrops are meant."""
    names = catalogue.maildrop_names()
    for name in job.maildrops:
        if name not in names:
            raise UsageError(f"{job.archive} holds no maildrop {name!r}; it holds {', '.join(names) or 'none'}.")
    if len(names) > 1 and not job.maildrops and not job.all_maildrops:
        raise UsageError(
            f"{job.archive} holds several maildrops ({', '.join(names)}); say which with --maildrop NAME, "
            "or give --all-maildrops."
        )
