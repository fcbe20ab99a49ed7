"""Copies too many: a server that stored after all what it had seemed to lose (design.md section 7).

Strategy: only messages that were sent again after a crash can be there twice, so only these are looked for. What is
found is told of and never deleted: it is the owner's mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries, Open
from mailmove.jobs import Context
from mailmove.jobs.likeness import Likeness
from mailmove.jobs.reconcile import local_likeness, unclaimed
from mailmove.model import Digest, ReportedException
from mailmove.targets import MailboxState, Target


class Resent:
    """Messages that an earlier session announced, that were not there, and that were sent again."""

    def __init__(self) -> None:
        self._open: dict[Digest, Open] = {}
        self._sent: set[Digest] = set()

    def add(self, row: Open) -> None:
        self._open[row.digest] = row

    @property
    def any(self) -> bool:
        return bool(self._sent)

    def sent(self, digests: Iterable[Digest]) -> None:
        self._sent.update(digest for digest in digests if digest in self._open)

    def surplus(
        self, target: Target, archive: Archive, deliveries: Deliveries, state: MailboxState, context: Context
    ) -> Iterator[ReportedException]:
        """Every copy at the target that has no receipt."""
        if not self._sent:
            return
        rows = [self._open[digest] for digest in self._sent]
        floor = min(row.floor if row.uidvalidity == state.uidvalidity else 1 for row in rows)
        forms = [local_likeness(archive, row.digest, row.repaired) for row in rows]
        sizes = frozenset[int]().union(*(form.sizes for form in forms))
        by_form: dict[str, Digest] = {}
        for row, form in zip(rows, forms, strict=True):
            by_form |= dict.fromkeys((form.munged, form.exact, form.canonical), row.digest)
        nowhere = {row.digest: deliveries.without_uid(row.digest) for row in rows}
        for found in unclaimed(target, deliveries, state.uidvalidity, floor):
            context.check()
            octets = target.body(found.uid) if found.octets in sizes else None
            likeness = Likeness.of(octets) if octets is not None else None
            digest = likeness and (by_form.get(likeness.exact) or by_form.get(likeness.canonical))
            if digest and nowhere[digest]:
                nowhere[digest] -= 1  # it is the one we delivered, of which the server gave no UID
            elif digest:
                yield ReportedException(
                    "extra_at_target",
                    f"it is there twice: the server kept a cut-off delivery after all (UID {found.uid}); "
                    "delete the copy you do not want",
                    digest=digest,
                )
