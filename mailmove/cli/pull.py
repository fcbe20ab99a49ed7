"""`mailmove pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mailmove.cli import options
from mailmove.cli.outcome import conclude, errors_told
from mailmove.model import AuthMethod

if TYPE_CHECKING:
    from mailmove.dial import Ahead
    from mailmove.jobs import PullJob

EPILOG = "Example: mailmove pull pop3s://me@gmx.de@pop.gmx.net -a ~/mail.mailmove --password-env GMX_PASSWORD"


def pull(
    source: options.Source,
    archive: options.NewArchive = None,
    dry_run: options.DryRun = False,
    limit: options.Limit = None,
    password_env: options.PasswordEnv = "",
    password_file: options.PasswordFile = "",
    password_command: options.PasswordCommand = "",
    token_command: options.TokenCommand = "",
    auth: options.Auth = AuthMethod.AUTO,
    ca_file: options.CaFile = None,
    pin: options.Pin = "",
    client_cert: options.ClientCert = None,
    allow_plaintext: options.AllowPlaintext = False,
    timeout: options.Timeout = 60.0,
    maildrop: options.MaildropName = "",
    create: options.Create = False,
    wait: options.Wait = 0.0,
    state_dir: options.StateDir = None,
    take_over: options.TakeOver = False,
    delete_after: options.DeleteAfter = None,
    trust_received: options.TrustReceived = False,
    allow_mass_delete: options.AllowMassDelete = False,
    session_messages: options.SessionMessages = 0,
    session_bytes: options.SessionBytes = 0,
    max_rate: options.MaxRate = 0.0,
    patience: options.Patience = 900.0,
    wire_log: options.WireLogFile = None,
    group_messages: options.GroupMessages = 256,
    quiet: options.Quiet = False,
    progress: options.ProgressStyle = "auto",
    as_json: options.Json = False,
) -> None:
    """Pull every new message of a POP3 mailbox into an archive. Nothing is deleted unless --delete-after asks for it.

    Exit codes: 0 complete, 3 ended with exceptions to look at, 75 could not finish now (run again), 77 login refused,
    78 configuration or certificate wrong, 4 archive damaged, 130 interrupted, 2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli.ahead import line_to
        from mailmove.model import GroupLimits
        from mailmove.urls import parse_source

        url = parse_source(source)
        name = url.maildrop(maildrop)
        place = archive or options.archive_to_make(name, create=create, dry_run=dry_run)
        secret = options.secret_ref(password_env, password_file, password_command, token_command)
        line = None if place.exists() else line_to(url, secret, dry_run=dry_run)
        from mailmove.jobs import PullJob

        job = PullJob(
            source=source,
            maildrop=name,
            archive=place,
            secret=secret,
            auth=auth,
            ca_file=str(ca_file or ""),
            pin=pin,
            client_cert=str(client_cert or ""),
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
            group=GroupLimits(messages=group_messages),
        )
        _run(job, quiet=quiet, style=progress, as_json=as_json, wire_log=wire_log, line=line)


def _run(job: PullJob, *, quiet: bool, style: str, as_json: bool, wire_log: Path | None, line: Ahead | None) -> None:
    from mailmove.cli.ahead import open_ahead
    from mailmove.cli.context import make_context

    context = make_context(quiet=quiet, style=style, pull=job, wire_log=wire_log, line=line)
    open_ahead(context, job)
    from mailmove.cli.render import pull_report
    from mailmove.jobs.pull import run_pull

    report = run_pull(job, context)
    conclude(report, pull_report, as_json=as_json, quiet=quiet)
