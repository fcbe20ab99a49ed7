"""`mailmove pull`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.cli.options import Json, ProgressStyle, Quiet, StateDir, Wait, default_archive, secret_ref
from mailmove.cli.outcome import errors_told, leave, print_json, say

if TYPE_CHECKING:
    from mailmove.jobs import Context, PullJob

EPILOG = "Example: mailmove pull pop3s://me@gmx.de@pop.gmx.net -a ~/mail.mailmove --password-env GMX_PASSWORD"


def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="pop3s://USER@HOST[:PORT], or pop3://… with STLS, like pop3s://me@gmx.de@pop.gmx.net"
        ),
    ],
    archive: Annotated[
        Path | None, typer.Option("-a", "--archive", metavar="DIR", help="The archive. Default: ./USER@HOST.mailmove")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be pulled, and change nothing.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Pull the first N messages not yet archived.")
    ] = None,
    password_env: Annotated[
        str, typer.Option(metavar="NAME", help="The password is in this environment variable.")
    ] = "",
    password_file: Annotated[str, typer.Option(metavar="FILE", help="The password is in this file.")] = "",
    password_command: Annotated[str, typer.Option(metavar="CMD", help="This command prints the password.")] = "",
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trust the authorities in this PEM file.")
    ] = None,
    allow_plaintext: Annotated[
        bool, typer.Option("--allow-plaintext", help="Log in unencrypted if the server has no TLS.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Give up after so long without progress.")
    ] = 60.0,
    maildrop: Annotated[
        str, typer.Option(metavar="NAME", help="Name the mailbox; survives a rename of the host.")
    ] = "",
    create: Annotated[bool, typer.Option("--create", help="Make the default archive even without a terminal.")] = False,
    wait: Wait = 0.0,
    state_dir: StateDir = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="This machine writes the archive from now on.")
    ] = False,
    group_messages: Annotated[int, typer.Option(min=1, hidden=True)] = 256,
    quiet: Quiet = False,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Pull every new message of a POP3 mailbox into an archive. Nothing is deleted on the server.

    Exit codes: 0 complete, 3 ended with exceptions to look at, 75 could not finish now (run again), 77 login refused,
    78 configuration or certificate wrong, 4 archive damaged, 130 interrupted, 2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.archive import GroupLimits
        from mailmove.endpoints import parse_source
        from mailmove.jobs import PullJob

        name = parse_source(source).maildrop(maildrop)
        job = PullJob(
            source=source,
            maildrop=name,
            archive=archive or _default(name, create=create, dry_run=dry_run),
            secret=secret_ref(password_env, password_file, password_command),
            ca_file=str(ca_file or ""),
            allow_plaintext=allow_plaintext,
            timeout=timeout,
            limit=limit,
            dry_run=dry_run,
            state_dir=state_dir,
            wait=wait,
            take_over=take_over,
            group=GroupLimits(messages=group_messages),
        )
        leave(_run(job, quiet=quiet, style=progress, as_json=as_json))


def _default(maildrop: object, *, create: bool, dry_run: bool) -> Path:
    from mailmove.archive import is_archive
    from mailmove.errors import UsageError
    from mailmove.model import Maildrop

    assert isinstance(maildrop, Maildrop)  # noqa: S101 - the type is imported late, to start quickly
    path = default_archive(maildrop)
    if not (create or dry_run or sys.stdin.isatty() or is_archive(path)):
        raise UsageError(f"There is no archive {path} here yet; name one with -a DIR, or give --create to make it.")
    return path


def _run(job: PullJob, *, quiet: bool, style: str, as_json: bool) -> int:
    from mailmove.cli.render import pull_report
    from mailmove.jobs.pull import run_pull

    report = run_pull(job, _context(job, quiet=quiet, style=style))
    if report.error is not None:
        say(report.error.message)
    if as_json:
        print_json(report.as_dict())
    elif not (quiet and report.exit_code == 0):
        print(pull_report(report))
    return report.exit_code


def _context(job: PullJob, *, quiet: bool, style: str) -> Context:
    from mailmove.cli import progress
    from mailmove.cli.prompt import ask_password
    from mailmove.cli.stop import Stop
    from mailmove.endpoints import open_source
    from mailmove.jobs import Context
    from mailmove.secrets import resolve

    drawn = progress.choose(style, quiet=quiet)
    secret = resolve(job.secret, lambda: ask_password(str(job.maildrop)))
    stop = Stop()
    return Context(
        open_source=lambda job, window: open_source(job, secret, window, stop.ok),
        progress=drawn,
        ok=stop.ok,
        created=lambda path: None if quiet else say(f"Making a new archive: {path}"),
    )
