"""Pull: from a maildrop into an archive (design.md section 6).

Strategy: one session after another until a listing leaves nothing to do. Each session lists, plans, retrieves; what
came in whole waits in a group, and only what the archive has committed is counted, reported, or remembered. The archive
is the only memory, so a run that is cut off anywhere is simply run again. A session is ended with QUIT only when
everything retrieved in it is committed. Messages that were refused or look incomplete get one further session.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from mailmove.archive import Archive, Draft, Filed, Received, check_creatable, is_archive
from mailmove.errors import (
    ArchiveError,
    ArchiveFull,
    ConnectionLost,
    Interrupted,
    MailmoveError,
    MessageRejected,
    ProtocolError,
    TryLater,
)
from mailmove.jobs import Context, PullJob
from mailmove.jobs.committer import Committer
from mailmove.jobs.deletion import Deletion
from mailmove.jobs.dry_run import dry_run
from mailmove.jobs.group import Group
from mailmove.jobs.ledger import Ledger
from mailmove.jobs.look import Looker, View
from mailmove.jobs.plan import Key, PullPlan, key
from mailmove.jobs.report import RunReport
from mailmove.jobs.retry import Attempts, RetryPolicy
from mailmove.jobs.sessions import Sessions
from mailmove.jobs.suspects import Suspects
from mailmove.jobs.throttle import Throttle
from mailmove.jobs.trouble import Trouble
from mailmove.model import Complete, Digest, Fate, MaildropEntry, MessageNumber, Outcome, ReportedException
from mailmove.sources import Incoming, Refused, Source

BREAKS_CONNECTION = "breaks-connection"
"""Why a message is parked that no session survives."""


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
        self._group = Group(job.group)
        self._committer = Committer(self._committed)
        self._sizes_unreliable = False
        self._refused: dict[Key, MessageRejected] = {}
        self._attempted: set[Key] = set()
        self._trouble = Trouble()
        self._taken = 0
        self._second_look = False
        self._throttle = Throttle(job.max_rate, context.sleep)
        self._sessions = Sessions(job, context)
        self._deletion: Deletion | None = None
        self._received: dict[MessageNumber, tuple[Digest, Complete]] = {}
        self._report = RunReport(job.name, "", str(job.archive.absolute()), job.source, str(job.maildrop))

    def run(self) -> RunReport:
        """Until nothing is left to do, or something stops it."""
        started = time.monotonic()
        try:
            if is_archive(self._job.archive):
                self._open_archive()
            self._work()
            self._report.seconds = time.monotonic() - started
            self._end()
        finally:
            self._context.progress.end()
            self._committer.close()
            if self._archive is not None:
                self._archive.close()
        return self._report

    def _work(self) -> None:
        try:
            while self._sessions.wanted:
                self._attempts.run(self._session, self._context.sleep, self._context.progress.note)
            if self._refused or self._suspects:
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
        broken = isinstance(error, ConnectionLost | ProtocolError)
        return broken and bool(self._refused) and not self._ledger.unsettled(self._refused)

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
            if self._ledger.unsettled(self._refused):
                raise
            self._context.progress.note(f"{error} What was refused or looks incomplete was not asked for again.")

    # ---- one session

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
        self._received.clear()
        listing = source.list()
        view = self._view(source, listing)
        wanted = self._sessions.slice(view, self._wanted(view))
        self._context.progress.begin("pull", len(wanted), sum(entry.octets for entry in wanted))
        self._trouble.asked(wanted, many=many)
        self._retrieve(source, wanted)
        return view

    def _finish(self, source: Source, view: View) -> None:
        """Deletes what may go, and says QUIT: the answers show, too, whether all those before were in step."""
        quitting = False
        try:
            if not view.shrunken:
                self._deletions.carry_out(source, view.listing, view.listings, self._received)
            quitting = True
            self._deletions.confirm(source.quit())
        except ProtocolError as error:
            self._trouble.lied |= self._trouble.out_of_step(error) and bool(self._suspects)
            self._blame(error)
            if not quitting:
                raise

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

    def _view(self, source: Source, listing: Sequence[MaildropEntry]) -> View:
        """Settles what needs no fetching. Raises ArchiveFull."""
        archive, listed = self._opened, {key(entry) for entry in listing}
        archive.begin_session()
        self._sizes_unreliable = archive.catalogue.unreliable_sizes(str(self._job.maildrop))
        self._ledger.enter(listing)
        self._settle_absent(archive, listed)
        limit = 0 if self._job.delete_only else self._job.limit
        left = None if limit is None else limit - self._taken
        view = Looker(self._job, archive, self._context).look(source, listing, self._attempted, left)
        self._deletions.settle_earlier(view.listings, listed)
        plan = view.plan
        parked = archive.catalogue.parked(str(self._job.maildrop), plan.retrieve)
        self._trouble.expect(identity for identity, cause in parked.items() if cause == BREAKS_CONNECTION)
        for entries, fate in ((plan.known, Fate.ALREADY_ARCHIVED), (plan.skipped, Fate.SKIPPED)):
            for entry in entries:
                self._ledger.settle(entry, fate)
        for identity in set(map(key, plan.attempted)):
            self._park(archive, identity)
        self._ledger.beyond_limit(plan.beyond_limit)
        _check_space(archive, plan)
        return view

    def _wanted(self, view: View) -> Sequence[MaildropEntry]:
        """What is fetched in this session: what is new, what looked incomplete, what must be proven to be deleted."""
        again = self._suspects.again(view.listing) if self._second_look else []
        to_prove = [] if view.shrunken else self._deletions.to_receive(view.listing, view.listings)
        return [*again, *to_prove, *self._trouble.last_of_all(view.plan.retrieve)]

    def _settle_absent(self, archive: Archive, listed: set[Key]) -> None:
        """Listed earlier in this run, not fetched, and not there any more: another client deleted it."""
        absent = [identity for identity in self._ledger.pending() if identity not in listed]
        for unique_id, octets in absent:
            self._ledger.settle_key((unique_id, octets), Fate.GONE)
            error = self._refused.pop((unique_id, octets), None)
            self._report.exceptions.append(
                ReportedException(
                    "gone",
                    "the server lists it no longer: another client deleted it, or moved it",
                    unique_id=unique_id,
                    server_text=error.server_text if error else "",
                )
            )
        left = archive.catalogue.parked_elsewhere(str(self._job.maildrop), listed)
        archive.gone(dict.fromkeys([*absent, *left]))

    # ---- messages

    def _retrieve(self, source: Source, entries: Sequence[MaildropEntry]) -> None:
        """Fetches and commits. What came in whole is kept whatever ends the session, except a failing archive."""
        try:
            for item in source.retrieve(entries):
                if isinstance(item, Refused):
                    self._refuse(item)
                else:
                    self._receive(item)
                self._keep_up()
                self._context.check()
        except ArchiveError:
            self._group.discard()
            with contextlib.suppress(ArchiveError):
                self._committer.settle()
            raise
        except MailmoveError as error:
            self._commit_all()
            self._blame(error)
            self._context.progress.rewind()
            raise
        self._commit_all()

    def _blame(self, error: MailmoveError) -> None:
        """What a broken connection says of the message it broke in (P8: one bad message never stops the others)."""
        if isinstance(error, TryLater):
            self._ask_again(self._trouble.postponed())
        if not isinstance(error, ConnectionLost | ProtocolError):
            return
        self._ask_again(self._trouble.forgiven())
        if self._trouble.out_of_step(error):
            self._attempts.window_one = True
            self._suspects.doubt(self._trouble.entries, self._received, self._opened, str(self._job.maildrop))
        if (blamed := self._trouble.blamed(error)) is None:
            return
        self._attempts.message_at_fault = True
        if self._trouble.is_expected(blamed):
            self._attempts.forgive()
        if self._trouble.is_hopeless(blamed):
            self._attempted.add(blamed)
            self._refused[blamed] = MessageRejected(f"The connection breaks in this message every time: {error}")

    def _ask_again(self, identities: Sequence[Key]) -> None:
        for identity in identities:
            self._refused.pop(identity, None)
            self._attempted.discard(identity)
            self._taken -= 1

    def _receive(self, incoming: Incoming) -> None:
        archive = self._opened
        self._trouble.begin(key(incoming.entry))
        draft = archive.draft()
        try:
            for chunk in incoming.chunks:
                archive.write(draft, chunk)
                self._context.progress.received(len(chunk))
                self._throttle.took(len(chunk))
                self._context.check()
                self._keep_up()
            archive.finish(draft)
            self._trouble.over()
            self._group.add(self._look(incoming, draft))
        except BaseException:
            draft.discard()
            raise

    def _look(self, incoming: Incoming, draft: Draft) -> Received:
        second = self._suspects.second_look(incoming, draft) if self._second_look else None
        if second is not None:
            return second
        self._taken += 1
        return self._suspects.first_look(incoming, draft, unreliable_sizes=self._sizes_unreliable)

    def _refuse(self, item: Refused) -> None:
        self._taken += 1
        self._attempted.add(key(item.entry))
        self._refused[key(item.entry)] = error = item.error
        if self._trouble.refused(key(item.entry), error):
            raise TryLater(error.message, server_text=error.server_text, command=error.command, code=error.code)

    def _keep_up(self) -> None:
        """Hands a group that is due to the disk, and hears of the one before as soon as it is durable."""
        if self._group.due:
            self._committer.start(self._opened.commit, self._group.take())
        elif self._committer.arrived:
            self._committer.settle()

    def _commit_all(self) -> None:
        """Returns when everything that came in is durable and counted."""
        self._committer.start(self._opened.commit, self._group.take())
        self._committer.settle()

    def _committed(self, items: Sequence[Received], filed: Sequence[Filed]) -> None:
        """A group is durable: only now is it counted and shown."""
        for item, done in zip(items, filed, strict=True):
            self._suspects.committed(item.draft, done, self._opened)
            self._received[item.entry.number] = (done.place.digest, done.place.complete)
            self._count(item, done)
        self._attempts.progress()
        self._context.progress.done(len(items), sum(done.place.octets for done in filed))

    def _count(self, item: Received, done: Filed) -> None:
        if self._ledger.settle(item.entry, Fate.STORED if done.new else Fate.DUPLICATE_CONTENT):
            self._report.octets += done.place.octets
            self._report.versions += done.version

    def _park(self, archive: Archive, identity: Key) -> None:
        """Refused, and still listed: parked with the server's words, until a later run gets it or `skip` settles it."""
        error = self._refused.pop(identity, None)
        if error is None or not self._ledger.settle_all(identity, Fate.PARKED):
            return
        name, (unique_id, octets) = str(self._job.maildrop), identity
        archive.park(
            unique_id, octets, "refused" if error.command else BREAKS_CONNECTION, error.code, error.server_text
        )
        self._report.exceptions.append(
            ReportedException(
                "parked",
                "the server refused to hand it over" if error.command else error.message,
                unique_id=unique_id,
                maildrop=name,
                server_text=error.server_text,
            )
        )

    # ---- the end

    @property
    def _opened(self) -> Archive:
        return self._archive or self._open_archive()

    @property
    def _deletions(self) -> Deletion:
        if self._deletion is None:
            self._deletion = Deletion(self._job, self._opened, self._context)
        return self._deletion

    def _end(self) -> None:
        """Settles the rest, draws the sum, and logs it unless the archive itself has failed."""
        report, archive = self._report, self._opened
        if not isinstance(report.error, ArchiveError):
            for identity in list(self._refused):
                self._park(archive, identity)
        if beyond := self._ledger.close():
            report.exceptions.append(ReportedException("limit", "beyond --limit", count=beyond))
        self._report_suspects()
        report.deleted, report.held_back = self._deletions.deleted, self._deletions.held_back
        report.exceptions += self._deletions.exceptions
        report.listed, report.fates, report.retries = self._ledger.listed, self._ledger.fates(), self._attempts.retries
        report.outcome = _outcome(report)
        if not isinstance(report.error, ArchiveError):
            try:
                archive.end_run(report.outcome.value, report.counts())
            except ArchiveError as error:
                report.error, report.outcome = error, Outcome.FAILED

    def _report_suspects(self) -> None:
        remaining = self._suspects.remaining()
        self._report.suspect = len(remaining)
        for entry, digest in remaining:
            self._report.exceptions.append(
                ReportedException(
                    "suspect",
                    f"stored, but its size is not the one listed ({entry.octets} octets): it may be incomplete",
                    unique_id=entry.unique_id,
                    digest=digest,
                    maildrop=str(self._job.maildrop),
                )
            )
        if self._suspects.sizes_unreliable and not remaining:
            self._context.progress.note(
                f"The server lists sizes that fit few of its messages ({self._suspects.mismatches} of "
                f"{self._suspects.received} differ); equal copies were accepted as complete."
            )


def _outcome(report: RunReport) -> Outcome:
    if isinstance(report.error, Interrupted):
        return Outcome.INTERRUPTED
    if report.error is not None:
        return Outcome.FAILED
    partial = report.suspect or report.held_back or report.fates.get(Fate.PARKED) or report.fates.get(Fate.PENDING)
    partial = partial or any(item.kind == "damaged" for item in report.exceptions)
    return Outcome.PARTIAL if partial else Outcome.COMPLETE


def _check_space(archive: Archive, plan: PullPlan) -> None:
    """design.md section 6.2: nothing is retrieved that would not fit."""
    free = archive.free_octets
    if plan.space_needed > free:
        raise ArchiveFull(
            f"{archive.layout.root} needs {plan.space_needed:,} octets of free space for this pull and has {free:,}; "
            "free some, or name an archive on another disk with -a. Nothing was retrieved."
        )
