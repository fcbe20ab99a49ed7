"""A pull on a disk of its own, stopped after every system call, and what a power cut would leave each time.

Strategy: `watched` runs mailmove under strace (tests/support/stops.py) with the archive in an image file
(tests/support/images.py). A Camera copies the image wherever it has changed, and writes down beside it what had been
promised by then: messages whose group was through (its .group file is gone, so "stored" may be said), and messages the
server was sent a DELE for. Where the image is the same, the later promises count.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.peer import HONEST, Letter, Peer, Quirks, without
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, finish, kill, start_mailmove
from tests.support.client import HOST
from tests.support.images import Disk
from tests.support.stops import Stops
from tests.support.strace import CALLS, QUIET

GROUP, SESSION = 4, 7
BESIDE = 0.05  # how often the other program syncs, beside every time a file gets its name
LARGE = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 4000
DELETE = ("--delete-after", 0, "--allow-mass-delete", "--session-messages", SESSION)
OLD_KERNEL = ("setarch", "--uname-2.6")
"""mailmove does not trust the syncfs of such a kernel, and syncs each file instead."""

LETTERS = [Letter(f"uid-{n}", body.rstrip() + b"\r\n") for n, body in enumerate([*mails.varied(12, seed=7), LARGE], 1)]
EXPECTED = {letter.unique_id: letter.body for letter in LETTERS}
DIGESTS = {letter.unique_id: archives.digest(letter.body) for letter in LETTERS}
GROUPS = -(-len(LETTERS) // GROUP)

STEPS = {
    "draft written": r"write\(\d+<[^>]*/tmp/[^>/]*-\d+>",
    "group written": r"write\(\d+<[^>]*\.group>",
    "files synced": r"syncfs\(|fsync\(\d+<[^>]*/tmp/",
    "named": r"rename\w*\(.*/mail/",
    "names synced": r"syncfs\(|fsync\(\d+<[^>]*/mail/...>",
    "logged": r"write\(\d+<[^>]*\.jsonl>",
    "log synced": r"fsync\(\d+<[^>]*\.jsonl>",
    "committed": r"f(data)?sync\(\d+<[^>]*/archive.db-wal>",
    "group removed": r"unlink\w*\(.*\.group",
}
PROMISES = {"said": r"write\(2<.*\\\"messages\\\": [1-9]", "DELE": r"sendto\(.*DELE", "QUIT": r"sendto\(.*QUIT"}
"""As strace tells of them."""

GROUP_WRITTEN, NAMED, GROUP_REMOVED = (re.compile(STEPS[step]) for step in ("group written", "named", "group removed"))
DIGEST = re.compile(r"[0-9a-f]{64}")
SAID = re.compile(rb'"messages": (\d+)')
"""How --progress json tells of what is durable."""


@dataclass(frozen=True)
class Way:
    """One way to lose power. `beside`: another program syncs a file of its own on the same disk, now and then."""

    kind: str
    deleting: bool = False
    beside: bool = False
    prefix: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[object, ...]:
        return DELETE if self.deleting else ()

    @property
    def quirks(self) -> Quirks:
        """Without pipelining as little as possible is on its way: what is received again can be counted."""
        return HONEST if self.deleting else Quirks(capabilities=without("PIPELINING"))


@dataclass(frozen=True)
class Cut:
    """A disk after a power cut, and what was promised by then; digests of messages.

    `after`: the calls since the cut before. `received`: unique ids the server had sent. `left`: what it still has.
    """

    image: Path
    after: list[str]
    acknowledged: frozenset[str]
    deleted: frozenset[str]
    received: frozenset[str]
    left: list[Letter]

    @property
    def promised(self) -> frozenset[str]:
        return self.acknowledged | self.deleted

    def came_after(self, step: str) -> bool:
        """Whether this one of STEPS was the last change of the disk, or came since then."""
        return any(re.match(STEPS[step], call) for call in self.after)

    def __str__(self) -> str:
        last = ", ".join(call[:150] for call in self.after[-3:])
        return f"{self.image.name}, {len(self.promised)} promised, after {last}"


@dataclass
class Camera:
    """Takes the disk wherever it has changed, and keeps the books of what was promised."""

    disk: Disk
    peer: Peer
    folder: Path
    cuts: list[Cut] = field(default_factory=list)
    stops: list[Sequence[str]] = field(default_factory=list)
    _state: tuple[int, ...] = ()
    _group: set[str] = field(default_factory=set)
    _acknowledged: set[str] = field(default_factory=set)

    def see(self, calls: Sequence[str]) -> None:
        """All these have returned, and nothing moves."""
        self.stops.append(calls)
        for call in calls:
            self._follow(call)
        if self.disk.state() == self._state:
            self.cuts[-1] = self._cut(self.cuts[-1].image, [*self.cuts[-1].after, *calls])
        else:
            image = self.folder / f"{len(self.cuts)}.img"
            self._state = self.disk.copy(image)
            self.cuts.append(self._cut(image, list(calls)))

    def _follow(self, call: str) -> None:
        if GROUP_WRITTEN.match(call):
            self._group = set(DIGEST.findall(call))
        elif GROUP_REMOVED.match(call):
            self._acknowledged |= self._group
            self._group = set()

    def _cut(self, image: Path, after: list[str]) -> Cut:
        """What the server knows is asked for after the copy was made: it was sent before."""
        drop = self.peer.maildrop
        left, received, deleted = list(drop.listing(()).values()), frozenset(drop.retrievals), self._deleted()
        return Cut(image, after, frozenset(self._acknowledged), deleted, received, left)

    def _deleted(self) -> frozenset[str]:
        """Whatever DELE came for, confirmed or not. Each session numbers what is left by then."""
        alive, deleted = list(self.peer.maildrop.letters), set()
        for session in self.peer.sessions:
            commands = list(session.commands)
            asked = [alive[int(command.split()[1]) - 1] for command in commands if command.startswith("DELE")]
            deleted |= {DIGESTS[letter.unique_id] for letter in asked}
            alive = [letter for letter in alive if "QUIT" not in commands or letter not in asked]
        return frozenset(deleted)


# ---- The run that is watched


def words(port: int, archive: Path, *more: object) -> tuple[object, ...]:
    options = ("--maildrop", "M", "--allow-plaintext", "--json", "--progress", "json", "--group-messages", GROUP)
    return ("pull", f"pop3://me@{HOST}:{port}", "-a", archive, *options, *PASSWORD_FROM_ENV, *more)


def archive_on(disk: Disk) -> Path:
    return disk.root / "mail.mailmove"


def watched(strace: str, way: Way, disk: Disk, folder: Path, rng: random.Random) -> Camera:
    """A whole pull, with a picture of every state of the disk; the last one is what it left."""
    with Peer(LETTERS, way.quirks) as peer:
        camera, stops = Camera(disk, peer, folder), Stops(strace, f"{CALLS},sendto", folder)
        prefix = (*stops.prefix, *way.prefix)
        process = start_mailmove(*words(peer.port, archive_on(disk), *way.options), prefix=prefix, env=QUIET)
        try:
            said = watch(process, stops, camera, rng if way.beside else None)
        except BaseException:
            kill(process)
            finish(process)
            raise
        result = finish(process)
    assert (result.code, result.json()["stored"], said) == (0, len(LETTERS), len(LETTERS)), result
    camera.see(["the end"])
    return camera


def watch(process: subprocess.Popen[str], stops: Stops, camera: Camera, beside: random.Random | None) -> int:
    """Until it ends; how many messages it said are stored. It never says more than what is through."""
    assert process.stderr
    os.set_blocking(process.stderr.fileno(), False)
    said = b""
    for calls in stops:
        if beside and (beside.random() < BESIDE or any(map(NAMED.match, calls))):
            sync_a_file(camera.disk)
        camera.see(calls)
        said += heard(process.stderr.fileno())
        numbers = [int(number) for number in SAID.findall(said)]
        assert max(numbers, default=0) <= len(camera.cuts[-1].acknowledged), (calls, said)
    return max(map(int, SAID.findall(said + heard(process.stderr.fileno()))), default=0)


def heard(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


def sync_a_file(disk: Disk) -> None:
    """Somebody else's: the journal is committed with all names there are by now, whatever has become of the octets."""
    descriptor = os.open(disk.root / "another", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"x")
    os.fsync(descriptor)
    os.close(descriptor)
