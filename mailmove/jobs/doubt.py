"""A window to a target whose OK proves nothing, because it merges messages of an equal Message-ID (merging.py).

Strategy: before a window, what would be swallowed is left out of it; after it, while nothing is under way, every OK is
held against what is there, and only then is anything called delivered. What could not be proven before a connection
broke stays announced, so that the next session looks for it as for anything else that was cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailmove.archive.deliveries import Selected
from mailmove.archive.records import Record
from mailmove.jobs.journal import Journal
from mailmove.jobs.merging import ELSEWHERE, REASON, SWALLOWED, Merging, Taken, left_out
from mailmove.jobs.outgoing import Copy
from mailmove.jobs.replay_report import Term
from mailmove.jobs.settled import Settled
from mailmove.targets import Receipt, Target


class Doubt:
    """What the target said OK to, until it is proven. `target` is asked only while nothing is under way."""

    def __init__(self, merging: Merging, target: Target, journal: Journal, uidvalidity: int) -> None:
        self._merging, self._target, self._journal, self._uidvalidity = merging, target, journal, uidvalidity
        self._taken: list[tuple[Copy, Receipt]] = []

    def worth_sending(self, window: Sequence[list[Copy]], fresh: Settled) -> list[list[Copy]]:
        """The groups without what the target would swallow; that is settled at once."""
        messages = [copy.letter.message for group in window for copy in group]
        lost = set(self._merging.screen(self._target, messages))
        for message in messages:
            if message.digest in lost:
                _merged(message, ELSEWHERE, fresh)
        left = ([copy for copy in group if copy.letter.message.digest not in lost] for group in window)
        return [group for group in left if group]

    def took(self, copy: Copy, receipt: Receipt) -> None:
        """The target said OK."""
        self._taken.append((copy, receipt))

    def settle(self, records: list[Record], fresh: Settled) -> list[tuple[Copy, Receipt]]:
        """What was delivered indeed; of all else, what is to be logged and told is added to `records` and `fresh`."""
        taken = {
            Taken(copy.letter.message.digest, copy.outgoing.octets, receipt): copy for copy, receipt in self._taken
        }
        self._taken = []
        judgement = self._merging.prove(self._target, list(taken), self._is_ours)
        for one in judgement.merged:
            copy = taken[one]
            records.append(self._journal.withdrawn(one.digest, "intended", REASON, intend=copy.intend))
            _merged(copy.letter.message, SWALLOWED, fresh)
        for one in judgement.unproven:
            copy = taken[one]
            records.append(self._journal.uncertain(one.digest, one.receipt.uid, copy.intend))
            fresh.name("uncertain", one.digest, "the target said OK, and does not show it")
            fresh.settle(copy.letter.message, Term.UNCERTAIN)
        return [(taken[one], one.receipt) for one in judgement.proven]

    def _is_ours(self, uid: int) -> bool:
        return self._journal.deliveries.has_receipt(self._uidvalidity, uid)


def _merged(message: Selected, why: str, fresh: Settled) -> None:
    fresh.exceptions.append(left_out(message.digest, why))
    fresh.settle(message, Term.SKIPPED)
