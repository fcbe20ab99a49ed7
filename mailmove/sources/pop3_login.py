"""The beginning of a POP3 session: greeting, protection, login (RFC 1939 section 4, RFC 2595, RFC 5034).

Strategy: nothing secret is said before the connection is protected, and a password is tried once, in one way: where a
way to log in is refused, no other is tried, since that would look like guessing. The one exception is a server that
did not understand how an initial response was sent: it has looked at nothing yet. `Pop3Login` talks through the session
it is given, and leaves it in the transaction state.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    ConfigurationError,
    ConnectionLost,
    HostUnreachable,
    LoginUnanswered,
    PlaintextRefused,
    ProtocolError,
    TimedOut,
    TryLater,
)
from mailmove.hosts import wire_name
from mailmove.model import TOKEN_METHODS, AuthMethod
from mailmove.net import Stream
from mailmove.protocols import pop3, sasl
from mailmove.tls import TlsPolicy

Capabilities = Mapping[str, tuple[str, ...]]

BEST_FIRST = (AuthMethod.SCRAM_SHA_256, AuthMethod.PLAIN, AuthMethod.LOGIN)
"""What AUTO takes of what is announced. CRAM-MD5 and APOP only if asked for: they are guessed as quickly as MD5."""

_NOT_UNDERSTOOD = re.compile(
    r"\b(syntax|arguments?|parameters?|protocol error|too long|(unknown|unrecogni[sz]ed|invalid|bad) command)\b",
    re.IGNORECASE,
)

_BUSY = re.compile(
    r"\b(mail ?drop|mail ?box)\b.*\b(locked|in use|busy)\b|\block(ed)? (the )?(mail ?drop|mail ?box)\b"
    r"|\banother\b.*\bsession\b|\blogin limit\b",
    re.IGNORECASE,
)
"""RFC 1939 section 4 has "maildrop already locked" where RFC 2449 has [IN-USE]."""

_ABOUT_THE_LOGIN = re.compile(r"password|invalid|wrong|fail|account|suspended|disabled", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pop3Endpoint:
    """Where a maildrop is, how the way there must be protected, and how to log in.

    `tls` means TLS from the first octet (port 995); without it STLS is required (RFC 2595) unless `allow_plaintext`.
    `bearer`: the secret is a token of OAuth, no password.
    """

    host: str
    port: int
    user: str
    tls: bool
    policy: TlsPolicy = field(default_factory=TlsPolicy)
    allow_plaintext: bool = False
    timeout: float = 60.0
    window: pop3.Window = field(default_factory=pop3.Window)
    auth: AuthMethod = AuthMethod.AUTO
    bearer: bool = False


def choose(endpoint: Pop3Endpoint, announced: Collection[str], secret: str) -> AuthMethod:
    """The way to log in: the one that was asked for, else the best of those `announced` (in capitals).

    SCRAM normalises what is not ASCII (RFC 4013), and servers disagree about it; so AUTO takes PLAIN for that.
    """
    if endpoint.auth is not AuthMethod.AUTO:
        return endpoint.auth
    if endpoint.bearer:
        return next((way for way in TOKEN_METHODS if sasl.MECHANISMS[way].name in announced), AuthMethod.XOAUTH2)
    simple = (endpoint.user + secret).isascii() and (endpoint.user + secret).isprintable()
    ways = BEST_FIRST if simple else BEST_FIRST[1:]
    return next((way for way in ways if sasl.MECHANISMS[way].name in announced), AuthMethod.USER)


class CapaFailed(ConnectionLost):
    """The connection broke at CAPA: it can be tried without."""


class Pop3Login:
    """Leads one session from its first octet to the transaction state.

    Without `capa` the server is taken for one that only knows RFC 1939.
    """

    def __init__(
        self,
        stream: Stream,
        endpoint: Pop3Endpoint,
        ask: Callable[[pop3.Command], pop3.Event],
        hear: Callable[[], pop3.Event],
        note: Callable[[str], None],
        *,
        capa: bool = True,
    ) -> None:
        """`ask` sends a command and raises CommandRejected for -ERR, `hear` waits for the greeting."""
        self._stream, self._endpoint = stream, endpoint
        self._ask, self._hear, self._note, self._capa = ask, hear, note, capa
        self._timestamp = ""
        self.capabilities: Capabilities = {}

    def begin(self) -> None:
        """From the connection to a protected, greeted one.

        Raises HostUnreachable, CertificateRefused, PlaintextRefused, CapaFailed, TryLater, ConnectionLost,
        ProtocolError.
        """
        if self._endpoint.tls:
            self._protect()
        self._greet()
        try:
            self.ask_capabilities()
        except (ConnectionLost, ProtocolError) as error:
            if self._endpoint.tls or self._endpoint.allow_plaintext:  # else STLS is needed, which CAPA announces
                raise CapaFailed(error.message, server_text=error.server_text) from error
            raise
        if self._endpoint.tls:
            return
        if "STLS" in self.capabilities:
            self._ask(pop3.Stls())
            self._protect()
            self.ask_capabilities()
        elif not self._endpoint.allow_plaintext:
            raise PlaintextRefused(
                f"{self._stream.peer} offers no STLS, so the password would cross the network unencrypted; use pop3s://,"
                " or give --allow-plaintext if you accept that."
            )

    def log_in(self, secret: str) -> None:
        """Logs in.

        Raises AuthenticationRejected, ConfigurationError if the server does not offer what was asked for, TryLater,
        LoginUnanswered.
        """
        announced = {mechanism.upper() for mechanism in self.capabilities.get("SASL", ())}
        way = choose(self._endpoint, announced, secret)
        if way is AuthMethod.USER:
            self._step(pop3.User(self._endpoint.user))
            self._step(pop3.Pass(secret))
        elif way is AuthMethod.APOP:
            self._apop(secret)
        else:
            self._sasl(way, announced, secret)

    def ask_capabilities(self) -> None:
        """CAPA is optional (RFC 2449): a server that refuses it is asked for nothing beyond RFC 1939."""
        if not self._capa:
            return
        try:
            event: pop3.Event | None = self._ask(pop3.Capa())
        except CommandRejected:
            event = None
        self.capabilities = event.capabilities if isinstance(event, pop3.CapabilityList) else {}

    # ---- up to the login

    def _protect(self) -> None:
        self._stream.start_tls(self._endpoint.policy, self._endpoint.host)
        self._note(self._stream.protection)

    def _greet(self) -> None:
        try:
            event = self._hear()
        except TimedOut as error:
            hint = "" if self._endpoint.tls else "; is this a TLS port? Then use pop3s://"
            raise HostUnreachable(
                f"{self._stream.peer} sent no greeting for {self._stream.timeout:g} s{hint}."
            ) from error
        if isinstance(event, pop3.Refused):
            raise TryLater(
                f"{self._stream.peer} takes no connection now: {event.text!r}.", server_text=event.text, code=event.code
            )
        self._timestamp = event.timestamp if isinstance(event, pop3.Greeting) else ""

    # ---- the ways to log in

    def _apop(self, secret: str) -> None:
        if not self._timestamp:
            raise ConfigurationError(
                f"{self._stream.peer} offers no APOP (its greeting holds no timestamp); log in with another --auth."
            )
        self._step(pop3.Apop(self._endpoint.user, pop3.apop_digest(self._timestamp, secret)))

    def _sasl(self, way: AuthMethod, announced: Collection[str], secret: str) -> None:
        kind, endpoint = sasl.MECHANISMS[way], self._endpoint
        if announced and kind.name not in announced:
            raise ConfigurationError(
                f"{self._stream.peer} does not offer {kind.name} (it offers {', '.join(sorted(announced))}); log in "
                "with another --auth."
            )
        login = sasl.Login(endpoint.user, secret, wire_name(endpoint.host), endpoint.port)
        self._authenticate(kind, login, inline=not kind.in_two_steps)

    def _authenticate(self, kind: type[sasl.AnyMechanism], login: sasl.Login, *, inline: bool) -> None:
        mechanism = kind(login)
        try:
            self._exchange(mechanism, inline=inline)
        except (TryLater, AuthenticationRejected):
            raise
        except CommandRejected as error:
            if inline and mechanism.initial is not None and _not_understood(error):
                return self._authenticate(kind, login, inline=False)
            raise self._refused(error, mechanism.complaint) from error
        if not mechanism.proven:
            raise AuthenticationRejected(
                f"{self._stream.peer} took the login of {login.user} without showing that it knows the password, as "
                f"{mechanism.name} demands: somebody may be in between. Nothing was fetched."
            )
        return None

    def _exchange(self, mechanism: sasl.Mechanism, *, inline: bool) -> None:
        """Raises CommandRejected; AuthenticationRejected where we give up."""
        auth = pop3.Auth(mechanism.name, mechanism.initial if inline else None)
        exchange = sasl.Exchange(mechanism, begun=auth.inline)
        event = self._offer(auth)
        while isinstance(event, pop3.Challenge):
            response = exchange.answer(event.data)
            if response is None:
                raise self._given_up(mechanism)
            event = self._offer(pop3.AuthResponse(response))

    def _given_up(self, mechanism: sasl.Mechanism) -> AuthenticationRejected:
        with contextlib.suppress(CommandRejected, ConnectionLost, ProtocolError):
            self._ask(pop3.AuthCancel())
        return AuthenticationRejected(
            f"The login of {self._endpoint.user} at {self._stream.peer} was given up: {mechanism.complaint}."
        )

    def _step(self, command: pop3.Command) -> None:
        try:
            ask = self._offer if command.confidential else self._ask
            ask(command)
        except TryLater:
            raise
        except CommandRejected as error:
            raise self._refused(error) from error

    def _offer(self, command: pop3.Command) -> pop3.Event:
        """Asks what the server may count as a login, answered or not. Raises LoginUnanswered, CommandRejected."""
        try:
            return self._ask(command)
        except ConnectionLost as error:
            raise LoginUnanswered(
                f"The login of {self._endpoint.user} at {self._stream.peer} got no answer. {error.message} Some "
                "servers refuse a password in this way, or whoever comes too often: check the user name and the "
                "password, and wait a while before you run again."
            ) from error

    def _refused(self, error: CommandRejected, complaint: str = "") -> CommandRejected:
        """Not for TryLater, which stays what it is: it is not about the password."""
        if _is_busy(error):
            return TryLater(error.message, server_text=error.server_text, command=error.command)
        what = (
            "token: is it fresh, and made for this mailbox and for POP3"
            if self._endpoint.bearer
            else ("password, and whether the provider wants POP3 switched on or an app password")
        )
        also = f" ({complaint})" if complaint else ""
        return AuthenticationRejected(
            f"{self._stream.peer} refused the login of {self._endpoint.user}: {error.server_text!r}{also}. Check the "
            f"user name and {what}.",
            server_text=error.server_text,
            command=error.command,
            code=error.code,
        )


def _is_busy(error: CommandRejected) -> bool:
    """Whether a server without response codes (RFC 2449) means the maildrop, not the password."""
    text = error.server_text
    return not error.code and _BUSY.search(text) is not None and _ABOUT_THE_LOGIN.search(text) is None


def _not_understood(error: CommandRejected) -> bool:
    """Whether a server objects to how something was said, and says nothing of who said it."""
    return not error.code and _NOT_UNDERSTOOD.search(error.server_text) is not None
