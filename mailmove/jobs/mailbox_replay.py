"""One mailbox of a replay: what belongs there, what is there, what is to be sent (design.md section 7).

Strategy: everything about one mailbox over all sessions of a run. Each session first settles what an earlier one left
open (`prepare`), and only then sends (`send`); the plan and its sums are made in the first session alone. A message in
which connections break is sent alone, and then parked, so that it never stops the others (P8).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries, MailboxFacts, Selected
from mailmove.errors import ConnectionLost, MailboxRefused, MailmoveError, ProtocolError
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.journal import Journal
from mailmove.jobs.mended import Mender, told
from mailmove.jobs.merging import Merging, left_out
from mailmove.jobs.missing import Losses
from mailmove.jobs.outgoing import Letter
from mailmove.jobs.pace import Pace
from mailmove.jobs.preflight import Survey
from mailmove.jobs.present import Present
from mailmove.jobs.reconcile import reconcile
from mailmove.jobs.replay_plan import Decision, decide
from mailmove.jobs.replay_report import ReplayReport, Term
from mailmove.jobs.retry import Attempts
from mailmove.jobs.settled import Settled
from mailmove.jobs.surplus import Resent
from mailmove.jobs.window import Window, Wires
from mailmove.model import Digest, ReportedException
from mailmove.targets import MailboxState, Target

HOPELESS = 3
"""So many times a connection may break in one message before it is parked; a server that finds it ungrammatical counts
for half of them. From half of them on it is sent alone."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all mailboxes of one run have in common."""

    job: ReplayJob
    context: Context
    archive: Archive
    report: ReplayReport
    attempts: Attempts
    pace: Pace


