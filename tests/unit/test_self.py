"""The tests' own tools: what the other tests lean on is held up here."""

from __future__ import annotations

import contextlib
import os
import poplib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.peer import Letter, Peer
from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot
from tests.support import mails, proxy
from tests.support.cli import PASSWORD_NAME, Result, environment
from tests.support.client import HOST, PASSWORD, Referee, Refused, fetch_all
from tests.support.line import Line
from tests.support.loopback import is_loopback
from tests.support.proxy import Proxy

LETTERS = [
    Letter("a", b"Subject: one\r\n\r\nfirst\r\n"),
    Letter("b", b"Subject: two\r\n\r\n.\r\n..dots\r\n.\r\n"),
    Letter("c", b"Subject: three\r\n\r\n" + b"x" * 50_000 + b"\r\n"),
]
BODIES = {letter.unique_id: letter.body for letter in LETTERS}


def ended(message: bytes) -> bytes:
    """As a server sends it: the last line has an end."""
    return message if message.endswith(b"\r\n") else message + b"\r\n"


# ---- Messages


def test_messages_depend_on_the_seed_and_nothing_else() -> None:
    assert mails.varied(40, 3) == mails.varied(40, 3)
    assert mails.varied(40, 3) != mails.varied(40, 4)
    assert mails.varied(40, 3)[:10] == mails.varied(10, 3)
    assert list(mails.mixed(20, 3)) == list(mails.mixed(20, 3))


@pytest.mark.parametrize("messages", [mails.varied(150, 1), list(mails.small(200)), list(mails.mixed(60))])
def test_messages_are_all_different_and_crlf_throughout(messages: list[bytes]) -> None:
    assert len(set(messages)) == len(messages)
    assert all(mails.crlf(message) == message and b"\r" not in message.replace(b"\r\n", b"") for message in messages)


def test_mixed_messages_have_the_sizes_of_mail() -> None:
    sizes = sorted(len(message) for message in mails.mixed(1500))
    assert 6_000 < sizes[len(sizes) // 2] < 11_000
    assert 35_000 < sum(sizes) / len(sizes) < 70_000


def test_the_shared_corpus_is_whole(corpus: Callable[[], list[tuple[str, bytes]]]) -> None:
    names = [name for name, _ in corpus()]
    assert len(names) == len(set(names)) == 2783


# ---- Only loopback


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (("127.0.0.1", 1), True),
        (("127.9.9.9", 1), True),
        (("::1", 1, 0, 0), True),
        (("localhost", 1), True),
        (("192.0.2.1", 995), False),
        (("::ffff:192.0.2.1", 1, 0, 0), False),
        (("pop.example.org", 995), False),
        (("0.0.0.0", 1), False),
        ((), False),
    ],
)
def test_what_counts_as_loopback(address: object, allowed: bool) -> None:
    assert is_loopback(socket.AF_INET, address) is allowed


@pytest.mark.parametrize("connect", ["connect", "connect_ex"])
def test_a_connection_to_elsewhere_fails_the_test(connect: str) -> None:
    with socket.socket() as s, pytest.raises(pytest.fail.Exception, match="only loopback"):
        getattr(s, connect)(("192.0.2.1", 995))


def test_poplib_is_held_too() -> None:
    with pytest.raises(pytest.fail.Exception, match="only loopback"):
        poplib.POP3("192.0.2.1", 110, timeout=1)


# ---- Dovecot, the referee and the proxy


def test_dovecot_gives_back_what_was_put_in(dovecot: Dovecot, user: str, seed: int) -> None:
    messages = mails.varied(200, seed)
    assert dovecot.seed(user, messages) == 200
    with Proxy(dovecot.ports["pop3"]) as between:
        found = fetch_all(between.port, user)
        between.wait()
    assert list(found.values()) == [ended(message) for message in messages]
    assert between.sessions[0].verbs == ["USER", "PASS", "UIDL", *["RETR"] * 200, "QUIT"]
    assert between.sessions[0].commands[0] == f"USER {user}"


