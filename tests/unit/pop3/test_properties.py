"""Any message, however cut, and any garbage. The first line of each docstring is the invariant."""

from __future__ import annotations

import itertools
import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailmove.errors import ConnectionLost, ProtocolError
from mailmove.model import MessageNumber
from mailmove.protocols.pop3 import (
    NEED_DATA,
    Auth,
    AuthResponse,
    Capa,
    Command,
    Connection,
    List,
    MessageData,
    MessageEnd,
    MessageStart,
    Noop,
    Pass,
    Quit,
    Retr,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
)
from mailmove.protocols.pop3.states import is_allowed
from tests.unit.wire import connect, play

FRAGMENTS = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b".",
        b"..",
        b"\r\n.",
        b"\r\n..",
        b"\r\n.\r\n",
        b"\n.\n",
        b"\0",
        b"\xff\xfe",
        b"text",
        b"+OK",
    ]
)
LONG = st.builds(lambda piece, count: piece * count, st.sampled_from([b"x", b".", b"\0"]), st.just(1_000_000))
MESSAGES = st.one_of(
    st.lists(FRAGMENTS, max_size=30).map(b"".join),
    st.binary(max_size=60),
    st.builds(bytes.join, FRAGMENTS, st.lists(st.binary(max_size=4), max_size=8)),
)


def server_sends(message: bytes, line_end: bytes) -> bytes:
    """The reference: a state machine, octet by octet, that shares nothing with the framing under test."""
    wire = bytearray()
    recent = line_end
    for octet in message:
        if recent.endswith(line_end) and octet == ord("."):
            wire += b"."
        wire.append(octet)
        recent = (recent + bytes([octet]))[-2:]
    if not recent.endswith(line_end):
        wire += line_end
    return bytes(wire) + b"." + line_end


def expected(message: bytes, line_end: bytes) -> bytes:
    return message if not message or message.endswith(line_end) else message + line_end


def session(line_end: bytes) -> Connection:
    connection = connect()
    ok = b"+OK" + line_end
    play(connection, [ok, User("me"), ok, Pass("x"), ok])
    connection.pipelining = True
    return connection


def feed(connection: Connection, stream: bytes, cuts: list[int]) -> dict[int, bytes]:
    """The messages by number, as they come out."""
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    received: dict[int, bytearray] = {}
    ended: dict[int, bytes] = {}
    for begin, end in itertools.pairwise(bounds):
        if begin == end:
            continue
        connection.receive_data(stream[begin:end])
        while (event := connection.next_event()) is not NEED_DATA:
            assert isinstance(event, MessageStart | MessageData | MessageEnd)
            assert isinstance(event.command, Retr)
            number = event.command.number
            if isinstance(event, MessageStart):
                received[number] = bytearray()
            elif isinstance(event, MessageData):
                assert event.data
                received[number] += event.data
            else:
                ended[number] = bytes(received.pop(number))
    assert not received
    return ended


def check_round_trip(messages: list[bytes], cuts: list[int], line_end: bytes) -> None:
    connection = session(line_end)
    stream = b""
    for number, message in enumerate(messages, 1):
        connection.send(Retr(MessageNumber(number)))
        stream += b"+OK" + line_end + server_sends(message, line_end)
    arrived = feed(connection, stream, cuts)
    assert arrived == {number: expected(message, line_end) for number, message in enumerate(messages, 1)}
    assert connection.outstanding == 0


@settings(max_examples=600, deadline=None)
@given(
    st.lists(MESSAGES, min_size=1, max_size=4),
    st.lists(st.integers(0, 10_000), max_size=20),
    st.sampled_from([b"\r\n", b"\r\n", b"\n"]),
)
@example([b""], [], b"\r\n")
@example([b".\r\n.\r\n", b"\r", b"\n."], list(range(60)), b"\r\n")
def test_every_message_arrives_octet_for_octet(messages: list[bytes], cuts: list[int], line_end: bytes) -> None:
    """What goes in comes out: stuffed, pipelined and cut anywhere, each message is the octets the server stuffed."""
    check_round_trip(messages, cuts, line_end)


