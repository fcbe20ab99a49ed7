"""What is under way in one session over SMTP or LMTP: announced, sent, accounted for (design.md section 7).

Strategy: as window.py does it for a mailbox. Groups are announced in the log, durably, before the first octet of them
goes out; couriers carry them (crew.py); what became of them is logged with the next announcement, or when there is
none. Whatever interrupts this, the account is logged before the error goes on: what was not wholly sent is taken back,
and goes again; what was sent and not answered nobody can look for, so it is uncertain. What the server puts off waits
for a later session, behind everything else; who came too late in a transaction gets one of its own at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from mailmove.archive.layout import Layout
from mailmove.errors import ConnectionLost, DailyLimitReached, ProtocolError, TryLater
from mailmove.jobs import Context
from mailmove.jobs.budget import Budget
from mailmove.jobs.crew import Crew, Heard, Meter
from mailmove.jobs.rate import Pacer
from mailmove.jobs.read_ahead import read_ahead
from mailmove.jobs.relay_account import RelayAccount
from mailmove.jobs.relay_pace import RelayPace
from mailmove.jobs.relay_parcels import Consignment, Packer
from mailmove.jobs.relay_refusals import is_too_many
from mailmove.jobs.relay_roster import Letter
from mailmove.jobs.window import LOOK
from mailmove.model import Reply
from mailmove.targets import Parcel, Posted, Relay

IN_A_ROW = 20
"""So many messages put off with nothing taken in between are not about the messages: the server wants a rest."""

LONG_REST = 120.0
"""Seconds of waiting for --max-rate over which the session is ended: servers hang up on who says nothing."""

WORTH_A_NOTE = 2.0


class RelayWindow:
    """Sends letters over one session and its helpers.

    Afterwards `broke_in` is what was on its way and not wholly sent when the session ended, the oldest first, and
    `rest` how many seconds to wait before another session may go on, 0 if none needs to for its sake.
    """

    def __init__(
        self,
        layout: Layout,
        context: Context,
        relay: Relay,
        helpers: Sequence[Callable[[], Relay]],
        pace: RelayPace,
        packer: Packer,
        account: RelayAccount,
        budget: Budget,
        pacer: Pacer,
        meter: Meter,
    ) -> None:
        self._layout, self._context, self._pace = layout, context, pace
        self._packer, self._account, self._budget, self._pacer = packer, account, budget, pacer
        self._relay, self._helpers, self._meter = relay, helpers, meter
        self._traits = relay.traits
        self._out: dict[Parcel, Consignment] = {}
        self._octets_out = 0
        self._again: deque[Consignment] = deque()
        self._announced = False
        self._put_off = 0
        self._resting_until = 0.0
        self._stop: BaseException | None = None
        self.broke_in: list[Consignment] = []
        self.rest = 0.0

    def send(self, letters: Iterable[Letter]) -> None:
        """All of these. Whatever it raises, what was settled before is logged."""
        self._crew: Crew[Parcel, Posted] = Crew(self._relay, self._helpers)
        try:
            self._send_all(letters)
        except ConnectionLost:
            if not self._stop:  # else it comes of what has stopped us, and that is what to tell and to act by
                raise
        finally:
            for heard in self._crew.dismiss():
                self._take_in(heard)
            self._end()
        if self._stop:
            raise self._stop

    def _send_all(self, letters: Iterable[Letter]) -> None:
        self._send_groups(self._groups(self._packed(letters)))
        self._wait_for_all()
        while self._again and not self._over:
            self._send_groups(self._groups(self._once_more()))
            self._wait_for_all()

    def _send_groups(self, groups: Iterable[list[Consignment]]) -> None:
        for group in groups:
            self._wait_for_room(group)
            if self._over:
                return
            self._announce(group)

    @property
    def _over(self) -> bool:
        """Whether nothing more is to be sent in this session."""
        return self._stop is not None or self._put_off >= IN_A_ROW or self.rest > 0

    # ---- before sending

    def _packed(self, letters: Iterable[Letter]) -> Iterator[Consignment]:
        for letter, octets in read_ahead(self._layout, letters):
            self._context.check()
            yield from self._once_more()
            yield from self._packer.pack(letter, octets)

    def _once_more(self) -> Iterator[Consignment]:
        """Recipients who came too late in an earlier transaction."""
        while self._again:
            yield self._again.popleft()

    def _groups(self, consignments: Iterable[Consignment]) -> Iterator[list[Consignment]]:
        """Groups of the pace of the moment; what is to go alone, alone, and the first one, so that it goes at once."""
        group: list[Consignment] = []
        for one in consignments:
            if group and (one.alone or not self._fits(group, one)):
                yield group
                group = []
            group.append(one)
            if one.alone or not self._announced:
                yield group
                group = []
        if group:
            yield group

    def _fits(self, group: Sequence[Consignment], one: Consignment) -> bool:
        messages, octets = self._pace.group(self._traits)
        return len(group) < messages and sum(map(_octets, group)) + _octets(one) <= octets

    # ---- under way

    def _announce(self, group: Sequence[Consignment]) -> None:
        """As much of it at a time as the limits let through. Raises DailyLimitReached if that is not all."""
        while group and not self._over:
            count = self._within_limits(group)
            if count:
                self._announce_all(group[:count])
                group = group[count:]

    def _within_limits(self, group: Sequence[Consignment]) -> int:
        """How many of the group may go out now; they count from now on, whatever becomes of them.

        0: one must wait, or the session is over. Raises DailyLimitReached, when nothing is under way any more.
        """
        now, sizes = self._context.clock(), list(map(_octets, group))
        counts = [len(one.shares) for one in group]
        try:
            count = self._pacer.fitting(counts[: self._budget.fitting(sizes, now)], now)
            if not count:
                self._pause(self._pacer.wait_before(counts[0], now))
                return 0
        except DailyLimitReached:
            self._wait_for_all()  # what is under way was paid for
            raise
        self._budget.spend(sum(sizes[:count]), now)
        self._pacer.spend(sum(counts[:count]), now)
        return count

    def _pause(self, seconds: float) -> None:
        """Some of the wait for --max-rate; one that is long is for another session."""
        if seconds > LONG_REST:
            self._wait_for_all()
            self.rest = seconds
            return
        now = time.monotonic()
        if seconds >= WORTH_A_NOTE and now >= self._resting_until:
            self._context.progress.note(f"As many have gone as --max-rate lets through; going on in {seconds:.0f} s.")
            self._resting_until = now + seconds
        if self._out:
            self._hear(min(seconds, LOOK))
        else:
            self._account.write()
            self._context.sleep(min(seconds, 1.0))

    def _announce_all(self, group: Sequence[Consignment]) -> None:
        """Logs what is about to be sent; then it is."""
        self._account.announce(group)
        now = time.monotonic()
        for one in group:
            one.ordered = now
            self._out[one.parcel] = one
            self._octets_out += _octets(one)
        self._announced = True
        self._crew.order([one.parcel for one in group])

    def _wait_for_room(self, group: Sequence[Consignment]) -> None:
        while self._out and not self._over and not self._has_room(group):
            self._hear()

    def _has_room(self, group: Sequence[Consignment]) -> bool:
        """Beside what is under way."""
        if group[0].alone or any(one.alone for one in self._out.values()):
            return False
        messages, octets = self._pace.under_way(self._traits)
        return len(self._out) + len(group) <= messages and self._octets_out + sum(map(_octets, group)) <= octets

    def _wait_for_all(self) -> None:
        """Nothing more is announced meanwhile that could take the records along, so they are logged as they come."""
        while self._out and not self._stop:
            self._hear()
            if self._account.records:
                self._account.write()
        self._account.write()

    def _hear(self, seconds: float = LOOK) -> None:
        heard = self._crew.hear(seconds)
        if heard:
            self._take_in(heard)
        elif self._account.records:
            self._account.write()
        if octets := self._meter.take():
            self._context.progress.received(octets)
        self._context.check()

    def _take_in(self, heard: Heard[Posted]) -> None:
        for posted in heard.sent:
            self._answered(self._out.pop(posted.parcel), posted)
        self._stop = self._stop or heard.error  # the first says why, and how long a server wants to be left alone
        if heard.unneeded:
            self._context.progress.note(f"{heard.unneeded} Going on with fewer connections.")
        self._account.write_if_many()

    # ---- what became of it

    def _answered(self, one: Consignment, posted: Posted) -> None:
        self._octets_out -= _octets(one)
        if posted.unsent and (one.begun or not self.broke_in):  # the first may have broken it before its octets went
            self.broke_in.append(one)
        if not posted.unsent:
            self._pace.answered(time.monotonic() - one.ordered)
        late = [place for place, reply in self._replies(one, posted) if reply and is_too_many(reply)]
        split = 0 < len(late) < len(one.shares)
        for place, reply in self._replies(one, posted):
            if split and place in late:
                self._account.withdrawn(one, place, "too-many-recipients")
            else:
                self._settle(one, place, reply, unsent=posted.unsent)
        if split and not posted.unsent:
            self._packer.most = min(self._packer.most, len(one.shares) - len(late))
            self._again.append(one.only([one.shares[place] for place in late]))

    def _replies(self, one: Consignment, posted: Posted) -> Iterator[tuple[int, Reply | None]]:
        return enumerate(map(posted.replies.get, one.parcel.recipients))

    def _settle(self, one: Consignment, place: int, reply: Reply | None, *, unsent: bool) -> None:
        if reply and not reply.is_positive and not reply.is_transient:
            self._account.rejected(one, place, reply)
        elif unsent:
            self._account.withdrawn(one, place)
        elif reply is None:
            self._account.uncertain(one, place)
        elif reply.is_transient:
            self._account.put_off(one, place, reply)
            self._put_off += 1
        else:
            self._account.delivered(one, place, reply)
            self._put_off = 0
            self._pace.faster()

    def _end(self) -> None:
        """Logs the end: what was certainly never begun is taken back, what nobody knows of is uncertain."""
        for one in self._out.values():
            for place in range(len(one.shares)):
                if one.begun:
                    self._account.uncertain(one, place)
                else:
                    self._account.withdrawn(one, place)
        if isinstance(self._stop, TryLater | ConnectionLost | ProtocolError):
            self._pace.slower()
        self._account.write()


def _octets(one: Consignment) -> int:
    return one.parcel.octets
