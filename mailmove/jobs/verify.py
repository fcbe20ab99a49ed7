"""Verify: is every message there, unaltered, and do log and catalogue agree? Changes nothing (design.md section 5)."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mailmove.archive import Reader
from mailmove.archive.audit import Audit, Finding
from mailmove.archive.checkpoint import Checkpoint
from mailmove.errors import UsageError
from mailmove.jobs import Context

SOUND = frozenset({"leftover"})
"""Kinds of findings that are nothing to worry about."""


@dataclass(frozen=True, slots=True)
class VerifyJob:
    """Verify an archive. `since`: a file with an earlier checkpoint of it, kept elsewhere."""

    archive: Path
    state_dir: Path | None = None
    since: Path | None = None


@dataclass(slots=True)
class VerifyReport:
    """What was proven, and every finding by name."""

    archive: str
    proven: int = 0
    octets: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return all(finding.kind in SOUND for finding in self.findings)

    @property
    def exit_code(self) -> int:
        return 0 if self.sound else 4

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        counts = Counter(finding.kind for finding in self.findings)
        kinds = ("damaged", "missing", "extra", "leftover", "log", "catalogue")
        return {
            "job": "verify",
            "archive": self.archive,
            "outcome": "complete" if self.sound else "failed",
            "proven": self.proven,
            "bytes": self.octets,
            **{kind: counts[kind] for kind in kinds},
            "seconds": round(self.seconds, 3),
            "findings": [asdict(finding) for finding in self.findings],
        }


def run_verify(job: VerifyJob, context: Context) -> VerifyReport:
    """Reads every file. Raises UsageError (no archive, no checkpoint), ArchiveTooNew, ArchiveDamaged, Interrupted."""
    started = time.monotonic()
    report = VerifyReport(str(job.archive.absolute()))
    progress = context.progress

    def proven(octets: int) -> None:
        report.proven += 1
        report.octets += octets
        progress.done(1, octets)

    reader = Reader.open(job.archive, state_dir=job.state_dir)
    since = {str(job.since): _earlier(job.since, reader.id)} if job.since else {}
    audit = Audit(reader, proven, context.check, since)
    try:
        report.findings.extend(audit.run(lambda messages, octets: progress.begin("verify", messages, octets)))
    finally:
        progress.end()
    report.seconds = time.monotonic() - started
    return report


def _earlier(path: Path, archive_id: str) -> Checkpoint:
    try:
        checkpoint = Checkpoint.parse(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is no checkpoint: {error}. `mailmove checkpoint` prints one.") from error
    if checkpoint.archive_id != archive_id:
        raise UsageError(f"{path} is a checkpoint of another archive ({checkpoint.archive_id}, not {archive_id}).")
    return checkpoint
