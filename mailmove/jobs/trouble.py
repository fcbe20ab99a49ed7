"""Whom to blame when a session does not go as it should (design.md, P8 and section 6.8).

Strategy: replies come in the order of the commands, so a session that breaks breaks in one message: in the one that was
coming in, else in the first that was not answered. It is tried last from then on, so that it cannot stop the others.
When three sessions broke in it that had got nothing before, it is hopeless for this run, and in a later run after one;
a session that had got something may have broken anywhere. What broke among many commands in flight and comes in by
itself afterwards shows that the server cannot do what it announced (PIPELINING).

A refusal right before the end of a session is forgiven once: a server that shuts down says -ERR to whatever is in
flight. Two refusals in a row that speak of now and not of the message (a used up quota) are about the maildrop.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from mailmove.errors import MailmoveError, MessageRejected, ProtocolError, TimedOut
from mailmove.jobs.plan import Key, key
from mailmove.model import MaildropEntry

HOPELESS = 3
FOR_NOW_CODES = frozenset({"SYS/TEMP", "IN-USE", "LOGIN-DELAY"})
_FOR_NOW = re.compile(r"exceed|quota|too many|throttl|rate limit|try again|later", re.IGNORECASE)
ENOUGH = 2
"""So many refusals in a row that ask for patience are not about one message."""


def is_for_now(error: MessageRejected) -> bool:
    """Whether a refusal may be about the maildrop, and about now."""
    return error.code in FOR_NOW_CODES or (not error.code and _FOR_NOW.search(error.server_text) is not None)


class Trouble:
    """What happened in the sessions of one run. `lied`: the server was shown to answer wrongly when pipelined."""

    def __init__(self) -> None:
        self.entries: Sequence[MaildropEntry] = ()
        self.lied = False
        self._many = False
        self._answered = 0
        self._current: Key | None = None
        self._last_refusals: list[Key] = []
        self._for_now: list[Key] = []
        self._forgiven: set[Key] = set()
        self._postponed: dict[Key, int] = {}
        self._came_in = 0
        self._broke_in: Counter[Key] = Counter()
        self._strikes: Counter[Key] = Counter()
        self._accused: set[Key] = set()
        self._expected: set[Key] = set()

    def expect(self, identities: Iterable[Key]) -> None:
        """Earlier runs have parked these since they break the connection: they come last, and break it once a run."""
        for identity in identities:
            if identity not in self._broke_in:
                self._broke_in[identity] = HOPELESS
                self._strikes[identity] = HOPELESS - 1
                self._expected.add(identity)

    def asked(self, entries: Sequence[MaildropEntry], *, many: bool) -> None:
        """A session asks for these, in this order; `many` at a time."""
        self.entries, self._many, self._answered, self._current = entries, many, 0, None
        self._last_refusals.clear()
        self._for_now.clear()

    def begin(self, identity: Key) -> None:
        """A message begins to come in."""
        self._answered += 1
        self._current = identity
        self._last_refusals.clear()
        self._for_now.clear()

    def over(self) -> None:
        """It came in whole."""
        self._came_in += 1
        if not self._many and self._current in self._accused:
            self.lied = True
        self._current = None

    def refused(self, identity: Key, error: MessageRejected) -> bool:
        """A message was refused; True if the maildrop is to be left alone for a while."""
        self._answered += 1
        self._last_refusals.append(identity)
        own_fault = identity in self._postponed and self._came_in > self._postponed[identity]
        if is_for_now(error) and not own_fault:
            self._for_now.append(identity)
        else:
            self._for_now.clear()
        return len(self._for_now) >= ENOUGH

    def postponed(self) -> list[Key]:
        """When it is left alone: what is to be asked for again, after everything else."""
        again = list(self._for_now)
        self._postponed.update(dict.fromkeys(again, self._came_in))
        self._broke_in.update(again)
        self._for_now.clear()
        return again

    def forgiven(self) -> list[Key]:
        """After a break: refusals that came right before it, each forgiven once."""
        again = [identity for identity in self._last_refusals if identity not in self._forgiven]
        self._forgiven.update(again)
        self._last_refusals.clear()
        return again

    def out_of_step(self, error: MailmoveError) -> bool:
        """After a break: whether replies may have been booked on the wrong message."""
        return self._many and (isinstance(error, ProtocolError) or (isinstance(error, TimedOut) and not self._current))

    def blamed(self, error: MailmoveError) -> Key | None:
        """After a break: the message it broke in. Asked once a break."""
        identity = self._current or self._next()
        if identity is None:
            return None
        self._broke_in[identity] += 1
        self._strikes[identity] += self._answered == (self._current is not None)
        if self._many and (self.out_of_step(error) or self._broke_in[identity] > 1):
            self._accused.add(identity)
        self._current = None
        return identity

    def is_hopeless(self, identity: Key) -> bool:
        """Whether it broke in this message too often."""
        return self._strikes[identity] >= HOPELESS

    def is_expected(self, identity: Key) -> bool:
        """Whether this message is known for breaking the connection, so that it says nothing of the line."""
        return identity in self._expected

    def last_of_all(self, entries: Sequence[MaildropEntry]) -> list[MaildropEntry]:
        """The same entries; those it broke in come last."""
        return sorted(entries, key=lambda entry: self._broke_in[key(entry)]) if self._broke_in else list(entries)

    def _next(self) -> Key | None:
        return key(self.entries[self._answered]) if self._answered < len(self.entries) else None
