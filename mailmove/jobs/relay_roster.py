"""Whom a run over SMTP or LMTP sends to, and what each of them still lacks (design.md section 7, "Selection").

Strategy: each recipient stands where a mailbox of IMAP does: it has a selection, a plan and records of its own. The
selections are read side by side in the one order they share, so a message goes in one transaction to all who lack it.
They are made anew in each session, so that what was delivered meanwhile is left out by itself; what was tried in vain
in this run is remembered here. Nothing an earlier run left open can be looked up at such a server: it is uncertain.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from mailmove.archive import Archive
from mailmove.archive.deliveries import Selected
from mailmove.jobs import RelayJob
from mailmove.jobs.journal import Journal
from mailmove.jobs.mended import Mender
from mailmove.jobs.relay_report import RelayReport
from mailmove.jobs.replay_plan import Decision, decide
from mailmove.jobs.replay_report import Term
from mailmove.model import Digest, Reply, ReportedException

REASONS = {
    Term.UNCERTAIN: "it was sent, and no answer came: it may be there; --resend-uncertain sends it again",
    Term.PARKED: "refused before ({}); --retry-parked tries again",
}


class Addressee:
    """One recipient over all sessions of a run.

    `tried`: not sent again in this run; `put_off`: what the server said of those it did not take yet.
    """

    def __init__(
        self, job: RelayJob, archive: Archive, address: str, number: int, part_numbers: Sequence[int] | None = None
    ) -> None:
        """`number`: its own, from 1. `part_numbers`: of the selection, what is meant for it (None: all of it)."""
        self.address = address
        self.journal = Journal(archive, job.target_name, address, part_numbers, number)
        self.mender = Mender(archive.layout, self.journal.deliveries, job.repairs)
        self.tried: set[Digest] = set()
        self.put_off: dict[Digest, Reply] = {}

    def named(self, kind: str, digest: Digest, reason: str, text: str = "") -> ReportedException:
        """One of its deliveries that is not good news."""
        return ReportedException(kind, reason, digest=digest, server_text=text, mailbox=self.address)


@dataclass(frozen=True, slots=True)
class Share:
    """One recipient's part in a message. `withdraw`: the state of an earlier delivery it takes the place of."""

    addressee: Addressee
    message: Selected
    withdraw: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """One copy of a message, for all who lack it. `alone`: a connection broke in it before; `hopeless`: too often."""

    message: Selected
    shares: tuple[Share, ...]
    alone: bool = False
    hopeless: bool = False


