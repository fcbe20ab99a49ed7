"""A real pymap: an IMAP server in Python, in memory, as a process of its own on a free loopback port.

    with Pymap() as server:
        server.port, USER, PASSWORD

Strategy: it knows one user, so tests that share it use mailboxes of their own. It forgets everything when it ends, and
only the process that was started here is ever signalled.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from tests.servers.dovecot import free_ports
from tests.support.client import HOST, PASSWORD

USER = "alice"
START_LIMIT, STOP_LIMIT = 20.0, 10.0
RUN = "import gc, sys; gc.disable(); from pymap.main import main; sys.argv[0] = 'pymap'; sys.exit(main())"
"""Without the collector, for in CPython 3.13.0 it takes away the tasks that serve pymap's connections."""


def missing() -> str:
    """Why no pymap can be started here, or ""."""
    return "" if importlib.util.find_spec("pymap") else "pymap is not installed (pip install 'mailmove[test]')"


class Pymap:
    """One server, in plaintext. Its UIDs begin at 101."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.port = free_ports(["imap"])["imap"]
        where = ("--no-tls", "--host", HOST, "--port", str(self.port))
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUN, *where, "dict", "--demo-user", USER, "--demo-password", PASSWORD],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
                return
            time.sleep(0.01)
        raise OSError(f"pymap does not listen on port {self.port}")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_LIMIT)
