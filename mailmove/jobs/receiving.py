"""Messages on their way from a source into the archive, of one run.

Strategy: what came in whole waits in a group, which a second thread makes durable while the next comes in; only what
the archive has committed is counted, reported, or remembered. Whatever ends a session, what came in whole before is
kept, except when the archive itself fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from mailmove.archive import Archive, Draft, Filed, Received
from mailmove.errors import ArchiveError, ConnectionLost, Interrupted, MailmoveError, ProtocolError, TryLater
from mailmove.jobs import Context, PullJob
from mailmove.jobs.committer import IDLE, Committer, Meanwhile
from mailmove.jobs.deletion import KEEP_ALIVE
from mailmove.jobs.group import Group
from mailmove.jobs.ledger import Ledger
from mailmove.jobs.parking import Parking
from mailmove.jobs.plan import key
from mailmove.jobs.report import RunReport
from mailmove.jobs.retry import Attempts
from mailmove.jobs.sessions import Sessions
from mailmove.jobs.suspects import Suspects
from mailmove.jobs.throttle import Throttle
from mailmove.jobs.trouble import Trouble
from mailmove.model import Complete, Digest, Fate, MaildropEntry, MessageNumber
from mailmove.sources import Incoming, Refused, Source


class Receiver:
    """`taken`: how many messages were fetched or refused. `second_look`: suspects are fetched again, to be judged.

    `received`: what this session has archived, by message number; kept only where that decides on a deletion, since a
    maildrop may have 10^6 messages. `over`: everything that was asked for has been answered.
    """

    def __init__(
        self,
        job: PullJob,
        archive: Archive,
        context: Context,
        ledger: Ledger,
        attempts: Attempts,
        suspects: Suspects,
        trouble: Trouble,
        sessions: Sessions,
        parking: Parking,
        report: RunReport,
    ) -> None:
        self.taken = 0
        self.second_look = False
        self.over = False
        self.received: dict[MessageNumber, tuple[Digest, Complete]] = {}
        self._archive = archive
        self._deletes = job.delete_after is not None
        self._context = context
        self._ledger = ledger
        self._attempts = attempts
        self._suspects = suspects
        self._trouble = trouble
        self._hiding = sessions.hiding
        self._parking = parking
        self._report = report
        self._group = Group(job.group)
        self._committer = Committer(self._committed)
        self._throttle = Throttle(job.max_rate, context.sleep)

    def begin(self, *, second_look: bool) -> None:
        """A session begins."""
        self.second_look = second_look
        self.received.clear()

    def retrieve(self, source: Source, entries: Sequence[MaildropEntry], *, unreliable_sizes: bool) -> None:
        """Fetches and commits. Raises what the source raises, ArchiveError, Interrupted, TryLater."""
        self.over = False
        try:
            for item in source.retrieve(entries):
                if isinstance(item, Refused):
                    self._refuse(item)
                else:
                    self._receive(item, unreliable_sizes=unreliable_sizes)
                self._keep_up()
                self._context.check()
        except ArchiveError:
            self._group.discard()
            with contextlib.suppress(ArchiveError):
                self._committer.settle()
            raise
        except MailmoveError:
            self._commit_all()
            raise
        self.over = True
        self._commit_last(source)

    def close(self) -> None:
        """Waits until the disk is left alone."""
        self._committer.close()

    # ---- one message

    def _receive(self, incoming: Incoming, *, unreliable_sizes: bool) -> None:
        self._trouble.begin(key(incoming.entry))
        draft = self._archive.draft()
        try:
            for chunk in incoming.chunks:
                self._archive.write(draft, chunk)
                self._context.progress.received(len(chunk))
                self._throttle.took(len(chunk))
                self._context.check()
                self._keep_up()
            self._archive.finish(draft)
            self._trouble.over()
            if self._trouble.is_proof(key(incoming.entry)):
                draft.discard()
            else:
                self._group.add(self._look(incoming, draft, unreliable_sizes=unreliable_sizes))
        except BaseException:
            draft.discard()
            raise

    def _look(self, incoming: Incoming, draft: Draft, *, unreliable_sizes: bool) -> Received:
        identity = key(incoming.entry)
        again = identity in self._hiding.again or identity in self._suspects.earlier
        second = self._suspects.second_look(incoming, draft) if self.second_look or again else None
        if second is not None:
            return second
        self.taken += not again
        return self._suspects.first_look(incoming, draft, unreliable_sizes=unreliable_sizes)

    def _refuse(self, item: Refused) -> None:
        identity, error = key(item.entry), item.error
        patience = self._trouble.refused(identity, error)
        if self._trouble.is_proof(identity):
            return
        self.taken += 1
        self._parking.refuse(identity, error)
        if patience:
            raise TryLater(error.message, server_text=error.server_text, command=error.command, code=error.code)

    # ---- groups

    def _keep_up(self) -> None:
        """Hands a group that is due to the disk, and hears of the one before as soon as it is durable."""
        if self._committer.arrived:
            self._committer.settle()
        idle = self._committer.idle
        if self._group.due(settled=idle) or (idle and self._group.worthwhile):
            self._committer.start(self._archive.commit, self._group.take())

    def _commit_last(self, source: Source) -> None:
        """While our disk is slow, the server hears from us. Whatever it does, all is kept."""
        try:
            self._commit_all(Meanwhile(source.keep_alive, KEEP_ALIVE))
        except (ConnectionLost, ProtocolError, Interrupted):
            self._commit_all()
            raise

    def _commit_all(self, meanwhile: Meanwhile = IDLE) -> None:
        """Returns when everything that came in is durable and counted."""
        try:
            self._committer.settle(meanwhile)
        except ArchiveError:
            self._group.discard()
            raise
        self._committer.start(self._archive.commit, self._group.take())
        self._committer.settle(meanwhile)

    def _committed(self, items: Sequence[Received], filed: Sequence[Filed]) -> None:
        """A group is durable: only now is it counted and shown."""
        for item, done in zip(items, filed, strict=True):
            self._suspects.committed(item.draft, done, self._archive)
            if self._deletes:
                self.received[item.entry.number] = (done.place.digest, done.place.complete)
            self._hiding.fetched(key(item.entry))
            self._count(item, done)
        if not self._hiding.again.issuperset(key(item.entry) for item in items):
            self._attempts.progress()
        self._context.progress.done(len(items), sum(done.place.octets for done in filed))

    def _count(self, item: Received, done: Filed) -> None:
        if self._ledger.settle(item.entry, Fate.STORED if done.new else Fate.DUPLICATE_CONTENT):
            self._report.octets += done.place.octets
            self._report.versions += done.version
