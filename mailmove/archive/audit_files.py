"""Holds the message files against their names, shard by shard (a shard: the messages of one folder of mail/).

Strategy: a few threads read and hash whole shards ahead, since hashing and waiting for the disk need no interpreter;
what they found is told in the order in which the shards were given, so a report does not depend on who was faster.
Memory: one block a thread, and what was found in a handful of shards. A file is read once: its header section is held
against what archive.db says of it on the way. Files that no record claims are looked at last, one by one, since a run
under way may have recorded them meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailmove.archive import audit_catalogue
from mailmove.archive.audit_catalogue import Description, contradiction
from mailmove.archive.audit_folder import is_dropped, stranger
from mailmove.archive.audit_log import LogAudit
from mailmove.archive.findings import Finding
from mailmove.archive.layout import SHARD, Layout
from mailmove.archive.store import group_files, read_group
from mailmove.message import HEADER_LIMIT, header_section, read_headers
from mailmove.model import Digest

WORKERS = min(4, os.cpu_count() or 1)
AHEAD = 2 * WORKERS
"""Shards that are read before what was found in the first of them is told."""

BEHIND = "g"
"""Follows every hex digit."""

_NAME = re.compile(r"[0-9a-f]{64}\.eml")
_SHARD = re.compile(f"[0-9a-f]{{{SHARD}}}")
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe put there must not hold us up
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that the log tells of, and what archive.db says of its headers, if it was asked."""

    digest: Digest
    octets: int
    described: Description | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of one claim: its octets if they are proven, and what is wrong, if anything."""

    octets: int | None
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """One folder of mail/ as it was when its turn came: what must be in it, and what else is."""

    name: str
    claims: list[Claim]
    unclaimed: list[str]


def is_shard(name: str) -> bool:
    """Whether a folder of mail/ has the name of one of ours."""
    return _SHARD.fullmatch(name) is not None


class Files:
    """The files of one archive, held against a log that was read before."""

    def __init__(self, layout: Layout, log: LogAudit, check: Callable[[], None]) -> None:
        self._layout = layout
        self._mail = str(layout.mail)
        self._log = log
        self._check = check
        self._stop = threading.Event()
        self._memory = threading.local()

    def entries(self) -> dict[str, bool]:
        """The names in mail/, and whether each is a folder. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._layout.mail) as found:
            return {entry.name: entry.is_dir() for entry in found}
        return {}

    def prove(self, shards: Iterable[str]) -> Iterator[tuple[str, list[Proof]]]:
        """(shard, what was found in it) in the order given; `shards` is asked for more while others are read."""
        waiting = deque[tuple[Shard, Future[list[Proof]]]]()
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="mailmove-verify") as pool:
            try:
                for name in shards:
                    self._check()
                    shard = self._open(name)
                    waiting.append((shard, pool.submit(self._prove_all, shard.claims)))
                    if len(waiting) > AHEAD:
                        yield self._settled(*waiting.popleft())
                while waiting:
                    self._check()
                    yield self._settled(*waiting.popleft())
            finally:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _open(self, name: str) -> Shard:
        names, claims = set[str](), self._claims(name, name + BEHIND)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names.update(os.listdir(f"{self._mail}/{name}"))  # noqa: PTH208 - names only
        return Shard(name, claims, sorted(names - {f"{claim.digest}.eml" for claim in claims}))

    def _claims(self, first: str, behind: str) -> list[Claim]:
        """Messages that the log tells of, with digests from `first` to just before `behind`."""
        return [Claim(*row) for row in audit_catalogue.claims(self._log.expected, first, behind)]

    def _settled(self, shard: Shard, proofs: Future[list[Proof]]) -> tuple[str, list[Proof]]:
        found = proofs.result()
        if shard.unclaimed:
            found = [*found, *self._unclaimed(self._layout.mail / shard.name, shard.unclaimed)]
        return shard.name, found

    # ---- files that the log tells of; in a thread

    def _prove_all(self, claims: list[Claim]) -> list[Proof]:
        block = getattr(self._memory, "block", None)
        if block is None:
            block = self._memory.block = bytearray(HEADER_LIMIT)
        proofs = []
        for claim in claims:
            if self._stop.is_set():  # nobody waits for it any more
                break
            proofs.append(self._prove(claim, block))
        return proofs

    def _prove(self, claim: Claim, block: bytearray) -> Proof:
        shown = f"mail/{claim.digest[:SHARD]}/{claim.digest}.eml"
        try:
            found, head = _hash(self._layout.message_name(claim.digest), block)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return Proof(None, Finding("missing", shown, "the log tells of it, and the file is not there"))
        except OSError as error:
            return Proof(None, Finding("damaged", shown, f"cannot be read: {error.strerror}"))
        if found != claim.digest:
            return Proof(None, Finding("damaged", shown, f"its content hashes to {found}"))
        if claim.described is None or _told_rightly(claim.described, head):
            return Proof(claim.octets)
        reason = f"does not say of {shown} what its headers do; {audit_catalogue.REMEDY}"
        return Proof(claim.octets, Finding("catalogue", "archive.db, table messages", reason))

    # ---- files that it does not tell of

    def strays(self, names: Iterable[str]) -> Iterator[Finding]:
        """What is in mail/ and is no shard, file by file."""
        for name in sorted(names):
            path = self._layout.mail / name
            found = sorted(path.iterdir()) if path.is_dir() and not is_dropped(name) else [path]
            for extra in found:
                yield stranger(self.shown(extra), extra.name, "no log record tells of it")

    def _unclaimed(self, folder: Path, names: list[str]) -> Iterator[Proof]:
        about_to_be = {digest for group in group_files(self._layout) for digest in read_group(group)}
        yield from (Proof(None, finding) for finding in self._log.read_on())
        for name in names:
            path, block = folder / name, bytearray(HEADER_LIMIT)
            digest = Digest(path.stem) if _NAME.fullmatch(name) and name.startswith(folder.name) else None
            claims = self._claims(digest, digest + BEHIND) if digest else []
            if claims:
                yield self._prove(claims[0], block)
            elif digest in about_to_be and _hashes_to(path, digest, block):
                reason = "of an unfinished run; adopted when its message comes in again"
                yield Proof(None, Finding("leftover", self.shown(path), reason))
            elif os.path.lexists(path):
                yield Proof(None, stranger(self.shown(path), name, "no log record tells of it"))

    def shown(self, path: Path) -> str:
        return path.relative_to(self._layout.root).as_posix()


def _hash(path: Path | str, block: bytearray) -> tuple[str, bytes]:
    """The sha256 of a file's octets, and the first block of them. Raises OSError."""
    with open(path, "rb", buffering=0, opener=_open) as file:
        view = memoryview(block)
        size = _fill(file, view)
        head, octets = bytes(view[:size]), hashlib.sha256(view[:size])
        while size == len(view):
            size = _fill(file, view)
            octets.update(view[:size])
    return octets.hexdigest(), head


def _open(path: str, flags: int) -> int:
    """For `open`, which closes the descriptor again where it finds a folder."""
    return os.open(path, _READ)


def _fill(file: io.FileIO, view: memoryview) -> int:
    """Reads until the block is full or the file ends; a single read may be short."""
    size = 0
    while size < len(view) and (more := file.readinto(view[size:])):
        size += more
    return size


def _hashes_to(path: Path, digest: Digest | None, block: bytearray) -> bool:
    try:
        return _hash(path, block)[0] == digest
    except OSError:
        return False


def _told_rightly(described: Description, head: bytes) -> bool:
    section = header_section(head)
    return not contradiction(described, read_headers(head if section is None else section, _ANY_TIME)[0])
