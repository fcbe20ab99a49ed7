"""What an IMAP server's NO, BAD and BYE mean, from its words alone (design.md section 7, "NO is classified").

Strategy: pure functions from the text behind them to the error that says what to do next. Response codes come
first (RFC 9051 section 7.1, RFC 5530, RFC 7889, RFC 9208); where a server gives none, its known phrases decide; where
even those are new to us, a message is parked as "refused", since a wrong "wait" would hold up all the others. What asks
us to slow down is looked for anywhere in the line, because Gmail and Exchange write it there.
"""

from __future__ import annotations

import re

from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    ConnectionLost,
    MailboxRefused,
    MailmoveError,
    MessageRejected,
    ProtocolError,
    QuotaExceeded,
    TryLater,
)

_CODE = re.compile(r"\[([A-Za-z0-9-]+)(?: [^\]]*)?\]")
_BACKOFF = re.compile(r"backoff time:?\s*(\d{1,9})\s*(ms|milliseconds?|s|sec|seconds?)?\b", re.IGNORECASE)

_BUSY_CODES = frozenset({"UNAVAILABLE", "INUSE", "SERVERBUG", "THROTTLED"})
"""SERVERBUG too: Dovecot says it whenever its disk or a lock fails, which has nothing to do with the message."""

_PASSWORD_CODES = frozenset({"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"})
"""These are about the password whatever the words: trying it again could lock the account."""

_BUSY = re.compile(
    r"\[THROTTLED\]|throttl|backoff time|bandwidth|rate limit|try again later|temporar"
    r"|too many (simultaneous |concurrent |open )?(connections|sessions|commands|requests|logins)"
    r"|maximum number of (concurrent )?connections|connection limit",
    re.IGNORECASE,
)

_CAUSES = (
    ("size", r"too (large|big)|(message|size) (limit|exceeds)|exceeds .*size|maximum (message )?size"),
    ("virus", r"virus|malware|infected"),
    ("empty", r"zero.byte|empty message|message is empty"),
    ("nul", r"\bNULs?\b|\bnull (byte|char|octet)"),
    ("bare-newlines", r"bare (newline|lf|cr|line ?feed|carriage)"),
    ("long-lines", r"lines? (is |are )?(too long|longer)|(too|overly) long (a )?lines?|line length|long lines?"),
    ("8bit-headers", r"non-ascii .*header|8.?bit .*header"),
    ("header", r"header"),
    ("flag", r"flag|keyword"),
)
"""(cause, phrase); where `--repair` can help, the cause is its word for it. The first that is found counts."""


def code_of(text: str) -> str:
    """The response code at the beginning of the text, in capitals and without brackets, or ""."""
    found = _CODE.match(text)
    return found[1].upper() if found else ""


def delay_of(text: str) -> float | None:
    """The seconds in "Suggested Backoff Time: 299961 milliseconds" (Exchange), or None."""
    found = _BACKOFF.search(text)
    if not found:
        return None
    seconds = (found[2] or "ms").lower().startswith("s")
    return int(found[1]) * (1.0 if seconds else 0.001)


def cause_of(text: str) -> str:
    """Why a message was refused: "size", "nul", "header" …, or "refused" if the words do not tell."""
    if code_of(text) == "TOOBIG":
        return "size"
    return next((cause for cause, phrase in _CAUSES if re.search(phrase, text, re.IGNORECASE)), "refused")


def login_refused(peer: str, user: str, refusal: CommandRejected, complaint: str = "") -> CommandRejected:
    """NO to LOGIN or AUTHENTICATE: TryLater if it is about the moment (RFC 5530), else AuthenticationRejected.

    `complaint` is what the server said before, within the SASL exchange.
    LIMIT and "too many connections" are about other sessions of the same user, never about the password.
    """
    busy = refusal.code in _BUSY_CODES | {"LIMIT"} or _BUSY.search(refusal.server_text)
    if busy and refusal.code not in _PASSWORD_CODES:
        return _later(f"{peer} takes no login of {user} now: {refusal.server_text!r}.", refusal)
    also = f" ({complaint})" if complaint else ""
    return AuthenticationRejected(
        f"{peer} refused the login of {user}: {refusal.server_text!r}{also}. Check the user name and password (or "
        "token), and whether the provider wants IMAP switched on or an app password.",
        server_text=refusal.server_text,
        command=refusal.command,
        code=refusal.code,
    )


def message_refused(peer: str, mailbox: str, refusal: CommandRejected) -> MailmoveError:
    """NO to APPEND: TryLater, QuotaExceeded, MailboxRefused, or MessageRejected with a cause.

    NOPERM and READ-ONLY are MailboxRefused: they would be said of every message (RFC 5530). CANNOT is MessageRejected:
    the mailbox was selected, so what "can never succeed" is this message. LIMIT is TryLater unless it speaks of size.
    """
    text, code = refusal.server_text, refusal.code
    said = f"{peer} refused a message for {mailbox}: {text!r}."
    if code in ("TRYCREATE", "NONEXISTENT", "NOPERM", "READ-ONLY"):
        return MailboxRefused(said, server_text=text)
    if "[OVERQUOTA]" in text.upper() and not _BUSY.search(text):
        return QuotaExceeded(
            f"{peer} has no room for another message in {mailbox} ({text!r}); free space there, then run again.",
            server_text=text,
            command=refusal.command,
            code="OVERQUOTA",
        )
    cause = cause_of(text)
    busy = code in _BUSY_CODES or _BUSY.search(text) or (code == "LIMIT" and cause != "size")
    if busy and code != "TOOBIG":
        return _later(said, refusal)
    return MessageRejected(said, server_text=text, command=refusal.command, code=code, cause=cause)


def mailbox_refused(peer: str, verb: str, mailbox: str, refusal: CommandRejected) -> MailmoveError:
    """NO to SELECT, CREATE or STATUS: TryLater if it is about the moment, else MailboxRefused."""
    said = f"{peer} will not {verb} the mailbox {mailbox!r}: {refusal.server_text!r}."
    if refusal.code in _BUSY_CODES or _BUSY.search(refusal.server_text):
        return _later(said, refusal)
    return MailboxRefused(said, server_text=refusal.server_text)


def reading_refused(peer: str, refusal: CommandRejected) -> TryLater:
    """NO to FETCH: what is there stays unknown, and nobody may conclude that it is absent."""
    return _later(f"{peer} would not show what is in the mailbox: {refusal.server_text!r}.", refusal)


def farewell(peer: str, doing: str, text: str) -> MailmoveError:
    """BYE without our LOGOUT: TryLater if it asks for patience, else ConnectionLost."""
    said = f"{peer} ended the session in the middle of {doing}: {text!r}."
    if code_of(text) in _BUSY_CODES | {"LIMIT"} or _BUSY.search(text):
        return TryLater(said, server_text=text, command=doing, code=code_of(text), delay=delay_of(text))
    return ConnectionLost(said, server_text=text)


def bad(peer: str, doing: str, text: str) -> MailmoveError:
    """BAD: ProtocolError, but Exchange says it to throttle, too: then TryLater. The connection is dropped for both."""
    said = f"{peer} answered {doing} with BAD: {text!r}."
    if _BUSY.search(text):
        return TryLater(said, server_text=text, command=doing, code=code_of(text), delay=delay_of(text))
    return ProtocolError(said, server_text=text)


def _later(said: str, refusal: CommandRejected) -> TryLater:
    return TryLater(
        said,
        server_text=refusal.server_text,
        command=refusal.command,
        code=refusal.code,
        delay=delay_of(refusal.server_text),
    )
