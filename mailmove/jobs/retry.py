"""The one retry policy (design.md section 4).

Strategy: tenacity wraps "reconnect, reconcile, go on", never a single send. Failures are counted in a row, and progress
starts the count anew, so that a bad line that advances is never given up. What cannot get better by itself is not
retried: that is what `retryable` on each error says, plus four rules here: a host that was never reached in this run
is a typing mistake or an outage, not a hiccup; a peer that broke the grammar gets one more try, with window 1, unless
one message is to be blamed for it; so does a login that was not answered, which may count as one, and a token that is
refused where an earlier one was taken; a server that asks for patience gets it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import tenacity

from mailmove.errors import HostUnreachable, LoginUnanswered, MailmoveError, ProtocolError, TokenRefused, TryLater


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds and counts."""

    failures_in_a_row: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    patience: float = 15 * 60.0
    busy_wait: float = 5.0
    at_fault_wait: float = 4.0


@dataclass(slots=True)
class Attempts:
    """What the policy needs to remember over the sessions of one run."""

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    reached: bool = False
    window_one: bool = False
    message_at_fault: bool = False
    """Of the last failure: then it is not about the connection, whatever it looks like."""
    retries: int = 0
    _failures: int = 0
    _broken: int = 0
    _unanswered: int = 0
    _tokens: int = 0
    _at_fault: int = 0
    _waited: float = 0.0

    def progress(self) -> None:
        """Something was stored: the count starts anew."""
        self._failures = self._at_fault = self._unanswered = self._tokens = 0
        self._waited = 0.0

    def forgive(self) -> None:
        """What broke the connection is known, and is not asked for without end: the count starts anew."""
        self._failures = self._broken = 0

    def worth_retrying(self, error: BaseException) -> bool:
        if not isinstance(error, MailmoveError) or not error.retryable:
            return False
        if isinstance(error, HostUnreachable) and not self.reached:
            return False
        if isinstance(error, TokenRefused):
            self._tokens += 1
            return self.reached and self._tokens <= 1
        at_fault, self.message_at_fault = self.message_at_fault, False
        self._at_fault += at_fault
        if isinstance(error, LoginUnanswered):
            self._unanswered += 1
            return self._unanswered <= 1
        if isinstance(error, ProtocolError):
            self.window_one = True
            if not at_fault:
                self._broken += 1
                return self._broken <= 1
        if isinstance(error, TryLater):
            return self._waited < self.policy.patience
        self._failures += 1
        self.window_one |= self._at_fault > 1
        return self._failures < self.policy.failures_in_a_row

    def delay(self, error: BaseException) -> float:
        """How long to wait before the next session: as the server asks, else longer each time."""
        if isinstance(error, TryLater):
            wait = error.delay or self.policy.busy_wait + self._waited / 2
            wait = min(wait, max(self.policy.patience - self._waited, 0.0))
            self._waited += max(wait, 0.1)
            return float(wait)
        at_fault = min(self._longer(self._at_fault), self.policy.at_fault_wait)
        return max(at_fault, min(self._longer(self._failures), self.policy.longest_wait))

    def _longer(self, failures: int) -> float:
        """Twice as long after each failure in a row."""
        return self.policy.first_wait * 2.0 ** min(max(failures - 1, 0), 20)

    def run(self, session: Callable[[], None], sleep: Callable[[float], None], note: Callable[[str], None]) -> None:
        """Runs `session` until it returns. Raises its last error when that is not worth another try."""

        def before_sleep(state: tenacity.RetryCallState) -> None:
            self.retries += 1
            error = state.outcome.exception() if state.outcome else None
            pause = f"{state.upcoming_sleep:.0f} s" if state.upcoming_sleep >= 1 else "a moment"
            note(f"{error} Trying again in {pause}.")

        tenacity.Retrying(
            retry=tenacity.retry_if_exception(self.worth_retrying),
            wait=lambda state: self.delay(_error(state)),
            sleep=sleep,
            before_sleep=before_sleep,
            reraise=True,
        )(session)


def _error(state: tenacity.RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or RuntimeError("no error to wait for")
