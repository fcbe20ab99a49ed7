"""What runs have left behind that did not come to their end: killed, interrupted, or failed.

Strategy: a run that ended vouches for what it has received, for the first time or not. Asked for a few hundred entries
at a time, each by the index of its place, or for what few suspects there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailmove.archive.catalogue import Catalogue
from mailmove.model import MaildropEntry, UniqueId

_VOUCHED_FOR = (
    "SELECT 1 FROM places p JOIN runs r ON r.run = p.run WHERE p.maildrop = ? AND p.unique_id = ? AND p.listed = ?"
    " AND p.deleted = 0 AND (r.outcome IN ('complete', 'partial') OR p.run = ?) LIMIT 1"
)
_SUSPECTS = (
    "SELECT p.unique_id, p.listed FROM places p LEFT JOIN runs r ON r.run = p.run WHERE p.maildrop = ?"
    " AND p.complete = 'false' AND p.settled = 0 AND p.deleted = 0 AND p.run != ?"
    " AND coalesce(r.outcome, '') NOT IN ('complete', 'partial')"
)


def cut_off(catalogue: Catalogue, maildrop: str, entries: Sequence[MaildropEntry], run: str) -> list[MaildropEntry]:
    """Those of `entries` that only other runs than `run` have archived, none of which came to its end."""
    number = catalogue.maildrop_id(maildrop)

    def is_vouched_for(entry: MaildropEntry) -> bool:
        values = (number, entry.unique_id, entry.octets, run)
        return catalogue.connection.execute(_VOUCHED_FOR, values).fetchone() is not None

    return [entry for entry in entries if not is_vouched_for(entry)]


def cut_off_suspects(catalogue: Catalogue, maildrop: str, run: str) -> set[tuple[UniqueId, int]]:
    """Unsettled suspects of other runs than `run`, which may never have looked at them a second time."""
    rows = catalogue.connection.execute(_SUSPECTS, (catalogue.maildrop_id(maildrop), run))
    return {(UniqueId(unique_id), octets) for unique_id, octets in rows}
