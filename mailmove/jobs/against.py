"""`verify --against`: is what was delivered to a mailbox still there, once and unaltered? (design.md sections 7 and 8)

Strategy: the mailbox is listed beside our receipts (archive/against.py); what a UID leads to is judged by size and
header section, or by all octets if the look is deep; what no UID leads to is looked for by its octets. Nothing is
changed at the target, and nothing in the archive but what a later replay must know: UIDs that are new, and messages
that were found altered where they lie. Only for that is the archive's lock taken, once all has been seen.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from mailmove.archive import Archive, Reader
from mailmove.archive.against import Comparison, Ours, Theirs
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.deliveries import Deliveries
from mailmove.archive.merging_query import Versions
from mailmove.errors import ArchiveDamaged, ConfigurationError, MailmoveError, UsageError
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.against_locate import Search, list_mailbox, renewal, second_copies
from mailmove.jobs.against_look import Look
from mailmove.jobs.against_report import AgainstReport
from mailmove.jobs.against_rest import name_undelivered
from mailmove.jobs.against_verdict import Kind, Verdict, judge_date
from mailmove.jobs.journal import Journal
from mailmove.jobs.outgoing import clamped
from mailmove.jobs.replay_dry_run import check_maildrops
from mailmove.jobs.replay_query import check_query, narrow_down
from mailmove.jobs.retry import Attempts
from mailmove.model import ReportedException
from mailmove.targets import Receipt, Target

BATCH = 500
"""Records written at once."""

SHOWN = 5
"""Names of mailboxes in a message."""

GOOD = (Kind.THERE, Kind.REWRITTEN)


@dataclass(frozen=True, slots=True)
class AgainstJob:
    """Hold what a replay has delivered against a mailbox, named as the log names it.

    `replay` says which: archive, target, maildrops, query, and how to get there; it is never run, and must be a dry
    run, so that it writes nothing either. `deep`: all octets are compared. `table`: a CSV file of the exceptions.
    """

    replay: ReplayJob
    mailbox: str = "INBOX"
    deep: bool = False
    table: Path | None = None


def run_against(job: AgainstJob, context: Context) -> AgainstReport:
    """One comparison.

    A failure after the archive was opened is in the report's `error`; before that it is raised: UsageError,
    ConfigurationError (no place for the table), ArchiveDamaged, ArchiveTooNew, ArchiveOutdated. The table is written
    once all has been compared, so that a run that could not do that does not take the place of one that could.
    """
    check_query(job.replay)
    if not job.mailbox or not job.mailbox.isprintable():
        raise UsageError("The mailbox name is empty, or holds a line break or another control character.")
    _check_table(job.table)
    reader = Reader.open(job.replay.archive, state_dir=job.replay.state_dir)
    with reader.catalogue() as catalogue:
        if catalogue is None:
            raise UsageError(f"{job.replay.archive} has no archive.db; `mailmove rebuild` makes it.")
        check_maildrops(job.replay, catalogue)
        against = Against(job, context, reader, catalogue)
        _check_mailbox(job, against.deliveries)
        narrow_down(job.replay, context, against.deliveries)
        report = against.run()
    if job.table and against.compared:
        _write_table(job.table, report)
    return report


def _check_mailbox(job: AgainstJob, deliveries: Deliveries) -> None:
    """Raises UsageError for a mailbox that nothing was delivered to, if there are others: "all there" would mislead."""
    known = deliveries.mailboxes()
    if known and job.mailbox not in known:
        shown = ", ".join(map(repr, known[:SHOWN])) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
        raise UsageError(
            f"Nothing was delivered to {job.mailbox!r} of {deliveries.target}; what was went to {shown}: say which "
            "with --mailbox."
        )


class Against:
    """One comparison, and what it remembers over its sessions; a session that breaks is begun again."""

    def __init__(self, job: AgainstJob, context: Context, reader: Reader, catalogue: Catalogue) -> None:
        self._job, self._context, self._layout = job, context, reader.layout
        self._catalogue = catalogue
        self.deliveries = Deliveries(catalogue, job.replay.target_name, job.mailbox)
        self._held = Comparison(catalogue, job.replay.target_name, job.mailbox)
        self._attempts = Attempts()
        self._sessions = 0
        self.compared = False
        self._merges = False
        self._largest: int | None = None
        self._forget()

    def _forget(self) -> None:
        job, replay = self._job, self._job.replay
        archive = str(replay.archive.absolute())
        self._report = AgainstReport("verify", "", archive, replay.target_name, job.mailbox, deep=job.deep)
        self._uidvalidity = 0
        self._renewals: list[tuple[Ours, int]] = []
        self._marks: defaultdict[bool, list[tuple[Ours, int]]] = defaultdict(list)

    def run(self) -> AgainstReport:
        """Until all has been compared, or something stops it."""
        started = time.monotonic()
        try:
            self._attempts.run(self._session, self._context.sleep, self._context.progress.note)
            self.compared = True
            self._rest()
            self._conclude(self._damage())
            self._note_down()
        except MailmoveError as error:
            self._conclude(error)
        finally:
            self._context.progress.end()
        report = self._report
        report.seconds, report.retries = time.monotonic() - started, self._attempts.retries
        return report

    def _conclude(self, error: MailmoveError | None) -> None:
        self._report.error, self._report.sessions = error, self._sessions
        self._report.conclude()

    # ---- one session

    def _session(self) -> None:
        self._forget()
        target = self._context.open_target(self._job.replay)
        self._attempts.reached = True
        self._sessions += 1
        try:
            self._compare(target)
        except BaseException:
            target.close()
            raise
        target.quit()

    def _compare(self, target: Target) -> None:
        there = target.status(self._job.mailbox) is not None
        if there:
            state = target.select(self._job.mailbox, read_only=True)
            self._uidvalidity, self._report.at_target = state.uidvalidity, state.messages
        self._held.begin(self._uidvalidity)
        replay = self._job.replay
        if replay.maildrops or replay.query is not None:
            self._held.leave_out_unless(lambda digest: self.deliveries.selects(digest, replay.maildrops))
        self._merges = there and target.merges_message_ids
        self._largest = target.append_limit() if self._merges else None
        self._report.delivered, octets = self._held.totals()
        self._context.progress.end()
        self._context.progress.begin("verify", self._report.delivered, octets)
        if there:
            list_mailbox(self._held, target, self._context)
            look = Look(self._held, target, self._layout, self._context, deep=self._job.deep)
            for ours, theirs, verdict in look.run():
                self._settle(ours, theirs, verdict)
            self._search(target)
            self._name_copies(target)
        else:
            self._report.mailbox_missing = True
            self._all_missing()

    def _search(self, target: Target) -> None:
        for found in Search(self._held, target, self._layout, self._context).run():
            if found.theirs is not None:
                self._settle(found.ours, found.theirs, found.verdict)
                self._renewals.append((found.ours, found.theirs.uid))
            elif found.verdict.kind is Kind.MISSING:
                self._count(found.ours, Verdict(Kind.MISSING, self._why_missing(found.ours)))
            else:
                self._count(found.ours, found.verdict)

    def _why_missing(self, ours: Ours) -> str:
        if ours.uid and ours.uidvalidity == self._uidvalidity:
            return f"it was deleted or moved at the target (UID {ours.uid} is not there any more)"
        if ours.uid:
            return "it was delivered before the mailbox was made anew, and is not in it now"
        return "it is not there (where it was, the server did not say)"

    def _all_missing(self) -> None:
        for page in self._held.unplaced():
            for ours in page:
                self._count(ours, Verdict(Kind.MISSING, f"the mailbox {self._job.mailbox!r} does not exist"))

    def _name_copies(self, target: Target) -> None:
        """Of a message that a run beside us has just delivered there is a receipt by now."""
        for uid, digest in second_copies(self._held, target, self._layout, self._context):
            if not self.deliveries.has_receipt(self._uidvalidity, uid):
                self._report.extra += 1
                reason = f"it is there once more (UID {uid}), and we did not deliver that; delete what you do not want"
                self._report.exceptions.append(ReportedException("extra", reason, digest=digest))

    def _rest(self) -> None:
        replay = self._job.replay
        self.deliveries.select(replay.maildrops, keep_duplicates=False)
        versions = Versions(self._catalogue, replay.target_name, self._largest) if self._merges else None
        name_undelivered(self._report, self.deliveries, self._held, versions)

    # ---- what is told

    def _settle(self, ours: Ours, theirs: Theirs, verdict: Verdict) -> None:
        """A verdict on what lies at a known place."""
        self._count(ours, verdict)
        if verdict.kind is Kind.ALTERED and not ours.altered:
            self._marks[True].append((ours, theirs.uid))
        elif verdict.kind in GOOD and ours.altered:
            self._marks[False].append((ours, theirs.uid))
        if verdict.kind in GOOD and (why := self._other_date(ours, theirs)):
            self._report.other_date += 1
            self._report.exceptions.append(ReportedException("other_date", why, digest=ours.digest))

    def _other_date(self, ours: Ours, theirs: Theirs) -> str:
        """Not of what came there otherwise: nobody gave it our date."""
        if ours.how == "present" or not (ours.sent or ours.date):
            return ""
        sent = ours.sent.time if ours.sent else clamped(ours.date or ours.time, ours.time)
        return judge_date(sent, ours.date or sent, ours.time, theirs.date)

    def _count(self, ours: Ours, verdict: Verdict) -> None:
        report = self._report
        report.kinds[verdict.kind] += 1
        report.octets += ours.octets
        self._context.progress.done(1, ours.octets)
        if verdict.reason:
            report.exceptions.append(ReportedException(verdict.kind.value, verdict.reason, digest=ours.digest))

    def _damage(self) -> ArchiveDamaged | None:
        if damaged := self._report.kinds[Kind.UNPROVEN]:
            return ArchiveDamaged(
                f"{damaged:,} of the archive's messages are damaged, so nobody can tell whether they are at the "
                "target; `mailmove verify` names them."
            )
        return None

    # ---- what a later replay must know

    def _note_down(self) -> None:
        """Renews UIDs, and marks what is altered. Raises ArchiveBusy and what else opening for writing may."""
        if not self._renewals and not any(self._marks.values()):
            return
        job, report = self._job.replay, self._report
        with Archive.open(
            job.archive, state_dir=job.state_dir, wait=job.wait, take_over=job.take_over, clock=self._context.clock
        ) as archive:
            report.run = archive.begin_run("verify", ", ".join(job.maildrops), job.target_name)
            journal = Journal(archive, job.target_name, self._job.mailbox)
            self._renew(journal)
            altered, sound = ([(ours.digest, uid) for ours, uid in self._marks[mark]] for mark in (True, False))
            journal.verified(self._uidvalidity, report.counts(), altered, sound, deep=self._job.deep)
            archive.end_run(report.outcome.value, report.counts())

    def _renew(self, journal: Journal) -> None:
        """A receipt that another run has withdrawn or renewed meanwhile stays as that run left it."""
        valid = [
            (ours, Receipt(self._uidvalidity, uid))
            for ours, uid in self._renewals
            if journal.deliveries.holds(ours.receipt) and not journal.deliveries.has_receipt(self._uidvalidity, uid)
        ]
        for start in range(0, len(valid), BATCH):
            journal.write([renewal(journal, *pair) for pair in valid[start : start + BATCH]])
        self._report.renewed = len(valid)


def _check_table(table: Path | None) -> None:
    if table and (table.is_dir() or not table.absolute().parent.is_dir()):
        raise ConfigurationError(f"{table} cannot be written: it is a folder, or its folder is not there.")


def _write_table(table: Path, report: AgainstReport) -> None:
    try:
        table.write_text(report.as_csv(), encoding="utf-8", newline="")
    except OSError as error:
        report.error = report.error or ConfigurationError(f"{table} cannot be written: {error.strerror}.")
        report.conclude()
