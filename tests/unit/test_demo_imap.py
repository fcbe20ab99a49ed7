"""The demo's IMAP server: what is put into it comes out unaltered, and it is as silent as it should be.

Strategy: imapclient over plain loopback, which is how the replay comes to it. That pymap itself works is pymap's
business; here it is asked for what the demo relies on.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from mailmove.demo import DemoMessage, ImapServer, generate
from mailmove.errors import ConfigurationError
from mailmove.model import UniqueId
from tests.support.cli import REPO

HOST, USER, PASSWORD = "127.0.0.1", "anna", "secret"
MAIL = tuple(generate(60))
RECEIPT = re.compile(rb"\[APPENDUID (\d+) (\d+)\]")


@contextmanager
def client(port: int, user: str = USER, password: str = PASSWORD) -> Iterator[IMAPClient]:
    it = IMAPClient(HOST, port, ssl=False)
    try:
        # imaplib writes a literal in three pieces, each of which would wait 40 ms for the one before.
        it.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        it.login(user, password)
        yield it
    finally:
        it.shutdown()


def appended(it: IMAPClient, messages: Sequence[DemoMessage]) -> dict[int, DemoMessage]:
    """{UID: message}, as the receipts have it."""
    receipts = [(RECEIPT.search(it.append("INBOX", message.octets)), message) for message in messages]
    return {int(found[2]): message for found, message in receipts if found}


def held(it: IMAPClient) -> dict[int, bytes]:
    it.select_folder("INBOX", readonly=True)
    uids = it.search()
    return {uid: item[b"BODY[]"] for uid, item in it.fetch(uids, ["BODY.PEEK[]"]).items()} if uids else {}


def test_every_kind_of_message_comes_back_as_it_was_sent() -> None:
    assert len({message.kind for message in MAIL}) == 13
    with ImapServer(USER, PASSWORD) as server, client(server.port) as it:
        sent = appended(it, MAIL)
        assert len(sent) == len(MAIL), "a receipt is missing, or names a UID twice"
        assert held(it) == {uid: message.octets for uid, message in sent.items()}
    assert server.failures == []


def test_it_offers_what_the_replay_is_fast_with() -> None:
    with ImapServer(USER, PASSWORD) as server, client(server.port) as it:
        assert {b"LITERAL+", b"UIDPLUS", b"MULTIAPPEND"} <= set(it.capabilities())


def test_several_connections_see_one_mailbox() -> None:
    with ImapServer(USER, PASSWORD) as server, client(server.port) as one, client(server.port) as other:
        sent = appended(one, MAIL[:3]) | appended(other, MAIL[3:6])
        assert held(one) == held(other) == {uid: message.octets for uid, message in sent.items()}
        assert server.sessions == 2


def test_two_servers_have_nothing_to_do_with_each_other() -> None:
    with ImapServer(USER, PASSWORD) as one, ImapServer("bob", "other words") as other:
        with client(one.port) as it:
            appended(it, MAIL[:2])
        with client(other.port, "bob", "other words") as it:
            assert held(it) == {}
        with pytest.raises(LoginError), client(other.port):
            pass


@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), ("nobody", PASSWORD)])
def test_another_login_is_refused(user: str, password: str) -> None:
    with ImapServer(USER, PASSWORD) as server, pytest.raises(LoginError), client(server.port, user, password):
        pass


def test_an_append_that_breaks_off_leaves_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with ImapServer(USER, PASSWORD) as server:
        with socket.create_connection((HOST, server.port), 30) as connection:
            connection.sendall(b"a LOGIN anna secret\r\nb APPEND INBOX {1000+}\r\nSubject: half")
            connection.recv(1000)
        with client(server.port) as it:
            assert held(it) == {}
    assert server.failures == []
    assert capfd.readouterr() == ("", "")


def test_stop_ends_every_connection(capfd: pytest.CaptureFixture[str]) -> None:
    server = ImapServer(USER, PASSWORD)
    server.start()
    with client(server.port) as it:
        server.stop()
        with pytest.raises((OSError, IMAPClient.AbortError)):
            it.noop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port), 30).close()
    assert server.failures == []
    assert capfd.readouterr() == ("", "")


def test_stop_waits_for_no_client_that_does_not_read() -> None:
    large = DemoMessage(UniqueId("x"), b"Subject: x\r\n\r\n" + b"x" * 8_000_000 + b"\r\n")
    with ImapServer(USER, PASSWORD) as server:
        with client(server.port) as it:
            appended(it, [large])
        with socket.create_connection((HOST, server.port), 30) as connection:
            connection.sendall(b"a LOGIN anna secret\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\n")
            while b"FETCH" not in connection.recv(1000):
                pass
            server.stop()
            assert not server.running
    assert server.failures == []


def test_without_pymap_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mailmove.demo.pymap_backend", raising=False)
    monkeypatch.setitem(sys.modules, "pymap.imap", None)
    with pytest.raises(ConfigurationError) as caught:
        ImapServer(USER, PASSWORD).start()
    assert str(caught.value) == "The demo needs its extra: pip install 'mailmove[demo]'"


def test_pymap_is_not_imported_before_it_is_needed() -> None:
    script = "import sys, mailmove.demo; print([name for name in sys.modules if name.startswith(('pymap', 'pysasl'))])"
    ran = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
