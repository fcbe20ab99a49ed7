"""SmtpRelay over a socket of its own: what crosses it, what an end of the session tells, and that nothing blocks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from mailmove.errors import (
    ArchiveDamaged,
    ConnectionLost,
    Interrupted,
    LocalProtocolError,
    TimedOut,
    TryLater,
    UsageError,
)
from mailmove.model import Body
from mailmove.net import Stream
from mailmove.targets import Parcel, RelayTraits
from mailmove.targets.smtp import SmtpRelay
from tests.unit.smtp.referee import Referee
from tests.unit.smtp.test_conversation import answers

CHUNKING = RelayTraits(pipelining=True, chunking=True, largest=10_000_000)
PIPELINING = RelayTraits(pipelining=True)
WAYS = [CHUNKING, PIPELINING, RelayTraits(), RelayTraits(lmtp=True, pipelining=True, chunking=True)]
NEW = "new@example.org"
PATIENT = 20.0


def parcel(octets: bytes = b"text\r\n", *recipients: str, body: Body = Body.SEVEN_BIT) -> Parcel:
    return Parcel("me@example.org", recipients or (NEW,), len(octets), body, lambda: iter([octets]))


class Server:
    """A Referee behind a socket, in a thread. It hangs up after `takes` octets."""

    def __init__(self, traits: RelayTraits, referee: Referee, takes: int = 1 << 60) -> None:
        ours, self._theirs = socket.socketpair()
        ours.setblocking(False)
        self.referee, self._takes = referee, takes
        self.stop = False
        self.stream = Stream(ours, "mx.example.org:25", PATIENT, lambda: not self.stop)
        self.lines: list[tuple[str, str]] = []
        self.relay = SmtpRelay(self.stream, traits, transcript=lambda side, line: self.lines.append((side, line)))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with self._theirs:
            while self._takes and (data := self._theirs.recv(min(self._takes, 65536))):
                self._takes -= len(data)
                said = self.referee.hear(data)
                self._theirs.sendall(said)
                if self.referee.closed or b"QUIT" in self.referee.lines:
                    break

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.relay.close()
        self._thread.join(PATIENT)
        assert not self._thread.is_alive()


@pytest.fixture(params=WAYS, ids=["chunking", "pipelining", "neither", "lmtp"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param, Referee(request.param.lmtp, answers(("RCPT", 3, "550 5.1.1 who?")))) as server:
        yield server


def reaped(relay: SmtpRelay) -> list[tuple[Parcel, dict[str, int], bool]]:
    told = []
    while batch := relay.reap():
        told += [(one.parcel, {name: reply.code for name, reply in one.replies.items()}, one.unsent) for one in batch]
    return told


def test_what_became_of_each_parcel_the_oldest_first(server: Server) -> None:
    parcels = [parcel(b"%d\r\n" % number) for number in range(60)]
    server.relay.send(parcels[:7])
    server.relay.send(parcels[7:])
    assert reaped(server.relay) == [(one, {NEW: 550 if one is parcels[3] else 250}, False) for one in parcels]
    assert [octets for _, octets in server.referee.delivered] == [
        b"%d\r\n" % number for number in range(60) if number != 3
    ]
    assert server.relay.reap() == [] == server.relay.reap(wait=False)
    assert not server.referee.strangers


def test_it_takes_leave(server: Server) -> None:
    server.relay.send([parcel()])
    assert len(reaped(server.relay)) == 1
    server.relay.quit()
    assert server.referee.lines[-1] == b"QUIT"
    with pytest.raises(ConnectionLost):
        server.relay.send([parcel()])


def test_what_cannot_be_sent_is_refused_before_anything_goes(server: Server) -> None:
    with pytest.raises(UsageError):
        server.relay.send([parcel(), parcel(b"", "a b@x")])
    with pytest.raises(LocalProtocolError):
        server.relay.send([parcel(), parcel(b"\0", body=Body.BINARY)])
    assert server.relay.reap(wait=False) == []
    server.relay.send([parcel()])
    assert [codes for _, codes, _ in reaped(server.relay)] == [{NEW: 250}]
    assert len(server.referee.delivered) == 1


def test_a_transcript_has_lines_and_no_message(server: Server) -> None:
    server.relay.send([parcel(b"secret\r\n")])
    reaped(server.relay)
    server.relay.quit()
    assert ("C", "RCPT TO:<new@example.org>") in server.lines
    assert ("C", "[8 octets of message]") in server.lines
    assert ("S", "250 2.0.0 final 0") in server.lines
    assert server.lines[-1] == ("C", "QUIT")
    assert not [line for _, line in server.lines if "secret" in line or "\r" in line]


@pytest.mark.parametrize("traits", WAYS)
def test_a_server_that_hangs_up_anywhere_tells_what_is_certain(traits: RelayTraits) -> None:
    parcels = [parcel(b"%d\r\n" % number) for number in range(4)]
    for takes in range(0, 440, 7):
        referee = Referee(traits.lmtp)
        with Server(traits, referee, takes) as server:
            try:
                server.relay.send(parcels)
                told = reaped(server.relay)
            except ConnectionLost:
                told = [
                    (one.parcel, {name: reply.code for name, reply in one.replies.items()}, one.unsent)
                    for one in server.relay.reap(wait=False)
                ]
                with pytest.raises(ConnectionLost):
                    server.relay.reap()
            else:
                assert len(told) == 4
        delivered = [octets for _, octets in referee.delivered]
        for one, codes, unsent in told:
            assert not unsent or b"".join(one.chunks()) not in delivered
            assert codes != {NEW: 250} or b"".join(one.chunks()) in delivered


def test_after_421_what_was_answered_is_told_and_the_rest_is_to_be_sent_again() -> None:
    referee = Referee(answers=answers(("MAIL", 3, "421 4.3.2 enough")))
    with Server(CHUNKING, referee) as server:
        parcels = [parcel(b"%d\r\n" % number) for number in range(9)]
        with pytest.raises(TryLater, match="enough") as caught:
            server.relay.send(parcels)
            reaped(server.relay)
        assert caught.value.delay is None
        told = reaped_after_the_end(server.relay)
    assert len(referee.delivered) == 3
    assert [unsent for _, _, unsent in told][-6:] == [True] * 6


def reaped_after_the_end(relay: SmtpRelay) -> list[tuple[Parcel, dict[str, int], bool]]:
    told = [(one.parcel, {n: r.code for n, r in one.replies.items()}, one.unsent) for one in relay.reap(wait=False)]
    assert relay.reap(wait=False) == []
    return told


def test_a_server_that_says_how_long_to_wait_is_heard() -> None:
    words = "421 4.3.2 Suggested Backoff Time: 2500 milliseconds"
    with Server(CHUNKING, Referee(answers=answers(("MAIL", 0, words)))) as server, pytest.raises(TryLater) as caught:
        server.relay.send([parcel()])
    assert caught.value.delay == 2.5


@pytest.mark.parametrize("traits", WAYS)
def test_a_damaged_message_never_arrives(traits: RelayTraits) -> None:
    def damaged() -> Iterator[bytes]:
        yield b"half of it, "
        yield b"all of it\r\n"
        raise ArchiveDamaged("its digest is wrong")

    referee = Referee(traits.lmtp)
    before = [parcel(), parcel(), parcel(b"x" * 200_000), parcel()]
    parcels = [*before, Parcel("me@example.org", (NEW,), 23, Body.SEVEN_BIT, damaged), parcel()]
    with Server(traits, referee) as server:
        with pytest.raises(ArchiveDamaged):
            server.relay.send(parcels)
        told = reaped_after_the_end(server.relay)
    assert [one for one, _, _ in told] == parcels  # none is in doubt: what was whole is answered, the rest was not sent
    assert len(referee.delivered) == [unsent for _, _, unsent in told].count(False) >= 3
    assert b"half" not in b"".join(octets for _, octets in referee.delivered)


def test_a_server_that_does_not_read_before_it_has_talked_cannot_block_us() -> None:
    """It answers each command with more than the socket holds, and reads on only when that is taken."""
    wordy = "\r\n".join(["250-" + "x" * 2000] * 400 + ["250 ok"])
    referee = Referee(answers=lambda verb, number: wordy if verb == "MAIL" else "")
    big = parcel(b"x" * 900_000)
    with Server(CHUNKING, referee) as server:
        server.relay.send([parcel(), big, big, big])
        assert len(reaped(server.relay)) == 4


def _silent(
    traits: RelayTraits, timeout: float, ok: Callable[[], bool] = lambda: True
) -> tuple[SmtpRelay, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return SmtpRelay(Stream(ours, "mx.example.org:25", timeout, ok), traits), theirs


def test_silence_is_an_end_and_nothing_of_the_message_went() -> None:
    relay, theirs = _silent(CHUNKING, 0.05)
    one = parcel(b"content\r\n")
    with theirs, pytest.raises(TimedOut):
        relay.send([one])
    assert [(posted.parcel, posted.unsent) for posted in relay.reap(wait=False)] == [(one, True)]


def test_silence_after_a_whole_message_leaves_it_in_doubt() -> None:
    relay, theirs = _silent(CHUNKING, 0.02)
    with theirs:
        theirs.sendall(b"250 ok\r\n" * 3)  # it is read only when MAIL, RCPT and the first octet are out
        relay.send([parcel()])
        with pytest.raises(TimedOut):
            relay.reap()
    assert relay.reap(wait=False) == []


def test_a_stop_is_heard_while_it_waits() -> None:
    relay, theirs = _silent(CHUNKING, 60, lambda: False)
    with theirs, pytest.raises(Interrupted):
        relay.send([parcel()])
    assert [posted.unsent for posted in relay.reap(wait=False)] == [True]


def test_closed_in_the_middle_it_still_tells_what_was_not_sent() -> None:
    relay, theirs = _silent(CHUNKING, 0.05)
    with theirs, pytest.raises(TimedOut):
        relay.send([parcel(), parcel()])
    relay.close()
    relay.quit()
    assert [posted.unsent for posted in relay.reap(wait=False)] == [True, True]
    with pytest.raises(TimedOut):
        relay.send([parcel()])


class Breaking(Stream):
    """From a moment on nothing can be written any more, while there is still something to be read."""

    is_broken = False

    def exchange(self, outgoing: memoryview, timeout: float | None = None) -> tuple[int, bytes]:
        if outgoing and self.is_broken:
            raise ConnectionLost("broken")
        return super().exchange(outgoing, timeout)


def test_what_was_said_before_the_line_broke_is_heard() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Breaking(ours, "mx.example.org:25", PATIENT, lambda: True)
    relay = SmtpRelay(stream, PIPELINING)
    first, second = parcel(), parcel()
    with theirs:
        theirs.sendall(b"250 ok\r\n250 ok\r\n354 go\r\n")
        relay.send([first])
        theirs.sendall(b"250 taken\r\n421 4.7.0 too much\r\n")
        stream.is_broken = True
        with pytest.raises(TryLater, match="too much"):
            relay.send([second])
    told = relay.reap(wait=False)
    assert [(posted.parcel, posted.unsent) for posted in told] == [(first, False), (second, True)]
