"""Holds an archive against itself: files against their names, the log, and the catalogue against both.

Strategy: the log is projected once more, by the same code, into a temporary catalogue; its rows are what must be. The
files are walked shard by shard in the order of their names, beside the messages in the same order, so memory does not
grow. Takes no lock: a pull may be running, so the catalogue is compared as of one moment, and before a file is called
extra, the .group files and then the log's new tail are read again. Changes nothing.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path

from mailmove.archive import Reader
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.checkpoint import Checkpoint, read_checkpoint
from mailmove.archive.failures import is_full
from mailmove.archive.layout import SHARD
from mailmove.archive.log import Line, Position
from mailmove.archive.merkle import Tree
from mailmove.archive.projection import NOT_UNDERSTOOD, Entry, apply
from mailmove.archive.records import decode
from mailmove.archive.store import group_files, hash_file, read_group
from mailmove.errors import ArchiveDamaged
from mailmove.model import Digest, Headers

BATCH = 1000
OWN = "log/checkpoint"
_NAME = re.compile(r"[0-9a-f]{64}\.eml")

COMPARED = {
    "messages": "SELECT digest, octets, record FROM messages ORDER BY digest",
    "places": "SELECT p.record, p.digest, m.name, p.unique_id, p.octets, p.listed, p.complete, p.identified_by, p.run,"
    " p.time, p.internal_date, p.internal_date_origin, p.counted, p.settled, p.present, p.delete_asked, p.deleted"
    " FROM places p"
    " JOIN maildrops m ON m.id = p.maildrop ORDER BY p.record",
    "maildrops": "SELECT name, places, octets, suspects, parked, unreliable_sizes, present, deleted, delete_after"
    " FROM maildrops ORDER BY name",
    "parked": "SELECT m.name, k.unique_id, k.listed, k.cause, k.code, k.run, k.time, k.record FROM parked k"
    " JOIN maildrops m ON m.id = k.maildrop ORDER BY k.record, m.name, k.unique_id",
    "skips": "SELECT s.record, m.name, s.unique_id, s.listed, s.digest, s.reason, s.time FROM skips s"
    " JOIN maildrops m ON m.id = s.maildrop ORDER BY s.record",
    "runs": "SELECT run, job, maildrop, target, started, ended, outcome, counts FROM runs ORDER BY run",
    "totals": "SELECT messages, octets, voided FROM totals",
    "target_mailboxes": "SELECT target, mailbox, intended, delivered, parked, uncertain, skipped, skip_present,"
    " accepted_uidvalidity, slowest_window FROM target_mailboxes ORDER BY target, mailbox",
    "deliveries": "SELECT b.target, b.mailbox, d.digest, d.state, d.intend, d.uidvalidity, d.floor, d.uid, d.how,"
    " d.cause, d.code, d.run, d.time, d.internal_date, d.internal_date_origin FROM deliveries d"
    " JOIN target_mailboxes b ON b.id = d.mailbox ORDER BY d.intend, d.digest, d.id",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be.

    `kind`: damaged, missing, extra, log, catalogue; or leftover, which is sound.
    """

    kind: str
    what: str
    reason: str


