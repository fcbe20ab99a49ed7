"""The retry policy: what is tried again, how often, and after how long a wait.

Strategy: sessions are a script of errors, and the sleep is a list. `play` runs the script through the real policy and
gives back the waits and the error it gave up with (None: it got through), so no test waits for anything.
"""

from __future__ import annotations

import pytest

from mailmove.errors import (
    ArchiveFull,
    AuthenticationRejected,
    CertificateRefused,
    ConnectionLost,
    HostUnreachable,
    Interrupted,
    LocalProtocolError,
    LoginUnanswered,
    MailmoveError,
    MessageRejected,
    PlaintextRefused,
    ProtocolError,
    TimedOut,
    TokenRefused,
    TryLater,
    UsageError,
)
from mailmove.jobs.retry import Attempts, RetryPolicy

LOST = ConnectionLost("The connection was reset.")
PROGRESS, DONE = "progress", "done"
Step = MailmoveError | str


class Played:
    """A script of sessions: an error is raised, PROGRESS stands for something stored, DONE ends well."""

    def __init__(self, *script: Step, reached: bool = True, policy: RetryPolicy | None = None) -> None:
        self.attempts = Attempts(policy or RetryPolicy(), reached=reached)
        self.waits: list[float] = []
        self.notes: list[str] = []
        self.sessions = 0
        self.error: BaseException | None = None
        self._script = list(script)
        try:
            self.attempts.run(self._session, self.waits.append, self.notes.append)
        except BaseException as error:
            self.error = error

    def _session(self) -> None:
        self.sessions += 1
        while (step := self._script.pop(0) if self._script else DONE) != DONE:
            if isinstance(step, MailmoveError):
                raise step
            self.attempts.progress()


def test_what_works_is_done_once() -> None:
    played = Played()
    assert (played.sessions, played.waits, played.error, played.attempts.retries) == (1, [], None, 0)


def test_a_lost_connection_is_made_again_after_longer_and_longer_waits() -> None:
    played = Played(*[LOST] * 4)
    assert played.error is None and played.sessions == 5 and played.attempts.retries == 4
    assert played.waits == sorted(played.waits) and 0 < played.waits[0] < 2 and len(set(played.waits)) == 4


def test_it_gives_up_after_so_many_failures_in_a_row_with_the_last_of_them() -> None:
    last = TimedOut("The server is silent.")
    policy = RetryPolicy(failures_in_a_row=3)
    played = Played(LOST, LOST, last, policy=policy)
    assert played.error is last and played.sessions == 3 and len(played.waits) == 2


def test_progress_starts_the_count_and_the_waits_anew() -> None:
    """A bad line that advances is never given up."""
    played = Played(*[LOST, PROGRESS] * 50)
    assert played.error is None and played.sessions == 51
    assert max(played.waits) == min(played.waits)


