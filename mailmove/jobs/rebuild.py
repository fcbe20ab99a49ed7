"""Rebuild: archive.db made anew from mail/ and log/ (design.md section 5, P10).

Strategy: the archive does it, under its lock; here are the progress, the stop and the report. A message whose file is
damaged or missing is no reason to stop: it is named, as `verify` would. Nor is a log that is shorter than it was, which
somebody may have to accept; but it is said, since log/checkpoint forgets it when the next run ends.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from mailmove.archive import Archive, Reader
from mailmove.archive.checkpoint import Checkpoint, read_checkpoint
from mailmove.archive.failures import disk_errors
from mailmove.archive.log import Log
from mailmove.archive.rebuilding import work_ahead
from mailmove.archive.summary import summarise
from mailmove.jobs import Context


@dataclass(frozen=True, slots=True)
class RebuildJob:
    """Make archive.db anew. `wait`: seconds, for an archive that is in use."""

    archive: Path
    state_dir: Path | None = None
    wait: float = 0.0


@dataclass(slots=True)
class RebuildReport:
    """What the new archive.db holds; `kept` is where the old one is ("": there was none).

    `damaged`: digests of messages without a sound file. `voided`: messages of a run that never came to its end whose
    files did not become durable; they were never reported as stored. `lost`: how many records the log has less than
    its own checkpoint says.
    """

    archive: str
    records: int = 0
    messages: int = 0
    octets: int = 0
    seconds: float = 0.0
    kept: str = ""
    voided: int = 0
    lost: int = 0
    damaged: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return 4 if self.damaged or self.lost else 0

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        return {
            "job": "rebuild",
            "archive": self.archive,
            "outcome": "failed" if self.exit_code else "complete",
            "records": self.records,
            "messages": self.messages,
            "octets": self.octets,
            "damaged": len(self.damaged),
            "voided": self.voided,
            "lost": self.lost,
            "seconds": round(self.seconds, 3),
            "kept": self.kept,
            "exceptions": [{"kind": "damaged", "digest": digest} for digest in self.damaged],
        }


def run_rebuild(job: RebuildJob, context: Context) -> RebuildReport:
    """Raises UsageError (no archive), ArchiveBusy, ArchiveFull, Interrupted, and ArchiveDamaged, which names the line
    of the log that cannot be understood; then archive.db is what it was."""
    started = time.monotonic()
    report = RebuildReport(str(job.archive.absolute()))
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    with disk_errors(reader.layout.root):
        ahead = work_ahead(reader.log)

    def taken(messages: int, octets: int) -> None:
        context.check()
        context.progress.done(messages, octets)

    context.progress.begin("rebuild", *ahead)
    try:
        with Archive.open(
            job.archive, state_dir=job.state_dir, wait=job.wait, clock=context.clock, anew=taken
        ) as archive:
            _tell(report, archive)
    finally:
        context.progress.end()
    report.seconds = time.monotonic() - started
    return report


def _tell(report: RebuildReport, archive: Archive) -> None:
    with disk_errors(archive.layout.root):
        report.records = archive.catalogue.position.records
        held = summarise(archive.catalogue, Log(archive.layout.log))
        report.messages, report.octets = held.messages, held.octets
        report.damaged = list(archive.catalogue.damaged())
        report.lost = max(0, _records_before(archive) - report.records)
    if archive.rebuilt is not None:
        report.kept = str(archive.rebuilt.kept or "")
        report.voided = len(archive.rebuilt.recovered.voided)


def _records_before(archive: Archive) -> int:
    """How many records the log had when a run last ended, as far as its checkpoint can be read."""
    with contextlib.suppress(ValueError):
        return Checkpoint.parse(read_checkpoint(archive.layout.log) or b"").size
    return 0
