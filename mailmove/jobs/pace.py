"""How much may be under way to a target at once (design.md section 7): as much as the server bears.

Strategy: one number, the share of what the job allows. It is halved when the server asks for patience or a connection
breaks, and grows back with each message that arrives. Groups are announced together, in one record; several
are under way at once, so that the line does not wait for the log, nor for an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailmove.targets import Manner

AHEAD = 4
"""Groups under way at once, by their octets; by their messages twice as many."""

FIRST = 1
"""Messages of a session's first group: it waits for a go-ahead, and the next ones are made ready meanwhile."""

LEAST, GROWTH = 1 / 64, 1.02
CONNECTIONS = 4
"""Where every message costs a round trip."""


@dataclass(slots=True)
class Pace:
    """`messages` and `octets`: of one batch where the server takes batches, else of all that is under way."""

    messages: int = 64
    octets: int = 8 * 1024 * 1024
    connections: int = 0
    share: float = 1.0

    def slower(self) -> None:
        self.share = max(LEAST, self.share / 2)

    def faster(self) -> None:
        self.share = min(1.0, self.share * GROWTH)

    def couriers(self, manner: Manner) -> int:
        """How many sessions at once: one where messages can follow each other without waiting."""
        wanted = self.connections or (1 if manner.pipelined else CONNECTIONS)
        return max(1, int(wanted * self.share))

    def group(self, manner: Manner) -> tuple[int, int]:
        """(messages, octets) that are announced and sent together."""
        parts = 1 if manner.batched else AHEAD
        messages, octets = self._share(self.messages) // parts, self._share(self.octets) // parts
        return max(1, min(messages, manner.most or messages)), max(1, octets)

    def under_way(self, manner: Manner) -> tuple[int, int]:
        """(messages, octets) that may be announced and not settled; one message may always."""
        if self.messages == 1 or not manner.tells_uids:
            return 1, 1  # without UIDs a new floor must be asked for after each group
        messages, octets = self.group(manner)
        ahead = AHEAD * self.couriers(manner)
        return messages * ahead * (2 if manner.batched else 1), octets * ahead

    def _share(self, number: int) -> int:
        return max(1, int(number * self.share))
