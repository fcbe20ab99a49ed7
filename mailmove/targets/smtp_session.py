"""The way to an SMTP or LMTP session that mail can be sent in: connection, greeting, hello, protection, login.

Strategy: nothing is told a server before the connection is as protected as the endpoint demands; what was heard before
STARTTLS is forgotten, and hello is said anew (RFC 3207 section 4.2). Then the connection is handed over to SmtpRelay,
which sends mail and knows nothing of logins. A server that knows no EHLO is greeted with HELO, and has no extensions.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from mailmove.dial import Ok
from mailmove.errors import PlaintextRefused
from mailmove.model import Transcript
from mailmove.net import Stream, connect, connect_unix
from mailmove.targets import RelayTraits, smtp_refusals
from mailmove.targets.smtp import SmtpRelay
from mailmove.targets.smtp_dialogue import TLS_ADVICE, Dialogue
from mailmove.targets.smtp_extensions import Extensions, extensions_of, mechanisms_of, traits_of
from mailmove.targets.smtp_login import SmtpEndpoint, log_in
from mailmove.tls import TlsPolicy

GREETING_TIMEOUT = 30.0
OUR_NAME = "[127.0.0.1]"
"""What we call ourselves (RFC 5321 section 4.1.3): whoever submits mail is no mail server and has no name, and the
address that he has in his own network is nobody's business. It is in the Received field of every message."""


def open_smtp(endpoint: SmtpEndpoint, secret: str, ok: Ok, transcript: Transcript | None = None) -> SmtpRelay:
    """Connects, and logs in where the endpoint names a user; what crosses the wire is told to `transcript`, without
    secrets and messages.

    Raises HostUnreachable, CertificateRefused, PlaintextRefused, ConfigurationError, CommandRejected (the server wants
    none of our mail), TryLater, ConnectionLost, ProtocolError, Interrupted, and what `log_in` raises.
    """
    stream = _connected(endpoint, ok)
    stream.timeout = min(endpoint.timeout, GREETING_TIMEOUT)
    try:
        if endpoint.tls:
            stream.start_tls(endpoint.policy, endpoint.host, advice=TLS_ADVICE)
        traits = begin(Dialogue(stream, transcript), endpoint, secret)
        if endpoint.one_by_one:
            traits = replace(traits, pipelining=False)
    except BaseException:
        stream.close()
        raise
    stream.timeout = endpoint.timeout
    return SmtpRelay(stream, traits, transcript=transcript)


def begin(dialogue: Dialogue, endpoint: SmtpEndpoint, secret: str) -> RelayTraits:
    """From the connection to a session that mail can be sent in; what it offers. Raises what `open_smtp` raises."""
    hint = "" if endpoint.tls or endpoint.lmtp else "; is this a TLS port? Then use smtps://"
    greeting = dialogue.greeting(hint)
    if greeting.code != smtp_refusals.READY:
        raise smtp_refusals.no_service(dialogue.peer, greeting)
    extensions = protect(dialogue, endpoint, hello(dialogue, lmtp=endpoint.lmtp))
    if endpoint.user:
        log_in(dialogue, endpoint, secret, mechanisms_of(extensions))
    dialogue.finish()
    return traits_of(extensions, lmtp=endpoint.lmtp, authenticated=bool(endpoint.user), greeting=greeting.text)


def hello(dialogue: Dialogue, *, lmtp: bool) -> Extensions:
    """EHLO, else HELO (RFC 5321 section 3.2); LHLO (RFC 2033 section 4.1). Raises TryLater, ConfigurationError."""
    reply, lines = dialogue.ask(f"{'LHLO' if lmtp else 'EHLO'} {OUR_NAME}")
    if reply.code // 100 == 2:
        return extensions_of(lines)
    if not lmtp and not reply.is_transient:
        reply, _ = dialogue.ask(f"HELO {OUR_NAME}")
        if reply.code // 100 == 2:
            return {}
    raise smtp_refusals.no_hello(dialogue.peer, reply, lmtp=lmtp)


def protect(dialogue: Dialogue, endpoint: SmtpEndpoint, extensions: Extensions) -> Extensions:
    """STARTTLS where it is needed (RFC 3207); what the server offers from there on.

    Raises PlaintextRefused, CertificateRefused, TryLater, ProtocolError.
    """
    if endpoint.tls or _is_at_home(endpoint):
        return extensions
    if "STARTTLS" in extensions:
        return _start_tls(dialogue, endpoint)
    if endpoint.allow_plaintext:
        return extensions
    what = "the mail and the password" if endpoint.user else "the mail"
    raise PlaintextRefused(
        f"{dialogue.peer} offers no STARTTLS, so {what} would cross the network unencrypted; "
        f"{'' if endpoint.lmtp else 'use smtps://, or '}give --allow-plaintext if you accept that."
    )


def _start_tls(dialogue: Dialogue, endpoint: SmtpEndpoint) -> Extensions:
    reply, _ = dialogue.ask("STARTTLS")
    if reply.code != smtp_refusals.READY:
        raise smtp_refusals.no_starttls(dialogue.peer, reply)
    dialogue.start_tls(endpoint.policy, endpoint.host)
    return hello(dialogue, lmtp=endpoint.lmtp)


def _is_at_home(endpoint: SmtpEndpoint) -> bool:
    """An LMTP server on this machine, where nobody is in between. Its certificate, if it has one, is seldom made for
    "localhost"; whoever says by which one it is to be known wants TLS all the same."""
    if endpoint.path:
        return True
    return endpoint.lmtp and endpoint.policy == TlsPolicy() and is_loopback(endpoint.host)


def is_loopback(host: str) -> bool:
    """Whether this name or address is this machine's own, whatever anybody answers."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _connected(endpoint: SmtpEndpoint, ok: Ok) -> Stream:
    if endpoint.path:
        return connect_unix(endpoint.path, timeout=endpoint.timeout, ok=ok)
    return connect(endpoint.host, endpoint.port, timeout=endpoint.timeout, ok=ok)
