"""Pure decisions: a listing and what is known of it become a plan (design.md sections 5 "Known?" and 6.2).

Strategy: deciding is a function over plain values; acting is jobs/pull.py. A message is known only if its unique id
*and* its listed octets are those of a recorded place; whatever is in doubt is fetched and decided by its digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from mailmove.model import MaildropEntry, UniqueId

Key = tuple[UniqueId, int]
"""What identifies a listed entry over sessions: unique id and listed octets. Not unique on a broken server."""

SPACE_FACTOR = 1.1
SPACE_MARGIN = 64 * 1024 * 1024


key: Callable[[MaildropEntry], Key] = itemgetter(1, 2)
"""The Key of an entry."""


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
    listed: Mapping[Key, int] | None = None,
) -> PullPlan:
    """Sorts a listing into a plan.

    `known` counts the recorded places of each key: an id listed n times is known when n places are recorded.
    `attempted` was refused earlier in this run and is not asked for again. `limit` is how many more may be retrieved.
    `listed`: how often the listing has each key, if that was counted before.
    """
    times = Counter(map(key, listing)) if listed is None else listed
    if times.items() <= known.items() and all(map(itemgetter(0), times)):
        return PullPlan(known=tuple(listing))
    unknown = {identity for identity, n in times.items() if known.get(identity, 0) < n or not identity[0]}
    new = [entry for entry in listing if key(entry) in unknown]
    retrieve = [entry for entry in new if key(entry) not in skips and key(entry) not in attempted]
    cut = len(retrieve) if limit is None else max(limit, 0)
    return PullPlan(
        retrieve=tuple(retrieve[:cut]),
        known=tuple(entry for entry in listing if key(entry) not in unknown),
        skipped=tuple(entry for entry in new if key(entry) in skips),
        beyond_limit=tuple(retrieve[cut:]),
        attempted=tuple(entry for entry in new if key(entry) not in skips and key(entry) in attempted),
    )
