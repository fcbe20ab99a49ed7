"""`mailmove replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from mailmove.cli import options
from mailmove.cli.outcome import conclude, errors_told
from mailmove.model import AuthMethod

EPILOG = "Example: mailmove replay imaps://me@new.example -a ~/mail.mailmove --password-env NEW_PASSWORD"


def replay(
    click_context: typer.Context,
    target: options.Target,
    archive: options.ArchiveOption = None,
    mailbox: options.Mailbox = "INBOX",
    sent_to: options.SentTo = "",
    own_address: options.OwnAddress = None,
    label: options.Label = None,
    rcpt: options.Recipients = None,
    mail_from: options.MailFrom = None,
    resent: options.Resent = False,
    original_recipients: options.OriginalRecipients = False,
    yes: options.Yes = False,
    loop_guard: options.LoopGuard = True,
    maildrop: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only what was pulled from here; may be repeated.")
    ] = None,
    all_maildrops: Annotated[
        bool, typer.Option("--all-maildrops", help="Deliver what was pulled from everywhere.")
    ] = False,
    query: Annotated[
        str | None,
        typer.Option(metavar="QUERY", help="Only what `mailmove search` finds with this.", show_default=False),
    ] = None,
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
    daily_limit: options.DailyLimit = None,
    max_rate: options.MessageRate = "",
    patience: options.PutOff = 30.0,
    window: options.ReplayWindow = 64,
    connections: options.Connections = 0,
    wait: options.Wait = 0.0,
    state_dir: options.StateDir = None,
    take_over: options.TakeOver = False,
    wire_log: options.WireLogFile = None,
    quiet: options.Quiet = False,
    progress: options.ProgressStyle = "auto",
    as_json: options.Json = False,
) -> None:
    """Deliver an archive's messages into an IMAP mailbox: each once, unaltered, with its date.

    Or send them on by SMTP or LMTP: give such a target and --rcpt. That keeps neither dates nor flags.

    Exit codes: 0 complete, 3 ended with exceptions to look at, 75 could not finish now (run again), 77 login refused,
    78 configuration or certificate wrong, 4 archive damaged, 130 interrupted, 2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli import ahead, relaying
        from mailmove.urls import is_relay, parse_relay, parse_target

        relay = parse_relay(target) if is_relay(target) else None
        relaying.check_options(click_context, relay=relay is not None)
        secret = options.secret_ref(password_env, password_file, password_command, token_command)
        line = None if relay else ahead.line_to(parse_target(target), secret, dry_run=dry_run)
        from mailmove.cli.context import make_context
        from mailmove.jobs import ReplayJob

        job = ReplayJob(
            target=target,
            target_name=target_name or (relay or parse_target(target)).name,
            archive=options.find_archive(archive),
            mailbox=mailbox,
            sent_to=sent_to,
            own_addresses=tuple(own_address or ()),
            labels=tuple(label or ()),
            secret=secret,
            auth=auth,
            maildrops=tuple(maildrop or ()),
            all_maildrops=all_maildrops,
            query=query,
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
            pin=pin,
            client_cert=str(client_cert or ""),
            allow_plaintext=allow_plaintext,
            timeout=timeout,
            state_dir=state_dir,
            wait=wait,
            take_over=take_over,
        )
        if relay:
            sent = relaying.relay_job(
                job,
                relay,
                rcpt,
                mail_from,
                resent=resent,
                loop_guard=loop_guard,
                max_rate=max_rate,
                patience=patience,
                window_messages=relaying.window_of(click_context),
                original_recipients=original_recipients,
                confirmed=yes,
            )
            context = make_context(quiet=quiet, style=progress, relay=sent, wire_log=wire_log)
            ahead.open_relay_ahead(context, sent)
            from mailmove.cli.render_relay import relay_report
            from mailmove.jobs.relay import run_relay

            conclude(run_relay(sent, context), relay_report, as_json=as_json, quiet=quiet)
        context = make_context(quiet=quiet, style=progress, replay=job, wire_log=wire_log, line=line)
        ahead.open_target_ahead(context, job)
        from mailmove.cli.render import replay_report
        from mailmove.jobs.replay import run_replay

        report = run_replay(job, context)
        conclude(report, replay_report, as_json=as_json, quiet=quiet)
