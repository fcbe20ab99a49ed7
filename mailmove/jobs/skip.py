"""Skip: a person settles a message that is parked, suspect or uncertain (design.md section 8).

Strategy: the id must mean exactly one thing. The decision is a log record with its reason; a parked message is counted
`skipped` from then on, a suspect is kept and not listed as suspect any more. With a target it is a delivery that is
settled, else the pull.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailmove.archive import Archive
from mailmove.archive.records import Record, event
from mailmove.archive.summary import Row, deliveries_with, parked_with, suspects_with
from mailmove.errors import UsageError
from mailmove.jobs import Context

SHORTEST_DIGEST = 8


@dataclass(frozen=True, slots=True)
class SkipJob:
    """Settle `identity`: a unique id, or at least 8 digits of a digest. `target`: its name, as `status` shows it."""

    archive: Path
    identity: str
    reason: str
    maildrop: str = ""
    target: str = ""
    mailbox: str = ""
    state_dir: Path | None = None
    wait: float = 0.0


def run_skip(job: SkipJob, context: Context) -> Row:
    """Logs the decision; returns what was settled: kind, maildrop or target, ids. Raises UsageError, ArchiveError."""
    with Archive.open(job.archive, state_dir=job.state_dir, wait=job.wait, clock=context.clock) as archive:
        found = _the_delivery(job, archive) if job.target else _the_one(job, _candidates(job, archive))
        archive.append(_record(job, found, context))
    return found


def _record(job: SkipJob, found: Row, context: Context) -> Record:
    if job.target:
        fields = {"target": found["target"], "mailbox": found["mailbox"], "digest": found["digest"]}
    else:
        fields = {name: found[name] for name in ("maildrop", "unique_id", "listed")}
        fields["digest"] = found["digest"] or None
    return event("skip", context.clock(), "", **fields, reason=job.reason)


def _the_delivery(job: SkipJob, archive: Archive) -> Row:
    if len(job.identity) < SHORTEST_DIGEST:
        raise UsageError(f"{job.identity!r} is too short; give at least {SHORTEST_DIGEST} digits of the digest.")
    found = deliveries_with(archive.catalogue, job.target, job.identity)
    found = [row for row in found if job.mailbox in ("", row["mailbox"])]
    if not found:
        raise UsageError(
            f"Nothing parked or uncertain at {job.target} has the digest {job.identity!r}; "
            "`mailmove status` lists what waits for a decision."
        )
    if len({row["mailbox"] for row in found}) > 1:
        raise UsageError(f"Several mailboxes there have {job.identity!r}; say which with --mailbox NAME.")
    if len({row["digest"] for row in found}) > 1:
        raise UsageError(f"{job.identity!r} fits several messages; give more digits.")
    return found[0]


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
