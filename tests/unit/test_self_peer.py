"""The hostile peer: each way to be wrong is as wrong as it says, and without quirks it is a POP3 server."""

from __future__ import annotations

import contextlib
import poplib
import socket
import threading

import pytest

from tests.hostile.peer import Letter, Peer, Quirks, Rule, Then, cut, refuse, without
from tests.servers.certs import Certificates
from tests.support import listener
from tests.support.client import HOST, Referee, Refused, fetch_all

LETTERS = [
    Letter("a", b"Subject: one\r\n\r\nfirst\r\n"),
    Letter("b", b"Subject: two\r\n\r\n.\r\n..dots\r\n.\r\n"),
    Letter("c", b"Subject: three\r\n\r\n" + b"x" * 50_000 + b"\r\n"),
]
BODIES = {letter.unique_id: letter.body for letter in LETTERS}


def test_an_honest_peer_is_a_pop3_server(certificates: Certificates) -> None:
    context = certificates.client_context()
    with Peer(LETTERS, context=certificates.server_context(), stls=True) as peer:
        client = poplib.POP3(HOST, peer.port, timeout=10)
        client.stls(context)
        client.user("me")
        client.pass_("secret")
        assert client.stat() == (3, sum(map(len, BODIES.values())))
        assert client.list()[1] == [b"%d %d" % (n, len(x.body)) for n, x in enumerate(LETTERS, 1)]
        assert client.uidl(2) == b"+OK 2 b"
        assert client.retr(2)[1] == [b"Subject: two", b"", b".", b"..dots", b"."]
        assert client.top(1, 0)[1] == [b"Subject: one", b""]
        client.dele(1)
        client.quit()
        peer.wait()
        assert set(fetch_all(peer.port, "me", context=context, stls=True)) == {"b", "c"}
    assert peer.sessions[0].verbs[:3] == ["CAPA", "STLS", "USER"]
    assert peer.sessions[0].secured


def ask_at_once(port: int, commands: list[str]) -> bytes:
    """Everything the server says when all commands come in one write, and then the end."""
    with socket.create_connection((HOST, port), 10) as client:
        client.sendall("".join(f"{command}\r\n" for command in commands).encode())
        with client.makefile("rb") as answers:
            return answers.read()


def test_pipelined_commands_are_answered_in_order() -> None:
    commands = ["USER me", "PASS secret", *["RETR 1", "RETR 9", "RETR 2"] * 300, "QUIT"]
    with Peer(LETTERS) as peer:
        said = ask_at_once(peer.port, commands)
        peer.wait()
    once = b"+OK 23 octets\r\n" + LETTERS[0].body + b".\r\n-ERR no message 9\r\n"
    assert said.count(once) == 300
    assert said.endswith(b"+OK bye\r\n")
    assert peer.sessions[0].commands == commands
    assert peer.sessions[0].window > 1


def test_one_command_at_a_time_is_seen_as_such() -> None:
    with Peer(LETTERS) as peer:
        fetch_all(peer.port, "me")
        peer.wait()
    assert peer.sessions[0].window == 1


def test_a_peer_that_forgets_what_was_pipelined() -> None:
    with Peer(LETTERS, Quirks(forgets_pipelined=True)) as peer, Referee(peer.port) as session:
        session.login("me")
        session._socket.sendall(b"NOOP\r\nRETR 1\r\n")
        assert session._status() == b"done"
        assert session.ask("STAT").startswith(b"3 ")
    assert "RETR" not in peer.sessions[0].verbs


@pytest.mark.parametrize(("then", "error"), [(Then.RESET, ConnectionResetError), (Then.CLOSE, EOFError)])
def test_a_body_is_cut_at_an_octet_once(then: Then, error: type[Exception]) -> None:
    with Peer(LETTERS, Quirks(rules=[cut("RETR 3", after=100, then=then)])) as peer:
        with pytest.raises(error):
            fetch_all(peer.port, "me")
        assert fetch_all(peer.port, "me") == BODIES


def test_a_cut_leaves_exactly_so_many_octets() -> None:
    with Peer(LETTERS, Quirks(rules=[cut("RETR 3", after=100, then=Then.CLOSE)])) as peer:
        said = ask_at_once(peer.port, ["USER me", "PASS secret", "RETR 3"])
    assert said.endswith(b" octets\r\n" + LETTERS[2].body[:100])


def test_a_drop_at_the_nth_exchange_of_the_second_session() -> None:
    rule = Rule(exchange=4, session=2, then=Then.CLOSE, reply=b"")
    with Peer(LETTERS, Quirks(rules=[rule])) as peer:
        assert fetch_all(peer.port, "me") == BODIES
        with pytest.raises(EOFError):
            fetch_all(peer.port, "me")
        assert fetch_all(peer.port, "me") == BODIES
    assert peer.sessions[1].verbs == ["USER", "PASS", "UIDL", "RETR"]


def test_one_message_is_refused_in_the_tests_words() -> None:
    busy = refuse("RETR 2", "-ERR [SYS/TEMP] not now", times=1)
    with Peer(LETTERS, Quirks(rules=[busy])) as peer, Referee(peer.port) as session:
        session.login("me")
        with pytest.raises(Refused, match=r"\[SYS/TEMP\] not now"):
            session.retrieve(2)
        assert session.retrieve(2) == LETTERS[1].body


