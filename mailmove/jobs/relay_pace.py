"""How much may be under way over SMTP or LMTP: as little as keeps the line full (design.md section 7).

Strategy: after a crash nobody can tell what became of what was announced, so what is under way is what may become
uncertain, and is kept small. Where a transaction costs a round trip anyway, some are enough. Where they follow each
other without waiting (CHUNKING), so many are that the line is never idle: as many as a server takes in the time an
answer needs, which is measured. After a drop a quarter of it, which grows back with each delivery. One session, unless
more are asked for: the order of arrival is all that SMTP keeps of the messages' dates.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailmove.targets import RelayTraits

GROUP, GROUP_OCTETS = 32, 2 * 1024 * 1024
"""Messages, and octets of them, that are announced together."""

FEW, MOST, OCTETS = 32, 512, 8 * 1024 * 1024
"""Messages under way where waiting gains nothing, and where the line is long; octets of them in both cases."""

A_SECOND = 4000
"""Messages that a quick server takes in a second."""

LEAST, GROWTH = 1 / 64, 1.02


@dataclass(slots=True)
class RelayPace:
    """`messages`: under way at most, 0 if nobody has said so. `answer`: seconds, the quickest of this run."""

    messages: int = 0
    share: float = 1.0
    answer: float | None = None

    def slower(self) -> None:
        self.share = max(LEAST, self.share / 4)

    def faster(self) -> None:
        self.share = min(1.0, self.share * GROWTH)

    def answered(self, seconds: float) -> None:
        """So long after it was handed over a message was answered."""
        self.answer = seconds if self.answer is None else min(self.answer, seconds)

    def under_way(self, traits: RelayTraits) -> tuple[int, int]:
        """(messages, octets) that may be announced and not settled; one message may always."""
        wanted = FEW
        if traits.chunking and traits.pipelining:
            wanted = min(MOST, FEW + int((self.answer or 0.0) * A_SECOND))
        most = min(wanted, self.messages or wanted)
        return max(1, int(most * self.share)), max(1, int(OCTETS * self.share))

    def group(self, traits: RelayTraits) -> tuple[int, int]:
        """(messages, octets) that are announced together: half of what may be under way, so that some always is.

        Less one: without CHUNKING the last of a group is answered only when the next one begins, and the one after that
        must have room by then, or the line waits for the log.
        """
        messages, octets = self.under_way(traits)
        return max(1, min(GROUP, (messages - 1) // 2)), max(1, min(GROUP_OCTETS, octets // 2))
