"""Replay: from an archive into mailboxes of a target (design.md section 7).

Strategy: one session after another until nothing is left to send. Each begins by settling what an earlier one left
open, so nothing is ever sent blindly again. Then windows: what is about to be sent is logged and durable, then it is
sent, then what became of it is logged; only then is it counted and shown. The archive is the only memory, so a replay
that is cut off anywhere is simply run again. What concerns one mailbox is in mailbox_replay.py; all of them are
settled and planned before anything is sent to the first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailmove.archive import Archive, Reader
from mailmove.archive.deliveries import Deliveries
from mailmove.archive.parts import divide
from mailmove.errors import ArchiveDamaged, ArchiveError, ConnectionLost, MailmoveError
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.labels import labelling
from mailmove.jobs.mailbox_replay import MailboxReplay, Shared
from mailmove.jobs.outgoing import SeenPolicy
from mailmove.jobs.pace import Pace
from mailmove.jobs.placement import Placement, placement_of, together
from mailmove.jobs.preflight import MailboxLook, warnings
from mailmove.jobs.replay_dry_run import check_maildrops, replay_dry_run
from mailmove.jobs.replay_query import check_query, narrow_down
from mailmove.jobs.replay_report import ReplayReport
from mailmove.jobs.retry import Attempts
from mailmove.targets import MailboxState, Target


def run_replay(job: ReplayJob, context: Context) -> ReplayReport:
    """One run of a replay.

    A failure after the archive was opened is in the report's `error`; before that it is raised: UsageError,
    ArchiveBusy, ArchiveDamaged, ArchiveTooNew.
    """
    SeenPolicy.parse(job.seen)
    check_query(job)
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    if job.dry_run:
        return replay_dry_run(job, context, reader)
    with Archive.open(
        job.archive, state_dir=job.state_dir, wait=job.wait, take_over=job.take_over, clock=context.clock
    ) as archive:
        check_maildrops(job, archive.catalogue)
        placement = placement_of(job, job.maildrops or archive.catalogue.maildrop_names())
        try:
            narrow_down(job, context, Deliveries(archive.catalogue, job.target_name, ""))
            return Replay(job, context, archive, placement).run()
        finally:
            context.progress.end()


class Replay:
    """One run and what it remembers over its sessions."""

    def __init__(self, job: ReplayJob, context: Context, archive: Archive, placement: Placement) -> None:
        self._job, self._context, self._archive, self._placement = job, context, archive, placement
        self._attempts = Attempts()
        self._pace = Pace(job.window_messages, job.window_octets, job.connections)
        self._report = ReplayReport(job.name, "", str(job.archive.absolute()), job.target_name, job.mailbox)
        self._mailboxes: list[MailboxReplay] = []
        self._begun = False

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
        target = self._open()
        self._attempts.reached = True
        self._report.sessions += 1
        try:
            self._work(target)
        except BaseException:
            target.close()
            raise
        target.quit()

    def _open(self) -> Target:
        target = self._context.open_target(self._job)
        try:
            return labelling(target, self._job.labels)
        except BaseException:
            target.close()
            raise

    def _work(self, target: Target) -> None:
        self._mailboxes = self._mailboxes or self._find_mailboxes(target)
        states = [self._prepare(target, mailbox) for mailbox in self._mailboxes]
        if not self._begun:
            self._begun = True
            octets = sum(mailbox.octets for mailbox in self._mailboxes)
            self._context.progress.begin("replay", self._to_send, octets)
            self._warn(target, states)
        if self._attempts.window_one:
            self._pace.messages = 1
        for mailbox, state in zip(self._mailboxes, states, strict=True):
            self._send(target, mailbox, state)

    def _warn(self, target: Target, states: Sequence[MailboxState]) -> None:
        """What a person should know beforehand; asked in one session only, whatever comes of the question."""
        full = [(one, state) for one, state in zip(self._mailboxes, states, strict=True) if one.to_send]
        looks = [MailboxLook(m.mailbox, s.messages, target.quota(m.mailbox), m.survey) for m, s in full]
        for sentence in warnings(looks):
            self._context.progress.note(sentence)

    def _find_mailboxes(self, target: Target) -> list[MailboxReplay]:
        """Where what is selected belongs, by the names the target has for it."""
        job, placement = self._job, self._placement
        names: dict[str, tuple[int, ...] | None] = {}
        if placement.only is not None:
            names[target.place(placement.only)] = None
        else:
            names |= together(divide(self._archive.catalogue, job.maildrops, placement.of), target.place)
        self._report.mailboxes = list(names)
        shared = Shared(job, self._context, self._archive, self._report, self._attempts, self._pace)
        return [MailboxReplay(shared, name, numbers) for name, numbers in names.items()]

    @property
    def _to_send(self) -> int:
        return sum(mailbox.to_send for mailbox in self._mailboxes)

    def _prepare(self, target: Target, mailbox: MailboxReplay) -> MailboxState:
        """The limit is one for the whole run: what others take of it is taken off."""
        limit = self._job.limit
        return mailbox.prepare(target, None if limit is None else max(0, limit - self._to_send))

    def _send(self, target: Target, mailbox: MailboxReplay, state: MailboxState) -> None:
        if not mailbox.unfinished:
            return
        if len(self._mailboxes) > 1:
            state = target.select(mailbox.mailbox)
        mailbox.send(target, state, lambda: self._another(mailbox.mailbox, state.uidvalidity))

    def _another(self, mailbox: str, uidvalidity: int) -> Target:
        """One more session like the one that is open; in a thread of a courier."""
        target = self._open()
        try:
            if target.select(mailbox).uidvalidity != uidvalidity:
                raise ConnectionLost(f"The mailbox {mailbox!r} was made anew while messages were sent to it.")
        except BaseException:
            target.close()
            raise
        return target

    # ---- the end

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
