"""`mailmove verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailmove.cli.options import ArchiveOption, Json, ProgressStyle, Quiet, StateDir, find_archive
from mailmove.cli.outcome import errors_told, leave, print_json

EPILOG = "Example: mailmove verify -a ~/mail.mailmove"


def verify(
    archive: ArchiveOption = None,
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

    Exit codes: 0 all sound, 4 something is damaged, missing or extra (each is named), 130 interrupted, 2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli import progress as drawing
        from mailmove.cli.render import verify_report
        from mailmove.cli.stop import Stop
        from mailmove.jobs import Context
        from mailmove.jobs.verify import VerifyJob, run_verify

        drawn, stop = drawing.choose(progress, quiet=quiet), Stop()
        context = Context(progress=drawn, ok=stop.ok)
        report = run_verify(VerifyJob(find_archive(archive), state_dir, since), context)
        if as_json:
            print_json(report.as_dict())
        elif not (quiet and report.exit_code == 0):
            print(verify_report(report))
        leave(report.exit_code)
