"""Where archive.db and the lock live when they cannot live in the archive (design.md section 5, --state-dir).

Strategy: SQLite's WAL and locks need a local disk. On a network file system, or when asked, the state goes to a folder
of this machine's user, found by the archive's id; the archive then holds a file `writer` that names the one machine
whose state counts, so that a second machine does not write beside it.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from mailmove.archive.durable import is_network, write_durably
from mailmove.errors import ArchiveElsewhere


@dataclass(frozen=True, slots=True)
class Writer:
    """The machine whose state folder counts for an archive."""

    machine: str
    host: str
    state: str

    def text(self) -> str:
        return f"machine {self.machine}\nhost {self.host}\nstate {self.state}\n"

    @classmethod
    def read(cls, path: Path) -> Writer | None:
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            facts = dict(line.split(" ", 1) for line in lines if " " in line)
            return cls(facts.get("machine", ""), facts.get("host", ""), facts.get("state", ""))
        return None


def user_state() -> Path:
    """The folder for this user's state on this machine."""
    return Path(platformdirs.user_state_path("mailmove", appauthor=False))


def machine_id() -> str:
    """A random id of this machine and user, made at first use."""
    path = user_state() / "machine-id"
    with contextlib.suppress(FileNotFoundError):
        if found := path.read_text(encoding="ascii").strip():
            return found
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, secrets.token_hex(16).encode("ascii") + b"\n")
    return path.read_text(encoding="ascii").strip()


def find_state(root: Path, archive_id: str, state_dir: Path | None) -> Path:
    """Where the state of an archive is, for a reader: nothing is checked or made."""
    writer = Writer.read(root / "writer")
    if state_dir is None and writer is None and not is_network(root):
        return root
    if state_dir is None and writer is not None and writer.state and writer.machine == _known_machine():
        return Path(writer.state)
    return (state_dir or user_state()).absolute() / archive_id


def claim_state(root: Path, archive_id: str, state_dir: Path | None, *, take_over: bool) -> Path:
    """Where the state of an archive is, for the writer, made when missing.

    Raises ArchiveElsewhere if another machine writes to this archive, unless `take_over`.
    """
    state = find_state(root, archive_id, state_dir)
    if state == root:
        return root
    writer = Writer.read(root / "writer")
    if writer is not None and writer.machine != machine_id() and not take_over:
        raise ArchiveElsewhere(
            f"{root} is written by the machine {writer.host or '(unnamed)'}; run there, or if that machine will never "
            "write to it again, give --take-over."
        )
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return state


def record_writer(root: Path, state: Path) -> None:
    """Says in the archive who writes to it and where the state is, for readers and other machines. Under the lock."""
    ours = Writer(machine_id(), platform.node(), str(state))
    if state != root and Writer.read(root / "writer") != ours:
        write_durably(root / "writer", ours.text().encode("utf-8"))


def _known_machine() -> str:
    with contextlib.suppress(OSError):
        return (user_state() / "machine-id").read_text(encoding="ascii").strip()
    return ""
