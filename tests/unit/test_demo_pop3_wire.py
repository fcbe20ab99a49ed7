"""The demo's POP3 server, octet by octet: pipelining, dot-stuffing, the cut, clients that vanish, its own end.

Strategy: over loopback, except the dot-stuffing of arbitrary octets, which the session without a network is asked for
many times. Nothing is timed: where a server has to have noticed something, its `stop` is what waits for it.
"""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmove.demo import pop3_server
from mailmove.demo.pop3_session import Maildrop, Session
from mailmove.errors import ConnectionLost
from mailmove.protocols import pop3
from tests.support.client import Referee, Refused, fetch_all
from tests.support.demo import HOST, MAIL, PASSWORD, named, ours, raw, rest_of, retrieved, serving

DOTTY = st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"a", b"\0", b"\xff"]), max_size=12).map(b"".join)
ANY_OCTETS = st.binary(max_size=60) | DOTTY


# ---- Pipelining: however the commands arrive, each is answered, in order

COMMANDS = b"USER anna|PASS secret|UIDL|RETR 2|NOPE|DELE 1|RETR 1|LIST|RETR 3|QUIT".split(b"|")


def expected_replies() -> bytes:
    session = Session({"anna": Maildrop(PASSWORD, MAIL[:3])})
    return b"".join(session.answer(command) for command in COMMANDS)


def test_commands_in_one_write_are_answered_in_order() -> None:
    with serving(MAIL[:3]) as server, raw(server.port) as connection:
        connection.sendall(b"".join(command + b"\r\n" for command in COMMANDS))
        assert rest_of(connection) == expected_replies()
    assert len(server.messages("anna")) == 2


