"""`mailmove timestamp`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.cli.options import ArchiveOption, Json, Quiet, StateDir, Timeout, find_archive
from mailmove.cli.outcome import errors_told, leave, print_json, printable

if TYPE_CHECKING:
    from mailmove.jobs.timestamp import Stamped, TimestampJob, TimestampReport

EPILOG = "Example: mailmove timestamp -a ~/mail.mailmove --tsa https://tsa.example/tsr"


def timestamp(
    archive: ArchiveOption = None,
    tsa: Annotated[
        str, typer.Option(metavar="URL", help="Ask this authority (RFC 3161) for a time stamp over log/checkpoint.")
    ] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Prove all time stamps in log/ts/, offline.")] = False,
    tsa_cert: Annotated[
        Path | None,
        typer.Option(metavar="CAFILE", help="Prove the signatures too: the authority's root certificate, in PEM."),
    ] = None,
    timeout: Timeout = 60.0,
    state_dir: StateDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Have an authority attest when the log was what it is now. Only a hash leaves this machine.

    Exit codes: 0, 2 usage, 4 a time stamp, its checkpoint or the log is damaged, 75 the authority cannot be reached or
    gave none, 78 rfc3161-client is not installed, or a certificate is refused.
    """
    with errors_told(as_json=as_json):
        from mailmove import tsa as authority
        from mailmove.errors import UsageError
        from mailmove.jobs.timestamp import TimestampJob, run_timestamp, run_verify_timestamps

        if bool(tsa) == verify:
            raise UsageError("Give --tsa URL to fetch a time stamp, or --verify to prove those that are there.")
        url = authority.check_url(tsa) if tsa else ""
        job = TimestampJob(find_archive(archive), url, tsa_cert, state_dir)
        if verify:
            report = run_verify_timestamps(job)
        else:
            report = run_timestamp(job, lambda query: authority.ask(url, query, timeout))
        if as_json:
            print_json(report.as_dict())
        elif not (quiet and report.exit_code == 0):
            print(_text(report, job))
        leave(report.exit_code)


def _text(report: TimestampReport, job: TimestampJob) -> str:
    """One headline, a line for each time stamp, and what was not proven."""
    if report.exit_code:
        head = f"NOT SOUND: {report.archive}"
    elif report.job == "timestamp":
        head = f"{'Stamped' if report.new else 'Stamped already, nothing was asked'}: {report.archive}"
    else:
        head = f"Sound: {report.archive}"
    lines = [head, *map(_line, report.stamps)]
    if job.roots is None:
        lines.append("  Who signed them was not proven: give --tsa-cert with the authority's root certificate.")
    return "\n".join(map(printable, lines))


def _line(stamp: Stamped) -> str:
    when = f" on {stamp.time}" if stamp.time else ""
    problem = f": {stamp.problem}" if stamp.problem else ""
    return f"  {stamp.token}: {stamp.records:,} records{when}{problem}"
