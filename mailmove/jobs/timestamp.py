"""Time stamps: an authority attests when the archive's log was what it is; later, that is proven again (RFC 3161).

Strategy: the checkpoint stands for the whole log, and the log names every message by its hash, so a token over it dates
every message. Only its hash is sent. What comes back is proven before it is kept, and again, offline, whenever somebody
asks: each token against its checkpoint, each checkpoint against the log. How an authority is reached is the caller's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mailmove.archive import Reader
from mailmove.archive.checkpoint import Checkpoint
from mailmove.archive.failures import disk_errors
from mailmove.archive.timestamps import Stamp, bears_out, keep, own_checkpoint, stamp_of, stamps
from mailmove.archive.tokens import Roots, Unproven, check_installed, read_answer, read_roots, read_token, request
from mailmove.errors import ArchiveDamaged, CertificateRefused, UsageError

Ask = Callable[[bytes], bytes]
"""Sends a request to an authority and returns its answer."""


@dataclass(frozen=True, slots=True)
class TimestampJob:
    """Stamp an archive's checkpoint, or prove what is stamped.

    `authority`: what it is called in messages. `roots`: PEM file of certificates that vouch for authorities; without
    one signatures are not proven.
    """

    archive: Path
    authority: str = ""
    roots: Path | None = None
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Stamped:
    """One time stamp. `time` as attested (RFC 3339); `signature`: whether proven; `problem`: "" if there is none."""

    records: int
    token: str
    time: str
    signature: bool
    problem: str = ""


@dataclass(slots=True)
class TimestampReport:
    """`new`: whether a token was fetched; `stamps`: what was fetched, found there, or proven."""

    job: str
    archive: str
    new: bool = False
    stamps: list[Stamped] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return 4 if any(stamp.problem for stamp in self.stamps) else 0

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        stamps = [asdict(stamp) for stamp in self.stamps]
        outcome = "failed" if self.exit_code else "complete"
        return {"job": self.job, "archive": self.archive, "outcome": outcome, "new": self.new, "stamps": stamps}


def run_timestamp(job: TimestampJob, ask: Ask) -> TimestampReport:
    """Fetches a token over log/checkpoint, unless there is one already.

    Raises ConfigurationError (extra or roots), UsageError, ArchiveError, CertificateRefused (signed by nobody trusted),
    CommandRejected (refused), ProtocolError (no token for us), and what `ask` raises. Then nothing was kept.
    """
    check_installed()
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    roots = read_roots(job.roots) if job.roots else []
    report = TimestampReport("timestamp", str(reader.layout.root))
    with disk_errors(reader.layout.root):
        checkpoint, data = own_checkpoint(reader)
        stamp = stamp_of(reader.layout, checkpoint.size)
        if not stamp.token.exists():
            keep(stamp, data, _fetched(job, data, ask, roots))
            report.new = True
        report.stamps = [_proven(stamp, roots, data)]
    if problem := report.stamps[0].problem:
        raise ArchiveDamaged(f"{stamp.token} is there already, but {problem}. Move it away and run again.")
    return report


def _fetched(job: TimestampJob, data: bytes, ask: Ask, roots: Roots) -> bytes:
    asked = request(data)
    answer = ask(asked.octets)
    token = read_answer(answer, asked, data, job.authority)
    try:
        if roots:
            token.prove_signature(data, roots)
    except Unproven as unproven:
        what = f"The time stamp of {job.authority} was not kept: by {job.roots}, {unproven}."
        raise CertificateRefused(what) from None
    return answer


def run_verify_timestamps(job: TimestampJob) -> TimestampReport:
    """Proves all that is kept, offline. Raises ConfigurationError, UsageError (nothing to prove), ArchiveError."""
    check_installed()
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    roots = read_roots(job.roots) if job.roots else []
    root = reader.layout.root
    with disk_errors(root):
        found = [_proven(stamp, roots) for stamp in stamps(reader.layout)]
        if not found:
            raise UsageError(f"{root} has no time stamp to verify; `mailmove timestamp --tsa URL` fetches one.")
        return TimestampReport("verify-timestamps", str(root), stamps=_against_the_log(reader, found))


def _proven(stamp: Stamp, roots: Roots, expected: bytes | None = None) -> Stamped:
    """A token against its checkpoint, which must be `expected` where that is given. Raises OSError."""
    records, time = int(stamp.token.stem), ""
    try:
        token = read_token(stamp.token.read_bytes())
        time = token.time.isoformat().replace("+00:00", "Z")
        data = _octets(stamp.checkpoint)
        if expected not in (None, data):
            raise Unproven(f"{stamp.checkpoint.name} beside it is another than log/checkpoint")
        token.prove(data)
        if roots:
            token.prove_signature(data, roots)
    except Unproven as unproven:
        return Stamped(records, stamp.name, time, False, str(unproven))
    return Stamped(records, stamp.name, time, bool(roots))


def _octets(checkpoint: Path) -> bytes:
    try:
        return checkpoint.read_bytes()
    except FileNotFoundError:
        raise Unproven(f"{checkpoint.name} beside it is missing") from None


def _against_the_log(reader: Reader, found: Sequence[Stamped]) -> list[Stamped]:
    """Also the checkpoints against the log, those of tokens that hold."""
    checkpoints: dict[int, Checkpoint] = {}
    for one in found:
        with contextlib.suppress(OSError, ValueError):
            checkpoints[one.records] = Checkpoint.parse(stamp_of(reader.layout, one.records).checkpoint.read_bytes())
    ours = {n: c for n, c in checkpoints.items() if (c.archive_id, c.size) == (reader.id, n)}
    borne_out = bears_out(reader, ours)
    altered = "the log does not begin with the records it is about: it was altered since"
    return [one if one.problem or borne_out.get(one.records) else replace(one, problem=altered) for one in found]
