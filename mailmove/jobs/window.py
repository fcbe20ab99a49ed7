"""A window of a replay: announced, sent, accounted for (design.md section 7).

Strategy: whatever interrupts a window, the account of it is logged before the error goes on: what the server took, what
it refused, and what was never sent. At most the one message in flight stays open, and the next session settles it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mailmove.archive import Archive
from mailmove.archive.deliveries import Selected
from mailmove.archive.reading import is_sound
from mailmove.archive.records import Record
from mailmove.errors import MessageRejected, QuotaExceeded
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.journal import Journal
from mailmove.jobs.outgoing import SeenPolicy, clamped, outgoing
from mailmove.jobs.present import Present
from mailmove.jobs.replay_report import Term
from mailmove.model import Digest, InternalDate, ReportedException
from mailmove.targets import Receipt, Target


@dataclass(frozen=True, slots=True)
class Letter:
    """One copy of a message to be sent. `withdraw`: the state of an earlier delivery it takes the place of."""

    message: Selected
    withdraw: str = ""
    hopeless: bool = False


@dataclass(slots=True)
class Done:
    """What became of the letters of a window. `octets`: of what was delivered; `handled`: of all that is settled."""

    terms: Counter[Term] = field(default_factory=Counter)
    octets: int = 0
    handled: int = 0
    delivered: list[Digest] = field(default_factory=list)
    tried: list[Digest] = field(default_factory=list)
    exceptions: list[ReportedException] = field(default_factory=list)

    def settle(self, message: Selected, term: Term) -> None:
        self.terms[term] += 1
        self.handled += message.octets
        if term is Term.DELIVERED:
            self.octets += message.octets
            self.delivered.append(message.digest)
        elif term is not Term.ALREADY_THERE:
            self.tried.append(message.digest)

    def add(self, other: Done) -> None:
        self.terms += other.terms
        self.octets += other.octets
        self.handled += other.handled
        self.delivered += other.delivered
        self.tried += other.tried
        self.exceptions += other.exceptions


def windows(letters: Iterable[Letter], job: ReplayJob) -> Iterator[list[Letter]]:
    """Cuts the stream of letters by number and octets."""
    window: list[Letter] = []
    octets = 0
    for letter in letters:
        if window and (len(window) >= job.window_messages or octets + letter.message.octets > job.window_octets):
            yield window
            window, octets = [], 0
        window.append(letter)
        octets += letter.message.octets
    if window:
        yield window


class Window:
    """Sends one window after another over one session. `floor`: the lowest UID the next message can get."""

    def __init__(
        self,
        job: ReplayJob,
        archive: Archive,
        journal: Journal,
        context: Context,
        target: Target,
        present: Present | None,
    ) -> None:
        self._archive = archive
        self._journal = journal
        self._context = context
        self._target = target
        self._present = present
        self._policy = SeenPolicy.parse(job.seen)
        self._limit = target.append_limit()
        self._done = Done()
        self._fresh = Done()
        self._records: list[Record] = []
        self._texts: dict[Digest, str] = {}
        self._no_uids = False
        self.floor = 1
        self.in_flight: Digest | None = None

    def take(self) -> Done:
        """What became durable since the last call."""
        done, self._done = self._done, Done()
        return done

    def send(self, letters: Sequence[Letter], uidvalidity: int) -> None:
        """Announces and sends. Whatever it raises, what was settled before is logged."""
        self._fresh = Done()
        ready = [letter for letter in letters if self._worth_sending(letter, uidvalidity)]
        self._write()
        if ready:
            self._send(ready, uidvalidity)

    # ---- before sending

    def _worth_sending(self, letter: Letter, uidvalidity: int) -> bool:
        """Settles what is there already, what no server would take, and what is damaged."""
        message = letter.message
        if not is_sound(self._archive.layout, message.digest):
            self._except("damaged", message.digest, "its file is missing or altered; not sent")
            self._fresh.settle(message, Term.PARKED)
        elif cause := self._unsendable(letter):
            self._park(letter, *cause)
        elif self._present and (uid := self._present.claim(message.digest, self._context)):
            receipt, was = Receipt(uidvalidity, uid), letter.withdraw or None
            self._records.append(self._journal.delivered(message.digest, receipt, "present", was=was))
            self._fresh.settle(message, Term.ALREADY_THERE)
        else:
            return True
        return False

    def _unsendable(self, letter: Letter) -> tuple[str, str] | None:
        """(cause, reason) of what is parked without asking the target."""
        octets = letter.message.octets
        if not octets:
            return "empty", "it has no octets at all, which IMAP cannot append"
        if self._limit is not None and octets > self._limit:
            return "size", f"it has {octets:,} octets, and the target takes {self._limit:,} at most"
        if letter.hopeless:
            return "breaks-connection", "the connection breaks in this message every time"
        return None

    def _park(self, letter: Letter, cause: str, reason: str) -> None:
        """Parks what was not announced."""
        digest = letter.message.digest
        if letter.withdraw:
            self._records.append(self._journal.withdrawn(digest, letter.withdraw, "tried-again"))
        self._records.append(self._journal.parked(digest, cause, ""))
        self._except("parked", digest, reason)
        self._fresh.settle(letter.message, Term.PARKED)

    def _except(self, kind: str, digest: Digest, reason: str, text: str = "") -> None:
        self._fresh.exceptions.append(ReportedException(kind, reason, digest=digest, server_text=text))

    def _write(self) -> None:
        """Logs what is settled; only then is it counted and shown (P2)."""
        records, self._records = self._records, []
        self._journal.write(records)
        texts, self._texts = self._texts, {}
        for digest, text in texts.items():
            self._journal.deliveries.remember_text(digest, text)
        fresh, self._fresh = self._fresh, Done()
        self._done.add(fresh)
        if fresh.terms:
            self._context.progress.done(fresh.terms.total(), fresh.handled)

    # ---- sending

    def _send(self, letters: Sequence[Letter], uidvalidity: int) -> None:
        withdrawn = [
            self._journal.withdrawn(letter.message.digest, letter.withdraw, "tried-again")
            for letter in letters
            if letter.withdraw
        ]
        digests = [letter.message.digest for letter in letters]
        intend = self._journal.intend(uidvalidity, self.floor, digests, withdrawn)
        waiting = list(letters)
        try:
            while waiting:
                self._context.check()
                self._append(waiting[0], intend)
                waiting.pop(0)
        finally:
            self._account(waiting, intend)
        if self._no_uids:
            self.floor = max(self.floor, self._target.moment().uidnext)

    def _append(self, letter: Letter, intend: int) -> None:
        message, now = letter.message, self._context.clock()
        self.in_flight = message.digest
        sent = self._context.progress.received
        try:
            receipt = self._target.append(outgoing(self._archive.layout, message, self._policy, now, sent))
        except MessageRejected as error:
            self._rejected(letter, intend, error)
        except QuotaExceeded:
            self.in_flight = None
            raise
        else:
            self._delivered(letter, intend, receipt, now)
        self.in_flight = None

    def _delivered(self, letter: Letter, intend: int, receipt: Receipt, now: datetime) -> None:
        message = letter.message
        self.floor = max(self.floor, receipt.uid + 1)
        self._no_uids = not receipt.uid
        date = InternalDate(clamped(message.internal_date.time, now), message.internal_date.origin)
        self._records.append(self._journal.delivered(message.digest, receipt, "append", intend=intend, date=date))
        self._fresh.settle(message, Term.DELIVERED)

    def _rejected(self, letter: Letter, intend: int, error: MessageRejected) -> None:
        digest = letter.message.digest
        self._records.append(self._journal.parked(digest, error.cause, error.code, intend=intend))
        self._texts[digest] = error.server_text
        self._except("parked", digest, f"the target refused it ({error.cause})", error.server_text)
        self._fresh.settle(letter.message, Term.PARKED)

    def _account(self, waiting: Sequence[Letter], intend: int) -> None:
        """Logs the window: what was settled, and what was certainly never sent."""
        never = waiting[1:] if self.in_flight is not None else waiting
        self._records += [
            self._journal.withdrawn(letter.message.digest, "intended", "not-sent", intend=intend) for letter in never
        ]
        self._write()
