"""Arguments and options that several commands share, and what they mean.

Strategy: one type for each, so that an option reads and behaves the same in every command that has it; defaults stand
in the commands. `--source-` and `--target-` before a name only say whose it is. What only one command has is its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.model import AuthMethod

if TYPE_CHECKING:
    from mailmove.model import Maildrop, SecretRef
    from mailmove.repairs import Repair

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="pop3s://USER@HOST[:PORT], or pop3://… with STLS, like pop3s://me@gmx.de@pop.gmx.net"
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="imaps://USER@HOST[:PORT], or imap://… with STARTTLS; by mail, with --rcpt: smtps://[USER@]HOST[:PORT], "
        "smtp://… with STARTTLS, lmtp://HOST[:PORT], lmtp:///PATH of a socket",
    ),
]
ArchiveOption = Annotated[
    Path | None,
    typer.Option("-a", "--archive", metavar="DIR", help="The archive. Default: the only *.mailmove folder here."),
]
NewArchive = Annotated[
    Path | None, typer.Option("-a", "--archive", metavar="DIR", help="The archive. Default: ./USER@HOST.mailmove")
]
Create = Annotated[bool, typer.Option("--create", help="Make the default archive even without a terminal.")]
StateDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where archive.db and the lock live, for an archive on a network file system."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, and no report when all is well.")]
ProgressStyle = Annotated[
    str, typer.Option("--progress", metavar="auto|json", help="How to show progress on stderr; json is for programs.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]
Limit = Annotated[int | None, typer.Option(min=0, metavar="N", help="Only the first N messages left to do.")]
MaildropName = Annotated[
    str, typer.Option(metavar="NAME", help="Name the source mailbox; survives a rename of the host.")
]
Wait = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for an archive that is in use.")]
Auth = Annotated[
    AuthMethod,
    typer.Option(help="How to log in. auto: the best the server announces; cram-md5 and apop only if asked for."),
]
TargetAuth = Annotated[
    AuthMethod,
    typer.Option(
        metavar="auto|plain|login|cram-md5|scram-sha-256|xoauth2|oauthbearer",
        help="How to log in to the target. auto: the best it announces; cram-md5 only if asked for.",
    ),
]
PasswordEnv = Annotated[str, typer.Option(metavar="NAME", help="The password is in this environment variable.")]
PasswordFile = Annotated[str, typer.Option(metavar="FILE", help="The password is in this file.")]
PasswordCommand = Annotated[str, typer.Option(metavar="CMD", help="This command prints the password.")]
TokenCommand = Annotated[
    str, typer.Option(metavar="CMD", help="This command prints an OAuth 2 token; it is run anew for each login.")
]
Pin = Annotated[
    str,
    typer.Option(
        metavar="sha256:HEX",
        help="Trust the certificate with this SHA-256 fingerprint (hex or base64) and no other, whoever has signed it. "
        "To see it: openssl s_client -connect HOST:PORT </dev/null | openssl x509 -noout -fingerprint -sha256",
    ),
]
ClientCert = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show this certificate to the server (PEM, with its key).")
]
WireLogFile = Annotated[
    Path | None,
    typer.Option(
        "--wire-log",
        metavar="FILE",
        help="Add to this file what crosses the wire: secrets masked, of a message only how many octets it has.",
    ),
]
CaFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Trust the authorities in this PEM file.")]
AllowPlaintext = Annotated[bool, typer.Option("--allow-plaintext", help="Log in unencrypted if the server has no TLS.")]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Give up after so long without progress.")]
TakeOver = Annotated[bool, typer.Option("--take-over", help="This machine writes the archive from now on.")]
Mailbox = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The mailbox (folder) to deliver to; made if missing. / separates levels; {year}, {month} and {maildrop} "
        "stand for the message's; \\Archive and other special uses for whatever the server calls them.",
    ),
]
SentTo = Annotated[
    str, typer.Option(metavar="NAME", help="Deliver what oneself has sent to this mailbox instead, like \\Sent.")
]
OwnAddress = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ADDRESS",
        help="An address of oneself, for --sent-to, beside those that are user names here; may be repeated.",
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Give what is delivered this label, at Gmail; may be repeated."),
]
Seen = Annotated[
    str,
    typer.Option(metavar="all|none|older-than=DAYS", help="Which messages are marked as read, by their date."),
]
SkipPresent = Annotated[
    bool | None,
    typer.Option(
        "--skip-present/--no-skip-present",
        help="Look at the target for messages that came there otherwise. Default: if it held any at first contact.",
        show_default=False,
    ),
]
RetryParked = Annotated[bool, typer.Option("--retry-parked", help="Send again what the target refused before.")]
Repairs = Annotated[
    str | None,
    typer.Option(
        "--repair",
        metavar="LIST",
        help="With --retry-parked: alter what was refused, by the smallest of these that may help: bare-newlines, nul, "
        "8bit-headers, long-lines (with commas between). The archive keeps every message as it came.",
        show_default=False,
    ),
]
ReplayWindow = Annotated[
    int,
    typer.Option(
        "--window", metavar="N", min=1, max=1000, help="Messages sent before an answer is waited for; 1: one by one."
    ),
]
Connections = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, max=50, help="Sessions at once. 0: one, or four where each message costs a round trip."
    ),
]
DailyLimit = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Send no more than this in any 24 hours, over all runs, like 450MB.", show_default=False
    ),
]
Recipients = Annotated[
    list[str] | None,
    typer.Option("--rcpt", metavar="ADDRESS", help="On SMTP and LMTP: who gets the messages; may be repeated."),
]
MailFrom = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="On SMTP and LMTP: the reverse path, to which a target returns what it cannot deliver; '<>' for none. "
        "Default: on SMTP the user who logs in, on LMTP none.",
        show_default=False,
    ),
]
Resent = Annotated[
    bool,
    typer.Option("--resent", help="On SMTP and LMTP: put Resent-Date, -From, -To, -Message-ID above each message."),
]
OriginalRecipients = Annotated[
    bool,
    typer.Option(
        "--original-recipients",
        help="On SMTP: send each message to whom it names in To, Cc and Bcc, instead of --rcpt. They get it once more!",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="With --original-recipients: do not ask whether that is meant.")]
LoopGuard = Annotated[
    bool,
    typer.Option(
        "--loop-guard/--no-loop-guard",
        help="On SMTP and LMTP: park what its Delivered-To says was at the recipient's before, and what has more than "
        "50 Received fields.",
    ),
]
MessageRate = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="On SMTP and LMTP: send no more than this, like 30/min,1000/day (per s, min, h or day; a message counts "
        "for each recipient); none: no limit. Default: what the provider is known to allow.",
        show_default=False,
    ),
]
PutOff = Annotated[
    float,
    typer.Option(
        min=0, metavar="SECONDS", help="On SMTP and LMTP: try again for so long what the server puts off (4yz)."
    ),
]
ResendUncertain = Annotated[
    bool, typer.Option("--resend-uncertain", help="Send again what may be there; it can end up there twice.")
]
RedeliverMissing = Annotated[
    bool, typer.Option("--redeliver-missing", help="Send again what was delivered and is not there any more.")
]
IgnoreMissing = Annotated[
    bool, typer.Option("--ignore-missing", help="Accept for good what was lost when the mailbox was made anew.")
]
KeepDuplicates = Annotated[
    bool, typer.Option("--keep-duplicates", help="Deliver byte-identical copies as often as they were pulled.")
]
TargetName = Annotated[
    str, typer.Option(metavar="NAME", help="What the log calls the target; survives a rename of the host.")
]
DeleteAfter = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="DAYS",
        help="Delete a message on the server so many days after it was stored and proven. Default: never.",
        show_default=False,
    ),
]
TrustReceived = Annotated[
    bool, typer.Option("--trust-received", help="Delete also where the server's sizes are known to be wrong.")
]
AllowMassDelete = Annotated[
    bool, typer.Option("--allow-mass-delete", help="Let the first deleting run delete more than half of the mailbox.")
]
SessionMessages = Annotated[int, typer.Option(min=0, metavar="N", help="Fetch at most N messages a session.")]
SessionBytes = Annotated[int, typer.Option(min=0, metavar="N", help="Fetch at most N bytes a session.")]
MaxRate = Annotated[float, typer.Option(min=0, metavar="BYTES", help="Read at most so many bytes a second.")]
Patience = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for a mailbox that another program has locked.")
]


def default_archive(maildrop: Maildrop) -> Path:
    """`./USER@HOST.mailmove`, other characters as %XX (design.md section 8)."""
    from urllib.parse import quote

    return Path(quote(str(maildrop), safe="@+") + ".mailmove")


def find_archive(given: Path | None) -> Path:
    """The archive a command is about. Raises UsageError if it is not clear which."""
    from mailmove.errors import UsageError

    if given is not None:
        return given
    here = sorted(path for path in Path().glob("*.mailmove") if path.is_dir())
    if len(here) != 1:
        what = f"are {len(here)} *.mailmove folders" if here else "is no *.mailmove folder"
        raise UsageError(f"There {what} here; name the archive with -a DIR.")
    return here[0]


def archive_to_make(maildrop: Maildrop, *, create: bool, dry_run: bool) -> Path:
    """The default archive of a maildrop. Raises UsageError if it is not there and nobody asked for it."""
    from mailmove.archive import is_archive
    from mailmove.errors import UsageError

    path = default_archive(maildrop)
    if not (create or dry_run or sys.stdin.isatty() or is_archive(path)):
        raise UsageError(f"There is no archive {path} here yet; name one with -a DIR, or give --create to make it.")
    return path


def secret_ref(env: str, file: str, command: str, token_command: str, whose: str = "") -> SecretRef:
    """At most one way to find the password or token. Raises UsageError."""
    from mailmove.errors import UsageError
    from mailmove.model import SecretRef

    if sum(map(bool, (env, file, command, token_command))) > 1:
        ways = (f"--{whose}password-env", f"--{whose}password-file", f"--{whose}password-command")
        names = f"{', '.join(ways)} and --{whose}token-command"
        raise UsageError(f"Give one of {names}, not several.")
    return SecretRef(env, file, command, token_command)


def repairs(text: str | None) -> frozenset[Repair]:
    """Raises UsageError."""
    if text is None:
        return frozenset()
    from mailmove.repairs import parse_repairs

    return parse_repairs(text)


def octets(text: str | None, option: str) -> int | None:
    """A size like 450MB. Raises UsageError."""
    if text is None:
        return None
    from mailmove.jobs.budget import parse_size

    return parse_size(text, option)


GroupMessages = Annotated[int, typer.Option(min=1, hidden=True)]
