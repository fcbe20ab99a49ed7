"""Message files: drafts in tmp/, then a group of them made durable under their final names (design.md section 5).

Strategy: no file gets its final name before its octets are synced. The file `tmp/<run>.group` lists the digests about
to be renamed, so that after a crash a file without a log record is known to be a leftover of ours. Steps 1 to 4 of the
write order are here and in drafts.py; log and catalogue are not this module's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from mailmove.archive.drafts import Draft, Writer
from mailmove.archive.durable import FileSyncer, Syncer, SystemSyncer, choose_syncer, write_all
from mailmove.archive.layout import SHARD, Layout
from mailmove.archive.records import checked_digest
from mailmove.message import HEADER_LIMIT, header_section
from mailmove.model import Digest, RunId

T = TypeVar("T")


def _nothing() -> Any:
    return None


class Store:
    """Writes message files for one run."""

    def __init__(self, layout: Layout, run: RunId, syncer: Syncer | None = None) -> None:
        self._layout = layout
        self._run = run
        self._syncer: Syncer = syncer or choose_syncer(layout.root)
        self._retired: list[Syncer] = []
        self._writer = Writer()
        self._drafts = 0
        self._tmp, self._mail = layout.tmp, layout.mail
        self._shards: set[str] = set()

    @property
    def group_file(self) -> Path:
        return self._layout.tmp / f"{self._run}.group"

    def draft(self) -> Draft:
        """A new, empty draft. Raises OSError."""
        self._syncer.begin()
        self._drafts += 1
        return Draft(f"{self._tmp}/{self._run}-{self._drafts}", self._syncer)

    def finish(self, draft: Draft) -> None:
        """All octets of a draft are in."""
        draft.finish()
        if draft.waits:
            self._writer.hand(draft)

    def settle(self, drafts: Sequence[Draft], meanwhile: Callable[[], T] = _nothing) -> T:
        """Makes finished drafts durable under their final names: steps 1 to 4 of the write order. Raises OSError.

        `meanwhile` is called while the disk is busy with the octets; what it returns is returned. The syncer is the one
        the first of them was begun with: it has seen every error since, and a syncfs covers those begun after a change.
        """
        syncer = drafts[0].syncer
        self._writer.wait()
        if failure := next((draft.failure for draft in drafts if draft.failure), None):
            raise failure
        group = self._write_group(draft.digest for draft in drafts)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="mailmove-settle") as disk:
                fds = [*(draft.fd for draft in drafts), group]
                synced = disk.submit(syncer.files, fds, self._layout.tmp)
                result = meanwhile()
            synced.result()
        finally:
            os.close(group)
        for draft in drafts:
            draft.close()
        syncer.directories(self._rename(drafts))
        return result

    def finish_group(self) -> None:
        """The group is logged and catalogued: its list is no longer needed."""
        self.group_file.unlink(missing_ok=True)
        if isinstance(self._syncer, SystemSyncer) and self._syncer.too_slow:
            self._retired.append(self._syncer)  # messages begun with it may still be on their way
            self._syncer = FileSyncer()

    def close(self) -> None:
        self._writer.close()
        for syncer in (self._syncer, *self._retired):
            syncer.close()

    def _write_group(self, digests: Iterable[Digest]) -> int:
        fd = os.open(self.group_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        write_all(fd, "".join(f"{digest}\n" for digest in digests).encode("ascii"))
        return fd

    def _rename(self, drafts: Sequence[Draft]) -> Iterable[str]:
        """Always over an existing file: that heals a damaged one. Returns the folders whose names changed."""
        touched: dict[str, None] = {}
        mail = str(self._mail)
        for draft in drafts:
            shard = f"{mail}/{draft.digest[:SHARD]}"
            if shard not in self._shards and self._make_shard(shard):
                touched[mail] = None
            touched[shard] = None
            os.replace(draft.name, f"{shard}/{draft.digest}.eml")  # noqa: PTH105 - this runs for every message
        return touched

    def _make_shard(self, shard: str) -> bool:
        """Whether it is new."""
        self._shards.add(shard)
        with contextlib.suppress(FileExistsError):
            os.mkdir(shard)  # noqa: PTH102 - a first run makes thousands
            return True
        return False


def hash_file(path: Path) -> Digest | None:
    """The sha256 of a file's octets, None if there is no such file. Raises OSError if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return Digest(hashlib.file_digest(file, "sha256").hexdigest())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def sound(layout: Layout, digest: Digest) -> bool:
    """Whether the message's file is there and hashes to its name."""
    return hash_file(layout.message(digest)) == digest


def sound_head(layout: Layout, digest: Digest) -> bytes | None:
    """The header section of a message file, read once; None unless it is there and hashes to its name.

    Raises OSError if it cannot be read.
    """
    try:
        with open(layout.message_name(digest), "rb", buffering=0) as file:  # noqa: PTH123 - runs for every message
            head = file.read(HEADER_LIMIT)
            octets = hashlib.sha256(head)
            while block := file.read(HEADER_LIMIT) if head else b"":
                octets.update(block)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    if octets.hexdigest() != digest:
        return None
    section = header_section(head)
    return head if section is None else section


def group_files(layout: Layout) -> list[Path]:
    return sorted(layout.tmp.glob("*.group"))


def read_group(path: Path) -> Iterator[Digest]:
    """The digests of a .group file; lines that a crash left incomplete are passed over: nothing of it was renamed."""
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().split(b"\n")[:-1]:
            with contextlib.suppress(ValueError):
                yield checked_digest(line.decode("ascii", "replace"))
