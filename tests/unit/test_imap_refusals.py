"""What servers say when they refuse, and what it means: the words are those of real servers where a name stands."""

from __future__ import annotations

import pytest

from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    ConnectionLost,
    MailboxRefused,
    MailmoveError,
    MessageRejected,
    ProtocolError,
    QuotaExceeded,
    TokenRefused,
    TryLater,
)
from mailmove.targets.imap_refusals import (
    bad,
    cause_of,
    code_of,
    delay_of,
    farewell,
    login_refused,
    mailbox_refused,
    message_refused,
    reading_refused,
)

PEER, USER = "mail.example:993", "me@mail.example"


def refusal(text: str) -> CommandRejected:
    return CommandRejected("refused", server_text=text, command="APPEND", code=code_of(text))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[OVERQUOTA] Quota exceeded", "OVERQUOTA"),
        ("[overquota] in small letters", "OVERQUOTA"),
        ("[BADCHARSET (UTF-8)] x", "BADCHARSET"),
        ("[APPENDUID 1 2] done", "APPENDUID"),
        ("[X-SOMETHING-9] done", "X-SOMETHING-9"),
        ("no code", ""),
        ("code at the end [THROTTLED]", ""),
        ("[] empty", ""),
        ("[UNCLOSED text", ""),
        ("", ""),
    ],
)
def test_the_code_stands_at_the_beginning(text: str, code: str) -> None:
    assert code_of(text) == code


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Request is throttled. Suggested Backoff Time: 299961 milliseconds", 299.961),  # Exchange
        ("Suggested Backoff Time: 250 ms", 0.25),
        ("Suggested Backoff Time: 30 seconds", 30.0),
        ("suggested backoff time 1500", 1.5),
        ("Suggested Backoff Time: soon", None),
        ("Suggested Backoff Time: 99999999999999 ms", None),
        ("nothing", None),
    ],
)
def test_how_long_we_are_asked_to_wait(text: str, seconds: float | None) -> None:
    delay = delay_of(text)
    assert delay is None if seconds is None else delay == pytest.approx(seconds)


CAUSES = [
    ("[TOOBIG] it is", "size"),
    ("Message too large", "size"),
    ("[LIMIT] Mail size is larger than the maximum size allowed by server configuration", "size"),  # Dovecot
    ("Message exceeds maximum size", "size"),
    ("Message size exceeds fixed maximum", "size"),
    ("Message contains NUL characters", "nul"),  # Cyrus
    ("Message contains bare newlines", "bare-newlines"),  # Cyrus
    ("Message contains invalid header", "header"),  # Cyrus
    ("Message contains non-ASCII characters in headers", "8bit-headers"),  # Cyrus
    ("Message contains no header/body separator", "header"),
    ("Message contains 8bit characters in the header", "8bit-headers"),
    ("The header has unencoded characters", "8bit-headers"),
    ("[PARSE] Cannot understand the message", "header"),
    ("[PARSE] 8-bit data in a header field", "8bit-headers"),
    ("Stray CR in message", "bare-newlines"),
    ("Maximum size of appendable message has been exceeded", "size"),  # Exchange
    ("Message is too long", "size"),
    ("[LIMIT] Too many identical emails", "duplicate"),  # Cyrus
    ("[LIMIT] Too many user flags in mailbox", "flag"),  # Cyrus
    ("Unexpected exception", "refused"),  # iCloud
    ("Lines of more than 998 characters", "long-lines"),
    ("Message has a line too long", "long-lines"),
    ("Header line is too long", "long-lines"),
    ("Invalid flag", "flag"),
    ("Keyword not allowed", "flag"),
    ("Message contains a virus", "virus"),
    ("Can't save a zero byte message", "empty"),  # Dovecot
    ("Empty message", "empty"),
    ("annulled", "refused"),
    ("We are sorry", "refused"),
    ("", "refused"),
]


@pytest.mark.parametrize(("text", "cause"), CAUSES)
def test_why_a_message_is_refused(text: str, cause: str) -> None:
    assert cause_of(text) == cause
    error = message_refused(PEER, "INBOX", refusal(text))
    assert type(error) is MessageRejected
    assert (error.cause, error.server_text) == (cause, text)


