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
    LoginUnanswered,
    MailboxRefused,
    MailmoveError,
    MessageRejected,
    ProtocolError,
    QuotaExceeded,
    TokenRefused,
    TryLater,
)

_CODE = re.compile(r"\[([A-Za-z0-9-]+)(?: [^\]]*)?\]")
_BACKOFF = re.compile(r"backoff time:?\s*(\d{1,9})\s*(ms|milliseconds?|s|sec|seconds?)?\b", re.IGNORECASE)

_BUSY_CODES = frozenset({"UNAVAILABLE", "INUSE", "SERVERBUG", "THROTTLED"})
"""SERVERBUG too: Dovecot says it whenever its disk or a lock fails, which has nothing to do with the message."""

_MAILBOX_CODES = frozenset({"TRYCREATE", "NONEXISTENT", "NOPERM", "READ-ONLY", "CORRUPTION", "CONTACTADMIN"})

_PASSWORD_CODES = frozenset({"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"})
"""These are about the password whatever the words: trying it again could lock the account."""

_WHAT_TO_CHECK = {
    False: "password, and whether the provider wants IMAP switched on or an app password",
    True: "token: is it fresh, and made for this mailbox and for IMAP",
}
"""After a refused login; True: by a token."""

LOGINS = ("LOGIN", "AUTHENTICATE")

_LOGGED_OUT = re.compile(
    r"(access ?)?token ?((has|is|was) (been )?)?(expired|revoked)|session ((has|is|was) )?(been )?(expired|invalidated)"
    r"|\b(log|sign) ?in again|re-?authenticat|\bnot (logged in|authenticated)\b",
    re.IGNORECASE,
)
"""A login that has run out in the middle of a session, as that of a token does after an hour."""

_BUSY = re.compile(
    r"\[THROTTLED\]|throttl|backoff time|bandwidth|rate limit|(please |must )slow down|try again later|temporar"
    r"|too many (simultaneous |concurrent |open )*(connections|sessions|commands|requests|logins)"
    r"|maximum number of (concurrent )?connections|connection limit"
    r"|(server|service) (is )?(currently )?(unavailable|busy)|system i/o error",
    re.IGNORECASE,
)
"""Exchange says "Server Unavailable. 15" for a full mailbox, too: of no single message in either case."""

_FULL = re.compile(
    r"over (\w+ )?quota|quota (has been |is |was )?(exceeded|reached|full)|exceed\w* (\w+ ){0,3}quota"
    r"|(mailbox|storage|disk|account) (is |was )?full|storage (limit )?(has been |is |was )?exceeded"
    r"|no space left|(insufficient|not enough|no more|out of) (\w+ )?space",
    re.IGNORECASE,
)
"""What servers say that have no [OVERQUOTA] (RFC 9208): Cyrus, Courier, GroupWise, and any whose disk is full."""

_BAD_MESSAGE = re.compile(r"command (argument )?error\b|additional arguments found", re.IGNORECASE)
"""BAD to APPEND that is about the message: Exchange says "Command Argument Error. 11" (a line of some 10,000 octets, a
header it cannot decode, its size) or "Command Error. 10", Yahoo "Additional arguments found after last expected
argument" (no CRLF at its end). Neither says which."""

