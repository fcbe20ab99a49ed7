"""Who carries messages to a target: one session a thread, so that preparing, sending and logging do not wait for each
other (design.md section 7).

Strategy: orders go into one queue, and what became of them comes back through another; a courier that has something
under way takes the next order before it waits for answers, and gives whoever orders a moment to bring it, so that the
line is never idle. Couriers know what `Carrier` says alone, whatever is carried, messages to a Target or parcels to a
Relay: nothing of archives, journals or retries, and nobody but the main thread ever writes a record. The first courier
works over the session that is open already; more of them log in by themselves, and one that is not let in leaves its
work to the others.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from mailmove.errors import AuthenticationRejected, MailmoveError, TryLater

MOMENTS, MOMENT = 20, 0.001
"""How often, and for how many seconds each, a courier looks for the order that is being made ready."""

What = TypeVar("What")
"""What is carried: Outgoing to a Target, Parcel to a Relay."""

Told = TypeVar("Told")
"""What a session tells of it: Sent, Posted."""

What_contra = TypeVar("What_contra", contravariant=True)
Told_co = TypeVar("Told_co", covariant=True)


class Carrier(Protocol[What_contra, Told_co]):
    """What Target and Relay have in common; see there."""

    def send(self, messages: Sequence[What_contra], /) -> None: ...

    def reap(self, *, wait: bool = True) -> Sequence[Told_co]: ...

    def quit(self) -> None: ...


Question = Callable[[Any], None]
"""Asked over a session (a Target) that may have messages under way; its answer is whatever it does."""


@dataclass(frozen=True, slots=True)
class Heard(Generic[Told]):
    """What a courier tells: what became of messages; `over`: it has ended, by `error` if there is one.

    `unneeded`: it could not begin, and the others can do without it.
    """

    sent: Sequence[Told] = ()
    over: bool = False
    error: BaseException | None = None
    unneeded: MailmoveError | None = None


@dataclass(slots=True)
class _Queues(Generic[What, Told]):
    """No SimpleQueue: where several wait, one that waits for a moment may wait for good (seen in CPython 3.11)."""

    orders: queue.Queue[Sequence[What] | Question | None] = field(default_factory=queue.Queue)
    heard: queue.Queue[Heard[Told]] = field(default_factory=queue.Queue)


class Meter:
    """Octets that couriers have sent, until somebody looks."""

    def __init__(self) -> None:
        self._lock, self._octets = threading.Lock(), 0

    def add(self, octets: int) -> None:
        with self._lock:
            self._octets += octets

    def take(self) -> int:
        with self._lock:
            octets, self._octets = self._octets, 0
        return octets


class Crew(Generic[What, Told]):
    """Couriers at work. `helpers`: each opens one more session, which its courier ends."""

    def __init__(self, target: Carrier[What, Told], helpers: Sequence[Callable[[], Carrier[What, Told]]] = ()) -> None:
        self._queues: _Queues[What, Told] = _Queues()
        self._waited_for = threading.Event()  # whoever orders waits to hear, so that no order is being made ready
        self._threads = [threading.Thread(target=self._carry, args=(target,), name="mailmove-courier", daemon=True)]
        self._threads += [
            threading.Thread(target=self._help, args=(open_one,), name="mailmove-courier", daemon=True)
            for open_one in helpers
        ]
        self._left = len(self._threads)
        for thread in self._threads:
            thread.start()

    def order(self, messages: Sequence[What]) -> None:
        """To be sent, together."""
        self._queues.orders.put(messages)

    def ask(self, question: Question) -> None:
        """To be asked behind what was ordered before."""
        self._queues.orders.put(question)

    def hear(self, seconds: float) -> Heard[Told] | None:
        """What is told next, None if that is nothing for so long."""
        self._waited_for.set()
        try:
            heard = self._queues.heard.get(timeout=seconds)
        except queue.Empty:
            return None
        finally:
            self._waited_for.clear()
        self._left -= heard.over
        return heard

    def dismiss(self) -> list[Heard[Told]]:
        """Takes back what nobody has begun, lets the rest end, and returns what was told meanwhile."""
        told: list[Heard[Told]] = []
        for _ in self._threads:
            self._queues.orders.put(None)
        self._take_back()
        while self._left:
            if heard := self.hear(60.0):
                told.append(heard)
        for thread in self._threads:
            thread.join()
        return told

    def _take_back(self) -> None:
        """Orders that are still in the queue; the ends of the couriers are put back."""
        ends = 0
        try:
            while True:
                ends += self._queues.orders.get_nowait() is None
        except queue.Empty:
            for _ in range(ends):
                self._queues.orders.put(None)

    # ---- a courier

    def _carry(self, target: Carrier[What, Told]) -> None:
        error: BaseException | None = None
        try:
            self._serve(target)
        except BaseException as caught:  # noqa: BLE001 - it belongs to whoever hears of it
            error = caught
        self._queues.heard.put(Heard(target.reap(wait=False), over=True, error=error))

    def _help(self, open_one: Callable[[], Carrier[What, Told]]) -> None:
        try:
            target = open_one()
        except (TryLater, AuthenticationRejected) as error:
            self._queues.heard.put(Heard(over=True, unneeded=error))
        except BaseException as error:  # noqa: BLE001 - likewise
            self._queues.heard.put(Heard(over=True, error=error))
        else:
            self._carry(target)
            target.quit()

    def _serve(self, target: Carrier[What, Told]) -> None:
        busy = False
        while (order := self._next(busy)) is not None:
            if callable(order):
                order(target)
                self._tell(target.reap(wait=False))
                self._queues.heard.put(Heard())
                continue
            if order:
                target.send(order)
            told = target.reap(wait=not order)
            busy = bool(order or told)
            self._tell(told)
        while told := target.reap():
            self._tell(told)

    def _next(self, busy: bool) -> Sequence[What] | Question | None:
        """The next order; () if there is none now and something is under way."""
        if not busy:
            return self._queues.orders.get()
        for _ in range(MOMENTS):
            with contextlib.suppress(queue.Empty):
                return self._queues.orders.get(timeout=MOMENT)
            if self._waited_for.is_set():
                break
        return ()

    def _tell(self, told: Sequence[Told]) -> None:
        if told:
            self._queues.heard.put(Heard(told))
