"""Every wire test runs whole, byte by byte and with trailing bytes, by this helper and not by discipline.

Strategy: a script is what both sides do, in order: a Command is sent, octets are received, b"" is the end of them. It
is played several times on connections of its own, each time cut differently, and must give the same events. An error
is the last event and stands for itself by its class, since what it quotes depends on what had come in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from mailmove.errors import ConnectionLost, ProtocolError
from mailmove.protocols.pop3 import (
    NEED_DATA,
    Accepted,
    Closed,
    Command,
    Connection,
    Event,
    MessageData,
    Noop,
    Pass,
    State,
    Stls,
    User,
)

Step = Command | bytes
Result = Event | type[Exception]
Cut = Callable[[bytes], Iterator[bytes]]

GREETING = b"+OK POP3 ready\r\n"
TRAILING = b"+O"


def connect() -> Connection:
    """A connection before its greeting."""
    return Connection()


def greeted() -> Connection:
    """A connection in the AUTHORIZATION state."""
    return _played(connect(), GREETING)


def logged_in(pipelining: bool = True) -> Connection:
    """A connection in the TRANSACTION state."""
    connection = _played(greeted(), User("me"), b"+OK\r\n", Pass("secret"), b"+OK\r\n")
    connection.pipelining = pipelining
    return connection


def run(make: Callable[[], Connection], *script: Step) -> list[Result]:
    """The events of the script, the same however its octets are cut."""
    results = play(make(), script)
    assert play(make(), script, _byte_by_byte) == results
    for seed in range(3):
        assert play(make(), script, random_cuts(seed)) == results
    _check_trailing_bytes(make, script, results)
    return results


def play(connection: Connection, script: Sequence[Step], cut: Cut | None = None) -> list[Result]:
    """The events of the script, adjacent MessageData merged."""
    results: list[Result] = []
    for step in script:
        if isinstance(step, Command):
            connection.send(step)
            assert connection.data_to_send().endswith(step.line())
            continue
        for piece in cut(step) if cut and step else [step]:
            connection.receive_data(piece)
            results += drain(connection)
            if _failed(results):
                return _merged(results)
    return _merged(results)


def drain(connection: Connection) -> list[Result]:
    """All events there are now, up to the end of the connection or an error, which must come again if asked again."""
    results: list[Result] = []
    try:
        while (event := connection.next_event()) is not NEED_DATA:
            results.append(event)
            if event == Closed():
                assert connection.next_event() == Closed()
                break
    except (ConnectionLost, ProtocolError) as error:
        with pytest.raises(type(error)) as repeated:
            connection.next_event()
        assert repeated.value is error
        results.append(type(error))
    return results


def random_cuts(seed: int) -> Cut:
    """Cuts octets into pieces of many lengths, the same ones for the same seed."""

    def cut(octets: bytes) -> Iterator[bytes]:
        source = random.Random(seed)
        position = 0
        while position < len(octets):
            length = source.choice((1, 2, 3, 4, 5, 7, 11, 60, 4000))
            yield octets[position : position + length]
            position += length

    return cut


def _check_trailing_bytes(make: Callable[[], Connection], script: Sequence[Step], results: list[Result]) -> None:
    """The beginning of a next reply changes nothing; where no reply is due it is refused, with STLS at once."""
    *before, last = script
    if not isinstance(last, bytes) or not last or _failed(results):
        return
    connection = make()
    received = play(connection, before)
    next_is_due = connection.pipelining and connection.state is State.TRANSACTION and not _ends_in_fence(script)
    if next_is_due:
        connection.send(Noop())
    received += play(connection, [last + TRAILING])
    if connection.outstanding > next_is_due:
        return  # The script ends inside a reply, so more of it is no trailing octets.
    if next_is_due:
        assert _merged(received) == results
    else:
        told = results[:-1] if isinstance(results[-1], Accepted) and results[-1].command == Stls() else results
        assert _merged(received) == [*told, ProtocolError]


def _ends_in_fence(script: Sequence[Step]) -> bool:
    commands = [step for step in script if isinstance(step, Command)]
    return bool(commands) and commands[-1].fence


def _failed(results: list[Result]) -> bool:
    return bool(results) and isinstance(results[-1], type)


def _played(connection: Connection, *script: Step) -> Connection:
    play(connection, script)
    return connection


def _byte_by_byte(octets: bytes) -> Iterator[bytes]:
    return (octets[i : i + 1] for i in range(len(octets)))


def _merged(results: list[Result]) -> list[Result]:
    merged: list[Result] = []
    for result in results:
        last = merged[-1] if merged else None
        if isinstance(result, MessageData) and isinstance(last, MessageData) and result.command is last.command:
            merged[-1] = MessageData(last.command, last.data + result.data)
        else:
            merged.append(result)
    return merged
