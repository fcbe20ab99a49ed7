"""A real Dovecot (POP3 and IMAP, if asked for LMTP) on free loopback ports, in a folder of its own.

Strategy: mail is put into the maildirs by hand, named so that Dovecot need not open the files to know their sizes, so
10,000 messages are a matter of a second; then the index is built once, as a long-lived mailbox has it. Any user name is
accepted with one password (PASSWORD, if no other is given). The server runs in a process group of its own, and only
that group is ever signalled.

    with Dovecot() as server:
        server.seed("alice", [b"Subject: hi\\r\\n\\r\\n"])
        server.ports["pop3s"], server.certificates.ca
"""

from __future__ import annotations

import contextlib
import grp
import os
import poplib
import pwd
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import certs
from tests.support.client import HOST, PASSWORD

TEMPLATE = Path(__file__).with_name("dovecot.conf.template")
PLAIN, TLS = ("pop3", "imap"), ("pop3s", "imaps")
BINARY = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin") or ""
LIBRARIES = ("/usr/lib/dovecot", "/usr/libexec/dovecot", "/usr/local/libexec/dovecot")
START_LIMIT, STOP_LIMIT = 20.0, 10.0
LMTP = """\
protocols = $protocols lmtp
service lmtp {{
  inet_listener lmtp {{
    port = {port}
  }}
  unix_listener {socket} {{
    mode = 0666
  }}
}}
"""
AS_ME = "default_login_user = {user}\ndefault_internal_user = {user}\ndefault_internal_group = {group}"
FIRST_SECOND = 1_700_000_000


def missing() -> str:
    """Why no Dovecot can be started here, or ""."""
    if not BINARY:
        return "dovecot is not installed (Debian: apt install dovecot-pop3d dovecot-imapd)"
    if not version().startswith("2.3."):
        return f"dovecot {version()} is here, but tests/servers/dovecot.conf.template is written for 2.3"
    return certs.missing()


def lmtp_missing() -> str:
    """Why no Dovecot can be started with LMTP here, or ""."""
    here = any((folder / "lmtp").exists() for folder in map(Path, LIBRARIES))
    return missing() or ("" if here else "dovecot has no LMTP here (Debian: apt install dovecot-lmtpd)")


def version() -> str:
    said = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return said[0] if said else "?"


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """One free port for each name. All are bound at the same time, so that no two are the same."""
    with contextlib.ExitStack() as stack:
        bound = {name: stack.enter_context(socket.create_server((HOST, 0))) for name in names}
        return {name: s.getsockname()[1] for name, s in bound.items()}


