"""log/ts/: checkpoints that an authority has time-stamped, each beside its token (RFC 3161).

Strategy: what is stamped are the octets of a checkpoint file, and that very file is kept as N.checkpoint, N being its
number of records, beside the authority's answer as it came, N.tsr: so `openssl ts -verify -data N.checkpoint -in N.tsr`
needs nothing of ours. Both are written under a name of their own and renamed; one that is there is never replaced. The
log itself is not touched: a record of the stamp would be behind the checkpoint it is about.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mailmove.archive.checkpoint import Checkpoint, read_checkpoint
from mailmove.archive.durable import sync_directory, write_durably
from mailmove.archive.layout import Layout
from mailmove.archive.merkle import Tree
from mailmove.archive.reader import Reader
from mailmove.errors import ArchiveDamaged, UsageError

FOLDER = "ts"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Stamp:
    """The two files of one time stamp, there or not."""

    checkpoint: Path
    token: Path

    @property
    def name(self) -> str:
        """Of the token, as people are told: log/ts/N.tsr."""
        return f"log/{FOLDER}/{self.token.name}"


def stamp_of(layout: Layout, records: int) -> Stamp:
    """Where the time stamp of a checkpoint over so many records is kept."""
    folder = layout.log / FOLDER
    return Stamp(folder / f"{records}.checkpoint", folder / f"{records}.tsr")


def stamps(layout: Layout) -> list[Stamp]:
    """All that are kept, oldest checkpoint first. Raises OSError."""
    names = [path.stem for path in (layout.log / FOLDER).glob("*.tsr")]
    return [stamp_of(layout, number) for number in sorted(int(name) for name in names if _NUMBER.fullmatch(name))]


def keep(stamp: Stamp, checkpoint: bytes, token: bytes) -> None:
    """Makes both files durable, the token last: without it, nothing is stamped. Raises OSError."""
    folder = stamp.token.parent
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_directory(folder.parent)
    for path, data in ((stamp.checkpoint, checkpoint), (stamp.token, token)):
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")  # two may be stamping at once
        write_durably(draft, data)
        draft.replace(path)
    sync_directory(folder)


def own_checkpoint(reader: Reader) -> tuple[Checkpoint, bytes]:
    """The archive's checkpoint and its octets, which the log bears out. Raises ArchiveDamaged, UsageError, OSError."""
    path = reader.layout.log / "checkpoint"
    data = read_checkpoint(reader.layout.log)
    if data is None:
        raise UsageError(f"{reader.layout.root} has no checkpoint yet; the next pull writes one.")
    try:
        found = Checkpoint.parse(data)
    except ValueError as error:
        raise ArchiveDamaged(f"{path} is damaged: {error}. Run `mailmove verify`.") from error
    if found.archive_id != reader.id or _root_now(reader, found.size) != found.root:
        raise ArchiveDamaged(f"{path} is not what the log says, so it was not stamped. Run `mailmove verify`.")
    return found, data


def _root_now(reader: Reader, records: int) -> bytes | None:
    """The root over so many records; what the catalogue has read of them is not read again if that will do."""
    tree = reader.tree()
    return tree.root if tree.size == records else _roots(reader, {records}).get(records)


def bears_out(reader: Reader, checkpoints: Mapping[int, Checkpoint]) -> dict[int, bool]:
    """For checkpoints by their number of records: whether the log begins with those they name. Reads the log once.

    Raises ArchiveDamaged, OSError.
    """
    roots = _roots(reader, checkpoints)
    return {size: roots.get(size) == checkpoint.root for size, checkpoint in checkpoints.items()}


def _roots(reader: Reader, sizes: Iterable[int]) -> dict[int, bytes]:
    """The root over the first so many records of the log, for each size."""
    left, found = set(sizes), {0: Tree().root}
    left.discard(0)
    for line in reader.log.read() if left else ():
        if line.end.records in left:
            found[line.end.records] = line.end.tree.root
            left.discard(line.end.records)
            if not left:
                break
    return found
