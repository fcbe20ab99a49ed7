"""The append-only log: segments of lines, appended and synced, never changed (design.md section 5).

Strategy: what is on disk is all the state there is. An append opens the last segment, writes all lines of a group with
one call and syncs; a failed write is cut off again, a failed sync breaks this object for good, since the kernel may
report the next sync of the same descriptor as a success. Reading starts at any position and yields complete lines only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailmove.archive.durable import sync_directory, sync_file, write_all
from mailmove.archive.merkle import Tree
from mailmove.errors import ArchiveDamaged, ArchiveError

SEGMENT_LIMIT = 64 * 1024 * 1024
"""Octets after which a new segment begins."""

SEGMENT = re.compile(r"[0-9]{8}\.jsonl")
"""What a segment is called; any other file is none of the log's."""

READ_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody has read: `records` lines, the last of which ends at `octets` in `segment`.

    `last_octets` and `last_hash` (sha256, hex) are those of that last line without its LF; `edge` is the right edge of
    the Merkle tree over all of them (merkle.py).
    """

    records: int = 0
    segment: int = 1
    octets: int = 0
    last_octets: int = 0
    last_hash: str = ""
    edge: bytes = b""

    @property
    def tree(self) -> Tree:
        return Tree(self.records, self.edge)


@dataclass(frozen=True, slots=True)
class Line:
    """One complete line, without its LF, and the position behind it."""

    index: int
    data: bytes
    end: Position


class Log:
    """The segments in one folder."""

    def __init__(self, folder: Path, segment_limit: int = SEGMENT_LIMIT) -> None:
        self._folder = folder
        self._limit = segment_limit
        self._broken = False

    def path(self, segment: int) -> Path:
        return self._folder / f"{segment:08d}.jsonl"

    def segments(self) -> dict[int, int]:
        """Segment number -> octets. Raises ArchiveDamaged if one is missing in between."""
        named = (p for p in self._folder.glob("[0-9]*.jsonl") if SEGMENT.fullmatch(p.name))
        found = {int(p.stem): p.stat().st_size for p in named}
        if found and sorted(found) != list(range(1, len(found) + 1)):
            missing = min(set(range(1, max(found) + 1)) - set(found))
            raise ArchiveDamaged(
                f"{self.path(missing)} is missing. Restore it from a copy, then run `mailmove verify`."
            )
        return dict(sorted(found.items()))

    def append(self, lines: Sequence[bytes], after: Position) -> Position:
        """Appends lines (each with its LF) durably; returns the position behind the last one.

        `after` is the position behind the log's last line. Raises OSError; then nothing of it counts as logged.
        """
        if self._broken:
            raise ArchiveError("The log could not be synced before, so nothing more is written to it; run again.")
        segment, offset = self._room(after)
        fresh = offset == 0
        fd = os.open(self.path(segment), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._write(fd, b"".join(lines), offset)
            self._sync(fd, fresh)
        finally:
            os.close(fd)
        return _after(after, [line[:-1] for line in lines], segment, offset + sum(map(len, lines)))

    def _room(self, after: Position) -> tuple[int, int]:
        return (after.segment + 1, 0) if after.octets >= self._limit else (after.segment, after.octets)

    def _write(self, fd: int, data: bytes, offset: int) -> None:
        if os.fstat(fd).st_size != offset:
            raise ArchiveDamaged(f"The log in {self._folder} changed under this run. Run `mailmove verify`.")
        try:
            write_all(fd, data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, offset)
            raise

    def _sync(self, fd: int, fresh: bool) -> None:
        try:
            sync_file(fd)
            if fresh:
                sync_directory(self._folder)
        except OSError:
            self._broken = True
            raise

    def sync_from(self, position: Position) -> None:
        """Syncs the segments from `position` on, and the folder: what a dead run left may not be durable."""
        for segment in self.segments():
            if segment >= position.segment:
                fd = os.open(self.path(segment), os.O_RDWR)
                try:
                    sync_file(fd)
                finally:
                    os.close(fd)
        sync_directory(self._folder)

    def read(self, position: Position = Position()) -> Iterator[Line]:
        """Complete lines behind `position`, oldest first. Raises ArchiveDamaged if a segment but the last is torn."""
        segments = self.segments()
        end = position
        for segment, octets in segments.items():
            if segment < position.segment:
                continue
            start = position.octets if segment == position.segment else 0
            for data, offset in _lines(self.path(segment), start):
                end = _after(end, [data], segment, offset)
                yield Line(end.records - 1, data, end)
            complete = end.octets if end.segment == segment else start
            if complete < octets and segment < max(segments):
                raise ArchiveDamaged(f"{self.path(segment)} ends in the middle of a line. Run `mailmove verify`.")

    def torn_tail(self, end: Position) -> tuple[Path, int]:
        """The last segment, and how many octets of it follow its last complete line, `end` being behind that line."""
        segments = self.segments()
        last = max(segments, default=1)
        whole = end.octets if end.segment == last else 0
        return self.path(last), segments.get(last, 0) - whole

    def cut(self, end: Position) -> bytes:
        """Cuts an incomplete last line off durably and returns it (b"" if there is none)."""
        path, octets = self.torn_tail(end)
        if octets <= 0:
            return b""
        with path.open("r+b") as segment:
            segment.seek(-octets, os.SEEK_END)
            torn = segment.read()
            segment.seek(-octets, os.SEEK_END)
            segment.truncate()
            sync_file(segment.fileno())
        return torn

    def holds(self, position: Position) -> bool:
        """Whether the log still has what was read up to `position`: its length, and the very last line."""
        if position.records == 0:
            return True
        if self.segments().get(position.segment, -1) < position.octets:
            return False
        with self.path(position.segment).open("rb") as segment:
            segment.seek(position.octets - position.last_octets - 1)
            line = segment.read(position.last_octets + 1)
        return line[-1:] == b"\n" and hashlib.sha256(line[:-1]).hexdigest() == position.last_hash


def _after(before: Position, lines: Sequence[bytes], segment: int, offset: int) -> Position:
    """The position behind these lines, without their LF, the last of which ends at `offset`."""
    tree, last = before.tree.extended(lines), lines[-1]
    return Position(tree.size, segment, offset, len(last), hashlib.sha256(last).hexdigest(), tree.edge)


def _lines(path: Path, start: int) -> Iterator[tuple[bytes, int]]:
    """Complete lines of a file from `start` on, without their LF, each with the offset behind it."""
    with path.open("rb", buffering=READ_BLOCK) as segment:
        segment.seek(start)
        offset = start
        for line in segment:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield line[:-1], offset
