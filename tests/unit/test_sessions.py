"""How a run is cut into sessions, how long it waits between them, and how fast it reads (design.md section 6.6).

Strategy: no clock of their own: `sleep` is what the job is given, so what would be waited is written down instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailmove.jobs import Context, PullJob
from mailmove.jobs.look import View
from mailmove.jobs.plan import PullPlan
from mailmove.jobs.sessions import Sessions
from mailmove.jobs.throttle import Throttle
from mailmove.model import Maildrop, MaildropEntry, MessageNumber, UniqueId


@dataclass
class Asleep(Context):
    """A context in which nobody waits."""

    waited: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


@dataclass
class Server:
    login_delay: float = 0.0


def job(**options: Any) -> PullJob:
    return PullJob("pop3s://me@mail.example", Maildrop("mail.example", "me"), Path("mail.mailmove"), **options)


def entries(count: int, octets: int = 100) -> list[MaildropEntry]:
    return [MaildropEntry(MessageNumber(n), UniqueId(str(n)), octets) for n in range(1, count + 1)]


@dataclass
class Archived:
    """What `Listings` says: so many listed entries are known from runs that did not come to their end only."""

    count: int = 0

    def unfinished(self) -> int:
        return self.count


def view(known: Sequence[MaildropEntry], new: Sequence[MaildropEntry], unfinished: int = 0) -> View:
    plan = PullPlan(retrieve=tuple(new), known=tuple(known))
    return View([*known, *new], Archived(unfinished), plan, shrunken=False)  # type: ignore[arg-type]


def slices(count: int, known: int = 0, unfinished: int = 0, **options: Any) -> tuple[list[int], bool]:
    """How many messages of how many sessions, and whether one more is wanted, when `known` others are listed."""
    sessions, left, found = Sessions(job(**options), Asleep()), entries(count), []
    while left and len(found) < 100:
        now = sessions.slice(view(entries(known), left, unfinished), left)
        found.append(len(now))
        left = left[len(now) :]
    return found, sessions.wanted


@pytest.mark.parametrize("messages", [1, 7, 20, 21])
def test_a_slice_has_so_many_messages_and_all_come_in(messages: int) -> None:
    found, wanted = slices(20, known=1000, session_messages=messages)
    assert sum(found) == 20 and max(found) <= messages and not wanted


@pytest.mark.parametrize(("octets", "expected"), [(250, [2, 2, 2]), (300, [3, 3]), (99, [1] * 6), (10_000, [6])])
def test_a_slice_has_so_many_octets_and_never_nothing(octets: int, expected: list[int]) -> None:
    assert slices(6, known=1000, session_octets=octets) == (expected, False)


def test_one_session_is_the_rule() -> None:
    assert slices(5_000) == ([5_000], False)
    assert slices(50) == ([50], False)
    assert slices(300, known=1) == ([300], False)


def test_a_few_hundred_of_which_none_was_known_may_be_one_batch_of_several() -> None:
    assert slices(250) == ([250], True)


def test_what_an_unfinished_run_left_behind_is_part_of_the_batch() -> None:
    """Gmail lists it again, since no QUIT was sent: it says nothing of what is behind this batch."""
    assert slices(170, known=80, unfinished=80) == ([170], True)
    assert slices(170, known=80, unfinished=79) == ([170], False)


def test_nothing_to_do_is_the_end() -> None:
    sessions = Sessions(job(session_messages=5), Asleep())
    assert sessions.wanted
    sessions.slice(view(entries(300), []), [])
    assert not sessions.wanted


@pytest.mark.parametrize(("delay", "waits"), [(0.0, 0), (60.0, 1)])
def test_a_login_delay_is_obeyed(delay: float, waits: int) -> None:
    context = Asleep()
    sessions = Sessions(job(), context)
    sessions.wait()
    sessions.opened(Server(delay))  # type: ignore[arg-type]
    sessions.wait()
    assert len(context.waited) == waits
    assert all(delay - 5 < seconds <= delay for seconds in context.waited)


def test_whoever_reads_too_fast_pauses() -> None:
    waited: list[float] = []
    throttle = Throttle(1000.0, waited.append)
    for _ in range(10):
        throttle.took(1000)
    assert 9.0 < max(waited) <= 10.5


def test_without_a_rate_nobody_pauses() -> None:
    waited: list[float] = []
    Throttle(0.0, waited.append).took(10**12)
    assert waited == []
