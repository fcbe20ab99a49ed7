"""Which message a broken connection is to be blamed on, if any (design.md, P8).

Strategy: a server that shuts down says -ERR to whatever is in flight and hangs up, so a refusal right before the end of
a session is forgiven once. A message in which the connection broke three times running is hopeless for this run.
"""

from __future__ import annotations

from collections import Counter

from mailmove.jobs.plan import Key

HOPELESS = 3


class Trouble:
    """What happened last in the sessions of one run."""

    def __init__(self) -> None:
        self._current: Key | None = None
        self._last_refusals: list[Key] = []
        self._forgiven: set[Key] = set()
        self._broke_in: Counter[Key] = Counter()

    def begin(self, identity: Key) -> None:
        """A message begins to come in."""
        self._current = identity
        self._last_refusals.clear()

    def over(self) -> None:
        """It came in whole."""
        self._current = None

    def refused(self, identity: Key) -> None:
        """A message was refused."""
        self._last_refusals.append(identity)

    def forgiven(self) -> list[Key]:
        """After a break: refusals that came right before it, each forgiven once."""
        again = [identity for identity in self._last_refusals if identity not in self._forgiven]
        self._forgiven.update(again)
        self._last_refusals.clear()
        return again

    def hopeless(self) -> Key | None:
        """After a break: the message it broke in, if it did so too often."""
        identity, self._current = self._current, None
        if identity is None:
            return None
        self._broke_in[identity] += 1
        return identity if self._broke_in[identity] >= HOPELESS else None
