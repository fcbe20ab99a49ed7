"""Programs that deliver messages to an IMAP mailbox: mailmove, its peers, and a bare sender that keeps no journal.

Strategy: each is two functions: one lays out in an empty folder what it starts from (mailmove: a copy of the archive;
mbsync: a Maildir), which is not timed, the other gives its command line. What makes them comparable: the same octets,
marked as read, with a date, into an empty INBOX; mbsync pushes only, keeps its own syncs and starts without a state.
imapclient and imaplib are driven by the shortest loop that works, this file run as a program, on a mailbox that is
SELECTed, since Dovecot is quicker then. `delivered` asks the server, so that a program that is quick because it gave up
shows. The bare sender pipelines MULTIAPPEND without waiting to be asked for its literals, and neither hashes nor keeps
anything: no client that keeps a journal can be quicker, so it tells what the server and the line take.
"""

from __future__ import annotations

import functools
import imaplib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.cli import PASSWORD_FROM_ENV, environment
from tests.support.client import HOST, PASSWORD

PATIENCE = 1800.0
DATE = datetime(2020, 1, 1, tzinfo=UTC)
SEEN = r"\Seen"
BATCH, BATCH_OCTETS, IN_FLIGHT = 64, 2 << 20, 4  # of the bare sender


@dataclass(frozen=True)
class Account:
    """Whose INBOX is delivered to, and through which port."""

    user: str
    port: int


@dataclass(frozen=True)
class Replayer:
    """`stock` (archive, folder) prepares; `command` (account, folder, archive) says how to start it."""

    command: Callable[[Account, Path, Path], list[str]]
    stock: Callable[[Path, Path], None] = lambda archive, folder: None
    package: str = ""


def messages_of(archive: Path) -> list[Path]:
    return sorted(archive.glob("mail/*/*.eml"))


# ---- mailmove


def copy_archive(archive: Path, folder: Path) -> None:
    """With a log and a catalogue of its own; the messages, which nobody writes to, are hard links."""
    shutil.copytree(archive, folder / "mail.mailmove", copy_function=_linked_if_message)


def _linked_if_message(source: str, destination: str) -> None:
    (os.link if source.endswith(".eml") else shutil.copy2)(source, destination)


def mailmove(account: Account, folder: Path, archive: Path, more: tuple[str, ...] = ()) -> list[str]:
    """By a name for the target, so that it stays the same one through another port."""
    words = ["replay", f"imap://{account.user}@{HOST}:{account.port}", "-a", str(folder / "mail.mailmove")]
    words += ["--allow-plaintext", "-q", "--target-name", account.user, *more, *PASSWORD_FROM_ENV]
    return [sys.executable, "-m", "mailmove", *words]


def _with_connections(number: int) -> Replayer:
    return Replayer(functools.partial(mailmove, more=("--connections", str(number))), copy_archive)


# ---- mbsync


def make_maildir(archive: Path, folder: Path) -> None:
    """All marked as read. mbsync sends these files with CRLF as they are: on the server only its X-TUID is added.

    Folders as old as those of a Maildir in use: where one has changed in this second, mbsync sleeps until it is over.
    """
    inbox = folder / "mail" / "INBOX"
    for name in ("cur", "new", "tmp"):
        (inbox / name).mkdir(parents=True)
    (folder / "state").mkdir()
    for number, path in enumerate(messages_of(archive), 1):
        os.link(path, inbox / "cur" / f"{1_700_000_000 + number}.M{number}P1.bench:2,S")
    for name in ("cur", "new"):
        os.utime(inbox / name, (DATE.timestamp(), DATE.timestamp()))


def mbsync(account: Account, folder: Path, archive: Path) -> list[str]:
    config = folder / "mbsyncrc"
    config.touch(mode=0o600)
    config.write_text(
        f"IMAPAccount far\nHost {HOST}\nPort {account.port}\nUser {account.user}\nPass {PASSWORD}\nSSLType None\n"
        f"AuthMechs LOGIN\n\nIMAPStore far\nAccount far\n\nMaildirStore near\nPath {folder}/mail/\n"
        f"Inbox {folder}/mail/INBOX\n\nChannel all\nFar :far:\nNear :near:\nSync Push\nCopyArrivalDate yes\n"
        f"SyncState {folder}/state/\n"
    )
    return ["mbsync", "-q", "-c", str(config), "all"]


# ---- imapclient and imaplib


def by_imapclient(account: Account, messages: Sequence[Path]) -> None:
    from imapclient import IMAPClient  # type: ignore[import-untyped]

    client = IMAPClient(HOST, account.port, ssl=False)
    client.login(account.user, PASSWORD)
    client.select_folder("INBOX")
    for path in messages:
        client.append("INBOX", path.read_bytes(), (SEEN,), DATE)
    client.logout()