class MailboxReplay:
    """One mailbox of one run."""

    def __init__(self, shared: Shared, mailbox: str, part_numbers: Sequence[int] | None = None) -> None:
        """`mailbox` as the target calls it; `part_numbers`: of the selection, what belongs there (None: all of it)."""
        self._job, self._context, self._archive = job, context, archive = shared.job, shared.context, shared.archive
        self._report, self._attempts, self._pace = report, _, _ = shared.report, shared.attempts, shared.pace
        self.mailbox = mailbox
        self._journal = Journal(archive, job.target_name, mailbox, part_numbers)
        self._mender = Mender(archive.layout, self._journal.deliveries, job.repairs)
        self._losses = Losses(job, archive, self._journal, context, report)
        self._resent = Resent()
        self._planned, self._limit = False, job.limit
        self._to_send = self._handled = 0
        self._tried: set[Digest] = set()
        self._broke_in: defaultdict[Digest, float] = defaultdict(float)
        self._merging: Merging | None = None
        self.survey = Survey()
        self.octets = 0

    @property
    def deliveries(self) -> Deliveries:
        return self._journal.deliveries

    @property
    def to_send(self) -> int:
        """Messages that are to be sent and not settled yet."""
        return max(0, self._to_send - self._handled)

    @property
    def unfinished(self) -> bool:
        """Whether there is something to send, or copies too many to look for."""
        return bool(self.to_send) or self._resent.any

    # ---- one session

    def prepare(self, target: Target, limit: int | None) -> MailboxState:
        """Opens the mailbox, settles what is open there, and makes the plan if there is none, of `limit` at most."""
        state = self._open_mailbox(target)
        self._settle_open(target, state)
        if not self._planned:
            self._limit = limit
            self._losses.look(target, state)
        self._plan(target)
        return state

    def _open_mailbox(self, target: Target) -> MailboxState:
        mailbox = self.mailbox
        try:
            return target.select(mailbox)
        except MailboxRefused:
            if target.status(mailbox) is not None:
                raise
        target.create(mailbox)
        return target.select(mailbox)

    def _settle_open(self, target: Target, state: MailboxState) -> None:
        """What an earlier session left open. What this run sent is counted, what an earlier one sent is there."""
        found = reconcile(target, state, self._archive, self._journal, self._context, self._job.labels)
        for row in found.not_there:
            self._resent.add(row)
        if self._planned:
            self._count(Term.DELIVERED, len(found.delivered))
            self._report.exceptions += [told(row.digest, row.repaired) for row in found.delivered if row.repaired]
            self._count(Term.UNCERTAIN, len(found.uncertain))
            self._handled += len(found.delivered) + len(found.uncertain)
            self._tried.update(row.digest for row in found.uncertain)
            for row in found.uncertain:
                self._name(Term.UNCERTAIN, row.digest)

    def send(self, target: Target, state: MailboxState, another: Callable[[], Target]) -> None:
        """Sends what is to be sent, and looks for copies too many. `another` opens one more session."""
        present = self._present(target, state)
        if self.to_send:
            self._send(Wires(target, another, state.uidvalidity, max(1, state.uidnext)), present)
        self._report_surplus(target, state)

    # ---- the plan

    def _plan(self, target: Target) -> None:
        """Makes the selection. Its sums are drawn in the first session only."""
        job, report, deliveries = self._job, self._report, self.deliveries
        selected, duplicates = deliveries.select(job.maildrops, keep_duplicates=job.keep_duplicates)
        if self._planned:
            return
        self._planned = True
        self.survey = Survey(target.append_limit())
        if target.merges_message_ids:
            retry, limit = job.retry_parked, self.survey.limit
            self._merging = Merging(self._archive, job.target_name, largest=limit, retry_parked=retry)
        report.selected += selected
        report.duplicate_content += duplicates
        self._count(Term.ALREADY_THERE, deliveries.already_delivered())
        self._sort_out()
        for digest in deliveries.suspects():
            report.suspect += 1
            report.exceptions.append(ReportedException("suspect", "it may be incomplete; sent as it is", digest=digest))

    def _sort_out(self) -> None:
        """Counts what is left alone, and what will be sent."""
        for message in self.deliveries.undelivered():
            decision = self._decide(message)
            self._count(Term.SKIPPED, decision.skipped)
            self._count(Term.UNCERTAIN, decision.uncertain)
            self._count(Term.PARKED, decision.parked)
            for term in [Term.UNCERTAIN] * decision.uncertain + [Term.PARKED] * decision.parked:
                self._name(term, message.digest)
            within = self._within_limit(self._unmerged(message, decision.send))
            self.survey.add(message, within)
            self._to_send += within
            self.octets += within * message.octets

    def _unmerged(self, message: Selected, send: int) -> int:
        """How many of so many copies the target keeps; the others are counted, and named."""
        share, why = self._merging.share(message, send) if self._merging else (send, "")
        if share < send:
            self._count(Term.SKIPPED, send - share)
            self._report.exceptions.append(self._placed(left_out(message.digest, why)))
            if not share:
                self._tried.add(message.digest)
        return share

    def _within_limit(self, number: int) -> int:
        within = number if self._limit is None else max(0, min(number, self._limit - self._to_send))
        if beyond := number - within:
            self._count(Term.SKIPPED, beyond)
            self._report.limited(beyond)
        return within

    def _decide(self, message: Selected) -> Decision:
        return decide(message, resend_uncertain=self._job.resend_uncertain, retry_parked=self._job.retry_parked)

    # ---- sending

    def _present(self, target: Target, state: MailboxState) -> Present | None:
        """The mailbox's other messages, if they are to be looked at. The decision is logged before the first send."""
        if not self.to_send:
            return None
        facts = self.deliveries.facts()
        wanted = self._skip_present(facts, state)
        if facts.skip_present != wanted:
            self._journal.decide_skip_present(state.uidvalidity, state.uidnext, skip_present=wanted)
        if not wanted:
            return None
        if facts.skip_present is None:
            self._context.progress.note(
                f"{self.mailbox!r} holds {state.messages:,} messages already; those of the archive that are among "
                "them are not sent again (--no-skip-present sends all)."
            )
        return Present(self._archive, target, self.deliveries, state.uidvalidity)

    def _skip_present(self, facts: MailboxFacts, state: MailboxState) -> bool:
        if self._job.skip_present is not None:
            return self._job.skip_present
        return state.messages > 0 if facts.skip_present is None else facts.skip_present

    def _send(self, wires: Wires, present: Present | None) -> None:
        window = Window(
            *(self._job, self._archive, self._journal, self._context, wires, self._pace),
            *(present, self._mender, self._tally, self._merging),
        )
        try:
            window.send(self._letters(), self.to_send)
        except MailmoveError as error:
            self._blame(window.unanswered, error)
            raise

    def _letters(self) -> Iterator[Letter]:
        """What is to be sent, one copy each, as far as the limit goes."""
        left = self.to_send
        for message in self.deliveries.undelivered():
            if message.digest in self._tried:
                continue
            decision, broke = self._decide(message), self._broke_in.get(message.digest, 0)
            send = self._still_unmerged(message, decision.send)
            for copy in range(min(send, left)):
                withdraw = decision.withdraw[copy] if copy < len(decision.withdraw) else ""
                yield Letter(message, withdraw, alone=broke >= HOPELESS / 2, hopeless=broke >= HOPELESS)
            left -= send
            if left <= 0:
                return

    def _still_unmerged(self, message: Selected, send: int) -> int:
        """Another version may have been planned for, or gone to, another mailbox of the target since the plan."""
        share, why = self._merging.share(message, send) if self._merging else (send, "")
        if share or not send:
            return share
        done = Settled()
        done.exceptions.append(left_out(message.digest, why))
        done.settle(message, Term.SKIPPED)
        self._tally(done)
        return 0

    def _tally(self, done: Settled) -> None:
        """Counts what became durable."""
        for term, count in done.terms.items():
            self._count(term, count)
        self._handled += done.terms.total()
        self._report.octets += done.octets
        self._report.exceptions += map(self._placed, done.exceptions)
        self._tried.update(done.tried)
        self._resent.sent(done.delivered)
        if done.terms:
            self._attempts.progress()

    def _blame(self, unanswered: list[Digest], error: MailmoveError) -> None:
        """Counts how often the connection broke while a message was under way (P8)."""
        self._context.progress.rewind()
        if not isinstance(error, ConnectionLost | ProtocolError):
            return
        for digest in unanswered:
            self._broke_in[digest] += HOPELESS / 2 if isinstance(error, ProtocolError) else 1
            if self._broke_in[digest] >= HOPELESS:
                self._attempts.forgive()

    # ---- the end

    def _report_surplus(self, target: Target, state: MailboxState) -> None:
        for extra in self._resent.surplus(target, self._archive, self.deliveries, state, self._context):
            self._report.extra_at_target += 1
            self._report.exceptions.append(extra)

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
            self._placed(ReportedException(term.value, reason, digest=digest, server_text=text))
        )

    def _placed(self, exception: ReportedException) -> ReportedException:
        """Which mailbox it is about, where the report as a whole does not say."""
        return exception if self.mailbox == self._job.mailbox else replace(exception, mailbox=self.mailbox)