_CAUSES = (
    ("size", r"too (large|big)|message (is )?too long|(message|size) (limit|exceeds)|exceed\w* .*size|max\w* .*\bsize"),
    ("virus", r"virus|malware|infected|trojan"),
    ("duplicate", r"identical|duplicate"),
    ("empty", r"zero.(byte|length)|empty message|message is empty"),
    ("nul", r"\bNULs?\b|\bnull (byte|char|octet)"),
    ("bare-newlines", r"(bare|lone|naked|stray) (newline|lf|cr|line ?feed|carriage)"),
    ("long-lines", r"lines? (is |are )?(too long|longer)|(too|overly) long lines?|line length|long lines?|\b998\b"),
    ("8bit-headers", r"(non-(us-)?ascii|8.?bit|unencoded) .*header|header.* (non-(us-)?ascii|8.?bit|unencoded)"),
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
    code = code_of(text)
    if code == "TOOBIG":
        return "size"
    unclear = "header" if code == "PARSE" else "refused"  # RFC 9051 section 7.1: a header that could not be parsed
    return next((cause for cause, phrase in _CAUSES if re.search(phrase, text, re.IGNORECASE)), unclear)


def login_refused(
    peer: str, user: str, refusal: MailmoveError, complaint: str = "", *, token: bool = False
) -> CommandRejected:
    """NO to LOGIN or AUTHENTICATE: TryLater if it is about the moment (RFC 5530), else AuthenticationRejected.

    `complaint` is what the server said before, within the SASL exchange; a `token` that is refused is TokenRefused.
    LIMIT and "too many connections" are about other sessions of the same user, never about the password.
    """
    text, code = refusal.server_text, code_of(refusal.server_text)
    command = refusal.command if isinstance(refusal, CommandRejected) else ""
    busy = code in _BUSY_CODES | {"LIMIT"} or _BUSY.search(text)
    if busy and code not in _PASSWORD_CODES:
        said = f"{peer} takes no login of {user} now: {text!r}."
        return TryLater(said, server_text=text, command=command, code=code, delay=delay_of(text))
    told = f"{f': {text!r}' if text else ''}{f' ({complaint})' if complaint else ''}"
    kind = TokenRefused if token else AuthenticationRejected
    said = f"{peer} refused the login of {user}{told}. Check the user name and {_WHAT_TO_CHECK[token]}."
    return kind(said, server_text=text, command=command, code=code)


def login_unanswered(peer: str, user: str, error: ConnectionLost) -> LoginUnanswered:
    """The connection ended where a login was to be answered, which some servers count as a login that failed."""
    return LoginUnanswered(
        f"The login of {user} at {peer} got no answer. {error.message} Some servers refuse a password in this way, or "
        "whoever comes too often: check the user name and the password, and wait a while before you run again.",
        server_text=error.server_text,
    )


def is_about_the_password(text: str) -> bool:
    """Whether a server's words say that it was the login it refused, in whatever form they came."""
    return code_of(text) in _PASSWORD_CODES


def message_refused(peer: str, mailbox: str, refusal: CommandRejected) -> MailmoveError:
    """NO to APPEND: TryLater, QuotaExceeded, MailboxRefused, or MessageRejected with a cause.

    ConnectionLost where the login has run out: it is about no message, and another session can go on.

    NOPERM, READ-ONLY, CORRUPTION and CONTACTADMIN are MailboxRefused: they would be said of every message (RFC 5530).
    CANNOT is MessageRejected: the mailbox was selected, so what "can never succeed" is this message. LIMIT is TryLater
    unless its words name a fault of this message, like its size, or that there are too many like it (Cyrus).
    """
    text, code = refusal.server_text, refusal.code
    said = f"{peer} refused a message for {mailbox}: {text!r}."
    if _is_logged_out(text):
        return _logged_out(peer, text)
    if code in _MAILBOX_CODES:
        return MailboxRefused(said, server_text=text)
    full = "[OVERQUOTA]" in text.upper() or _FULL.search(text)
    if full and code != "TOOBIG" and not _BUSY.search(text):
        return QuotaExceeded(
            f"{peer} has no room for another message in {mailbox} ({text!r}); free space there, then run again.",
            server_text=text,
            command=refusal.command,
            code="OVERQUOTA",
        )
    cause = cause_of(text)
    busy = code in _BUSY_CODES or _BUSY.search(text) or (code == "LIMIT" and cause == "refused")
    if busy and code != "TOOBIG":
        return _later(said, refusal)
    return MessageRejected(said, server_text=text, command=refusal.command, code=code, cause=cause)


def mailbox_refused(peer: str, verb: str, mailbox: str, refusal: CommandRejected) -> MailmoveError:
    """NO to SELECT, CREATE or STATUS: TryLater if it is about the moment, ConnectionLost if about the login, else
    MailboxRefused."""
    if _is_logged_out(refusal.server_text):
        return _logged_out(peer, refusal.server_text)
    said = f"{peer} will not {verb} the mailbox {mailbox!r}: {refusal.server_text!r}."
    if refusal.code in _BUSY_CODES or _BUSY.search(refusal.server_text):
        return _later(said, refusal)
    return MailboxRefused(said, server_text=refusal.server_text)


def reading_refused(peer: str, refusal: CommandRejected) -> TryLater | ConnectionLost:
    """NO to FETCH: what is there stays unknown, and nobody may conclude that it is absent."""
    if _is_logged_out(refusal.server_text):
        return _logged_out(peer, refusal.server_text)
    return _later(f"{peer} would not show what is in the mailbox: {refusal.server_text!r}.", refusal)


def farewell(peer: str, doing: str, text: str) -> MailmoveError:
    """BYE without our LOGOUT: TryLater if it asks for patience, else ConnectionLost."""
    said = f"{peer} ended the session in the middle of {doing}: {text!r}."
    if code_of(text) in _BUSY_CODES | {"LIMIT"} or _BUSY.search(text):
        return TryLater(said, server_text=text, command=doing, code=code_of(text), delay=delay_of(text))
    return ConnectionLost(said, server_text=text)


def bad(peer: str, doing: str, text: str) -> MailmoveError:
    """BAD: ProtocolError, but some say it where the login has run out (ConnectionLost), and Exchange to throttle
    (TryLater). The connection is dropped for all of them."""
    said = f"{peer} answered {doing} with BAD: {text!r}."
    if doing not in LOGINS and _LOGGED_OUT.search(text):
        return _logged_out(peer, text)
    if _BUSY.search(text):
        return TryLater(said, server_text=text, command=doing, code=code_of(text), delay=delay_of(text))
    if doing == "APPEND" and _BAD_MESSAGE.search(text):
        return MessageRejected(said, server_text=text, command=doing, code=code_of(text), cause=cause_of(text))
    return ProtocolError(said, server_text=text)


def _is_logged_out(text: str) -> bool:
    """RFC 5530: these codes are about who is logged in, and he was let in before."""
    return code_of(text) in ("EXPIRED", "AUTHENTICATIONFAILED") or _LOGGED_OUT.search(text) is not None


def _logged_out(peer: str, text: str) -> ConnectionLost:
    return ConnectionLost(f"{peer} does not take us for logged in any more: {text!r}.", server_text=text)


def _later(said: str, refusal: CommandRejected) -> TryLater:
    return TryLater(
        said,
        server_text=refusal.server_text,
        command=refusal.command,
        code=refusal.code,
        delay=delay_of(refusal.server_text),
    )
