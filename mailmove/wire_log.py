"""The file of --wire-log: what crosses the wire, a line each, with time and direction.

Strategy: who knows the protocol masks secrets and leaves message bodies out before a line comes here; this module only
writes. Each line is one write to the end of the file, so that nothing is lost when we are killed and several sessions
can share it. No control character of a server's gets into it. A log that cannot be written any more, as on a full disk,
ends silently, since a job is worth more than its log.

    2026-08-31T12:00:00.123Z 1 C: USER ***
    2026-08-31T12:00:00.145Z 1 S: +OK
"""

from __future__ import annotations

import contextlib
import itertools
import os
from datetime import UTC, datetime
from pathlib import Path

from mailmove.errors import ConfigurationError
from mailmove.model import Transcript

OWNER_ONLY = 0o600


class WireLog:
    """One file, for any number of sessions."""

    def __init__(self, path: Path) -> None:
        """Makes the file, readable by its owner only, or goes on at its end. Raises ConfigurationError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        try:
            self._file = os.open(path, flags, OWNER_ONLY)
        except OSError as error:
            raise ConfigurationError(f"The wire log {path} cannot be written: {error.strerror}.") from error
        self._sessions = itertools.count(1)

    def session(self, peer: str) -> Transcript:
        """Where the next session with `peer` is to be written to; its lines carry its number."""
        number = next(self._sessions)

        def write(direction: str, line: str) -> None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            text = f"{now} {number} {direction}: {_printable(line)}\n"
            with contextlib.suppress(OSError):
                os.write(self._file, text.encode("utf-8", "backslashreplace"))

        write("-", f"connecting to {peer}")
        return write

    def close(self) -> None:
        """Nothing can be written after this."""
        os.close(self._file)


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
