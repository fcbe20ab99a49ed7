"""Programs that pull a maildrop: mailmove, its peers from the distribution, and a bare reader that keeps nothing.

Strategy: each is a function from a maildrop and an empty folder to a command line, with what makes it comparable: every
message durable (mpop and getmail6 sync each file by themselves; fetchmail hands over to a `dd` that does), nothing
deleted, certificates verified, pipelining on where there is any. `delivered` counts what came out, so that a program
that is quick because it gave up shows. The bare reader asks for everything at once and looks for nothing but the ends
of messages: no client that keeps its mail can be quicker, so it tells what the server and the line take.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.cli import PASSWORD_FROM_ENV, environment
from tests.support.client import HOST, PASSWORD

PATIENCE = 1800.0
READ = 256 * 1024
WINDOW = 5000
END = b"\r\n.\r\n"


@dataclass(frozen=True)
class Maildrop:
    """What is pulled from where; `ca` set means TLS from the first octet."""

    user: str
    port: int
    ca: Path | None = None


def mailmove(drop: Maildrop, folder: Path) -> list[str]:
    scheme = "pop3s" if drop.ca else "pop3"
    way = ["--ca-file", str(drop.ca)] if drop.ca else ["--allow-plaintext"]
    words = ["pull", f"{scheme}://{drop.user}@{HOST}:{drop.port}", "-a", str(folder / "mail.mailmove"), "-q", *way]
    return [sys.executable, "-m", "mailmove", *words, "--maildrop", drop.user, *PASSWORD_FROM_ENV]


def mpop(drop: Maildrop, folder: Path) -> list[str]:
    tls = f"tls on\ntls_starttls off\ntls_trust_file {drop.ca}" if drop.ca else "tls off"
    maildir = _maildir(folder / "mail")
    _private(
        folder / "mpoprc",
        f"defaults\n{tls}\naccount a\nhost {HOST}\nport {drop.port}\nuser {drop.user}\npassword {PASSWORD}\nauth user\n"
        f"pipelining on\nkeep on\nreceived_header off\ndelivery maildir {maildir}\nuidls_file {folder}/uidls\n"
        "account default : a\n",
    )
    return ["mpop", "-q", "-C", str(folder / "mpoprc")]


def fetchmail(drop: Maildrop, folder: Path) -> list[str]:
    """`dd conv=fsync` is the cheapest delivery that is durable."""
    tls = f'ssl sslcertck sslcertfile "{drop.ca}"' if drop.ca else "sslproto ''"
    (folder / "mail").mkdir()
    store = f"dd conv=fsync status=none of=$(mktemp {folder}/mail/XXXXXXXXXX)"
    _private(
        folder / "fetchmailrc",
        f'poll {HOST} protocol pop3 port {drop.port} uidl user "{drop.user}" password "{PASSWORD}" {tls} keep'
        f' mda "{store}"\n',
    )
    places = ["--idfile", str(folder / "ids"), "--pidfile", str(folder / "pid")]
    return ["fetchmail", "-s", "-f", str(folder / "fetchmailrc"), *places]


def getmail(drop: Maildrop, folder: Path) -> list[str]:
    """It delivers nothing as root, so then as somebody else."""
    kind = f"SimplePOP3SSLRetriever\nca_certs = {drop.ca}" if drop.ca else "SimplePOP3Retriever"
    owner = _give_away(_maildir(folder / "mail"))
    _private(
        folder / "rc",
        f"[retriever]\ntype = {kind}\nserver = {HOST}\nport = {drop.port}\nusername = {drop.user}\n"
        f"password = {PASSWORD}\n[destination]\ntype = Maildir\npath = {folder}/mail/\n{owner}"
        "[options]\nverbose = 0\nread_all = true\ndelete = false\n",
    )
    return ["getmail", f"--getmaildir={folder}", "--rcfile=rc"]


PULLERS: Mapping[str, Callable[[Maildrop, Path], list[str]]] = {
    "mailmove": mailmove,
    "mpop": mpop,
    "fetchmail": fetchmail,
    "getmail6": getmail,
}
COMMANDS = {"mpop": "mpop", "fetchmail": "fetchmail", "getmail6": "getmail"}
SLOW = ("fetchmail", "getmail6")


def missing(name: str) -> str:
    """Why this program cannot be run here, or ""."""
    command = COMMANDS.get(name)
    return f"{name} is not installed (Debian: apt install {name})" if command and not shutil.which(command) else ""


def _maildir(path: Path) -> Path:
    for name in ("", "cur", "new", "tmp"):
        (path / name).mkdir()
    return path


def _give_away(maildir: Path) -> str:
    if os.getuid() != 0:
        return ""
    for folder in (maildir, *maildir.iterdir()):
        shutil.chown(folder, "nobody")
    maildir.parent.chmod(0o755)
    maildir.parent.parent.chmod(0o755)
    return "user = nobody\n"


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def run(name: str, drop: Maildrop, folder: Path) -> float:
    """Runs a program in an empty folder until it ends; the seconds it took. What it complains of goes to stderr."""
    command = PULLERS[name](drop, folder)
    started = time.perf_counter()
    done = subprocess.run(
        command, env=environment({"HOME": str(folder)}), cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        print(f"  {name} ended with {done.returncode}: {done.stderr[-300:]}", file=sys.stderr)
    return seconds


def delivered(name: str, folder: Path) -> int:
    """How many messages a program has left in its folder."""
    found = {"mailmove": "mail.mailmove/mail/*/*.eml", "fetchmail": "mail/*"}.get(name, "mail/new/*")
    return sum(1 for _ in folder.glob(found))


# ---- The bare reader


class Bare:
    """A logged-in session that keeps nothing."""

    def __init__(self, drop: Maildrop) -> None:
        self._socket = socket.create_connection((HOST, drop.port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if drop.ca:
            context = ssl.create_default_context(cafile=str(drop.ca))
            self._socket = context.wrap_socket(self._socket, server_hostname=HOST)
        self._until(b"\r\n")
        for command in (f"USER {drop.user}", f"PASS {PASSWORD}"):
            self.ask(command)

    def ask(self, command: str, end: bytes = b"\r\n") -> bytes:
        self._socket.sendall(command.encode() + b"\r\n")
        return self._until(end)

    def _until(self, end: bytes) -> bytes:
        parts = [b""]
        while not (parts[-2:] and b"".join(parts[-2:]).endswith(end)):
            parts.append(self._socket.recv(READ))
            assert parts[-1], "the server closed the connection"
        return b"".join(parts)

    def count(self) -> int:
        found = re.search(rb"\d+", self.ask("STAT"))
        return int(found[0]) if found else 0

    def discard_all(self) -> int:
        """RETR of everything, in windows that are refilled half way; the octets that came."""
        messages, asked, ended, octets, tail = self.count(), 0, 0, 0, b""
        while ended < messages:
            if asked < messages and asked - ended <= WINDOW // 2:
                upto = min(messages, ended + WINDOW)
                self._socket.sendall(b"".join(b"RETR %d\r\n" % n for n in range(asked + 1, upto + 1)))
                asked = upto
            data = self._socket.recv(READ)
            assert data, "the server closed the connection"
            octets += len(data)
            ended += (tail + data).count(END)
            tail = (tail + data)[-len(END) + 1 :]
        return octets

    def close(self) -> None:
        self.ask("QUIT")
        self._socket.close()


def bare(drop: Maildrop) -> tuple[float, int]:
    """Everything retrieved and thrown away: (seconds, octets)."""
    started = time.perf_counter()
    session = Bare(drop)
    octets = session.discard_all()
    session.close()
    return time.perf_counter() - started, octets


def bare_listing(drop: Maildrop) -> float:
    """UIDL and LIST, thrown away; seconds."""
    started = time.perf_counter()
    session = Bare(drop)
    for command in ("UIDL", "LIST"):
        session.ask(command, END)
    session.close()
    return time.perf_counter() - started
