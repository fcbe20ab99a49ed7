"""Whom to blame when a session does not go as it should (design.md, P8 and section 6.8).

Strategy: replies come in the order of the commands, so a session that breaks breaks in one message: in the one that was
coming in, else in the first that was not answered. It is tried last from then on, so that it cannot stop the others.
When a second session breaks in it that had got nothing before, it is hopeless for this run, and in a later run the
first one; a session that had got something may have broken anywhere, and one with many commands in flight because of
these. What broke among many and comes in by itself afterwards shows that the server cannot do what it announced
(PIPELINING).

However many messages in a row break it, all others are had in the same run, so each of these breaks is the message's
and no failure of the line. After several in vain, a known message comes first as a proof: if that breaks it, too, the
server is at fault. Where none is known the next ones are taken from all over the listing, up to a bound.

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

HOPELESS = 2
IN_VAIN = 5
"""After so many breaks with nothing coming in between, a proof is wanted that the server hands over anything."""

MOST_IN_VAIN = 60
"""After so many, without a proof to be had, the server is at fault."""

FOR_NOW_CODES = frozenset({"SYS/TEMP", "IN-USE", "LOGIN-DELAY"})
_FOR_NOW = re.compile(r"exceed|quota|too many|throttl|rate limit|try again|later", re.IGNORECASE)
ENOUGH = 2
"""So many refusals in a row that ask for patience are not about one message, so many breaks not about the line."""


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
        self._proofs: set[Key] = set()
        self._others = 0
        self._in_vain = 0
        self._its_own = False
        self._heads_broke = 0

    def expect(self, identities: Iterable[Key]) -> None:
        """Earlier runs have parked these since they break the connection: they come last, and break it once a run."""
        for identity in identities:
            if identity not in self._broke_in:
                self._broke_in[identity] = HOPELESS
                self._expected.add(identity)

    def asked(self, entries: Sequence[MaildropEntry], *, many: bool) -> None:
        """A session asks for these, in this order; `many` at a time."""
        self.entries, self._many, self._answered, self._others, self._current = entries, many, 0, 0, None
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
        self._in_vain = 0
        self._others += self._current not in self._proofs
        if not self._many and self._current in self._accused:
            self.lied = True
        self._current = None

    def refused(self, identity: Key, error: MessageRejected) -> bool:
        """A message was refused; True if the maildrop is to be left alone for a while."""
        self._answered += 1
        if identity in self._proofs:
            self._in_vain = 0
            return False
        self._others += 1
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
        self._judge(identity)
        if self._many and (self.out_of_step(error) or self._broke_in[identity] > 1):
            self._accused.add(identity)
        self._current = None
        return identity

    def _judge(self, identity: Key) -> None:
        """Whether the break tells of the message it was in: not if others had come in before, nor of a proof."""
        struck = not self._others and identity not in self._proofs
        self._strikes[identity] += struck and (identity in self._expected or not self._many or len(self.entries) == 1)
        self._in_vain += identity not in self._expected
        self._its_own = identity in self._expected or (struck and self._in_vain <= MOST_IN_VAIN)

    @property
    def is_its_own(self) -> bool:
        """Whether the last break is to be put down to the message it was in, and not to the line or the server."""
        return self._its_own

    def proof(self, known: Iterable[MaildropEntry]) -> list[MaildropEntry]:
        """After several breaks in vain: a small known message, to be fetched first. One that broke it, too, is last."""
        if self._in_vain < IN_VAIN:
            return []
        found = sorted(known, key=lambda entry: (self._broke_in[key(entry)], entry.octets))[:1]
        self._proofs.update(map(key, found))
        return found

    def is_proof(self, identity: Key) -> bool:
        """Whether it was fetched to see that the server is well, and for nothing else."""
        return identity in self._proofs

    def is_hopeless(self, identity: Key) -> bool:
        """Whether it broke in this message too often."""
        return self._broke_in[identity] >= HOPELESS and self._strikes[identity] > 0

    def is_expected(self, identity: Key) -> bool:
        """Whether this message is known for breaking the connection, so that it says nothing of the line."""
        return identity in self._expected

    def heads_broke(self, error: MailmoveError, *, many: bool) -> bool:
        """A session broke in header sections that were asked for; True if it is to be done one by one from now on."""
        if many:
            self._heads_broke += ENOUGH if isinstance(error, ProtocolError | TimedOut) else 1
        return self._heads_broke >= ENOUGH

    def heads_came(self, *, many: bool) -> None:
        """They came in. One by one, where many at a time did not, this shows a lie."""
        self.lied |= self._heads_broke >= ENOUGH and not many

    def last_of_all(self, entries: Sequence[MaildropEntry]) -> list[MaildropEntry]:
        """The same entries; those it broke in come last. After breaks in vain the others begin elsewhere each time."""
        if not self._broke_in:
            return list(entries)
        unbroken = [entry for entry in entries if not self._broke_in[key(entry)]]
        broken = [entry for entry in entries if self._broke_in[key(entry)]]
        start = int(len(unbroken) * _spread(self._in_vain - 1))
        return [*unbroken[start:], *unbroken[:start], *sorted(broken, key=lambda entry: self._broke_in[key(entry)])]

    def _next(self) -> Key | None:
        return key(self.entries[self._answered]) if self._answered < len(self.entries) else None


def _spread(count: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8 …: each in the middle of what the ones before have left out."""
    return int(f"{count:b}"[::-1], 2) / 2 ** count.bit_length() if count > 0 else 0.0
