"""Opening after whatever happened: log, files and catalogue are made to agree (design.md section 5, "Open").

Strategy: the log decides. Records the catalogue does not know yet are taken in, each held against its file; a record of
the unfinished run without a sound file is voided, since nobody was told of it; an older one is damage and stays. A
missing catalogue is one that knows nothing yet, so rebuilding is the same walk from the start. In batches: memory does
not grow with the archive. Runs under the writer's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.durable import sync_directory, sync_file, write_durably
from mailmove.archive.layout import Layout
from mailmove.archive.log import Line, Log, Position
from mailmove.archive.merkle import Tree
from mailmove.archive.projection import NOT_UNDERSTOOD, Entry, apply
from mailmove.archive.records import Record, checked_digest, decode, encode, event
from mailmove.archive.store import group_files, read_group, read_head, sound
from mailmove.errors import ArchiveDamaged
from mailmove.message import read_headers
from mailmove.model import Digest, Headers

BATCH = 1000


@dataclass(slots=True)
class Recovered:
    """What opening found and did, for the report."""

    records: int = 0
    voided: list[Record] = field(default_factory=list)
    torn: int = 0
    leftovers: int = 0
    damaged: int = 0


class Recovery:
    """One opening of one archive."""

    def __init__(self, layout: Layout, log: Log, catalogue: Catalogue, now: datetime) -> None:
        self._layout = layout
        self._log = log
        self._catalogue = catalogue
        self._now = now
        self._start = catalogue.position
        self._found = Recovered()

    def run(self) -> Recovered:
        """Raises ArchiveDamaged if the log is shorter than, or other than, the catalogue knows; OSError."""
        self._compare_log()
        self._grow_tree()
        end = self._take_in()
        self._quarantine_torn_line(end)
        self._void(end)
        self._recheck_damaged()
        self._found.damaged = sum(1 for _ in self._catalogue.damaged())
        self._clear_tmp()
        return self._found

    # ---- (a) the log holds what the catalogue has read

    def _compare_log(self) -> None:
        on_disk = self._log.segments()
        known = self._catalogue.segments()
        for number, octets in known.items():
            last = number == self._start.segment
            if on_disk.get(number, 0) < octets or (not last and on_disk[number] != octets):
                raise _damaged_log(self._log.path(number), f"has {on_disk.get(number, 0)} octets instead of {octets}")
        if not self._log.holds(self._start):
            raise _damaged_log(self._log.path(self._start.segment), "holds other records than were written")

    def _grow_tree(self) -> None:
        """A catalogue from before there was a tree: the log is read once."""
        if self._start.tree.is_whole:
            return
        tree = Tree().extended(line.data for line in islice(self._log.read(), self._start.records))
        self._start = replace(self._start, edge=tree.edge)
        with self._catalogue.transaction():
            self._catalogue.advance(self._start)

    # ---- (c, d, e) records beyond: checked against their files, made durable, catalogued

    def _take_in(self) -> Position:
        end = self._start
        lines = self._log.read(self._start)
        while batch := list(islice(lines, BATCH)):
            try:
                self._take_in_batch(batch, end)
            except NOT_UNDERSTOOD as error:
                raise _not_understood(self._layout.log, error) from error
            end = batch[-1].end
            self._found.records += len(batch)
        return end

    def _take_in_batch(self, batch: Sequence[Line], after: Position) -> None:
        entries = [self._entry(line) for line in batch]
        self._sync(entries)
        self._log.sync_from(after)
        with self._catalogue.transaction():
            apply(self._catalogue, entries)
            for end in {line.end.segment: line.end for line in batch}.values():
                self._catalogue.advance(end)

    def _entry(self, line: Line) -> Entry:
        record = decode(line.data, f"{self._log.path(line.end.segment)}, record {line.index}")
        if record["t"] in ("add", "place"):
            return Entry(line.index, record, self._headers_if_sound(record))
        return Entry(line.index, record)

    def _headers_if_sound(self, record: Record) -> Headers | None:
        digest = checked_digest(record["digest"])
        if not sound(self._layout, digest):
            return None
        return read_headers(read_head(self._layout.message(digest)), self._now)[0]

    def _sync(self, entries: Sequence[Entry]) -> None:
        """A dead run may have died between rename and sync, so everything taken in is synced again."""
        digests = {Digest(entry.record["digest"]) for entry in entries if entry.headers is not None}
        for digest in digests:
            with self._layout.message(digest).open("rb") as file:
                sync_file(file.fileno())
        for shard in {self._layout.shard(digest) for digest in digests}:
            sync_directory(shard)
        if digests:
            sync_directory(self._layout.mail)

    # ---- (b) an incomplete last line

    def _quarantine_torn_line(self, end: Position) -> None:
        path, octets = self._log.torn_tail(end)
        if octets <= 0:
            return
        with path.open("rb") as segment:
            segment.seek(-octets, 2)
            torn = segment.read()
        name = f"{path.stem}-at-{path.stat().st_size - octets}-{self._now:%Y%m%dT%H%M%S%f}.torn"
        write_durably(self._layout.quarantine / name, torn)
        self._log.cut(end)
        self._found.torn = octets

    # ---- (c) records of the unfinished run whose file never became durable

    def _void(self, end: Position) -> None:
        """Asks the catalogue, which has them as damaged by now: an opening that was cut off here is made good too."""
        unsound = self._catalogue.damaged_places_of_unfinished_runs()
        if not unsound:
            return
        records = [
            event("void", self._now, "", record=index, digest=digest, maildrop=maildrop, unique_id=unique_id)
            for index, digest, maildrop, unique_id in unsound
        ]
        after = self._log.append([encode(record) for record in records], end)
        with self._catalogue.transaction():
            apply(self._catalogue, (Entry(end.records + n, record) for n, record in enumerate(records)))
            self._catalogue.advance(after)
        self._found.voided = records

    def _recheck_damaged(self) -> None:
        """A file that was restored by hand is sound again."""
        for digest in list(self._catalogue.damaged()):
            if sound(self._layout, digest):
                headers, _ = read_headers(read_head(self._layout.message(digest)), self._now)
                with self._catalogue.transaction():
                    self._catalogue.mark(digest, headers, damaged=False)

    def _clear_tmp(self) -> None:
        for path in self._layout.tmp.iterdir():
            if path.suffix != ".group" and path.is_file():
                path.unlink()
        self._found.leftovers = clear_groups(self._layout, self._catalogue)


def clear_groups(layout: Layout, catalogue: Catalogue) -> int:
    """Forgets .group files whose messages are all accounted for; returns how many leftovers wait for their record."""
    waiting = 0
    for group in group_files(layout):
        left = sum(_is_leftover(layout, catalogue, digest) for digest in read_group(group))
        waiting += left
        if not left:
            group.unlink()
    return waiting


def _is_leftover(layout: Layout, catalogue: Catalogue, digest: Digest) -> bool:
    """A sound file of ours without a record waits until its message comes in again; an unsound one is removed."""
    path = layout.message(digest)
    if catalogue.has_message(digest) or not path.exists():
        return False
    if sound(layout, digest):
        return True
    path.unlink()
    return False


def _damaged_log(path: object, what: str) -> ArchiveDamaged:
    return ArchiveDamaged(
        f"{path} {what}. Restore it from a copy; `mailmove verify` names what is wrong. If you accept the "
        "log as it is, delete archive.db and run again: it is rebuilt from mail/ and log/."
    )


def _not_understood(path: object, error: Exception) -> ArchiveDamaged:
    return ArchiveDamaged(
        f"{path} holds a record that cannot be understood ({error}). `mailmove verify` names it. Restore the log from "
        "a copy, then run again."
    )
