"""The taxonomy: every error says what to do next.

Strategy: each class answers two questions by class attributes, so that no caller needs a list of classes. `retryable`:
may the job reconnect and go on by itself? `exit_code`: what the shell is told when it may not (design.md section 8).
An error that comes from a server keeps the server's own words in `server_text`; the message already quotes them.
Anything that is not a MailmoveError is a bug.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class MailmoveError(Exception):
    """Root of all expected errors. The message is one sentence: what, where, what to do."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, server_text: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.server_text = server_text


class UsageError(MailmoveError):
    """The command cannot mean anything: a bad URL, CR or LF in an argument, a file where a folder must be."""

    exit_code = 2


class ConfigurationError(MailmoveError):
    """The job cannot work as configured, now or later, until somebody changes something."""

    exit_code = 78


class CertificateRefused(ConfigurationError):
    """The server's certificate could not be verified; nothing was sent. Never retried."""


class PlaintextRefused(ConfigurationError):
    """The password would have crossed the network unencrypted."""


class MailboxRefused(ConfigurationError):
    """The target will not make, open or write the mailbox that was named."""


class ConnectionLost(MailmoveError):
    """Refused, reset, timed out, or EOF inside a reply. Reconnect, reconcile, resume."""

    retryable = True
    exit_code = 75


class HostUnreachable(ConnectionLost):
    """No connection came about at all: unknown host, refused port, no route, no TLS on that port."""


class TimedOut(ConnectionLost):
    """The peer made no progress for as long as we wait."""


class LoginUnanswered(ConnectionLost):
    """The connection ended where a login was to be answered. Each try may count as one, so it is retried once."""


class ProtocolError(MailmoveError):
    """The peer broke the grammar: the connection is dead. Retried once, with window 1."""

    retryable = True
    exit_code = 75


class LocalProtocolError(MailmoveError):
    """We broke the grammar: a bug, never retried."""


class Interrupted(MailmoveError):
    """Somebody asked the run to stop (Ctrl-C, SIGTERM, a lost lease). Everything acknowledged is durable."""

    exit_code = 130


class CommandRejected(MailmoveError):
    """-ERR: the connection is still good.

    `command` is the command's verb; `code` the response code without brackets (RFC 2449 section 8), or "".
    """

    exit_code = 75

    def __init__(self, message: str, *, server_text: str = "", command: str = "", code: str = "") -> None:
        super().__init__(message, server_text=server_text)
        self.command = command
        self.code = code


class TryLater(CommandRejected):
    """[IN-USE], [LOGIN-DELAY], [SYS/TEMP] (RFC 2449 section 8.1, RFC 3206): wait, then retry.

    `delay` is how long the server asked us to wait, in seconds, or None.
    """

    retryable = True

    def __init__(
        self, message: str, *, server_text: str = "", command: str = "", code: str = "", delay: float | None = None
    ) -> None:
        super().__init__(message, server_text=server_text, command=command, code=code)
        self.delay = delay


class AuthenticationRejected(CommandRejected):
    """The server refused the login. The job stops: a second try with the same password may lock the account."""

    exit_code = 77


class TokenRefused(AuthenticationRejected):
    """The server refused a token of OAuth. It can have run out since an earlier login of the same run: then a fresh one
    is tried, once."""

    retryable = True


class MessageRejected(CommandRejected):
    """The server refused this one message: park it and go on with the others.

    `cause` names why in one word or two, as far as the server's words tell: "size", "nul", "header" …, or "refused".
    """

    exit_code = 3

    def __init__(
        self, message: str, *, server_text: str = "", command: str = "", code: str = "", cause: str = "refused"
    ) -> None:
        super().__init__(message, server_text=server_text, command=command, code=code)
        self.cause = cause


class QuotaExceeded(CommandRejected):
    """The target is full ([OVERQUOTA], RFC 9208 section 5.1): free space there, then run again."""


class DailyLimitReached(MailmoveError):
    """As many octets as `--daily-limit` allows have gone to the target; `when`: it may go on (UTC), if it ever may."""

    exit_code = 75

    def __init__(self, message: str, *, when: datetime | None = None) -> None:
        super().__init__(message)
        self.when = when


class ArchiveError(MailmoveError):
    """The archive could not do its part: the job stops, and nothing more is acknowledged."""

    exit_code = 75


class ArchiveDamaged(ArchiveError):
    """What is on disk is not what the log says."""

    exit_code = 4


class ArchiveFull(ArchiveError):
    """No space left. Free some and run again."""


class ArchiveBusy(ArchiveError):
    """Another process writes to this archive."""


class ArchiveTooNew(ArchiveError):
    """Written by a later mailmove than this one."""

    exit_code = 78


class ArchiveOutdated(ArchiveError):
    """Its catalogue is of an earlier mailmove, and whoever only reads may not bring it up to date."""


class ArchiveElsewhere(ArchiveError):
    """Another machine writes to this archive (design.md section 5, the file `writer`)."""

    exit_code = 78
