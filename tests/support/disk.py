"""What a disk was told, and so what is durable on it: the write order, checked call by call (design.md section 5).

Strategy: a trace of strace is replayed. A write or a new name is not durable until a sync that began after it has
returned without an error. At every call it is asserted what must be durable by then, for every group (the next one may
be coming in meanwhile), and what was seen is written down, so that the order of the steps can be compared as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.support.strace import SYNCS, WRITES, Call, calls

TRACED = "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,syncfs,?rename,?renameat,?renameat2,?mkdir,mkdirat"
"""The calls it understands."""

_LOGGED = re.compile(r'\\"digest\\":\\"([0-9a-f]{64})')
_WAL_HEADER = re.compile(r", 32, 0\)")
_REPORTED = re.compile(r'\\"messages\\": (\d+)')

Changed = dict[PurePosixPath, int]
"""What is not durable, and since which line of the trace."""


@dataclass
class Disk:
    """What is durable, and what mailmove may do by then."""

    root: PurePosixPath
    old_log: bool = False  # it had a segment before the trace begins
    steps: list[str] = field(default_factory=list)
    unsynced: Changed = field(default_factory=dict)  # octets of drafts and .group files
    unnamed: Changed = field(default_factory=dict)  # drafts and .group files whose names in tmp/ may be lost
    renamed: Changed = field(default_factory=dict)  # folders under mail/ with names that may be lost
    announced: set[str] = field(default_factory=set)  # digests in a .group file
    files: set[str] = field(default_factory=set)  # digests of files under mail/
    log: Changed = field(default_factory=dict)
    logged: int = 0
    framed: bool = False  # something is in the database's journal that a sync would make durable
    committed: int = 0
    begun: bool = False

    def watch(self, trace: Path) -> None:
        """All calls of a trace, each when it has happened."""
        for call in sorted(calls(trace), key=lambda one: one.counts):
            self.see(call)

    def see(self, call: Call) -> None:
        """The next call. One that failed has changed nothing, and a sync that failed covers nothing."""
        if call.failed:
            return
        if call.name in WRITES:
            self._write(call)
        elif call.name in SYNCS:
            self._sync(call)
        elif call.name.startswith("rename"):
            self._rename(call, *map(PurePosixPath, call.texts[:2]))
        elif call.name.startswith("mkdir"):
            self._new_name(call, PurePosixPath(call.texts[0]))
        elif call.name == "openat" and "O_CREAT" in call.args:
            self._create(call, PurePosixPath(call.texts[0]))

    def _create(self, call: Call, path: PurePosixPath) -> None:
        if path.parent == self.root / "tmp":
            self.begun = True
            self.unsynced[path] = self.unnamed[path] = call.began
        elif path.suffix == ".jsonl" and not (self.logged or self.old_log):
            self.log[path] = self.log[path.parent] = call.began

    def _write(self, call: Call) -> None:
        if call.path.parent == self.root / "tmp":
            self.unsynced[call.path] = call.began
            if call.path.suffix == ".group":
                self.announced |= set(re.findall(r"[0-9a-f]{64}", call.args))
        elif call.path.parent == self.root / "log" and call.path.suffix == ".jsonl":
            self._log(call)
        elif call.path.name == "archive.db-wal" and self.begun:
            assert not self.log, "committed before the log was synced"
            self.framed |= not _WAL_HEADER.search(call.args)
        elif call.descriptor in (1, 2):
            self._report(call)

    def _log(self, call: Call) -> None:
        digests = _LOGGED.findall(call.args)
        assert set(digests) <= self.files, "logged before the file had its name"
        assert not self.renamed, "logged before the names were synced"
        self.log[call.path] = call.began
        self.logged += len(digests)
        self.steps.append("log write")

    def _rename(self, call: Call, old: PurePosixPath, new: PurePosixPath) -> None:
        if self.root / "mail" not in new.parents:
            return
        lost = {path for path in (*self.unsynced, *self.unnamed) if path == old or path.suffix == ".group"}
        assert not lost, f"{new} was named before it was synced, with its .group file"
        assert new.stem in self.announced, f"{new} is in no .group file"
        self.files.add(new.stem)
        self.renamed[new.parent] = call.began
        self.steps.append("rename")

    def _new_name(self, call: Call, folder: PurePosixPath) -> None:
        if folder.parent == self.root / "mail":
            self.renamed[folder.parent] = call.began

    def _sync(self, call: Call) -> None:
        tmp = call.path == self.root / "tmp"
        if any(path.suffix == ".group" for path in self._durable(call, self.unsynced)):
            self.steps.append("file sync")
        self._durable(call, self.unnamed, all_of_it=tmp)
        for waiting, step in ((self.renamed, "directory sync"), (self.log, "log sync")):
            self.steps += [step] * bool(self._durable(call, waiting))
        if call.path.name == "archive.db-wal" and self.framed:
            self.committed, self.framed = self.logged, False
            self.steps.append("commit")

    def _durable(self, call: Call, waiting: Changed, *, all_of_it: bool = False) -> list[PurePosixPath]:
        """What a sync covers of this, which is no longer waiting: only what was there when the sync began."""
        everything = all_of_it or call.name == "syncfs"
        covered = [path for path, since in waiting.items() if since < call.began and (everything or path == call.path)]
        for path in covered:
            del waiting[path]
        return covered

    def _report(self, call: Call) -> None:
        for number in map(int, _REPORTED.findall(call.args)):
            assert number <= self.committed, f"reported {number} messages when {self.committed} were committed"
            self.steps += ["stored"] * bool(number)
