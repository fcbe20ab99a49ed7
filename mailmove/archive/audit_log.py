"""Holds the log against itself, against its checkpoints, and against how much of it archive.db has read.

Strategy: the log is projected once more, by the same code as ever, into a temporary catalogue: its rows are what must
be. That reading can go on where it stopped, so a run under way may add to the log meanwhile. Who is right when log and
catalogue disagree is settled last, by the archive's own checkpoint.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mailmove.archive import Reader, audit_catalogue
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.checkpoint import NAME, Checkpoint, read_checkpoint
from mailmove.archive.failures import is_full
from mailmove.archive.findings import Finding
from mailmove.archive.log import Line, Position
from mailmove.archive.merkle import Tree
from mailmove.archive.projection import NOT_UNDERSTOOD, Entry, apply
from mailmove.archive.records import Record, decode
from mailmove.errors import ArchiveDamaged, ArchiveOutdated
from mailmove.model import Headers

BATCH = 1000
OWN = f"log/{NAME}"


@dataclass(frozen=True, slots=True)
class _Own:
    """What the archive's own checkpoint proves: so many records; or what is wrong, of it or of the log."""

    vouches_for: int = -1
    wrong: str = ""
    said: str = ""


class LogAudit:
    """One reading of the log. `expected` is what it says archive.db must be, as far as it was read."""

    def __init__(self, reader: Reader, check: Callable[[], None], since: Mapping[str, Checkpoint]) -> None:
        """`since`: checkpoints from elsewhere that the log must extend, by what they are called."""
        self.expected = Catalogue.temporary()
        audit_catalogue.prepare(self.expected)
        self.sound = True
        self._reader = reader
        self._check = check
        self._checkpoints = dict(since)
        self._read = Position()
        self._firsts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._turn = ""
        self._runs: set[str] = set()
        self._broken = self._agreed = False
        self._other: tuple[Position, Position, dict[int, int]] | None = None
        self._own = _Own()
        self._known: int | None = None
        self._new: dict[bytes, tuple[int, str]] = {}

    def run(self) -> Iterator[Finding]:
        """Everything about log/ and archive.db."""
        for finding in self._all():
            self.sound = self.sound and (finding.sound or finding.kind == "catalogue")
            yield finding

    def _all(self) -> Iterator[Finding]:
        yield from self._own_checkpoint()  # first, since the log may grow meanwhile
        yield from self._catalogue()
        yield from self.read_on()
        yield from self._beyond_the_log()
        yield from self._who_is_right()
        yield from self._copies()
        yield from self._unfinished()

    # ---- the catalogue, as of one moment

    def _catalogue(self) -> Iterator[Finding]:
        try:
            with self._reader.catalogue() as catalogue:
                if catalogue is not None:
                    yield from self._compare_if_readable(catalogue)
        except ArchiveOutdated:
            yield Finding("note", "archive.db", "is of an earlier mailmove, so it is compared after the next run only")

    def _compare_if_readable(self, catalogue: Catalogue) -> Iterator[Finding]:
        try:
            yield from self._compare(catalogue)
        except (sqlite3.Error, ValueError) as error:
            if isinstance(error, sqlite3.Error) and is_full(error):
                raise
            reason = f"cannot be read ({error}); {audit_catalogue.REMEDY}"
            yield Finding("catalogue", "archive.db", reason)

    def _compare(self, catalogue: Catalogue) -> Iterator[Finding]:
        catalogue.connection.execute("BEGIN")
        broken = list(audit_catalogue.integrity(catalogue))
        yield from broken
        if broken:
            return
        end = audit_catalogue.position(catalogue)
        self._known = max(self._known or 0, end.records)
        yield from self._project(end.records)
        if self._read == (end if end.edge else replace(end, edge=self._read.edge)):
            self._agreed = bool(end.edge)
            yield from self._compare_content(catalogue)
        else:
            self._other = end, self._read, catalogue.segments()

    def _compare_content(self, catalogue: Catalogue) -> Iterator[Finding]:
        wrong = list(audit_catalogue.compare(self.expected, self._ends, catalogue))
        yield from wrong
        if not wrong:
            audit_catalogue.set_aside(self.expected, catalogue)

    def _who_is_right(self) -> Iterator[Finding]:
        """Log, catalogue and checkpoint were written together: if two of them agree, the third was changed."""
        if self._own.wrong and self._agreed:
            yield Finding("damaged", OWN, f"{self._own.wrong}, but the log is what archive.db has read")
        elif self._own.wrong:
            yield Finding("log", "log", self._own.said)
        if self._other is None:
            return
        end, read, sizes = self._other
        known = f"has read {end.records:,} records to octet {end.octets:,} of segment {end.segment}"
        if self._own.vouches_for >= read.records:
            reason = f"{known}, and those of the log are others, which {OWN} vouches for; {audit_catalogue.REMEDY}"
            yield Finding("catalogue", "archive.db, table position", reason)
        else:
            reason = f"is shorter than, or other than, it was: the catalogue {known}"
            yield Finding("log", ", ".join(self._changed(end, read, sizes)), reason)

    def _changed(self, end: Position, read: Position, sizes: dict[int, int]) -> list[str]:
        """The segments that are not what the catalogue has read: by their sizes, else by the trees' right edges."""
        last = max([end.segment, *sizes])
        other = [n for n, octets in sizes.items() if n != last and self._ends.get(n) != octets]
        if not other and end.tree.is_whole and end.records == read.records:
            ranges = list(end.tree.differences(read.tree))
            behind = {n: self._firsts.get(n + 1, end.records) for n in self._firsts}
            firsts = self._firsts.items()
            other = [n for n, first in firsts if any(a < behind[n] and first < b for a, b in ranges)]
        return [self._name(n) for n in other or [last]]

    # ---- the records

    def read_on(self) -> Iterator[Finding]:
        """Takes in what the log has beyond what was read of it: a run may be adding to it."""
        yield from self._project(None)

    def _project(self, records: int | None) -> Iterator[Finding]:
        """Reads on, to record number `records` or the end; never beyond what cannot be read."""
        if self._broken:
            return
        try:
            lines = self._reader.log.read(self._read)
            left = None if records is None else max(0, records - self._read.records)
            lines = islice(lines, left) if left is not None else lines
            while batch := list(islice(lines, BATCH)):
                self._check()
                yield from self._take_in(batch)
                yield from self._hold_against_checkpoints(batch)
                self._read = batch[-1].end
        except ArchiveDamaged as error:
            self._broken = True
            yield Finding("log", "log", str(error))
        except OSError as error:
            self._broken = True
            yield Finding("log", self._name(self._read.segment), f"cannot be read: {error.strerror}")

    def _take_in(self, batch: list[Line]) -> Iterator[Finding]:
        with self.expected.transaction():
            for line in batch:
                self._firsts.setdefault(line.end.segment, line.index)
                self._ends[line.end.segment] = line.end.octets
                where = self._name(line.end.segment)
                try:
                    record = decode(line.data, f"{where}, record {line.index}")
                    apply(self.expected, [Entry(line.index, record, Headers())])
                except (ArchiveDamaged, *NOT_UNDERSTOOD) as error:
                    yield Finding("log", where, f"record {line.index} cannot be understood ({error})")
                    continue
                if self._out_of_turn(record):
                    yield Finding("log", where, f"record {line.index} is out of turn: a copy of an earlier one?")
                elif "run" not in record and self._known is not None and line.index >= self._known:
                    self._new[line.data] = line.index, where

    def _out_of_turn(self, record: Record) -> bool:
        """There is one writer: a run begins once, and is over when it ends or another begins.

        So lines that were copied to the end of the log are told from those of a run that was cut short.
        """
        run, event = str(record.get("run", "")), record.get("event") if record["t"] == "run" else ""
        wrong = run in self._runs if event == "begin" else run not in ("", self._turn)
        if event == "begin":
            self._runs.add(run)
        self._turn = "" if event == "end" else run or self._turn
        return wrong

    def _copies(self) -> Iterator[Finding]:
        """Records of no run (decisions, voids) that nothing has read yet and that are copies of others."""
        if not self._new or self._broken:
            return
        for line in self._reader.log.read():
            copy, where = self._new.get(line.data, (0, ""))
            if line.index < copy:
                yield Finding("log", where, f"record {copy} is a copy of record {line.index}")
        self._new, self._known = {}, None

    # ---- the log against what it was

    def _own_checkpoint(self) -> Iterator[Finding]:
        try:
            data = read_checkpoint(self._reader.layout.log)
            own = Checkpoint.parse(data) if data is not None else None
        except (ValueError, OSError) as error:
            yield Finding("damaged", OWN, getattr(error, "strerror", None) or str(error))
            return
        if own is None:
            yield Finding("missing", OWN, "an archive always has one")
        elif own.archive_id != self._reader.id or own.text().encode("ascii") != data:
            yield Finding("damaged", OWN, "it is not what a run of this archive has written")
        else:
            self._checkpoints[OWN], self._known = own, own.size

    def _hold_against_checkpoints(self, batch: list[Line]) -> Iterator[Finding]:
        first, last = self._read.records, batch[-1].end.records
        for name, checkpoint in list(self._checkpoints.items()):
            if first < checkpoint.size <= last:
                yield from self._agrees(name, checkpoint, batch[checkpoint.size - first - 1].end.tree)

    def _agrees(self, name: str, checkpoint: Checkpoint, tree: Tree) -> Iterator[Finding]:
        del self._checkpoints[name]
        if tree.root == checkpoint.root:
            self._own = _Own(checkpoint.size) if name == OWN else self._own
        else:
            said = f"its first {checkpoint.size:,} records are not those of {name}"
            yield from self._disagrees(
                name, f"{said}: the log was altered since", "tells of other records than the log"
            )

    def _beyond_the_log(self) -> Iterator[Finding]:
        for name, checkpoint in list(self._checkpoints.items()):
            if checkpoint.size:
                said = f"has {self._read.records:,} records, and had {checkpoint.size:,} by {name}: some were removed"
                yield from self._disagrees(name, said, f"tells of {checkpoint.size:,} records")
            else:
                yield from self._agrees(name, checkpoint, Tree())

    def _disagrees(self, name: str, said: str, told: str) -> Iterator[Finding]:
        """The own checkpoint is held against the catalogue first; one from elsewhere is right."""
        if name == OWN:
            self._own = _Own(wrong=told, said=said)
        else:
            yield Finding("log", "log", said)

    # ---- the folder

    def _unfinished(self) -> Iterator[Finding]:
        """What a run that was cut off leaves at the log's end; the next run takes it away, or uses it."""
        if self._broken:
            return
        path, octets = self._reader.log.torn_tail(self._read)
        if octets > 0 and b"\n" not in _end_of(path, octets):
            reason = f"ends with {octets:,} octets of an unfinished line, which the next run takes away"
            yield Finding("leftover", f"log/{path.name}", reason)
        elif self._read.records and path.name != self._reader.log.path(self._read.segment).name and octets == 0:
            yield Finding("leftover", f"log/{path.name}", "is empty: a run was cut off")

    def _name(self, segment: int) -> str:
        return f"log/{self._reader.log.path(segment).name}"


def _end_of(path: Path, octets: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-octets, os.SEEK_END)
        return file.read()
