"""Every way to log in to a real Dovecot as a target, and the secret looked for everywhere afterwards.

Strategy: as in test_auth.py, through the command line and a recording proxy. Archives are filled without a server. The
tokens are a script's, which counts how often it was asked and gives a stale one when the test says so; what decides is
always what the mailbox holds in the end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from mailmove.model import AuthMethod
from tests.servers.dovecot import Dovecot
from tests.servers.test_auth import (
    BROKEN,
    BUG,
    CONFIGURATION,
    LOGIN_REFUSED,
    MECHANISMS,
    SECRET,
    assert_nowhere,
    forms,
    places,
    secret_by,
    trusting,
)
from tests.support import mails
from tests.support.cli import PASSWORD_NAME, REPO, Result, mailmove
from tests.support.client import HOST, PASSWORD
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, Session, close, reset
from tests.support.replaying import assert_delivered_once, fill

WAYS = ("auto", "plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer")
BEYOND = "Pässwörd-✓-31"
MESSAGES = mails.varied(4, seed=11)
MANY = list(mails.mixed(30, seed=12))
ONE_BY_ONE = "imap_capability = IMAP4rev1 LITERAL+ UIDPLUS\n"
REFEREE_TOO = f"passdb {{\n driver = static\n args = password={PASSWORD}\n }}\n"
"""A second password, in ASCII, for the referee: imaplib can send no other."""


@pytest.fixture(scope="module")
def server(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(password=SECRET, extra=MECHANISMS + ONE_BY_ONE) as dovecot:
        yield dovecot


@pytest.fixture(scope="module")
def beyond(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(password=BEYOND, extra=MECHANISMS + REFEREE_TOO) as dovecot:
        yield dovecot


@pytest.fixture(scope="module")
def plain_only(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(password=BEYOND, extra="auth_mechanisms = plain\n" + REFEREE_TOO) as dovecot:
        yield dovecot


def replay(
    server: Dovecot,
    user: str,
    archive: Path,
    way: str = "auto",
    *more: object,
    secret: str = SECRET,
    port: int = 0,
    scheme: str = "imaps",
    env: dict[str, str] | None = None,
) -> Result:
    options, environment = secret_by(way, secret)
    url = f"{scheme}://{user}@{HOST}:{port or server.ports[scheme]}"
    words = ("replay", url, "-a", archive, "--target-name", "T", "--auth", way, "--json", *options, *more)
    return mailmove(*words, *trusting(server), env=environment | (env or {}))


def recording_imap(server: Dovecot, kind: type[Proxy] = Proxy) -> Proxy:
    return kind(server.ports["imap"], context=server.certificates.server_context())


def login_of(commands: list[str]) -> int:
    """Where it begins; there must be one and no more."""
    (place,) = (n for n, line in enumerate(commands) if line.split()[1:2] in (["LOGIN"], ["AUTHENTICATE"]))
    return place


def assert_there_once(server: Dovecot, user: str, messages: list[bytes], password: str = SECRET) -> None:
    with Referee(server.ports["imap"], user, password) as referee:
        assert_delivered_once(referee.stored("INBOX"), messages)


# ---- Every way


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_log_in_over_tls(server: Dovecot, user: str, archive_dir: Path, way: str) -> None:
    result = replay(server, user, fill(archive_dir, MESSAGES), way)
    assert result.code == 0 and result.json()["delivered"] == len(MESSAGES), result
    assert_there_once(server, user, MESSAGES)


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_secret_is_refused_and_tried_once(server: Dovecot, user: str, archive_dir: Path, way: str) -> None:
    fill(archive_dir, MESSAGES)
    with recording_imap(server) as proxy:
        result = replay(server, user, archive_dir, way, secret="wrong-" + SECRET, port=proxy.port)
        (session,) = proxy.sessions
    assert result.code == LOGIN_REFUSED and "refused the login" in result.json()["error"]["message"], result
    assert "Traceback" not in result.stderr
    assert login_of(session.commands) >= 0


@pytest.mark.parametrize("way", ["auto", "plain", "login", "cram-md5", "scram-sha-256"])
def test_a_password_beyond_ascii(beyond: Dovecot, user: str, archive_dir: Path, way: str) -> None:
    fill(archive_dir, MESSAGES)
    wrong = replay(beyond, user, archive_dir, way, secret=BEYOND + "é")
    assert wrong.code == LOGIN_REFUSED and BEYOND not in wrong.stderr + wrong.stdout, wrong
    assert replay(beyond, user, archive_dir, way, secret=BEYOND).code == 0
    assert_there_once(beyond, user, MESSAGES, PASSWORD)


def test_a_password_beyond_ascii_by_the_command_login(plain_only: Dovecot, user: str, archive_dir: Path) -> None:
    """Dovecot announces no AUTH=LOGIN here, so only the command is left: the password goes as a literal."""
    fill(archive_dir, MESSAGES)
    with recording_imap(plain_only) as proxy:
        result = replay(plain_only, user, archive_dir, "login", secret=BEYOND, port=proxy.port)
        commands = proxy.sessions[0].commands
    assert result.code == 0, result
    announced, _, literal = commands[(first := login_of(commands)) : first + 3]
    assert announced.split()[1] == "LOGIN" and literal.encode("latin-1").decode() == BEYOND
    assert_there_once(plain_only, user, MESSAGES, PASSWORD)


def test_a_way_that_is_not_offered(plain_only: Dovecot, user: str, archive_dir: Path) -> None:
    result = replay(plain_only, user, fill(archive_dir, MESSAGES), "scram-sha-256")
    assert result.code == CONFIGURATION and "SCRAM-SHA-256 (it offers PLAIN)" in result.stderr, result


@pytest.mark.parametrize("way", [AuthMethod.USER, AuthMethod.APOP])
def test_a_way_of_pop3_is_a_mistake(archive_dir: Path, way: str) -> None:
    result = mailmove("replay", f"imaps://me@{HOST}", "-a", fill(archive_dir, MESSAGES), "--auth", way)
    assert result.code == 2 and f"--auth {way} is a way to log in to POP3" in result.stderr, result


@pytest.mark.parametrize(("way", "crosses"), [("auto", False), ("scram-sha-256", False), ("login", True)])
def test_unencrypted_the_password_itself_crosses_the_wire_only_if_asked_for(
    needs_dovecot: None, user: str, archive_dir: Path, way: str, crosses: bool
) -> None:
    fill(archive_dir, MESSAGES)
    with Dovecot(ssl=False, password=SECRET, extra=MECHANISMS) as dovecot, Proxy(dovecot.ports["imap"]) as proxy:
        result = replay(dovecot, user, archive_dir, way, "--allow-plaintext", scheme="imap", port=proxy.port)
        said = "\n".join(command for session in proxy.sessions for command in session.commands)
        assert_there_once(dovecot, user, MESSAGES)
    assert result.code == 0, result
    assert any(form.decode() in said for form in forms(SECRET)) == crosses


# ---- The secret is nowhere


CRASHES = {
    "behind the login": "from mailmove.targets.imap import ImapTarget as c\nc.select = broken\n",
    "in the login": "from mailmove.targets.imap_connection import ImapConnection as c\nc.learn_capabilities = broken\n",
}


def confidential(commands: list[str]) -> set[bytes]:
    """The words that crossed the wire in confidence: LOGIN's, AUTHENTICATE's behind the mechanism, and responses."""
    login, *rest = commands[login_of(commands) :]
    responses = takewhile(lambda line: not re.match("[A-P]+[0-9]+ [A-Z]+", line), rest)
    words = [*login.split(" ")[3:], *responses]
    return {word.strip('"').encode("latin-1") for word in words if len(word) > 5}


@pytest.mark.parametrize("end", ["good", "refused", *CRASHES])
@pytest.mark.parametrize("way", WAYS)
def test_the_secret_is_nowhere(
    server: Dovecot, user: str, archive_dir: Path, tmp_path: Path, way: str, end: str
) -> None:
    log, secret, env = tmp_path / "wire.log", "wrong-" * (end == "refused") + SECRET, {}
    fill(archive_dir, MESSAGES)
    if end in CRASHES:
        (tmp_path / "crash").mkdir()
        (tmp_path / "crash" / "sitecustomize.py").write_text(BROKEN + CRASHES[end])
        env = {"PYTHONPATH": f"{tmp_path / 'crash'}{os.pathsep}{REPO}"}
    with recording_imap(server) as proxy:
        options = ("--wire-log", log)
        result = replay(server, user, archive_dir, way, *options, secret=secret, port=proxy.port, env=env)
        commands = proxy.sessions[0].commands
    assert result.code == {"good": 0, "refused": LOGIN_REFUSED}.get(end, BUG), result
    assert ("broken on purpose" in result.stderr) == (end in CRASHES), result
    assert "***" in log.read_text("utf-8") and confidential(commands)
    assert_nowhere(forms(SECRET) | confidential(commands), places(result, archive_dir, log))


# ---- Tokens


def tokens(folder: Path, stale: str) -> tuple[Path, Path]:
    """(script, what it counts in): the calls whose numbers match the shell pattern `stale` get a token that has run
    out."""
    script, count = folder / "token", folder / "count"
    script.write_text(
        f"echo x >> {count}\ncase $(wc -l < {count} | tr -d ' ') in {stale}) echo stale;; *) echo {SECRET};; esac\n"
    )
    return script, count


def replay_by_token(server: Dovecot, user: str, archive: Path, script: Path, port: int = 0) -> Result:
    url = f"imaps://{user}@{HOST}:{port or server.ports['imaps']}"
    words = ("replay", url, "-a", archive, "--target-name", "T", "--json", "--token-command", f"sh {script}")
    return mailmove(*words, *trusting(server))


class Expiring(Proxy):
    """In the first session the server says, in the midst of messages, that the token has run out, and hangs up."""

    def _pass_up(self, session: Session, server: object, data: bytes) -> None:
        appends = sum(" APPEND " in command for command in session.commands)
        if session is self.sessions[0] and appends > 3 and session.connection is not None:
            session.connection.sendall(b"* BYE Session invalidated - AccessTokenExpired\r\n")
            return close(session)
        return super()._pass_up(session, server, data)  # type: ignore[arg-type]


def test_a_token_that_runs_out_costs_a_session_and_not_the_place(
    server: Dovecot, user: str, archive_dir: Path, tmp_path: Path
) -> None:
    """The command is asked anew for each session; it gives the old one once more, which is refused, and then a fresh
    one."""
    fill(archive_dir, MANY)
    script, count = tokens(tmp_path, "2")
    with recording_imap(server, Expiring) as proxy:
        result = replay_by_token(server, user, archive_dir, script, proxy.port)
        sessions = len(proxy.sessions)
    assert result.code == 0 and "AccessTokenExpired" in result.stderr, result
    assert '{"status":' in result.stderr and "Trying again" in result.stderr
    assert len(count.read_text().split()) == sessions == 3
    assert result.json()["delivered"] == len(MANY) == result.json()["selected"]
    assert_there_once(server, user, MANY)


def test_a_fresh_token_that_is_refused_too_ends_the_run_and_the_next_goes_on(
    server: Dovecot, user: str, archive_dir: Path, tmp_path: Path
) -> None:
    fill(archive_dir, MANY)
    script, count = tokens(tmp_path, "[23]")
    with recording_imap(server) as proxy:
        proxy.at_up(60_000, reset)
        result = replay_by_token(server, user, archive_dir, script, proxy.port)
    assert result.code == LOGIN_REFUSED and '{"status":' in result.json()["error"]["message"], result
    assert len(count.read_text().split()) == 3 and "Traceback" not in result.stderr
    assert 0 < result.json()["pending"] <= len(MANY)
    again = replay_by_token(server, user, archive_dir, script)
    assert again.code == 0, again
    assert_there_once(server, user, MANY)


def test_a_token_that_was_never_taken_is_tried_once(
    server: Dovecot, user: str, archive_dir: Path, tmp_path: Path
) -> None:
    script, count = tokens(tmp_path, "*")
    result = replay_by_token(server, user, fill(archive_dir, MESSAGES), script)
    assert result.code == LOGIN_REFUSED and '{"status":' in result.json()["error"]["message"], result
    assert len(count.read_text().split()) == 1


def test_a_migration_chooses_for_each_end(server: Dovecot, user: str, archive_dir: Path, tmp_path: Path) -> None:
    server.seed(user, MESSAGES)
    log, ports = tmp_path / "wire.log", server.ports
    result = mailmove(
        *("migrate", f"pop3s://{user}@{HOST}:{ports['pop3s']}", f"imaps://{user}.new@{HOST}:{ports['imaps']}"),
        *("-a", archive_dir, "--json", "--wire-log", log, *trusting(server)),
        *("--source-password-env", PASSWORD_NAME, "--target-password-env", PASSWORD_NAME),
        *("--source-auth", "cram-md5", "--target-auth", "plain"),
        env={PASSWORD_NAME: SECRET},
    )
    assert result.code == 0 and result.json()["jobs"][1]["delivered"] == len(MESSAGES), result
    assert "AUTH CRAM-MD5" in log.read_text("utf-8") and "AUTHENTICATE PLAIN" in log.read_text("utf-8")
    assert_there_once(server, f"{user}.new", MESSAGES)
