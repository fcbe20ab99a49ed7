"""What a replay would do, and nothing else: no lock, no log, nothing written at the target (`--dry-run`).

Strategy: the plan of a replay over a catalogue that is only read, and the pre-flight's questions, which change nothing
(mailboxes are EXAMINEd, never SELECTed). What Gmail has in All Mail is not asked: that is done before each window, of
the few messages in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mailmove.archive import Reader, parts
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.deliveries import Deliveries, Selected
from mailmove.archive.merging_query import Versions
from mailmove.archive.preflight_query import earlier_speed, subject
from mailmove.errors import UsageError
from mailmove.jobs import Context, RelayJob, ReplayJob, merging
from mailmove.jobs.labels import labelling
from mailmove.jobs.pace import Pace
from mailmove.jobs.placement import placement_of, together
from mailmove.jobs.preflight import MailboxLook, Preflight, Survey, Way, estimate, look_at
from mailmove.jobs.replay_plan import decide
from mailmove.jobs.replay_query import narrow_down
from mailmove.jobs.replay_report import ReplayReport, Term
from mailmove.targets import Target


def replay_dry_run(job: ReplayJob, context: Context, reader: Reader) -> ReplayReport:
    """Logs in, looks, plans and reports; `pending` is what would be sent. Raises what `open_target` raises."""
    started = time.monotonic()
    report = ReplayReport(job.name, "", str(job.archive.absolute()), job.target_name, job.mailbox, dry_run=True)
    target = context.open_target(job)
    try:
        labelling(target, job.labels)  # which says no where that cannot be
        with reader.catalogue() as catalogue:
            if catalogue is None:
                raise UsageError(f"{job.archive} has no archive.db; the next run without --dry-run makes it.")
            _DryRun(job, context, catalogue, target, report).run()
    except BaseException:
        target.close()
        raise
    target.quit()
    report.sessions, report.seconds = 1, time.monotonic() - started
    return report


@dataclass(slots=True)
class _DryRun:
    """One dry run, with a session and a catalogue that are open. `to_send`: messages, in all mailboxes."""

    job: ReplayJob
    context: Context
    catalogue: Catalogue
    target: Target
    report: ReplayReport
    to_send: int = 0

    def run(self) -> None:
        check_maildrops(self.job, self.catalogue)
        mailboxes = [self._selection(name, numbers) for name, numbers in self._mailboxes().items()]
        looks = [self._look(deliveries) for deliveries in mailboxes]
        for deliveries, look in zip(mailboxes, looks, strict=True):
            self._sort_out(deliveries, look.survey)
        self.report.at_target = sum(look.messages or 0 for look in looks)
        self.report.mailbox_missing = bool(looks) and all(look.messages is None for look in looks)
        self.report.preflight = self._preflight(looks)

    def _mailboxes(self) -> dict[str, Sequence[int] | None]:
        """The target's name of each mailbox -> the parts of the selection that belong there; None: all of it."""
        job, names = self.job, self.job.maildrops or self.catalogue.maildrop_names()
        narrow_down(job, self.context, Deliveries(self.catalogue, job.target_name, job.mailbox))
        placement = placement_of(job, names)
        if placement.only is not None:
            return {self.target.place(placement.only): None}
        divided = parts.divide(self.catalogue, job.maildrops, placement.of)
        return dict(together(divided, self.target.place))

    def _selection(self, mailbox: str, numbers: Sequence[int] | None) -> Deliveries:
        job, report = self.job, self.report
        deliveries = Deliveries(self.catalogue, job.target_name, mailbox, numbers)
        selected, duplicates = deliveries.select(job.maildrops, keep_duplicates=job.keep_duplicates)
        report.selected += selected
        report.duplicate_content += duplicates
        report.delivered_ever += deliveries.facts().delivered
        report.terms[Term.ALREADY_THERE] += deliveries.already_delivered()
        return deliveries

    def _look(self, deliveries: Deliveries) -> MailboxLook:
        messages, limit, quota = look_at(self.target, deliveries.mailbox)
        survey = Survey(limit, partial(subject, self.catalogue))
        return MailboxLook(deliveries.mailbox, messages, quota, survey)

    def _sort_out(self, deliveries: Deliveries, survey: Survey) -> None:
        job, terms = self.job, self.report.terms
        versions = self._versions(survey)
        for message in deliveries.undelivered():
            decision = decide(message, resend_uncertain=job.resend_uncertain, retry_parked=job.retry_parked)
            terms[Term.SKIPPED] += decision.skipped
            terms[Term.UNCERTAIN] += decision.uncertain
            terms[Term.PARKED] += decision.parked
            send = decision.send if versions is None else self._unmerged(versions, message, decision.send)
            within = self._within_limit(send)
            self.to_send += within
            self.report.octets += within * message.octets
            survey.add(message, within)

    def _versions(self, survey: Survey) -> Versions | None:
        if not self.target.merges_message_ids:
            return None
        return Versions(self.catalogue, self.job.target_name, survey.limit, self.job.retry_parked)

    def _unmerged(self, versions: Versions, message: Selected, send: int) -> int:
        """How many of so many copies a target would keep that merges by Message-ID; the others are named."""
        share, why = merging.share(versions, message, send)
        if beyond := send - share:
            self.report.terms[Term.SKIPPED] += beyond
            self.report.exceptions.append(merging.left_out(message.digest, why))
        return share

    def _within_limit(self, number: int) -> int:
        limit = self.job.limit
        within = number if limit is None else max(0, min(number, limit - self.to_send))
        self.report.terms[Term.SKIPPED] += number - within
        return within

    def _preflight(self, looks: Sequence[MailboxLook]) -> Preflight:
        job, traits, rtt = self.job, self.target.traits(), self.target.round_trip()
        pace = Pace(job.window_messages, job.window_octets, job.connections)
        way = Way(self.target.manner, traits, pace, rtt, job.daily_limit)
        speed = earlier_speed(self.catalogue, job.target_name)
        return Preflight(looks, traits, rtt, estimate((look.survey for look in looks), speed, way))


def check_maildrops(job: ReplayJob | RelayJob, catalogue: Catalogue) -> None:
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
