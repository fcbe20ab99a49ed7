"""What one session's listing means: what is known, what to fetch, what has gone (design.md section 6.1, 6.2, 6.7, 6.9).

Strategy: the listing is held against the archive once. Unique ids decide; where there are none, or all have changed,
header sections do; what is in doubt is fetched. A listing that shrank to a tenth of the last one is not believed the
first time: nothing is deleted, and what the archive knows of it stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailmove.archive import Archive
from mailmove.archive.listings import Listings
from mailmove.errors import ArchiveFull
from mailmove.jobs import Context, PullJob
from mailmove.jobs.identify import Identified, all_changed, identify
from mailmove.jobs.plan import Key, PullPlan, plan_pull
from mailmove.model import MaildropEntry
from mailmove.sources import Source

BATCH = 500
WORTH_A_WARNING = 10


@dataclass(frozen=True, slots=True)
class View:
    """A listing as the archive sees it. `shrunken`: it may not be the whole maildrop."""

    listing: Sequence[MaildropEntry]
    listings: Listings
    plan: PullPlan
    shrunken: bool


class Looker:
    """Looks at the listings of one run."""

    def __init__(self, job: PullJob, archive: Archive, context: Context) -> None:
        self._job = job
        self._archive = archive
        self._context = context
        self._name = str(job.maildrop)

    def look(
        self,
        source: Source,
        listing: Sequence[MaildropEntry],
        listed: Counter[Key],
        attempted: set[Key],
        limit: int | None,
        *,
        fetched: bool = False,
    ) -> View:
        """`listed` counts the keys of the listing; `fetched`: this run has fetched from this server already.

        Then other ids are other messages, the next batch of a server that lists some hundred at a time. Raises what
        `source.heads` raises, and ArchiveError.
        """
        listings = Listings(self._archive.catalogue, self._name, listing, listed)
        before, still = listings.before, listings.still_listed()
        shrunken = self._is_shrunken(before, len(listing))
        plan = plan_pull(listing, listings.known(), listings.skipped(), attempted, limit, listed)
        changed = not fetched and all_changed(before, still, len(listing))
        identified = self._identify(source, listings, plan, changed, listing)
        if identified:
            plan = self._without(plan, identified, listing, listings, attempted, limit)
        if not shrunken:
            self._remember(listings)
        return View(listing, listings, plan, shrunken)

    # ---- without unique ids

    def _identify(
        self, source: Source, listings: Listings, plan: PullPlan, changed: bool, listing: Sequence[MaildropEntry]
    ) -> list[Identified]:
        unknown = [entry for entry in (*plan.retrieve, *plan.beyond_limit) if changed or not entry.unique_id]
        if not unknown or not listings.before:
            return []
        if changed:
            self._context.progress.note(
                "The server has given its messages new unique ids; they are told apart by their header sections."
            )
        found = identify(source, listings, unknown, {entry.unique_id for entry in listing if entry.unique_id})
        self._archive.adopt([(one.entry, one.digest, one.octets) for one in found if one.entry.unique_id])
        return found

    def _without(
        self,
        plan: PullPlan,
        identified: Sequence[Identified],
        listing: Sequence[MaildropEntry],
        listings: Listings,
        attempted: set[Key],
        limit: int | None,
    ) -> PullPlan:
        """The plan again, with what was identified as known. Numbers tell apart what has no id."""
        numbers = {one.entry.number for one in identified}
        rest = [entry for entry in listing if entry.number not in numbers]
        again = plan_pull(rest, listings.known(), listings.skipped(), attempted, limit)
        return replace(again, known=(*plan.known, *(one.entry for one in identified)))

    # ---- what the maildrop was last time

    def _is_shrunken(self, before: int, listed: int) -> bool:
        if before < WORTH_A_WARNING or listed * 10 > before:
            self._archive.advise(self._name, shrunken=False)
            return False
        if self._archive.advice(self._name).shrunken:
            return False
        self._archive.advise(self._name, shrunken=True)
        self._context.progress.note(
            f"The server lists {listed:,} messages, and listed {before:,} of those archived the last time. If that is "
            "wrong, its next listing will show them again; nothing is deleted meanwhile."
        )
        return True

    def _remember(self, listings: Listings) -> None:
        """Logs which archived entries are listed no more, and which are again: changes only."""
        for ids, back in ((listings.absent(), None), (listings.back(), True)):
            for start in range(0, len(ids), BATCH):
                some = [list(identity) for identity in ids[start : start + BATCH]]
                self._archive.append(self._archive.event("gone", maildrop=self._name, back=back, ids=some))


def check_space(archive: Archive, plan: PullPlan) -> None:
    """design.md section 6.2: nothing is retrieved that would not fit."""
    free = archive.free_octets
    if plan.space_needed > free:
        raise ArchiveFull(
            f"{archive.layout.root} needs {plan.space_needed:,} octets of free space for this pull and has {free:,}; "
            "free some, or name an archive on another disk with -a. Nothing was retrieved."
        )
