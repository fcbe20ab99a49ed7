"""Does the target keep the dates it is given? (design.md section 7, InternalDate)

Strategy: asked once for each mailbox, when the first messages ever have arrived there, of a few of them. The question
goes out behind messages that are under way, so that nothing waits for it: when enough have arrived that it would be a
pity to go on, else with the last ones. Nothing is mended; it is told, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from mailmove.jobs.crew import Crew
from mailmove.model import ReportedException
from mailmove.targets import Outgoing, Sent, Target

SAMPLE = 8
"""Messages that are looked at."""

WORTH_IT = 2_000
"""So many messages are not sent before it is known."""

NEAR = timedelta(seconds=1)


class DateCheck:
    """One question about one mailbox, if it is `wanted` at all."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._sent: dict[int, datetime] = {}
        self._arrived = 0
        self._found: Mapping[int, datetime] | None = None
        self._asked = False

    def delivered(self, uid: int, date: datetime) -> None:
        """One more message has arrived; without UIDs nothing can be asked."""
        self._arrived += 1
        if self._wanted and uid and not self._asked and len(self._sent) < SAMPLE:
            self._sent[uid] = date

    @property
    def is_worth_it(self) -> bool:
        return self._arrived >= WORTH_IT

    @property
    def is_open(self) -> bool:
        """Whether it was asked and not answered."""
        return self._asked and self._found is None

    def ask(self, crew: Crew[Outgoing, Sent]) -> None:
        """Asks, if there is something to ask about and it was not asked before."""
        if self._sent and not self._asked:
            self._asked = True
            crew.ask(self._look)

    def _look(self, target: Target) -> None:
        """In a courier's thread."""
        self._found = target.dates_of(list(self._sent))

    def complaints(self, note: Callable[[str], None]) -> list[ReportedException]:
        """What is to be told, if anything is wrong; it is noted, too."""
        found = self._found or {}
        wrong = [(self._sent[uid], date) for uid, date in found.items() if abs(date - self._sent[uid]) > NEAR]
        if not wrong:
            return []
        sent, shown = wrong[0]
        reason = (
            f"the target does not keep the dates it is given: {len(wrong)} of {len(found)} differ, one was sent as of "
            f"{sent:%Y-%m-%d %H:%M:%S} and is shown as of {shown:%Y-%m-%d %H:%M:%S} (UTC)"
        )
        note(f"Beware: {reason}.")
        return [ReportedException("internal-date", reason)]