def test_dovecot_announces_what_the_tests_count_on(dovecot: Dovecot) -> None:
    with Referee(dovecot.ports["pop3"]) as session:
        assert {"PIPELINING", "UIDL", "TOP", "STLS", "RESP-CODES"} <= set(session.capabilities())


@pytest.mark.parametrize("eol", [None, b"\r\n", b"\n"])
def test_line_ends_on_the_servers_disk_do_not_show(dovecot: Dovecot, user: str, eol: bytes | None) -> None:
    messages = mails.varied(14, 2)
    dovecot.seed(user, messages, eol=eol)
    with Referee(dovecot.ports["pop3"]) as session:
        session.login(user)
        assert [session.retrieve(n) for n in session.unique_ids()] == messages
        assert list(session.sizes().values()) == [len(message) for message in messages]


def test_seeding_again_adds_and_forgetting_takes_all(dovecot: Dovecot, user: str) -> None:
    assert [dovecot.seed(user, mails.small(5, seed=1)), dovecot.seed(user, mails.small(3, seed=2))] == [5, 3]
    assert list(fetch_all(dovecot.ports["pop3"], user).values()) == [*mails.small(5, seed=1), *mails.small(3, seed=2)]
    assert len(list((dovecot.maildir(user) / "cur").iterdir())) == 8
    dovecot.forget(user)
    assert fetch_all(dovecot.ports["pop3"], user) == {}


def test_ten_thousand_messages_are_quickly_there(dovecot: Dovecot, user: str) -> None:
    started = time.monotonic()
    assert dovecot.seed(user, mails.small(10_000)) == 10_000
    assert time.monotonic() - started < 30
    with Referee(dovecot.ports["pop3"]) as session:
        session.login(user)
        assert len(session.unique_ids()) == len(session.sizes()) == 10_000


def test_another_session_can_expunge(dovecot: Dovecot, user: str) -> None:
    dovecot.seed(user, mails.small(3))
    with Referee(dovecot.ports["pop3"]) as session:
        session.login(user)
        dovecot.expunge(user, 2)
        with pytest.raises(Refused, match="expunged"):
            session.retrieve(2)
        assert session.retrieve(3) == list(mails.small(3))[2]


@pytest.mark.parametrize("port", ["pop3s", "pop3"])
def test_dovecot_speaks_tls_both_ways(dovecot: Dovecot, user: str, port: str) -> None:
    dovecot.seed(user, mails.small(2))
    context = dovecot.certificates.client_context()
    assert len(fetch_all(dovecot.ports[port], user, context=context, stls=port == "pop3")) == 2


@pytest.mark.parametrize(
    ("kind", "reason"), [("expired", "expired"), ("wrong_host", "IP address mismatch"), ("self_signed", "self.signed")]
)
def test_a_bad_certificate_is_bad_in_the_way_it_says(needs_dovecot: None, kind: str, reason: str) -> None:
    with Dovecot(certificate=kind) as server:
        context = server.certificates.client_context()
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            Referee(server.ports["pop3s"], context=context)


def test_a_dovecot_without_tls(needs_dovecot: None) -> None:
    with Dovecot(ssl=False) as server, Referee(server.ports["pop3"]) as session:
        assert "STLS" not in session.capabilities()
        assert set(server.ports) == {"pop3", "imap"}


def test_nothing_of_a_stopped_dovecot_is_left(needs_dovecot: None) -> None:
    with Dovecot() as server:
        group, port = server._process.pid if server._process else 0, server.ports["pop3"]
    deadline = time.monotonic() + 10
    while _alive(group) and time.monotonic() < deadline:  # killed, but the kernel may need a moment
        time.sleep(0.01)
    assert not _alive(group)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), 1).close()
    assert not server.folder.exists()


def _alive(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def test_a_dovecot_ends_with_its_tests(needs_dovecot: None) -> None:
    script = (
        "from tests.servers.dovecot import Dovecot; d = Dovecot().start(); print(d.ports['pop3'], d.folder); input()"
    )
    tests = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    port, folder = tests.stdout.readline().split()
    tests.kill()
    tests.communicate()
    deadline = time.monotonic() + 30
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):  # reset: caught while the listener closes
        while time.monotonic() < deadline:
            socket.create_connection((HOST, int(port)), 1).close()
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


