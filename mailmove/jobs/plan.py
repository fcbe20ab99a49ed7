"""Pure decisions: a listing and what is known of it become a plan (design.md sections 5 "Known?" and 6.2).

Strategy: deciding is a function over plain values; acting is jobs/pull.py. A message is known only if its unique id
*and* its listed octets are those of a recorded place; whatever is in doubt is fetched and decided by its digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mailmove.model import MaildropEntry, UniqueId

Key = tuple[UniqueId, int]
"""What identifies a listed entry over sessions: unique id and listed octets. Not unique on a broken server."""

SPACE_FACTOR = 1.1
SPACE_MARGIN = 64 * 1024 * 1024


def key(entry: MaildropEntry) -> Key:
    return entry.unique_id, entry.octets


@dataclass(frozen=True, slots=True)
class PullPlan:
    """What one session shall do with each listed entry."""

    retrieve: tuple[MaildropEntry, ...] = ()
    known: tuple[MaildropEntry, ...] = ()
    skipped: tuple[MaildropEntry, ...] = ()
    beyond_limit: tuple[MaildropEntry, ...] = ()
    attempted: tuple[MaildropEntry, ...] = ()

    @property
    def octets(self) -> int:
        """Listed octets of what will be retrieved."""
        return sum(entry.octets for entry in self.retrieve)

    @property
    def space_needed(self) -> int:
        """Octets that must be free before the first RETR; an empty plan needs none."""
        return int(self.octets * SPACE_FACTOR) + SPACE_MARGIN if self.retrieve else 0


def plan_pull(
    listing: Sequence[MaildropEntry],
    known: Mapping[Key, int],
    skips: Collection[Key] = (),
    attempted: Collection[Key] = (),
    limit: int | None = None,
) -> PullPlan:
    """Sorts a listing into a plan.

    `known` counts the recorded places of each key: an id listed n times is known when n places are recorded.
    `attempted` was refused earlier in this run and is not asked for again. `limit` is how many more may be retrieved.
    """
    listed = Counter(map(key, listing))
    retrieve: list[MaildropEntry] = []
    sorted_out: dict[str, list[MaildropEntry]] = {"known": [], "skipped": [], "attempted": []}
    for entry in listing:
        where = _reason_not_to(entry, listed, known, skips, attempted)
        (sorted_out[where] if where else retrieve).append(entry)
    cut = len(retrieve) if limit is None else max(limit, 0)
    return PullPlan(
        retrieve=tuple(retrieve[:cut]),
        beyond_limit=tuple(retrieve[cut:]),
        **{name: tuple(entries) for name, entries in sorted_out.items()},
    )


def _reason_not_to(
    entry: MaildropEntry,
    listed: Mapping[Key, int],
    known: Mapping[Key, int],
    skips: Collection[Key],
    attempted: Collection[Key],
) -> str:
    identity = key(entry)
    if entry.unique_id and known.get(identity, 0) >= listed[identity]:
        return "known"
    if identity in skips:
        return "skipped"
    return "attempted" if identity in attempted else ""