class Audit:
    """One verification. `proven(octets)` is told of each file that was found sound."""

    def __init__(
        self,
        reader: Reader,
        proven: Callable[[int], None],
        check: Callable[[], None],
        since: Mapping[str, Checkpoint] | None = None,
    ) -> None:
        """`since`: checkpoints from elsewhere that the log must extend, by what they are called."""
        self._checkpoints = dict(since or {})
        self._reader = reader
        self._layout = reader.layout
        self._proven = proven
        self._check = check
        self._expected = Catalogue.temporary()
        self._read = Position()

    def run(self, begin: Callable[[int, int], None]) -> Iterator[Finding]:
        """Yields findings; `begin(messages, octets)` is told the size of the work once it is known."""
        yield from self._own_checkpoint()  # first, since the log may grow meanwhile
        yield from self._log_and_catalogue()
        yield from self._beyond_the_log()
        messages, octets = self._expected.connection.execute("SELECT messages, octets FROM totals").fetchone()
        begin(messages, octets)
        yield from self._files()
        self._expected.close()

    # ---- the log, and the catalogue as of one moment

    def _log_and_catalogue(self) -> Iterator[Finding]:
        with self._reader.catalogue() as catalogue:
            if catalogue is not None:
                try:
                    yield from self._compare(catalogue)
                except sqlite3.DatabaseError as error:
                    if is_full(error):
                        raise
                    yield Finding("catalogue", "archive.db", f"cannot be read ({error}); delete it and run again")
        yield from self._project(None)

    def _compare(self, catalogue: Catalogue) -> Iterator[Finding]:
        catalogue.connection.execute("BEGIN")
        end = catalogue.position
        yield from self._project(end.records)
        if self._read != (end if end.tree.is_whole else replace(end, edge=self._read.edge)):
            known = f"the catalogue has read {end.records} records to octet {end.octets} of segment {end.segment}"
            yield Finding("log", self._name(end), f"is shorter than, or other than, it was: {known}")
            return
        for table, query in COMPARED.items():
            yield from self._compare_table(table, query, catalogue)

    def _compare_table(self, table: str, query: str, catalogue: Catalogue) -> Iterator[Finding]:
        pairs = zip_longest(self._expected.connection.execute(query), catalogue.connection.execute(query))
        for expected, found in pairs:
            if expected != found:
                what = f"has {_shown(found)} where the log says {_shown(expected)}; delete archive.db and run again"
                yield Finding("catalogue", f"archive.db, table {table}", what)
                return

    def _project(self, records: int | None) -> Iterator[Finding]:
        """Reads the log on, to record number `records` or its end, into the temporary catalogue."""
        try:
            lines = self._reader.log.read(self._read)
            left = None if records is None else records - self._read.records
            lines = islice(lines, left) if left is not None else lines
            while batch := list(islice(lines, BATCH)):
                self._check()
                yield from self._take_in(batch)
                yield from self._hold_against_checkpoints(batch)
                self._read = batch[-1].end
        except ArchiveDamaged as error:
            yield Finding("log", str(self._layout.log), str(error))

    def _take_in(self, batch: list[Line]) -> Iterator[Finding]:
        with self._expected.transaction():
            for line in batch:
                try:
                    record = decode(line.data, f"{self._name(line.end)}, record {line.index}")
                    apply(self._expected, [Entry(line.index, record, Headers())])
                except (ArchiveDamaged, *NOT_UNDERSTOOD) as error:
                    reason = f"record {line.index} cannot be understood ({error})"
                    yield Finding("log", self._name(line.end), reason)

    # ---- the log against what it was

    def _own_checkpoint(self) -> Iterator[Finding]:
        data = read_checkpoint(self._layout.log)
        if data is None:
            yield Finding("missing", OWN, "an archive always has one")
            return
        try:
            own = Checkpoint.parse(data)
        except ValueError as error:
            yield Finding("damaged", OWN, str(error))
            return
        if own.archive_id != self._reader.id or own.text().encode("ascii") != data:
            yield Finding("damaged", OWN, "it is not what a run of this archive has written")
        else:
            self._checkpoints[OWN] = own

    def _hold_against_checkpoints(self, batch: list[Line]) -> Iterator[Finding]:
        first, last = self._read.records, batch[-1].end.records
        for name, checkpoint in list(self._checkpoints.items()):
            if first < checkpoint.size <= last:
                yield from self._agrees(name, checkpoint, batch[checkpoint.size - first - 1].end.tree)

    def _agrees(self, name: str, checkpoint: Checkpoint, tree: Tree) -> Iterator[Finding]:
        del self._checkpoints[name]
        if tree.root != checkpoint.root:
            reason = f"its first {checkpoint.size:,} records are not those of {name}: the log was altered since"
            yield Finding("log", "log", reason)

    def _beyond_the_log(self) -> Iterator[Finding]:
        for name, checkpoint in list(self._checkpoints.items()):
            if checkpoint.size:
                reason = f"has {self._read.records:,} records, and had {checkpoint.size:,} by {name}: some were removed"
                yield Finding("log", "log", reason)
            else:
                yield from self._agrees(name, checkpoint, Tree())

    def _name(self, position: Position) -> str:
        return f"log/{self._reader.log.path(position.segment).name}"

    # ---- the files, shard by shard

    def _files(self) -> Iterator[Finding]:
        shards = {path.name for path in self._layout.mail.iterdir()} if self._layout.mail.is_dir() else set()
        query = "SELECT DISTINCT substr(digest, 1, ?) FROM messages"
        for name in sorted(shards | {row[0] for row in self._expected.connection.execute(query, (SHARD,))}):
            self._check()
            yield from self._shard(name)

    def _shard(self, name: str) -> Iterator[Finding]:
        folder = self._layout.mail / name
        files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if not folder.is_dir() and folder.exists():
            yield Finding("extra", f"mail/{name}", "no log record tells of it")
            return
        for digest, octets in self._claimed(name):
            files.discard(f"{digest}.eml")
            yield from self._file(Digest(digest), octets)
        for extra in sorted(files):
            yield from self._unclaimed(folder / extra)

    def _claimed(self, shard: str) -> list[tuple[str, int]]:
        query = "SELECT digest, octets FROM messages WHERE digest >= ? AND digest < ? || 'g' ORDER BY digest"
        return self._expected.connection.execute(query, (shard, shard)).fetchall()

    def _file(self, digest: Digest, octets: int) -> Iterator[Finding]:
        path = self._layout.message(digest)
        try:
            found = hash_file(path)
        except OSError as error:
            yield Finding("damaged", self._shown(path), f"cannot be read: {error.strerror}")
            return
        if found is None:
            yield Finding("missing", self._shown(path), "the log tells of it, and the file is not there")
        elif found != digest:
            yield Finding("damaged", self._shown(path), f"its content hashes to {found}")
        else:
            self._proven(octets)

    def _unclaimed(self, path: Path) -> Iterator[Finding]:
        shown, named = self._shown(path), _NAME.fullmatch(path.name)
        digest = Digest(path.stem) if named and path.stem[:SHARD] == path.parent.name else None
        if digest and digest in self._about_to_be_recorded() and hash_file(path) == digest:
            yield Finding("leftover", shown, "of an unfinished run; adopted when its message comes in again")
            return
        yield from self._project(None)
        row = "SELECT octets FROM messages WHERE digest = ?"
        claimed = digest and self._expected.connection.execute(row, (digest,)).fetchone()
        if digest and claimed:
            yield from self._file(digest, claimed[0])
        else:
            yield Finding("extra", shown, "no log record tells of it")

    def _about_to_be_recorded(self) -> set[Digest]:
        return {digest for group in group_files(self._layout) for digest in read_group(group)}

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._layout.root).as_posix()


def _shown(row: object) -> str:
    return "no row" if row is None else repr(row)[:300]
