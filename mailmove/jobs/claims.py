"""Which messages at the target are those we meant to deliver: each UID is claimed once at most (design.md section 7).

Strategy: a multiset match, so that byte-identical twins come out right; only certain claims use a UID up. A message
that proves itself by its octets is claimed at once; the others are remembered and judged when all candidates are known:
first by what servers are known to rewrite, then by likeness, which proves nothing and makes the delivery uncertain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from mailmove.jobs.likeness import Likeness

_CANONICAL, _MUNGED = attrgetter("canonical"), attrgetter("munged")


@dataclass(frozen=True, slots=True)
class Claim:
    """What was found for one wanted message: its UID, or none; `certain` if the octets prove it."""

    uid: int = 0
    certain: bool = False


class Claims:
    """The match of `wanted` messages with candidates that are offered one by one."""

    def __init__(self, wanted: Sequence[Likeness]) -> None:
        self._wanted = wanted
        self._found = [Claim()] * len(wanted)
        self._open: defaultdict[str, list[int]] = defaultdict(list)
        for index, likeness in enumerate(wanted):
            self._open[likeness.exact].append(index)
        self._missing = len(wanted)
        self._others: list[tuple[int, Likeness]] = []

    @property
    def satisfied(self) -> bool:
        """Whether no further candidate can change anything."""
        return not self._missing

    def offer(self, uid: int, candidate: Likeness) -> None:
        """One unclaimed message at the target."""
        if indexes := self._open[candidate.exact]:
            self._found[indexes.pop(0)] = Claim(uid, certain=True)
            self._missing -= 1
        else:
            self._others.append((uid, candidate))

    def settle(self) -> list[Claim]:
        """The claim of each wanted message, in the order they were given."""
        if not self.satisfied:
            self._claim_rewritten()
            self._suspect_resembling()
        return self._found

    def _unclaimed(self) -> list[int]:
        return [index for index, claim in enumerate(self._found) if not claim.uid]

    def _claim_rewritten(self) -> None:
        by_form: defaultdict[str, list[int]] = defaultdict(list)
        for uid, candidate in self._others:
            by_form[candidate.canonical].append(uid)
        for form in (_CANONICAL, _MUNGED):
            for index in self._unclaimed():
                uids = by_form.get(form(self._wanted[index]))
                if uids and self._wanted[index].whole:
                    self._found[index] = Claim(uids.pop(0), certain=True)
        claimed = {claim.uid for claim in self._found}
        self._others = [(uid, candidate) for uid, candidate in self._others if uid not in claimed]

    def _suspect_resembling(self) -> None:
        for index in self._unclaimed():
            for uid, candidate in self._others:
                if self._wanted[index].resembles(candidate):
                    self._found[index] = Claim(uid)
                    break
