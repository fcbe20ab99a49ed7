"""An SMTP or LMTP server in the test's own process, behind the Relay contract: no socket, no thread, no time.

Strategy: `FakeServer` is what stays between sessions: what arrived, and `verdict(recipient, octets)`, which a test
replaces. It answers with a Reply, or raises what ends the session: `Lost(sent=True)` after the whole message was given
away, else before its last octet. Octets are really asked for, as a session would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mailmove.errors import ConnectionLost, TryLater
from mailmove.jobs import Context, RelayJob
from mailmove.model import Reply
from mailmove.targets import Parcel, Posted, RelayTraits

GOOD = Reply(250, "2.0.0", "queued")
EVERYTHING = RelayTraits(pipelining=True, chunking=True, eight_bit=True, binary=True, utf8=True, authenticated=True)


class Lost(ConnectionLost):
    """The connection breaks in this message: before its last octet, or, with `sent`, before the reply."""

    def __init__(self, *, sent: bool = False) -> None:
        super().__init__("The connection to the server was lost.")
        self.sent = sent


class Busy(TryLater):
    """421: the server ends the session instead of an answer, and has not taken the message."""

    def __init__(self) -> None:
        super().__init__("The server is busy.", server_text="421 4.3.2 busy")


def takes_all(recipient: str, octets: bytes) -> Reply:
    return GOOD


@dataclass
class FakeServer:
    """`before(parcel)` is asked before its octets, and may raise, too.

    `arrived`: (recipient, octets), in order; `transactions`: recipients of each that began, taken or not."""

    verdict: Callable[[str, bytes], Reply] = takes_all
    before: Callable[[Parcel], None] = lambda parcel: None
    traits: RelayTraits = EVERYTHING
    arrived: list[tuple[str, bytes]] = field(default_factory=list)
    transactions: list[tuple[str, ...]] = field(default_factory=list)
    parcels: list[Parcel] = field(default_factory=list)
    jobs: list[RelayJob] = field(default_factory=list)

    def open(self, job: RelayJob) -> FakeSession:
        self.jobs.append(job)
        return FakeSession(self)

    @property
    def inboxes(self) -> Counter[tuple[str, bytes]]:
        return Counter(self.arrived)


class FakeSession:
    """One session: it takes everything at once, and tells when it is asked."""

    def __init__(self, server: FakeServer) -> None:
        self.server, self.error = server, None
        self._told: list[Posted] = []

    @property
    def traits(self) -> RelayTraits:
        return self.server.traits

    def send(self, parcels: Sequence[Parcel]) -> None:
        for place, parcel in enumerate(parcels):
            try:
                self._told.append(self._post(parcel))
            except (Lost, Busy) as error:
                sent = isinstance(error, Lost) and error.sent
                kept = [] if sent else [Posted(parcel, {}, unsent=True)]
                self._told += [*kept, *(Posted(rest, {}, unsent=True) for rest in parcels[place + 1 :])]
                raise

    def _post(self, parcel: Parcel) -> Posted:
        server = self.server
        server.before(parcel)
        octets = b"".join(parcel.chunks())
        assert len(octets) == parcel.octets
        server.transactions.append(parcel.recipients)
        server.parcels.append(parcel)
        replies = {one: server.verdict(one, octets) for one in parcel.recipients}
        server.arrived += [(one, octets) for one, reply in replies.items() if reply.is_positive]
        return Posted(parcel, replies)

    def reap(self, *, wait: bool = True) -> list[Posted]:
        told, self._told = self._told, []
        return told

    def quit(self) -> None: ...

    def close(self) -> None: ...


class Notes:
    """Progress that remembers its sentences."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def note(self, text: str) -> None:
        self.sentences.append(text)

    def begin(self, what: str, messages: int, octets: int) -> None: ...

    def received(self, octets: int) -> None: ...

    def done(self, messages: int, octets: int) -> None: ...

    def rewind(self) -> None: ...

    def end(self) -> None: ...


class Surroundings(Context):
    """A context whose clock goes on only by waiting, which takes no time: `slept` are the waits, in seconds."""

    def __init__(self, server: FakeServer, now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)) -> None:
        super().__init__(open_relay=server.open, progress=Notes(), clock=lambda: self.now)
        self.now = now
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.check()
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)

    @property
    def notes(self) -> list[str]:
        assert isinstance(self.progress, Notes)
        return self.progress.sentences
