"""log/checkpoint: what the log is, in three lines that can be kept elsewhere (design.md section 5).

Strategy: origin, number of records and root, the body of a C2SP tlog-checkpoint without a signature. A log only grows,
so a checkpoint stays true for ever: the tree over as many records as it names has its root, or the log was rewritten.
It is written when a run has ended; one that a crash left behind by a run is older, not wrong.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from mailmove.archive.durable import write_durably
from mailmove.archive.merkle import HASH_OCTETS, Tree

NAME = "checkpoint"
_ORIGIN = re.compile(r"mailmove/([0-9a-zA-Z-]{1,64})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `size` records of an archive's log have this root (RFC 6962 section 2.1, 32 octets)."""

    archive_id: str
    size: int
    root: bytes

    @classmethod
    def of(cls, archive_id: str, tree: Tree) -> Checkpoint:
        return cls(archive_id, tree.size, tree.root)

    @classmethod
    def parse(cls, data: bytes) -> Checkpoint:
        """The checkpoint in a file; what follows the three lines (signatures) is for others. Raises ValueError."""
        lines = data.decode("utf-8", "replace").split("\n")
        origin = _ORIGIN.fullmatch(lines[0]) if len(lines) >= 3 else None
        if origin is None or not _SIZE.fullmatch(lines[1]):
            raise ValueError("it does not consist of an origin, a number of records and a root")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (binascii.Error, ValueError):
            root = b""
        if len(root) != HASH_OCTETS:
            raise ValueError("its third line is no root in base64")
        return cls(origin[1], int(lines[1]), root)

    def text(self) -> str:
        """The three lines."""
        return f"mailmove/{self.archive_id}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def read_checkpoint(log: Path) -> bytes | None:
    """The octets of an archive's own checkpoint, None if it has none yet. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        return (log / NAME).read_bytes()
    return None


def write_checkpoint(log: Path, checkpoint: Checkpoint) -> None:
    """Durably, by rename. Raises OSError."""
    write_durably(log / NAME, checkpoint.text().encode("ascii"))
