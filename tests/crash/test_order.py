"""The order of system calls of a group, as strace saw them: files, names, log, catalogue, and only then "stored".

Strategy: the trace is replayed through Disk, a model of what is durable at each moment: a write or a new name is not,
until a sync that began after it has returned. Disk asserts at every call what must be durable by then, for every group
(the next one may be coming in meanwhile), and writes down what it saw, so that the order of the steps can be compared
as well. Once with one syncfs for all (where the file system of the temporary folder gets it), once with an fsync each
(tmpfs). A delay injected into unlink, the last step of a group, makes every group's progress line due, so that each
"stored" shows up in the trace.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

import pytest

from tests.conftest import unavailable
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, finish, start_mailmove
from tests.support.client import HOST, fetch_all

GROUPS, MESSAGES = 3, 4
SYNCS = ("fsync", "fdatasync", "syncfs")
WRITES = ("write", "pwrite64", "writev", "pwritev")
TRACED = "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,syncfs,?rename,?renameat,?renameat2,?mkdir,mkdirat"
DELAY = "inject=?unlink,unlinkat:delay_exit=1050000"  # microseconds; a progress line is due after one second
STEPS = ["file sync", "rename", "directory sync", "log write", "log sync", "commit", "stored"]

CALL = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<args>.*)$")
RESUMED = re.compile(r"^(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>")
DESCRIPTOR = re.compile(r"^(\d+)<([^>]*)>")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
LOGGED = re.compile(r'\\"digest\\":\\"([0-9a-f]{64})')
REPORTED = re.compile(r'\\"messages\\": (\d+)')


@dataclass(frozen=True)
class Call:
    """One system call. `path` belongs to its descriptor; `texts` are its quoted arguments, still escaped.

    `began` is the line of the trace where it did.
    """

    began: int
    name: str
    path: PurePosixPath
    number: int
    texts: list[str]
    args: str


def calls(trace: Path) -> Iterator[Call]:
    """Every call at the moment that counts: a sync when it has returned, anything else when it begins."""
    waiting: dict[str, Call] = {}
    for number, line in enumerate(trace.read_text("utf-8", "replace").splitlines()):
        if resumed := RESUMED.match(line):
            if resumed["thread"] in waiting:
                yield waiting.pop(resumed["thread"])
        elif found := CALL.match(line):
            call = parse(number, found["name"], found["args"])
            if call.name in SYNCS and line.endswith("<unfinished ...>"):
                waiting[found["thread"]] = call
            else:
                yield call


def parse(began: int, name: str, args: str) -> Call:
    descriptor = DESCRIPTOR.match(args)
    number, path = (int(descriptor[1]), descriptor[2]) if descriptor else (-1, "")
    return Call(began, name, PurePosixPath(path), number, STRING.findall(args), args)


Changed = dict[PurePosixPath, int]
"""What is not durable, and since which line of the trace."""


@dataclass
class Disk:
    """What is durable, and what mailmove may do by then."""

    root: PurePosixPath
    steps: list[str] = field(default_factory=list)
    unsynced: Changed = field(default_factory=dict)  # octets of drafts and .group files
    unnamed: Changed = field(default_factory=dict)  # drafts and .group files whose names in tmp/ may be lost
    renamed: Changed = field(default_factory=dict)  # folders under mail/ with names that may be lost
    announced: set[str] = field(default_factory=set)  # digests in a .group file
    files: set[str] = field(default_factory=set)  # digests of files under mail/
    log: Changed = field(default_factory=dict)
    logged: int = 0
    committed: int = 0
    begun: bool = False

    def see(self, call: Call) -> None:
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
        elif path.suffix == ".jsonl" and not self.logged:
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
        elif call.number in (1, 2):
            self._report(call)

    def _log(self, call: Call) -> None:
        digests = LOGGED.findall(call.args)
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
        if call.path.name == "archive.db-wal" and self.begun:
            self.committed = self.logged
            self.steps.append("commit")

    def _durable(self, call: Call, waiting: Changed, *, all_of_it: bool = False) -> list[PurePosixPath]:
        """What a sync covers of this, which is no longer waiting: only what was there when the sync began."""
        everything = all_of_it or call.name == "syncfs"
        covered = [path for path, since in waiting.items() if since < call.began and (everything or path == call.path)]
        for path in covered:
            del waiting[path]
        return covered

    def _report(self, call: Call) -> None:
        for number in map(int, REPORTED.findall(call.args)):
            assert number <= self.committed, f"reported {number} messages when {self.committed} were committed"
            self.steps += ["stored"] * bool(number)


# ---- The tests


@pytest.fixture(scope="module")
def strace() -> str:
    program = shutil.which("strace")
    if not program:
        unavailable("strace is not installed (Debian: apt install strace)")
    assert program
    if subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True).returncode:
        unavailable("strace may not trace processes here")
    return program


@pytest.fixture
def tmpfs_folder() -> Iterator[Path]:
    if not Path("/dev/shm").is_dir():
        unavailable("there is no tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="mailmove-") as folder:
        yield Path(folder)


def traced_pull(strace: str, folder: Path, user: str) -> Disk:
    """Pulls GROUPS groups into a new archive in `folder`; what the disk saw."""
    trace, archive = folder / "trace", folder / "mail.mailmove"
    prefix = (
        strace,
        "-f",
        "-y",
        "-s",
        "65536",
        "-e",
        f"trace={TRACED},?unlink,unlinkat",
        "-e",
        DELAY,
        "-o",
        str(trace),
    )
    with Dovecot(ssl=False) as server:
        port = server.ports["pop3"]
        server.seed(user, mails.varied(GROUPS * MESSAGES, seed=1))
        words = ("pull", f"pop3://{user}@{HOST}:{port}", "-a", archive, "--maildrop", user, "--allow-plaintext")
        options = ("--group-messages", MESSAGES, "--progress", "json", *PASSWORD_FROM_ENV)
        result = finish(start_mailmove(*words, *options, prefix=prefix))
        assert result.code == 0, result
        archives.assert_exactly(archive, fetch_all(port, user))
    disk = Disk(PurePosixPath(archive))
    for call in calls(trace):
        disk.see(call)
    return disk


def assert_in_order(disk: Disk) -> None:
    steps = [step for step, _ in groupby(disk.steps)]
    assert steps[: len(STEPS) * GROUPS] == STEPS * GROUPS
    assert disk.committed == disk.logged == len(disk.files) == GROUPS * MESSAGES
    assert not disk.unsynced and not disk.unnamed and not disk.renamed and not disk.log


def test_every_group_on_the_disk_of_the_temporary_folder(
    needs_dovecot: None, strace: str, tmp_path: Path, user: str
) -> None:
    assert_in_order(traced_pull(strace, tmp_path, user))


def test_every_group_with_a_sync_for_each_file(needs_dovecot: None, strace: str, tmpfs_folder: Path, user: str) -> None:
    assert_in_order(traced_pull(strace, tmpfs_folder, user))
