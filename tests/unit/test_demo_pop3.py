"""The demo's POP3 server against clients that share nothing with it: poplib, the tests' Referee, our own source."""

from __future__ import annotations

import poplib

import pytest

from mailmove.demo import DemoMessage, Pop3Server
from mailmove.errors import AuthenticationRejected
from mailmove.model import UniqueId
from tests.support.client import Referee, Refused, fetch_all
from tests.support.demo import HOST, MAIL, PASSWORD, named, ours, retrieved, serving

# ---- Whole sessions


def test_poplib_is_told_the_truth() -> None:
    with serving() as server:
        client = poplib.POP3(HOST, server.port, timeout=30)
        assert {"TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES"} <= set(client.capa())
        client.user("anna")
        client.pass_(PASSWORD)
        assert client.stat() == (len(MAIL), sum(len(message.octets) for message in MAIL))
        assert client.uidl()[1] == [f"{n} {message.unique_id}".encode() for n, message in enumerate(MAIL, 1)]
        assert client.list()[1] == [f"{n} {len(message.octets)}".encode() for n, message in enumerate(MAIL, 1)]
        assert client.uidl(3) == f"+OK 3 {MAIL[2].unique_id}".encode()
        assert client.list(3) == f"+OK 3 {len(MAIL[2].octets)}".encode()
        assert client.noop().startswith(b"+OK")
        for number, message in enumerate(MAIL, 1):
            if message.kind == "long_lines":
                continue  # poplib takes lines of 2,048 octets
            assert client.retr(number)[1] == message.octets.split(b"\r\n")[:-1]
        assert client.quit().startswith(b"+OK")
    assert server.failures == []
    assert server.messages("anna") == MAIL


def test_our_own_source_gets_every_octet_with_many_under_way() -> None:
    with serving() as server, ours(server.port) as source:
        assert "PIPELINING" in source.capabilities
        entries = source.list()
        assert [entry.unique_id for entry in entries] == [message.unique_id for message in MAIL]
        assert list(retrieved(source, entries)) == [message.octets for message in MAIL]
        source.quit()
    assert server.sessions == 1


@pytest.mark.parametrize("options", [{"rate": 1e9}, {"delay": 1e-9}])
def test_a_slow_server_sends_the_same(options: dict[str, float]) -> None:
    with serving(**options) as server:
        assert list(fetch_all(server.port, "anna").values()) == [message.octets for message in MAIL]


def test_top_gives_the_header_and_so_many_lines() -> None:
    messages = named(b"Subject: x\r\n\r\none\r\n.two\r\nthree\r\n", b"Subject: only this\r\n")
    with serving(messages) as server, Referee(server.port) as client:
        client.login("anna")
        assert client.ask_lines("TOP 1 0") == [b"Subject: x\r\n", b"\r\n"]
        assert client.ask_lines("TOP 1 2") == [b"Subject: x\r\n", b"\r\n", b"one\r\n", b".two\r\n"]
        assert b"".join(client.ask_lines("TOP 1 99")) == messages[0].octets
        assert client.ask_lines("TOP 2 5") == [b"Subject: only this\r\n"]


# ---- Logins


@pytest.mark.parametrize(("user", "password"), [("anna", "wrong"), ("nobody", PASSWORD), ("anna", PASSWORD + " ")])
def test_a_wrong_name_and_a_wrong_password_are_refused_alike(user: str, password: str) -> None:
    with serving() as server, pytest.raises(AuthenticationRejected) as caught, ours(server.port, user, password):
        pass
    assert (caught.value.code, caught.value.server_text) == ("AUTH", "[AUTH] wrong name or password")


def test_after_a_wrong_password_the_right_one_is_taken() -> None:
    with serving() as server, Referee(server.port) as client:
        with pytest.raises(Refused):
            client.login("anna", "wrong")
        client.login("anna")
        assert len(client.unique_ids()) == len(MAIL)


def test_a_password_may_hold_spaces_and_umlauts() -> None:
    password = "zwei  Wörter"
    with Pop3Server({"jürgen": (password, MAIL[:1])}) as server, ours(server.port, "jürgen", password) as source:
        assert len(source.list()) == 1


def test_two_users_have_a_maildrop_each() -> None:
    boxes = {"anna": ("a", MAIL[:1]), "björn": ("b", MAIL[1:2])}
    with Pop3Server(boxes) as server, ours(server.port, "anna", "a") as one, ours(server.port, "björn", "b") as other:
        assert list(retrieved(other, other.list())) == [MAIL[1].octets]
        assert list(retrieved(one, one.list())) == [MAIL[0].octets]
        assert server.sessions == 2
        with pytest.raises(AuthenticationRejected), ours(server.port, "anna", "b"):
            pass


# ---- Deletion: only QUIT makes it true


def test_what_is_deleted_is_gone_after_quit_and_not_before() -> None:
    with serving(MAIL[:4]) as server:
        with Referee(server.port) as client, Referee(server.port) as other:
            client.login("anna")
            other.login("anna")
            client.ask("DELE 2")
            assert list(client.unique_ids()) == [1, 3, 4]
            assert client.ask("STAT").split()[0] == b"3"
            with pytest.raises(Refused):
                client.retrieve(2)
            assert server.messages("anna") == MAIL[:4]
            client.quit()
            assert server.messages("anna") == (MAIL[0], *MAIL[2:4])
            assert other.retrieve(2) == MAIL[1].octets
        assert list(fetch_all(server.port, "anna").values()) == [message.octets for message in (MAIL[0], *MAIL[2:4])]


@pytest.mark.parametrize("end", ["RSET", "hang up"])
def test_a_deletion_can_be_taken_back(end: str) -> None:
    with serving(MAIL[:2]) as server:
        with Referee(server.port) as client:
            client.login("anna")
            client.ask("DELE 1")
            if end == "RSET":
                client.ask("RSET")
                client.quit()
        with Referee(server.port) as client:
            client.login("anna")
            assert len(client.unique_ids()) == 2


def test_one_of_two_equal_messages_is_deleted_alone() -> None:
    twins = [DemoMessage(UniqueId("twin"), b"Subject: x\r\n\r\n"), DemoMessage(UniqueId("twin"), b"Subject: x\r\n\r\n")]
    with serving(twins) as server, Referee(server.port) as client:
        client.login("anna")
        client.ask("DELE 2")
        client.quit()
        assert server.messages("anna") == (twins[0],)
