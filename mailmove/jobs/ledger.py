"""The run's account of every listed message: the equation of P4 (design.md section 2).

Strategy: each distinct entry of all listings of a run has one slot, and a slot has one fate; what was not settled is
pending. An entry is told apart by unique id and listed octets; a broken server may list several with the same, then
they share a key and have a slot each. Pure bookkeeping: only the archive's acknowledgements settle a slot as stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping

from mailmove.jobs.plan import Key, key
from mailmove.model import Fate, MaildropEntry


class Ledger:
    """Slots and fates of one run."""

    def __init__(self) -> None:
        self._listed: dict[Key, int] = {}
        self._pending: dict[Key, int] = {}
        self._fates: Counter[Fate] = Counter()
        self._beyond: set[Key] = set()

    def enter(self, listing: Mapping[Key, int]) -> None:
        """A session's listing, and how often it has each key: entries not listed before get a slot."""
        if not self._listed:
            self._listed, self._pending = dict(listing), dict(listing)
            return
        for identity, times in listing.items():
            if (new := times - self._listed.get(identity, 0)) > 0:
                self._listed[identity] = times
                self._pending[identity] = self._pending.get(identity, 0) + new

    def settle(self, entry: MaildropEntry, fate: Fate) -> bool:
        """The fate of one pending slot of this entry; False if none is pending (it came once more)."""
        return self.settle_key(key(entry), fate)

    def settle_key(self, identity: Key, fate: Fate) -> bool:
        return self.settle_each((identity,), fate) == 1

    def settle_each(self, identities: Iterable[Key], fate: Fate) -> int:
        """The fate of one pending slot for each of these keys; returns how many there were."""
        settled, pending = 0, self._pending
        for identity in identities:
            if left := pending.pop(identity, 0):
                settled += 1
                if left > 1:
                    pending[identity] = left - 1
        self._fates[fate] += settled
        return settled

    def settle_all(self, identity: Key, fate: Fate) -> int:
        """The fate of every pending slot of this key; returns how many there were."""
        settled = self._pending.pop(identity, 0)
        self._fates[fate] += settled
        return settled

    def beyond_limit(self, entries: Iterable[MaildropEntry]) -> None:
        """What --limit leaves for a later run; settled by `close`, if it is not reached after all."""
        self._beyond = set(map(key, entries))

    def pending(self) -> list[Key]:
        """Keys with a slot that has no fate yet, in the order in which they were listed."""
        return list(filter(self._pending.__contains__, self._listed)) if self._pending else []

    def unsettled(self, known_reason: Container[Key]) -> bool:
        """Whether a message is pending for no reason we know: not within `known_reason`, nor beyond the limit."""
        return any(identity not in known_reason and identity not in self._beyond for identity in self._pending)

    def close(self) -> int:
        """Settles what lies beyond the limit; returns how many messages that are."""
        return sum(self.settle_all(identity, Fate.SKIPPED) for identity in self._beyond)

    @property
    def listed(self) -> int:
        """Distinct entries over all sessions."""
        return sum(self._listed.values())

    def fates(self) -> dict[Fate, int]:
        """How many slots have each fate, the pending ones among them."""
        return {fate: self._fates[fate] for fate in Fate} | {Fate.PENDING: sum(self._pending.values())}
