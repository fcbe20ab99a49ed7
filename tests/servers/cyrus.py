"""A real Cyrus (IMAP and LMTP) on free loopback ports, in a folder of its own.

Strategy: Debian's programs with two configuration files of ours, so nothing of a Cyrus that the machine may run is
touched. cyrus-common is installed as it comes; cyrus-imapd excludes dovecot-imapd, so tests/run only unpacks it. Any
user name is accepted with any password, and has an inbox from its first login or its first message on. All runs as the
package's user where we are root, else as us, in a process group of its own; only that group is ever signalled.

What it does otherwise than Dovecot: it refuses messages with NUL, bare newlines or a broken header, and, unless
`munge8bit: no` is among the `extra` lines of its imapd.conf, puts an X for every octet above 0x7F in a header. By LMTP
it says 250 to a message whose Message-ID and Date an inbox had by LMTP before, and drops it, unless
`duplicatesuppression: no` is there, too.

    with Cyrus() as server:
        server.ports["imap"], server.ports["lmtp"]
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.dovecot import free_ports
from tests.support.client import HOST

PROGRAMS = Path("/usr/lib/cyrus/bin")
UNPACKED = Path(__file__).resolve().parents[2] / ".venv-test" / "cyrus" / PROGRAMS.relative_to("/")
MASTER, RECOVER, INFO, LMTPD = (PROGRAMS / name for name in ("master", "ctl_cyrusdb", "cyr_info", "lmtpd"))
USER = "cyrus"
START_LIMIT, STOP_LIMIT = 20.0, 10.0
GREETINGS = {"imap": b"* OK", "lmtp": b"220"}

SETTINGS = """\
configdirectory: {folder}/state
defaultpartition: default
partition-default: {folder}/mail
cyrus_user: {user}
sasl_pwcheck_method: alwaystrue
sasl_mech_list: PLAIN LOGIN
allowplaintext: yes
autocreate_quota: 0
autocreate_post: yes
unixhierarchysep: yes
altnamespace: yes
virtdomains: off
{extra}
"""
"""imapd.conf(5). `autocreate_quota: 0` is what makes inboxes, without a limit; for LMTP, too, by `autocreate_post`."""

SERVICES = """\
START {{
  recover cmd="{recover} -C {settings} -r"
}}
SERVICES {{
  imap cmd="{imapd} -C {settings}" listen="{host}:{imap_port}" proto="tcp4" prefork=1
  lmtp cmd="{lmtpd} -a -C {settings}" listen="{host}:{lmtp_port}" proto="tcp4" prefork=1
}}
EVENTS {{
}}
"""
"""cyrus.conf(5). The programs do not learn from the master which imapd.conf it was given."""


def missing() -> str:
    """Why no Cyrus can be started here, or ""."""
    if not MASTER.exists():
        return "cyrus is not installed (Debian: apt install cyrus-common, then sh tests/run --setup)"
    if _imapd() is None:
        return "of cyrus only cyrus-common is here; sh tests/run --setup unpacks cyrus-imapd beside dovecot-imapd"
    if os.getuid() == 0:
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return f"cyrus is here, but not its user {USER!r}"
    return ""


def _imapd() -> Path | None:
    found = (folder / "imapd" for folder in (UNPACKED, PROGRAMS))
    return next((program for program in found if program.exists()), None)


def version() -> str:
    said = subprocess.run([INFO, "-C", "/dev/null", "version"], capture_output=True, text=True, check=False).stdout
    return said.split()[-1] if said.strip() else "?"


class Cyrus:
    """One server, in plaintext. `extra`: more lines for its imapd.conf (`suppress_capabilities: MULTIAPPEND`)."""

    def __init__(self, *, extra: str = "", folder: Path | None = None) -> None:
        # Not pytest's tmp_path: the server is another user and must be able to walk to its folder.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mailmove-cyrus-"))
        self._temporary = folder is None
        self._extra = extra
        self._owner = pwd.getpwnam(USER) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self._process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}

    def start(self) -> Self:
        self._own_folder(self.folder)
        for name in ("mail", "state", "state/socket"):
            self._own_folder(self.folder / name)
        imapd = _imapd()
        assert imapd, missing()
        shutil.copy2(imapd, self.folder)  # from where its user may not be able to walk to
        try:
            self._start_with_a_free_port()
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
        """What it says where syslog does not hear it, which is little."""
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _own_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)

    def _start_with_a_free_port(self) -> None:
        """Again with another one when somebody took it between our choosing and its binding."""
        for _ in range(2):
            with contextlib.suppress(OSError):
                return self._start_once()
            self._end_process()
        return self._start_once()

    def _start_once(self) -> None:
        self.ports = free_ports(GREETINGS)
        settings, services = self._configure()
        root = os.getuid() == 0
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_end_with_us(), MASTER, "-D", "-C", settings, "-M", services, "-p", self.folder / "state" / "pid"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._owner.pw_uid if root else None,
                group=self._owner.pw_gid if root else None,
                extra_groups=[] if root else None,
            )
        for name, port in self.ports.items():
            self._wait(port, GREETINGS[name])

    def _configure(self) -> tuple[Path, Path]:
        settings, services = self.folder / "imapd.conf", self.folder / "cyrus.conf"
        settings.write_text(SETTINGS.format(folder=self.folder, user=self._owner.pw_name, extra=self._extra))
        programs = {"recover": RECOVER, "imapd": self.folder / "imapd", "lmtpd": LMTPD}
        ports = {f"{name}_port": port for name, port in self.ports.items()}
        services.write_text(SERVICES.format(settings=settings, host=HOST, **ports, **programs))
        return settings, services

    def _wait(self, port: int, greeting: bytes) -> None:
        """Until it greets; OSError when it has ended, is somebody else, or time is up."""
        deadline = time.monotonic() + START_LIMIT
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                return _greeted(port, greeting)
            time.sleep(0.01)
        raise OSError(f"cyrus does not greet on port {port}: {self.log[-2000:]}")

    def _end_process(self) -> None:
        """By SIGKILL, since nothing here needs to survive."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_LIMIT)


def _greeted(port: int, start: bytes) -> None:
    """Raises OSError."""
    with socket.create_connection((HOST, port), START_LIMIT) as session, session.makefile("rb") as answers:
        greeting = answers.readline()
    if not greeting.startswith(start) or b"Cyrus" not in greeting:
        raise OSError(f"not the greeting of a Cyrus: {greeting!r}")


def _end_with_us() -> tuple[str, ...]:
    """A prefix by which the server ends when the tests are killed. By SIGTERM: the master then ends the others too."""
    return ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
