"""A real Postfix (submission and smtps) on free loopback ports in a folder of its own, and its smtp-sink.

Strategy: `master -c` with a configuration, a queue and data of ours, so nothing of a Postfix that the machine may run
is touched; only the users of Debian's package are borrowed, which takes root. Mail for DOMAIN, and from whoever has
logged in for anybody, goes into one Maildir by Postfix's own virtual(8), a file for each recipient. Who may log in is a
Dovecot's business (its auth socket), and that knows every SASL mechanism there is. All runs in a process group of its
own; only that group is ever signalled.

    with Dovecot(extra=MECHANISMS + auth_socket(path)) as dovecot, Postfix(sasl=path) as server:
        server.ports["smtp"], server.ports["smtps"], server.certificates.ca
        server.wait_for("alice@example.org", 3)     # the three messages, as they were delivered

The local part decides what becomes of a recipient: `unknown…` 550 5.1.1, `later…` 450 4.2.0, anything else is taken.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import certs
from tests.servers.dovecot import free_ports
from tests.support.client import HOST

DAEMONS = Path("/usr/lib/postfix/sbin")
MASTER = DAEMONS / "master"
SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin:/usr/local/sbin") or ""
USER, GROUP, NOBODY = "postfix", "postdrop", "nobody"
DOMAIN = "example.org"
START_LIMIT, STOP_LIMIT, DELIVERY_LIMIT = 20.0, 10.0, 30.0

SETTINGS = """\
compatibility_level = 3.6
config_directory = {folder}/etc
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_protocols = ipv4
myhostname = postfix.{domain}
mydestination =
mynetworks =
local_header_rewrite_clients =
relay_domains =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
default_transport = virtual
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_recipient_restrictions = check_recipient_access regexp:{folder}/etc/access
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = {tls}
smtpd_sasl_auth_enable = {authenticates}
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_sasl_security_options = noanonymous
smtpd_sasl_tls_security_options = noanonymous
{extra}
"""
"""main.cf(5). `mynetworks`: nobody is let in for where he is. `default_transport`: nothing leaves this machine."""

SERVICES = """\
{host}:{smtp}  inet n - n - -   smtpd
{host}:{smtps} inet n - n - -   smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0   cleanup
qmgr    unix n - n 300 1 qmgr
tlsmgr  unix - - n - 1   tlsmgr
rewrite unix - - n - -   trivial-rewrite
bounce  unix - - n - 0   bounce
defer   unix - - n - 0   bounce
trace   unix - - n - 0   bounce
error   unix - - n - -   error
retry   unix - - n - -   error
discard unix - - n - -   discard
virtual unix - n n - -   virtual
anvil   unix - - n - 1   anvil
postlog unix-dgram n - n - 1 postlogd
"""
"""master.cf(5)."""

ACCESS = """\
/^unknown/ 550 5.1.1 There is no such user here
/^later/   450 4.2.0 The mailbox is locked, try again later
"""
"""regexp_table(5)."""

QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "hold", "incoming", "private", "saved", "trace")


def missing() -> str:
    """Why no Postfix can be started here, or ""."""
    if not MASTER.exists():
        return "postfix is not installed (Debian: apt install postfix)"
    if os.getuid() != 0:
        return "postfix is here, but only root can start it"
    try:
        pwd.getpwnam(USER), grp.getgrnam(GROUP)
    except KeyError as error:
        return f"postfix is here, but not its user or group ({error})"
    return certs.missing()


def sink_missing() -> str:
    """Why no smtp-sink can be started here, or ""."""
    return "" if SINK else "smtp-sink is not installed (Debian: apt install postfix)"


def version() -> str:
    said = subprocess.run(["postconf", "-d", "-h", "mail_version"], capture_output=True, text=True, check=False).stdout
    return said.strip() or "?"


def auth_socket(path: Path) -> str:
    """For a Dovecot's configuration: where it answers a Postfix that asks who may log in."""
    return f"service auth {{\n unix_listener {path} {{\n mode = 0666\n }}\n }}\n"


