"""What a replay over SMTP or LMTP would do, and nothing else (`--dry-run`): no lock, no log, no mail.

Strategy: log in, so that what the server offers is known and the password is right; then the plan over a catalogue that
is only read. What an earlier run left open counts as uncertain, since that is what the next run will make of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mailmove.archive import Reader
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.deliveries import Deliveries, Selected
from mailmove.errors import UsageError
from mailmove.jobs import Context, RelayJob
from mailmove.jobs.envelope import check_original, check_utf8
from mailmove.jobs.relay_originals import divide
from mailmove.jobs.relay_report import RelayReport
from mailmove.jobs.replay_dry_run import check_maildrops
from mailmove.jobs.replay_plan import decide
from mailmove.jobs.replay_query import narrow_down
from mailmove.jobs.replay_report import Term
from mailmove.model import Digest
from mailmove.targets import RelayTraits


def relay_dry_run(job: RelayJob, context: Context, reader: Reader) -> RelayReport:
    """Logs in, plans and reports; `pending` is what would be sent. Raises what `open_relay` raises."""
    started = time.monotonic()
    report = RelayReport(job.name, "", str(job.archive.absolute()), job.target_name, "", dry_run=True)
    relay = context.open_relay(job)
    try:
        report.traits = relay.traits
        with reader.catalogue() as catalogue:
            if catalogue is None:
                raise UsageError(f"{job.archive} has no archive.db; the next run without --dry-run makes it.")
            check_maildrops(job, catalogue)
            narrow_down(job, context, Deliveries(catalogue, job.target_name, ""))
            _plan(job, report, _recipients(job, report, context, catalogue, reader, relay.traits))
    except BaseException:
        relay.close()
        raise
    relay.quit()
    report.sessions, report.seconds = 1, time.monotonic() - started
    return report


def _recipients(
    job: RelayJob,
    report: RelayReport,
    context: Context,
    catalogue: Catalogue,
    reader: Reader,
    traits: RelayTraits,
) -> list[Deliveries]:
    """One selection for each recipient."""
    check_utf8((job.sender, *job.recipients), utf8=traits.utf8, server=job.target_name)
    if not job.original_recipients:
        return [Deliveries(catalogue, job.target_name, one, None, n) for n, one in enumerate(job.recipients, 1)]
    check_original(given=job.recipients, authenticated=traits.authenticated, server=job.target_name)
    named = divide(job, context, catalogue, reader.layout)
    context.progress.note(named.audience(job).sentence())
    report.leave_out(named.left_out)
    return [Deliveries(catalogue, job.target_name, one, (number,)) for one, number in named.numbers.items()]


def _plan(job: RelayJob, report: RelayReport, recipients: list[Deliveries]) -> None:
    report.recipients = [one.mailbox for one in recipients]
    sends: dict[int, list[int]] = {}
    for deliveries in recipients:
        selected, duplicates = deliveries.select(job.maildrops, keep_duplicates=job.keep_duplicates)
        report.selected += selected
        report.duplicate_content += duplicates
        report.delivered_ever += deliveries.facts().delivered
        report.terms[Term.ALREADY_THERE] += deliveries.already_delivered()
        left_open = Counter(row.digest for row in deliveries.open())
        for message in deliveries.undelivered():
            if send := _sort_out(job, report, message, left_open):
                sends.setdefault(message.number, [message.octets]).append(send)
    _count(job, report, sends)


def _sort_out(job: RelayJob, report: RelayReport, message: Selected, left_open: Counter[Digest]) -> int:
    message = replace(message, uncertain=message.uncertain + left_open[message.digest])
    decision = decide(message, resend_uncertain=job.resend_uncertain, retry_parked=job.retry_parked)
    report.terms[Term.SKIPPED] += decision.skipped
    report.terms[Term.UNCERTAIN] += decision.uncertain
    report.terms[Term.PARKED] += decision.parked
    return decision.send


def _count(job: RelayJob, report: RelayReport, sends: Mapping[int, Sequence[int]]) -> None:
    """What would be sent: number of a message -> its octets, then the copies for each recipient."""
    beyond = 0
    for number in sorted(sends):
        octets, *copies = sends[number]
        if job.limit is not None and report.messages >= job.limit:
            beyond += sum(copies)
            continue
        report.messages += 1
        report.octets += octets * sum(copies)
    if beyond:
        report.terms[Term.SKIPPED] += beyond
        report.limited(beyond)
