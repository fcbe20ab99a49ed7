"""APOP (RFC 1939 section 7): the digest, the command on the wire, and timestamps that are none."""

from __future__ import annotations

import pytest

from mailmove.errors import UsageError
from mailmove.protocols.pop3 import Accepted, Apop, Greeting, Noop, Refused, Stat, State, apop_digest
from tests.unit.wire import connect, greeted, play, run

DIGEST = "c4c9334bac560ecc979e58001b3e22fb"


def test_the_digest_of_the_rfc() -> None:
    assert apop_digest("<1896.697170952@dbc.mtview.ca.us>", "tanstaaf") == DIGEST


def test_it_logs_in() -> None:
    apop = Apop("mrose", DIGEST)
    assert apop.line() == b"APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n"
    events = [Accepted(apop, "maildrop has 1 message (369 octets)"), Accepted(Noop(), "")]
    assert run(greeted, apop, b"+OK maildrop has 1 message (369 octets)\r\n", Noop(), b"+OK\r\n") == events
    assert run(greeted, apop, b"-ERR permission denied\r\n") == [Refused(apop, "permission denied")]


def test_a_refused_one_leaves_the_session_where_it_was() -> None:
    connection = greeted()
    play(connection, [Apop("mrose", DIGEST), b"-ERR [AUTH] no\r\n"])
    assert connection.state is State.AUTHORIZATION
    play(connection, [Apop("mrose", DIGEST), b"+OK\r\n", Stat()])
    assert connection.state is State.TRANSACTION


def test_the_digest_is_not_shown_even_if_the_server_repeats_it() -> None:
    apop = Apop("mrose", DIGEST)
    assert DIGEST not in f"{apop} {apop!r}" and "mrose" in str(apop)
    (event,) = play(greeted(), [apop, b"-ERR no " + apop.line()])
    assert isinstance(event, Refused) and DIGEST not in event.text


@pytest.mark.parametrize(("name", "digest"), [("me\r\nDELE 1", DIGEST), ("me", DIGEST + "\nQUIT"), ("m\0e", DIGEST)])
def test_it_cannot_be_two_commands(name: str, digest: str) -> None:
    with pytest.raises(UsageError):
        Apop(name, digest)


@pytest.mark.parametrize("stamp", ["<1@é>", "<\x80\x01@x>", "<1@>", "<@x>", "<1 @x>", "<1@x", "1@x>", "<1\x7f@x>"])
def test_what_no_message_id_looks_like_is_no_timestamp(stamp: str) -> None:
    """A false server that may choose octets freely can find out the password by collisions of MD5."""
    (greeting,) = run(connect, f"+OK ready {stamp}\r\n".encode("latin-1"))
    assert isinstance(greeting, Greeting) and greeting.timestamp == ""
