"""URLs and secrets become open sources and targets: the only module that names all adapters.

Strategy: `open_source`, `open_target` and `open_relay` turn what urls.py has read, a secret and the options of a job
into a session.
"""

from __future__ import annotations

from pathlib import Path

from mailmove.dial import CONNECT_TIMEOUT, Ahead, Ok
from mailmove.errors import UsageError
from mailmove.jobs import PullJob
from mailmove.model import AuthMethod
from mailmove.net import connect
from mailmove.secrets import Secret
from mailmove.sources import Source
from mailmove.targets import Relay, Target
from mailmove.tls import TlsPolicy
from mailmove.urls import (
    RELAYS,
    SOURCES,
    TARGETS,
    RelayUrl,
    SourceUrl,
    TargetUrl,
    parse_relay,
    parse_source,
    parse_target,
)
from mailmove.wire_log import WireLog


def _place(url: SourceUrl | TargetUrl | RelayUrl) -> str:
    """Where a session goes, for a log that need not tell whose it is."""
    if isinstance(url, RelayUrl) and url.path:
        return f"{url.scheme}://{url.path}"
    return f"{url.scheme}://{url.host}:{url.port}"


def tls_policy(ca_file: str, pin: str, client_cert: str) -> TlsPolicy:
    """What TLS must prove, by the options of a job; "" is not given. Raises UsageError."""
    return TlsPolicy(Path(ca_file) if ca_file else None, pin, Path(client_cert) if client_cert else None)


def open_source(
    job: PullJob, secret: Secret, window: int, ok: Ok, log: WireLog | None = None, ahead: Ahead | None = None
) -> Source:
    """Logs in to the job's source with at most `window` messages in flight. Raises what the adapter raises."""
    from mailmove.protocols.pop3 import Window  # which a replay has no use for
    from mailmove.sources.pop3 import open_pop3
    from mailmove.sources.pop3_login import Pop3Endpoint

    url = parse_source(job.source)
    endpoint = Pop3Endpoint(
        host=url.host,
        port=url.port,
        user=url.user,
        tls=SOURCES[url.scheme].tls,
        policy=tls_policy(job.ca_file, job.pin, job.client_cert),
        allow_plaintext=job.allow_plaintext,
        timeout=job.timeout,
        window=Window(max_messages=window),
        auth=job.auth,
        bearer=bool(job.secret.token_command),
    )
    return open_pop3(endpoint, secret.reveal(), ok, log.session(_place(url)) if log else None, ahead)


def open_target(
    url: str,
    secret: Secret,
    *,
    ca_file: str,
    allow_plaintext: bool,
    timeout: float,
    ok: Ok,
    pin: str = "",
    client_cert: str = "",
    bearer: bool = False,
    auth: AuthMethod = AuthMethod.AUTO,
    log: WireLog | None = None,
    ahead: Ahead | None = None,
) -> Target:
    """Logs in to a target; `bearer`: the secret is a token of OAuth; `ahead`: the connection, where it was made before.

    Raises UsageError, and what the adapter raises.
    """
    parsed, policy = parse_target(url), tls_policy(ca_file, pin, client_cert)
    transcript, wait = log.session(_place(parsed)) if log else None, min(timeout, CONNECT_TIMEOUT)
    password = secret.reveal()
    stream = connect(parsed.host, parsed.port, timeout=wait, ok=ok, ahead=ahead)
    from mailmove.targets.imap import open_imap  # imapclient is loaded while the greeting comes
    from mailmove.targets.imap_login import ImapEndpoint

    tls = TARGETS[parsed.scheme].tls
    endpoint = ImapEndpoint(parsed.host, parsed.port, parsed.user, tls, policy, allow_plaintext, timeout, bearer, auth)
    return open_imap(endpoint, password, ok, transcript, stream)


def load_target() -> None:
    """Loads what a session with an IMAP target needs, which takes as long as a round trip."""
    import mailmove.targets.imap  # noqa: F401 - imapclient, which a pull has no use for


def open_relay(
    url: str,
    secret: Secret | None,
    *,
    ca_file: str,
    allow_plaintext: bool,
    timeout: float,
    ok: Ok,
    pin: str = "",
    client_cert: str = "",
    bearer: bool = False,
    auth: AuthMethod = AuthMethod.AUTO,
    one_by_one: bool = False,
    log: WireLog | None = None,
) -> Relay:
    """A session with an SMTP or LMTP server. `secret` is None, and not looked at, where the URL names no user.
    `one_by_one`: no command goes before the last one is answered.

    Otherwise as `open_target`. Raises UsageError, and what the adapter raises.
    """
    from mailmove.targets.smtp_login import SmtpEndpoint
    from mailmove.targets.smtp_session import open_smtp

    parsed = parse_relay(url)
    kind = RELAYS[parsed.scheme]
    endpoint = SmtpEndpoint(
        host=parsed.host,
        port=parsed.port,
        user=parsed.user,
        path=parsed.path,
        lmtp=kind.protocol == "lmtp",
        tls=kind.tls,
        policy=tls_policy(ca_file, pin, client_cert),
        allow_plaintext=allow_plaintext,
        timeout=timeout,
        bearer=bearer,
        auth=auth,
        one_by_one=one_by_one,
    )
    if parsed.user and secret is None:
        raise UsageError(f"{parsed.name} names a user, so a password is needed.")
    password = secret.reveal() if secret and parsed.user else ""
    return open_smtp(endpoint, password, ok, log.session(_place(parsed)) if log else None)
