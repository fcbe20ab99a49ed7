"""What an archive remembers of a maildrop's listings: what is known, what was there last time, and what may go.

Strategy (design.md section 6): nearly all of a listing was there the last time, so that is read once, in the order of
its index, and compared in memory; only what differs is looked up, by a temporary table (CROSS JOIN: SQLite then takes
the table first, and finds each entry by index). Where SQLite would answer by an index that leads it through the whole
maildrop, the right one is named. Nothing here takes time that grows with the archive. Questions only; what is learned
is logged by the job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import Any

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.records import parse_timestamp
from mailmove.model import Complete, Digest, MaildropEntry, UniqueId

Identity = tuple[UniqueId, int]
"""What a place is listed as: unique id and octets."""

identity_of = itemgetter(1, 2)
"""The Identity of a MaildropEntry."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One archived entry that is still listed: what is needed to decide on its deletion.

    `stored`: when its octets first came from this maildrop. `received`: whether they came under this very unique id,
    and not only by a fingerprint.
    """

    unique_id: UniqueId
    listed: int
    digest: Digest
    stored: datetime
    complete: Complete
    received: bool


class Listings:
    """Questions about one maildrop and the listing of this session."""

    def __init__(
        self,
        catalogue: Catalogue,
        maildrop: str,
        entries: Sequence[MaildropEntry],
        listed: Counter[Identity] | None = None,
    ) -> None:
        """`listed`: how often `entries` have each identity, if that was counted before."""
        self._catalogue = catalogue
        self._name = maildrop
        self._listed = Counter(map(identity_of, entries)) if listed is None else listed
        self._looked_up: Collection[Identity] | None = None

    @property
    def _id(self) -> int:
        """Asked for each time: a new maildrop gets its row with its first record, after the listing."""
        return self._catalogue.maildrop_id(self._name)

    @cached_property
    def _present(self) -> Counter[Identity]:
        """How many archived entries the last complete listing had of each identity."""
        return Counter(self._all("SELECT unique_id, listed FROM places WHERE maildrop = ? AND present = 1", self._id))

    @cached_property
    def _same(self) -> bool:
        """Whether this listing has just what the last one had."""
        return self._present.keys() == self._listed.keys()

    # ---- what is known

    def known(self) -> Mapping[Identity, int]:
        """How many sound places are recorded for each listed identity; for others it says nothing that counts."""
        known = self._present
        if damaged := self._damaged():
            known = known - damaged
        if dict.__eq__(known, self._listed) or not self._id:
            return known
        doubtful = [identity for identity, times in self._listed.items() if known.get(identity, 0) < times]
        return {**known, **self._known_of(doubtful)} if doubtful else known

    def _known_of(self, identities: Sequence[Identity]) -> Counter[Identity]:
        """Looked up one by one: also what was not there the last time."""
        self._look_up(identities)
        return Counter(
            {
                (UniqueId(unique_id), octets): times
                for unique_id, octets, times in self._all(
                    "SELECT p.unique_id, p.listed, count(*) FROM temp.seen l CROSS JOIN places p ON p.maildrop = ?1"
                    " AND p.unique_id = l.unique_id AND p.listed = l.listed WHERE p.counted = 1 AND p.deleted = 0"
                    " AND p.digest NOT IN (SELECT digest FROM messages WHERE damaged = 1) GROUP BY 1, 2",
                    self._id,
                )
            }
        )

    def _damaged(self) -> Counter[Identity]:
        return Counter(
            self._all(
                "SELECT p.unique_id, p.listed FROM messages m CROSS JOIN places p INDEXED BY places_digest"
                " ON p.digest = m.digest WHERE m.damaged = 1 AND p.maildrop = ? AND p.present = 1",
                self._id,
            )
        )

    def skipped(self) -> Mapping[Identity, str]:
        """The reason given by `mailmove skip` for each entry of this maildrop that it settled."""
        return self._by_identity("SELECT unique_id, listed, reason FROM skips WHERE maildrop = ? AND digest = ''")

    def parked(self) -> Mapping[Identity, str]:
        """The cause of each entry of this maildrop that is parked."""
        return self._by_identity("SELECT unique_id, listed, cause FROM parked WHERE maildrop = ?")

    def _by_identity(self, query: str) -> dict[Identity, str]:
        return {(UniqueId(unique_id), octets): value for unique_id, octets, value in self._all(query, self._id)}

    # ---- what was there last time

    @property
    def before(self) -> int:
        """How many archived entries the last complete listing had, less those deleted since."""
        row = self._one("SELECT present FROM maildrops WHERE id = ?", self._id)
        return int(row[0]) if row else 0

    def still_listed(self) -> int:
        """How many of them this listing has too."""
        return self._present.total() - sum(self._present[identity] for identity in self.absent())

    def absent(self) -> list[Identity]:
        """Archived entries that the last complete listing had and this one has not."""
        return [] if self._same else sorted(self._present.keys() - self._listed.keys())

    def back(self) -> list[Identity]:
        """Archived entries that were not listed the last time and are again."""
        if self._same or not (new := self._listed.keys() - self._present.keys()) or not self._id:
            return []
        self._look_up(new)
        rows = self._all(
            "SELECT DISTINCT p.unique_id, p.listed FROM temp.seen l CROSS JOIN places p ON p.maildrop = ?"
            " AND p.unique_id = l.unique_id AND p.listed = l.listed"
            " WHERE p.present = 0 AND p.counted = 1 AND p.deleted = 0",
            self._id,
        )
        return [(UniqueId(unique_id), octets) for unique_id, octets in rows]

    def unfinished(self) -> int:
        """How many listed entries are archived only by runs that did not come to their end, this one among them."""
        self._look_up(self._listed)
        row = self._one(
            "SELECT count(*) FROM (SELECT 1 FROM temp.seen l CROSS JOIN places p ON p.maildrop = ? AND p.unique_id ="
            " l.unique_id AND p.listed = l.listed JOIN runs r ON r.run = p.run WHERE p.deleted = 0"
            " GROUP BY p.unique_id, p.listed HAVING max(r.outcome IN ('complete', 'partial')) = 0)",
            self._id,
        )
        return int(row[0])

    def with_fingerprint(self, fingerprint: str, listed: int) -> list[tuple[Digest, UniqueId, int]]:
        """(digest, unique id, octets of the file) of present places with this header section and size by LIST."""
        rows = self._all(
            "SELECT p.digest, p.unique_id, p.octets FROM messages m CROSS JOIN places p INDEXED BY places_digest"
            " ON p.digest = m.digest WHERE m.fingerprint = ? AND m.fingerprint != '' AND m.damaged = 0"
            " AND p.maildrop = ? AND p.listed = ? AND p.present = 1",
            fingerprint,
            self._id,
            listed,
        )
        return [(Digest(digest), UniqueId(unique_id), octets) for digest, unique_id, octets in rows]

    # ---- deletions

    def asked(self) -> list[tuple[Identity, Digest]]:
        """Deletions that were asked for and never confirmed: their session's QUIT had no answer."""
        rows = self._all(
            "SELECT DISTINCT unique_id, listed, digest FROM places INDEXED BY places_asked WHERE maildrop = ?"
            " AND delete_asked > 0",
            self._id,
        )
        return [((UniqueId(unique_id), listed), Digest(digest)) for unique_id, listed, digest in rows]

    def has_deleted(self, delete_after: float) -> bool:
        """Whether an earlier run deleted here under this policy."""
        row = self._one("SELECT delete_after FROM maildrops WHERE id = ?", self._id)
        return bool(row) and row[0] == delete_after

    def kept(self) -> list[Kept]:
        """Every listed entry that is archived and not suspect: entries with an unsettled suspect copy are left out."""
        self._look_up(self._listed)
        rows = self._all(
            "SELECT p.unique_id, p.listed, p.digest, min(q.time), min(p.complete), max(p.identified_by = 'digest')"
            " FROM temp.seen l CROSS JOIN places p ON p.maildrop = ?1 AND p.unique_id = l.unique_id"
            " AND p.listed = l.listed JOIN places q ON q.maildrop = ?1 AND q.digest = p.digest"
            " WHERE p.deleted = 0 AND p.complete != 'false' AND l.unique_id != '' AND NOT EXISTS"
            " (SELECT 1 FROM places s WHERE s.maildrop = ?1 AND s.unique_id = p.unique_id AND s.listed = p.listed"
            " AND s.deleted = 0 AND s.complete = 'false') GROUP BY p.unique_id, p.listed, p.digest",
            self._id,
        )
        return [
            Kept(UniqueId(u), n, Digest(d), parse_timestamp(time), Complete(complete), bool(received))
            for u, n, d, time, complete, received in rows
        ]

    def first_stored(self, digest: Digest) -> datetime | None:
        """When these octets first came from this maildrop."""
        row = self._one("SELECT min(time) FROM places WHERE maildrop = ? AND digest = ?", self._id, digest)
        return parse_timestamp(row[0]) if row and row[0] else None

    # ----

    def _look_up(self, identities: Collection[Identity]) -> None:
        """Makes `temp.seen` hold these."""
        if identities is self._looked_up:
            return
        connection = self._catalogue.connection
        connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS seen (unique_id TEXT, listed INTEGER, PRIMARY KEY (unique_id, listed))"
            " WITHOUT ROWID"
        )
        connection.execute("BEGIN")
        connection.execute("DELETE FROM temp.seen")
        connection.executemany("INSERT INTO temp.seen VALUES (?, ?)", identities)
        connection.execute("COMMIT")
        self._looked_up = identities

    def _one(self, query: str, *values: object) -> Any:
        return self._catalogue.connection.execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._catalogue.connection.execute(query, values).fetchall()
