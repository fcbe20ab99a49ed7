"""Every way to log in to a real Dovecot, and the secret looked for everywhere afterwards.

Strategy: one Dovecot with every mechanism and a password that is no word. Each way is taken through a recording proxy,
so that what crossed the wire in confidence is known to the letter; neither the secret, in any of its forms, nor any of
those words may be in the wire log, the report, what was said, or any file of the archive. A run that fails, and one
that crashes on purpose, are looked through alike.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, PASSWORD_NAME, REPO, Result, mailmove
from tests.support.client import HOST, fetch_all
from tests.support.proxy import Proxy, reset

SECRET = "Zq7-tangerine-kiosk-31"  # a token, too: Dovecot's static passdb compares it as it compares a password
MECHANISMS = "auth_mechanisms = plain login cram-md5 apop scram-sha-256 xoauth2 oauthbearer\n"
WAYS = ("auto", "user", "apop", "plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer")
TOKENS = ("xoauth2", "oauthbearer")
LOGIN_REFUSED, CONFIGURATION, BUG = 77, 78, 1


def v6_port() -> int:
    """A free port on ::1, or 0 where there is no IPv6."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        return int(listening.getsockname()[1])
    return 0


V6 = v6_port()
LISTENER = f"inet_listener v6 {{\n address = ::1\n port = {V6}\n ssl = yes\n }}\n" if V6 else ""


@pytest.fixture(scope="module")
def server(needs_dovecot: None) -> Iterator[Dovecot]:
    extra = MECHANISMS + f"service pop3-login {{\n {LISTENER} }}\n"
    with Dovecot(password=SECRET, extra=extra) as dovecot:
        yield dovecot


@pytest.fixture
def box(server: Dovecot, user: str) -> str:
    server.seed(user, mails.varied(4, seed=11))
    return user


def secret_by(way: str, secret: str = SECRET) -> tuple[tuple[str, ...], dict[str, str]]:
    """How mailmove is given the secret: (options, environment)."""
    if way in TOKENS:
        return ("--token-command", f'printf "%s\\n" "${PASSWORD_NAME}"'), {PASSWORD_NAME: secret}
    return ("--password-env", PASSWORD_NAME), {PASSWORD_NAME: secret}


def pull(
    server: Dovecot,
    box: str,
    archive: Path,
    way: str = "auto",
    *more: object,
    secret: str = SECRET,
    scheme: str = "pop3s",
    port: int = 0,
    host: str = HOST,
    env: dict[str, str] | None = None,
) -> Result:
    options, environment = secret_by(way, secret)
    url = f"{scheme}://{box}@{host}:{port or server.ports[scheme]}"
    words = ("pull", url, "-a", archive, "--maildrop", "M", "--auth", way, "--json", *options, *more)
    return mailmove(*words, env=environment | (env or {}))


def recording(server: Dovecot) -> Proxy:
    """Speaks TLS with the client, and so can read what is said."""
    return Proxy(server.ports["pop3"], context=server.certificates.server_context())


def trusting(server: Dovecot) -> tuple[object, ...]:
    return ("--ca-file", server.certificates.ca)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_log_in_over_tls(server: Dovecot, box: str, archive_dir: Path, way: str) -> None:
    result = pull(server, box, archive_dir, way, *trusting(server))
    assert result.code == 0, result
    archives.assert_exactly(archive_dir, fetch_all(server.ports["pop3"], box, SECRET))


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_secret_is_refused_and_tried_once(server: Dovecot, box: str, archive_dir: Path, way: str) -> None:
    with recording(server) as proxy:
        result = pull(server, box, archive_dir, way, *trusting(server), secret="wrong-" + SECRET, port=proxy.port)
        (session,) = proxy.sessions
    assert result.code == LOGIN_REFUSED and "refused the login" in result.json()["error"]["message"], result
    assert "Traceback" not in result.stderr and not archive_dir.exists()
    assert len({"PASS", "APOP", "AUTH"} & set(session.verbs)) == 1 and session.verbs.count("AUTH") <= 1


# ---- The secret is nowhere


def forms(secret: str) -> set[bytes]:
    """The secret as it is, and in base64 at each of the three places it can have in what was encoded."""
    found = {secret.encode()}
    for pad in range(3):
        encoded = base64.b64encode(b"x" * pad + secret.encode())
        found.add(encoded[4 if pad else 0 : -4])  # without what its neighbours take part in
    return found


def confidential(commands: list[str]) -> set[bytes]:
    """The words that crossed the wire in confidence: behind PASS, APOP's user and AUTH's mechanism, and responses."""
    words: set[bytes] = set()
    for command in commands[: commands.index("STAT") if "STAT" in commands else None]:
        parts = command.split(" ")
        if parts[0] in ("APOP", "AUTH"):
            words.update(part.encode() for part in parts[2:])
        elif parts[0] == "PASS" or parts[0] not in ("CAPA", "USER", "STLS", "QUIT", "*"):
            words.add(parts[-1].encode())
    return {word for word in words if len(word) > 5}


