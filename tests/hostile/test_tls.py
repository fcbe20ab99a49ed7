"""TLS: pins, client certificates, names. What is proven before the first octet of ours, and what a refusal tells.

Strategy: our own client against servers in this process, with certificates made by openssl; the fingerprint that a
refusal prints is compared with what the openssl command of --help prints, and is then taken as the pin.
"""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mailmove.errors import CertificateRefused, ConfigurationError, MailmoveError, UsageError
from mailmove.sources.pop3 import open_pop3
from mailmove.sources.pop3_login import Pop3Endpoint
from mailmove.tls import TlsPolicy, fingerprint, pin_of
from tests.hostile.sasl_peer import SaslPeer
from tests.servers.certs import IDN, Certificates
from tests.support.client import HOST

BAD = ("self_signed", "expired", "wrong_host")


def printed_by_openssl(certificate: Path) -> str:
    """The fingerprint, as the command of --help prints it: AB:CD:…"""
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(certificate)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]


def log_in(peer: SaslPeer, policy: TlsPolicy, host: str = HOST, **more: Any) -> None:
    endpoint = Pop3Endpoint(host, peer.port, "me", tls=True, policy=policy, timeout=10.0, **more)
    with closing(open_pop3(endpoint, "hunter2", lambda: True)):
        pass


def serving(certificates: Certificates, kind: str = "good", context: ssl.SSLContext | None = None) -> SaslPeer:
    return SaslPeer("SASL PLAIN", ["+OK"], context=context or certificates.server_context(kind))


def refusal(peer: SaslPeer, policy: TlsPolicy, kind: type[MailmoveError] = CertificateRefused, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        log_in(peer, policy, **more)
    assert not any(peer.sessions), "nothing was said before the server was known"
    return caught.value.message


# ---- Pins


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_pin_in_a_refusal_can_be_pasted(certificates: Certificates, kind: str, version: ssl.TLSVersion) -> None:
    context = certificates.server_context(kind)
    context.maximum_version = version
    with serving(certificates, context=context) as peer:
        said = refusal(peer, TlsPolicy(certificates.ca))
        pin = said.partition("--pin ")[2].partition(".")[0]
        assert pin == "sha256:" + printed_by_openssl(certificates.cert(kind)).replace(":", "").lower()
        log_in(peer, TlsPolicy(pin=pin))
    assert peer.sessions[-1]


@pytest.mark.parametrize("kind", ["good", *BAD])
def test_another_certificate_than_the_pinned_one_is_refused(certificates: Certificates, kind: str) -> None:
    """Also one that the authorities vouch for: a pin says which one, not how good."""
    other = "self_signed" if kind != "self_signed" else "good"
    with serving(certificates, kind) as peer:
        said = refusal(peer, TlsPolicy(certificates.ca, pin="sha256:" + printed_by_openssl(certificates.cert(other))))
    assert printed_by_openssl(certificates.cert(kind)).replace(":", "").lower() in said


OCTETS = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [OCTETS.hex(), OCTETS.hex().upper(), OCTETS.hex(":"), OCTETS.hex(":").upper(), base64.b64encode(OCTETS).decode()],
)
@pytest.mark.parametrize("kind", ["sha256:", "SHA256:", "sha256: "])
def test_the_ways_to_write_a_pin(kind: str, text: str) -> None:
    assert fingerprint(kind + text) == OCTETS


@pytest.mark.parametrize(
    "text", ["", "sha256:", OCTETS.hex(), "sha1:" + OCTETS.hex(), "sha256:" + OCTETS[1:].hex(), "sha256:" + "g" * 64]
)
def test_what_is_no_pin_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="64 hex digits") as caught:
        fingerprint(text)
    assert caught.value.exit_code == 2
    if text:
        with pytest.raises(UsageError):
            TlsPolicy(pin=text)


def test_a_pin_is_of_the_certificate() -> None:
    assert pin_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_old_versions_of_tls_are_refused(certificates: Certificates) -> None:
    assert TlsPolicy().context().minimum_version is ssl.TLSVersion.TLSv1_2
    assert TlsPolicy(pin="sha256:" + OCTETS.hex()).context().minimum_version is ssl.TLSVersion.TLSv1_2


# ---- Client certificates


def demanding(certificates: Certificates, version: ssl.TLSVersion) -> SaslPeer:
    context = certificates.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    context.maximum_version = version
    return serving(certificates, context=context)


def both(certificates: Certificates, folder: Path, kind: str = "good") -> Path:
    """One file with a certificate and its key."""
    path = folder / "client.pem"
    path.write_bytes(certificates.cert(kind).read_bytes() + certificates.key(kind).read_bytes())
    return path


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate(certificates: Certificates, tmp_path: Path, version: ssl.TLSVersion) -> None:
    own = both(certificates, tmp_path)
    with demanding(certificates, version) as peer:
        log_in(peer, TlsPolicy(certificates.ca, client_cert=own))
        assert len(peer.sessions) == 1
        log_in(peer, TlsPolicy(pin="sha256:" + printed_by_openssl(certificates.cert("good")), client_cert=own))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("given", [False, True])
def test_without_the_right_one_the_option_is_named(
    certificates: Certificates, tmp_path: Path, version: ssl.TLSVersion, given: bool
) -> None:
    own = both(certificates, tmp_path, "self_signed") if given else None
    with demanding(certificates, version) as peer:
        said = refusal(peer, TlsPolicy(certificates.ca, client_cert=own), MailmoveError)
    assert "--client-cert" in said


@pytest.mark.parametrize("content", [None, b"", b"no certificate", "cert", "key", "locked"])
def test_a_file_that_is_no_client_certificate(certificates: Certificates, tmp_path: Path, content: bytes | str) -> None:
    """Nobody is asked for the password of a key: that would stop a job at night for ever."""
    path = tmp_path / "client.pem"
    cert, key = certificates.cert().read_bytes(), certificates.key().read_bytes()
    if content == "locked":
        command = ["openssl", "ec", "-aes256", "-passout", "pass:hunter2"]
        key = subprocess.run(command, input=key, capture_output=True, check=True).stdout
        content = cert + key
    if content is not None:
        path.write_bytes({"cert": cert, "key": key}.get(content, content))  # type: ignore[call-overload]
    with serving(certificates) as peer:
        said = refusal(peer, TlsPolicy(certificates.ca, client_cert=path), ConfigurationError)
    assert str(path) in said and said.endswith(".")


# ---- Names


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that finds every host here, and keeps what it was asked for; TLS and the rest are real."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str | bytes, port: int, **more: Any) -> Any:
        asked.append(host.decode("ascii") if isinstance(host, bytes) else host)
        return real(HOST, port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield asked


def test_a_host_with_umlauts_is_resolved_named_and_verified_by_its_encoded_name(
    certificates: Certificates, elsewhere: list[str]
) -> None:
    context, named = certificates.server_context(), []
    context.sni_callback = lambda tls, name, _: named.append(name)
    with serving(certificates, context=context) as peer:
        log_in(peer, TlsPolicy(certificates.ca), IDN)
        said = refusal_of_name(peer, TlsPolicy(certificates.ca), "öther.example")
    assert elsewhere == named == ["xn--bcher-kva.example", "xn--ther-4qa.example"]
    assert "'öther.example'" in said, "a person reads the name as it was written"


def refusal_of_name(peer: SaslPeer, policy: TlsPolicy, host: str) -> str:
    with pytest.raises(CertificateRefused) as caught:
        log_in(peer, policy, host)
    return caught.value.message
