"""The run's account of every listed message: the equation of P4 (design.md section 2).

Strategy: each distinct entry of all listings of a run has one slot, and a slot has one fate; what was not settled is
pending. An entry is told apart by unique id and listed octets; a broken server may list several with the same, then
they share a key and have a slot each. Pure bookkeeping: only the archive's acknowledgements settle a slot as stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence

from mailmove.jobs.plan import Key, key
from mailmove.model import Fate, MaildropEntry


class Ledger:
    """Slots and fates of one run."""

    def __init__(self) -> None:
        self._listed: Counter[Key] = Counter()
        self._fates: dict[Key, list[Fate]] = {}
        self._beyond: set[Key] = set()

    def enter(self, entries: Sequence[MaildropEntry]) -> None:
        """A session's listing: entries not listed before get a slot."""
        for identity, times in Counter(map(key, entries)).items():
            self._listed[identity] = max(self._listed[identity], times)

    def settle(self, entry: MaildropEntry, fate: Fate) -> bool:
        """The fate of one pending slot of this entry; False if none is pending (it came once more)."""
        return self.settle_key(key(entry), fate)

    def settle_key(self, identity: Key, fate: Fate) -> bool:
        fates = self._fates.setdefault(identity, [])
        if len(fates) >= self._listed[identity]:
            return False
        fates.append(fate)
        return True

    def settle_all(self, identity: Key, fate: Fate) -> int:
        """The fate of every pending slot of this key; returns how many there were."""
        settled = 0
        while self.settle_key(identity, fate):
            settled += 1
        return settled

    def beyond_limit(self, entries: Iterable[MaildropEntry]) -> None:
        """What --limit leaves for a later run; settled by `close`, if it is not reached after all."""
        self._beyond = set(map(key, entries))

    def pending(self) -> list[Key]:
        """Keys with a slot that has no fate yet."""
        return [identity for identity, times in self._listed.items() if len(self._fates.get(identity, ())) < times]

    def unsettled(self, known_reason: Container[Key]) -> bool:
        """Whether a message is pending for no reason we know: not within `known_reason`, nor beyond the limit."""
        return any(identity not in known_reason and identity not in self._beyond for identity in self.pending())

    def close(self) -> int:
        """Settles what lies beyond the limit; returns how many messages that are."""
        settled = 0
        for identity in self._beyond.intersection(self.pending()):
            settled += self.settle_all(identity, Fate.SKIPPED)
        return settled

    @property
    def listed(self) -> int:
        """Distinct entries over all sessions."""
        return sum(self._listed.values())

    def fates(self) -> dict[Fate, int]:
        """How many slots have each fate, the pending ones among them."""
        counts = Counter(fate for fates in self._fates.values() for fate in fates)
        return {fate: counts[fate] for fate in Fate} | {Fate.PENDING: self.listed - counts.total()}
