"""Replay: from an archive into a mailbox of a target (design.md section 7).

Strategy: one session after another until nothing is left to send. Each begins by settling what an earlier one left
open, so nothing is ever sent blindly again. Then windows: what is about to be sent is logged and durable, then it is
sent, then what became of it is logged; only then is it counted and shown. The archive is the only memory, so a replay
that is cut off anywhere is simply run again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

from mailmove.archive import Archive, Reader
from mailmove.archive.deliveries import Deliveries, MailboxFacts
from mailmove.errors import ArchiveDamaged, ArchiveError, ConnectionLost, MailmoveError, ProtocolError, UsageError
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.journal import Journal
from mailmove.jobs.missing import Losses
from mailmove.jobs.outgoing import SeenPolicy
from mailmove.jobs.present import Present
from mailmove.jobs.reconcile import reconcile
from mailmove.jobs.replay_dry_run import check_maildrops, replay_dry_run
from mailmove.jobs.replay_plan import decide
from mailmove.jobs.replay_query import check_query, narrow_down
from mailmove.jobs.replay_report import ReplayReport, Term
from mailmove.jobs.retry import Attempts
from mailmove.jobs.surplus import Resent
from mailmove.jobs.window import Letter, Window, windows
from mailmove.model import Digest, ReportedException
from mailmove.targets import MailboxState, Target

HOPELESS = 3
"""So many times a connection may break in one message before it is parked; a server that finds it ungrammatical counts
for half of them."""


def run_replay(job: ReplayJob, context: Context) -> ReplayReport:
    """One run of a replay.

    A failure after the archive was opened is in the report's `error`; before that it is raised: UsageError,
    ArchiveBusy, ArchiveDamaged, ArchiveTooNew.
    """
    SeenPolicy.parse(job.seen)
    check_query(job)
    if not job.mailbox or not job.mailbox.isprintable():
        raise UsageError("The mailbox name is empty, or holds a line break or another control character.")
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    if job.dry_run:
        return replay_dry_run(job, context, reader)
    with Archive.open(
        job.archive, state_dir=job.state_dir, wait=job.wait, take_over=job.take_over, clock=context.clock
    ) as archive:
        check_maildrops(job, archive.catalogue)
        replay = Replay(job, context, archive)
        try:
            narrow_down(job, context, replay.deliveries)
            return replay.run()
        finally:
            context.progress.end()


class Replay:
    """One run and what it remembers over its sessions."""

    def __init__(self, job: ReplayJob, context: Context, archive: Archive) -> None:
        self._job = job
        self._context = context
        self._archive = archive
        self._attempts = Attempts()
        self._report = ReplayReport(job.name, "", str(job.archive.absolute()), job.target_name, job.mailbox)
        self._journal = Journal(archive, job.target_name, job.mailbox)
        self._losses = Losses(job, archive, self._journal, context, self._report)
        self._resent = Resent()
        self._planned = False
        self._to_send = 0
        self._handled = 0
        self._tried: set[Digest] = set()
        self._broke_in: defaultdict[Digest, float] = defaultdict(float)

    def run(self) -> ReplayReport:
        """Until nothing is left to send, or something stops it."""
        started = time.monotonic()
        report = self._report
        report.run = self._archive.begin_run(self._job.name, ", ".join(self._job.maildrops), self._job.target_name)
        try:
            self._attempts.run(self._session, self._context.sleep, self._context.progress.note)
        except MailmoveError as error:
            report.error = error
        report.seconds, report.retries = time.monotonic() - started, self._attempts.retries
        self._end()
        return report

    # ---- one session

    def _session(self) -> None:
        target = self._context.open_target(self._job)
        self._attempts.reached = True
        self._report.sessions += 1
        try:
            self._work(target, self._open_mailbox(target))
        except BaseException:
            target.close()
            raise
        target.quit()

    def _open_mailbox(self, target: Target) -> MailboxState:
        mailbox = self._job.mailbox
        if target.status(mailbox) is None:
            target.create(mailbox)
        return target.select(mailbox)

    def _work(self, target: Target, state: MailboxState) -> None:
        self._settle_open(target, state)
        if not self._planned:
            self._losses.look(target, state)
        self._plan(state)
        present = self._present(target, state)
        self._send_all(target, state, present)
        self._report_surplus(target, state)

    def _settle_open(self, target: Target, state: MailboxState) -> None:
        """What an earlier session left open. What this run sent is counted, what an earlier one sent is there."""
        found = reconcile(target, state, self._archive, self._journal, self._context)
        for row in found.not_there:
            self._resent.add(row)
        if self._planned:
            self._count(Term.DELIVERED, len(found.delivered))
            self._count(Term.UNCERTAIN, len(found.uncertain))
            self._handled += len(found.delivered) + len(found.uncertain)
            self._tried.update(row.digest for row in found.uncertain)
            for row in found.uncertain:
                self._name(Term.UNCERTAIN, row.digest)

    # ---- the plan

    def _plan(self, state: MailboxState) -> None:
        """Makes the selection. Its sums are drawn in the first session only."""
        job, report, deliveries = self._job, self._report, self.deliveries
        selected, duplicates = deliveries.select(job.maildrops, keep_duplicates=job.keep_duplicates)
        if self._planned:
            return
        self._planned = True
        report.selected, report.duplicate_content = selected, duplicates
        self._count(Term.ALREADY_THERE, deliveries.already_delivered())
        octets = self._sort_out()
        for digest in deliveries.suspects():
            report.suspect += 1
            report.exceptions.append(ReportedException("suspect", "it may be incomplete; sent as it is", digest=digest))
        self._context.progress.begin("replay", self._to_send, octets)

    def _sort_out(self) -> int:
        """Counts what is left alone; returns the octets of what will be sent."""
        octets, limit = 0, self._job.limit
        for message in self.deliveries.undelivered():
            decision = decide(message, resend_uncertain=self._job.resend_uncertain, retry_parked=self._job.retry_parked)
            self._count(Term.SKIPPED, decision.skipped)
            self._count(Term.UNCERTAIN, decision.uncertain)
            self._count(Term.PARKED, decision.parked)
            for term in [Term.UNCERTAIN] * decision.uncertain + [Term.PARKED] * decision.parked:
                self._name(term, message.digest)
            within = decision.send if limit is None else max(0, min(decision.send, limit - self._to_send))
            if beyond := decision.send - within:
                self._count(Term.SKIPPED, beyond)
                self._limited(beyond)
            self._to_send += within
            octets += within * message.octets
        return octets

    def _limited(self, count: int) -> None:
        exceptions = self._report.exceptions
        earlier = next((item for item in exceptions if item.kind == "limit"), None)
        if earlier is not None:
            exceptions.remove(earlier)
            count += earlier.count
        exceptions.append(ReportedException("limit", "beyond --limit", count=count))

    # ---- sending

    def _present(self, target: Target, state: MailboxState) -> Present | None:
        """The mailbox's other messages, if they are to be looked at. The decision is logged before the first send."""
        if self._handled >= self._to_send:
            return None
        facts = self.deliveries.facts()
        wanted = self._skip_present(facts, state)
        if facts.skip_present != wanted:
            self._journal.decide_skip_present(state.uidvalidity, state.uidnext, skip_present=wanted)
        if not wanted:
            return None
        if facts.skip_present is None:
            self._context.progress.note(
                f"{self._job.mailbox!r} holds {state.messages:,} messages already; those of the archive that are among "
                "them are not sent again (--no-skip-present sends all)."
            )
        return Present(self._archive, target, self.deliveries, state.uidvalidity)

    def _skip_present(self, facts: MailboxFacts, state: MailboxState) -> bool:
        if self._job.skip_present is not None:
            return self._job.skip_present
        return state.messages > 0 if facts.skip_present is None else facts.skip_present

    def _send_all(self, target: Target, state: MailboxState, present: Present | None) -> None:
        window = Window(self._job, self._archive, self._journal, self._context, target, present)
        window.floor = max(1, state.uidnext)
        for letters in windows(self._letters(), self._job):
            try:
                window.send(letters, state.uidvalidity)
            except MailmoveError as error:
                self._blame(window.in_flight, error)
                raise
            finally:
                self._tally(window)

    def _letters(self) -> Iterator[Letter]:
        """What is to be sent, one copy each, as far as the limit goes."""
        left = self._to_send - self._handled
        for message in self.deliveries.undelivered():
            if message.digest in self._tried:
                continue
            decision = decide(message, resend_uncertain=self._job.resend_uncertain, retry_parked=self._job.retry_parked)
            hopeless = self._broke_in[message.digest] >= HOPELESS
            for copy in range(min(decision.send, left)):
                withdraw = decision.withdraw[copy] if copy < len(decision.withdraw) else ""
                yield Letter(message, withdraw, hopeless)
            left -= decision.send
            if left <= 0:
                return

    def _tally(self, window: Window) -> None:
        """Counts what became durable in a window."""
        done, report = window.take(), self._report
        for term, count in done.terms.items():
            self._count(term, count)
        self._handled += done.terms.total()
        report.octets += done.octets
        report.exceptions += done.exceptions
        self._tried.update(done.tried)
        self._resent.sent(done.delivered)
        if done.terms:
            self._attempts.progress()

    def _blame(self, in_flight: Digest | None, error: MailmoveError) -> None:
        """Counts how often the connection broke in a message (P8: one bad message never stops the others)."""
        self._context.progress.rewind()
        if in_flight is None or not isinstance(error, ConnectionLost | ProtocolError):
            return
        self._broke_in[in_flight] += HOPELESS / 2 if isinstance(error, ProtocolError) else 1
        if self._broke_in[in_flight] >= HOPELESS:
            self._attempts.forgive()

    # ---- the end

    def _report_surplus(self, target: Target, state: MailboxState) -> None:
        for extra in self._resent.surplus(target, self._archive, self.deliveries, state, self._context):
            self._report.extra_at_target += 1
            self._report.exceptions.append(extra)

    def _end(self) -> None:
        """Draws the sum, and logs it unless the archive itself has failed."""
        report = self._report
        damaged = [item for item in report.exceptions if item.kind == "damaged"]
        if damaged and (report.error is None or report.error.exit_code not in (1, 4)):
            report.error = ArchiveDamaged(
                f"{len(damaged):,} of the archive's messages are damaged and were not sent; "
                "`mailmove verify` names them."
            )
        report.conclude()
        if not isinstance(report.error, ArchiveError) or damaged:
            self._archive.end_run(report.outcome.value, report.counts())

    @property
    def deliveries(self) -> Deliveries:
        return self._journal.deliveries

    def _count(self, term: Term, number: int) -> None:
        if number:
            self._report.terms[term] += number

    def _name(self, term: Term, digest: Digest) -> None:
        cause, text = self.deliveries.text(digest)
        reason = {
            Term.UNCERTAIN: "something much like it is there; --resend-uncertain sends it again",
            Term.PARKED: f"refused by the target before ({cause}); --retry-parked tries again",
        }[term]
        self._report.exceptions.append(
            ReportedException(term.value, reason, digest=digest, maildrop="", server_text=text)
        )
