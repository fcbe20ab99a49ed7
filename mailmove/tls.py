"""What TLS must prove, and how a refusal is told (design.md sections 8 and 10).

Strategy: a TlsPolicy is plain data that is checked when it is made, and makes the ssl context when it is needed. With a
pin the one certificate that has this fingerprint is trusted and nothing else about it counts; without one the system's
authorities decide, or those of a file. A refusal always tells the fingerprint of what was presented.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
from dataclasses import dataclass
from pathlib import Path

from mailmove.errors import CertificateRefused, ConfigurationError, UsageError

PIN = "sha256:"
DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """How a server proves who it is, and we to it. TLS 1.2 or later.

    By the system's authorities, or those in `ca_file`, or by `pin` alone, "sha256:" and the fingerprint of its
    certificate in hex (colons allowed) or base64. `client_cert` is our own certificate with its key.
    """

    ca_file: Path | None = None
    pin: str = ""
    client_cert: Path | None = None

    def __post_init__(self) -> None:
        """Raises UsageError if `pin` is none."""
        if self.pin:
            fingerprint(self.pin)

    def context(self) -> ssl.SSLContext:
        """Raises ConfigurationError if a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or "it holds no certificate in PEM format"
            raise ConfigurationError(f"The CA file {self.ca_file} cannot be used: {reason}.") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.pin:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.client_cert:
            _load(context, self.client_cert)
        return context

    def check(self, tls: ssl.SSLSocket, peer: str) -> None:
        """To be called when the handshake is done, before anything is sent. Raises CertificateRefused."""
        presented = tls.getpeercert(binary_form=True) or b""
        if self.pin and not hmac.compare_digest(hashlib.sha256(presented).digest(), fingerprint(self.pin)):
            raise CertificateRefused(
                f"The certificate of {peer} is not the pinned one: it has {pin_of(presented)}. If its operator confirms"
                " that it was renewed, give that with --pin. Nothing was sent."
            )


def fingerprint(pin: str) -> bytes:
    """The 32 octets that a pin means. Raises UsageError."""
    kind, text = pin[: len(PIN)].lower(), pin[len(PIN) :].strip()
    for decode in (_from_hex, _from_base64):
        octets = decode(text) if kind == PIN else b""
        if len(octets) == DIGEST_SIZE:
            return octets
    raise UsageError(
        f"{pin!r} is no pin: give sha256: and the SHA-256 fingerprint of the server's certificate, 64 hex digits (as "
        "openssl x509 -noout -fingerprint -sha256 prints it) or 44 characters of base64."
    )


def pin_of(certificate: bytes) -> str:
    """The pin of a certificate in DER, as --pin takes it."""
    return PIN + hashlib.sha256(certificate).hexdigest()


def refusal(peer: str, host: str, error: ssl.SSLCertVerificationError, tls: ssl.SSLSocket | None) -> CertificateRefused:
    """What is wrong with a certificate, and what to do about it."""
    reason = (error.verify_message or str(error)).rstrip(".")
    if "expired" in reason:
        advice = "the server's operator must renew it"
    elif "match" in reason:
        advice = f"it was made for another name than {host!r}: use the name the provider documents"
    else:
        advice = "if it is your own server, name its authority with --ca-file FILE"
    presented = _presented(tls) if tls else b""
    pin = f", or if you know it is the right one, trust it alone with --pin {pin_of(presented)}" if presented else ""
    return CertificateRefused(f"The certificate of {peer} was refused ({reason}); {advice}{pin}. Nothing was sent.")


def _presented(tls: ssl.SSLSocket) -> bytes:
    """The server's own certificate after a handshake that failed; b"" where OpenSSL (before 3.0) does not keep it."""
    ours = tls if hasattr(tls, "get_unverified_chain") else getattr(tls, "_sslobj", None)  # public since Python 3.13
    chain = ours.get_unverified_chain() if ours is not None else None
    if not chain:
        return b""
    first = chain[0]
    return first if isinstance(first, bytes) else ssl.PEM_cert_to_DER_cert(first.public_bytes())


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_cert_chain(path, password=lambda: b"")  # a key under a password would be asked for on the terminal
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"The client certificate {path} cannot be used: the file must hold the certificate and its key, in PEM "
            "format and without a password."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"The client certificate {path} cannot be used: {error.strerror}.") from error


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
