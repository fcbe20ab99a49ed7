"""Replay over SMTP and LMTP: from an archive to recipients (design.md section 7, "SMTP / LMTP").

Strategy: one session after another until nothing is left to send. Nobody can look into such a target, so before
anything is sent, what an earlier run left open becomes uncertain: it is named, and goes again only if that is asked
for. Then windows, as for IMAP (relay_window.py): announced and durable, sent, accounted for. What the server puts off
(4yz) goes once more after everything else, after longer and longer pauses; what it still puts off then is pending, for
another run. The archive is the only memory, so a replay that is cut off anywhere is simply run again.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mailmove.archive import Archive, Reader
from mailmove.archive.deliveries import Deliveries
from mailmove.archive.merging_query import sharing
from mailmove.errors import (
    ArchiveDamaged,
    ArchiveError,
    ConnectionLost,
    MailmoveError,
    ProtocolError,
    TryLater,
    UsageError,
)
from mailmove.jobs import Context, RelayJob
from mailmove.jobs.budget import Budget
from mailmove.jobs.crew import Meter
from mailmove.jobs.envelope import check_utf8
from mailmove.jobs.mailbox_replay import HOPELESS
from mailmove.jobs.rate import Pacer, rate_policy
from mailmove.jobs.relay_account import RelayAccount
from mailmove.jobs.relay_originals import originals
from mailmove.jobs.relay_pace import RelayPace
from mailmove.jobs.relay_parcels import AT_ONCE, Consignment, Packer
from mailmove.jobs.relay_report import RelayReport
from mailmove.jobs.relay_roster import Addressee, Letter, Roster
from mailmove.jobs.relay_warnings import relay_warnings
from mailmove.jobs.relay_window import RelayWindow
from mailmove.jobs.replay_dry_run import check_maildrops
from mailmove.jobs.replay_query import check_query, narrow_down
from mailmove.jobs.replay_report import Term
from mailmove.jobs.retry import Attempts
from mailmove.jobs.settled import Settled
from mailmove.jobs.window import WORTH_A_LOGIN
from mailmove.model import Digest, Reply, ReportedException
from mailmove.targets import Relay, RelayTraits

FIRST_PAUSE, LONGER = 1.0, 4.0
"""Seconds before what was put off is tried again, and how many times longer each pause is than the one before."""


def run_relay(job: RelayJob, context: Context) -> RelayReport:
    """One run of a replay to recipients.

    A failure after the archive was opened is in the report's `error`; before that it is raised: UsageError,
    ArchiveBusy, ArchiveDamaged, ArchiveTooNew.
    """
    check_query(job)
    policy = rate_policy(job.max_rate, job.host, job.user)
    reader = Reader.open(job.archive, state_dir=job.state_dir)
    if job.dry_run:
        from mailmove.jobs.relay_dry_run import relay_dry_run  # which no other run needs

        return relay_dry_run(job, context, reader)
    with Archive.open(
        job.archive, state_dir=job.state_dir, wait=job.wait, take_over=job.take_over, clock=context.clock
    ) as archive:
        check_maildrops(job, archive.catalogue)
        try:
            narrow_down(job, context, Deliveries(archive.catalogue, job.target_name, ""))
            pacer = Pacer(archive.catalogue, job.target_name, policy.rates, context.clock())
            return RelayRun(job, context, archive, pacer, policy.note).run()
        finally:
            context.progress.end()


class RelayRun:
    """One run and what it remembers over its sessions."""

    def __init__(self, job: RelayJob, context: Context, archive: Archive, pacer: Pacer, note: str) -> None:
        self._job, self._context, self._archive, self._pacer, self._note = job, context, archive, pacer, note
        self._attempts = Attempts()
        self._pace = RelayPace(job.window_messages)
        self._report = RelayReport(job.name, "", str(job.archive.absolute()), job.target_name, "")
        self._report.recipients = list(job.recipients)  # until the server is asked
        self._roster: Roster | None = None
        self._most, self._rest = AT_ONCE, 0.0
        self._broke_in: defaultdict[Digest, float] = defaultdict(float)
        self._shut_out: Counter[Digest] = Counter()

    def run(self) -> RelayReport:
        """Until nothing is left to send, or something stops it."""
        started = time.monotonic()
        report = self._report
        report.run = self._archive.begin_run(self._job.name, ", ".join(self._job.maildrops), self._job.target_name)
        try:
            self._sessions()
        except UsageError:  # nobody has confirmed --original-recipients: nothing was begun
            raise
        except MailmoveError as error:
            report.error = error
        report.seconds, report.retries = time.monotonic() - started, self._attempts.retries
        self._end()
        return report

    def _sessions(self) -> None:
        """Sessions until all is settled, with pauses for what was put off; raises what stops the run."""
        pauses = self._pauses()
        while True:
            self._attempts.run(self._session, self._context.sleep, self._context.progress.note)
            if self._rest:
                self._context.progress.note(f"--max-rate lets nothing through now; going on in {self._rest:.0f} s.")
                self._context.sleep(self._rest)
            elif not self._put_off or (pause := next(pauses, None)) is None:
                return
            else:
                self._context.progress.rewind()
                words = f"The server has put off {self._put_off:,} deliveries"
                self._context.progress.note(f"{words}; trying again in {pause:.0f} s.")
                self._context.sleep(pause)

    def _pauses(self) -> Iterator[float]:
        """Longer each time, and all together no longer than the job's patience."""
        left, pause = self._job.patience, FIRST_PAUSE
        while left > 0:
            yield min(pause, left)
            left, pause = left - pause, pause * LONGER

    @property
    def _put_off(self) -> int:
        return sum(len(one.put_off) for one in self._roster.addressees) if self._roster else 0

    # ---- one session

    def _session(self) -> None:
        relay = self._open()
        self._attempts.reached = True
        self._report.sessions += 1
        try:
            self._work(relay)
        except BaseException:
            relay.close()
            raise
        relay.quit()

    def _open(self) -> Relay:
        """One command at a time with a server that has lost count of them before."""
        one_by_one = self._attempts.window_one
        return self._context.open_relay(replace(self._job, window_messages=1) if one_by_one else self._job)

    def _work(self, relay: Relay) -> None:
        if self._attempts.window_one:
            self._pace.messages = 1
        if self._roster is None:
            self._roster = self._planned(relay.traits)
        else:
            self._roster.select()
        if self._report.pending:
            self._send(relay, self._roster)

    def _planned(self, traits: RelayTraits) -> Roster:
        """Who is to get what; settled beforehand: what an earlier run left open."""
        addressees, left_out = self._addressees(traits)
        roster = Roster(self._job, self._archive, addressees)
        self._report.recipients = self._report.mailboxes = [one.address for one in roster.addressees]
        roster.settle_open()
        roster.plan(self._report)
        self._report.leave_out(left_out)
        self._context.progress.begin("replay", roster.to_send, roster.octets)
        if roster.to_send:
            doubles = sharing(self._archive.catalogue) if relay_warnings(traits) else 0
            for sentence in [*relay_warnings(traits, doubles), self._note]:
                if sentence:
                    self._context.progress.note(sentence)
        return roster

    def _addressees(self, traits: RelayTraits) -> tuple[list[Addressee], list[ReportedException]]:
        """With messages that go to nobody."""
        job, archive = self._job, self._archive
        check_utf8((job.sender, *job.recipients), utf8=traits.utf8, server=job.target_name)
        if job.original_recipients:
            return originals(job, self._context, archive, traits)
        return [Addressee(job, archive, address, number) for number, address in enumerate(job.recipients, 1)], []

    def _send(self, relay: Relay, roster: Roster) -> None:
        job, archive, context, meter = self._job, self._archive, self._context, Meter()
        account = RelayAccount(archive, context.progress, self._tally)
        budget = Budget(archive.catalogue, job.target_name, job.daily_limit)
        packer = Packer(
            *(job, archive.layout, context, self._report.run, relay.traits, account, budget, meter.add, self._most)
        )
        window = RelayWindow(
            *(archive.layout, context, relay, self._helpers(), self._pace, packer, account, budget, self._pacer, meter)
        )
        try:
            window.send(map(self._judged, roster.letters()))
        except MailmoveError as error:
            self._blame(window.broke_in, error)
            raise
        finally:
            self._most, self._rest = packer.most, window.rest

    def _helpers(self) -> list[Callable[[], Relay]]:
        """More sessions only if they are asked for, and worth their login."""
        most = min(self._job.connections or 1, self._report.pending // WORTH_A_LOGIN + 1)
        return [] if self._attempts.window_one else [self._open] * (most - 1)

    def _judged(self, letter: Letter) -> Letter:
        """What breaks connections goes alone, and at last not at all (P8)."""
        broke = self._broke_in.get(letter.message.digest, 0.0)
        return replace(letter, alone=broke >= HOPELESS / 2, hopeless=broke >= HOPELESS) if broke else letter

    def _blame(self, broke_in: Sequence[Consignment], error: MailmoveError) -> None:
        """Counts how often the connection broke while a message was on its way out."""
        self._context.progress.rewind()
        if isinstance(error, TryLater):
            self._put_back(broke_in[:1], Reply(421, "", error.server_text))
        if not isinstance(error, ConnectionLost | ProtocolError):
            return
        for digest in {one.digest for one in broke_in}:
            self._broke_in[digest] += HOPELESS / 2 if isinstance(error, ProtocolError) else 1
            if self._broke_in[digest] >= HOPELESS:
                self._attempts.forgive()

    def _put_back(self, first: Sequence[Consignment], reply: Reply) -> None:
        """What the server ends sessions over comes behind all others, so that it does not stop them (P8)."""
        for one in first:
            self._shut_out[one.digest] += 1
            if self._shut_out[one.digest] > 1:
                for share in one.shares:
                    share.addressee.put_off[one.digest] = reply

    def _tally(self, done: Settled) -> None:
        """Counts what became durable."""
        self._report.terms.update(done.terms)
        self._report.octets += done.octets
        self._report.exceptions += done.exceptions
        if done.terms[Term.DELIVERED] or done.terms[Term.PARKED]:
            self._attempts.progress()

    # ---- the end

    def _end(self) -> None:
        """Draws the sum, and logs it unless the archive itself has failed."""
        report = self._report
        self._name_put_off()
        damaged = [item for item in report.exceptions if item.kind == "damaged"]
        if damaged and (report.error is None or report.error.exit_code not in (1, 4)):
            report.error = ArchiveDamaged(
                f"{len(damaged):,} of the archive's messages are damaged and were not sent; "
                "`mailmove verify` names them."
            )
        report.conclude()
        if not isinstance(report.error, ArchiveError) or damaged:
            self._archive.end_run(report.outcome.value, report.counts())

    def _name_put_off(self) -> None:
        """What the server still puts off is pending, and the run not done."""
        put_off = list(self._roster.put_off()) if self._roster else []
        for addressee, digest, reply in put_off:
            reason = f"the server puts it off ({reply.codes}); run again later"
            self._report.exceptions.append(addressee.named(Term.PENDING.value, digest, reason, str(reply)))
        if put_off and self._report.error is None:
            words = str(put_off[0][2])
            self._report.error = TryLater(
                f"{self._job.target_name} puts off {len(put_off):,} deliveries for now, the first with {words!r}.",
                server_text=words,
            )
