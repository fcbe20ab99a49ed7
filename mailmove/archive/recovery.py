"""Opening after whatever happened: log, files and catalogue are made to agree (design.md section 5, "Open").

Strategy: the log decides. Records the catalogue does not know yet are taken in, each held against its file; a record of
the unfinished run without a sound file is voided, since nobody was told of it; an older one is damage and stays. A
missing catalogue is one that knows nothing yet, so rebuilding is the same walk from the start, but for the syncs: into
a new database, which counts only when it is whole (rebuilding.py), all is synced once, at the end. In batches: memory
does not grow with the archive. Runs under the writer's lock.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.durable import SystemSyncer, choose_syncer, sync_directory, sync_file, write_durably
from mailmove.archive.layout import Layout
from mailmove.archive.log import Line, Log, Position
from mailmove.archive.merkle import Tree
from mailmove.archive.projection import MESSAGES, NOT_UNDERSTOOD, Entry, apply
from mailmove.archive.records import Record, checked_digest, decode, encode, event
from mailmove.archive.store import group_files, read_group, sound, sound_head
from mailmove.errors import ArchiveDamaged
from mailmove.message import read_headers
from mailmove.model import Digest, Headers

BATCH = 1000

UNVOUCHED = 100 * BATCH
"""Files of a run that did not end that may wait for the one sync at the end."""

Taken = Callable[[int, int], None]
"""Told of each batch: (messages, octets)."""


def _silent(messages: int, octets: int) -> None:
    """Nobody watches."""


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

    def __init__(
        self,
        layout: Layout,
        log: Log,
        catalogue: Catalogue,
        now: datetime,
        *,
        anew: bool = False,
        taken: Taken = _silent,
    ) -> None:
        """`anew`: nothing is durable before `run` returns, nor need it be, as the catalogue is not in use yet."""
        self._anew = anew
        self._taken = taken
        self._unvouched: set[Digest] = set()
        self._syncer = choose_syncer(layout.root) if anew else None
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
        if self._anew:
            self._sync_all()
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
            self._take_in_batch(batch, end)
            end = batch[-1].end
            self._found.records += len(batch)
        return end

    def _take_in_batch(self, batch: Sequence[Line], after: Position) -> None:
        entries = [self._entry(line) for line in batch]
        if self._anew:
            self._remember_unvouched(entries)
        else:
            self._sync({Digest(entry.record["digest"]) for entry in entries if entry.headers is not None})
            self._log.sync_from(after)
        try:
            self._catalogue_all(batch, entries)
        except NOT_UNDERSTOOD:
            self._name(batch, entries)
            raise
        sizes = [int(entry.record["octets"]) for entry in entries if entry.record["t"] in MESSAGES]
        self._taken(len(sizes), sum(sizes))

    def _catalogue_all(self, batch: Sequence[Line], entries: Sequence[Entry]) -> None:
        with self._catalogue.transaction():
            apply(self._catalogue, entries)
            for end in {line.end.segment: line.end for line in batch}.values():
                self._catalogue.advance(end)

    def _name(self, batch: Sequence[Line], entries: Sequence[Entry]) -> None:
        """One by one, since a batch does not say which of its records is not understood."""
        with self._catalogue.transaction():
            for line, entry in zip(batch, entries, strict=True):
                try:
                    apply(self._catalogue, (entry,))
                except NOT_UNDERSTOOD as error:
                    raise _not_understood(self._where(line), error) from error

    def _entry(self, line: Line) -> Entry:
        try:
            record = decode(line.data, "")
            headers = self._headers_if_sound(record) if record["t"] in MESSAGES else None
        except (ArchiveDamaged, *NOT_UNDERSTOOD) as error:
            raise _not_understood(self._where(line), error) from error
        return Entry(line.index, record, headers)

    def _where(self, line: Line) -> str:
        """A line as an editor numbers it."""
        path = self._log.path(line.end.segment)
        number = path.read_bytes()[: line.end.octets].count(b"\n")
        return f"{path}, line {number} (record {line.index})"

    def _headers_if_sound(self, record: Record) -> Headers | None:
        digest = checked_digest(record["digest"])
        if self._anew and self._catalogue.is_sound(digest):
            return Headers()  # looked at when it came the first time, which is all a new catalogue knows
        head = self._head_if_sound(digest)
        return None if head is None else read_headers(head, self._now)[0]

    def _head_if_sound(self, digest: Digest) -> bytes | None:
        """What the disk cannot read is damaged, and no reason to give up all the rest."""
        try:
            return sound_head(self._layout, digest)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None

    # ---- durable before it counts

    def _remember_unvouched(self, entries: Sequence[Entry]) -> None:
        """A record is written only when its file is durable; only what no ended run vouches for is synced again."""
        if isinstance(self._syncer, SystemSyncer):
            return
        for entry in entries:
            if entry.record["t"] == "run" and entry.record.get("event") == "end":
                self._unvouched.clear()
            elif entry.headers is not None:
                self._unvouched.add(Digest(entry.record["digest"]))
        if len(self._unvouched) >= UNVOUCHED:
            self._sync(self._unvouched)
            self._unvouched.clear()

    def _sync_all(self) -> None:
        """One syncfs where it is safe, which takes in what somebody may have copied here; else what may need it."""
        if isinstance(self._syncer, SystemSyncer):
            self._syncer.begin()
            try:
                self._syncer.directories(())
            finally:
                self._syncer.close()
        else:
            self._sync(self._unvouched)
            self._log.sync_from(Position())

    def _sync(self, digests: Collection[Digest]) -> None:
        """A dead run may have died between rename and sync, so everything taken in is synced again."""
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
            if (head := self._head_if_sound(digest)) is not None:
                with self._catalogue.transaction():
                    self._catalogue.mark(digest, read_headers(head, self._now)[0], damaged=False)

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
    if not (left := sound(layout, digest)):
        path.unlink()
    return left


def _damaged_log(path: object, what: str) -> ArchiveDamaged:
    return ArchiveDamaged(
        f"{path} {what}. Restore it from a copy; `mailmove verify` names what is wrong. If you accept the "
        "log as it is, run `mailmove rebuild`: archive.db is made anew from mail/ and log/, and the old one is kept."
    )


def _not_understood(where: str, error: Exception) -> ArchiveDamaged:
    why = "it is no log record" if isinstance(error, ArchiveDamaged) else f"{type(error).__name__}: {error}"
    return ArchiveDamaged(
        f"{where} cannot be understood ({why}). Restore the log from a copy, then run again; `mailmove verify` names "
        "every such line."
    )
