"""The archive: plain EML files, an append-only log, a SQLite catalogue (design.md section 5).

Strategy: `Archive` is the one writer, `Reader` anybody else. The writer's every durable step goes through `commit` or
`append`, which keep the write order: files, names, log, catalogue, and only then does the caller hear of it. Failures
of the disk leave here as ArchiveError (`failures`).
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from mailmove.archive.advice import Advice, advice, advise
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from mailmove.archive.drafts import Draft
from mailmove.archive.failures import disk_error, disk_errors
from mailmove.archive.layout import Layout, check_creatable, create, is_archive, read_format
from mailmove.archive.lock import WriterLock
from mailmove.archive.log import Log
from mailmove.archive.projection import Entry, apply
from mailmove.archive.reader import Reader
from mailmove.archive.rebuilding import Rebuilt, new_database, rebuild, upgrade
from mailmove.archive.records import Place, Record, encode, event
from mailmove.archive.recovery import Recovered, Recovery, Taken, clear_groups
from mailmove.archive.run import Filed, Received, Run
from mailmove.archive.state import claim_state, record_writer
from mailmove.archive.store import Store
from mailmove.errors import LocalProtocolError
from mailmove.message import read_headers
from mailmove.model import Complete, Digest, GroupLimits, Headers, MaildropEntry, RunId, UniqueId

__all__ = ["Archive", "Draft", "Filed", "GroupLimits", "Reader", "Received", "check_creatable", "is_archive"]

Clock = Callable[[], datetime]
BATCH = 500


def utc_now() -> datetime:
    return datetime.now(UTC)


class Archive:
    """The one writer of an archive, under its lock; a context manager."""

    def __init__(self, layout: Layout, archive_id: str, lock: WriterLock, clock: Clock) -> None:
        self.layout = layout
        self.id = archive_id
        self.created = False
        self.recovered = Recovered()
        self.rebuilt: Rebuilt | None = None
        self.catalogue: Catalogue
        self._lock = lock
        self._clock = clock
        self._log = Log(layout.log)
        self._run = Run(RunId(""), "")
        self._store: Store | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        create_missing: bool = False,
        state_dir: Path | None = None,
        wait: float = 0.0,
        take_over: bool = False,
        clock: Clock = utc_now,
        anew: Taken | None = None,
    ) -> Archive:
        """Takes the lock and makes log, files and catalogue agree (design.md, "Open").

        `anew`: archive.db is made anew first, whatever it is, and this is told of each batch (rebuilding.py).
        Raises UsageError (no archive there), ArchiveBusy, ArchiveDamaged, ArchiveTooNew, ArchiveElsewhere, ArchiveFull.
        """
        root = root.absolute()
        with disk_errors(root):
            fresh = not is_archive(root) and create_missing
            form = create(root) if fresh else read_format(root)
            state = claim_state(root, form.archive_id, state_dir, take_over=take_over)
            layout = Layout(root, state)
            archive = cls(layout, form.archive_id, WriterLock(*layout.locks), clock)
            archive.created = fresh
            archive._lock.acquire(root, wait)
            try:
                archive._recover(anew)
            except BaseException:
                archive.close()
                raise
        return archive

    def _recover(self, anew: Taken | None) -> None:
        self.layout.ensure()
        record_writer(self.layout.root, self.layout.state)
        if anew:
            self.rebuilt = rebuild(self.layout, self._log, self._clock(), anew)
        new_database(self.layout).unlink(missing_ok=True)
        upgrade(self.layout, self._clock())
        self.catalogue = Catalogue.open(self.layout.database)
        if self.layout.state != self.layout.root:
            (self.layout.root / "archive.db").unlink(missing_ok=True)
        self.recovered = Recovery(self.layout, self._log, self.catalogue, self._clock()).run()
        if read_checkpoint(self.layout.log) is None:  # so that one that is missing is always damage
            self._write_checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops the lock. What was not committed is gone."""
        if self._store:
            self._store.close()
        if hasattr(self, "catalogue"):
            with contextlib.suppress(sqlite3.Error):
                self.catalogue.close()
        self._lock.release()

    @property
    def free_octets(self) -> int:
        """Space left for this user where the messages go."""
        return shutil.disk_usage(self.layout.root).free

    @property
    def store(self) -> Store:
        if self._store is None:
            raise LocalProtocolError("A message was written outside a run: this is a bug in mailmove.")
        return self._store

    # ---- runs

    def begin_run(self, job: str, maildrop: str, target: str = "") -> RunId:
        """Names a run. Its record is written with the first thing the run writes."""
        now = self._clock()
        run = RunId(f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
        begin = event("run", now, run, event="begin", job=job, maildrop=maildrop, target=target or None)
        self._run = Run(run, maildrop, [begin])
        self._store = Store(self.layout, run)
        return run

    def begin_session(self) -> None:
        """A new listing begins: from here on every entry is listed once more."""
        self._run.session_start = self.catalogue.position.records
        self._run.seen.clear()

    def end_run(self, outcome: str, counts: dict[str, int]) -> None:
        """Logs how the run ended; messages of ended runs are never voided again."""
        self.append(self.event("run", event="end", outcome=outcome, counts=counts))
        with disk_errors(self.layout.root):
            self._write_checkpoint()
            clear_groups(self.layout, self.catalogue)

    def _write_checkpoint(self) -> None:
        write_checkpoint(self.layout.log, Checkpoint.of(self.id, self.catalogue.position.tree))

    def event(self, kind: str, **fields: object) -> Record:
        """A record of this run, for `append`."""
        return event(kind, self._clock(), self._run.run, **fields)

    # ---- messages

    def draft(self) -> Draft:
        """A new draft in tmp/."""
        try:
            return self.store.draft()
        except OSError as error:
            raise disk_error(self.layout.root, error) from error

    def finish(self, draft: Draft) -> None:
        """All octets of a draft are in; its digest is known from here on."""
        self.store.finish(draft)

    def write(self, draft: Draft, data: bytes) -> None:
        """The next octets of a draft."""
        try:
            draft.write(data)
        except OSError as error:
            raise disk_error(self.layout.root, error) from error

    def commit(self, received: Sequence[Received]) -> list[Filed]:
        """Makes a group durable: files, names, log, catalogue, in this order. Acknowledged when it returns (P2)."""
        if not received:
            return []
        with disk_errors(self.layout.root):
            filed, entries = self.store.settle([item.draft for item in received], lambda: self._decide(received))
            self._append(entries)
            self.store.finish_group()
        return filed

    def _decide(self, received: Sequence[Received]) -> tuple[list[Filed], list[tuple[Record, Headers]]]:
        with self.catalogue.snapshot():
            return self._file(received)

    def _file(self, received: Sequence[Received]) -> tuple[list[Filed], list[tuple[Record, Headers]]]:
        """Decides `add` or `place` for each message of a group, in order. Only asks; writes nothing."""
        now = self._clock()
        heads = [read_headers(item.draft.headers, now) for item in received]
        sound_files = self.catalogue.soundness([item.draft.digest for item in received])
        elsewhere = self.catalogue.message_ids([headers.message_id for headers, _ in heads])
        here: set[str] = set()
        filed, entries = [], []
        for item, (headers, date) in zip(received, heads, strict=True):
            digest, octets, complete, again = item.draft.digest, item.draft.octets, item.complete, item.again
            sound = sound_files.get(digest)
            known = sound is not None
            place = self._run.place(item.entry, digest, octets, date, now, complete=complete, again=again)
            if known and not again and self._came_before(place):
                place = replace(place, again=True)
            message_id = headers.message_id
            other = message_id in here or (message_id in elsewhere and self.catalogue.has_other(message_id, digest))
            version = not sound and bool(message_id) and other
            sound_files[digest] = True
            here.add(message_id)
            filed.append(Filed(item.entry, place, new=not sound, version=version))
            entries.append((place.record(known=known), headers))
        return filed, entries

    def _came_before(self, place: Place) -> bool:
        """Whether this very message at this very entry is recorded already, as often as it came in this session."""
        return self._run.came_again(place, self.catalogue.places_before(self._run.session_start, place))

    def park(self, unique_id: str, listed: int, cause: str, code: str, text: str) -> None:
        """Logs that the server refused a message; its own words are kept as advice."""
        fields = {"maildrop": self._run.maildrop, "unique_id": unique_id, "listed": listed}
        self.append(self.event("park", **fields, cause=cause, code=code or None))
        with disk_errors(self.layout.root), self.catalogue.transaction():
            self.catalogue.remember_text(self._run.maildrop, unique_id, self._run.run, text)

    def adopt(self, entries: Sequence[tuple[MaildropEntry, Digest, int]]) -> None:
        """Logs that listed entries are archived messages, as far as a fingerprint tells: (entry, digest, octets)."""
        now, run = self._clock(), self._run
        places = [
            run.place(entry, digest, octets, self.catalogue.internal_date(digest), now, by="fingerprint")
            for entry, digest, octets in entries
        ]
        for start in range(0, len(places), BATCH):
            some = places[start : start + BATCH]
            with disk_errors(self.layout.root):
                self._append([(place.record(known=True), Headers()) for place in some])

    def advice(self, maildrop: str) -> Advice:
        """What was learned about a maildrop's server, as far as it still counts."""
        with disk_errors(self.layout.root):
            return advice(self.catalogue, maildrop, self._clock())

    def advise(self, maildrop: str, *, window_one: bool = False, shrunken: bool | None = None) -> None:
        """Remembers something about a maildrop's server; may be lost."""
        with disk_errors(self.layout.root):
            advise(self.catalogue, maildrop, self._clock(), window_one=window_one, shrunken=shrunken)

    def gone(self, identities: Iterable[tuple[str, int]]) -> None:
        """Logs that listed messages are not on the server any more."""
        maildrop = self._run.maildrop
        records = [self.event("gone", maildrop=maildrop, unique_id=u, listed=n) for u, n in identities]
        if records:
            self.append(*records)

    def append(self, *records: Record) -> int:
        """Logs and catalogues records that have no message of their own; returns the number of the first."""
        first = self.catalogue.position.records + len(self._run.begin)
        with disk_errors(self.layout.root):
            self._append([(record, None) for record in records])
        return first

    def received(self, unique_id: UniqueId, listed: int) -> list[tuple[Digest, Complete]]:
        """What has come in at this entry in this session, in order."""
        return self.catalogue.received(self._run.maildrop, unique_id, listed, self._run.session_start)

    def amend(self, *places: Place) -> None:
        """Logs what is now known of messages that are in already: the same entries, received again."""
        with disk_errors(self.layout.root):
            self._append([(replace(place, again=True).record(known=True), Headers()) for place in places])

    def _append(self, entries: Sequence[tuple[Record, Headers | None]]) -> None:
        entries = [*((record, None) for record in self._run.begin), *entries]
        before = self.catalogue.position
        after = self._log.append([encode(record) for record, _ in entries], before)
        with self.catalogue.transaction():
            numbered = enumerate(entries, before.records)
            apply(self.catalogue, (Entry(index, record, headers) for index, (record, headers) in numbered))
            self.catalogue.advance(after)
        self._run.begin = []
