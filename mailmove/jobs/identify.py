"""Messages without a usable unique id, known again by their header section (design.md section 6.7).

Strategy: only where UIDL is missing, or where nearly all ids have changed while the maildrop has not (a server was
moved). TOP costs a few per cent of what fetching all would. A fingerprint identifies only when exactly one archived
place of the last listing and exactly one listed entry have it, with the same size; all else is fetched and decided by
its octets. What is known only by a fingerprint is never deleted. A server that puts the answers to many TOPs on the
wrong messages would make new mail look archived, so the first one is asked for once more behind them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
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
    marks = _fingerprints(source, entries)
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


def _fingerprints(source: Source, entries: Sequence[MaildropEntry]) -> list[tuple[MaildropEntry, str]]:
    """(entry, fingerprint); none where TOP is refused at once, or its answers are not in step with what was asked."""
    first = _marks(source, entries[:1])
    if not first or len(entries) == 1:
        return first
    rest = _marks(source, entries[1:])
    return [*first, *rest] if _marks(source, entries[:1]) == first else []


def _marks(source: Source, entries: Sequence[MaildropEntry]) -> list[tuple[MaildropEntry, str]]:
    return [(entry, _fingerprint(head)) for entry, head in source.heads(entries) if head is not None]


def _fingerprint(octets: bytes) -> str:
    section = header_section(octets)
    return hashlib.sha256(octets if section is None else section).hexdigest()
