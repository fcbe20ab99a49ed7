"""Reading messages back: never an octet that does not hash to the file's name.

Strategy: a small message is read whole and hashed; a large one is hashed in one pass and read again in pieces, the last
of which is held back until the hash of all of them is right. So whoever sends what comes from here cannot complete a
message that was altered on the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from mailmove.archive.layout import Layout
from mailmove.archive.store import sound
from mailmove.errors import ArchiveDamaged
from mailmove.model import Digest

PIECE = 256 * 1024


def is_sound(layout: Layout, digest: Digest) -> bool:
    """Whether the message's file is there and hashes to its name."""
    try:
        return sound(layout, digest)
    except OSError:
        return False


def read_message(layout: Layout, digest: Digest) -> bytes:
    """The exact octets. Raises ArchiveDamaged."""
    return b"".join(pieces(layout, digest))


def pieces(layout: Layout, digest: Digest) -> Iterator[bytes]:
    """The exact octets, piece by piece. Raises ArchiveDamaged before the last one if they do not hash right."""
    path = layout.message_name(digest)
    seen, held = hashlib.sha256(), b""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs as much as the opening
            while piece := file.read(PIECE):
                if held:
                    yield held
                seen.update(piece)
                held = piece
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    if seen.hexdigest() != digest:
        raise _damaged(path, "does not hash to its name")
    if held:
        yield held


def _damaged(path: str, what: str) -> ArchiveDamaged:
    return ArchiveDamaged(f"{path} {what}; `mailmove verify` names everything that is damaged.")
