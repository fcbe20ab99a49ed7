"""What an SMTP or LMTP server's refusals mean before the first mail (RFC 5321 section 4.2.3, RFC 4954 section 6).

Strategy: pure functions from a reply to the error that says what to do next. SMTP has codes for it, so words decide
nothing: 4yz is another time, 421 the end of the connection, and of a login only what is about the password is
AuthenticationRejected.
"""

from __future__ import annotations

from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    ConfigurationError,
    ConnectionLost,
    LoginUnanswered,
    MailmoveError,
    PlaintextRefused,
    ProtocolError,
    TokenRefused,
    TryLater,
)
from mailmove.model import Reply

CLOSING = 421
READY = 220
TRANSITION = 432
"""RFC 4954 section 6: a login by another mechanism is needed first. It is 4yz, but waiting does not help."""

UNENCRYPTED = (530, 538)
"""RFC 3207 section 4, RFC 4954 section 6: not before STARTTLS."""

NOT_UNDERSTOOD = (500, 501)
NOT_AVAILABLE = (502, 503, 504)

_WHAT_TO_CHECK = {
    False: "password, and whether the provider wants SMTP switched on or an app password",
    True: "token: is it fresh, and made for this mailbox and for SMTP",
}
"""After a refused login; True: by a token."""


def closing(peer: str, doing: str, reply: Reply) -> TryLater:
    """421: the server closes the connection, whatever was asked (RFC 5321 section 3.8)."""
    return TryLater(f"{peer} hung up at {doing}: {str(reply)!r}.", server_text=str(reply), code=reply.codes)


def no_service(peer: str, reply: Reply) -> MailmoveError:
    """A greeting that is no 220: TryLater, or CommandRejected (554, RFC 5321 section 3.1) where it is for good."""
    said = f"{peer} takes no mail from us: {str(reply)!r}."
    if reply.is_transient:
        return TryLater(said, server_text=str(reply), code=reply.codes)
    if reply.is_positive:
        return ProtocolError(f"{peer} greets as no mail server does: {str(reply)!r}.", server_text=str(reply))
    return CommandRejected(said, server_text=str(reply), code=reply.codes)


def no_hello(peer: str, reply: Reply, *, lmtp: bool) -> MailmoveError:
    """EHLO and HELO, or LHLO, refused."""
    if reply.is_transient:
        return TryLater(f"{peer} is not ready for us: {str(reply)!r}.", server_text=str(reply), code=reply.codes)
    kind, other = ("LMTP", "smtp://") if lmtp else ("SMTP", "lmtp://")
    return ConfigurationError(
        f"{peer} would not let us say hello in {kind} ({str(reply)!r}); if it is no {kind} server, use {other}.",
        server_text=str(reply),
    )


def no_starttls(peer: str, reply: Reply) -> MailmoveError:
    """STARTTLS announced, and refused (454: not now, RFC 3207 section 4)."""
    said = f"{peer} offers STARTTLS and refused it: {str(reply)!r}."
    if reply.is_transient:
        return TryLater(said, server_text=str(reply), command="STARTTLS", code=reply.codes)
    return PlaintextRefused(said, server_text=str(reply))


def login_refused(
    peer: str, user: str, reply: Reply, complaint: str = "", *, token: bool = False, encrypted: bool = True
) -> MailmoveError:
    """AUTH refused. TryLater if it is about the moment, ConfigurationError if about the way, else
    AuthenticationRejected, or TokenRefused for a `token`.

    `complaint` is what the server said before, within the SASL exchange.
    """
    text = str(reply)
    if reply.is_transient and reply.code != TRANSITION:
        said = f"{peer} takes no login of {user} now: {text!r}."
        return TryLater(said, server_text=text, command="AUTH", code=reply.codes)
    if reply.code in UNENCRYPTED and not encrypted:
        return PlaintextRefused(f"{peer} takes no login unencrypted: {text!r}; use smtps://.", server_text=text)
    if reply.code in NOT_AVAILABLE and not complaint:
        said = f"{peer} does not take this way to log in ({text!r}); choose another with --auth."
        return ConfigurationError(said, server_text=text)
    kind = TokenRefused if token else AuthenticationRejected
    told = f": {text!r}{f' ({complaint})' if complaint else ''}"
    said = f"{peer} refused the login of {user}{told}. Check the user name and {_WHAT_TO_CHECK[token]}."
    return kind(said, server_text=text, command="AUTH", code=reply.codes)


def login_given_up(peer: str, user: str, complaint: str, *, token: bool = False) -> AuthenticationRejected:
    """We broke the exchange off."""
    kind = TokenRefused if token else AuthenticationRejected
    return kind(f"The login of {user} at {peer} was given up: {complaint}.", command="AUTH")


def login_unanswered(peer: str, user: str, error: ConnectionLost) -> LoginUnanswered:
    """The connection ended where a login was to be answered, which some servers count as a login that failed."""
    return LoginUnanswered(
        f"The login of {user} at {peer} got no answer. {error.message} Some servers refuse a password in this way, or "
        "whoever comes too often: check the user name and the password, and wait a while before you run again.",
        server_text=error.server_text,
    )


def not_proven(peer: str, user: str, mechanism: str) -> AuthenticationRejected:
    """A success without the proof that the mechanism demands (RFC 5802 section 3)."""
    return AuthenticationRejected(
        f"{peer} took the login of {user} without showing that it knows the password, as {mechanism} demands: somebody "
        "may be in between. No mail was sent."
    )
