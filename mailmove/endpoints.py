"""URLs and secrets become open sources and targets: the only module that names all adapters.

Strategy: `parse_source`, `parse_target` and `parse_relay` turn what a person typed into plain data, with one clear
sentence for each mistake, by the same rules; `open_source`, `open_target` and `open_relay` turn that data into a
session. A new protocol is a line in PORTS, TARGETS or RELAYS. Ports, TLS and user names follow design.md section 8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mailmove.errors import UsageError
from mailmove.jobs import PullJob
from mailmove.model import AuthMethod, Maildrop, Transcript
from mailmove.net import Ok, connect, shown_name
from mailmove.secrets import Secret
from mailmove.sources import Source
from mailmove.targets import Relay, Target
from mailmove.tls import TlsPolicy
from mailmove.wire_log import WireLog

PORTS = {"pop3s": 995, "pop3": 110}
CONNECT_TIMEOUT = 30.0
_URL = re.compile(r"(?P<scheme>[a-z0-9+.-]+)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^:\[\]/?#\s]+)(?::(?P<port>\d{1,5}))?/?")
EXAMPLE = "like pop3s://me@gmx.de@pop.gmx.net"
TARGET_EXAMPLE = "like imaps://me@gmx.de@imap.gmx.net"
RELAY_EXAMPLE = "like smtps://me@gmx.de@mail.gmx.net or lmtp:///path/to/socket"


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A parsed SOURCE."""

    scheme: str
    user: str
    host: str
    port: int

    def maildrop(self, name: str = "") -> Maildrop:
        return Maildrop(self.host, self.user, self.port, name)


def parse_source(text: str) -> SourceUrl:
    """`pop3s://user@host[:port]` or `pop3://…`; the user ends at the last @, so it may be an address itself.

    Raises UsageError. A password in the URL is refused, and not repeated in the message.
    """
    scheme, user, host, port = _parsed(text, "source", "POP3 source", PORTS, EXAMPLE)
    return SourceUrl(scheme, user, host, _port(port, PORTS[scheme]))


@dataclass(frozen=True, slots=True)
class TargetUrl:
    """A parsed TARGET."""

    scheme: str
    user: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """Who receives, whatever way leads there: protocol, user and host. Port and TLS are no part of it."""
        return f"{TARGETS[self.scheme].protocol}://{self.user}@{self.host}"


def parse_target(text: str) -> TargetUrl:
    """`imaps://user@host[:port]` or `imap://…`, read like a source. Raises UsageError."""
    scheme, user, host, port = _parsed(text, "target", "IMAP target", TARGETS, TARGET_EXAMPLE)
    return TargetUrl(scheme, user, host, _port(port, TARGETS[scheme].port))


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """A parsed SMTP or LMTP target. `user` is "" where nobody logs in; with a `path`, of a Unix socket, host is "" and
    port 0."""

    scheme: str
    user: str
    host: str
    port: int
    path: str = ""

    @property
    def name(self) -> str:
        """Who receives, whatever way leads there: protocol, user and host, or path. Port and TLS are no part of it."""
        return f"{RELAYS[self.scheme].protocol}://{self.user}{'@' if self.user else ''}{self.host}{self.path}"


def is_relay(text: str) -> bool:
    """Whether a target is meant that mail is sent to by SMTP or LMTP, whatever else may be wrong with the URL."""
    found = _URL.match(text)
    return found is not None and found["scheme"].lower() in RELAYS


def parse_relay(text: str) -> RelayUrl:
    """`smtps://[user@]host[:port]`, `smtp://…`, `lmtp://…`, read like a source; `lmtp:///path` is a Unix socket's.

    Raises UsageError.
    """
    found = _URL.fullmatch(text)
    if found and found["scheme"].lower() == "lmtp" and found["rest"].startswith("/"):
        return RelayUrl("lmtp", "", "", 0, _path(found["rest"]))
    scheme, user, host, port = _parsed(text, "target", "SMTP or LMTP target", RELAYS, RELAY_EXAMPLE, anonymous=True)
    return RelayUrl(scheme, user, host, _port(port, RELAYS[scheme].port))


def _path(text: str) -> str:
    path = unquote(text)
    if not path.isprintable():
        raise UsageError("The path of the socket holds a line break or another control character.")
    if not path.strip("/"):
        raise UsageError(f"lmtp://{path} names no socket; give its whole path, like lmtp:///path/to/socket.")
    return path


def _parsed(
    text: str, what: str, kind: str, schemes: Container[str], example: str, *, anonymous: bool = False
) -> tuple[str, str, str, str | None]:
    """(scheme, user, host, port if given). Raises UsageError, in words of `what` and `kind`, with an example.

    `anonymous`: "user@" may be left out.
    """
    if not text.isprintable():
        raise UsageError(f"The {what} holds a line break or another control character.")
    found = _URL.fullmatch(text)
    if not found or found["scheme"].lower() not in schemes:
        raise UsageError(f"{_shown(text)!r} is no {kind}; give one {example}.")
    user, at, place = found["rest"].rpartition("@")
    where = _HOST_PORT.fullmatch(place)
    if not where or not (user or (anonymous and not at)):
        missing = "host" if anonymous else "user and host"
        raise UsageError(f"{_shown(text)!r} names no {missing}; give {'it' if anonymous else 'them'} {example}.")
    if ":" in user:
        raise UsageError(
            f"The URL for {place} holds a password, which other programs can see; take it out (a prompt asks for it, "
            "or give --password-env, --password-file or --password-command). A colon in a user name is written %3A."
        )
    return found["scheme"].lower(), _user(user), shown_name(where["host"].strip("[]").lower()), where["port"]


