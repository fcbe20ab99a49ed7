"""Servers that hide what was fetched when its session ends with QUIT, and list so many messages at a time (Gmail).

Strategy (design.md section 6.6): what is archived and listed all the same may hold up the mail behind it: the QUIT of
its session was lost, or the run was killed before it. It is fetched once more then, so that the QUIT of this session
hides it. Without a sign that this server hides anything, only where a listing of the size of a batch has nothing new,
and only what no QUIT is known of; with one (what the last session fetched is not listed any more), whatever is known.
Each is fetched again once a run, not counting sessions that broke. A server that hides nothing is left in peace after
that: what a run that ended has fetched again is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mailmove.jobs.look import View
from mailmove.jobs.plan import Key, key
from mailmove.model import MaildropEntry

BATCH = range(100, 501)
"""A listing of so many messages may be one batch of several."""

CutOff = Callable[[Sequence[MaildropEntry]], Iterable[MaildropEntry]]
"""Which of these come from runs that did not end."""


class Hiding:
    """What one run has seen of it. `seen`: this server does it. `again`: what this session fetches once more.

    `deletes`: what was fetched may be listed no more since we have deleted it, which shows nothing.
    """

    def __init__(self, *, deletes: bool = False) -> None:
        self.seen = False
        self._may_hide = False
        self._deletes = deletes
        self.again: set[Key] = set()
        self._fetched: set[Key] = set()
        self._hidden: set[Key] = set()
        self._exposed: set[Key] = set()
        self._done: set[Key] = set()

    def begin(self) -> None:
        """A session begins. What the one before fetched stays listed unless it was ended by QUIT."""
        self._exposed |= self._fetched
        self._fetched.clear()
        self.again.clear()

    def fetched(self, identity: Key) -> None:
        """A message came in and is archived. Nothing is remembered of a maildrop that is listed as a whole."""
        if self._may_hide:
            self._fetched.add(identity)

    def ended(self, *, confirmed: bool) -> None:
        """QUIT was said, and answered or not."""
        self._done |= self.again
        if confirmed:
            self._exposed -= self._fetched
            self._hidden, self._fetched = self._fetched, set()

    def choose(self, view: View, cut_off: CutOff) -> list[MaildropEntry]:
        """What is to be fetched again in this session."""
        self._look(view)
        self._may_hide = len(view.listing) in BATCH
        plan = view.plan
        if not self._may_hide or plan.beyond_limit or (plan.retrieve and not self.seen):
            return []
        known = [entry for entry in plan.known if entry.unique_id and key(entry) not in self._done]
        if not self.seen:
            exposed = self._exposed.union(map(key, cut_off(known)))
            known = [entry for entry in known if key(entry) in exposed]
        self.again.update(map(key, known))
        return known

    def _look(self, view: View) -> None:
        """Whether all that the last session fetched is listed no more."""
        if self._hidden and not self._deletes:
            self.seen |= self._hidden.isdisjoint(map(key, view.listing))
