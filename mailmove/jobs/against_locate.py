"""Where in a mailbox are deliveries that no UID leads to, and what is there twice? (design.md section 7)

Strategy: the server's UIDs may be missing (no UIDPLUS), stale (the mailbox was made anew) or gone (moved and back). So
the octets decide: first everything of the right size, each message fetched once and known by its digest; then, for
what is left, what has the same Message-ID, or none, as a server may have rewritten it. What only resembles is told of
and never taken. Messages are fetched many at a time, some megabytes in memory, however large the mailbox.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from mailmove.archive.against import PAGE, Comparison, Ours, Theirs
from mailmove.archive.deliveries import Repaired
from mailmove.archive.layout import Layout
from mailmove.archive.reading import read_message
from mailmove.archive.records import Record
from mailmove.errors import ArchiveDamaged
from mailmove.jobs import Context
from mailmove.jobs.against_verdict import THERE, Kind, Verdict, difference, rewriting
from mailmove.jobs.claims import Claim, Claims
from mailmove.jobs.journal import Journal
from mailmove.jobs.likeness import Likeness, canonical, munged, normal_id
from mailmove.jobs.mended import as_sent, likeness
from mailmove.model import Digest
from mailmove.targets import Receipt, Target

MEMORY = 8 * 1024 * 1024
"""Octets fetched at once; a larger message is fetched alone."""


@dataclass(frozen=True, slots=True)
class Located:
    """What was found of a delivery: its place, if that is certain; else `uid` is of a message much like it, or 0."""

    ours: Ours
    verdict: Verdict
    theirs: Theirs | None = None
    uid: int = 0


def list_mailbox(held: Comparison, target: Target, context: Context) -> None:
    """Takes down what the selected mailbox holds: UIDs, sizes, Message-IDs and dates, a page a round trip."""

    def listed() -> Iterator[Theirs]:
        for found in target.found(1, message_ids=True, dates=True):
            context.check()
            yield Theirs(found.uid, found.octets, normal_id(found.message_id), found.internal_date)

    held.listed(listed())


def bodies(target: Target, listed: Iterable[tuple[int, int]], context: Context) -> Iterator[tuple[int, bytes]]:
    """(UID, octets as the server has them) of messages given as (UID, size); those that are gone are left out."""
    batch: list[int] = []
    size = 0
    for uid, octets in listed:
        if batch and (len(batch) >= PAGE or size + octets > MEMORY):
            context.check()
            yield from target.bodies_of(batch).items()
            batch, size = [], 0
        batch.append(uid)
        size += octets
    yield from target.bodies_of(batch).items()


def digest_of(octets: bytes) -> Digest:
    return Digest(hashlib.sha256(octets).hexdigest())


class Search:
    """Looks for every delivery whose place is not known, among the messages that no receipt names."""

    def __init__(self, held: Comparison, target: Target, layout: Layout, context: Context) -> None:
        self._held, self._target = held, target
        self._layout, self._context = layout, context

    def run(self) -> Iterator[Located]:
        """One answer for each of them. Raises what the target raises."""
        yield from self._by_digest()
        for some in self._held.unplaced():
            yield from self._by_likeness(some)

    def _by_digest(self) -> Iterator[Located]:
        for uid, octets in self._bodies(chain.from_iterable(self._held.of_a_size())):
            if ours := self._held.unplaced_like(digest_of(octets)):
                yield Located(ours, as_repaired(THERE, ours), self._held.place(ours, uid), uid)

    def _by_likeness(self, some: Sequence[Ours]) -> Iterator[Located]:
        wanted = [likeness(self._layout, ours.digest, ours.repaired) for ours in some]
        claims = Claims(wanted)
        forms: dict[int, str] = {}
        for uid, octets in self._bodies(chain.from_iterable(self._candidates(wanted))):
            claims.offer(uid, theirs := Likeness.of(octets))
            forms[uid] = theirs.canonical
        only_like: list[tuple[Ours, Claim]] = []
        for ours, form, claim in zip(some, wanted, claims.settle(), strict=True):
            if claim.certain:
                verdict = self._rewritten(ours, as_it_was=forms[claim.uid] == form.canonical)
                yield Located(ours, verdict, self._held.place(ours, claim.uid), claim.uid)
            elif claim.uid:
                only_like.append((ours, claim))
            else:
                yield Located(ours, Verdict(Kind.MISSING) if form.whole else unproven())
        yield from self._only_like(only_like)

    def _candidates(self, wanted: Sequence[Likeness]) -> Iterator[list[tuple[int, int]]]:
        """(UID, size) of what may be one of these."""
        message_ids = {one.message_id for one in wanted if one.message_id}
        sizes = {size for one in wanted for size in one.sizes}
        nameless = {size for one in wanted if not one.message_id for size in one.sizes}
        return self._held.alike(message_ids, sizes, nameless)

    def _rewritten(self, ours: Ours, *, as_it_was: bool) -> Verdict:
        """Proven by the known rewritings (`as_it_was`: but that of 8-bit headers); unchanged it was found before."""
        octets = self._went_out(ours)
        form = canonical(octets)
        verdict = Verdict(Kind.REWRITTEN, rewriting(octets, form if as_it_was else munged(form)))
        return as_repaired(verdict, ours)

    def _went_out(self, ours: Ours) -> bytes:
        """Nearly, if another mailmove repaired it otherwise than this one would."""
        try:
            return as_sent(self._layout, ours.digest, ours.repaired)
        except ArchiveDamaged:
            return read_message(self._layout, ours.digest)

    def _only_like(self, pairs: Sequence[tuple[Ours, Claim]]) -> Iterator[Located]:
        by_uid: defaultdict[int, list[Ours]] = defaultdict(list)
        for ours, claim in pairs:
            by_uid[claim.uid].append(ours)
        for uid, octets in self._bodies((uid, MEMORY // 16) for uid in sorted(by_uid)):
            for ours in by_uid.pop(uid):
                what = difference(self._went_out(ours), octets)
                yield Located(ours, Verdict(Kind.ALTERED, f"only a changed copy is there (UID {uid}): {what}"), uid=uid)
        for ours in chain.from_iterable(by_uid.values()):
            yield Located(ours, Verdict(Kind.MISSING))

    def _bodies(self, listed: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
        return bodies(self._target, listed, self._context)


def renewal(journal: Journal, ours: Ours, receipt: Receipt) -> Record:
    """The record that gives a delivery its new place; what came there otherwise stays so, and the date is kept."""
    by = "present" if ours.how == "present" else "found"
    return journal.renewed(ours.receipt, receipt, by, ours.sent)


def as_repaired(verdict: Verdict, ours: Ours) -> Verdict:
    """What was sent is not the archive's message, if its owner wanted it so (`replay --repair`): that is told."""
    if ours.repaired is None or verdict.kind not in (Kind.THERE, Kind.REWRITTEN):
        return verdict
    asked = f"it was sent altered as --repair asked for ({', '.join(ours.repaired.repairs)})"
    return Verdict(Kind.REWRITTEN, "; ".join(filter(None, (asked, verdict.reason))))


def unproven() -> Verdict:
    """Of a message that is damaged here, nobody can tell what is not there."""
    return Verdict(Kind.UNPROVEN, "the archive's own copy is damaged, so nobody can tell; `mailmove repair` mends it")


def second_copies(held: Comparison, target: Target, layout: Layout, context: Context) -> Iterator[tuple[int, Digest]]:
    """(UID, digest) of messages that no receipt names and that are messages of ours, proven by all their octets."""

    @lru_cache(maxsize=1000)
    def form(digest: Digest, repaired: Repaired | None) -> str:
        return likeness(layout, digest, repaired).canonical

    for uid, octets in bodies(target, chain.from_iterable(held.twins()), context):
        originals, theirs = held.originals(uid), Likeness.of(octets)
        same = (ours for ours in originals if ours.sent_digest == theirs.exact)
        alike = (ours for ours in originals if form(ours.digest, ours.repaired) == theirs.canonical)
        if found := next(chain(same, alike), None):
            yield uid, found.digest
