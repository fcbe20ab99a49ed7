"""Every way to log in to a real Postfix, whose users are a real Dovecot's, and the secret looked for afterwards.

Strategy: whether a login counts is seen in what it is for: mail for somebody elsewhere is taken from who is logged in,
and from nobody else. What crossed the wire in confidence must not be in the wire log.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailmove.endpoints import open_relay
from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    ConfigurationError,
    MailmoveError,
    PlaintextRefused,
    TokenRefused,
)
from mailmove.model import AuthMethod, Body
from mailmove.secrets import Secret
from mailmove.targets import Parcel, Relay
from mailmove.wire_log import WireLog
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix, auth_socket
from tests.servers.test_auth import MECHANISMS, SECRET, TOKENS, forms
from tests.support.proxy import Proxy

WAYS = ("auto", "plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer")
BEYOND = "Pässwörd-✓-31"
LETTER = b"Subject: hi\r\n\r\nhello\r\n"


@dataclass
class Users:
    """A Dovecot that knows who may log in. `path`: where it is asked."""

    dovecot: Dovecot
    path: Path


def users(password: str) -> Iterator[Users]:
    with tempfile.TemporaryDirectory(prefix="mailmove-sasl-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "auth"
        with Dovecot(password=password, extra=MECHANISMS + auth_socket(path)) as dovecot:
            yield Users(dovecot, path)


@pytest.fixture(scope="module")
def known(needs_dovecot: None, needs_postfix: None) -> Iterator[Users]:
    yield from users(SECRET)


@pytest.fixture(scope="module")
def server(known: Users) -> Iterator[Postfix]:
    with Postfix(sasl=known.path) as postfix:
        yield postfix


@pytest.fixture(scope="module")
def beyond(needs_dovecot: None, needs_postfix: None) -> Iterator[Postfix]:
    for there in users(BEYOND):
        with Postfix(sasl=there.path) as postfix:
            yield postfix


def open_at(server: Postfix, way: str = "auto", secret: str = SECRET, scheme: str = "smtps", **more: Any) -> Relay:
    port = more.pop("port", server.ports.get(scheme))
    usual: dict[str, Any] = {"ca_file": str(server.certificates.ca), "allow_plaintext": False, "timeout": 20}
    usual |= {"ok": lambda: True, "auth": AuthMethod(way), "bearer": way in TOKENS}
    return open_relay(f"{scheme}://me@localhost:{port}", Secret(secret), **(usual | more))


def code_for(session: Relay, recipient: str) -> int:
    """What a message for somebody gets."""
    session.send([Parcel("me@example.org", (recipient,), len(LETTER), Body.SEVEN_BIT, lambda: iter([LETTER]))])
    (posted,) = session.reap()
    session.quit()
    return posted.replies[recipient].code


# ---- Every way


@pytest.mark.parametrize("scheme", ["smtps", "smtp"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_log_in(server: Postfix, way: str, scheme: str) -> None:
    recipient = f"{way}-{scheme}@elsewhere.example"
    session = open_at(server, way, scheme=scheme)
    assert session.traits.authenticated
    assert code_for(session, recipient) == 250
    (there,) = server.wait_for(recipient, 1)
    assert there.endswith(LETTER.replace(b"\r\n", b"\n"))


def test_who_is_not_logged_in_may_not_send_elsewhere(server: Postfix) -> None:
    """Without this the test above would show nothing."""
    url, ca_file = f"smtps://localhost:{server.ports['smtps']}", str(server.certificates.ca)
    session = open_relay(url, None, ca_file=ca_file, allow_plaintext=False, timeout=20, ok=lambda: True)
    assert not session.traits.authenticated
    assert code_for(session, "nobody@elsewhere.example") in (454, 554)


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_secret_is_refused_and_tried_once(server: Postfix, way: str) -> None:
    with Proxy(server.ports["smtp"]) as proxy:
        options = {"scheme": "smtp", "port": proxy.port, "allow_plaintext": True}
        with pytest.raises(TokenRefused if way in TOKENS else AuthenticationRejected) as caught:
            open_at(server, way, "wrong-" + SECRET, **options)
        assert len(proxy.sessions) == 1
    assert "refused the login of me" in caught.value.message and caught.value.exit_code == 77
    assert ('{"status":' in caught.value.message) == (way in TOKENS), "why a token is refused is told"
    assert "535 5.7.8" in caught.value.server_text


@pytest.mark.parametrize("way", ["auto", "plain", "login", "cram-md5", "scram-sha-256"])
def test_a_password_beyond_ascii(beyond: Postfix, way: str) -> None:
    with pytest.raises(AuthenticationRejected) as caught:
        open_at(beyond, way, BEYOND + "é")
    assert BEYOND not in str(caught.value)
    assert code_for(open_at(beyond, way, BEYOND), f"beyond-{way}@elsewhere.example") == 250


# ---- What is offered


@pytest.fixture
def plain_only(known: Users) -> Iterator[Postfix]:
    with Postfix(sasl=known.path, extra="smtpd_sasl_mechanism_filter = plain\nsmtpd_tls_auth_only = yes\n") as postfix:
        yield postfix


def test_a_way_that_is_not_offered(plain_only: Postfix) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("SCRAM-SHA-256 (it offers PLAIN)")):
        open_at(plain_only, "scram-sha-256")
    with pytest.raises(ConfigurationError, match="log in with a password"):
        open_at(plain_only, "xoauth2")


def test_a_login_that_is_offered_under_tls_only(plain_only: Postfix) -> None:
    """What was announced before STARTTLS does not count: there was no AUTH in it."""
    assert code_for(open_at(plain_only, scheme="smtp"), "behind-starttls@elsewhere.example") == 250


def test_a_server_without_logins(needs_postfix: None) -> None:
    with Postfix() as server, pytest.raises(ConfigurationError, match="leave the user out of the URL"):
        open_at(server)


def test_a_server_whose_logins_do_not_work_now(needs_dovecot: None, needs_postfix: None) -> None:
    """What it says is about the moment, and no refusal."""
    for there in users(SECRET):
        with Postfix(sasl=there.path) as server:
            there.dovecot.stop()
            with pytest.raises(MailmoveError) as caught:
                open_at(server)
    assert caught.value.retryable and not isinstance(caught.value, AuthenticationRejected)


# ---- The secret


@pytest.fixture(scope="module")
def in_clear(known: Users) -> Iterator[Postfix]:
    with Postfix(sasl=known.path, tls=False) as postfix:
        yield postfix


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_goes_unencrypted_unless_allowed(in_clear: Postfix, way: str) -> None:
    with Proxy(in_clear.ports["smtp"]) as proxy:
        with pytest.raises(PlaintextRefused, match="the mail and the password"):
            open_at(in_clear, way, scheme="smtp", port=proxy.port)
        assert proxy.sessions[0].verbs == ["EHLO"]


@pytest.mark.parametrize(
    ("way", "crosses"), [("auto", False), ("scram-sha-256", False), ("cram-md5", False), ("login", True)]
)
def test_unencrypted_the_password_itself_crosses_the_wire_only_if_asked_for(
    in_clear: Postfix, way: str, crosses: bool
) -> None:
    with Proxy(in_clear.ports["smtp"]) as proxy:
        session = open_at(in_clear, way, scheme="smtp", port=proxy.port, allow_plaintext=True)
        assert session.traits.authenticated
        session.quit()
        said = "\n".join(proxy.sessions[0].commands)
    assert any(form.decode() in said for form in forms(SECRET)) == crosses


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_the_secret_is_not_in_the_wire_log(in_clear: Postfix, tmp_path: Path, way: str, good: bool) -> None:
    log = WireLog(tmp_path / "log")
    with Proxy(in_clear.ports["smtp"]) as proxy:
        options = {"scheme": "smtp", "port": proxy.port, "allow_plaintext": True, "log": log}
        try:
            open_at(in_clear, way, SECRET if good else "wrong-" + SECRET, **options).quit()
        except CommandRejected:
            assert not good
        commands = proxy.sessions[0].commands
    log.close()
    written = (tmp_path / "log").read_bytes()
    confidential = {word.encode() for line in commands for word in line.split()[2 * line.startswith("AUTH") :]}
    confidential -= {b"EHLO", b"[127.0.0.1]", b"QUIT", b"*"}
    assert confidential and b"AUTH " in written and b"***" in written
    assert not [form for form in forms(SECRET) | confidential if form in written]