# ---- Cuts


@pytest.mark.parametrize(("how", "error"), [(proxy.reset, ConnectionResetError), (proxy.close, EOFError)])
def test_the_proxy_cuts_at_an_octet(how: proxy.Action, error: type[Exception]) -> None:
    with Peer(LETTERS) as peer, Proxy(peer.port) as between:
        between.at(20_000, how)
        with pytest.raises(error):
            fetch_all(between.port, "me")
        between.wait()
        assert between.down == between.sessions[0].down == 20_000
        assert fetch_all(between.port, "me") == BODIES


def test_the_proxy_can_kill_the_client_at_an_octet() -> None:
    script = "import sys; from tests.support.client import fetch_all; fetch_all(int(sys.argv[1]), 'me')"
    with Peer(LETTERS) as peer, Proxy(peer.port) as between:
        client = subprocess.Popen([sys.executable, "-c", script, str(between.port)])
        between.at(30_000, lambda session: client.kill())
        assert client.wait(30) == -signal.SIGKILL
        between.wait()
    assert between.sessions[0].verbs == ["USER", "PASS", "UIDL", "RETR", "RETR", "RETR"]


def test_the_proxy_can_read_a_session_over_tls(certificates: Certificates) -> None:
    with Peer(LETTERS) as peer, Proxy(peer.port, context=certificates.server_context()) as between:
        assert fetch_all(between.port, "me", context=certificates.client_context()) == BODIES
        between.wait()
    assert between.sessions[0].verbs == ["USER", "PASS", "UIDL", "RETR", "RETR", "RETR", "QUIT"]


@pytest.mark.parametrize(("how", "error"), [("rst", ConnectionResetError), ("fin", EOFError)])
def test_the_line_cuts_the_first_connections_only(how: str, error: type[Exception]) -> None:
    with Peer(LETTERS) as peer, Line(peer.port, cut_after=20_000, cut_times=2, cut_how=how) as line:
        for _ in range(2):
            with pytest.raises(error):
                fetch_all(line.port, "me")
        assert fetch_all(line.port, "me") == BODIES


def test_the_line_can_fall_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.client.PATIENCE", 0.5)
    with (
        Peer(LETTERS) as peer,
        Line(peer.port, cut_after=20_000, cut_how="stall") as line,
        pytest.raises(TimeoutError),
    ):
        fetch_all(line.port, "me")


def test_the_line_is_as_long_as_it_says() -> None:
    with Peer(LETTERS) as peer, Line(peer.port, rtt=0.1) as line, Referee(line.port) as session:
        session.login("me")
        started = time.monotonic()
        session.ask("NOOP")
        assert 0.09 < time.monotonic() - started < 0.5


# ---- mailmove as a process


def test_a_process_gets_nothing_of_the_developers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILMOVE_PASSWORD", "mine")
    monkeypatch.setenv("XDG_STATE_HOME", "/mine")
    env = environment({"MORE": "yes"})
    assert not {"MAILMOVE_PASSWORD", "XDG_STATE_HOME"} & set(env)
    assert (env["MORE"], env[PASSWORD_NAME]) == ("yes", PASSWORD)
    assert env["HOME"] != os.environ.get("HOME")


def test_a_result_that_is_not_json_shows_itself() -> None:
    assert Result(("status",), 0, '{"stored": 1}', "").json() == {"stored": 1}
    with pytest.raises(AssertionError, match="not one JSON document\nmailmove status\nexit 3"):
        Result(("status",), 3, '{"stored": 1}\nand more', "").json()


# ---- Fixtures


def test_every_test_has_a_user_of_its_own(user: str, new_user: Callable[[], str]) -> None:
    assert user.startswith("test-every-test-has-a-user")
    assert len({user, new_user(), new_user()}) == 3


def test_the_archive_folder_is_not_there_yet(archive_dir: Path) -> None:
    assert not archive_dir.exists()
    assert archive_dir.parent.is_dir()
