"""Holds an archive against itself: files against their names, the log, and the catalogue against both.

Strategy: the log comes first (audit_log.py), and with it the catalogue (audit_catalogue.py), since it says what must
be there; then what else is in the folder (audit_folder.py), and the files, shard by shard (audit_files.py), all of them
or those whose turn it is (proofs.py). Takes no lock: a pull may be running, so the catalogue is compared as of one
moment, and before a file is called extra, the .group files and then the log's new tail are read again. Changes nothing;
what was proven when is noted by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from mailmove.archive import Reader
from mailmove.archive.audit_catalogue import COMPARED
from mailmove.archive.audit_files import Files, Proof, is_shard
from mailmove.archive.audit_folder import strangers
from mailmove.archive.audit_log import LogAudit
from mailmove.archive.checkpoint import Checkpoint
from mailmove.archive.failures import disk_errors
from mailmove.archive.findings import SOUND, Finding
from mailmove.archive.layout import SHARD
from mailmove.archive.proofs import Proofs, Scope

__all__ = ["COMPARED", "SOUND", "Audit", "Finding"]

EVERYTHING = Scope()


def _now() -> datetime:
    return datetime.now(UTC)


def _never() -> bool:
    return False


class Audit:
    """One verification. `proven(octets)` is told of each file that was found sound.

    `looked_at` and `shards`: how many of the folders of mail/ that hold something were looked at, and how many there
    are. `messages` and `octets`: what the log says is in all of them.
    """

    def __init__(
        self,
        reader: Reader,
        proven: Callable[[int], None],
        check: Callable[[], None],
        since: Mapping[str, Checkpoint] | None = None,
        scope: Scope = EVERYTHING,
        proofs: Proofs | None = None,
        enough: Callable[[], bool] = _never,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """`since`: checkpoints from elsewhere that the log must extend, by what they are called.

        `enough()` is asked before each shard but the first: whether to end here.
        """
        self.looked_at = self.shards = self.messages = self.octets = 0
        self.left: list[str] = []
        self._reader = reader
        self._proven = proven
        self._scope = scope
        self._proofs = proofs or Proofs(reader.id)
        self._enough = enough
        self._clock = clock
        self._log = LogAudit(reader, check, since or {})
        self._files = Files(reader.layout, self._log, check)
        self._started: dict[str, datetime] = {}

    def run(self, begin: Callable[[int, int], None]) -> Iterator[Finding]:
        """Yields findings; `begin(messages, octets)` is told the size of the work once it is known.

        Raises ArchiveError where the disk fails, and what `check` raises.
        """
        with disk_errors(self._reader.layout.root):
            try:
                yield from self._log.run()
                yield from strangers(self._reader.layout)
                yield from self._mail(begin)
            finally:
                self._log.expected.close()

    def _mail(self, begin: Callable[[int, int], None]) -> Iterator[Finding]:
        entries = self._files.entries()
        here = {name for name, folder in entries.items() if folder and is_shard(name)}
        yield from self._files.strays(entries.keys() - here)
        sizes = self._sizes()
        self.shards = len(here | sizes.keys())
        self.messages, self.octets = (sum(column) for column in zip(*sizes.values(), strict=True)) if sizes else (0, 0)
        self.left = self._scope.choose(here | sizes.keys(), self._proofs)
        counts = [sizes.get(name, (0, 0)) for name in self.left]
        begin(sum(messages for messages, _ in counts), sum(octets for _, octets in counts))
        for name, proofs in self._files.prove(self._next()):
            yield from self._told(name, proofs)

    def _sizes(self) -> dict[str, tuple[int, int]]:
        """Shard -> messages and octets, by the log."""
        query = "SELECT substr(digest, 1, ?), count(*), sum(octets) FROM messages GROUP BY 1"
        rows = self._log.expected.connection.execute(query, (SHARD,))
        return {name: (messages, octets) for name, messages, octets in rows}

    def _next(self) -> Iterator[str]:
        while self.left and not (self._started and self._enough()):
            name = self.left.pop(0)
            self._started[name] = self._clock()
            yield name

    def _told(self, name: str, proofs: list[Proof]) -> Iterator[Finding]:
        """A shard was looked at; it is proven only if nothing is wrong with it, nor with the log that tells of it."""
        self.looked_at += 1
        sound = self._log.sound
        for proof in proofs:
            if proof.octets is not None:
                self._proven(proof.octets)
            if proof.finding is not None:
                sound = sound and proof.finding.sound
                yield proof.finding
        self._proofs.note(name, self._started[name], sound=sound)
