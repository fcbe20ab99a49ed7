"""Programs that hand messages to an SMTP or LMTP server: mailmove, smtplib, and bare senders that keep no journal.

Strategy: each is two functions, as in replayers.py: one lays out in an empty folder what it starts from (mailmove: a
copy of the archive), which is not timed, the other gives its command line. What makes them comparable: the same octets,
each message a transaction of its own, from <>, to one recipient, over one connection. smtplib is driven by the shortest
loop that works, this file run as a program. The bare senders wait for nothing that the protocol does not make them wait
for, and neither hash nor keep anything: no client that keeps a journal can be quicker, so they tell what the server and
the line take. `bdat` sends whole transactions behind each other (RFC 3030, 2920), `pipelining` each message together
with the commands of the next, which costs a round trip a message. Whoever calls counts at the server.
"""

from __future__ import annotations

import functools
import smtplib
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.replayers import copy_archive, messages_of
from tests.support.client import HOST

IN_FLIGHT, OCTETS_IN_FLIGHT, WRITE = 256, 4 << 20, 1 << 16  # of `bdat`: messages, octets; octets in one write


@dataclass(frozen=True)
class Destination:
    """Who gets the mail, and through which port."""

    recipient: str
    port: int
    lmtp: bool


@dataclass(frozen=True)
class Relayer:
    """`stock` (archive, folder) prepares; `command` (destination, folder, archive) says how to start it."""

    command: Callable[[Destination, Path, Path], list[str]]
    stock: Callable[[Path, Path], None] = lambda archive, folder: None


# ---- mailmove


def mailmove(destination: Destination, folder: Path, archive: Path, more: tuple[str, ...] = ()) -> list[str]:
    scheme = "lmtp" if destination.lmtp else "smtp"
    words = ["replay", f"{scheme}://{HOST}:{destination.port}", "-a", str(folder / "mail.mailmove")]
    words += ["--rcpt", destination.recipient, "--mail-from", "<>", "--allow-plaintext", "-q", *more]
    return [sys.executable, "-m", "mailmove", *words]


# ---- smtplib


def by_smtplib(destination: Destination, messages: Sequence[Path]) -> None:
    """Its LMTP is right for one recipient only (cpython #76984), and that is all it gets."""
    session = (smtplib.LMTP if destination.lmtp else smtplib.SMTP)(HOST, destination.port)
    for path in messages:
        session.sendmail("", [destination.recipient], path.read_bytes())
    session.quit()


# ---- The bare senders


class Bare:
    """A session that is greeted. Replies are some 100 octets a message, so they need not be read while sending."""

    def __init__(self, destination: Destination) -> None:
        self._socket = socket.create_connection((HOST, destination.port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")
        self.wait()
        self.send(b"LHLO bench\r\n" if destination.lmtp else b"EHLO bench\r\n")
        self.wait()

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def wait(self, replies: int = 1) -> None:
        """For so many positive replies."""
        for _ in range(replies):
            while (line := self._replies.readline())[3:4] == b"-":
                pass
            assert line[:1] in (b"2", b"3"), line or "the server closed the connection"

    def close(self) -> None:
        self.send(b"QUIT\r\n")
        self.wait()
        self._replies.close()
        self._socket.close()


def bdat(session: Bare, recipient: bytes, messages: Sequence[Path]) -> None:
    """Whole transactions, as many under way as the window has room for."""
    under_way, octets, out = deque[int](), 0, bytearray()
    for body in bodies(messages):
        out += b"MAIL FROM:<>\r\nRCPT TO:<%b>\r\nBDAT %d LAST\r\n" % (recipient, len(body))
        out += body
        under_way.append(len(body))
        octets += len(body)
        full = len(under_way) > IN_FLIGHT or octets > OCTETS_IN_FLIGHT
        if full or len(out) >= WRITE:
            session.send(bytes(out))
            out.clear()
        while len(under_way) > IN_FLIGHT or octets > OCTETS_IN_FLIGHT:
            session.wait(3)
            octets -= under_way.popleft()
    session.send(bytes(out))
    session.wait(3 * len(under_way))


def pipelining(session: Bare, recipient: bytes, messages: Sequence[Path]) -> None:
    """The end of a message together with the commands for the next one."""
    commands = b"MAIL FROM:<>\r\nRCPT TO:<%b>\r\nDATA\r\n" % recipient
    waiting = b""
    for body in bodies(messages):
        session.send(waiting + commands)
        session.wait(4 if waiting else 3)
        waiting = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    session.send(waiting)
    session.wait()


def bodies(messages: Sequence[Path]) -> Iterator[bytes]:
    """All of the benchmarks' messages end with CRLF."""
    for path in messages:
        with open(path, "rb", buffering=0) as file:
            yield file.read()


BARE = {"bdat": bdat, "pipelining": pipelining}


def bare(name: str, destination: Destination, archive: Path) -> float:
    """Everything sent as fast as it goes; the seconds from the connection to its end."""
    messages = messages_of(archive)
    started = time.perf_counter()
    session = Bare(destination)
    BARE[name](session, destination.recipient.encode(), messages)
    session.close()
    return time.perf_counter() - started


def _loop(destination: Destination, folder: Path, archive: Path) -> list[str]:
    where = (destination.recipient, str(destination.port), "lmtp" if destination.lmtp else "smtp")
    return [sys.executable, "-m", "tests.bench.relayers", *where, str(archive)]


RELAYERS = {
    "mailmove": Relayer(mailmove, copy_archive),
    "mailmove-1": Relayer(functools.partial(mailmove, more=("--connections", "1")), copy_archive),
    "smtplib": Relayer(_loop),
}


if __name__ == "__main__":
    _, to, port, protocol, whence = sys.argv
    by_smtplib(Destination(to, int(port), protocol == "lmtp"), messages_of(Path(whence)))
