"""An IMAP server that does what a test tells it to, however wrong, in threads of the test's own process.

    with ImapPeer(ImapQuirks(replies={"SELECT": b"{tag} NO [UNAVAILABLE] later\\r\\n"})) as peer:
        ... let the client work on peer.port (any user, password "secret") ...
    assert peer.verbs == ["CAPABILITY", "LOGIN", "SELECT", "LOGOUT"]

Strategy: an honest server of the few commands a Target needs, with one mailbox in memory; before it answers, it looks
whether the test has an answer of its own for that command, or something to say in the middle of a literal. Every line
that came in where a command belongs is kept, so that a test can see what a message was taken for. Nothing sleeps: a
stall waits until the peer ends.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from mailmove.targets.imap import ImapTarget
from tests.support import listener
from tests.support.client import PASSWORD
from tests.support.listener import Listener

STALL_LIMIT = 120.0
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")


class Then(Enum):
    """What follows after the peer has said something in the middle of a literal."""

    GO_ON = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()


@dataclass(frozen=True)
class Interruption:
    """Said when so many octets of a literal have been read."""

    after: int
    says: bytes = b""
    then: Then = Then.GO_ON


@dataclass(frozen=True)
class ImapQuirks:
    """How a server differs from an honest one.

    `replies`: verb ("UID FETCH" is one, "" a line of one word) -> all that is said to it, or one answer for each time
    it comes, the last one for good; b"{tag}" is filled in, and an empty answer leaves it to the honest server. An empty
    `greeting` is none at all.
    """

    greeting: bytes = b"* OK ready\r\n"
    capabilities: str = "IMAP4rev1"
    replies: Mapping[str, bytes | Sequence[bytes]] = field(default_factory=dict)
    interruption: Interruption | None = None
    appended: bytes = b"OK appended"
    behind_starttls: bytes = b""
    uids: Sequence[int] = ()


class ImapPeer(Listener):
    """`commands` are the lines that were read where a command belongs, `stored` the literals that arrived whole."""

    def __init__(self, quirks: ImapQuirks | None = None, *, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.quirks, self.context = quirks or ImapQuirks(), context
        self.commands: list[str] = []
        self.stored: list[bytes] = []
        self.ended = threading.Event()

    @property
    def verbs(self) -> list[str]:
        return [_verb(command) for command in self.commands]

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        super().__exit__(None, None, None)

    def serve(self, connection: socket.socket) -> None:
        _Conversation(self, connection).run()


class _Conversation:
    """One connection."""

    def __init__(self, peer: ImapPeer, connection: socket.socket) -> None:
        self.peer, self.quirks, self.connection = peer, peer.quirks, connection
        self.buffer = b""
        self.over = False
        self.times: dict[str, int] = {}
        self.uids = list(self.quirks.uids)

    def run(self) -> None:
        if not self.quirks.greeting:
            self.stall()
        self.connection.sendall(self.quirks.greeting)
        while not self.over and (line := self.line()):
            self.peer.commands.append(line.decode("latin-1").removesuffix("\r\n"))
            tag, verb = line.partition(b" ")[0], _verb(self.peer.commands[-1])
            if own := self.own_reply(verb):
                self.connection.sendall(own.replace(b"{tag}", tag))
            else:
                getattr(self, verb.replace(" ", "_").lower(), self.unknown)(tag, line)
        if not self.over:
            listener.goodbye(self.connection)

    def own_reply(self, verb: str) -> bytes:
        replies = self.quirks.replies.get(verb, b"")
        if isinstance(replies, bytes):
            return replies
        place = self.times.get(verb, 0)
        self.times[verb] = place + 1
        return replies[min(place, len(replies) - 1)]

    # ---- reading

    def line(self) -> bytes:
        """The next line with its end, or b"" when the client has gone."""
        while b"\n" not in self.buffer:
            if not self.more():
                return b""
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"

    def more(self) -> bool:
        data = self.connection.recv(1 << 16)
        self.buffer += data
        return bool(data)

    def literal(self, octets: int) -> bytes | None:
        """A literal and the line end behind it; None when it is not to be read to its end."""
        interruption = self.quirks.interruption
        if interruption:
            while len(self.buffer) < min(octets, interruption.after) and self.more():
                pass
            tag = self.peer.commands[-1].partition(" ")[0].encode()
            self.connection.sendall(interruption.says.replace(b"{tag}", tag))
            self.follow(interruption.then)
        while not self.over and len(self.buffer) < octets + 2:
            if not self.more():
                return None
        literal, self.buffer = self.buffer[:octets], self.buffer[octets + 2 :]
        return None if self.over else literal

    def follow(self, then: Then) -> None:
        self.over = then is not Then.GO_ON
        if then is Then.RESET:
            listener.reset(self.connection)
        elif then is Then.CLOSE:
            listener.close(self.connection)
            while self.connection.recv(1 << 16):  # closing with octets unread would send RST
                pass
        elif then is Then.STALL:
            self.stall()

    def stall(self) -> None:
        assert self.peer.ended.wait(STALL_LIMIT), "the peer was never ended"
        self.over = True

    # ---- the honest server

    def say(self, *lines: bytes) -> None:
        self.connection.sendall(b"".join(line + b"\r\n" for line in lines))

    def done(self, tag: bytes, *untagged: bytes) -> None:
        self.say(*(b"* " + line for line in untagged), tag + b" OK done")

    def unknown(self, tag: bytes, line: bytes) -> None:
        self.say(tag + b" BAD unknown command")

    def noop(self, tag: bytes, line: bytes) -> None:
        self.done(tag)

    create = subscribe = noop

    def capability(self, tag: bytes, line: bytes) -> None:
        self.done(tag, b"CAPABILITY " + self.quirks.capabilities.encode())

    def starttls(self, tag: bytes, line: bytes) -> None:
        assert self.peer.context
        self.connection.sendall(tag + b" OK now\r\n" + self.quirks.behind_starttls)
        self.connection = self.peer.secure(self.connection, self.peer.context)

    def login(self, tag: bytes, line: bytes) -> None:
        right = line.endswith(f'"{PASSWORD}"\r\n'.encode())
        self.say(tag + (b" OK welcome" if right else b" NO [AUTHENTICATIONFAILED] no"))

    def select(self, tag: bytes, line: bytes) -> None:
        uidnext = max(self.uids, default=0) + 1
        self.done(tag, b"%d EXISTS" % len(self.uids), b"OK [UIDVALIDITY 7] valid", b"OK [UIDNEXT %d] next" % uidnext)

    examine = select

    def status(self, tag: bytes, line: bytes) -> None:
        uidnext = max(self.uids, default=0) + 1
        self.done(tag, b'STATUS "INBOX" (MESSAGES %d UIDNEXT %d UIDVALIDITY 7)' % (len(self.uids), uidnext))

    def append(self, tag: bytes, line: bytes) -> None:
        found = _LITERAL.search(line)
        if not found:
            return self.say(tag + b" BAD no literal")
        self.say(b"+ go on")
        literal = self.literal(int(found[1]))
        if literal is None:
            return None
        self.peer.stored.append(literal)
        self.uids.append(max(self.uids, default=0) + 1)
        return self.say(b"* %d EXISTS" % len(self.uids), tag + b" " + self.quirks.appended)

    def fetch(self, tag: bytes, line: bytes) -> None:
        numbers = line.split()[2].decode()
        wanted = [number for part in numbers.split(",") for number in _range(part)]
        if not wanted or max(wanted) > len(self.uids):
            return self.say(tag + b" BAD no such message")
        answers = (b"%d FETCH (UID %d RFC822.SIZE %d)" % (n, self.uids[n - 1], 100 + n) for n in wanted)
        return self.done(tag, *answers)

    def logout(self, tag: bytes, line: bytes) -> None:
        self.done(tag, b"BYE see you")


def _verb(command: str) -> str:
    words = command.upper().split()[1:3]
    return " ".join(words if words[:1] == ["UID"] else words[:1])


def _range(part: str) -> range:
    first, _, last = part.partition(":")
    return range(int(first), int(last or first) + 1)


Peers = Callable[..., ImapPeer]
Opener = Callable[..., ImapTarget]
Selected = Callable[..., tuple[ImapPeer, ImapTarget]]
"""What the fixtures of conftest.py give: a peer, a session with it, or both with INBOX selected."""
