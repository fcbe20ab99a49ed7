"""`mailmove verify`: an archive, or (`--against`) what was delivered from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mailmove.cli import options
from mailmove.cli.outcome import conclude, errors_told, leave, print_json
from mailmove.model import AuthMethod

if TYPE_CHECKING:
    from mailmove.jobs import Context
    from mailmove.jobs.against import AgainstJob
    from mailmove.jobs.verify import VerifyJob

EPILOG = "Every night: mailmove verify -a ~/mail.mailmove --due 30d --max-duration 10m -q"
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_PART = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")
PANEL = "With --against"
ABOUT_THE_ARCHIVE = {"part", "due", "max_duration", "since"}
ABOUT_THE_TARGET = {
    *("deep", "csv", "mailbox", "maildrop", "all_maildrops", "query", "target_name", "auth"),
    *("password_env", "password_file", "password_command", "token_command"),
    *("ca_file", "pin", "client_cert", "allow_plaintext", "timeout", "wait", "take_over", "wire_log"),
}


def verify(
    context: typer.Context,
    archive: options.ArchiveOption = None,
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
    against: Annotated[
        str,
        typer.Option(
            metavar="TARGET", help="Hold what was delivered to this target (a URL, as for replay) against its mailbox."
        ),
    ] = "",
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every octet, not only sizes and headers.", rich_help_panel=PANEL)
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the exceptions to this file, one line each.", rich_help_panel=PANEL),
    ] = None,
    mailbox: Annotated[
        str, typer.Option(metavar="NAME", help="The mailbox, as `status` names it.", rich_help_panel=PANEL)
    ] = "INBOX",
    maildrop: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only what was pulled from here; may be repeated.", rich_help_panel=PANEL),
    ] = None,
    all_maildrops: Annotated[
        bool, typer.Option("--all-maildrops", help="What was pulled from everywhere.", rich_help_panel=PANEL)
    ] = False,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="QUERY", help="Only what `search` finds with this.", show_default=False, rich_help_panel=PANEL
        ),
    ] = None,
    password_env: options.PasswordEnv = "",
    password_file: options.PasswordFile = "",
    password_command: options.PasswordCommand = "",
    token_command: options.TokenCommand = "",
    auth: options.TargetAuth = AuthMethod.AUTO,
    ca_file: options.CaFile = None,
    pin: options.Pin = "",
    client_cert: options.ClientCert = None,
    allow_plaintext: options.AllowPlaintext = False,
    timeout: options.Timeout = 60.0,
    target_name: options.TargetName = "",
    wait: options.Wait = 0.0,
    take_over: options.TakeOver = False,
    wire_log: options.WireLogFile = None,
    state_dir: options.StateDir = None,
    quiet: options.Quiet = False,
    progress: options.ProgressStyle = "auto",
    as_json: options.Json = False,
) -> None:
    """Read every message and hold it against its name, the log and the catalogue. Changes nothing.

    Log and catalogue are checked whatever part of the messages is. When each folder was last proven is noted in
    verify.json beside archive.db.

    With --against TARGET: is everything that was delivered there still there, once, unaltered, with its date? Each
    message that is missing, altered or there twice is named with the reason; nothing is changed at the target, and
    `replay --redeliver-missing` sends again what is missing or altered. What a server does to all such messages (NUL,
    bare LF, a date it clamps or ignores) is named too, and is no reason for exit code 3. Mail of others is left alone.

    Exit codes: 0 all that was looked at is sound, 4 something in the archive is damaged, missing or extra (each is
    named), 75 the disk failed or is full, 130 interrupted, 2 usage. With --against also 3: something is missing,
    altered, there twice or not delivered yet; 75 could not finish now (run again), 77 login refused, 78 configuration
    or certificate wrong.
    """
    with errors_told(as_json=as_json):
        _check_given(context, against)
        if not against:
            job = _verify_job(options.find_archive(archive), state_dir, since, part, due, max_duration)
            _verify(job, quiet=quiet, progress=progress, as_json=as_json)
        from mailmove.cli.context import make_context
        from mailmove.jobs import ReplayJob
        from mailmove.jobs.against import AgainstJob
        from mailmove.urls import parse_target

        replay = ReplayJob(
            target=against,
            target_name=target_name or parse_target(against).name,
            archive=options.find_archive(archive),
            secret=options.secret_ref(password_env, password_file, password_command, token_command),
            auth=auth,
            maildrops=tuple(maildrop or ()),
            all_maildrops=all_maildrops,
            query=query,
            dry_run=True,
            ca_file=str(ca_file or ""),
            pin=pin,
            client_cert=str(client_cert or ""),
            allow_plaintext=allow_plaintext,
            timeout=timeout,
            state_dir=state_dir,
            wait=wait,
            take_over=take_over,
        )
        made = make_context(quiet=quiet, style=progress, replay=replay, wire_log=wire_log)
        _compare(AgainstJob(replay, mailbox, deep, csv), made, quiet=quiet, as_json=as_json)


def _check_given(context: typer.Context, against: str) -> None:
    """Raises UsageError for options that mean nothing together."""
    from mailmove.errors import UsageError

    given = [param for param in context.command.params if _is_given(context, param.name or "")]
    words = {param.name: param.opts[-1] for param in given}
    useless = words.keys() & (ABOUT_THE_ARCHIVE if against else ABOUT_THE_TARGET)
    if useless:
        names = ", ".join(sorted(words[name] for name in useless))
        why = "is about the archive itself, not about --against" if against else "goes with --against TARGET only"
        raise UsageError(f"{names} {why}.")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _compare(job: AgainstJob, context: Context, *, quiet: bool, as_json: bool) -> NoReturn:
    from mailmove.cli.render_against import against_report
    from mailmove.jobs.against import run_against

    report = run_against(job, context)
    conclude(report, lambda told: against_report(told, job), as_json=as_json, quiet=quiet)


def _verify(job: VerifyJob, *, quiet: bool, progress: str, as_json: bool) -> NoReturn:
    from mailmove.cli import progress as drawing
    from mailmove.cli.render import verify_report
    from mailmove.cli.stop import Stop
    from mailmove.jobs import Context
    from mailmove.jobs.verify import run_verify

    drawn, stop = drawing.choose(progress, quiet=quiet), Stop()
    report = run_verify(job, Context(progress=drawn, ok=stop.ok))
    if as_json:
        print_json(report.as_dict())
    elif not (quiet and report.exit_code == 0):
        print(verify_report(report))
    leave(report.exit_code)


def _verify_job(
    archive: Path, state_dir: Path | None, since: Path | None, part: str, due: str, max_duration: str
) -> VerifyJob:
    from mailmove.jobs.verify import VerifyJob

    longest, age = _seconds("--max-duration", max_duration), _seconds("--due", due)
    return VerifyJob(archive, state_dir, since, part=_part(part), max_duration=longest, due=age)


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