class Dovecot:
    """One server. `certificate` is one of certs.KINDS; with `ssl=False` there is neither STLS nor a TLS port.

    With `lmtp` it also takes mail for anybody, on the port "lmtp" and on `lmtp_socket`.
    With `lock_session` a second session on a maildrop is told [IN-USE], after the 10 s for which Dovecot waits first.
    """

    def __init__(
        self,
        *,
        ssl: bool = True,
        certificate: str = "good",
        lock_session: bool = False,
        lmtp: bool = False,
        password: str = PASSWORD,
        extra: str = "",
        folder: Path | None = None,
    ) -> None:
        # Not pytest's tmp_path: the mail processes are another user and must be able to walk to their folder.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mailmove-dovecot-"))
        self._temporary = folder is None
        self._options = {"ssl": ssl, "certificate": certificate, "lock_session": lock_session, "extra": extra}
        self._password = password
        self._lmtp = lmtp
        self._seeded: defaultdict[str, int] = defaultdict(int)
        self._owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self._process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}
        self.certificates = certs.Certificates(self.folder / "tls")

    # ---- Life

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._own_folder(self.folder / "mail")
        certs.make(self.certificates.folder)
        try:
            self._start_with_free_ports()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self._end_process()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _start_with_free_ports(self) -> None:
        """Again with other ports when somebody took one between our choosing and Dovecot's binding."""
        for _ in range(2):
            with contextlib.suppress(OSError):
                return self._start_once()
            self._end_process()
        return self._start_once()

    def _start_once(self) -> None:
        names = (*PLAIN, *(TLS if self._options["ssl"] else ()), *(("lmtp",) if self._lmtp else ()))
        self.ports = free_ports(names)
        config = self.folder / "dovecot.conf"
        config.write_text(self._config())
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_end_with_us(), BINARY, "-F", "-c", str(config)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for name in names:
            self._wait(self.ports[name])

    def _config(self) -> str:
        root, me = os.getuid() == 0, self._owner.pw_name
        certificate = str(self._options["certificate"])
        return string.Template(TEMPLATE.read_text()).substitute(
            dict.fromkeys(TLS, 0) | self.ports,
            as_me="" if root else AS_ME.format(user=me, group=grp.getgrgid(self._owner.pw_gid).gr_name),
            no_chroot="" if root else "chroot =",
            host=HOST,
            password=self._password,
            folder=self.folder,
            cert=self.certificates.cert(certificate),
            key=self.certificates.key(certificate),
            ssl="yes" if self._options["ssl"] else "no",
            tls_listeners="yes" if self._options["ssl"] else "no",
            uid=self._owner.pw_uid,
            gid=self._owner.pw_gid,
            lock_session="yes" if self._options["lock_session"] else "no",
            extra=self._lmtp_config() + str(self._options["extra"]),
        )

    @property
    def lmtp_socket(self) -> Path:
        return self.folder / "lmtp.sock"

    def _lmtp_config(self) -> str:
        return LMTP.format(port=self.ports["lmtp"], socket=self.lmtp_socket) if self._lmtp else ""

    def _wait(self, port: int) -> None:
        """Until somebody answers on this port; OSError when Dovecot has ended or time is up."""
        deadline = time.monotonic() + START_LIMIT
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                return
            time.sleep(0.01)
        raise OSError(f"dovecot does not listen on port {port}: {self.log[-2000:]}")

    def _end_process(self) -> None:
        """By SIGKILL, since the polite way takes Dovecot a second and nothing here needs to survive."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_LIMIT)

    # ---- Mail

    def maildir(self, user: str) -> Path:
        return self.folder / "mail" / user / "Maildir"

    def seed(self, user: str, messages: Iterable[bytes], eol: bytes | None = None) -> int:
        """Adds messages to a user's inbox and returns how many. `eol` rewrites their line ends, on disk only.

        Dovecot sends CRLF throughout, and one more at the end of a message that lacks it; LIST does not count that one.
        """
        cur = self._make_maildir(user)
        before = self._seeded[user]
        for self._seeded[user], data in enumerate(messages, before + 1):
            self._write(cur, self._seeded[user], data if eol is None else _with_eol(data, eol))
        self._warm(user)
        return self._seeded[user] - before

    def forget(self, user: str) -> None:
        """Removes the user with everything."""
        shutil.rmtree(self.folder / "mail" / user, ignore_errors=True)

    def expunge(self, user: str, number: int) -> None:
        """Deletes message `number` in a session of its own, as another mail program would."""
        session = poplib.POP3(HOST, self.ports["pop3"], timeout=START_LIMIT)
        try:
            session.user(user)
            session.pass_(self._password)
            session.dele(number)
            session.quit()
        finally:
            session.close()

    def _make_maildir(self, user: str) -> Path:
        top = self.maildir(user)
        for folder in (top.parent, top, top / "cur", top / "new", top / "tmp"):
            self._own_folder(folder)
        return top / "cur"

    def _own_folder(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)

    def _write(self, cur: Path, number: int, data: bytes) -> None:
        """W is the size with CRLF throughout: what LIST says. The number keeps the order and the UIDL apart."""
        wire = len(data) + data.count(b"\n") - data.count(b"\r\n")
        second = FIRST_SECOND + number
        path = cur / f"{second}.M{number:06d}P1.test,S={len(data)},W={wire}:2,"
        path.write_bytes(data)
        os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        os.utime(path, (second, second))

    def _warm(self, user: str) -> None:
        session = poplib.POP3(HOST, self.ports["pop3"], timeout=120)
        try:
            session.user(user)
            session.pass_(self._password)
            session.uidl()
            session.list()
            session.quit()
        finally:
            session.close()


def _end_with_us() -> tuple[str, ...]:
    """A prefix by which the server ends, within seconds, when the tests are killed, where the system can do that."""
    return ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


def _with_eol(data: bytes, eol: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", eol)