def test_a_wrong_password_and_unknown_commands_are_refused() -> None:
    with Peer(LETTERS, Quirks(without=["UIDL"], capabilities=None)) as peer, Referee(peer.port) as session:
        for command in ("STAT", "CAPA", "PASS wrong", "STLS", "NONSENSE"):
            with pytest.raises(Refused):
                session.ask(command)
        session.login("me")
        for command in ("UIDL", "RETR x", "RETR", "LIST 9", "USER again"):
            with pytest.raises(Refused):
                session.ask(command)
        assert session.ask("NOOP") == b"done"


def test_capabilities_can_be_left_out() -> None:
    with Peer(LETTERS, Quirks(capabilities=without("PIPELINING"))) as peer, Referee(peer.port) as session:
        capabilities = session.capabilities()
    assert "PIPELINING" not in capabilities
    assert "UIDL" in capabilities


def test_sizes_that_lie() -> None:
    lie = Letter("a", LETTERS[0].body, listed=7, said=9)
    with Peer([lie]) as peer, Referee(peer.port) as session:
        session.login("me")
        assert session.sizes() == {1: 7}
        assert session.ask_lines("RETR 1") == LETTERS[0].body.splitlines(keepends=True)
        assert b"+OK 9 octets" in ask_at_once(peer.port, ["USER me", "PASS secret", "RETR 1", "QUIT"])


def test_a_raw_body_goes_out_as_it_is() -> None:
    raw = Letter("a", b"not stuffed\r\n.x\r\n.\r\n", raw=True)
    with Peer([raw]) as peer:
        assert fetch_all(peer.port, "me") == {"a": b"not stuffed\r\n.x\r\n"}


def test_a_message_that_changes_between_two_retrievals() -> None:
    changing = Letter("a", b"first\r\n", later=[b"second\r\n"])
    with Peer([changing]) as peer:
        found = [fetch_all(peer.port, "me")["a"] for _ in range(3)]
    assert found == [b"first\r\n", b"second\r\n", b"second\r\n"]


def test_a_message_that_goes_away_meanwhile() -> None:
    with Peer(LETTERS, Quirks(expunged=["b"])) as peer:
        with Referee(peer.port) as session:
            session.login("me")
            assert list(session.unique_ids().values()) == ["a", "b", "c"]
            with pytest.raises(Refused, match="expunged"):
                session.retrieve(2)
        assert set(fetch_all(peer.port, "me")) == {"a", "c"}


def test_a_server_of_bare_line_feeds() -> None:
    with Peer(LETTERS[:2], Quirks(line_end=b"\n")) as peer:
        found = fetch_all(peer.port, "me", line_end=b"\n")
    assert found == {letter.unique_id: letter.body.replace(b"\r\n", b"\n") for letter in LETTERS[:2]}


def test_a_stall_lasts_until_the_test_says_so() -> None:
    with Peer(LETTERS, Quirks(rules=[Rule("RETR 3", then=Then.STALL, after=10, times=1)])) as peer:
        found: dict[str, bytes] = {}
        client = threading.Thread(target=lambda: found.update(fetch_all(peer.port, "me")))
        client.start()
        assert peer.stalled.wait(10)
        assert found == {}
        peer.go_on.set()
        client.join(10)
    assert found == BODIES


def test_a_peer_that_never_says_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.client.PATIENCE", 0.2)
    with Peer(LETTERS, Quirks(greeting=None)) as peer, pytest.raises(TimeoutError):
        Referee(peer.port)


def test_a_stalled_peer_can_be_left_alone() -> None:
    silent = Rule("NOOP", then=Then.STALL, after=0)
    with Peer(LETTERS, Quirks(rules=[silent])) as peer, socket.create_connection((HOST, peer.port), 10) as client:
        client.sendall(b"USER me\r\nPASS secret\r\nNOOP\r\n")
        assert peer.stalled.wait(10)


def test_octets_are_smuggled_in_behind_stls(certificates: Certificates) -> None:
    quirks = Quirks(after_stls=b"+OK smuggled\r\n")
    with (
        Peer(LETTERS, quirks, context=certificates.server_context(), stls=True) as peer,
        socket.create_connection((HOST, peer.port), 10) as client,
        client.makefile("rb") as answers,
    ):
        client.sendall(b"STLS\r\n")
        assert [answers.readline() for _ in range(3)][1:] == [b"+OK begin TLS\r\n", b"+OK smuggled\r\n"]


def test_a_client_that_hangs_up_in_the_handshake_is_no_error(certificates: Certificates) -> None:
    with Peer(LETTERS, context=certificates.server_context()) as peer:
        with socket.create_connection((HOST, peer.port), 10) as client:
            client.sendall(b"USER plain\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert not client.recv(100).startswith(b"+")
        assert fetch_all(peer.port, "me", context=certificates.client_context()) == BODIES


def test_a_listener_ends_with_clients_still_there() -> None:
    with Peer(LETTERS) as peer:
        client = Referee(peer.port)
    with client, pytest.raises((EOFError, OSError)):
        client.ask("NOOP")
    assert not any(thread.name == "connection" for thread in threading.enumerate())
    assert listener.HOST == HOST
