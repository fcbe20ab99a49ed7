"""Migrate: pull, then replay of the same maildrop, as one resumable job (design.md section 8).

Strategy: two jobs that can each be cut off and run again, so that their sequence can too. The target is asked to let us
in before the pull begins: a wrong password there must not show after hours. What a pull could not finish now keeps
nobody from delivering what is here. Deleting comes last, in a session of its own: only what is at the target goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailmove.archive import is_archive
from mailmove.jobs import Context, PullJob, RelayJob, ReplayJob
from mailmove.jobs.pull import run_pull
from mailmove.jobs.replay import run_replay
from mailmove.jobs.replay_report import ReplayReport
from mailmove.jobs.report import RunReport, worst

GOES_ON = frozenset({0, 3, 75})
"""Exit codes of a pull after which what is archived is replayed."""

OUTCOMES = {0: "complete", 3: "partial", 130: "interrupted"}


@dataclass(frozen=True, slots=True)
class MigrateJob:
    """Both halves; the replay is of the pull's maildrop and archive."""

    pull: PullJob
    replay: ReplayJob | RelayJob
    name: str = "migrate"


@dataclass(slots=True)
class MigrateReport:
    """The reports of all steps; `replay` is None if the pull ended in a way that must be looked at first."""

    pull: RunReport
    replay: ReplayReport | None = None
    deletion: RunReport | None = None

    @property
    def reports(self) -> list[RunReport | ReplayReport]:
        return [report for report in (self.pull, self.replay, self.deletion) if report]

    @property
    def exit_code(self) -> int:
        return worst(report.exit_code for report in self.reports)

    @property
    def outcome(self) -> str:
        return OUTCOMES.get(self.exit_code, "failed")

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        return {"job": "migrate", "outcome": self.outcome, "jobs": [report.as_dict() for report in self.reports]}


def run_migrate(job: MigrateJob, context: Context) -> MigrateReport:
    """One run of both. Raises what `open_target` raises, and what `run_pull` and `run_replay` raise."""
    _let_in(job.replay, context)
    report = MigrateReport(run_pull(replace(job.pull, delete_after=None), context))
    if report.pull.exit_code in GOES_ON and is_archive(job.replay.archive):
        report.replay = _replay(job.replay, context)
        if job.pull.delete_after is not None and report.replay.exit_code in (0, 3) and not report.replay.missing:
            report.deletion = run_pull(deletion_job(job, report.replay.mailboxes), context)
    return report


def _let_in(job: ReplayJob | RelayJob, context: Context) -> None:
    if isinstance(job, RelayJob):
        context.open_relay(job).quit()
    else:
        context.open_target(job).quit()


def _replay(job: ReplayJob | RelayJob, context: Context) -> ReplayReport:
    if isinstance(job, ReplayJob):
        return run_replay(job, context)
    from mailmove.jobs.relay import run_relay  # which a migration to IMAP does not need

    return run_relay(job, context)


def deletion_job(job: MigrateJob, mailboxes: Sequence[str]) -> PullJob:
    """A pull that fetches nothing new and deletes what the target has: in one of these mailboxes, or, where they are
    recipients, for every one of them."""
    target = job.replay.target_name
    there: tuple[tuple[str, tuple[str, ...]], ...] = ((target, tuple(mailboxes)),)
    if isinstance(job.replay, RelayJob):
        there = tuple((target, (recipient,)) for recipient in mailboxes)
    return replace(job.pull, name="delete", delete_only=True, delivered_to=there)
