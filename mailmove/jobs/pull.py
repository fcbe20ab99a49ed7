"""Pull: from a maildrop into an archive (design.md section 6).

Strategy: one session after another until a listing leaves nothing to do. Each session lists, plans, retrieves; what
came in whole waits in a group, and only what the archive has committed is counted, reported, or remembered. The archive
is the only memory, so a run that is cut off anywhere is simply run again. A session is ended with QUIT only when
everything retrieved in it is committed. Messages that were refused or look incomplete get one further session.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailmove.archive import Archive, Draft, Filed, Received, check_creatable, is_archive
from mailmove.errors import ArchiveError, ArchiveFull, ConnectionLost, Interrupted, MailmoveError, MessageRejected
from mailmove.jobs import Context, PullJob
from mailmove.jobs.dry_run import dry_run
from mailmove.jobs.group import Group
from mailmove.jobs.ledger import Ledger
from mailmove.jobs.plan import Key, PullPlan, key, plan_pull
from mailmove.jobs.report import RunReport
from mailmove.jobs.retry import Attempts
from mailmove.jobs.suspects import Suspects
from mailmove.jobs.trouble import Trouble
from mailmove.model import Fate, MaildropEntry, Outcome, ReportedException
from mailmove.sources import Incoming, Refused, Source


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
        self._attempts = Attempts()
        self._suspects = Suspects()
        self._group = Group(job.group)
        self._refused: dict[Key, MessageRejected] = {}
        self._attempted: set[Key] = set()
        self._trouble = Trouble()
        self._taken = 0
        self._second_look = False
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
            if self._archive is not None:
                self._archive.close()
        return self._report

    def _work(self) -> None:
        try:
            self._attempts.run(self._session, self._context.sleep, self._context.progress.note)
            if self._refused or self._suspects:
                self._further_session()
        except MailmoveError as error:
            if self._archive is None:
                raise
            self._report.error = error

    def _further_session(self) -> None:
        """The one more session for what was refused or looks incomplete. Without it, both stay what they are."""
        self._second_look = True
        try:
            self._session()
        except (ArchiveError, Interrupted):
            raise
        except MailmoveError as error:
            if self._ledger.unsettled(self._refused):
                raise
            self._context.progress.note(f"{error} What was refused or looks incomplete was not asked for again.")

    # ---- one session

    def _session(self) -> None:
        window = 1 if self._attempts.window_one else self._job.window
        source = self._context.open_source(self._job, window)
        self._attempts.reached = True
        self._report.sessions += 1
        try:
            listing = source.list()
            self._retrieve(source, self._plan(listing))
        except BaseException:
            source.close()
            raise
        source.quit()

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

    def _plan(self, listing: Sequence[MaildropEntry]) -> Sequence[MaildropEntry]:
        """Settles what needs no fetching and returns what does. Raises ArchiveFull."""
        archive = self._archive or self._open_archive()
        archive.begin_session()
        self._ledger.enter(listing)
        self._settle_absent(archive, {key(entry) for entry in listing})
        plan = self._decide(archive, listing)
        for entries, fate in ((plan.known, Fate.ALREADY_ARCHIVED), (plan.skipped, Fate.SKIPPED)):
            for entry in entries:
                self._ledger.settle(entry, fate)
        for identity in set(map(key, plan.attempted)):
            self._park(archive, identity)
        self._ledger.beyond_limit(plan.beyond_limit)
        _check_space(archive, plan)
        again = self._suspects.again(listing) if self._second_look else []
        wanted = [*again, *plan.retrieve]
        self._context.progress.begin("pull", len(wanted), sum(entry.octets for entry in wanted))
        return wanted

    def _decide(self, archive: Archive, listing: Sequence[MaildropEntry]) -> PullPlan:
        name, catalogue = str(self._job.maildrop), archive.catalogue
        limit = None if self._job.limit is None else self._job.limit - self._taken
        known, skips = catalogue.known(name, listing), catalogue.skipped(name, listing)
        return plan_pull(listing, known, skips, self._attempted, limit)

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
                if self._group.due:
                    self._commit()
                self._context.check()
        except ArchiveError:
            self._group.discard()
            raise
        except MailmoveError as error:
            self._commit()
            self._blame(error)
            self._context.progress.rewind()
            raise
        self._commit()

    def _blame(self, error: MailmoveError) -> None:
        """What a broken connection says of the message it broke in (P8: one bad message never stops the others)."""
        if not isinstance(error, ConnectionLost):
            return
        for identity in self._trouble.forgiven():
            self._refused.pop(identity, None)
            self._attempted.discard(identity)
            self._taken -= 1
        if (hopeless := self._trouble.hopeless()) is not None:
            self._attempted.add(hopeless)
            self._refused[hopeless] = MessageRejected(f"The connection breaks in this message every time: {error}")

    def _receive(self, incoming: Incoming) -> None:
        archive = self._opened
        self._trouble.begin(key(incoming.entry))
        draft = archive.draft()
        try:
            for chunk in incoming.chunks:
                archive.write(draft, chunk)
                self._context.progress.received(len(chunk))
                self._context.check()
                if self._group.due:
                    self._commit()
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
        unreliable = self._opened.catalogue.unreliable_sizes(str(self._job.maildrop))
        return self._suspects.first_look(incoming, draft, unreliable_sizes=unreliable)

    def _refuse(self, item: Refused) -> None:
        self._taken += 1
        self._trouble.refused(key(item.entry))
        self._attempted.add(key(item.entry))
        self._refused[key(item.entry)] = item.error

    def _commit(self) -> None:
        """Makes the group durable; only then is it counted and shown."""
        items = self._group.take()
        try:
            filed = self._opened.commit(items)
        except BaseException:
            for item in items:
                item.draft.discard()
            raise
        for item, done in zip(items, filed, strict=True):
            self._suspects.committed(item.draft, done, self._opened)
            self._count(item, done)
        if items:
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
            unique_id, octets, "refused" if error.server_text else "breaks-connection", error.code, error.server_text
        )
        self._report.exceptions.append(
            ReportedException(
                "parked",
                "the server refused to hand it over" if error.server_text else error.message,
                unique_id=unique_id,
                maildrop=name,
                server_text=error.server_text,
            )
        )

    # ---- the end

    @property
    def _opened(self) -> Archive:
        return self._archive or self._open_archive()

    def _end(self) -> None:
        """Settles the rest, draws the sum, and logs it unless the archive itself has failed."""
        report, archive = self._report, self._opened
        if not isinstance(report.error, ArchiveError):
            for identity in list(self._refused):
                self._park(archive, identity)
        if beyond := self._ledger.close():
            report.exceptions.append(ReportedException("limit", "beyond --limit", count=beyond))
        self._report_suspects()
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
    partial = report.suspect or report.fates.get(Fate.PARKED) or report.fates.get(Fate.PENDING)
    return Outcome.PARTIAL if partial else Outcome.COMPLETE


def _check_space(archive: Archive, plan: PullPlan) -> None:
    """design.md section 6.2: nothing is retrieved that would not fit."""
    free = archive.free_octets
    if plan.space_needed > free:
        raise ArchiveFull(
            f"{archive.layout.root} needs {plan.space_needed:,} octets of free space for this pull and has {free:,}; "
            "free some, or name an archive on another disk with -a. Nothing was retrieved."
        )
