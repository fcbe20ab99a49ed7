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
from mailmove.archive.deliveries import Deliveries, Open, Repaired
from mailmove.archive.records import Record
from mailmove.jobs import Context
from mailmove.jobs.claims import Claim, Claims
from mailmove.jobs.journal import Journal
from mailmove.jobs.likeness import Likeness
from mailmove.jobs.mended import likeness
from mailmove.model import Digest
from mailmove.targets import Found, MailboxState, Receipt, Target

YOUNG = timedelta(minutes=10)
"""A delivery announced longer ago than this is over, whatever became of it."""

QUIET = 5.0
LONGEST_WAIT = 60.0
"""Seconds."""

BUNCH, BUNCH_OCTETS = 100, 4 * 1024 * 1024
"""Messages, and octets of them, that are fetched together to be looked at."""


@dataclass(slots=True)
class Reconciled:
    """What became of deliveries that were announced and never settled."""

    delivered: list[Open] = field(default_factory=list)
    uncertain: list[Open] = field(default_factory=list)
    not_there: list[Open] = field(default_factory=list)


def reconcile(
    target: Target,
    state: MailboxState,
    archive: Archive,
    journal: Journal,
    context: Context,
    labels: Sequence[str] = (),
) -> Reconciled:
    """Settles every open delivery of the selected mailbox; what is there gets the labels. Raises as the target does."""
    deliveries = journal.deliveries
    if not (rows := deliveries.open()):
        return Reconciled()
    if context.clock() - max(row.time for row in rows) < YOUNG:
        wait_until_quiet(target, context, max(QUIET, 3 * deliveries.facts().slowest_window))
    same = all(row.uidvalidity == state.uidvalidity for row in rows)
    floor = min(row.floor for row in rows) if same else 1
    elsewhere = [local_likeness(archive, *one) for one in deliveries.perhaps_among(rows)]
    wanted = [local_likeness(archive, row.digest, row.repaired) for row in rows]
    candidates = unclaimed(target, deliveries, state.uidvalidity, floor)
    claims = match(target, [*elsewhere, *wanted], candidates, context)[len(elsewhere) :]
    known = [(row, claim) for row, claim, ours in zip(rows, claims, wanted, strict=True) if claim.certain or ours.whole]
    if labels and (uids := [claim.uid for _, claim in known if claim.certain]):
        target.label(uids, labels)
    return _log(journal, state, known)


def wait_until_quiet(target: Target, context: Context, seconds: float) -> None:
    """Until the mailbox has not changed for so long, 60 s at most."""
    context.progress.note(
        f"An earlier delivery was cut off; watching the target until it has been quiet for {seconds:.0f} s."
    )
    end = time.monotonic() + LONGEST_WAIT
    last = target.moment()
    while (left := end - time.monotonic()) > 0:
        context.sleep(min(seconds, left))
        if (now := target.moment()) == last:
            return
        last = now


def local_likeness(archive: Archive, digest: Digest, repaired: Repaired | None = None) -> Likeness:
    """What an archived message looks like as it went out; of a damaged one only its digest is known."""
    return likeness(archive.layout, digest, repaired)


def unclaimed(target: Target, deliveries: Deliveries, uidvalidity: int, floor: int) -> Iterator[Found]:
    """Messages of the mailbox from `floor` up that are in no receipt of ours."""
    for found in target.found(floor):
        if not deliveries.has_receipt(uidvalidity, found.uid):
            yield found


def match(target: Target, wanted: Sequence[Likeness], candidates: Iterator[Found], context: Context) -> Sequence[Claim]:
    """Fetches candidates, those of a fitting size first, until all that is wanted is claimed or none is left."""
    claims = Claims(wanted)
    sizes = frozenset[int]().union(*(likeness.sizes for likeness in wanted))
    for bunch in _bunches(sorted(candidates, key=lambda found: (found.octets not in sizes, found.uid))):
        context.check()
        if claims.satisfied:
            break
        bodies = target.bodies_of([found.uid for found in bunch])
        for found in bunch:
            if found.uid in bodies:
                claims.offer(found.uid, Likeness.of(bodies[found.uid]))
    return claims.settle()


def _bunches(candidates: Sequence[Found]) -> Iterator[list[Found]]:
    bunch: list[Found] = []
    octets = 0
    for found in candidates:
        if bunch and (len(bunch) >= BUNCH or octets + found.octets > BUNCH_OCTETS):
            yield bunch
            bunch, octets = [], 0
        bunch.append(found)
        octets += found.octets
    if bunch:
        yield bunch


def _log(journal: Journal, state: MailboxState, known: Sequence[tuple[Open, Claim]]) -> Reconciled:
    """What is not among these stays open: of a message that is damaged here, nobody can tell what is not there."""
    found = Reconciled()
    records: list[Record] = []
    for row, claim in known:
        if claim.certain:
            receipt = Receipt(state.uidvalidity, claim.uid)
            how = row.repaired
            records.append(journal.delivered(row.digest, receipt, "found", intend=row.intend, repaired=how))
            found.delivered.append(row)
        elif claim.uid:
            records.append(journal.uncertain(row.digest, claim.uid, row.intend))
            found.uncertain.append(row)
        else:
            records.append(journal.withdrawn(row.digest, "intended", "not-found", intend=row.intend))
            found.not_there.append(row)
    journal.write(records)
    return found