class _Server:
    """A process in a folder of its own, and in a group of its own."""

    def __init__(self, kind: str) -> None:
        # Not pytest's tmp_path: the server is another user and must be able to walk to its folder.
        self.folder = Path(tempfile.mkdtemp(prefix=f"mailmove-{kind}-"))
        self.folder.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}

    def start(self) -> Self:
        try:
            self._prepare()
            self._start_with_free_ports()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self._end_process()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _prepare(self) -> None:
        """What does not depend on ports."""

    def _command(self) -> Sequence[str | Path]:
        """Chooses `ports`; what to run."""
        raise NotImplementedError

    def _start_with_free_ports(self) -> None:
        """Again with others when somebody took one between our choosing and its binding."""
        for _ in range(2):
            with contextlib.suppress(OSError):
                return self._start_once()
            self._end_process()
        return self._start_once()

    def _start_once(self) -> None:
        command = self._command()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_end_with_us(), *command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait(self.ports["smtp"])

    def _wait(self, port: int) -> None:
        """Until it is ready; OSError when it has ended, is somebody else, or time is up."""
        deadline = time.monotonic() + START_LIMIT
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                return self._look(port)
            time.sleep(0.01)
        raise OSError(f"nobody answers on port {port}: {self.log[-2000:]}")

    def _look(self, port: int) -> None:
        """Raises OSError unless the server is ready."""
        socket.create_connection((HOST, port), START_LIMIT).close()

    def _end_process(self) -> None:
        """By SIGKILL, since nothing here needs to survive."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_LIMIT)


class Postfix(_Server):
    """One server: ports "smtp" (STARTTLS, unless `tls` is off) and "smtps".

    `sasl`: the auth socket of a Dovecot (`auth_socket`); without it there is no AUTH. `certificate` is one of
    certs.KINDS. `extra`: more lines for main.cf, which win over ours.
    """

    def __init__(
        self, *, sasl: Path | None = None, certificate: str = "good", tls: bool = True, extra: str = ""
    ) -> None:
        super().__init__("postfix")
        self._sasl, self._certificate, self._tls, self._extra = sasl, certificate, tls, extra
        self._delivered: dict[str, bytes] = {}
        self.certificates = certs.Certificates(self.folder / "tls")

    def wait_for(self, recipient: str, messages: int) -> list[bytes]:
        """What was delivered to `recipient`, as soon as it is so many: with the fields that Postfix puts above it, and
        the line ends it stores, LF. AssertionError if they do not come, or if more are there.
        """
        deadline = time.monotonic() + DELIVERY_LIMIT
        while len(self.mail(recipient)) < messages and time.monotonic() < deadline:
            time.sleep(0.02)
        found = self.mail(recipient)
        assert len(found) == messages, f"{len(found)} messages for {recipient}, not {messages}: {self.log[-2000:]}"
        return found

    def mail(self, recipient: str) -> list[bytes]:
        """What has been delivered to `recipient` so far."""
        for path in sorted((self.folder / "mail" / "all" / "new").glob("*")):
            if path.name not in self._delivered:
                self._delivered[path.name] = path.read_bytes()
        field = f"\nDelivered-To: {recipient}\n".encode()
        return [octets for octets in self._delivered.values() if field in octets.partition(b"\nReceived: ")[0] + b"\n"]

    def _prepare(self) -> None:
        certs.make(self.certificates.folder)
        owner, group = pwd.getpwnam(USER), grp.getgrnam(GROUP)
        for name in ("etc", "queue", "queue/pid"):
            (self.folder / name).mkdir()
        for name in ("data", *(f"queue/{queue}" for queue in QUEUES)):
            _make(self.folder / name, 0o700, owner.pw_uid)
        _make(self.folder / "queue/maildrop", 0o730, owner.pw_uid, group.gr_gid)
        _make(self.folder / "queue/public", 0o710, owner.pw_uid, group.gr_gid)
        nobody = pwd.getpwnam(NOBODY)
        _make(self.folder / "mail", 0o700, nobody.pw_uid, nobody.pw_gid)

    def _command(self) -> Sequence[str | Path]:
        self.ports = free_ports(["smtp", "smtps"])
        for name, text in self._files().items():
            (self.folder / "etc" / name).write_text(text)
        return [MASTER, "-c", self.folder / "etc", "-s"]

    def _look(self, port: int) -> None:
        _greeted(port)

    def _files(self) -> dict[str, str]:
        nobody = pwd.getpwnam(NOBODY)
        settings = SETTINGS.format(
            folder=self.folder,
            daemons=DAEMONS,
            domain=DOMAIN,
            uid=nobody.pw_uid,
            gid=nobody.pw_gid,
            cert=self.certificates.cert(self._certificate),
            key=self.certificates.key(self._certificate),
            tls="may" if self._tls else "none",
            authenticates="yes" if self._sasl else "no",
            sasl=self._sasl or "none",
            extra=self._extra,
        )
        services = SERVICES.format(host=HOST, **self.ports)
        return {"main.cf": settings, "master.cf": services, "access": ACCESS}


class Sink(_Server):
    """smtp-sink(1): takes mail and keeps none of it, or with `keep` a file for each message.

    `lmtp`: it speaks LMTP. `options`: more of its own, like `-p` (no PIPELINING) or `-r ".,RCPT"` (soft refusals).
    """

    def __init__(self, *options: str, lmtp: bool = False, keep: bool = False) -> None:
        super().__init__("sink")
        self._options, self._lmtp, self._keep = options, lmtp, keep

    @property
    def kept(self) -> list[bytes]:
        """Every message with what smtp-sink puts above it (X-Mail-Args, X-Rcpt-Args …) and its line ends, LF."""
        return [path.read_bytes() for path in sorted((self.folder / "kept").glob("*"))]

    def _prepare(self) -> None:
        nobody = pwd.getpwnam(NOBODY) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        _make(self.folder / "kept", 0o700, nobody.pw_uid)

    def _command(self) -> Sequence[str | Path]:
        self.ports = free_ports(["smtp"])
        user = ("-u", NOBODY) if os.getuid() == 0 else ()
        keep = ("-d", str(self.folder / "kept" / "%s.")) if self._keep else ()
        lmtp = ("-L",) if self._lmtp else ()
        return [SINK, *user, *lmtp, *keep, *self._options, f"{HOST}:{self.ports['smtp']}", "100"]


def _make(folder: Path, mode: int, owner: int, group: int = -1) -> None:
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, group)


def _greeted(port: int) -> None:
    """Raises OSError."""
    with socket.create_connection((HOST, port), START_LIMIT) as session, session.makefile("rb") as answers:
        greeting = answers.readline()
    if not greeting.startswith(b"220 "):
        raise OSError(f"not the greeting of a mail server: {greeting!r}")


def _end_with_us() -> tuple[str, ...]:
    """A prefix by which the server ends when the tests are killed. By SIGTERM: a master then ends the others too."""
    return ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
