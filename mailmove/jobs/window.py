"""What is under way to a mailbox: announced, sent, accounted for (design.md section 7).

Strategy: groups of messages are announced in the log, durably, before the first octet of them goes out; couriers carry
them (crew.py), several groups at once; what became of them is logged with the next announcement, or when there is none.
Whatever interrupts this, the account is logged before the error goes on: what the server took, what it refused, and
what was never begun. Only what was begun and not answered stays open, and the next session settles it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mailmove.archive import Archive
from mailmove.errors import (
    ArchiveDamaged,
    ConnectionLost,
    DailyLimitReached,
    MessageRejected,
    ProtocolError,
    TryLater,
)
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.account import Account
from mailmove.jobs.budget import Budget
from mailmove.jobs.crew import Crew, Heard, Meter
from mailmove.jobs.dates import DateCheck
from mailmove.jobs.doubt import Doubt
from mailmove.jobs.journal import Journal
from mailmove.jobs.mended import Mender
from mailmove.jobs.merging import Merging
from mailmove.jobs.outgoing import Copy, Letter, SeenPolicy
from mailmove.jobs.pace import AHEAD, FIRST, Pace
from mailmove.jobs.present import Present
from mailmove.jobs.read_ahead import Octets, read_ahead
from mailmove.jobs.settled import Settled
from mailmove.model import Digest
from mailmove.targets import Manner, Outgoing, Receipt, Sent, Target

WORTH_A_LOGIN = 16
"""Messages for each further session: for fewer it is not worth its login."""

LOOK = 0.2
"""Seconds between two looks at what has gone out, while nothing comes back."""


@dataclass(frozen=True, slots=True)
class Wires:
    """The session that is open, with its mailbox selected, and how to open another one like it."""

    target: Target
    another: Callable[[], Target]
    uidvalidity: int
    floor: int


class Window:
    """Sends letters over one session and its helpers. `settled`: told of what became durable."""

    def __init__(
        self,
        job: ReplayJob,
        archive: Archive,
        journal: Journal,
        context: Context,
        wires: Wires,
        pace: Pace,
        present: Present | None,
        mender: Mender,
        settled: Callable[[Settled], None],
        merging: Merging | None = None,
    ) -> None:
        self._layout, self._context, self._wires = archive.layout, context, wires
        self._pace, self._present, self._mender = pace, present, mender
        self._account = Account(journal, context.progress, settled)
        self._doubt = Doubt(merging, wires.target, journal, wires.uidvalidity) if merging else None
        self._budget = Budget(archive.catalogue, job.target_name, job.daily_limit)
        self._policy = SeenPolicy.parse(job.seen)
        self._manner: Manner = wires.target.manner
        self._limit = wires.target.append_limit()
        self._floor = wires.floor
        self._meter = Meter()
        self._out: dict[Outgoing, Copy] = {}
        self._octets_out = 0
        self._announced = self._ordered = False
        self._dates = DateCheck(wanted=not journal.deliveries.facts().delivered)
        self._stop: BaseException | None = None
        self.unanswered: list[Digest] = []

    def send(self, letters: Iterable[Letter], to_send: int) -> None:
        """All of these. Whatever it raises, what was settled before is logged, and `unanswered` is what is open."""
        self._crew: Crew[Outgoing, Sent] = Crew(self._wires.target, self._helpers(to_send))
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

    def _helpers(self, to_send: int) -> Sequence[Callable[[], Target]]:
        """More sessions are worth their login where there is more to send than they can all have under way at once."""
        couriers = self._pace.couriers(self._manner)
        return [self._wires.another] * (min(couriers, to_send // WORTH_A_LOGIN + 1) - 1)

    def _send_all(self, letters: Iterable[Letter]) -> None:
        for groups in self._windows(letters):
            try:
                self._send_groups(groups)
            finally:
                if self._doubt:
                    self._prove(self._doubt)
        self._account.write()
        self._ordered = True
        self._wait_for_all()
        self._dates.ask(self._crew)
        self._wait_for_all()
        self._account.fresh.exceptions += self._dates.complaints(self._context.progress.note)

    def _send_groups(self, groups: Iterable[list[Copy]]) -> None:
        for group in groups:
            self._wait_for_room(group)
            if self._stop:
                return
            self._announce(group)
            if self._dates.is_worth_it:
                self._dates.ask(self._crew)

    def _windows(self, letters: Iterable[Letter]) -> Iterator[Sequence[list[Copy]]]:
        """Each group by itself; where OK proves nothing, as many as can be under way at once, less what is no use."""
        groups = self._groups(letters)
        most = AHEAD * self._pace.couriers(self._manner) if self._doubt else 1
        while not self._stop and (window := list(itertools.islice(groups, most))):
            yield self._doubt.worth_sending(window, self._account.fresh) if self._doubt else window

    def _prove(self, doubt: Doubt) -> None:
        """While nothing is under way. What could not be proven before something stopped us stays open."""
        self._wait_for_all()
        if not self._stop:
            for copy, receipt in doubt.settle(self._account.records, self._account.fresh):
                self._delivered(copy, receipt)
            self._account.write_if_many()

    # ---- before sending

    def _groups(self, letters: Iterable[Letter]) -> Iterator[list[Copy]]:
        """What is worth sending, in groups of the pace of the moment; what is to go alone, alone."""
        group: list[Copy] = []
        for letter, octets in self._read(letters):
            self._context.check()
            if not (copy := self._prepared(letter, octets)):
                continue
            if group and (letter.alone or not self._fits(group, copy)):
                yield group
                group = []
            group.append(copy)
            if letter.alone or len(group) >= self._most():
                yield group
                group = []
        if group:
            yield group

    def _fits(self, group: Sequence[Copy], copy: Copy) -> bool:
        _, octets = self._pace.group(self._manner)
        return len(group) < self._most() and sum(map(_octets, group)) + _octets(copy) <= octets

    def _most(self) -> int:
        """Messages of a group; of the first one fewer."""
        messages, _ = self._pace.group(self._manner)
        return messages if self._announced else min(messages, FIRST)

    def _read(self, letters: Iterable[Letter]) -> Iterator[tuple[Letter, Octets]]:
        """Where messages are merged, which of them go is asked as late as can be, so nothing is read ahead."""
        return ((letter, None) for letter in letters) if self._doubt else read_ahead(self._layout, letters)

    def _prepared(self, letter: Letter, octets: bytes | ArchiveDamaged | None) -> Copy | None:
        """None for what is settled at once: there already, damaged, or nothing any server would take."""
        copy = None
        if cause := self._unsendable(letter):
            self._account.parked(letter, *cause)
        elif (copy := self._copy(letter, octets)) and (uid := self._present_as(letter)):
            self._account.present(letter, Receipt(self._wires.uidvalidity, uid))
            copy = None
        self._account.write_if_many()
        return copy

    def _copy(self, letter: Letter, octets: bytes | ArchiveDamaged | None) -> Copy | None:
        try:
            if isinstance(octets, ArchiveDamaged):
                raise octets
            mended = self._mender.mend(letter.message)
            now, sent = self._context.clock(), self._meter.add
            return Copy(self._layout, letter, self._policy, now, sent, mended, octets)
        except ArchiveDamaged:
            self._account.damaged(letter)
            return None

    def _present_as(self, letter: Letter) -> int:
        """The UID of a message that came there otherwise and is this one, or 0. Asked while nothing is under way."""
        if not self._present:
            return 0
        return self._present.claim(letter.message.digest, self._context, self._wait_for_all)

    def _unsendable(self, letter: Letter) -> tuple[str, str] | None:
        """(cause, reason) of what is parked without asking the target."""
        octets = letter.message.octets
        if not octets:
            return "empty", "it has no octets at all, which IMAP cannot append"
        if self._limit is not None and octets > self._limit:
            return "size", f"it has {octets:,} octets, and the target takes {self._limit:,} at most"
        if self._budget.never(octets):
            return "daily-limit", f"it has {octets:,} octets, more than --daily-limit lets through in a day"
        if letter.hopeless:
            return "breaks-connection", "the connection breaks in this message every time"
        return None

    # ---- under way

    def _announce(self, group: Sequence[Copy]) -> None:
        """As much of it as the daily limit lets through; raises DailyLimitReached if that is not all."""
        while group:
            count = self._within_limit(group)
            self._announce_all(group[:count])
            group = group[count:]

    def _within_limit(self, group: Sequence[Copy]) -> int:
        """How many of the group may go out today; they count from now on, whatever becomes of them."""
        now, sizes = self._context.clock(), [copy.outgoing.octets for copy in group]
        try:
            count = self._budget.fitting(sizes, now)
        except DailyLimitReached:
            self._wait_for_all()  # what is under way was paid for
            raise
        self._budget.spend(sum(sizes[:count]), now)
        return count

    def _announce_all(self, group: Sequence[Copy]) -> None:
        """Logs what is about to be sent; then it is."""
        intend = self._account.announce(group, self._wires.uidvalidity, self._floor)
        for copy in group:
            copy.intend = intend
            self._out[copy.outgoing] = copy
            self._octets_out += _octets(copy)
        self._announced = True
        self._crew.order([copy.outgoing for copy in group])

    def _wait_for_room(self, group: Sequence[Copy]) -> None:
        while self._out and not self._stop and not self._has_room(group):
            self._hear()
        if not self._manner.tells_uids and not self._stop:  # nothing is under way, so the session is ours
            self._floor = max(self._floor, self._wires.target.moment().uidnext)

    def _has_room(self, group: Sequence[Copy]) -> bool:
        """Beside what is under way. What that is tells how the server goes on, so it is asked after each answer."""
        if group[0].letter.alone or any(copy.letter.alone for copy in self._out.values()):
            return False
        messages, octets = self._pace.under_way(self._manner)
        return len(self._out) + len(group) <= messages and self._octets_out + sum(map(_octets, group)) <= octets

    def _wait_for_all(self) -> None:
        """Nothing more is announced meanwhile that could take the records along, so they are logged as they come."""
        while (self._out or self._dates.is_open) and not self._stop:
            self._hear()
            if self._account.records:
                self._account.write()
            if self._ordered:
                self._dates.ask(self._crew)

    def _hear(self) -> None:
        heard = self._crew.hear(LOOK)
        if heard:
            self._take_in(heard)
        elif self._account.records:
            self._account.write()
        if octets := self._meter.take():
            self._context.progress.received(octets)
        self._context.check()

    def _take_in(self, heard: Heard[Sent]) -> None:
        for sent in heard.sent:
            self._answered(self._out.pop(sent.message), sent)
        self._stop = self._stop or heard.error  # the first says why, and how long a server wants to be left alone
        if heard.unneeded:
            self._pace.connections = max(1, self._pace.couriers(self._manner) - 1)
            self._context.progress.note(f"{heard.unneeded} Going on with fewer connections.")
        self._account.write_if_many()

    # ---- what became of it

    def _answered(self, copy: Copy, sent: Sent) -> None:
        self._octets_out -= _octets(copy)
        if sent.receipt and self._doubt:
            self._doubt.took(copy, sent.receipt)
        elif sent.receipt:
            self._delivered(copy, sent.receipt)
        elif isinstance(sent.refusal, MessageRejected):
            self._account.rejected(copy, sent.refusal)
        else:
            self._account.withdrawn(copy)
            self._stop = self._stop or sent.refusal

    def _delivered(self, copy: Copy, receipt: Receipt) -> None:
        if not receipt.uid:  # whatever the server has announced
            self._manner = replace(self._manner, tells_uids=False)
        self._floor = max(self._floor, receipt.uid + 1)
        self._account.delivered(copy, receipt)
        self._dates.delivered(receipt.uid, copy.date)
        self._pace.faster()

    def _end(self) -> None:
        """Logs the end: what was settled, and what was certainly never begun."""
        for copy in self._out.values():
            if not copy.begun:
                self._account.withdrawn(copy)
        if isinstance(self._stop, TryLater | ConnectionLost | ProtocolError):
            self._pace.slower()
        self.unanswered = [copy.letter.message.digest for copy in self._out.values() if copy.begun]
        self._account.write()


def _octets(copy: Copy) -> int:
    return copy.letter.message.octets
