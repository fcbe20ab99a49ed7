"""Pull: from a maildrop into an archive (design.md section 6).

Strategy: one session after another until a listing leaves nothing to do. Each session lists, plans, retrieves; what
came in whole waits in a group, and only what the archive has committed is counted, reported, or remembered. The archive
is the only memory, so a run that is cut off anywhere is simply run again. A session is ended with QUIT only when
everything retrieved in it is committed. Messages that were refused or look incomplete get one further session.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from mailmove.archive import Archive, check_creatable, is_archive
from mailmove.archive.catalogue import prepare
from mailmove.errors import (
    ArchiveError,
    ConnectionLost,
    Interrupted,
    MailmoveError,
    ProtocolError,
    TryLater,
)
from mailmove.jobs import Context, PullJob
from mailmove.jobs.deletion import Deletion
from mailmove.jobs.dry_run import dry_run
from mailmove.jobs.ledger import Ledger
from mailmove.jobs.look import Looker, View, check_space
from mailmove.jobs.parking import BREAKS_CONNECTION, Parking
from mailmove.jobs.plan import Key, key
from mailmove.jobs.receiving import Receiver
from mailmove.jobs.report import RunReport, outcome
from mailmove.jobs.retry import Attempts, RetryPolicy
from mailmove.jobs.sessions import Sessions
from mailmove.jobs.suspects import Suspects
from mailmove.jobs.trouble import Trouble
from mailmove.jobs.wanted import Wanted
from mailmove.model import Fate, MaildropEntry, Outcome, ReportedException
from mailmove.sources import Source


def run_pull(job: PullJob, context: Context) -> RunReport:
    """One run of a pull.

    A failure after the archive was opened is in the report's `error`; before that it is raised: UsageError,
    ArchiveBusy, ArchiveDamaged, ArchiveTooNew, and on a first run whatever `open_source` raises.
    """
    check_creatable(job.archive)
    return dry_run(job, context) if job.dry_run else Pull(job, context).run()


class Pull:
    """One run and what it remembers over its sessions."""

    def __init__(self, job: PullJob, context: Context) -> None:
        self._job = job
        self._context = context
        self._archive: Archive | None = None
        self._ledger = Ledger()
        self._attempts = Attempts(RetryPolicy(patience=job.patience))
        self._suspects = Suspects()
        self._receiver: Receiver | None = None
        self._sizes_unreliable = False
        self._trouble = Trouble()
        self._second_look = False
        self._sessions = Sessions(job, context)
        self._deletion: Deletion | None = None
        self._report = RunReport(job.name, "", str(job.archive.absolute()), job.source, str(job.maildrop))
        self._parking = Parking(str(job.maildrop), self._ledger, self._report.exceptions)
        self._wanted = Wanted(job, self._suspects, self._trouble, self._sessions, self._parking)

    def run(self) -> RunReport:
        """Until nothing is left to do, or something stops it."""
        started = time.monotonic()
        try:
            if is_archive(self._job.archive):
                self._open_archive()
            else:
                prepare()  # while the server is greeted
            self._work()
            self._report.seconds = time.monotonic() - started
            self._end()
        finally:
            self._context.progress.end()
            if self._receiver is not None:
                self._receiver.close()
            if self._archive is not None:
                self._archive.close()
        return self._report

    def _work(self) -> None:
        try:
            while self._sessions.wanted:
                self._attempts.run(self._session, self._context.sleep, self._context.progress.note)
            if self._parking.refused or self._suspects:
                self._further_session()
        except MailmoveError as error:
            if self._archive is None:
                raise
            if self._nothing_else_to_do(error):
                self._context.progress.note(f"{error} Nothing else was left to do.")
            else:
                self._report.error = error

    def _nothing_else_to_do(self, error: MailmoveError) -> bool:
        """Whether only messages are left that break the connection: they are parked, and that is all of it."""
        broken = isinstance(error, ConnectionLost | ProtocolError) and not self._sessions.hiding.again
        return broken and bool(self._parking.refused) and not self._ledger.unsettled(self._parking.refused)

    def _further_session(self) -> None:
        """The one more session for what was refused or looks incomplete. Without it, both stay what they are."""
        self._second_look = True
        self._attempts.window_one = True
        left = len(self._suspects)
        try:
            self._session()
        except (ArchiveError, Interrupted):
            raise
        except MailmoveError as error:
            if isinstance(error, ProtocolError) and len(self._suspects) < left:
                return self._further_session()
            if self._ledger.unsettled(self._parking.refused):
                raise
            self._context.progress.note(f"{error} What was refused or looks incomplete was not asked for again.")

    def _session(self) -> None:
        name = str(self._job.maildrop)
        slow = self._attempts.window_one or (self._archive is not None and self._archive.advice(name).window_one)
        self._sessions.wait()
        source = self._context.open_source(self._job, 1 if slow else self._job.window)
        self._sessions.opened(source)
        self._attempts.reached = True
        self._report.sessions += 1
        try:
            view = self._work_in(source, many=source.pipelining and not slow)
            if self._trouble.lied or self._suspects.mistaken:
                self._opened.advise(name, window_one=True)
            self._finish(source, view)
        except BaseException:
            source.close()
            raise

    def _work_in(self, source: Source, *, many: bool) -> View:
        """One session between login and deletion."""
        view = self._viewed(source, source.list(), many=many)
        parts = (self._opened, self._report.run, self._deletions)
        chosen = self._wanted.choose(view, *parts, second_look=self._second_look)
        wanted = self._sessions.slice(view, chosen)
        self._context.progress.begin("pull", len(wanted), sum(entry.octets for entry in wanted))
        self._trouble.asked(wanted, many=many)
        self._retrieve(source, wanted)
        return view

    def _finish(self, source: Source, view: View) -> None:
        """Deletes what may go, and says QUIT: the answers show, too, whether all those before were in step."""
        quitting = False
        try:
            if not view.shrunken:
                self._deletions.carry_out(source, view.listing, view.listings, self._receiving.received)
            quitting = True
            self._quit(source)
        except ProtocolError as error:
            self._trouble.lied |= self._trouble.out_of_step(error) and bool(self._suspects)
            self._blame(error)
            if not quitting:
                raise

    def _quit(self, source: Source) -> None:
        confirmed = False
        try:
            confirmed = source.quit()
        finally:
            self._sessions.ended(confirmed=confirmed)
        self._deletions.confirm(confirmed)

    def _open_archive(self) -> Archive:
        job = self._job
        if not is_archive(job.archive):
            self._context.created(job.archive.absolute())
        self._archive = Archive.open(
            job.archive,
            create_missing=True,
            state_dir=job.state_dir,
            wait=job.wait,
            take_over=job.take_over,
            clock=self._context.clock,
        )
        self._report.archive_created = self._archive.created
        self._report.run = self._archive.begin_run(job.name, str(job.maildrop))
        return self._archive

    def _viewed(self, source: Source, listing: Sequence[MaildropEntry], *, many: bool) -> View:
        """As `_view`. What breaks in it breaks while header sections are asked for."""
        try:
            view = self._view(source, listing)
        except (ConnectionLost, ProtocolError) as error:
            self._attempts.window_one |= self._trouble.heads_broke(error, many=many)
            raise
        self._trouble.heads_came(many=many)
        return view

    def _view(self, source: Source, listing: Sequence[MaildropEntry]) -> View:
        """Settles what needs no fetching. Raises ArchiveFull."""
        archive, listed = self._opened, Counter(map(key, listing))
        archive.begin_session()
        self._receiving.begin(second_look=self._second_look)
        self._sizes_unreliable = archive.catalogue.unreliable_sizes(str(self._job.maildrop))
        self._ledger.enter(listed)
        self._parking.settle_absent(archive, listed)
        limit = 0 if self._job.delete_only else self._job.limit
        left = None if limit is None else limit - self._receiving.taken
        looker, fetched = Looker(self._job, archive, self._context), self._receiving.taken > 0
        view = looker.look(source, listing, listed, self._parking.attempted, left, fetched=fetched)
        self._deletions.settle_earlier(view.listings, listed)
        plan = view.plan
        parked = view.listings.parked()
        self._trouble.expect(identity for identity, cause in parked.items() if cause == BREAKS_CONNECTION)
        self._ledger.settle_each(map(key, plan.known), Fate.ALREADY_ARCHIVED)
        self._ledger.settle_each(map(key, plan.skipped), Fate.SKIPPED)
        self._parking.park(archive, set(map(key, plan.attempted)))
        self._ledger.beyond_limit(plan.beyond_limit)
        check_space(archive, plan)
        return view

    def _retrieve(self, source: Source, entries: Sequence[MaildropEntry]) -> None:
        receiver = self._receiving
        try:
            receiver.retrieve(source, entries, unreliable_sizes=self._sizes_unreliable)
        except (ConnectionLost, ProtocolError, TryLater, Interrupted) as error:
            if not receiver.over:
                self._context.progress.rewind()
            if not receiver.over or isinstance(error, ProtocolError):
                self._blame(error)
            raise

    def _blame(self, error: MailmoveError) -> None:
        """What a broken connection says of the message it broke in (P8: one bad message never stops the others)."""
        if isinstance(error, TryLater):
            self._ask_again(self._trouble.postponed())
        if not isinstance(error, ConnectionLost | ProtocolError):
            return
        self._ask_again(self._trouble.forgiven())
        if self._trouble.out_of_step(error):
            self._attempts.window_one = True
            self._suspects.doubt(self._trouble.entries, self._opened, str(self._job.maildrop))
        if (blamed := self._trouble.blamed(error)) is None:
            return
        self._attempts.message_at_fault = not self._trouble.is_expected(blamed)
        if self._trouble.is_its_own:
            self._attempts.forgive()
        if self._trouble.is_hopeless(blamed):
            self._parking.breaks(blamed, error)

    def _ask_again(self, identities: Sequence[Key]) -> None:
        self._parking.ask_again(identities)
        self._receiving.taken -= len(identities)

    @property
    def _opened(self) -> Archive:
        return self._archive or self._open_archive()

    @property
    def _receiving(self) -> Receiver:
        if self._receiver is None:
            parts = (self._ledger, self._attempts, self._suspects, self._trouble, self._sessions, self._parking)
            self._receiver = Receiver(self._job, self._opened, self._context, *parts, self._report)
        return self._receiver

    @property
    def _deletions(self) -> Deletion:
        if self._deletion is None:
            self._deletion = Deletion(self._job, self._opened, self._context)
        return self._deletion

    def _end(self) -> None:
        """Settles the rest, draws the sum, and logs it unless the archive itself has failed."""
        report, archive = self._report, self._opened
        if not isinstance(report.error, ArchiveError):
            self._parking.park(archive, list(self._parking.refused))
        if beyond := self._ledger.close():
            report.exceptions.append(ReportedException("limit", "beyond --limit", count=beyond))
        self._report_suspects()
        report.deleted, report.held_back = self._deletions.deleted, self._deletions.held_back
        report.exceptions += self._deletions.exceptions
        report.listed, report.fates, report.retries = self._ledger.listed, self._ledger.fates(), self._attempts.retries
        report.outcome = outcome(report)
        if not isinstance(report.error, ArchiveError):
            try:
                archive.end_run(report.outcome.value, report.counts())
            except ArchiveError as error:
                report.error, report.outcome = error, Outcome.FAILED

    def _report_suspects(self) -> None:
        remaining = self._suspects.remaining(str(self._job.maildrop))
        self._report.suspect = len(remaining)
        self._report.exceptions += remaining
        if not remaining and (warning := self._suspects.warning):
            self._context.progress.note(warning)
