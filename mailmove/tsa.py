"""How a time-stamping authority is reached: one POST over HTTP (RFC 3161 section 3.4).

Strategy: the standard library does it. https is verified by the system's authorities; http is allowed, since a token is
signed and a request holds but a hash. Whatever goes wrong is one sentence that names the authority.
"""

from __future__ import annotations

from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mailmove.errors import CertificateRefused, CommandRejected, HostUnreachable, ProtocolError, UsageError

QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
SEQUENCE = b"\x30"
"""What every TimeStampResp begins with, whatever media type a server gives it."""

LONGEST = 1 << 20
"""Octets of an answer; real ones have some thousand, most of them certificates."""


def check_url(url: str) -> str:
    """The URL itself. Raises UsageError if it is none of http or https, or holds a password."""
    try:
        parts = urlsplit(url)
        sane = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sane = None
    if not sane or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(f"{url!r} is no URL of a time-stamping authority; one looks like https://tsa.example/path.")
    if "@" in parts.netloc:
        raise UsageError("The URL of a time-stamping authority may hold no user name and no password.")
    return url


def ask(url: str, query: bytes, timeout: float) -> bytes:
    """What the authority answers; `timeout` in seconds without progress.

    Raises HostUnreachable, CertificateRefused, CommandRejected (an HTTP status), ProtocolError (no such answer).
    """
    post = Request(url, data=query, headers={"Content-Type": QUERY, "Accept": REPLY}, method="POST")  # noqa: S310
    try:
        with urlopen(post, timeout=timeout) as reply:  # noqa: S310 - check_url allows http and https only
            answer: bytes = reply.read(LONGEST + 1)
            kind = reply.headers.get_content_type()
    except HTTPError as error:
        error.close()
        what = f"{url} answered with HTTP status {error.code} {error.reason}; nothing was stamped."
        raise CommandRejected(what, server_text=str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from error
    if not answer.startswith(SEQUENCE) or len(answer) > LONGEST:
        what = f"{url} did not answer with a time stamp, but with {kind}"
        raise ProtocolError(f"{what}; is it the URL of a time-stamping authority? Nothing was stamped.")
    return answer


def _unreachable(url: str, error: Exception) -> HostUnreachable | CertificateRefused:
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
    if verdict := getattr(cause, "verify_message", ""):  # of ssl.SSLCertVerificationError
        return CertificateRefused(f"The certificate of {url} was refused: {verdict}.")
    reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return HostUnreachable(f"{url} cannot be reached: {reason}. Nothing was stamped; try again later.")
