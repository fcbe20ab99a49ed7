"""What every Relay promises (mailmove/targets/__init__.py), held against each server that can be had.

Strategy: the suite speaks only the contract; what arrived is read where the server keeps it. Nothing but trace fields
may stand above the octets that were sent. A server is one line in SERVERS; each test has recipients of its own.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from mailmove.endpoints import open_relay
from mailmove.errors import ArchiveDamaged, ConnectionLost, LocalProtocolError, MailmoveError
from mailmove.model import Body
from mailmove.targets import Parcel, Posted, Relay
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import DOMAIN, Postfix, Sink

SENDER = f"sender@{DOMAIN}"
PATIENCE = 20.0
SINKS = rb"X-(?:Client|Helo|Mail|Rcpt)-[A-Za-z]+"
TRACE = re.compile(rb"(?:(?:Return-Path|Delivered-To|X-Original-To|Received|%b):.*\n(?:[ \t].*\n)*)*" % SINKS)
"""What servers put above a message."""

_numbers = itertools.count(1)


@dataclass
class Server:
    """`kept(recipient)`: what is there for him, LF, with trace fields."""

    url: str
    kept: Callable[[str], list[bytes]]
    lmtp: bool = False
    ca_file: str = ""
    sessions: list[Relay] = field(default_factory=list)

    def open(self, *, one_by_one: bool = False) -> Relay:
        session = open_relay(
            self.url,
            None,
            ca_file=self.ca_file,
            allow_plaintext=not self.ca_file,
            timeout=20,
            ok=lambda: True,
            one_by_one=one_by_one,
        )
        self.sessions.append(session)
        return session

    def arrived(self, recipient: str, messages: int = 1) -> list[bytes]:
        """What is there for him without trace fields, as it was sent; waits for so many, as servers may queue."""
        deadline = time.monotonic() + PATIENCE
        while len(found := self.kept(recipient)) < messages and time.monotonic() < deadline:
            time.sleep(0.01)
        return [one[TRACE.match(one).end() :].replace(b"\n", b"\r\n") for one in found]  # type: ignore[union-attr]


# ---- Servers


@pytest.fixture(scope="module")
def dovecot_lmtp(needs_lmtp: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False, lmtp=True) as server:
        yield server


@pytest.fixture(scope="module")
def postfix(needs_postfix: None) -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


def _dovecot(request: pytest.FixtureRequest, *, unix: bool) -> Server:
    server: Dovecot = request.getfixturevalue("dovecot_lmtp")
    place = str(server.lmtp_socket) if unix else f"localhost:{server.ports['lmtp']}"

    def kept(recipient: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted(server.maildir(recipient).glob("new/*"))]

    return Server(f"lmtp://{place}", kept, lmtp=True)


def _postfix(request: pytest.FixtureRequest) -> Server:
    server: Postfix = request.getfixturevalue("postfix")
    url = f"smtp://localhost:{server.ports['smtp']}"
    return Server(url, server.mail, ca_file=str(server.certificates.ca))


@pytest.fixture(scope="module")
def sinks(needs_sink: None) -> Iterator[dict[str, Sink]]:
    """Each with another way to be sent mail: pipelined, one by one, LMTP, and without extensions."""
    kinds = {
        "sink": Sink(keep=True),
        "sink-one-by-one": Sink("-p", keep=True),
        "sink-lmtp": Sink(lmtp=True, keep=True),
        "sink-no-ehlo": Sink("-f", "EHLO", keep=True),
    }
    try:
        yield {name: sink.start() for name, sink in kinds.items()}
    finally:
        for sink in kinds.values():
            sink.stop()


def _sink(request: pytest.FixtureRequest, name: str) -> Server:
    sink = request.getfixturevalue("sinks")[name]
    lmtp = name == "sink-lmtp"

    def kept(recipient: str) -> list[bytes]:
        """It writes an empty line behind each message; before that the file is not whole."""
        wanted = f"\nX-Rcpt-Args: <{recipient}>".encode()
        return [one[:-1] for one in sink.kept if wanted in one.partition(b"\nReceived: ")[0] and one.endswith(b"\n\n")]

    return Server(f"{'lmtp' if lmtp else 'smtp'}://localhost:{sink.ports['smtp']}", kept, lmtp=lmtp)


SERVERS: dict[str, Callable[[pytest.FixtureRequest], Server]] = {
    "dovecot-lmtp": lambda request: _dovecot(request, unix=False),
    "dovecot-lmtp-unix": lambda request: _dovecot(request, unix=True),
    "postfix": _postfix,
    **{
        name: lambda request, name=name: _sink(request, name)  # type: ignore[misc]
        for name in ("sink", "sink-one-by-one", "sink-lmtp", "sink-no-ehlo")
    },
}

REFUSING = ("postfix",)
"""Those that do not take everything for everybody."""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = SERVERS[request.param](request)
    yield server
    for session in server.sessions:
        session.close()


@pytest.fixture
def recipient() -> str:
    """Somebody who has no mail yet."""
    return f"contract-{next(_numbers)}@{DOMAIN}"


# ---- Parcels


def letter(number: int = 1, body: bytes = b"line of text\r\n") -> bytes:
    return b"From: a@example.org\r\nMessage-ID: <%d@contract.example>\r\nSubject: %d\r\n\r\n" % (number, number) + body


def parcel(octets: bytes, *recipients: str, sender: str = SENDER, piece: int = 7) -> Parcel:
    """In pieces of 7, so that every message is more than one, and whatever is dangerous lies across an edge."""
    body = Body.SEVEN_BIT if octets.isascii() else Body.EIGHT_BIT
    pieces = [octets[start : start + piece] for start in range(0, len(octets), piece)]
    return Parcel(sender, recipients, len(octets), body, lambda: iter(pieces))


def post(session: Relay, *parcels: Parcel) -> list[Posted]:
    """What became of all of them."""
    session.send(parcels)
    posted: list[Posted] = []
    while told := session.reap():
        posted += told
    return posted


def codes(posted: Posted) -> dict[str, int]:
    return {recipient: reply.code // 100 for recipient, reply in posted.replies.items()}


DANGEROUS = letter(66, b"\r\n".join([b".", b"..", b"...", b".x", b"MAIL FROM:<evil@%s>" % DOMAIN.encode(), b"", b"."]))
LETTERS = {
    "plain": letter(),
    "dots": DANGEROUS + b"\r\nRCPT TO:<evil@example.org>\r\nDATA\r\n.\r\nQUIT\r\n",
    "8-bit": letter(2, "Grüße\r\n".encode()),
    "long": letter(3, b"x" * 900 + b"\r\n" + b"y" * 20_000 + b"\r\n"),
    "no body": letter(4, b""),
    "bdat": letter(5, b"BDAT 10 LAST\r\nRSET\r\n\r\nBDAT 0 LAST\r\n"),
}


# ---- The suite


def test_a_session_says_what_is_offered(server: Server) -> None:
    traits = server.open().traits
    assert traits.lmtp == server.lmtp and traits.greeting and not traits.authenticated


@pytest.mark.parametrize("name", LETTERS)
def test_what_was_posted_arrives_once_unaltered(server: Server, recipient: str, name: str) -> None:
    session = server.open()
    if name == "8-bit" and not session.traits.eight_bit:
        with pytest.raises(LocalProtocolError):
            session.send([parcel(LETTERS[name], recipient)])
        return
    (posted,) = post(session, sent := parcel(LETTERS[name], recipient))
    assert posted.parcel is sent and not posted.unsent and codes(posted) == {recipient: 2}
    session.quit()
    assert server.arrived(recipient) == [LETTERS[name]]
    assert server.kept("evil@example.org") == []


def test_a_message_without_a_last_line_end(server: Server, recipient: str) -> None:
    """DATA cannot carry that (RFC 5321 section 4.1.1.4), and BDAT can; some servers add it."""
    session = server.open()
    octets = letter(7, b"no line end")
    assert [codes(one) for one in post(session, parcel(octets, recipient))] == [{recipient: 2}]
    session.quit()
    assert server.arrived(recipient) in ([octets], [octets + b"\r\n"])


def test_many_are_told_in_the_order_they_were_sent(server: Server, recipient: str) -> None:
    session = server.open()
    letters = [letter(number, b"x\r\n" * number) for number in range(60)]
    parcels = [parcel(octets, recipient, piece=999) for octets in letters]
    posted = post(session, *parcels[:40]) + post(session, *parcels[40:])
    assert [one.parcel for one in posted] == parcels
    assert {code for one in posted for code in codes(one).values()} == {2}
    session.quit()
    assert sorted(server.arrived(recipient, 60)) == sorted(letters)


def test_one_by_one_is_the_same_to_who_looks_at_the_result(server: Server, recipient: str) -> None:
    session = server.open(one_by_one=True)
    assert not session.traits.pipelining
    letters = [letter(number) for number in range(5)]
    posted = post(session, *(parcel(octets, recipient) for octets in letters))
    assert list(map(codes, posted)) == [{recipient: 2}] * 5
    session.quit()
    assert sorted(server.arrived(recipient, 5)) == letters


def test_a_large_one_between_small_ones(server: Server, recipient: str) -> None:
    large = letter(2, b"some line of a large message\r\n" * 100_000)
    session = server.open()
    letters = [letter(1), large, letter(3)]
    posted = post(session, *(parcel(octets, recipient, piece=1 << 16) for octets in letters))
    assert [codes(one) for one in posted] == [{recipient: 2}] * 3
    session.quit()
    assert sorted(server.arrived(recipient, 3)) == sorted(letters)


def test_each_recipient_is_told_of_and_has_it_once(server: Server, recipient: str) -> None:
    session, others = server.open(), (f"b-{recipient}", f"c-{recipient}")
    (posted,) = post(session, parcel(letter(), recipient, *others))
    assert codes(posted) == dict.fromkeys((recipient, *others), 2)
    session.quit()
    assert [server.arrived(one) for one in (recipient, *others)] == [[letter()]] * 3


def test_nobody_as_the_sender(server: Server, recipient: str) -> None:
    """<> is the reverse path of what nobody wants bounced."""
    session = server.open()
    assert [codes(one) for one in post(session, parcel(letter(), recipient, sender=""))] == [{recipient: 2}]
    session.quit()
    assert server.arrived(recipient) == [letter()]
    assert b"<>" in server.kept(recipient)[0].partition(b"\nReceived:")[0]


@pytest.mark.parametrize("server", REFUSING, indirect=True)
def test_what_is_refused_is_told_beside_what_is_taken(server: Server, recipient: str) -> None:
    session, unknown, later = server.open(), f"unknown-{recipient}", f"later-{recipient}"
    parcels = [
        parcel(letter(1), unknown),
        parcel(letter(2), unknown, recipient, later),
        parcel(letter(3), later, unknown),
        parcel(letter(4), recipient),
    ]
    posted = post(session, *parcels)
    assert [one.parcel for one in posted] == parcels and not any(one.unsent for one in posted)
    assert list(map(codes, posted)) == [
        {unknown: 5},
        {unknown: 5, recipient: 2, later: 4},
        {later: 4, unknown: 5},
        {recipient: 2},
    ]
    reply = posted[0].replies[unknown]
    assert reply.codes == "550 5.1.1" and "no such user" in reply.text
    assert posted[1].replies[later].codes == "450 4.2.0" and posted[1].replies[later].is_transient
    session.quit()
    assert sorted(server.arrived(recipient, 2)) == [letter(2), letter(4)]
    assert server.kept(unknown) == server.kept(later) == []


def test_nothing_under_way_is_nothing_told(server: Server) -> None:
    session = server.open()
    assert session.reap() == [] and session.reap(wait=False) == []
    session.send([])
    assert session.reap() == []


def test_a_message_that_cannot_be_read_to_its_end_is_not_delivered(server: Server, recipient: str) -> None:
    """Its connection is dropped before it is whole; what was answered before stands, the others are told as unsent."""

    def damaged() -> Iterator[bytes]:
        yield letter()[:20]
        raise ArchiveDamaged("The file is not what it was.")

    session = server.open()
    assert [codes(one) for one in post(session, parcel(letter(1), recipient))] == [{recipient: 2}]
    bad = Parcel(SENDER, (recipient,), len(letter()), Body.SEVEN_BIT, damaged)
    behind = parcel(letter(3), recipient)
    with pytest.raises(ArchiveDamaged):
        post(session, bad, behind)
    posted = session.reap(wait=False)
    assert [(one.parcel, one.unsent) for one in posted] == [(bad, True), (behind, True)]
    assert not any(reply.code < 300 for one in posted for reply in one.replies.values())
    with pytest.raises(MailmoveError):
        session.send([behind])
    assert [codes(one) for one in post(server.open(), behind)] == [{recipient: 2}]
    assert sorted(server.arrived(recipient, 2)) == [letter(1), letter(3)]


def test_a_closed_session_sends_nothing(server: Server, recipient: str) -> None:
    for end in (Relay.close, Relay.quit):
        session = server.open()
        getattr(session, end.__name__)()
        with pytest.raises(ConnectionLost):
            session.send([parcel(letter(), recipient)])
        session.quit()
        session.close()
    assert post(server.open(), parcel(letter(), recipient))
    assert len(server.arrived(recipient)) == 1
