"""Logging in to an SMTP or LMTP server: AUTH (RFC 4954), by the mechanisms of protocols/sasl.py.

Strategy: as for POP3 and IMAP: a secret is tried once, in one way; where that is refused no other is tried, since that
would look like guessing. The one exception is a server that did not understand how an initial response was sent: it has
looked at nothing yet. How to log in is chosen by a pure function from what the server announces.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from mailmove.errors import (
    AuthenticationRejected,
    ConfigurationError,
    ConnectionLost,
    LoginUnanswered,
    ProtocolError,
    TryLater,
)
from mailmove.hosts import wire_name
from mailmove.model import TOKEN_METHODS, AuthMethod, Reply
from mailmove.protocols import sasl
from mailmove.targets import smtp_refusals
from mailmove.targets.smtp_dialogue import CHALLENGE, Dialogue
from mailmove.tls import TlsPolicy

LONGEST_COMMAND = 510
"""Octets of a command without its CRLF (RFC 5321 section 4.5.3.1.4); a longer initial response waits to be asked for
(RFC 4954 section 4), and tokens of OAuth can have thousands."""

BEST_FIRST = (AuthMethod.SCRAM_SHA_256, AuthMethod.PLAIN, AuthMethod.LOGIN)
"""What AUTO takes of what is announced. CRAM-MD5 only if asked for: it is guessed as quickly as MD5."""


ABOUT_SECURITY = "5.7."
"""Enhanced codes of what is about who may do something (RFC 3463 section 3.8), not about how it was said."""


@dataclass(frozen=True, slots=True)
class SmtpEndpoint:
    """Where a server is, how the way there must be protected, and how to log in.

    `path`: of a Unix socket, then there are neither host nor port. `user` "": no login. `tls` means TLS from the first
    octet (port 465); without it STARTTLS is required unless `allow_plaintext`, or the server is an LMTP server on this
    machine. `bearer`: the secret is a token of OAuth, no password. `one_by_one`: no command goes before the last one is
    answered, whatever the server offers.
    """

    host: str
    port: int
    user: str = ""
    path: str = ""
    lmtp: bool = False
    tls: bool = False
    policy: TlsPolicy = field(default_factory=TlsPolicy)
    allow_plaintext: bool = False
    timeout: float = 60.0
    bearer: bool = False
    auth: AuthMethod = AuthMethod.AUTO
    one_by_one: bool = False


def choose(endpoint: SmtpEndpoint, offered: Collection[str], secret: str, *, encrypted: bool) -> AuthMethod:
    """The way to log in: the one that was asked for, else the best of the mechanisms `offered` (in capitals).

    SCRAM normalises what is not ASCII (RFC 4013), and servers disagree about it; so AUTO takes it for that only where
    the password would cross the network in clear.
    """
    if endpoint.auth is not AuthMethod.AUTO:
        return endpoint.auth
    if endpoint.bearer:
        return next((way for way in TOKEN_METHODS if sasl.MECHANISMS[way].name in offered), AuthMethod.XOAUTH2)
    simple = (endpoint.user + secret).isascii() and (endpoint.user + secret).isprintable()
    ways = BEST_FIRST if simple or not encrypted else BEST_FIRST[1:]
    return next((way for way in ways if sasl.MECHANISMS[way].name in offered), AuthMethod.PLAIN)


def log_in(dialogue: Dialogue, endpoint: SmtpEndpoint, secret: str, offered: Sequence[str]) -> None:
    """Logs in. `offered`: the mechanisms the server announces, in capitals.

    Raises AuthenticationRejected, TokenRefused, PlaintextRefused, ConfigurationError if the server does not offer what
    was asked for, UsageError for what a way cannot carry, TryLater, LoginUnanswered, ProtocolError.
    """
    kind = sasl.MECHANISMS[choose(endpoint, offered, secret, encrypted=dialogue.stream.encrypted)]
    if kind.name not in offered:
        raise _not_offered(dialogue.peer, kind.name, offered)
    login = sasl.Login(endpoint.user, secret, wire_name(endpoint.host), endpoint.port)
    _authenticate(dialogue, endpoint, kind, login, inline=not kind.in_two_steps)
    dialogue.hide()  # from here on what the server says is not searched for secrets any more


def _authenticate(
    dialogue: Dialogue, endpoint: SmtpEndpoint, kind: type[sasl.AnyMechanism], login: sasl.Login, *, inline: bool
) -> None:
    mechanism = kind(login)
    initial = _base64(mechanism.initial) or "=" if inline and mechanism.initial is not None else ""
    begun = bool(initial) and len(f"AUTH {kind.name} {initial}") <= LONGEST_COMMAND
    try:
        reply = _Exchange(dialogue, mechanism, login.secret).run(initial if begun else "")
    except ConnectionLost as error:
        raise _unanswered(dialogue.peer, endpoint, mechanism, error) from error
    if begun and reply and _is_not_understood(reply, mechanism):
        _authenticate(dialogue, endpoint, kind, login, inline=False)
    else:
        _judge(dialogue, endpoint, mechanism, reply)


def _is_not_understood(reply: Reply, mechanism: sasl.Mechanism) -> bool:
    """Whether a server objects to how something was said, and not to who said it."""
    about_security = reply.enhanced.startswith(ABOUT_SECURITY) or mechanism.complaint
    return reply.code in smtp_refusals.NOT_UNDERSTOOD and not about_security


def _unanswered(
    peer: str, endpoint: SmtpEndpoint, mechanism: sasl.Mechanism, error: ConnectionLost
) -> AuthenticationRejected | LoginUnanswered:
    """Some say why they refuse a token, and hang up."""
    if mechanism.complaint and endpoint.bearer:
        return smtp_refusals.login_given_up(peer, endpoint.user, mechanism.complaint, token=True)
    return smtp_refusals.login_unanswered(peer, endpoint.user, error)


def _judge(dialogue: Dialogue, endpoint: SmtpEndpoint, mechanism: sasl.Mechanism, reply: Reply | None) -> None:
    """Raises for whatever end of an exchange is no success."""
    peer, user, complaint, token = dialogue.peer, endpoint.user, mechanism.complaint, endpoint.bearer
    if reply is None:
        raise smtp_refusals.login_given_up(peer, user, complaint, token=token)
    if not reply.is_positive:
        encrypted = dialogue.stream.encrypted
        raise smtp_refusals.login_refused(peer, user, reply, complaint, token=token, encrypted=encrypted)
    if not mechanism.proven:
        raise smtp_refusals.not_proven(peer, user, mechanism.name)


class _Exchange:
    """One SASL exchange (RFC 4954 section 4). Whatever secret is said in it is hidden from here on."""

    def __init__(self, dialogue: Dialogue, mechanism: sasl.Mechanism, secret: str) -> None:
        self._dialogue, self._mechanism = dialogue, mechanism
        self._hidden = [secret, _base64(secret.encode("utf-8", "replace"))]

    def run(self, initial: str) -> Reply | None:
        """The reply that ends it; None if we gave up. `initial` in base64, "" where the server must ask first."""
        exchange = sasl.Exchange(self._mechanism, begun=bool(initial))
        command = f"AUTH {self._mechanism.name}"
        reply, lines = self._say(f"{command} {initial}", f"{command} ***", initial) if initial else self._say(command)
        while reply.code == CHALLENGE:
            response = exchange.answer(self._challenge(lines))
            if response is None:
                self._give_up()
                return None
            said = _base64(response)
            reply, lines = self._say(said, "***", said)
        if 300 <= reply.code < 400:
            raise ProtocolError(f"{self._dialogue.peer} answered AUTH with {str(reply)!r}.", server_text=str(reply))
        return reply

    def _say(self, line: str, shown: str = "", hidden: str = "") -> tuple[Reply, Sequence[str]]:
        self._hidden.append(hidden)
        self._dialogue.hide(*self._hidden)
        return self._dialogue.ask(line, doing="AUTH", shown=shown)

    def _challenge(self, lines: Sequence[str]) -> bytes:
        """Raises ProtocolError for what is no base64: the connection is dropped."""
        try:
            return base64.b64decode("".join(lines), validate=True)
        except (binascii.Error, ValueError):
            peer = self._dialogue.peer
            raise ProtocolError(f"{peer} asked something in the login that is no base64.") from None

    def _give_up(self) -> None:
        """Says so, and hears the answer out, whatever it is."""
        with contextlib.suppress(ConnectionLost, ProtocolError, TryLater):
            self._say("*")


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _not_offered(peer: str, name: str, offered: Sequence[str]) -> ConfigurationError:
    if not offered:
        return ConfigurationError(
            f"{peer} offers no login (no AUTH); if it takes mail without one, leave the user out of the URL."
        )
    tokens = {kind.name for way, kind in sasl.MECHANISMS.items() if way in TOKEN_METHODS}
    other = "a password" if name in tokens and not tokens.intersection(offered) else "another --auth"
    return ConfigurationError(f"{peer} does not offer {name} (it offers {', '.join(offered)}); log in with {other}.")
