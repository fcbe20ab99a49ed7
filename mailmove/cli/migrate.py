"""`mailmove migrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.cli import options
from mailmove.cli.outcome import errors_told, leave, print_json, say_failure
from mailmove.model import AuthMethod

if TYPE_CHECKING:
    from mailmove.jobs.migrate import MigrateReport

EPILOG = (
    "Example: mailmove migrate pop3s://me@old.example imaps://me@new.example --source-password-env OLD "
    "--target-password-env NEW"
)


def migrate(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="pop3s://USER@HOST[:PORT], or pop3://… with STLS")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="imaps://USER@HOST[:PORT], or imap://… with STARTTLS")
    ],
    archive: Annotated[
        Path | None, typer.Option("-a", "--archive", metavar="DIR", help="The archive. Default: ./USER@HOST.mailmove")
    ] = None,
    mailbox: options.Mailbox = "INBOX",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Pull and send the first N messages that are left to do.")
    ] = None,
    seen: options.Seen = "older-than=14",
    skip_present: options.SkipPresent = None,
    keep_duplicates: options.KeepDuplicates = False,
    retry_parked: options.RetryParked = False,
    resend_uncertain: options.ResendUncertain = False,
    redeliver_missing: options.RedeliverMissing = False,
    ignore_missing: options.IgnoreMissing = False,
    source_password_env: Annotated[
        str, typer.Option(metavar="NAME", help="The source's password is in this environment variable.")
    ] = "",
    source_password_file: Annotated[
        str, typer.Option(metavar="FILE", help="The source's password is in this file.")
    ] = "",
    source_password_command: Annotated[
        str, typer.Option(metavar="CMD", help="This command prints the source's password.")
    ] = "",
    target_password_env: Annotated[
        str, typer.Option(metavar="NAME", help="The target's password is in this environment variable.")
    ] = "",
    target_password_file: Annotated[
        str, typer.Option(metavar="FILE", help="The target's password is in this file.")
    ] = "",
    target_password_command: Annotated[
        str, typer.Option(metavar="CMD", help="This command prints the target's password.")
    ] = "",
    source_token_command: options.TokenCommand = "",
    target_token_command: options.TokenCommand = "",
    source_auth: options.Auth = AuthMethod.AUTO,
    ca_file: options.CaFile = None,
    source_pin: options.Pin = "",
    target_pin: options.Pin = "",
    source_client_cert: options.ClientCert = None,
    target_client_cert: options.ClientCert = None,
    allow_plaintext: options.AllowPlaintext = False,
    timeout: options.Timeout = 60.0,
    delete_after: options.DeleteAfter = None,
    trust_received: options.TrustReceived = False,
    allow_mass_delete: options.AllowMassDelete = False,
    session_messages: options.SessionMessages = 0,
    session_bytes: options.SessionBytes = 0,
    max_rate: options.MaxRate = 0.0,
    patience: options.Patience = 900.0,
    maildrop: Annotated[
        str, typer.Option(metavar="NAME", help="Name the source mailbox; survives a rename of the host.")
    ] = "",
    target_name: options.TargetName = "",
    create: Annotated[bool, typer.Option("--create", help="Make the default archive even without a terminal.")] = False,
    wait: options.Wait = 0.0,
    state_dir: options.StateDir = None,
    take_over: options.TakeOver = False,
    wire_log: options.WireLogFile = None,
    quiet: options.Quiet = False,
    progress: options.ProgressStyle = "auto",
    as_json: options.Json = False,
) -> None:
    """Move a mailbox: pull everything into an archive, then deliver it into an IMAP mailbox. Run again to resume.

    Nothing is deleted at the source unless --delete-after asks for it, and then only what is at the target. The archive
    stays as your backup. Exit codes as for pull and replay.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli.context import make_context
        from mailmove.endpoints import parse_source, parse_target
        from mailmove.jobs import PullJob, ReplayJob
        from mailmove.jobs.migrate import MigrateJob, run_migrate

        drop = parse_source(source).maildrop(maildrop)
        place = archive or options.archive_to_make(drop, create=create, dry_run=dry_run)
        pull = PullJob(
            source=source,
            maildrop=drop,
            archive=place,
            secret=options.secret_ref(
                source_password_env, source_password_file, source_password_command, source_token_command, "source-"
            ),
            auth=source_auth,
            ca_file=str(ca_file or ""),
            pin=source_pin,
            client_cert=str(source_client_cert or ""),
            allow_plaintext=allow_plaintext,
            timeout=timeout,
            limit=limit,
            dry_run=dry_run,
            state_dir=state_dir,
            wait=wait,
            take_over=take_over,
            delete_after=delete_after,
            trust_received=trust_received,
            allow_mass_delete=allow_mass_delete,
            session_messages=session_messages,
            session_octets=session_bytes,
            max_rate=max_rate,
            patience=patience,
        )
        replay = ReplayJob(
            target=target,
            target_name=target_name or parse_target(target).name,
            archive=place,
            mailbox=mailbox,
            secret=options.secret_ref(
                target_password_env, target_password_file, target_password_command, target_token_command, "target-"
            ),
            maildrops=(str(drop),),
            keep_duplicates=keep_duplicates,
            seen=seen,
            limit=limit,
            dry_run=dry_run,
            skip_present=skip_present,
            retry_parked=retry_parked,
            resend_uncertain=resend_uncertain,
            redeliver_missing=redeliver_missing,
            ignore_missing=ignore_missing,
            ca_file=str(ca_file or ""),
            pin=target_pin,
            client_cert=str(target_client_cert or ""),
            allow_plaintext=allow_plaintext,
            timeout=timeout,
            state_dir=state_dir,
            wait=wait,
            take_over=take_over,
        )
        context = make_context(quiet=quiet, style=progress, pull=pull, replay=replay, wire_log=wire_log)
        report = run_migrate(MigrateJob(pull, replay), context)
        show(report, as_json=as_json, quiet=quiet)
        leave(report.exit_code)


def show(report: MigrateReport, *, as_json: bool, quiet: bool) -> None:
    """Both reports, as text or as one JSON document."""
    from mailmove.cli.render import pull_report, replay_report

    for half in report.reports:
        if half.error is not None:
            say_failure(half.error)
    if as_json:
        print_json(report.as_dict())
        return
    if quiet and report.exit_code == 0:
        return
    print(pull_report(report.pull))
    if report.replay is not None:
        print(replay_report(report.replay))
        if report.deletion is not None:
            print(pull_report(report.deletion))
    else:
        print("Nothing was delivered: the pull must be seen to first. Then run the same command again.")
