"""Index: every message of an archive into search.db, only what is new since the last pass (design.md section 5).

Strategy: places in the order of the log, a bounded batch at a time; a batch counts when it is committed. Each message
is read once, its octets proven against its name on the way. Nothing a mail holds can stop the pass: what cannot be
decoded is indexed as far as it can be and named in the report, and so is a file that is damaged.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mailmove.archive import Reader
from mailmove.archive.lock import WriterLock
from mailmove.archive.reading import pieces
from mailmove.archive.search.index import Found, Index, path_of, search_errors
from mailmove.archive.search.text import OCTETS_LIMIT, Readable, State, read
from mailmove.errors import ArchiveDamaged
from mailmove.jobs import Context
from mailmove.model import Digest

BATCH_TEXT = 8 << 20
"""Characters of text after which a batch is committed, whatever it counts."""

LISTED = 1000
"""Messages named in the report."""


@dataclass(frozen=True, slots=True)
class IndexJob:
    """Bring an archive's search.db up to date. `wait`: seconds for another index run to end."""

    archive: Path
    state_dir: Path | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Remark:
    """A message that is not, or not as a whole, indexed. `kind`: damaged, headers or partly."""

    kind: str
    digest: Digest
    reason: str


@dataclass(slots=True)
class IndexReport:
    """What a pass did: messages now indexed, and of these, how many only by headers or partly. `damaged` are not."""

    archive: str
    indexed: int = 0
    headers: int = 0
    partly: int = 0
    damaged: int = 0
    octets: int = 0
    seconds: float = 0.0
    anew: bool = False
    remarks: list[Remark] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return 4 if self.damaged else 0

    def remark(self, kind: str, digest: Digest, reason: str) -> None:
        if len(self.remarks) < LISTED:
            self.remarks.append(Remark(kind, digest, reason))

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        return {
            "job": "index",
            "archive": self.archive,
            "outcome": "failed" if self.damaged else "complete",
            "indexed": self.indexed,
            "headers": self.headers,
            "partly": self.partly,
            "damaged": self.damaged,
            "bytes": self.octets,
            "seconds": round(self.seconds, 3),
            "anew": self.anew,
            "remarks": [asdict(remark) for remark in self.remarks],
        }


def run_index(job: IndexJob, context: Context) -> IndexReport:
    """One pass. Raises UsageError (no archive), ArchiveBusy (another pass is under way), ArchiveError, Interrupted."""
    started = time.monotonic()
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    report = IndexReport(str(reader.layout.root))
    lock, path = WriterLock(reader.layout.state / "search.lock"), path_of(reader.layout)
    with search_errors(path):
        lock.acquire(path, job.wait)
    try:
        with Index.open(reader.layout) as index:
            report.anew = index.anew
            _Pass(reader, index, report, context).run()
    finally:
        lock.release()
        context.progress.end()
    report.seconds = time.monotonic() - started
    return report


class _Pass:
    """One pass over what is new."""

    def __init__(self, reader: Reader, index: Index, report: IndexReport, context: Context) -> None:
        self._reader = reader
        self._index = index
        self._report = report
        self._context = context
        self._damaged: set[Digest] = set()

    def run(self) -> None:
        retried = self._index.unreadable()
        self._context.progress.begin("index", *self._index.ahead())
        for digest in retried:
            self._context.check()
            self._index.add([self._read(digest)])
        while batch := self._index.next():
            self._batch(batch)

    def _batch(self, batch: list[tuple[int, Digest, int, bool]]) -> None:
        """Reads and commits these places, or as many of the first of them as make a large batch by themselves."""
        found: dict[Digest, Found] = {}
        again: list[Digest] = []
        text = octets = count = 0
        for record, digest, size, new in batch:
            self._context.check()
            if not new:
                again.append(digest)
            elif digest not in found:
                found[digest] = self._read(digest)
                text += found[digest].characters
            last, octets, count = (record, digest), octets + size, count + 1
            if text > BATCH_TEXT:
                break
        self._index.add(list(found.values()), again, last)
        self._context.progress.done(count, octets)

    def _read(self, digest: Digest) -> Found:
        """The message decoded, its hash right, and what is to be said of it in the report."""
        report = self._report
        try:
            text, octets = _decoded(self._reader, digest)
        except ArchiveDamaged as error:
            if digest not in self._damaged:
                self._damaged.add(digest)
                report.damaged += 1
                report.remark("damaged", digest, error.message)
            return Found(digest, None)
        report.indexed += 1
        report.octets += octets
        if text.state is State.HEADERS:
            report.headers += 1
            report.remark("headers", digest, "it could not be taken apart; indexed by its headers only")
        elif text.state is State.PARTLY:
            report.partly += 1
            report.remark("partly", digest, "a part could not be decoded, or it is very long; the rest is indexed")
        return Found(digest, text)


def _decoded(reader: Reader, digest: Digest) -> tuple[Readable, int]:
    """What is in a message and how long it is; only its first octets are kept. Raises ArchiveDamaged."""
    head, octets = bytearray(), 0
    for piece in pieces(reader.layout, digest):
        octets += len(piece)
        if len(head) < OCTETS_LIMIT:
            head += piece
    return read(bytes(head), cut=octets > len(head)), octets
