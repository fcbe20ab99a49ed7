"""One run, as the archive sees it: what comes in, what is filed, what all its records carry (design.md section 5).

Strategy: data that asks no catalogue and writes nothing; both are the Archive's. `Received` waits in memory for its
group, `Filed` is what the caller hears once it is durable, and `Run` is what lies between: it knows which run and
maildrop all records name, and how often an entry came already in the session under way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from mailmove.archive.drafts import Draft
from mailmove.archive.records import Place, Record
from mailmove.model import Complete, Digest, InternalDate, MaildropEntry, RunId


@dataclass(slots=True)
class Received:
    """One message that came in whole, waiting for its group."""

    entry: MaildropEntry
    draft: Draft
    complete: Complete = Complete.YES
    again: bool = False


@dataclass(frozen=True, slots=True)
class Filed:
    """One message that is durable now.

    `new`: its octets were not in the archive before, or not sound. `version`: another message has its Message-ID.
    """

    entry: MaildropEntry
    place: Place
    new: bool
    version: bool


@dataclass(slots=True)
class Run:
    """The execution in progress: what all its records carry.

    `begin` is its own record, until the first thing the run writes. `session_start` is the number of the first record
    of this session; `seen` counts what came in it and had come before it, too.
    """

    run: RunId
    maildrop: str
    begin: list[Record] = field(default_factory=list)
    session_start: int = 0
    seen: Counter[tuple[str, int, Digest]] = field(default_factory=Counter)

    def place(
        self,
        entry: MaildropEntry,
        digest: Digest,
        octets: int,
        date: InternalDate,
        now: datetime,
        *,
        complete: Complete = Complete.YES,
        again: bool = False,
        by: str = "digest",
    ) -> Place:
        """Where a message of so many octets was found: at this entry of the run's maildrop."""
        return Place(
            digest=digest,
            octets=octets,
            listed=entry.octets,
            complete=complete,
            maildrop=self.maildrop,
            unique_id=entry.unique_id,
            run=self.run,
            time=now,
            internal_date=date,
            by=by,
            again=again,
        )

    def came_again(self, place: Place, earlier: int) -> bool:
        """Counts a message that is recorded `earlier` times from before this session: whether it is one of these.

        So it is when a damaged message is healed, when an entry without a usable unique id is fetched in every run, and
        when one of two entries with the same id was stored before the connection broke.
        """
        if not earlier:
            return False
        key = (place.unique_id, place.listed, place.digest)
        self.seen[key] += 1
        return self.seen[key] <= earlier
