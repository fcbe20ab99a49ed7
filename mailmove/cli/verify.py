"""`mailmove verify`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from mailmove.cli.options import ArchiveOption, Json, ProgressStyle, Quiet, StateDir, find_archive
from mailmove.cli.outcome import errors_told, leave, print_json

EPILOG = "Every night: mailmove verify -a ~/mail.mailmove --due 30d --max-duration 10m -q"
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_PART = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")


def verify(
    archive: ArchiveOption = None,
    part: Annotated[
        str, typer.Option(metavar="N/T", help="Only the N-th of T equal parts of mail/, like 1/7.", show_default=False)
    ] = "1/1",
    due: Annotated[
        str, typer.Option(metavar="30d|12h", help="Only what was last proven longer ago than this, the oldest first.")
    ] = "",
    max_duration: Annotated[
        str,
        typer.Option(metavar="SECONDS|10m|2h", help="End after so long; what was unproven for longest comes first."),
    ] = "",
    since: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prove that the log extends this earlier checkpoint, kept elsewhere."),
    ] = None,
    state_dir: StateDir = None,
    quiet: Quiet = False,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Read every message and hold it against its name, the log and the catalogue. Changes nothing.

    Log and catalogue are checked whatever part of the messages is. When each folder was last proven is noted in
    verify.json beside archive.db.

    Exit codes: 0 all that was looked at is sound, 4 something is damaged, missing or extra (each is named),
    75 the disk failed or is full, 130 interrupted, 2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli import progress as drawing
        from mailmove.cli.render import verify_report
        from mailmove.cli.stop import Stop
        from mailmove.jobs import Context
        from mailmove.jobs.verify import VerifyJob, run_verify

        drawn, stop = drawing.choose(progress, quiet=quiet), Stop()
        context = Context(progress=drawn, ok=stop.ok)
        job = VerifyJob(
            find_archive(archive),
            state_dir,
            since,
            part=_part(part),
            max_duration=_seconds("--max-duration", max_duration),
            due=_seconds("--due", due),
        )
        report = run_verify(job, context)
        if as_json:
            print_json(report.as_dict())
        elif not (quiet and report.exit_code == 0):
            print(verify_report(report))
        leave(report.exit_code)


def _part(text: str) -> tuple[int, int]:
    from mailmove.errors import UsageError

    found = _PART.fullmatch(text)
    if found is None:
        raise UsageError(f"--part {text!r} is none; give N/T, like 1/7.")
    return int(found[1]), int(found[2])


def _seconds(option: str, text: str) -> float | None:
    from mailmove.errors import UsageError

    if not text:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f"{option} {text!r} is no duration; give seconds, or a number with m, h or d, like 10m.")
    return float(int(found[1]) * UNITS[found[2]])
