"""Messages that go out repaired, because the target refused them as they are (design.md section 7, `--repair`).

Strategy: the repaired octets are made when they are needed and kept nowhere; the archive's file is never touched. What
was done is a pure function of that file and of the repairs' names, and both stand in the log with the digest of what
was sent. So a later run can make the same octets again, to find at the target what an earlier one announced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace

from mailmove.archive.deliveries import Deliveries, Repaired, Selected
from mailmove.archive.layout import Layout
from mailmove.archive.reading import read_message
from mailmove.errors import ArchiveDamaged
from mailmove.jobs.likeness import Likeness
from mailmove.model import Digest, ReportedException
from mailmove.repairs import Repair, apply, repair


@dataclass(frozen=True, slots=True)
class Mended:
    """What goes out in place of a message, and what was done to it."""

    octets: bytes
    how: Repaired


class Mender:
    """Chooses the repairs, once for each message in a run, so that all copies of it go out alike."""

    def __init__(self, layout: Layout, deliveries: Deliveries, wanted: Collection[Repair]) -> None:
        self._layout, self._deliveries, self._wanted = layout, deliveries, wanted
        self._chosen: dict[Digest, tuple[Repair, ...]] = {}

    def mend(self, message: Selected) -> Mended | None:
        """None: it goes out as it is, because it was never refused, or no repair fits. Raises ArchiveDamaged."""
        digest = message.digest
        if digest not in self._chosen and not (self._wanted and message.parked):
            return None
        octets = read_message(self._layout, digest)
        if digest not in self._chosen:
            cause, earlier = self._deliveries.refusal(digest)
            self._chosen[digest] = repair(octets, self._wanted, cause, known(earlier))[1]
        return mended(octets, self._chosen[digest]) if self._chosen[digest] else None


def mended(octets: bytes, repairs: Collection[Repair]) -> Mended:
    """A message with these repairs, which change something."""
    after = apply(octets, repairs)
    sent_digest = Digest(hashlib.sha256(after).hexdigest())
    return Mended(after, Repaired(tuple(one.value for one in repairs), sent_digest))


def told(digest: Digest, how: Repaired) -> ReportedException:
    """For the report, once it is delivered: `digest` is the message's own."""
    reason = f"delivered altered ({', '.join(how.repairs)}), as sha256 {how.digest}; the archive keeps it as it came"
    return ReportedException("repaired", reason, digest=digest)


def known(names: Collection[str]) -> list[Repair]:
    """Those of the names that are repairs of this mailmove."""
    return [one for one in Repair if one.value in names]


def as_sent(layout: Layout, digest: Digest, how: Repaired | None) -> bytes:
    """What went out for an archived message. Raises ArchiveDamaged if that cannot be known any more."""
    octets = read_message(layout, digest)
    if how is None:
        return octets
    octets = apply(octets, known(how.repairs))
    if hashlib.sha256(octets).hexdigest() != how.digest:
        raise ArchiveDamaged(
            f"The repairs of {digest} ({', '.join(how.repairs)}) were made by another mailmove than this one; "
            "what was sent is not known."
        )
    return octets


def likeness(layout: Layout, digest: Digest, how: Repaired | None) -> Likeness:
    """What to look for at a target: the message as it went out.

    Only its digest is known if the file is damaged; and of one that another mailmove repaired otherwise than this one
    would, the digest is that of what was sent, and the rest is nearly right.
    """
    try:
        octets = read_message(layout, digest)
    except ArchiveDamaged:
        return Likeness(how.digest if how else digest)
    if how is None:
        return Likeness.of(octets)
    return replace(Likeness.of(apply(octets, known(how.repairs))), exact=how.digest)
