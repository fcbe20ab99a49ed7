"""Verify: is every message there, unaltered, and do log and catalogue agree? Changes nothing (design.md section 5).

Strategy: the checks are the archive's (archive/audit.py); here is how much of it this time, and what is told. Which
folder of mail/ was proven when is noted beside archive.db as soon as may be, since the run can be killed at any moment.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from mailmove.archive import Reader
from mailmove.archive.audit import Audit, Finding
from mailmove.archive.checkpoint import Checkpoint
from mailmove.archive.proofs import NAME, SHARDS, Proofs, Scope
from mailmove.errors import UsageError
from mailmove.jobs import Context

SAVE_EVERY = 30.0
"""Seconds."""

KINDS = ("damaged", "missing", "extra", "leftover", "note", "log", "catalogue")


@dataclass(frozen=True, slots=True)
class VerifyJob:
    """Verify an archive. `since`: a file with an earlier checkpoint of it, kept elsewhere.

    `part`: (n, t), the n-th of t equal parts of mail/. `due`: only what was last proven more than so many seconds ago.
    `max_duration`: seconds after which no further folder is begun. With one of the last two the longest unproven come
    first. Log and catalogue are checked whatever is asked.
    """

    archive: Path
    state_dir: Path | None = None
    since: Path | None = None
    part: tuple[int, int] = (1, 1)
    max_duration: float | None = None
    due: float | None = None

    def __post_init__(self) -> None:
        """Raises UsageError."""
        n, t = self.part
        if not 1 <= n <= t <= SHARDS:
            raise UsageError(f"--part {n}/{t} is none: of N/T, N is from 1 to T, and T at most {SHARDS:,}.")


@dataclass(slots=True)
class VerifyReport:
    """What was proven, and every finding by name.

    `looked_at`: how many of the `shards`, the folders of mail/ that hold something; `left`: how many more were asked
    for and not reached in time. `messages`, `all_octets`: what the log says is in all of them.
    """

    archive: str
    proven: int = 0
    octets: int = 0
    messages: int = 0
    all_octets: int = 0
    looked_at: int = 0
    shards: int = 0
    left: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return all(finding.sound for finding in self.findings)

    @property
    def whole(self) -> bool:
        """Whether all of mail/ was looked at, not a part of it."""
        return self.looked_at == self.shards

    @property
    def exit_code(self) -> int:
        return 0 if self.sound else 4

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object. `folders_left`: asked for, and not reached in time."""
        counts = Counter(finding.kind for finding in self.findings)
        return {
            "job": "verify",
            "archive": self.archive,
            "outcome": "complete" if self.sound else "failed",
            "whole": self.whole,
            "proven": self.proven,
            "bytes": self.octets,
            "of_messages": self.messages,
            "of_bytes": self.all_octets,
            "folders": self.looked_at,
            "of_folders": self.shards,
            "folders_left": self.left,
            **{kind: counts[kind] for kind in KINDS},
            "seconds": round(self.seconds, 3),
            "findings": [asdict(finding) for finding in self.findings],
        }


def run_verify(job: VerifyJob, context: Context) -> VerifyReport:
    """Reads every file, or those asked for.

    Raises UsageError (no archive, no checkpoint), ArchiveTooNew, ArchiveDamaged, ArchiveError, Interrupted.
    """
    started = time.monotonic()
    report = VerifyReport(str(job.archive.absolute()))
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    since = {str(job.since): _earlier(job.since, reader.id)} if job.since else {}
    notes = _Notes(reader, context)

    def proven(octets: int) -> None:
        report.proven += 1
        report.octets += octets
        context.progress.done(1, octets)
        notes.save_sometimes()

    def enough() -> bool:
        return job.max_duration is not None and time.monotonic() - started >= job.max_duration

    scope = _scope(job, context)
    audit = Audit(reader, proven, context.check, since, scope, notes.proofs, enough, context.clock)
    try:
        report.findings.extend(audit.run(lambda messages, octets: context.progress.begin("verify", messages, octets)))
    finally:
        context.progress.end()
        notes.save()
    report.looked_at, report.shards, report.left = audit.looked_at, audit.shards, len(audit.left)
    report.messages, report.all_octets = audit.messages, audit.octets
    report.seconds = time.monotonic() - started
    return report


def _scope(job: VerifyJob, context: Context) -> Scope:
    before = None if job.due is None else context.clock() - timedelta(seconds=job.due)
    return Scope(job.part, before, oldest_first=job.due is not None or job.max_duration is not None)


class _Notes:
    """What was proven when, written down now and then. That it cannot be is told, and no reason to fail."""

    def __init__(self, reader: Reader, context: Context) -> None:
        self.proofs = Proofs.read(reader.layout.state, reader.id)
        self._state = reader.layout.state
        self._context = context
        self._saved = time.monotonic()
        self._failed = False

    def save_sometimes(self) -> None:
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        try:
            self.proofs.save(self._state)
        except OSError as error:
            if not self._failed:
                why = f"{self._state / NAME} cannot be written ({error.strerror})"
                self._context.progress.note(f"{why}: a later --due does not know what was proven now.")
            self._failed = True


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