def test_no_wait_is_longer_than_the_longest() -> None:
    played = Played(*[LOST] * 19, policy=RetryPolicy(failures_in_a_row=20, longest_wait=30))
    assert max(played.waits) == 30 and played.error is None


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationRejected("no"),
        CertificateRefused("no"),
        PlaintextRefused("no"),
        MessageRejected("no"),
        LocalProtocolError("no"),
        UsageError("no"),
        ArchiveFull("no"),
        Interrupted("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_get_better_by_itself_is_not_tried_again(error: MailmoveError) -> None:
    played = Played(error)
    assert played.error is error and played.sessions == 1 and played.waits == []


def test_a_bug_is_not_tried_again() -> None:
    attempts = Attempts(reached=True)
    with pytest.raises(ZeroDivisionError):
        attempts.run(lambda: 1 // 0 and None, pytest.fail, pytest.fail)


# ---- A host that was never reached


def test_a_host_never_reached_in_this_run_is_not_tried_again() -> None:
    error = HostUnreachable("No such host.")
    played = Played(error, reached=False)
    assert played.error is error and played.sessions == 1


def test_a_host_that_was_there_a_moment_ago_is_tried_again() -> None:
    played = Played(LOST, HostUnreachable("Refused."), HostUnreachable("Refused."))
    assert played.error is None and played.sessions == 4


def test_a_connection_lost_before_anything_was_reached_is_tried_again() -> None:
    assert Played(LOST, reached=False).error is None


# ---- A token


REFUSED = TokenRefused("The token has run out.")


def test_a_token_that_was_never_taken_is_not_tried_again() -> None:
    played = Played(REFUSED, reached=False)
    assert played.error is REFUSED and played.sessions == 1


def test_where_a_token_was_taken_before_a_fresh_one_is_tried_once() -> None:
    played = Played(REFUSED)
    assert played.error is None and played.sessions == 2 and len(played.waits) == 1
    again = Played(REFUSED, REFUSED)
    assert again.error is REFUSED and again.sessions == 2 and REFUSED.exit_code == 77


def test_tokens_that_run_out_again_and_again_end_no_run_that_advances() -> None:
    played = Played(*[LOST, REFUSED, PROGRESS] * 50)
    assert played.error is None


# ---- A peer that broke the grammar


def test_a_broken_grammar_gets_one_more_try_with_window_one() -> None:
    error = ProtocolError("Nonsense.")
    played = Played(error)
    assert played.error is None and played.attempts.window_one and played.sessions == 2
    again = Played(error, error)
    assert again.error is error and again.sessions == 2


def test_progress_does_not_excuse_a_second_breach() -> None:
    error = ProtocolError("Nonsense.")
    assert Played(error, PROGRESS, error).error is error


def test_the_window_stays_one_when_the_connection_breaks_after_a_breach() -> None:
    played = Played(ProtocolError("Nonsense."), LOST, LOST)
    assert played.error is None and played.attempts.window_one


def test_a_lost_connection_does_not_change_the_window() -> None:
    assert not Played(LOST, LOST).attempts.window_one


# ---- A server that asks for patience


def test_a_server_that_names_a_wait_gets_it() -> None:
    assert Played(TryLater("Later.", delay=42)).waits == [42]


def test_a_busy_server_gets_patience_and_then_no_more() -> None:
    error = TryLater("In use.")
    played = Played(*[error] * 1000, policy=RetryPolicy(patience=600))
    assert played.error is error and 590 <= sum(played.waits) <= 601
    assert played.sessions < 30, "not asked at every moment"


def test_a_wait_beyond_our_patience_is_cut_to_it() -> None:
    error = TryLater("Come back tomorrow.", delay=86_400)
    played = Played(error, error, policy=RetryPolicy(patience=600))
    assert played.waits == [600] and played.error is error


def test_patience_is_whole_again_after_progress() -> None:
    error = TryLater("Later.", delay=500)
    played = Played(error, PROGRESS, error, PROGRESS, error, policy=RetryPolicy(patience=600))
    assert played.error is None and played.waits == [500] * 3


def test_being_busy_is_no_failure() -> None:
    """Twenty waits for a busy server leave every retry for a broken line."""
    busy = TryLater("Later.", delay=1)
    assert Played(*[busy] * 20, *[LOST] * 4).error is None


@pytest.mark.parametrize("error", [LOST, TryLater("Later.", delay=0.0), TryLater("Later.", delay=7)])
def test_every_retry_is_told(error: MailmoveError) -> None:
    played = Played(error)
    (note,) = played.notes
    assert note.startswith(error.message) and "Trying again in" in note


# ---- A login that is not answered


def test_a_login_without_an_answer_is_made_once_more() -> None:
    error = LoginUnanswered("No answer.")
    assert Played(error).error is None and Played(error).sessions == 2
    assert Played(error, error).error is error and Played(error, error).sessions == 2
    assert Played(error, LOST, error).error is error, "not in a row, but nothing came of it"
    assert Played(error, PROGRESS, LOST, error).error is None


# ---- Messages that break the connection


def at_fault(count: int, *, forgiven: bool) -> tuple[int, list[float]]:
    """So many sessions break in a message; how many are made, and what is waited between them."""
    attempts, waits, left = Attempts(reached=True), list[float](), [LOST] * count

    def session() -> None:
        if left:
            attempts.message_at_fault = True
            if forgiven:
                attempts.forgive()
            raise left.pop()

    try:
        attempts.run(session, waits.append, lambda text: None)
    except ConnectionLost:
        return len(waits) + 1, waits
    return len(waits) + 1, waits


def test_what_is_put_down_to_messages_is_not_counted_but_waited_for() -> None:
    sessions, waits = at_fault(30, forgiven=True)
    assert sessions == 31 and waits == sorted(waits) and 1 < max(waits) < 10
    assert at_fault(30, forgiven=False)[0] == RetryPolicy().failures_in_a_row


def test_an_interrupted_wait_ends_the_run() -> None:
    def stop(seconds: float) -> None:
        raise Interrupted("Stop.")

    def fail() -> None:
        raise LOST

    with pytest.raises(Interrupted):
        Attempts(reached=True).run(fail, stop, lambda text: None)
