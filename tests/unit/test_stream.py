"""net.Stream.exchange: whatever else happens in a call, how many octets were taken is told.

Strategy: a socket of our own that fails when it is read, since in life it is a matter of microseconds. A message that
is wholly sent, and believed not to be, would be sent twice.
"""

from __future__ import annotations

import socket

import pytest

from mailmove.errors import ConnectionLost
from mailmove.net import Stream


class Failing(socket.socket):
    """Takes what is written; reading it finds the connection reset, once, and then closed, as Linux has it."""

    def __init__(self, takes: int) -> None:
        super().__init__()
        self.takes, self.resets = takes, 1

    def send(self, data: object, flags: int = 0) -> int:
        if not self.takes:
            raise BrokenPipeError("broken pipe")
        return self.takes

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.resets -= 1
        if self.resets >= 0:
            raise ConnectionResetError("connection reset by peer")
        return b""


def test_octets_that_were_taken_are_told_before_the_connection_is_lost() -> None:
    with Failing(3) as sock:
        stream = Stream(sock, "peer", 1.0, lambda: True)
        assert stream.exchange(memoryview(b"abc")) == (3, b"")
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="reset by peer"):
                stream.exchange(memoryview(b"def"))


def test_without_any_the_connection_is_lost_at_once() -> None:
    with Failing(0) as sock, pytest.raises(ConnectionLost, match="pipe"):
        Stream(sock, "peer", 1.0, lambda: True).exchange(memoryview(b"abc"))


def test_nothing_more_is_sent_to_a_peer_that_has_ended() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        stream = Stream(ours, "peer", 1.0, lambda: True)
        theirs.shutdown(socket.SHUT_WR)
        assert stream.exchange(memoryview(b"abc")) == (3, b"")
        assert stream.exchange(memoryview(b"def")) == (0, b"")
        theirs.setblocking(False)
        assert theirs.recv(100) == b"abc"