MESSAGE = [
    ("[OVERQUOTA] Quota exceeded (mailbox for user is full)", QuotaExceeded),  # Dovecot
    ("[ALERT] [OVERQUOTA] full", QuotaExceeded),
    ("Over quota", QuotaExceeded),  # Cyrus
    ("Mailbox is over STORAGE quota", QuotaExceeded),  # Cyrus
    ("mail system storage has been exceeded", QuotaExceeded),  # Cyrus
    ("APPEND The 1500 MB storage limit has been exceeded.", QuotaExceeded),  # GroupWise
    ("You exceeded your mail quota.", QuotaExceeded),
    ("Quota exceeded", QuotaExceeded),
    ("write failed: No space left on device", QuotaExceeded),
    ("[TOOBIG] This message exceeds your quota", MessageRejected),
    ("Server Unavailable. 15", TryLater),  # Exchange
    ("System I/O error", TryLater),  # Cyrus
    ("Temporary unavailable", TryLater),  # Zimbra
    ("[LIMIT] Rate limit hit.", TryLater),  # Yahoo
    ("[ALERT] Too many simultaneous connections. (Failure)", TryLater),  # Gmail
    ("[CORRUPTION] The mailbox is damaged", MailboxRefused),
    ("[CONTACTADMIN] Ask the operator", MailboxRefused),
    ("[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", TryLater),  # Gmail
    ("Please slow down (Failure) [THROTTLED]", TryLater),  # Gmail: not a code, at the end of the line
    ("[THROTTLED] slow down", TryLater),
    ("Request is throttled. Suggested Backoff Time: 5000 milliseconds", TryLater),  # Exchange
    ("[LIMIT] too many open", TryLater),
    ("[UNAVAILABLE] Temporary failure", TryLater),
    ("[INUSE] locked", TryLater),
    ("[SERVERBUG] Internal error occurred. Refer to server log for more information.", TryLater),  # Dovecot
    ("[TRYCREATE] Mailbox doesn't exist: x", MailboxRefused),  # Dovecot
    ("[NONEXISTENT] Unknown Mailbox: x (Failure)", MailboxRefused),  # Gmail
    ("[NOPERM] Permission denied", MailboxRefused),
    ("[READ-ONLY] no", MailboxRefused),
    ("[CANNOT] never", MessageRejected),
    ("[TOOBIG] Temporarily too large", MessageRejected),
]


@pytest.mark.parametrize(("text", "kind"), MESSAGE)
def test_what_is_not_about_the_message_alone(text: str, kind: type[MailmoveError]) -> None:
    error = message_refused(PEER, "INBOX", refusal(text))
    assert type(error) is kind
    assert error.server_text == text and text in error.message
    assert getattr(error, "delay", None) == delay_of(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", AuthenticationRejected),  # Gmail
        ("[AUTHENTICATIONFAILED] wrong; try again later", AuthenticationRejected),
        ("LOGIN failed.", AuthenticationRejected),  # Exchange
        ("[ALERT] Application-specific password required (Failure)", AuthenticationRejected),  # Gmail
        ("[ALERT] Too many simultaneous connections. (Failure)", TryLater),  # Gmail
        ("[UNAVAILABLE] Temporary authentication failure.", TryLater),  # Dovecot
        ("[INUSE] busy", TryLater),
        ("[LIMIT] Too many sessions", TryLater),
        ("Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", TryLater),  # Dovecot
    ],
)
def test_a_refused_login_is_about_the_password_or_about_the_moment(text: str, kind: type[MailmoveError]) -> None:
    error = login_refused(PEER, USER, refusal(text))
    assert type(error) is kind
    assert USER in error.message and text in error.message and error.server_text == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[CANNOT] Invalid mailbox name", MailboxRefused),
        ("[NONEXISTENT] no", MailboxRefused),
        ("[LIMIT] You have reached the maximum number of folders", MailboxRefused),
        ("[OVERQUOTA] full", MailboxRefused),
        ("[UNAVAILABLE] later", TryLater),
        ("slow down [THROTTLED]", TryLater),
    ],
)
def test_a_refused_mailbox(text: str, kind: type[MailmoveError]) -> None:
    error = mailbox_refused(PEER, "create", "Entwürfe", refusal(text))
    assert type(error) is kind
    assert "'Entwürfe'" in error.message and "create" in error.message and text in error.message


