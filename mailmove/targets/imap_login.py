"""The beginning of an IMAP session: protection and login (RFC 9051 sections 6.2.1 to 6.2.3).

Strategy: as for POP3 (sources/pop3_login.py): nothing secret is said before the connection is protected, and a secret
is tried once, in one way; where that is refused no other is tried, since that would look like guessing. A way to log in
is chosen by pure functions from what the server announces; then every end that a login can come to gets its own error.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    ConfigurationError,
    ConnectionLost,
    MailmoveError,
    PlaintextRefused,
    ProtocolError,
    TryLater,
)
from mailmove.hosts import wire_name
from mailmove.model import TOKEN_METHODS, AuthMethod
from mailmove.protocols import sasl
from mailmove.targets import imap_refusals
from mailmove.targets.imap_connection import ImapConnection
from mailmove.tls import TlsPolicy

CLEAR = (AuthMethod.PLAIN, AuthMethod.LOGIN)
"""By these the password itself crosses the wire."""


@dataclass(frozen=True, slots=True)
class ImapEndpoint:
    """Where an account is, how the way there must be protected, and how to log in.

    `tls` means TLS from the first octet (port 993); without it STARTTLS is required unless `allow_plaintext`.
    `bearer`: the secret is a token of OAuth, no password.
    """

    host: str
    port: int
    user: str
    tls: bool
    policy: TlsPolicy = field(default_factory=TlsPolicy)
    allow_plaintext: bool = False
    timeout: float = 60.0
    bearer: bool = False
    auth: AuthMethod = AuthMethod.AUTO


def announced(capabilities: Collection[str]) -> list[AuthMethod]:
    """Those of our mechanisms that are among the `capabilities` (in capitals)."""
    return [way for way, kind in sasl.MECHANISMS.items() if f"AUTH={kind.name}" in capabilities]


def choose(endpoint: ImapEndpoint, capabilities: Collection[str], secret: str, *, encrypted: bool) -> AuthMethod:
    """The way to log in: the one that was asked for, else the best of those announced. LOGIN may be the command.

    SCRAM normalises what is not ASCII (RFC 4013), and servers disagree about it; so AUTO takes it for that only where
    the password would cross the network in clear. LOGIN costs one round trip, PLAIN without SASL-IR two.
    """
    if endpoint.auth is not AuthMethod.AUTO:
        return endpoint.auth
    ways = announced(capabilities)
    if endpoint.bearer:
        return next((way for way in TOKEN_METHODS if way in ways), AuthMethod.XOAUTH2)
    simple = _is_simple(endpoint.user + secret)
    if AuthMethod.SCRAM_SHA_256 in ways and (simple or not encrypted):
        return AuthMethod.SCRAM_SHA_256
    if simple and "LOGINDISABLED" not in capabilities:
        return AuthMethod.LOGIN
    return AuthMethod.PLAIN if AuthMethod.PLAIN in ways else AuthMethod.LOGIN


def _is_simple(text: str) -> bool:
    return text.isascii() and text.isprintable()


def protect(connection: ImapConnection, endpoint: ImapEndpoint) -> None:
    """STARTTLS where it is needed (RFC 9051 section 6.2.1). PREAUTH in plaintext rules it out, so that is refused."""
    if endpoint.tls:
        return
    if "STARTTLS" in connection.capabilities and not connection.preauthenticated:
        connection.start_tls(endpoint.policy, endpoint.host)
    elif not endpoint.allow_plaintext:
        reason = "begins logged in (PREAUTH)" if connection.preauthenticated else "offers no STARTTLS"
        raise PlaintextRefused(
            f"{connection.peer} {reason}, so mail and password would cross the network unencrypted; use imaps://, or "
            "give --allow-plaintext if you accept that."
        )


def log_in(connection: ImapConnection, endpoint: ImapEndpoint, secret: str) -> None:
    """Logs in, and learns what the server can do from here on.

    Raises AuthenticationRejected, TokenRefused, PlaintextRefused, ConfigurationError if the server does not offer what
    was asked for, UsageError for what a way cannot carry, TryLater, LoginUnanswered, ProtocolError.
    """
    if connection.preauthenticated:
        return
    way = choose(endpoint, connection.capabilities, secret, encrypted=connection.encrypted)
    mechanism = _mechanism(connection, endpoint, way, secret)
    try:
        if mechanism is None:
            connection.log_in(endpoint.user, secret)
        else:
            connection.authenticate(mechanism, secret)
    except (CommandRejected, ConnectionLost, ProtocolError) as error:
        raise _failure(connection.peer, endpoint, mechanism, error) from error
    if mechanism is not None:
        _believe(connection.peer, endpoint, mechanism)
    connection.learn_capabilities()


def _mechanism(
    connection: ImapConnection, endpoint: ImapEndpoint, way: AuthMethod, secret: str
) -> sasl.Mechanism | None:
    """None is the command LOGIN. Raises for ways that the server does not offer; nothing was sent then."""
    ways, disabled = announced(connection.capabilities), "LOGINDISABLED" in connection.capabilities
    if way in CLEAR and disabled and way not in ways:
        raise _no_password(connection)
    # Quoted strings are for ASCII; what is beyond it goes as a literal only where there is no other way.
    if way is AuthMethod.LOGIN and not disabled and (way not in ways or _is_simple(endpoint.user + secret)):
        return None
    if way not in ways and any(word.startswith("AUTH=") for word in connection.capabilities):
        raise _not_offered(connection, way)
    return sasl.MECHANISMS[way](sasl.Login(endpoint.user, secret, wire_name(endpoint.host), endpoint.port))


def _not_offered(connection: ImapConnection, way: AuthMethod) -> ConfigurationError:
    offered = sorted(word.removeprefix("AUTH=") for word in connection.capabilities if word.startswith("AUTH="))
    no_tokens = way in TOKEN_METHODS and not set(announced(connection.capabilities)).intersection(TOKEN_METHODS)
    return ConfigurationError(
        f"{connection.peer} does not offer {sasl.MECHANISMS[way].name} (it offers {', '.join(offered)}); log in with "
        f"{'a password' if no_tokens else 'another --auth'}."
    )


def _no_password(connection: ImapConnection) -> PlaintextRefused | AuthenticationRejected:
    if connection.encrypted:
        return AuthenticationRejected(
            f"{connection.peer} takes no password in this way (LOGINDISABLED; it may want a token, --token-command, or "
            "another --auth); nothing was sent."
        )
    return PlaintextRefused(f"{connection.peer} takes no password unencrypted (LOGINDISABLED); use imaps://.")


def _failure(
    peer: str, endpoint: ImapEndpoint, mechanism: sasl.Mechanism | None, error: MailmoveError
) -> MailmoveError:
    """What the end of a login means that was no OK.

    When we gave up, the server must say BAD (RFC 9051 section 6.2.2), and when it gave the reason in a challenge it may
    say anything: then it is that which counts.
    """
    complaint = mechanism.complaint if mechanism else ""
    if complaint and not endpoint.bearer:
        return _given_up(peer, endpoint, complaint)
    if isinstance(error, TryLater):
        return error
    if isinstance(error, CommandRejected) or complaint or imap_refusals.is_about_the_password(error.server_text):
        return imap_refusals.login_refused(peer, endpoint.user, error, complaint, token=endpoint.bearer)
    return imap_refusals.login_unanswered(peer, endpoint.user, error) if isinstance(error, ConnectionLost) else error


def _given_up(peer: str, endpoint: ImapEndpoint, complaint: str) -> AuthenticationRejected:
    return AuthenticationRejected(f"The login of {endpoint.user} at {peer} was given up: {complaint}.")


def _believe(peer: str, endpoint: ImapEndpoint, mechanism: sasl.Mechanism) -> None:
    """Raises AuthenticationRejected for a success that is none."""
    if mechanism.complaint and not endpoint.bearer:
        raise _given_up(peer, endpoint, mechanism.complaint)
    if not mechanism.proven:
        raise AuthenticationRejected(
            f"{peer} took the login of {endpoint.user} without showing that it knows the password, as "
            f"{mechanism.name} demands: somebody may be in between. Nothing was sent."
        )
