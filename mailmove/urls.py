"""What a person types for a server becomes plain data: the URLs of sources and targets (design.md section 8).

Strategy: `parse_source`, `parse_target` and `parse_relay` read by the same rules, with one clear sentence for each
mistake; what a scheme stands for is a line in SOURCES, TARGETS or RELAYS. Nothing here reaches the network, and little
is imported: the connection is opened as soon as a URL is read, while the rest of the program is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from mailmove.errors import UsageError
from mailmove.hosts import shown_name
from mailmove.model import Maildrop


class Scheme(NamedTuple):
    """What the scheme of a URL stands for. `tls`: from the first octet."""

    protocol: str
    port: int
    tls: bool


SOURCES = {"pop3s": Scheme("pop3", 995, True), "pop3": Scheme("pop3", 110, False)}
TARGETS = {"imaps": Scheme("imap", 993, True), "imap": Scheme("imap", 143, False)}
RELAYS = {
    "smtps": Scheme("smtp", 465, True),
    "smtp": Scheme("smtp", 587, False),
    "lmtp": Scheme("lmtp", 24, False),
}
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
    scheme, user, host, port = _parsed(text, "source", "POP3 source", SOURCES, EXAMPLE)
    return SourceUrl(scheme, user, host, _port(port, SOURCES[scheme].port))


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


def host_of(text: str) -> str:
    """The host of a source or target that was parsed before, in lower case; "" of a Unix socket."""
    found = _URL.fullmatch(text)
    where = _HOST_PORT.fullmatch(found["rest"].rpartition("@")[2]) if found else None
    return shown_name(where["host"].strip("[]").lower()) if where else ""
