"""`mailmove repair`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.cli import options
from mailmove.cli.outcome import errors_told, leave, print_json, printable, say_failure
from mailmove.model import AuthMethod

if TYPE_CHECKING:
    from mailmove.jobs import PullJob
    from mailmove.jobs.repair import RepairJob
    from mailmove.jobs.repair_report import Item, RepairReport
    from mailmove.model import Maildrop

EPILOG = "Example: mailmove repair -a ~/mail.mailmove --from /media/usb/mail.mailmove"

SHOWN = 20
FROM = {"copy": "the copy", "source": "the server"}


def repair(
    source: options.Source = "",
    archive: options.ArchiveOption = None,
    copy: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="A second copy of the archive, to take files from.")
    ] = None,
    dry_run: options.DryRun = False,
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
    wait: options.Wait = 0.0,
    state_dir: options.StateDir = None,
    take_over: options.TakeOver = False,
    wire_log: options.WireLogFile = None,
    quiet: options.Quiet = False,
    progress: options.ProgressStyle = "auto",
    as_json: options.Json = False,
) -> None:
    """Read every message; what is damaged or missing is put back from a second copy, or fetched from SOURCE again.

    SOURCE is then pulled, so what is new there comes in, too. A damaged file is kept in quarantine/.

    Exit codes: 0 all sound now, 4 something could not be repaired (each is named), 3 and 75 to 78 as of a pull (75
    also: archive in use, disk full), 130 interrupted, 2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli.context import make_context
        from mailmove.errors import UsageError
        from mailmove.jobs import PullJob
        from mailmove.jobs.repair import RepairJob, run_repair

        secret = options.secret_ref(password_env, password_file, password_command, token_command)
        folder, pull = options.find_archive(archive), None
        if source:
            pull = PullJob(
                source=source,
                maildrop=_maildrop(source, maildrop),
                archive=folder,
                secret=secret,
                auth=auth,
                ca_file=str(ca_file or ""),
                pin=pin,
                client_cert=str(client_cert or ""),
                allow_plaintext=allow_plaintext,
                timeout=timeout,
                state_dir=state_dir,
                wait=wait,
                take_over=take_over,
            )
        elif any((password_env, password_file, password_command, token_command, maildrop)):
            raise UsageError("A password, token or --maildrop is for a server: name it as SOURCE.")
        job = RepairJob(folder, copy, pull, dry_run, state_dir, wait, take_over)
        report = run_repair(job, make_context(quiet=quiet, style=progress, pull=_to_log_in(job), wire_log=wire_log))
        _conclude(report, as_json=as_json, quiet=quiet)


def _maildrop(source: str, name: str) -> Maildrop:
    from mailmove.urls import parse_source

    return parse_source(source).maildrop(name)


def _to_log_in(job: RepairJob) -> PullJob | None:
    """Nobody is asked for a password that is not needed."""
    return None if job.dry_run else job.pull


def _conclude(report: RepairReport, *, as_json: bool, quiet: bool) -> None:
    if report.error is not None:
        say_failure(report.error)
    if as_json:
        print_json(report.as_dict())
    elif not (quiet and report.exit_code == 0):
        print(_text(report))
    leave(report.exit_code)


def _text(report: RepairReport) -> str:
    from mailmove.cli.render import pull_report, size

    lines = [_headline(report)]
    lines.append(f"  {report.checked:,} messages read, {size(report.octets)} in {report.seconds:.1f} s")
    lines += [_line(item, report) for item in report.items[:SHOWN]]
    if len(report.items) > SHOWN:
        lines.append(f"  … and {len(report.items) - SHOWN:,} more (--json names all)")
    if report.pull is not None:
        lines.append(pull_report(report.pull))
    return "\n".join(printable(line) for part in lines for line in part.split("\n"))


def _headline(report: RepairReport) -> str:
    if not report.items:
        return f"Sound: {report.archive}"
    left, done = report.count(""), len(report.items) - report.count("")
    if report.dry_run:
        return f"Dry run: {done:,} could be repaired, {left:,} not; nothing was changed: {report.archive}"
    return f"{'NOT ALL REPAIRED' if left else 'Repaired'} ({done:,} repaired, {left:,} not): {report.archive}"


def _line(item: Item, report: RepairReport) -> str:
    facts = item.as_dict()
    if not item.repaired_from:
        return f"  {item.wanted.kind}: {facts['what']}: not repaired: {item.reason}"
    how = f"from {FROM[item.repaired_from]}"
    if report.dry_run:
        return f"  {item.wanted.kind}: {facts['what']}: would be put back {how}"
    kept = f"; what was there is quarantine/{item.quarantined}" if item.quarantined else ""
    return f"  {item.wanted.kind}: {facts['what']}: put back {how}{kept}"