def by_imaplib(account: Account, messages: Sequence[Path]) -> None:
    session = imaplib.IMAP4(HOST, account.port)
    session.login(account.user, PASSWORD)
    session.select("INBOX")
    for path in messages:
        answer = session.append("INBOX", f"({SEEN})", DATE, path.read_bytes())
        assert answer[0] == "OK", answer
    session.logout()


LOOPS = {"imapclient": by_imapclient, "imaplib": by_imaplib}


def _loop(name: str, account: Account, folder: Path, archive: Path) -> list[str]:
    return [sys.executable, "-m", "tests.bench.replayers", name, account.user, str(account.port), str(archive)]


REPLAYERS = {
    "mailmove": Replayer(mailmove, copy_archive),
    "mailmove-1": _with_connections(1),
    "mailmove-4": _with_connections(4),
    "mbsync": Replayer(mbsync, make_maildir, package="isync"),
    "imapclient": Replayer(functools.partial(_loop, "imapclient")),
    "imaplib": Replayer(functools.partial(_loop, "imaplib")),
}


def missing(name: str) -> str:
    """Why this program cannot be run here, or ""."""
    package = REPLAYERS[name].package if name in REPLAYERS else ""
    return f"{name} is not installed (Debian: apt install {package})" if package and not shutil.which(name) else ""


def run(command: list[str], folder: Path) -> float:
    """Runs a program until it ends; the seconds it took. What it complains of goes to stderr."""
    started = time.perf_counter()
    done = subprocess.run(
        command, env=environment({"HOME": str(folder)}), cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        print(f"  {command} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}", file=sys.stderr)
    return seconds


def delivered(account: Account) -> int:
    """How many messages the server says are in the INBOX."""
    session = imaplib.IMAP4(HOST, account.port)
    session.login(account.user, PASSWORD)
    _, (line,) = session.status("INBOX", "(MESSAGES)")
    session.logout()
    found = re.search(rb"MESSAGES (\d+)", line or b"")
    assert found, line
    return int(found[1])


# ---- The bare sender


class Bare:
    """A session with INBOX selected. Answers are some 200 octets a batch, so they need not be read while sending."""

    def __init__(self, account: Account) -> None:
        self._socket = socket.create_connection((HOST, account.port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self._answers.readline()
        self.ask(b"L", b"LOGIN %s %s" % (account.user.encode(), PASSWORD.encode()))
        self.ask(b"S", b"SELECT INBOX")

    def ask(self, tag: bytes, command: bytes) -> None:
        self._socket.sendall(tag + b" " + command + b"\r\n")
        self._wait(tag)

    def deliver(self, messages: Sequence[Path]) -> None:
        sent = waited = 0
        for sent, parts in enumerate(batches(messages), 1):
            self._socket.sendall(b"".join((b"A%d APPEND INBOX" % sent, *parts, b"\r\n")))
            if sent - waited == IN_FLIGHT:
                waited += 1
                self._wait(b"A%d" % waited)
        for number in range(waited + 1, sent + 1):
            self._wait(b"A%d" % number)

    def close(self) -> None:
        self.ask(b"Q", b"LOGOUT")
        self._answers.close()
        self._socket.close()

    def _wait(self, tag: bytes) -> None:
        while not (line := self._answers.readline()).startswith(tag + b" "):
            assert line, "the server closed the connection"
        assert line.startswith(tag + b" OK"), line


def batches(messages: Sequence[Path]) -> Iterator[list[bytes]]:
    """What follows the mailbox's name in MULTIAPPEND (RFC 3502), in parts: literals that wait for nobody (RFC 7888)."""
    parts: list[bytes] = []
    octets = 0
    for path in messages:
        with open(path, "rb", buffering=0) as file:
            body = file.read()
        parts += (b' (\\Seen) "01-Jan-2020 00:00:00 +0000" {%d+}\r\n' % len(body), body)
        octets += len(body)
        if len(parts) == 2 * BATCH or octets >= BATCH_OCTETS:
            yield parts
            parts, octets = [], 0
    if parts:
        yield parts


def bare(account: Account, archive: Path) -> float:
    """Everything sent as fast as it goes; the seconds from the connection to its end."""
    messages = messages_of(archive)
    started = time.perf_counter()
    session = Bare(account)
    session.deliver(messages)
    session.close()
    return time.perf_counter() - started


if __name__ == "__main__":
    _, way, user, port, whence = sys.argv
    LOOPS[way](Account(user, int(port)), messages_of(Path(whence)))
