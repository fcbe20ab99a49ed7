"""The one entry point a job has (design.md section 12): plain data in, a report out, whatever runs it."""

from __future__ import annotations

from functools import singledispatch
from typing import Protocol

from mailmove.jobs import Context, PullJob, RelayJob, ReplayJob
from mailmove.jobs.against import AgainstJob, run_against
from mailmove.jobs.against_report import AgainstReport
from mailmove.jobs.index import IndexJob, IndexReport, run_index
from mailmove.jobs.migrate import MigrateJob, MigrateReport, run_migrate
from mailmove.jobs.pull import run_pull
from mailmove.jobs.rebuild import RebuildJob, RebuildReport, run_rebuild
from mailmove.jobs.relay import run_relay
from mailmove.jobs.relay_report import RelayReport
from mailmove.jobs.repair import RepairJob, run_repair
from mailmove.jobs.repair_report import RepairReport
from mailmove.jobs.replay import run_replay
from mailmove.jobs.replay_report import ReplayReport
from mailmove.jobs.report import RunReport
from mailmove.jobs.verify import VerifyJob, VerifyReport, run_verify

Job = PullJob | ReplayJob | RelayJob | MigrateJob | VerifyJob | AgainstJob | RebuildJob | RepairJob | IndexJob


class Report(Protocol):
    """What every job tells afterwards."""

    @property
    def exit_code(self) -> int:
        """As the shell gets it (design.md section 8)."""

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""


@singledispatch
def run_job(job: Job, context: Context) -> Report:
    """Runs any job once. Raises UsageError, ArchiveError and whatever the job's own function says."""
    raise TypeError(f"not a job: {job!r}")


@run_job.register
def _(job: PullJob, context: Context) -> RunReport:
    return run_pull(job, context)


@run_job.register
def _(job: ReplayJob, context: Context) -> ReplayReport:
    return run_replay(job, context)


@run_job.register
def _(job: RelayJob, context: Context) -> RelayReport:
    return run_relay(job, context)


@run_job.register
def _(job: MigrateJob, context: Context) -> MigrateReport:
    return run_migrate(job, context)


@run_job.register
def _(job: VerifyJob, context: Context) -> VerifyReport:
    return run_verify(job, context)


@run_job.register
def _(job: AgainstJob, context: Context) -> AgainstReport:
    return run_against(job, context)


@run_job.register
def _(job: RebuildJob, context: Context) -> RebuildReport:
    return run_rebuild(job, context)


@run_job.register
def _(job: RepairJob, context: Context) -> RepairReport:
    return run_repair(job, context)


@run_job.register
def _(job: IndexJob, context: Context) -> IndexReport:
    return run_index(job, context)