def assert_nowhere(secrets: set[bytes], places: dict[str, bytes]) -> None:
    assert secrets and places
    found = [(place, secret) for place, content in places.items() for secret in secrets if secret in content]
    assert not found


def places(result: Result, archive: Path, log: Path) -> dict[str, bytes]:
    """Everything a run left behind."""
    files = [path for path in archive.rglob("*") if path.is_file()] if archive.exists() else []
    said = {"stdout": result.stdout.encode(), "stderr": result.stderr.encode(), "argv": repr(result.args).encode()}
    return said | {str(path): path.read_bytes() for path in [*files, log]}


CRASHES = {
    "behind the login": "from mailmove.sources.pop3 import Pop3Source as c\nc.list = broken\n",
    "in the login": "from mailmove.protocols.pop3 import AuthResponse as a, Pass as p, Apop as d, Auth as u\n"
    "for c in (a, p, d, u): c.line = broken\n",
}
BROKEN = "def broken(*args, **more): raise RuntimeError(f'broken on purpose: {args} {list(map(str, args))}')\n"


@pytest.mark.parametrize("end", ["good", "refused", *CRASHES])
@pytest.mark.parametrize("way", WAYS)
def test_the_secret_is_nowhere(
    server: Dovecot, box: str, archive_dir: Path, tmp_path: Path, way: str, end: str
) -> None:
    log, secret, env = tmp_path / "wire.log", "wrong-" * (end == "refused") + SECRET, {}
    if end in CRASHES:
        (tmp_path / "crash").mkdir()
        (tmp_path / "crash" / "sitecustomize.py").write_text(BROKEN + CRASHES[end])
        env = {"PYTHONPATH": f"{tmp_path / 'crash'}{os.pathsep}{REPO}"}
    with recording(server) as proxy:
        options = (*trusting(server), "--wire-log", log)
        result = pull(server, box, archive_dir, way, *options, secret=secret, port=proxy.port, env=env)
        commands = [command for session in proxy.sessions for command in session.commands]
    expected = {"good": 0, "refused": LOGIN_REFUSED}.get(end, BUG)
    assert result.code == expected, result
    assert ("broken on purpose" in result.stderr) == (end in CRASHES), result
    assert_nowhere(forms(SECRET) | confidential(commands), places(result, archive_dir, log))


def test_of_the_test_a_secret_would_be_found() -> None:
    for pad in range(6):
        text = b"x" * pad + SECRET.encode() + b"\1\1"
        assert any(form in base64.b64encode(text) for form in forms(SECRET))
    assert confidential(["CAPA", f"PASS {SECRET}", "AUTH PLAIN abcdefgh", "APOP me 0123456789", "cmVzcG9uc2U=", "STAT"])
    with pytest.raises(AssertionError):
        assert_nowhere(forms(SECRET), {"log": b"x " + SECRET.encode()})


def test_the_wire_log_tells_the_session_and_is_for_its_owner_only(
    server: Dovecot, box: str, archive_dir: Path, tmp_path: Path
) -> None:
    log = tmp_path / "wire.log"
    assert pull(server, box, archive_dir, "plain", "--wire-log", log, *trusting(server)).code == 0
    text = log.read_text("utf-8")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    for told in ("C: AUTH PLAIN ***", "S: +OK Logged in", "C: RETR 4", "octets of message]", "C: QUIT", "TLSv1"):
        assert told in text
    assert box not in text, "nor does it tell whose mailbox it is"
    bodies = fetch_all(server.ports["pop3"], box, SECRET).values()
    lines = {line for body in bodies for line in body.decode("latin-1").splitlines() if len(line) > 20}
    assert lines and not any(line in text for line in lines)


# ---- Tokens


def test_a_token_is_asked_for_anew_for_each_session(
    server: Dovecot, box: str, archive_dir: Path, tmp_path: Path
) -> None:
    """The first session is cut, and the next one does not begin with the token of the first."""
    server.seed(box, mails.mixed(30, seed=12))
    script, count = tmp_path / "token", tmp_path / "count"
    script.write_text(f"echo x >> {count}\necho {SECRET}\n")
    with recording(server) as proxy:
        proxy.at(60_000, reset)
        words = ("--maildrop", "M", "--json", "--token-command", f"sh {script}", *trusting(server))
        result = mailmove("pull", f"pop3s://{box}@{HOST}:{proxy.port}", "-a", archive_dir, *words)
        sessions = len(proxy.sessions)
    assert result.code == 0 and sessions > 1, result
    assert len(count.read_text().split()) == sessions
    archives.assert_exactly(archive_dir, fetch_all(server.ports["pop3"], box, SECRET))


