"""`mailmove demo`: the whole story on embedded servers, with nothing to configure.

Strategy: only the servers and the mail are made up. The jobs are the real ones, over real sockets, with the real
progress bar; what is printed at the end is what they reported, and what was read back from the target.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.cli import options
from mailmove.cli.outcome import errors_told, leave, print_json, say

if TYPE_CHECKING:
    from mailmove.demo import DemoMessage, ImapServer, Pop3Server
    from mailmove.jobs import Context, PullJob, ReplayJob
    from mailmove.jobs.migrate import MigrateReport
    from mailmove.jobs.verify import VerifyReport

EPILOG = "Example: mailmove demo"
USER, PASSWORD = "anna", "demo"
RATE = 8_000_000
"""Octets a second from the embedded POP3 server: slow enough to watch."""


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, for the end of the demo."""

    first: MigrateReport
    again: MigrateReport
    verified: VerifyReport
    identical: int
    messages: int

    @property
    def exit_code(self) -> int:
        from mailmove.jobs.report import worst

        wrong = 0 if self.identical == self.messages else 1
        return worst((self.first.exit_code, self.again.exit_code, self.verified.exit_code, wrong))


def demo(
    archive: Annotated[
        Path | None, typer.Option("-a", "--archive", metavar="DIR", help="The archive. Default: in a new folder.")
    ] = None,
    messages: Annotated[int, typer.Option(min=2, metavar="N", help="How many messages the mailbox holds.")] = 300,
    quiet: options.Quiet = False,
    progress: options.ProgressStyle = "auto",
    as_json: options.Json = False,
) -> None:
    """Watch a whole migration on embedded servers: no network, nothing to set up, nothing of yours is touched."""
    with errors_told(as_json=as_json):
        from mailmove.demo import ImapServer, Pop3Server, generate

        _check_unused(archive)
        mailbox = list(generate(messages))
        servers = Pop3Server({USER: (PASSWORD, mailbox)}, cut_after=messages // 2, bytes_per_second=RATE)
        with servers as pop3, ImapServer(USER, PASSWORD) as imap:
            place = archive or Path(tempfile.mkdtemp(prefix="mailmove-demo-")) / "demo.mailmove"
            if not quiet:
                _introduce(mailbox, pop3, imap)
            story = _play(mailbox, pop3, imap, place, quiet=quiet, style=progress)
        if as_json:
            print_json(_document(story, place))
        elif not (quiet and story.exit_code == 0):
            _conclude(story, place)
        leave(story.exit_code)


def _check_unused(archive: Path | None) -> None:
    """Raises UsageError: generated mail has no place in an archive of somebody's own."""
    from mailmove.archive import is_archive
    from mailmove.errors import UsageError

    if archive is not None and is_archive(archive):
        raise UsageError(f"{archive} is an archive already, and the demo makes one of its own; name another place.")


def _introduce(mailbox: list[DemoMessage], pop3: Pop3Server, imap: ImapServer) -> None:
    from mailmove.cli.render import size

    octets = sum(len(message.octets) for message in mailbox)
    say(f"The old mailbox: {len(mailbox):,} generated messages, {size(octets)}, on 127.0.0.1:{pop3.port} (POP3).")
    say(f"The new mailbox: empty, on 127.0.0.1:{imap.port} (IMAP). The connection will be cut once, half way.")


def _play(
    mailbox: list[DemoMessage], pop3: Pop3Server, imap: ImapServer, place: Path, *, quiet: bool, style: str
) -> Story:
    from mailmove.jobs.migrate import MigrateJob, run_migrate
    from mailmove.jobs.verify import VerifyJob, run_verify

    pull, replay = _jobs(pop3.port, imap.port, place)
    job, context = MigrateJob(pull, replay), _context(quiet=quiet, style=style)
    first = run_migrate(job, context)
    if not quiet:
        say("The same command once more, as you would after an interruption:")
    again = run_migrate(job, context)
    verified = run_verify(VerifyJob(place), context)
    return Story(first, again, verified, _identical(mailbox, replay, context), len(mailbox))


def _jobs(pop3_port: int, imap_port: int, place: Path) -> tuple[PullJob, ReplayJob]:
    from mailmove.jobs import PullJob, ReplayJob
    from mailmove.urls import parse_source, parse_target

    source, target = f"pop3://{USER}@127.0.0.1:{pop3_port}", f"imap://{USER}@127.0.0.1:{imap_port}"
    drop = parse_source(source).maildrop(f"{USER}@old.example")
    name = parse_target(target).name
    return (
        PullJob(source=source, maildrop=drop, archive=place, allow_plaintext=True),
        ReplayJob(target=target, target_name=name, archive=place, maildrops=(str(drop),), allow_plaintext=True),
    )


def _context(*, quiet: bool, style: str) -> Context:
    from mailmove.cli.context import terminal_context
    from mailmove.secrets import Secret

    secret = Secret(PASSWORD)
    return terminal_context(lambda: secret, lambda: secret, quiet=quiet, style=style)


def _identical(mailbox: list[DemoMessage], job: ReplayJob, context: Context) -> int:
    """How many messages the target gives back exactly as the old mailbox held them."""
    wanted = Counter(message.octets for message in mailbox)
    target = context.open_target(job)
    try:
        target.select(job.mailbox, read_only=True)
        found = Counter(target.body(item.uid) or b"" for item in target.found(1))
    finally:
        target.quit()
    return (wanted & found).total()


def _document(story: Story, place: Path) -> dict[str, object]:
    return {
        "job": "demo",
        "outcome": "complete" if story.exit_code == 0 else "failed",
        "archive": str(place.absolute()),
        "identical_at_target": story.identical,
        "jobs": [story.first.as_dict(), story.again.as_dict(), story.verified.as_dict()],
    }


def _conclude(story: Story, place: Path) -> None:
    from mailmove.cli.render import pull_report, replay_report, verify_report

    print(pull_report(story.first.pull))
    if story.first.replay is not None:
        print(replay_report(story.first.replay))
    counts = story.again.pull.counts()
    there = story.again.replay.counts()["already_there"] if story.again.replay else 0
    print(
        f"Run again: {counts['stored']:,} stored, {counts['already_archived']:,} archived and {there:,} there already."
    )
    print(verify_report(story.verified))
    print(f"Read back from the new mailbox: {story.identical:,} of {story.messages:,} messages, octet for octet.")
    print(f"\nThe archive is yours to look at (a folder of .eml files): {place.absolute()}")
    print(f"  ls {place.absolute()}; mailmove status -a {place.absolute()}")
    print("For a real mailbox, type:")
    print("  mailmove migrate pop3s://YOU@OLD-PROVIDER imaps://YOU@NEW-PROVIDER")
    sys.stdout.flush()
