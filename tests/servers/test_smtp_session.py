"""The way to real SMTP and LMTP servers: protection, greeting and hello, and what is told where there is no way.

Strategy: sessions are opened as a job opens them, by URL; what the servers are told is in the wire log. Postfix is the
server with TLS, Dovecot's LMTP the one on this machine, smtp-sink the one that fails on command.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailmove.endpoints import open_relay
from mailmove.errors import (
    CertificateRefused,
    CommandRejected,
    ConfigurationError,
    ConnectionLost,
    HostUnreachable,
    Interrupted,
    MailmoveError,
    PlaintextRefused,
    TryLater,
)
from mailmove.targets import RelayTraits
from mailmove.tls import pin_of
from mailmove.wire_log import WireLog
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix, Sink
from tests.support.client import HOST

POSTFIX = RelayTraits(
    pipelining=True,
    chunking=True,
    eight_bit=True,
    utf8=True,
    largest=10_240_000,
    greeting="postfix.example.org ESMTP Postfix",
)


@pytest.fixture(scope="module")
def postfix(needs_postfix: None) -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


@pytest.fixture(scope="module")
def lmtp(needs_lmtp: None) -> Iterator[Dovecot]:
    with Dovecot(lmtp=True) as server:
        yield server


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[str]]:
    """The lines of the wire log, without times and numbers."""
    return lambda: [line.split(" ", 2)[2] for line in (tmp_path / "log").read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WireLog]:
    written = WireLog(tmp_path / "log")
    yield written
    written.close()


def enter(url: str, **more: Any) -> RelayTraits:
    """What is offered in a session, which ends politely."""
    usual: dict[str, Any] = {"ca_file": "", "allow_plaintext": False, "timeout": 20, "ok": lambda: True}
    session = open_relay(url, None, **(usual | more))
    session.quit()
    return session.traits


def refused(url: str, kind: type[MailmoveError], **more: Any) -> str:
    with pytest.raises(kind) as caught:
        enter(url, **more)
    assert type(caught.value) is kind
    assert caught.value.message.isprintable() and caught.value.message.endswith(".")
    return caught.value.message


def pin(server: Postfix) -> str:
    return pin_of(ssl.PEM_cert_to_DER_cert(server.certificates.cert().read_text()))


# ---- Protection


def test_starttls_is_used_and_hello_said_again(postfix: Postfix, log: WireLog, told: Callable[[], list[str]]) -> None:
    assert enter(f"smtp://localhost:{postfix.ports['smtp']}", ca_file=str(postfix.certificates.ca), log=log) == POSTFIX
    said = [line for line in told() if line[0] in "C-"]
    assert [line.split(" ")[:2] for line in said[:4]] == [
        ["-:", "connecting"],
        ["C:", "EHLO"],
        ["C:", "STARTTLS"],
        said[3].split(" ")[:2],
    ]
    assert "TLSv1." in said[3] and said[4:] == ["C: EHLO [127.0.0.1]", "C: QUIT"]


def test_tls_from_the_first_octet(postfix: Postfix, log: WireLog, told: Callable[[], list[str]]) -> None:
    assert (
        enter(f"smtps://localhost:{postfix.ports['smtps']}", ca_file=str(postfix.certificates.ca), log=log) == POSTFIX
    )
    assert "TLSv1." in told()[1] and told()[2].startswith("S: 220 ")


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_pin_is_all_that_counts(postfix: Postfix, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{postfix.ports[scheme]}"
    assert enter(url, pin=pin(postfix)) == POSTFIX
    assert "is not the pinned one" in refused(url, CertificateRefused, pin="sha256:" + "0" * 64)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_that_nobody_vouches_for(postfix: Postfix, scheme: str) -> None:
    said = refused(f"{scheme}://localhost:{postfix.ports[scheme]}", CertificateRefused)
    assert f"--pin {pin(postfix)}" in said and "Nothing was sent" in said


@pytest.mark.parametrize("kind", ["expired", "wrong_host"])
def test_a_certificate_that_is_not_right(needs_postfix: None, kind: str) -> None:
    with Postfix(certificate=kind) as server:
        refused(f"smtp://localhost:{server.ports['smtp']}", CertificateRefused, ca_file=str(server.certificates.ca))


def test_a_server_that_wants_a_certificate_of_ours(needs_postfix: None, tmp_path: Path) -> None:
    """Postfix says so only when TLS has begun, and hangs up."""
    wants = "smtpd_tls_req_ccert = yes\nsmtpd_tls_security_level = encrypt\n"
    wants += "smtpd_tls_CAfile = $config_directory/../tls/ca.pem\n"
    with Postfix(extra=wants) as server:
        certificates = server.certificates
        ours = tmp_path / "ours.pem"
        ours.write_text(certificates.cert().read_text() + certificates.key().read_text())
        url, ca_file = f"smtp://localhost:{server.ports['smtp']}", str(certificates.ca)
        assert "lient certificate" in refused(url, TryLater, ca_file=ca_file)
        assert enter(url, ca_file=ca_file, client_cert=str(ours)) == POSTFIX


def test_a_server_without_tls(needs_postfix: None) -> None:
    with Postfix(tls=False) as server:
        url = f"smtp://localhost:{server.ports['smtp']}"
        said = refused(url, PlaintextRefused)
        assert "offers no STARTTLS, so the mail would cross" in said and "--allow-plaintext" in said
        assert enter(url, allow_plaintext=True) == POSTFIX


def test_the_wrong_port(postfix: Postfix) -> None:
    assert "465" in refused(f"smtps://localhost:{postfix.ports['smtp']}", HostUnreachable)
    said = refused(f"smtp://localhost:{postfix.ports['smtps']}", HostUnreachable, timeout=0.5)
    assert "is this a TLS port? Then use smtps://" in said


# ---- LMTP, and this machine


def test_on_this_machine_lmtp_needs_no_tls(lmtp: Dovecot, log: WireLog, told: Callable[[], list[str]]) -> None:
    for place in (f"localhost:{lmtp.ports['lmtp']}", f"127.0.0.1:{lmtp.ports['lmtp']}", str(lmtp.lmtp_socket)):
        traits = enter(f"lmtp://{place}", log=log)
        assert traits.lmtp and traits.chunking and traits.pipelining and "Dovecot" in traits.greeting
    said = told()
    assert "S: 250 STARTTLS" in said and "C: STARTTLS" not in said
    assert said.count("C: LHLO [127.0.0.1]") == 3 and f"-: connecting to lmtp://{lmtp.lmtp_socket}" in said


def test_lmtp_under_tls_for_who_says_what_to_trust(lmtp: Dovecot, log: WireLog, told: Callable[[], list[str]]) -> None:
    url = f"lmtp://localhost:{lmtp.ports['lmtp']}"
    assert enter(url, ca_file=str(lmtp.certificates.ca), log=log).lmtp
    assert "C: STARTTLS" in told() and any("TLSv1." in line for line in told())
    refused(url, CertificateRefused, pin="sha256:" + "0" * 64)


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refused(f"lmtp://{tmp_path}/lmtp", HostUnreachable)
    (tmp_path / "file").touch()
    assert f"The socket {tmp_path}/file could not be reached" in refused(f"lmtp://{tmp_path}/file", HostUnreachable)
    refused(f"lmtp:///{'x' * 200}", HostUnreachable)
    with socket.socket(socket.AF_UNIX) as nobody_accepts:
        nobody_accepts.bind(str(tmp_path / "s"))
    assert "connection refused" in refused(f"lmtp://{tmp_path}/s", HostUnreachable)


# ---- Greeting and hello


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (("-f", "CONNECT"), CommandRejected, "takes no mail from us: '500 5.3.0"),
        (("-r", "CONNECT"), TryLater, "takes no mail from us: '450 4.3.0"),
        (("-Q", "CONNECT"), TryLater, "hung up at the greeting: '421"),
        (("-q", "CONNECT"), ConnectionLost, "closed the connection in the middle of the greeting"),
        (("-Q", "EHLO"), TryLater, "hung up at EHLO: '421"),
        (("-q", "EHLO"), ConnectionLost, "closed the connection in the middle of EHLO"),
        (("-r", "EHLO"), TryLater, "is not ready for us: '450 4.3.0"),
        (("-f", "EHLO,HELO"), ConfigurationError, "would not let us say hello in SMTP ('500 5.3.0"),
        (("-L",), ConfigurationError, "if it is no SMTP server, use lmtp://"),
    ],
)
def test_a_server_that_lets_nobody_in(
    needs_sink: None, options: tuple[str, ...], kind: type[MailmoveError], said: str
) -> None:
    with Sink(*options) as sink:
        assert said in refused(f"smtp://{HOST}:{sink.ports['smtp']}", kind, allow_plaintext=True)


def test_a_server_that_speaks_smtp_and_no_lmtp(needs_sink: None) -> None:
    with Sink() as sink:
        said = refused(f"lmtp://{HOST}:{sink.ports['smtp']}", ConfigurationError)
    assert "if it is no LMTP server, use smtp://" in said


def test_a_server_that_knows_no_ehlo_offers_nothing(needs_sink: None) -> None:
    with Sink("-f", "EHLO") as sink:
        traits = enter(f"smtp://{HOST}:{sink.ports['smtp']}", allow_plaintext=True)
        assert traits == RelayTraits(greeting=traits.greeting)
        said = refused(f"smtp://{HOST}:{sink.ports['smtp']}", PlaintextRefused)
    assert "offers no STARTTLS" in said


def test_what_an_smtp_sink_offers(needs_sink: None) -> None:
    with Sink() as pipelined, Sink("-p", "-8") as poor:
        rich, bare = (enter(f"smtp://{HOST}:{sink.ports['smtp']}", allow_plaintext=True) for sink in (pipelined, poor))
        assert rich.pipelining and rich.eight_bit and not rich.chunking
        assert not bare.pipelining and not bare.eight_bit


def test_a_session_that_is_stopped_before_the_greeting() -> None:
    with socket.create_server((HOST, 0)) as silent:
        refused(f"smtp://{HOST}:{silent.getsockname()[1]}", Interrupted, ok=lambda: False)


def test_nobody_listens() -> None:
    with socket.create_server((HOST, 0)) as gone:
        port = gone.getsockname()[1]
    assert f"{HOST}:{port} could not be reached" in refused(f"smtps://{HOST}:{port}", HostUnreachable)