def test_why_dovecot_refuses_a_token(server: Dovecot, box: str, archive_dir: Path) -> None:
    result = pull(server, box, archive_dir, "xoauth2", *trusting(server), secret="stale")
    assert result.code == LOGIN_REFUSED and '{"status":' in result.json()["error"]["message"], result


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--token-command", "exit 3"), CONFIGURATION, "token command failed"),
        (("--token-command", "true"), CONFIGURATION, "token is empty"),
        (("--auth", "xoauth2", "--password-env", PASSWORD_NAME), 2, "--token-command"),
        (("--auth", "plain", "--token-command", "echo x"), 2, "takes a password"),
        (("--token-command", "echo x", "--password-env", PASSWORD_NAME), 2, "--token-command"),
        (("--auth", "gssapi",), 2, "gssapi"),
        (("--pin", "sha256:abc"), 2, "64 hex digits"),
        (("--wire-log", "/no/such/folder/log", "--password-env", PASSWORD_NAME), CONFIGURATION, "wire log"),
        (("--client-cert", "/no/such/file", "--password-env", PASSWORD_NAME), CONFIGURATION, "/no/such/file"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_in_one_sentence(
    server: Dovecot, box: str, archive_dir: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    result = mailmove("pull", f"pop3s://{box}@{HOST}:{server.ports['pop3s']}", "-a", archive_dir, *words)
    assert result.code == code and said in result.stderr and "Traceback" not in result.stderr, result
    assert not archive_dir.exists()


def test_a_migration_with_tokens_at_both_ends(server: Dovecot, box: str, archive_dir: Path, tmp_path: Path) -> None:
    log, ports = tmp_path / "wire.log", server.ports
    token = f'printf %s "${PASSWORD_NAME}"'
    pin = "sha256:" + printed_by_openssl(server.certificates.cert())
    result = mailmove(
        *("migrate", f"pop3s://{box}@{HOST}:{ports['pop3s']}", f"imaps://{box}.new@{HOST}:{ports['imaps']}"),
        *("-a", archive_dir, "--json", "--wire-log", log, "--source-pin", pin, "--target-pin", pin),
        *("--source-token-command", token, "--target-token-command", token),
        env={PASSWORD_NAME: SECRET},
    )
    assert result.code == 0 and result.json()["jobs"][1]["delivered"] == 4, result
    text = log.read_text("utf-8")
    for told in ("C: AUTH OAUTHBEARER ***", "AUTHENTICATE OAUTHBEARER ***", "APPEND", "octets of message]"):
        assert told in text
    assert_nowhere(forms(SECRET), places(result, archive_dir, log))


# ---- TLS


def printed_by_openssl(certificate: Path) -> str:
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(certificate)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]


@pytest.mark.parametrize("scheme", ["pop3s", "pop3"])
def test_a_pin_instead_of_an_authority(server: Dovecot, box: str, archive_dir: Path, scheme: str) -> None:
    refused = pull(server, box, archive_dir, "auto", scheme=scheme)
    assert refused.code == CONFIGURATION and not archive_dir.exists(), refused
    pin = refused.json()["error"]["message"].partition("--pin ")[2].partition(".")[0]
    assert pull(server, box, archive_dir, "auto", "--pin", pin, scheme=scheme).code == 0
    wrong = pull(server, box, archive_dir, "auto", "--pin", "sha256:" + "0" * 64, scheme=scheme)
    assert wrong.code == CONFIGURATION and pin in wrong.stderr, wrong


def test_a_server_that_demands_a_client_certificate(
    needs_dovecot: None, user: str, archive_dir: Path, tmp_path: Path
) -> None:
    own, extra = tmp_path / "client.pem", "ssl_verify_client_cert = yes\nauth_ssl_require_client_cert = yes\n"
    with Dovecot(extra=extra + "ssl_require_crl = no\nssl_ca = <tls/ca.pem\n") as dovecot:
        files = dovecot.certificates
        own.write_bytes(files.cert().read_bytes() + files.key().read_bytes())
        source = f"pop3s://{user}@{HOST}:{dovecot.ports['pop3s']}"
        words = ("pull", source, "-a", archive_dir, "--ca-file", files.ca, "--json", *PASSWORD_FROM_ENV)
        without = mailmove(*words)
        assert without.code == LOGIN_REFUSED and not archive_dir.exists(), without
        assert mailmove(*words, "--client-cert", own).code == 0


def test_an_address_of_ipv6(server: Dovecot, box: str, archive_dir: Path) -> None:
    if not V6:
        unavailable("this machine has no IPv6 loopback")
    result = pull(server, box, archive_dir, "auto", *trusting(server), host="[::1]", port=V6)
    assert result.code == 0, result
    archives.assert_exactly(archive_dir, fetch_all(server.ports["pop3"], box, SECRET))
    refused = pull(server, box, archive_dir, "auto", host="[::1]", port=V6)
    assert refused.code == CONFIGURATION and f"[::1]:{V6}" in refused.stderr, refused
