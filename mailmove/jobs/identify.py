"""Messages without a usable unique id, known again by their header section (design.md section 6.7).

Strategy: only where UIDL is missing, or where nearly all ids have changed while the maildrop has not (a server was
moved). TOP costs a few per cent of what fetching all would. A fingerprint identifies only when exactly one archived
place of the last listing and exactly one listed entry have it, with the same size; all else is fetched and decided by
its octets. What is known only by a fingerprint is never deleted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailmove.archive.listings import Listings
from mailmove.message import header_section
from mailmove.model import Digest, MaildropEntry
from mailmove.sources import Source

ENOUGH = 20
"""So many ids must have been known before their change means anything."""


@dataclass(frozen=True, slots=True)
class Identified:
    """One listed entry that is an archived message; `octets` is the size of its file."""

    entry: MaildropEntry
    digest: Digest
    octets: int


def all_changed(before: int, still_listed: int, listed: int) -> bool:
    """Whether the server gave its messages new ids: fewer than 10 % are left, and the listing is not much shorter."""
    return before >= ENOUGH and still_listed * 10 < before and listed * 2 >= before


def identify(
    source: Source, listings: Listings, entries: Sequence[MaildropEntry], listed_ids: set[str]
) -> list[Identified]:
    """Asks for the header sections of `entries`, and tells which of them are archived. Raises as Source.heads."""
    marks = list(_fingerprints(source, entries))
    times = Counter((fingerprint, entry.octets) for entry, fingerprint in marks)
    found = []
    for entry, fingerprint in marks:
        places = listings.with_fingerprint(fingerprint, entry.octets)
        if times[fingerprint, entry.octets] != 1 or len(places) != 1:
            continue
        digest, old_id, octets = places[0]
        if not old_id or old_id not in listed_ids:
            found.append(Identified(entry, digest, octets))
    return found


def _fingerprints(source: Source, entries: Sequence[MaildropEntry]) -> Iterator[tuple[MaildropEntry, str]]:
    """(entry, fingerprint); after the first refusal, TOP does not work here, and nothing more is asked."""
    if not entries:
        return
    (_, first), *_ = list(source.heads(entries[:1]))
    if first is None:
        return
    yield entries[0], _fingerprint(first)
    for entry, head in source.heads(entries[1:]):
        if head is not None:
            yield entry, _fingerprint(head)


def _fingerprint(octets: bytes) -> str:
    section = header_section(octets)
    return hashlib.sha256(octets if section is None else section).hexdigest()
