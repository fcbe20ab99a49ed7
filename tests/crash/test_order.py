"""The order of system calls of a group, as strace saw them: files, names, log, catalogue, and only then "stored".

Strategy: Disk (tests/support/disk.py) asserts at every call of a trace what must be durable by then, and writes down
the steps, which are compared. Once with one syncfs for all (where the file system of the temporary folder gets it),
once with an fsync each. A delay injected into unlink, the last step of a group, makes every group's progress line due,
so that each "stored" shows up in the trace.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path, PurePosixPath

from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, finish, start_mailmove
from tests.support.client import HOST, fetch_all
from tests.support.disk import TRACED, Disk
from tests.support.strace import EACH_FILE, traced

GROUPS, MESSAGES = 3, 4
DELAY = "inject=?unlink,unlinkat:delay_exit=1050000"  # microseconds; a progress line is due after one second
STEPS = ["file sync", "rename", "directory sync", "log write", "log sync", "commit", "stored"]


def traced_pull(folder: Path, user: str, *program: str) -> Disk:
    """Pulls GROUPS groups into a new archive in `folder`; what the disk saw."""
    trace, archive = folder / "trace", folder / "mail.mailmove"
    prefix = traced(trace, DELAY, kinds=f"{TRACED},?unlink,unlinkat", texts=65536, program=program)
    with Dovecot(ssl=False) as server:
        port = server.ports["pop3"]
        server.seed(user, mails.varied(GROUPS * MESSAGES, seed=1))
        words = ("pull", f"pop3://{user}@{HOST}:{port}", "-a", archive, "--maildrop", user, "--allow-plaintext")
        options = ("--group-messages", MESSAGES, "--progress", "json", *PASSWORD_FROM_ENV)
        result = finish(start_mailmove(*words, *options, prefix=prefix))
        assert result.code == 0, result
        archives.assert_exactly(archive, fetch_all(port, user))
    disk = Disk(PurePosixPath(archive))
    disk.watch(trace)
    return disk


def assert_in_order(disk: Disk) -> None:
    steps = [step for step, _ in groupby(disk.steps)]
    assert steps[: len(STEPS) * GROUPS] == STEPS * GROUPS
    assert disk.committed == disk.logged == len(disk.files) == GROUPS * MESSAGES
    assert not disk.unsynced and not disk.unnamed and not disk.renamed and not disk.log


def test_every_group_on_the_disk_of_the_temporary_folder(
    needs_dovecot: None, strace: str, tmp_path: Path, user: str
) -> None:
    assert_in_order(traced_pull(tmp_path, user))


def test_every_group_with_a_sync_for_each_file(needs_dovecot: None, strace: str, tmp_path: Path, user: str) -> None:
    assert_in_order(traced_pull(tmp_path, user, *EACH_FILE))
