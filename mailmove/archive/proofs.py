"""verify.json: when each shard of mail/ was last proven sound, so that a verification in parts gets round to all.

Strategy: advice, in a small file of its own beside archive.db, which only the writer may change: a verification takes
no lock. It is written by rename and may be lost: then shards are read again sooner than need be, and nothing else. Two
verifications at a time each add what they proved to what they find there.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mailmove.archive.layout import SHARD
from mailmove.archive.records import parse_timestamp, timestamp

NAME = "verify.json"
SHARDS = 16**SHARD
NEVER = datetime.min.replace(tzinfo=UTC)
_SHARD = re.compile(f"[0-9a-f]{{{SHARD}}}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which shards a verification is to look at, and in which order.

    `part`: (n, t), the n-th of t equal parts by name. `before`: only shards last proven before that time.
    `oldest_first`: in the order of their last proofs, since there may not be time for all; else by name.
    """

    part: tuple[int, int] = (1, 1)
    before: datetime | None = None
    oldest_first: bool = False

    def choose(self, shards: Collection[str], proofs: Proofs) -> list[str]:
        """The shards to look at, of those that hold something."""
        n, t = self.part
        chosen = [shard for shard in sorted(shards) if int(shard, 16) * t // SHARDS == n - 1]
        if self.before is not None:
            chosen = [shard for shard in chosen if proofs.last(shard) < self.before]
        return sorted(chosen, key=proofs.last) if self.oldest_first else chosen


@dataclass(slots=True)
class Proofs:
    """When each shard was last proven, of one archive."""

    archive_id: str
    _times: dict[str, datetime] = field(default_factory=dict)
    _changes: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def read(cls, state: Path, archive_id: str) -> Proofs:
        """What is known; of a file that is missing, damaged or another archive's: nothing."""
        return cls(archive_id, _read(state / NAME, archive_id))

    def last(self, shard: str) -> datetime:
        """NEVER if it never was, or was found unsound since."""
        return self._times.get(shard, NEVER)

    def note(self, shard: str, when: datetime, *, sound: bool) -> None:
        """A shard was looked at."""
        self._times[shard] = self._changes[shard] = when if sound else NEVER

    def save(self, state: Path) -> None:
        """Adds what was noted to what is there by now. Raises OSError."""
        if not self._changes:
            return
        self._times = _read(state / NAME, self.archive_id) | self._changes
        times = {shard: timestamp(when) for shard, when in sorted(self._times.items()) if when > NEVER}
        draft = state / f"{NAME}.{secrets.token_hex(4)}"
        try:
            draft.write_text(json.dumps({"archive": self.archive_id, "proven": times}, indent=0) + "\n", "ascii")
            draft.replace(state / NAME)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        self._changes = {}


def _read(path: Path, archive_id: str) -> dict[str, datetime]:
    try:
        document = json.loads(path.read_bytes())
        if document["archive"] != archive_id:
            return {}
        return {shard: _time(text) for shard, text in document["proven"].items() if _SHARD.fullmatch(shard)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _time(text: str) -> datetime:
    """Raises ValueError or TypeError if it is none, with its zone."""
    when = parse_timestamp(text)
    if when.tzinfo is None:
        raise ValueError("a time without a zone")
    return when
