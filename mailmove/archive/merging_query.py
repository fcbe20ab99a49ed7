"""Messages of one Message-ID with other bytes, for a target that keeps only the first of them (design.md section 7).

Strategy: one question a message, each answered by an index however large the archive is, so nothing is kept in memory
and what has been sent meanwhile counts at once. The message that goes is one that was delivered to the target before,
or else the first of those that are selected and can be sent; of two messages it is never both, and never none.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailmove.archive.catalogue import Catalogue
from mailmove.model import Digest

_AT_TARGET = (
    "SELECT 1 FROM target_mailboxes b JOIN deliveries d ON d.mailbox = b.id WHERE b.target = :target"
    " AND d.digest = {}.digest AND d.state IN ('delivered', 'uncertain', 'intended')"
)
_GOES = (
    "SELECT 1 FROM temp.selection s WHERE s.digest = o.digest AND s.octets <= :largest"
    " AND s.copies > s.skipped + CASE WHEN :retry_parked THEN 0 ELSE s.parked END"
)
_INSTEAD = (  # noqa: S608 - words of ours
    "SELECT o.digest FROM messages m JOIN messages o ON o.message_id = m.message_id AND o.message_id != ''"
    " AND o.digest != m.digest WHERE m.digest = :digest AND m.message_id != '' AND NOT EXISTS ({m_is_there})"
    " AND (EXISTS ({o_is_there}) OR (o.record < m.record AND o.damaged = 0 AND EXISTS ({o_goes}))) LIMIT 1"
).format(m_is_there=_AT_TARGET.format("m"), o_is_there=_AT_TARGET.format("o"), o_goes=_GOES)
LARGEST = 2**62
_SHARING = (
    "SELECT coalesce(sum(messages), 0) FROM (SELECT count(*) AS messages, max(wanted) AS wanted FROM (SELECT"
    " m.message_id, m.date, max(s.copies > s.delivered) AS wanted FROM temp.selection s JOIN messages m"
    " ON m.digest = s.digest AND m.message_id != '' GROUP BY s.digest) GROUP BY message_id, date"
    " HAVING messages > 1 AND wanted)"
)


def sharing(catalogue: Catalogue) -> int:
    """How many messages of the selections have Message-ID and Date of another one, and are in part still to be sent.

    After the selections were made (Deliveries.select); a Date that cannot be read is like any other such.
    """
    return int(catalogue.connection.execute(_SHARING).fetchone()[0])


@dataclass(frozen=True, slots=True)
class Versions:
    """Questions about one target, after the selections were made (Deliveries.select).

    `largest`: octets of a message the target takes; `retry_parked`: what it refused before is sent again.
    """

    catalogue: Catalogue
    target: str
    largest: int | None = None
    retry_parked: bool = False

    def __post_init__(self) -> None:
        self.catalogue.connection.execute("CREATE INDEX IF NOT EXISTS temp.selection_digest ON selection (digest)")

    def message_id(self, digest: Digest) -> str:
        """As the catalogue has it: without folding, and of bounded length; "" if there is none."""
        query = "SELECT message_id FROM messages WHERE digest = ?"
        row = self.catalogue.connection.execute(query, (digest,)).fetchone()
        return str(row[0]) if row else ""

    def instead_of(self, digest: Digest) -> Digest | None:
        """The message that goes to the target in place of this one; None if it goes itself."""
        values = {
            "digest": digest,
            "target": self.target,
            "largest": LARGEST if self.largest is None else self.largest,
            "retry_parked": self.retry_parked,
        }
        row = self.catalogue.connection.execute(_INSTEAD, values).fetchone()
        return Digest(row[0]) if row else None