@settings(max_examples=5, deadline=None)
@given(LONG, MESSAGES, st.lists(st.integers(0, 1_100_000), max_size=20))
def test_a_line_of_a_megabyte_arrives_octet_for_octet(long: bytes, message: bytes, cuts: list[int]) -> None:
    """What goes in comes out: a line has no limit."""
    check_round_trip([message + long, message], cuts, b"\r\n")


TRANSCRIPT: list[Command | bytes] = [
    b"+OK ready <1@x>\r\n",
    Capa(),
    b"+OK\r\nSTLS\r\nSASL PLAIN\r\nPIPELINING\r\n.\r\n",
    Stls(),
    b"+OK\r\n",
    Auth("PLAIN"),
    b"+ \r\n",
    AuthResponse(b"\0me\0secret"),
    b"+OK logged in\r\n",
    Stat(),
    b"+OK 2 320\r\n",
    Uidl(),
    b"+OK\r\n1 a\r\n2 b\r\n.\r\n",
    List(),
    b"+OK\r\n1 120\r\n2 200\r\n.\r\n",
    Retr(MessageNumber(1)),
    b"+OK 120 octets\r\nSubject: x\r\n\r\n..\r\n.\r\n",
    Top(MessageNumber(2), 0),
    b"-ERR [SYS/TEMP] later\r\n",
    Noop(),
    b"+OK\r\n",
    Quit(),
    b"+OK\r\n",
    b"",
]

NOISE = st.one_of(
    st.sampled_from(
        [
            b"",
            b"\r\n",
            b"\n",
            b"\0",
            b".\r\n",
            b"+OK",
            b"-ERR [",
            b"+ =\r\n",
            b"9" * 30,
            b"\xff",
            b" ",
            b"<@>",
            b"+OK\r\n",
        ]
    ),
    st.binary(max_size=6),
)


def mutated(octets: bytes, source: random.Random, noise: list[bytes]) -> bytes:
    for piece in noise:
        begin = source.randint(0, len(octets))
        octets = octets[:begin] + piece + octets[begin + source.randint(0, 3) :]
    return octets


@settings(max_examples=800, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(NOISE, max_size=4), st.booleans())
def test_a_mutated_transcript_raises_only_what_a_peer_can_cause(
    source: random.Random, noise: list[bytes], bytewise: bool
) -> None:
    """Either it is understood, or ProtocolError or ConnectionLost is raised; never any other error, and for ever."""
    target = source.randrange(len(TRANSCRIPT))
    connection = Connection()
    for position, step in enumerate(TRANSCRIPT):
        if isinstance(step, Command):
            if connection.outstanding or not _may_send(connection, step):
                return
            continue
        octets = mutated(step, source, noise) if position == target else step
        results = play(connection, [octets], (lambda o: (o[i : i + 1] for i in range(len(o)))) if bytewise else None)
        if results and isinstance(results[-1], type):
            assert results[-1] in (ProtocolError, ConnectionLost)
            return


def _may_send(connection: Connection, command: Command) -> bool:
    """A refused login leaves no place for STAT: the script ends there."""
    if not is_allowed(connection.state, command):
        return False
    connection.send(command)
    return True


@settings(max_examples=800, deadline=None)
@given(
    st.sampled_from([Capa(), Stat(), List(), Uidl(), Retr(MessageNumber(1)), Noop(), Quit()]),
    st.one_of(st.binary(max_size=200), st.lists(NOISE, max_size=30).map(b"".join)),
    st.booleans(),
)
def test_garbage_raises_only_what_a_peer_can_cause(command: Command, garbage: bytes, after_ok: bool) -> None:
    """Either it is understood, or ProtocolError or ConnectionLost is raised; never any other error, and it ends."""
    stream = (b"+OK\r\n" if after_ok else b"") + garbage
    results = play(session(b"\r\n"), [command, *([stream] if stream else []), b""])
    assert results
    assert results[-1] in (ProtocolError, ConnectionLost) or not isinstance(results[-1], type)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(NOISE, max_size=30).map(b"".join)))
def test_garbage_instead_of_a_greeting_raises_only_what_a_peer_can_cause(garbage: bytes) -> None:
    """Either it is a greeting, or ProtocolError or ConnectionLost is raised; never any other error."""
    results = play(connect(), [*([garbage] if garbage else []), b""])
    assert results
