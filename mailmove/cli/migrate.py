"""`mailmove migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    click_context: typer.Context,
    source: options.Source,
    target: options.Target,
    archive: options.NewArchive = None,
    mailbox: options.Mailbox = "INBOX",
    sent_to: options.SentTo = "",
    own_address: options.OwnAddress = None,
    label: options.Label = None,
    rcpt: options.Recipients = None,
    mail_from: options.MailFrom = None,
    resent: options.Resent = False,
    loop_guard: options.LoopGuard = True,
    dry_run: options.DryRun = False,
    limit: options.Limit = None,
    seen: options.Seen = "older-than=14",
    skip_present: options.SkipPresent = None,
    keep_duplicates: options.KeepDuplicates = False,
    retry_parked: options.RetryParked = False,
    repair: options.Repairs = None,
    resend_uncertain: options.ResendUncertain = False,
    redeliver_missing: options.RedeliverMissing = False,
    ignore_missing: options.IgnoreMissing = False,
    source_password_env: options.PasswordEnv = "",
    source_password_file: options.PasswordFile = "",
    source_password_command: options.PasswordCommand = "",
    target_password_env: options.PasswordEnv = "",
    target_password_file: options.PasswordFile = "",
    target_password_command: options.PasswordCommand = "",
    source_token_command: options.TokenCommand = "",
    target_token_command: options.TokenCommand = "",
    source_auth: options.Auth = AuthMethod.AUTO,
    target_auth: options.TargetAuth = AuthMethod.AUTO,
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
    maildrop: options.MaildropName = "",
    target_name: options.TargetName = "",
    daily_limit: options.DailyLimit = None,
    target_max_rate: options.MessageRate = "",
    target_patience: options.PutOff = 30.0,
    window: options.ReplayWindow = 64,
    connections: options.Connections = 0,
    create: options.Create = False,
    wait: options.Wait = 0.0,
    state_dir: options.StateDir = None,
    take_over: options.TakeOver = False,
    wire_log: options.WireLogFile = None,
    quiet: options.Quiet = False,
    progress: options.ProgressStyle = "auto",
    as_json: options.Json = False,
) -> None:
    """Move a mailbox: pull everything into an archive, then deliver it into an IMAP mailbox or send it on with --rcpt.

    Run again to resume.

    Nothing is deleted at the source unless --delete-after asks for it, and then only what is at the target. The archive
    stays as your backup. Exit codes as for pull and replay.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli import relaying
        from mailmove.cli.context import make_context
        from mailmove.jobs import PullJob, ReplayJob
        from mailmove.jobs.migrate import MigrateJob, run_migrate
        from mailmove.urls import is_relay, parse_relay, parse_source, parse_target

        relay = parse_relay(target) if is_relay(target) else None
        relaying.check_options(click_context, relay=relay is not None)
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
            target_name=target_name or (relay or parse_target(target)).name,
            archive=place,
            mailbox=mailbox,
            sent_to=sent_to,
            own_addresses=tuple(own_address or ()),
            labels=tuple(label or ()),
            secret=options.secret_ref(
                target_password_env, target_password_file, target_password_command, target_token_command, "target-"
            ),
            auth=target_auth,
            maildrops=(str(drop),),
            keep_duplicates=keep_duplicates,
            seen=seen,
            limit=limit,
            dry_run=dry_run,
            skip_present=skip_present,
            retry_parked=retry_parked,
            repairs=options.repairs(repair),
            daily_limit=options.octets(daily_limit, "--daily-limit"),
            window_messages=window,
            connections=connections,
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
        if relay:
            sent = relaying.relay_job(
                replay,
                relay,
                rcpt,
                mail_from,
                resent=resent,
                loop_guard=loop_guard,
                max_rate=target_max_rate,
                patience=target_patience,
                window_messages=relaying.window_of(click_context),
            )
            context = make_context(quiet=quiet, style=progress, pull=pull, relay=sent, wire_log=wire_log)
            report = run_migrate(MigrateJob(pull, sent), context)
        else:
            context = make_context(quiet=quiet, style=progress, pull=pull, replay=replay, wire_log=wire_log)
            report = run_migrate(MigrateJob(pull, replay), context)
        show(report, as_json=as_json, quiet=quiet)
        leave(report.exit_code)


def show(report: MigrateReport, *, as_json: bool, quiet: bool) -> None:
    """Both reports, as text or as one JSON document."""
    from mailmove.cli.render import pull_report
    from mailmove.cli.render_relay import any_replay_report

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
        print(any_replay_report(report.replay))
        if report.deletion is not None:
            print(pull_report(report.deletion))
    else:
        print("Nothing was delivered: the pull must be seen to first. Then run the same command again.")