def _user(text: str) -> str:
    user = unquote(text)
    if not user.isprintable():
        raise UsageError("The user name holds a line break or another control character.")
    return user


def _port(text: str | None, default: int) -> int:
    port = int(text) if text else default
    if not 0 < port < 65536:
        raise UsageError(f"There is no port {port}; ports go from 1 to 65535.")
    return port


def _shown(text: str) -> str:
    """A URL for an error message, without anything that may be a password: from a colon to the last @, or the end."""
    found = _URL.fullmatch(text)
    rest = found["rest"] if found else text
    user, at, place = rest.rpartition("@") if "@" in rest else (rest, "", "")
    name, colon, _ = user.partition(":")
    return text.removesuffix(rest) + name + (":***" if colon else "") + at + place


def _place(url: SourceUrl | TargetUrl | RelayUrl) -> str:
    """Where a session goes, for a log that need not tell whose it is."""
    if isinstance(url, RelayUrl) and url.path:
        return f"{url.scheme}://{url.path}"
    return f"{url.scheme}://{url.host}:{url.port}"


def tls_policy(ca_file: str, pin: str, client_cert: str) -> TlsPolicy:
    """What TLS must prove, by the options of a job; "" is not given. Raises UsageError."""
    return TlsPolicy(Path(ca_file) if ca_file else None, pin, Path(client_cert) if client_cert else None)


def open_source(job: PullJob, secret: Secret, window: int, ok: Ok, log: WireLog | None = None) -> Source:
    """Logs in to the job's source with at most `window` messages in flight. Raises what the adapter raises."""
    from mailmove.protocols.pop3 import Window  # which a replay has no use for
    from mailmove.sources.pop3 import open_pop3
    from mailmove.sources.pop3_login import Pop3Endpoint

    url = parse_source(job.source)
    endpoint = Pop3Endpoint(
        host=url.host,
        port=url.port,
        user=url.user,
        tls=url.scheme == "pop3s",
        policy=tls_policy(job.ca_file, job.pin, job.client_cert),
        allow_plaintext=job.allow_plaintext,
        timeout=job.timeout,
        window=Window(max_messages=window),
        auth=job.auth,
        bearer=bool(job.secret.token_command),
    )
    return open_pop3(endpoint, secret.reveal(), ok, log.session(_place(url)) if log else None)


@dataclass(frozen=True, slots=True)
class _Way:
    """How the way to a target must be protected, what the secret is, and how to log in."""

    tls: bool
    policy: TlsPolicy
    allow_plaintext: bool
    timeout: float
    bearer: bool
    auth: AuthMethod
    transcript: Transcript | None


@dataclass(frozen=True, slots=True)
class _TargetKind:
    """What a scheme of TARGET stands for. `tls`: from the first octet."""

    protocol: str
    port: int
    tls: bool
    open: Callable[[TargetUrl, _Way, str, Ok], Target]
    load: Callable[[], None]


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
) -> Target:
    """Logs in to a target; `bearer`: the secret is a token of OAuth. Raises UsageError, and what the adapter raises."""
    parsed = parse_target(url)
    kind = TARGETS[parsed.scheme]
    policy, transcript = tls_policy(ca_file, pin, client_cert), log.session(_place(parsed)) if log else None
    way = _Way(kind.tls, policy, allow_plaintext, timeout, bearer, auth, transcript)
    return kind.open(parsed, way, secret.reveal(), ok)


def load_target(url: str) -> None:
    """Loads what a session with this target needs, which takes as long as a round trip. Raises UsageError."""
    TARGETS[parse_target(url).scheme].load()


def _load_imap() -> None:
    import mailmove.targets.imap  # noqa: F401 - imapclient, which a pull has no use for


def _open_imap(url: TargetUrl, way: _Way, secret: str, ok: Ok) -> Target:
    wait = min(way.timeout, CONNECT_TIMEOUT)
    stream = connect(url.host, url.port, timeout=wait, ok=ok)  # its greeting comes while imapclient is loaded
    from mailmove.targets.imap import open_imap
    from mailmove.targets.imap_login import ImapEndpoint

    endpoint = ImapEndpoint(
        url.host, url.port, url.user, way.tls, way.policy, way.allow_plaintext, way.timeout, way.bearer, way.auth
    )
    return open_imap(endpoint, secret, ok, way.transcript, stream)


TARGETS = {
    "imaps": _TargetKind("imap", 993, True, _open_imap, _load_imap),
    "imap": _TargetKind("imap", 143, False, _open_imap, _load_imap),
}
"""Scheme -> what it stands for."""


@dataclass(frozen=True, slots=True)
class _RelayKind:
    """What a scheme of an SMTP or LMTP target stands for. `tls`: from the first octet."""

    protocol: str
    port: int
    tls: bool = False


RELAYS = {"smtps": _RelayKind("smtp", 465, tls=True), "smtp": _RelayKind("smtp", 587), "lmtp": _RelayKind("lmtp", 24)}
"""Scheme -> what it stands for."""


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