class Roster:
    """All recipients of one run. `to_send`: deliveries, and `octets` of them, that the plan found to be sent."""

    def __init__(self, job: RelayJob, archive: Archive, addressees: Sequence[Addressee]) -> None:
        self._job, self._archive = job, archive
        self.addressees = addressees
        self.to_send = self.octets = 0
        self._end: int | None = None  # the number of the first message beyond --limit

    def settle_open(self) -> None:
        """What an earlier run announced and never settled: nobody can look whether it is there."""
        records = [
            addressee.journal.uncertain(row.digest, 0, row.intend)
            for addressee in self.addressees
            for row in addressee.journal.deliveries.open()
        ]
        if records:
            self._archive.append(*records)

    def select(self) -> tuple[int, int]:
        """Makes the selections; (deliveries, byte-identical copies left out)."""
        sums = [self._select(addressee) for addressee in self.addressees]
        return sum(selected for selected, _ in sums), sum(duplicates for _, duplicates in sums)

    def _select(self, addressee: Addressee) -> tuple[int, int]:
        return addressee.journal.deliveries.select(self._job.maildrops, keep_duplicates=self._job.keep_duplicates)

    # ---- the plan

    def plan(self, report: RelayReport) -> None:
        """Makes the selections, counts what is left alone, and how much will be sent."""
        report.selected, report.duplicate_content = self.select()
        report.terms[Term.ALREADY_THERE] += sum(one.journal.deliveries.already_delivered() for one in self.addressees)
        report.delivered_ever = sum(one.journal.deliveries.facts().delivered for one in self.addressees)
        beyond = 0
        for which in self._side_by_side():
            send = sum(self._sort_out(report, *one) for one in which)
            if send and self._is_beyond_limit(which[0][1], report.messages):
                beyond += send
            elif send:
                report.messages += 1
                self.to_send += send
                self.octets += send * which[0][1].octets
        if beyond:
            report.terms[Term.SKIPPED] += beyond
            report.limited(beyond)
        self._name_suspects(report)

    def _sort_out(self, report: RelayReport, addressee: Addressee, message: Selected) -> int:
        """Counts and names what is not sent to one recipient; how many copies are."""
        decision = self._decide(message)
        report.terms[Term.SKIPPED] += decision.skipped
        for term, count in ((Term.UNCERTAIN, decision.uncertain), (Term.PARKED, decision.parked)):
            report.terms[term] += count
            cause, text = addressee.journal.deliveries.text(message.digest) if count else ("", "")
            reason = REASONS[term].format(cause)
            report.exceptions += [addressee.named(term.value, message.digest, reason, text)] * count
        return decision.send

    def _is_beyond_limit(self, message: Selected, messages: int) -> bool:
        if self._end is None and self._job.limit is not None and messages >= self._job.limit:
            self._end = message.number
        return self._end is not None

    def _name_suspects(self, report: RelayReport) -> None:
        suspects = dict.fromkeys(itertools.chain(*(one.journal.deliveries.suspects() for one in self.addressees)))
        report.suspect = len(suspects)
        reason = "it may be incomplete; sent as it is"
        report.exceptions += [ReportedException("suspect", reason, digest=digest) for digest in suspects]

    def _decide(self, message: Selected) -> Decision:
        return decide(message, resend_uncertain=self._job.resend_uncertain, retry_parked=self._job.retry_parked)

    def _side_by_side(self) -> Iterator[list[tuple[Addressee, Selected]]]:
        """Each message with all who lack a copy of it, in the order of the log."""
        rows = [self._numbered(place, one) for place, one in enumerate(self.addressees)]
        for _, group in itertools.groupby(heapq.merge(*rows), key=lambda row: row[0]):
            yield [(self.addressees[place], message) for _, place, message in group]

    def _numbered(self, place: int, addressee: Addressee) -> Iterator[tuple[int, int, Selected]]:
        return ((message.number, place, message) for message in addressee.journal.deliveries.undelivered())

    # ---- what is to be sent

    def letters(self) -> Iterator[Letter]:
        """What is to be sent, as far as the limit goes; what was put off before this session comes behind the rest."""
        earlier = {one: frozenset(one.put_off) for one in self.addressees}
        yield from self._letters(earlier, put_off=False)
        if any(earlier.values()):
            yield from self._letters(earlier, put_off=True)

    def _letters(self, earlier: Mapping[Addressee, Set[Digest]], *, put_off: bool) -> Iterator[Letter]:
        for which in self._side_by_side():
            message = which[0][1]
            if self._end is not None and message.number >= self._end:
                return
            parts = [
                (addressee, wanted, self._decide(wanted))
                for addressee, wanted in which
                if wanted.digest not in addressee.tried and (wanted.digest in earlier[addressee]) is put_off
            ]
            for copy in range(max((decision.send for _, _, decision in parts), default=0)):
                yield Letter(message, tuple(_share(*part, copy) for part in parts if copy < part[2].send))

    def put_off(self) -> Iterator[tuple[Addressee, Digest, Reply]]:
        """What the server has not taken yet, with what it said last."""
        for addressee in self.addressees:
            for digest, reply in addressee.put_off.items():
                yield addressee, digest, reply


def _share(addressee: Addressee, message: Selected, decision: Decision, copy: int) -> Share:
    return Share(addressee, message, decision.withdraw[copy] if copy < len(decision.withdraw) else "")
