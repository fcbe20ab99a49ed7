"""Skip: a person settles a message that is parked or suspect (design.md section 8).

Strategy: the id must mean exactly one thing. The decision is a log record with its reason; a parked message is counted
`skipped` from then on, a suspect is kept and not listed as suspect any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailmove.archive import Archive
from mailmove.archive.records import event
from mailmove.archive.summary import Row, parked_with, suspects_with
from mailmove.errors import UsageError
from mailmove.jobs import Context

SHORTEST_DIGEST = 8


@dataclass(frozen=True, slots=True)
class SkipJob:
    """Settle `identity`: a unique id, or at least 8 digits of a digest."""

    archive: Path
    identity: str
    reason: str
    maildrop: str = ""
    state_dir: Path | None = None
    wait: float = 0.0


def run_skip(job: SkipJob, context: Context) -> Row:
    """Logs the decision; returns what was settled: kind, maildrop, ids. Raises UsageError, ArchiveError."""
    with Archive.open(job.archive, state_dir=job.state_dir, wait=job.wait, clock=context.clock) as archive:
        found = _the_one(job, _candidates(job, archive))
        record = event(
            "skip",
            context.clock(),
            "",
            maildrop=found["maildrop"],
            unique_id=found["unique_id"],
            listed=found["listed"],
            digest=found["digest"] or None,
            reason=job.reason,
        )
        archive.append(record)
    return found


def _candidates(job: SkipJob, archive: Archive) -> list[Row]:
    parked = [row | {"kind": "parked", "digest": ""} for row in parked_with(archive.catalogue, job.identity)]
    suspects = [row | {"kind": "suspect"} for row in suspects_with(archive.catalogue, job.identity)]
    return [row for row in (*parked, *suspects) if job.maildrop in ("", row["maildrop"])]


def _the_one(job: SkipJob, found: list[Row]) -> Row:
    if not found:
        raise UsageError(
            f"Nothing parked or suspect has the id {job.identity!r}; `mailmove status` lists what waits for a decision."
        )
    maildrops = sorted({row["maildrop"] for row in found})
    if len(maildrops) > 1:
        raise UsageError(f"Several maildrops have {job.identity!r}: {', '.join(maildrops)}; say which with --maildrop.")
    if len({(row["kind"], row["unique_id"], row["digest"]) for row in found}) > 1:
        raise UsageError(f"{job.identity!r} fits several messages; give more digits, or the whole unique id.")
    return found[0]
