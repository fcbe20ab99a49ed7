"""Deletion on the server: last, asked for, and only of what is proven (design.md P5, sections 6.4 and 6.5).

Strategy: what is due is decided by pure rules; then every stored file is read again and hashed; then the log says what
is asked for; only then DELE goes out. Nothing counts as deleted before the server has confirmed QUIT, and a QUIT
without an answer is settled by the next listing. A first run that would empty half of a maildrop only says so.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries
from mailmove.archive.listings import Kept, Listings
from mailmove.archive.reading import is_sound
from mailmove.jobs import Context, PullJob
from mailmove.jobs.plan import Key, key
from mailmove.model import Complete, Digest, MaildropEntry, MessageNumber, ReportedException
from mailmove.sources import Source

BATCH = 500
KEEP_ALIVE = 10.0
"""Seconds of work of our own after which the server hears from us."""


@dataclass(frozen=True, slots=True)
class Due:
    """One listed entry to be deleted, and the file that proves it."""

    entry: MaildropEntry
    digest: Digest


@dataclass(frozen=True, slots=True)
class Policy:
    """When a message may go: `days` after it was stored."""

    days: float
    trust_received: bool = False

    def allows(self, kept: Kept, now: datetime) -> bool:
        """Whether it is old enough and was shown to be whole."""
        whole = kept.complete is Complete.YES or (self.trust_received and kept.complete is Complete.UNRELIABLE_SIZES)
        return whole and kept.stored <= now - timedelta(days=self.days)


def due(
    listing: Sequence[MaildropEntry], kept: Sequence[Kept], policy: Policy, now: datetime
) -> tuple[list[Due], list[MaildropEntry]]:
    """What is to be deleted, and what must be received first since only a fingerprint tells that it is archived.

    An id listed more than once, or with two different contents in the archive, says nothing of the octets behind it.
    """
    by_key: defaultdict[Key, list[Kept]] = defaultdict(list)
    for one in kept:
        by_key[one.unique_id, one.listed].append(one)
    times = Counter(entry.unique_id for entry in listing)
    found, receive = [], []
    for entry in listing:
        places = by_key.get(key(entry), [])
        if times[entry.unique_id] != 1 or len(places) != 1 or not policy.allows(places[0], now):
            continue
        if places[0].received:
            found.append(Due(entry, places[0].digest))
        else:
            receive.append(entry)
    return found, receive


def is_mass(count: int, listed: int) -> bool:
    """Whether so many deletions are more than half of the listing."""
    return count * 2 > listed


class Deletion:
    """The deletions of one run."""

    def __init__(self, job: PullJob, archive: Archive, context: Context) -> None:
        self._job = job
        self._archive = archive
        self._context = context
        self._asked: list[Due] = []
        self._maildrop = str(job.maildrop)
        self.deleted = 0
        self.held_back = 0
        self.forbidden = False
        self.exceptions: list[ReportedException] = []

    @property
    def policy(self) -> Policy | None:
        if self._job.delete_after is None or self.forbidden:
            return None
        return Policy(self._job.delete_after, self._job.trust_received)

    # ---- the beginning of a session

    def settle_earlier(self, listings: Listings, listed: Container[Key]) -> None:
        """Deletions whose QUIT had no answer: what is not listed any more is gone, the rest was not deleted."""
        for event, gone in (("confirmed", True), ("withdrawn", False)):
            places = [[*identity, digest] for identity, digest in listings.asked() if (identity not in listed) is gone]
            self._log(event, places)
            self.deleted += len(places) if gone else 0
        self._asked = []

    def to_receive(self, listing: Sequence[MaildropEntry], listings: Listings) -> list[MaildropEntry]:
        """Known entries that would be due, but must be received first."""
        return due(listing, listings.kept(), self.policy, self._context.clock())[1] if self.policy else []

    # ---- the end of a session

    def carry_out(
        self,
        source: Source,
        listing: Sequence[MaildropEntry],
        listings: Listings,
        received: Mapping[MessageNumber, tuple[Digest, Complete]],
    ) -> None:
        """Proves, logs, and marks as deleted what is due. Raises what the source raises, ArchiveError."""
        policy = self.policy
        if policy is None:
            return
        wanted = self._wanted(listing, listings, received, policy)
        if wanted and self._is_refused(len(wanted), len(listing), listings, policy):
            return
        proven = self._proven(wanted, source)
        self._log("asked", [_place(one) for one in proven], delete_after=policy.days)
        taken = {entry.number for entry in source.delete([one.entry for one in proven])}
        self._asked = [one for one in proven if one.entry.number in taken]
        self._log("withdrawn", [_place(one) for one in proven if one.entry.number not in taken])

    def _wanted(
        self,
        listing: Sequence[MaildropEntry],
        listings: Listings,
        received: Mapping[MessageNumber, tuple[Digest, Complete]],
        policy: Policy,
    ) -> list[Due]:
        now = self._context.clock()
        found = {one.entry.number: one for one in due(listing, listings.kept(), policy, now)[0]}
        for entry in listing:
            if entry.number in received and entry.number not in found:
                digest, complete = received[entry.number]
                stored = listings.first_stored(digest)
                if stored and policy.allows(Kept(entry.unique_id, entry.octets, digest, stored, complete, True), now):
                    found[entry.number] = Due(entry, digest)
        ours = [found[number] for number in sorted(found)]
        targets = self._targets()
        return [one for one in ours if all(any(place.has(one.digest) for place in places) for places in targets)]

    def _targets(self) -> list[list[Deliveries]]:
        catalogue, targets = self._archive.catalogue, self._job.delivered_to
        return [[Deliveries(catalogue, target, mailbox) for mailbox in mailboxes] for target, mailboxes in targets]

    def _is_refused(self, count: int, listed: int, listings: Listings, policy: Policy) -> bool:
        if not is_mass(count, listed) or self._job.allow_mass_delete or listings.has_deleted(policy.days):
            return False
        self.forbidden, self.held_back = True, count
        self.exceptions.append(
            ReportedException(
                "mass-delete",
                f"{count:,} of {listed:,} listed messages would be deleted, more than half, for the first time here; "
                "nothing was deleted: give --allow-mass-delete if you mean it",
                count=count,
            )
        )
        return True

    def _proven(self, wanted: Sequence[Due], source: Source) -> list[Due]:
        """Those whose file is read again and hashes right, a moment before they go."""
        proven, heard = [], time.monotonic()
        for one in wanted:
            self._context.check()
            if is_sound(self._archive.layout, one.digest):
                proven.append(one)
            else:
                reason = "its file is missing or altered, so it was not deleted on the server"
                self.exceptions.append(ReportedException("damaged", reason, digest=one.digest))
            if time.monotonic() - heard > KEEP_ALIVE:
                source.keep_alive()
                heard = time.monotonic()
        return proven

    def confirm(self, confirmed: bool) -> None:
        """QUIT was answered, or not: then the next listing tells."""
        if not confirmed:
            return
        self._log("confirmed", [_place(one) for one in self._asked])
        self.deleted += len(self._asked)
        self._asked = []

    def _log(self, event: str, places: Sequence[object], **fields: object) -> None:
        for start in range(0, len(places), BATCH):
            some = list(places[start : start + BATCH])
            self._archive.append(
                self._archive.event("delete", event=event, maildrop=self._maildrop, **fields, places=some)
            )


def _place(one: Due) -> list[object]:
    return [one.entry.unique_id, one.entry.octets, one.digest]