def test_commands_that_dribble_in_are_answered_too() -> None:
    with serving(MAIL[:3]) as server, raw(server.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in b"".join(command + b"\n" for command in COMMANDS):
            connection.sendall(bytes([octet]))
        assert rest_of(connection) == expected_replies()


# ---- Dot-stuffing


def sent(body: bytes) -> bytes:
    """POP3 can end a message only at the end of a line (RFC 1939 section 3)."""
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


@given(bodies=st.lists(ANY_OCTETS, min_size=1, max_size=4), data=st.data())
def test_any_octets_come_through_our_core(bodies: list[bytes], data: st.DataObject) -> None:
    session = Session({"anna": Maildrop(PASSWORD, named(*bodies))})
    script = [pop3.User("anna"), pop3.Pass(PASSWORD), pop3.List()]
    core = pop3.Connection()
    core.receive_data(session.greeting)
    core.next_event()
    events = [event for command in script for event in exchange(core, session, command, data)]
    listing = events[-1]
    assert isinstance(listing, pop3.ScanListing)
    assert list(listing.sizes.values()) == [len(sent(body)) for body in bodies]
    for number, body in zip(listing.sizes, bodies, strict=True):
        chunks = [e.data for e in exchange(core, session, pop3.Retr(number), data) if isinstance(e, pop3.MessageData)]
        assert b"".join(chunks) == sent(body)


def exchange(core: pop3.Connection, session: Session, command: pop3.Command, data: st.DataObject) -> list[pop3.Event]:
    """One command and all events of its reply, which comes in two pieces."""
    core.send(command)
    reply = session.answer(core.data_to_send())
    split = data.draw(st.integers(0, len(reply)))
    events = []
    for piece in filter(None, (reply[:split], reply[split:])):
        core.receive_data(piece)
        while (event := core.next_event()) is not pop3.NEED_DATA:
            events.append(event)
            if not core.outstanding:
                break
    assert not core.outstanding
    return events


@settings(max_examples=20)
@given(bodies=st.lists(ANY_OCTETS, min_size=1, max_size=4))
def test_any_octets_come_through_the_network(bodies: list[bytes]) -> None:
    with serving(named(*bodies)) as server:
        assert list(fetch_all(server.port, "anna").values()) == [sent(body) for body in bodies]


# ---- A connection that is cut in the middle of a message


@pytest.mark.parametrize("nth", [1, 7])
def test_the_nth_message_is_cut_in_its_middle_once(nth: int) -> None:
    with serving(cut_after=nth) as server:
        got: list[bytes] = []
        with ours(server.port, window=1) as source, pytest.raises(ConnectionLost):
            got.extend(retrieved(source, source.list()))
        assert got == [message.octets for message in MAIL[: nth - 1]]
        assert server.cuts == 1
        assert list(fetch_all(server.port, "anna").values()) == [message.octets for message in MAIL]
        assert (server.cuts, server.sessions, server.failures) == (1, 2, [])


def test_half_of_the_message_arrives_before_the_cut() -> None:
    body = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 5000
    with serving(named(body), cut_after=1) as server, raw(server.port) as connection:
        connection.sendall(b"USER anna\r\n")
        connection.recv(1000)
        connection.sendall(b"PASS secret\r\n")
        connection.recv(1000)
        connection.sendall(b"RETR 1\r\n")
        status, _, half = rest_of(connection).partition(b"\r\n")
    assert status == b"+OK %d octets" % len(body)
    assert body.startswith(half)
    assert 0.4 * len(body) < len(half) < 0.6 * len(body)


def test_the_cut_comes_with_many_under_way_too() -> None:
    with serving(cut_after=20) as server:
        got: list[bytes] = []
        with ours(server.port) as source, pytest.raises(ConnectionLost):
            got.extend(retrieved(source, source.list()))
        assert len(got) < 20
        assert got == [message.octets for message in MAIL[: len(got)]]


def test_a_session_that_does_not_get_so_far_is_not_cut() -> None:
    with serving(MAIL[:3], cut_after=4) as server:
        for _ in range(2):
            assert len(fetch_all(server.port, "anna")) == 3
        assert server.cuts == 0


# ---- Clients that are wrong, or not there any more


WRONG = (
    "RETR 0",
    "RETR 3",
    "RETR x",
    "RETR",
    "RETR -1",
    "RETR " + "9" * 5000,
    "TOP 1",
    "TOP 1 x",
    "LIST 3",
    "USER x",
    "",
)


@pytest.mark.parametrize("command", WRONG)
def test_what_cannot_be_done_is_refused_and_the_session_goes_on(command: str) -> None:
    with serving(MAIL[:2]) as server, Referee(server.port) as client:
        client.login("anna")
        with pytest.raises(Refused, match="-ERR"):
            client.ask(command)
        assert client.retrieve(1) == MAIL[0].octets
    assert server.failures == []


@pytest.mark.parametrize("command", ["STAT", "RETR 1", "UIDL", "PASS secret"])
def test_nothing_is_shown_before_the_login(command: str) -> None:
    with serving() as server, Referee(server.port) as client, pytest.raises(Refused):
        client.ask(command)


def test_a_client_that_vanishes_leaves_no_trace(capfd: pytest.CaptureFixture[str]) -> None:
    large = named(b"Subject: x\r\n\r\n" + b"x" * 8_000_000)
    with serving(large) as server:
        for last_words in (b"", b"USER an", b"USER anna\r\nPASS secret\r\nRETR 1\r\n"):
            with raw(server.port) as connection:
                connection.sendall(last_words)
        assert len(fetch_all(server.port, "anna")) == 1
    assert server.failures == []
    assert capfd.readouterr() == ("", "")


def test_a_line_that_never_ends_ends_the_connection() -> None:
    with serving() as server, raw(server.port) as connection:
        with pytest.raises(ConnectionError):
            for _ in range(2000):
                connection.sendall(b"x" * 10_000)
        with Referee(server.port) as client:
            client.login("anna")
    assert server.failures == []


# ---- The server's own life


def test_stop_ends_every_connection_and_may_be_called_twice(capfd: pytest.CaptureFixture[str]) -> None:
    large = named(b"Subject: x\r\n\r\n" + b"x" * 8_000_000)
    server = serving(large)
    server.start()
    with raw(server.port) as idle, raw(server.port) as unread:
        unread.sendall(b"USER anna\r\nPASS secret\r\nRETR 1\r\n")
        assert server.running
        server.stop()
        assert not server.running
        assert rest_of(idle) == b""
        assert len(rest_of(unread)) < 8_000_000
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port), 30).close()
    assert server.failures == []
    assert capfd.readouterr() == ("", "")


def test_a_server_whose_handler_is_wrong_says_so_in_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `failures == []` means something."""
    monkeypatch.setattr(Session, "answer", lambda self, line: 1 // 0)
    with serving() as server, raw(server.port) as connection:
        connection.sendall(b"NOOP\r\n")
        assert rest_of(connection) == b""
    assert [type(failure) for failure in server.failures] == [ZeroDivisionError]


def test_what_asyncio_would_print_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(self: Session, line: bytes) -> bytes:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        return b"+OK\r\n"

    monkeypatch.setattr(Session, "answer", answer)
    with serving() as server, raw(server.port) as connection:
        connection.sendall(b"NOOP\r\n")
        assert connection.recv(1000) == b"+OK\r\n"
    assert [type(failure) for failure in server.failures] == [ZeroDivisionError]


def test_a_pace_is_held_by_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)

    async def send() -> None:
        pace = pop3_server._Pace(1000)
        await pace.sent(1)
        for _ in range(2):
            await pace.sent(10_000)

    monkeypatch.setattr(pop3_server.asyncio, "sleep", no_pause)
    asyncio.run(send())
    assert [round(pause) for pause in pauses] == [10, 20]
