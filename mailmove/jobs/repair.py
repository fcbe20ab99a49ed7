"""Repair: get the octets of damaged and missing messages again (design.md section 5).

Strategy: every file is read, under the writer's lock. What is not sound is put back from a second copy of the archive
where that has it; the rest is marked as damaged, which makes it unknown to a pull, and a plain pull fetches it from the
server by its unique id. Each message ends in exactly one count: damaged + missing = from_copy + from_source +
not_repaired, and what was not repaired is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailmove.archive import Archive, Draft, GroupLimits, Reader
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.failures import disk_errors
from mailmove.archive.layout import Layout
from mailmove.archive.mending import (
    Unsound,
    copy_in,
    distrust,
    is_there,
    places_of,
    put_back,
    set_aside,
    take_back,
    tell,
    unsound,
    what_is_wrong,
    work_ahead,
)
from mailmove.errors import ArchiveDamaged, UsageError
from mailmove.jobs import Context, PullJob
from mailmove.jobs.pull import run_pull
from mailmove.jobs.repair_report import COPY, SOURCE, Item, RepairReport


@dataclass(frozen=True, slots=True)
class RepairJob:
    """Repair an archive from `copy`, the folder of a second one, or by `pull`, into the same archive, or both."""

    archive: Path
    copy: Path | None = None
    pull: PullJob | None = None
    dry_run: bool = False
    state_dir: Path | None = None
    wait: float = 0.0
    take_over: bool = False


def run_repair(job: RepairJob, context: Context) -> RepairReport:
    """Raises UsageError (no archive, no copy, a maildrop it never pulled), ArchiveError, Interrupted."""
    started = time.monotonic()
    _check(job)
    report = RepairReport(str(job.archive.absolute()), str(job.copy or ""), job.pull.source if job.pull else "")
    report.dry_run = job.dry_run
    try:
        (_plan if job.dry_run else _repair)(job, context, report)
    finally:
        context.progress.end()
    report.seconds = time.monotonic() - started
    return report


def _check(job: RepairJob) -> None:
    if job.copy is None and job.pull is None:
        raise UsageError("Say where sound copies are: --from DIR (a second copy of the archive), or SOURCE, or both.")
    if job.copy is None:
        return
    if not (job.copy / "mail").is_dir():
        raise UsageError(f"{job.copy} is no copy of an archive: it has no folder mail/.")
    if (job.archive / "mail").is_dir() and (job.copy / "mail").samefile(job.archive / "mail"):
        raise UsageError(f"{job.copy} is the archive itself; --from needs a second copy of it.")


def _check_maildrop(job: RepairJob, catalogue: Catalogue) -> None:
    """A maildrop that was never pulled has nothing to give back, and a pull would fetch all of it."""
    names = catalogue.maildrop_names()
    if job.pull is not None and str(job.pull.maildrop) not in names:
        known = ", ".join(names) or "none"
        raise UsageError(f"Nothing in this archive is from {job.pull.maildrop} (it has {known}); see --maildrop.")


def _scan(
    layout: Layout, catalogue: Catalogue, context: Context, report: RepairReport, found: Callable[[Unsound], None]
) -> None:
    """Reads every file."""
    context.progress.begin("repair", *work_ahead(catalogue))

    def looked_at(octets: int) -> None:
        report.checked += 1
        report.octets += octets
        context.progress.done(1, octets)
        context.check()

    for one in unsound(layout, catalogue, looked_at):
        found(one)


# ---- only looking


def _plan(job: RepairJob, context: Context, report: RepairReport) -> None:
    """Takes no lock and changes nothing. Raises ArchiveDamaged if there is no catalogue to go by."""
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    with reader.catalogue() as catalogue:
        if catalogue is None:
            raise ArchiveDamaged(f"{reader.layout.database} is missing. Run `mailmove rebuild` first.")
        _check_maildrop(job, catalogue)
        _scan(reader.layout, catalogue, context, report, lambda one: report.items.append(Item(one)))
        for item in report.items:
            if job.copy is not None and is_there(job.copy, item.wanted.digest):
                item.repaired_from = COPY
            elif _may_be_there(job, catalogue, item):
                item.repaired_from = SOURCE


def _may_be_there(job: RepairJob, catalogue: Catalogue, item: Item) -> bool:
    """Whether the source may still have the message; if not, the item says so."""
    item.reason = f"{job.copy} does not have it, or not sound" if job.copy else ""
    if job.pull is None:
        return False
    name = str(job.pull.maildrop)
    if name in places_of(catalogue, item.wanted.digest):
        item.reason = ""
        return True
    item.reason = "; ".join(filter(None, (item.reason, f"it did not come from {name}, or was deleted there")))
    return False


# ---- doing it


def _repair(job: RepairJob, context: Context, report: RepairReport) -> None:
    to_fetch: list[Item] = []
    with _open(job, context) as archive:
        with disk_errors(archive.layout.root):
            _check_maildrop(job, archive.catalogue)
            _scan(archive.layout, archive.catalogue, context, report, lambda one: report.items.append(Item(one)))
            if not report.items:
                return
        archive.begin_run("repair", "")
        if job.copy is not None:
            _from_copy(archive, job.copy, report.items, context)
        with disk_errors(archive.layout.root):
            rest = [item for item in report.items if not item.repaired_from]
            to_fetch = [item for item in rest if _may_be_there(job, archive.catalogue, item)]
        _end_run(archive, report)
        distrust(archive, [item.wanted.digest for item in rest])
    if to_fetch and job.pull is not None:
        _from_source(job, job.pull, to_fetch, context, report)


def _open(job: RepairJob, context: Context) -> Archive:
    return Archive.open(
        job.archive, state_dir=job.state_dir, wait=job.wait, take_over=job.take_over, clock=context.clock
    )


def _end_run(archive: Archive, report: RepairReport) -> None:
    counts = {"from_copy": report.count(COPY), "from_source": report.count(SOURCE), "not_repaired": report.count("")}
    archive.end_run("partial" if counts["not_repaired"] else "complete", counts)


def _from_copy(archive: Archive, copy: Path, items: Sequence[Item], context: Context) -> None:
    """Group by group, so that what is done is done."""
    limits, group, octets = GroupLimits(), [], 0
    for item in items:
        context.check()
        draft = copy_in(archive, copy, item.wanted)
        if draft is None:
            continue
        group.append((item, draft))
        octets += draft.octets
        if len(group) >= limits.messages or octets >= limits.octets:
            _settle(archive, group, context)
            group, octets = [], 0
    _settle(archive, group, context)


def _settle(archive: Archive, group: Sequence[tuple[Item, Draft]], context: Context) -> None:
    if not group:
        return
    kept = put_back(archive, [(item.wanted, draft) for item, draft in group], context.clock())
    for item, _ in group:
        item.repaired_from, item.quarantined = COPY, kept[item.wanted.digest]


def _from_source(job: RepairJob, pull: PullJob, items: Sequence[Item], context: Context, report: RepairReport) -> None:
    """The pull opens the archive itself and writes over the damaged files, which are set aside for that time."""
    layout = Reader.open(job.archive, state_dir=job.state_dir).layout
    with disk_errors(layout.root):
        for item in items:
            item.quarantined = set_aside(layout, item.wanted.digest, context.clock())
    try:
        report.pull = run_pull(pull, context)
    finally:
        with disk_errors(layout.root):
            healed = _look_again(layout, items)
    if healed:
        with _open(job, context) as archive:
            archive.begin_run("repair", "")
            kept = {item.wanted.digest: item.quarantined for item in healed}
            tell(archive, "source", [item.wanted for item in healed], kept)
            _end_run(archive, report)


def _look_again(layout: Layout, items: Sequence[Item]) -> list[Item]:
    """Which of them the pull has healed; what was set aside of the others is where it was."""
    for item in items:
        if what_is_wrong(layout, item.wanted.digest) is None:
            item.repaired_from = SOURCE
        else:
            take_back(layout, item.wanted.digest, item.quarantined)
            item.quarantined, item.reason = "", "the server did not give it again"
    return [item for item in items if item.repaired_from]
