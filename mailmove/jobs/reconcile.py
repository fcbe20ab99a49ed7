"""After a crash or a drop: which of the announced messages are at the target? (design.md section 7, "Reconciliation")

Strategy: nothing is ever sent again before this has been asked. A server may still be working through the bytes of a
dead connection, so first it is watched until it is quiet. Then everything from the floor up that is not in a receipt is
a candidate; what proves itself is delivered, what only resembles is uncertain, and the rest was never stored.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries, Open
from mailmove.archive.reading import read_message
from mailmove.archive.records import Record
from mailmove.errors import ArchiveDamaged
from mailmove.jobs import Context
from mailmove.jobs.claims import Claim, Claims
from mailmove.jobs.journal import Journal
from mailmove.jobs.likeness import Likeness
from mailmove.model import Digest
from mailmove.targets import Found, MailboxState, Receipt, Target

YOUNG = timedelta(minutes=10)
"""A delivery announced longer ago than this is over, whatever became of it."""

QUIET = 5.0
LONGEST_WAIT = 60.0
POLL = 1.0
"""Seconds."""


@dataclass(slots=True)
class Reconciled:
    """What became of deliveries that were announced and never settled."""

    delivered: list[Open] = field(default_factory=list)
    uncertain: list[Open] = field(default_factory=list)
    not_there: list[Open] = field(default_factory=list)


def reconcile(target: Target, state: MailboxState, archive: Archive, journal: Journal, context: Context) -> Reconciled:
    """Settles every open delivery of the selected mailbox. Raises what the target raises."""
    deliveries = journal.deliveries
    if not (rows := deliveries.open()):
        return Reconciled()
    if context.clock() - max(row.time for row in rows) < YOUNG:
        wait_until_quiet(target, context, max(QUIET, 3 * deliveries.facts().slowest_window))
    same = all(row.uidvalidity == state.uidvalidity for row in rows)
    floor = min(row.floor for row in rows) if same else 1
    wanted = [local_likeness(archive, row.digest) for row in rows]
    claims = match(target, wanted, unclaimed(target, deliveries, state.uidvalidity, floor), context)
    known = [(row, claim) for row, claim, ours in zip(rows, claims, wanted, strict=True) if claim.certain or ours.whole]
    return _log(journal, state, known)


def wait_until_quiet(target: Target, context: Context, seconds: float) -> None:
    """Until the mailbox has not changed for so long, 60 s at most."""
    context.progress.note(
        f"An earlier delivery was cut off; watching the target until it has been quiet for {seconds:.0f} s."
    )
    end = time.monotonic() + LONGEST_WAIT
    last, since = target.moment(), time.monotonic()
    while time.monotonic() - since < seconds and time.monotonic() < end:
        context.sleep(POLL)
        if (now := target.moment()) != last:
            last, since = now, time.monotonic()


def local_likeness(archive: Archive, digest: Digest) -> Likeness:
    """What an archived message looks like; of a damaged one only its digest is known."""
    try:
        return Likeness.of(read_message(archive.layout, digest))
    except ArchiveDamaged:
        return Likeness(digest)


def unclaimed(target: Target, deliveries: Deliveries, uidvalidity: int, floor: int) -> Iterator[Found]:
    """Messages of the mailbox from `floor` up that are in no receipt of ours."""
    for found in target.found(floor):
        if not deliveries.has_receipt(uidvalidity, found.uid):
            yield found


def match(target: Target, wanted: Sequence[Likeness], candidates: Iterator[Found], context: Context) -> Sequence[Claim]:
    """Fetches candidates, those of a fitting size first, until all that is wanted is claimed or none is left."""
    claims = Claims(wanted)
    sizes = frozenset[int]().union(*(likeness.sizes for likeness in wanted))
    for found in sorted(candidates, key=lambda found: (found.octets not in sizes, found.uid)):
        context.check()
        if claims.satisfied:
            break
        if (octets := target.body(found.uid)) is not None:
            claims.offer(found.uid, Likeness.of(octets))
    return claims.settle()


def _log(journal: Journal, state: MailboxState, known: Sequence[tuple[Open, Claim]]) -> Reconciled:
    """What is not among these stays open: of a message that is damaged here, nobody can tell what is not there."""
    found = Reconciled()
    records: list[Record] = []
    for row, claim in known:
        if claim.certain:
            receipt = Receipt(state.uidvalidity, claim.uid)
            records.append(journal.delivered(row.digest, receipt, "found", intend=row.intend))
            found.delivered.append(row)
        elif claim.uid:
            records.append(journal.uncertain(row.digest, claim.uid, row.intend))
            found.uncertain.append(row)
        else:
            records.append(journal.withdrawn(row.digest, "intended", "not-found", intend=row.intend))
            found.not_there.append(row)
    journal.write(records)
    return found
