"""The account of what is under way: what became of each message, logged before it is counted (design.md, P2).

Strategy: every way in which a message can end has its method here, which notes the log record and what is to be told;
`write` makes them durable, and only then are they counted and shown. Who sends decides when that is worth a sync.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailmove.archive.records import Record
from mailmove.errors import MessageRejected
from mailmove.jobs.journal import Journal
from mailmove.jobs.mended import told
from mailmove.jobs.outgoing import Copy, Letter
from mailmove.jobs.replay_report import Term
from mailmove.jobs.settled import Settled
from mailmove.model import Digest, InternalDate, Progress
from mailmove.targets import Receipt

AT_ONCE = 128
"""Records that are logged at the latest when there are so many."""


class Account:
    """`records` are not logged yet, `fresh` not counted; `settled` is told of what became durable."""

    def __init__(self, journal: Journal, progress: Progress, settled: Callable[[Settled], None]) -> None:
        self._journal, self._progress, self._settled = journal, progress, settled
        self._texts: dict[Digest, str] = {}
        self.records: list[Record] = []
        self.fresh = Settled()

    # ---- what was never sent

    def present(self, letter: Letter, receipt: Receipt) -> None:
        """It came there otherwise."""
        was = letter.withdraw or None
        self.records.append(self._journal.delivered(letter.message.digest, receipt, "present", was=was))
        self.fresh.settle(letter.message, Term.ALREADY_THERE)

    def parked(self, letter: Letter, cause: str, reason: str) -> None:
        """No server would take it."""
        digest = letter.message.digest
        if letter.withdraw:
            self.records.append(self._journal.withdrawn(digest, letter.withdraw, "tried-again"))
        self.records.append(self._journal.parked(digest, cause, ""))
        self.fresh.name("parked", digest, reason)
        self.fresh.settle(letter.message, Term.PARKED)

    def damaged(self, letter: Letter) -> None:
        """Its file is not what it was; nothing is logged, since that can be mended."""
        self.fresh.name("damaged", letter.message.digest, "its file is missing or altered; not sent")
        self.fresh.settle(letter.message, Term.PARKED)

    # ---- what was announced

    def announce(self, group: Sequence[Copy], uidvalidity: int, floor: int) -> int:
        """Logs, with all that is settled, what is about to be sent. Returns the number of the record."""
        records, self.records = self.records, []
        records += [
            self._journal.withdrawn(copy.letter.message.digest, copy.letter.withdraw, "tried-again")
            for copy in group
            if copy.letter.withdraw
        ]
        digests = [copy.letter.message.digest for copy in group]
        repaired = {copy.letter.message.digest: copy.repaired for copy in group if copy.repaired}
        intend = self._journal.intend(uidvalidity, floor, digests, records, repaired)
        self._show()
        return intend

    def delivered(self, copy: Copy, receipt: Receipt) -> None:
        """The target has it."""
        message = copy.letter.message
        date = InternalDate(copy.date, message.internal_date.origin)
        record = self._journal.delivered(
            message.digest, receipt, "append", intend=copy.intend, date=date, repaired=copy.repaired
        )
        self.records.append(record)
        if copy.repaired:
            self.fresh.exceptions.append(told(message.digest, copy.repaired))
        self.fresh.settle(message, Term.DELIVERED)

    def rejected(self, copy: Copy, error: MessageRejected) -> None:
        """The target refuses it."""
        digest = copy.letter.message.digest
        self.records.append(self._journal.parked(digest, error.cause, error.code, intend=copy.intend))
        self._texts[digest] = error.server_text
        self.fresh.name("parked", digest, f"the target refused it ({error.cause})", error.server_text)
        self.fresh.settle(copy.letter.message, Term.PARKED)

    def withdrawn(self, copy: Copy) -> None:
        """It was announced, and is certainly not there."""
        digest = copy.letter.message.digest
        self.records.append(self._journal.withdrawn(digest, "intended", "not-sent", intend=copy.intend))

    # ---- writing

    def write_if_many(self) -> None:
        if len(self.records) >= AT_ONCE:
            self.write()

    def write(self) -> None:
        """Durable when it returns; only now is it counted and shown."""
        records, self.records = self.records, []
        self._journal.write(records)
        self._show()

    def _show(self) -> None:
        texts, self._texts = self._texts, {}
        for digest, text in texts.items():
            self._journal.deliveries.remember_text(digest, text)
        fresh, self.fresh = self.fresh, Settled()
        self._settled(fresh)
        if fresh.terms:
            self._progress.done(fresh.terms.total(), fresh.handled)
