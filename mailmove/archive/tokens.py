"""RFC 3161 tokens: what to ask a time-stamping authority, and what its answer proves. Octets in, octets out.

Strategy: rfc3161-client (the extra `timestamp`) builds requests, parses answers and proves signatures; nothing here
opens a connection. Only sha256 of the data is in a request. A token says "these octets existed at this time": that they
are ours is checked with the imprint, that it answers this very request with the nonce, that somebody trusted has signed
it with the certificates the caller gives. Some authorities (openssl's among them) send their certificates in no order,
which the strict parser refuses; they are not part of what is signed, so they are sorted before parsing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mailmove.errors import CommandRejected, ConfigurationError, ProtocolError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

SHA256 = "2.16.840.1.101.3.4.2.1"
GRANTED = 0
CERTIFICATES = 0xA0
"""The tag of a SignedData's certificates (RFC 5652 section 5.1)."""

LONG = 0x80
"""In an octet of length: the length itself follows (X.690 section 8.1.3)."""

INSTALL = "Time stamps need the package rfc3161-client, which is not installed here: pip install 'mailmove[timestamp]'."


Roots: TypeAlias = "Sequence[Certificate]"
"""Certificates that are trusted to vouch for authorities."""


class Unproven(Exception):
    """A token does not prove what it should; the message says why, without a full stop."""


class Refused(Unproven):
    """There is no token, but a refusal. `words`: the authority's own, which may be none."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"it refused (PKIStatus {status}): {words!r}" if words else f"it refused (PKIStatus {status})")
        self.words = words


class Request(NamedTuple):
    """`octets`: DER, to be sent; `nonce`: what the answer must repeat."""

    octets: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class Token:
    """A granted answer of an authority. `time`: what it attests, in UTC."""

    parsed: TimeStampResponse

    @property
    def time(self) -> datetime:
        return self.parsed.tst_info.gen_time

    def prove(self, data: bytes) -> None:
        """Raises Unproven unless it is about these octets."""
        imprint = self.parsed.tst_info.message_imprint
        if imprint.hash_algorithm.dotted_string != SHA256 or imprint.message != hashlib.sha256(data).digest():
            raise Unproven("it is about other octets")

    def prove_signature(self, data: bytes, roots: Roots) -> None:
        """Raises Unproven unless an authority for time stamps that one of `roots` vouches for has signed it."""
        from rfc3161_client import VerifierBuilder

        try:
            VerifierBuilder(roots=list(roots)).build().verify_message(self.parsed, data)
        except Exception as error:  # of many classes, for certificates that cannot be read
            raise Unproven(f"its signature cannot be proven ({_one_line(error)})") from error


def check_installed() -> None:
    """Raises ConfigurationError if the extra is not there."""
    try:
        import rfc3161_client  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(INSTALL) from error


def request(data: bytes) -> Request:
    """Asks for a token over sha256 of `data`, with a nonce, and for the authority's certificate with it."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    built = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    return Request(built.as_bytes(), built.nonce or 0)


def read_answer(answer: bytes, asked: Request, data: bytes, authority: str) -> Token:
    """The token in what `authority` answered to `asked`.

    Raises CommandRejected if it refused (with its words), ProtocolError if the answer is none, or to something else.
    """
    try:
        token = read_token(answer)
        if token.parsed.tst_info.nonce != asked.nonce:
            raise Unproven("it repeats another nonce than was sent")
        token.prove(data)
    except Refused as refused:
        what = f"{authority} gave no time stamp: {refused}. Nothing was kept."
        raise CommandRejected(what, server_text=refused.words) from None
    except Unproven as unproven:
        what = f"What {authority} answered is not the time stamp that was asked for: {unproven}. Nothing was kept."
        raise ProtocolError(what) from None
    return token


def read_token(answer: bytes) -> Token:
    """The token in a TimeStampResp (RFC 3161 section 2.4.2). Raises Unproven, or Refused."""
    from rfc3161_client import decode_timestamp_response

    try:
        parsed = decode_timestamp_response(with_sorted_certificates(answer))
        if parsed.status != GRANTED:
            raise Refused(parsed.status, "; ".join(parsed.status_string))
        _ = parsed.tst_info, parsed.signed_data
    except ValueError as error:
        raise Unproven(f"it cannot be read ({_one_line(error)})") from error
    return Token(parsed)


def read_roots(path: Path) -> Roots:
    """The certificates of a PEM file. Raises ConfigurationError."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"The file {path} holds no certificate in PEM format.") from error


# ---- The order of certificates


def with_sorted_certificates(answer: bytes) -> bytes:
    """The same answer with its certificates in the order DER demands of a SET (X.690 section 11.6)."""
    try:
        found = _certificates(answer)
    except (ValueError, IndexError):
        return answer  # the parser will say what is wrong
    if not found:
        return answer
    start, end = found[0][1], found[-1][3]
    return answer[:start] + b"".join(sorted(answer[at:stop] for _, at, _, stop in found)) + answer[end:]


def _certificates(answer: bytes) -> list[_Item]:
    """Those in TimeStampResp -> ContentInfo -> [0] -> SignedData; all tags on this way are of one octet."""
    (response,) = _items(answer, 0, len(answer))
    content = _items(answer, *response[2:])[1]
    signed = _items(answer, *_items(answer, *content[2:])[1][2:])[0]
    fields = _items(answer, *signed[2:])
    return [one for field in fields if field[0] == CERTIFICATES for one in _items(answer, *field[2:])]


_Item = tuple[int, int, int, int]
"""Tag, and where it begins, its content begins, and it ends."""


def _items(data: bytes, at: int, end: int) -> list[_Item]:
    """The values between two places. Raises ValueError or IndexError."""
    found = []
    while at < end:
        length, start = data[at + 1], at + 2
        if length & LONG:  # so many octets of length follow; none: indefinite, which DER has not
            start += length & ~LONG
            length = int.from_bytes(data[at + 2 : start], "big") or end
        if start + length > end:
            raise ValueError("a value is longer than what it is part of")
        found.append((data[at], at, start, start + length))
        at = start + length
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