RUN_OUT = [
    "[EXPIRED] That token has run out",
    "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    "AccessTokenExpired",
    "Access token has expired",
    "Token revoked",
    "Session expired, please login again.",
    "Session invalidated",
    "Please log in again",
    "Not authenticated",
]


@pytest.mark.parametrize("text", RUN_OUT)
def test_a_login_that_has_run_out_is_about_no_message_and_no_mailbox(text: str) -> None:
    """Another session can go on, with a fresh token; nothing may be parked, or called absent."""
    asked = [
        message_refused(PEER, "INBOX", refusal(text)),
        mailbox_refused(PEER, "open", "INBOX", refusal(text)),
        reading_refused(PEER, refusal(text)),
    ]
    for error in asked:
        assert type(error) is ConnectionLost and error.retryable
        assert text in error.message and error.server_text == text
    assert type(login_refused(PEER, USER, refusal(text))) is AuthenticationRejected
    assert type(login_refused(PEER, USER, refusal(text), token=True)) is TokenRefused


@pytest.mark.parametrize("text", ["Message expired", "[CANNOT] token missing in header", "Bad login token in subject"])
def test_other_words_do_not_end_the_login(text: str) -> None:
    assert type(message_refused(PEER, "INBOX", refusal(text))) is MessageRejected


def test_what_is_not_shown_is_not_absent() -> None:
    assert type(reading_refused(PEER, refusal("no"))) is TryLater


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Session expired, please login again.", ConnectionLost),  # Gmail
        ("Session invalidated - AccessTokenExpired", ConnectionLost),  # Exchange
        ("Disconnected for inactivity.", ConnectionLost),  # Dovecot
        ("Connection closed. 14", ConnectionLost),  # Exchange, after ten errors
        ("[UNAVAILABLE] shutting down", TryLater),
        ("Too many connections", TryLater),
        ("Account exceeded command or bandwidth limits", TryLater),
        ("Connection rate limit exceeded", TryLater),
    ],
)
def test_a_bye(text: str, kind: type[MailmoveError]) -> None:
    error = farewell(PEER, "APPEND", text)
    assert type(error) is kind
    assert "APPEND" in error.message and text in error.message and error.server_text == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Command Argument Error. 11", MessageRejected),  # Exchange
        ("Command Error. 10", MessageRejected),  # Exchange
        ("[CLIENTBUG] Additional arguments found after last expected argument", MessageRejected),  # Yahoo
        ("Error in IMAP command", ProtocolError),
        ("User is authenticated but not connected.", ProtocolError),
        ("AccessTokenExpired", ConnectionLost),
        ("Request is throttled. Suggested Backoff Time: 5 ms", TryLater),  # Exchange
    ],
)
def test_a_bad(text: str, kind: type[MailmoveError]) -> None:
    error = bad(PEER, "APPEND", text)
    assert type(error) is kind
    assert text in error.message and error.server_text == text


@pytest.mark.parametrize("doing", ["SELECT", "UID FETCH", "NOOP", "LOGIN"])
def test_a_bad_that_is_of_a_message_to_append_is_a_broken_grammar_elsewhere(doing: str) -> None:
    assert type(bad(PEER, doing, "Command Argument Error. 11")) is ProtocolError


def test_what_exchange_does_not_say_is_not_guessed() -> None:
    for text in ("Command Argument Error. 11", "Command Error. 10"):
        error = bad(PEER, "APPEND", text)
        assert isinstance(error, MessageRejected) and error.cause == "refused"
        again = message_refused(PEER, "INBOX", error)
        assert isinstance(again, MessageRejected) and again.cause == "refused"
