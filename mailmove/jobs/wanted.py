"""What one session fetches, and in which order.

Strategy: what is new is the plan's affair. Beside it some of what is archived is fetched once more: suspects, so that
they can be judged; what must be received before it may be deleted; what holds up the mail behind it (hiding.py), last
of all; and, first of all, a proof that the server is well, where it breaks in one message after another (trouble.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from mailmove.archive import Archive
from mailmove.archive.cut_off import cut_off, cut_off_suspects
from mailmove.jobs import PullJob
from mailmove.jobs.deletion import Deletion
from mailmove.jobs.look import View
from mailmove.jobs.parking import Parking
from mailmove.jobs.plan import PullPlan, key
from mailmove.jobs.sessions import Sessions
from mailmove.jobs.suspects import Suspects
from mailmove.jobs.trouble import Trouble
from mailmove.model import MaildropEntry


class Wanted:
    """The choice of one run, by what its other parts know. `run`: its name in the log."""

    def __init__(
        self, job: PullJob, suspects: Suspects, trouble: Trouble, sessions: Sessions, parking: Parking
    ) -> None:
        self._job = job
        self._suspects = suspects
        self._trouble = trouble
        self._sessions = sessions
        self._parking = parking

    def choose(
        self, view: View, archive: Archive, run: str, deletions: Deletion, *, second_look: bool
    ) -> Sequence[MaildropEntry]:
        """Of this listing; in a second look, for what was refused or looks incomplete, nothing else is added."""
        plan = view.plan
        suspects = self._suspects.again(view.listing) if second_look else self._left_suspect(plan, archive, run)
        to_prove = [] if view.shrunken else deletions.to_receive(view.listing, view.listings)
        new = self._trouble.last_of_all(plan.retrieve)
        proof = self._trouble.proof(plan.known) if new else []
        to_hide = [] if second_look else self._to_hide(view, archive, run)
        return list(dict.fromkeys([*proof, *suspects, *to_prove, *new, *to_hide]))

    def _left_suspect(self, plan: PullPlan, archive: Archive, run: str) -> list[MaildropEntry]:
        """What an earlier run has found to be suspect and had no time to look at again."""
        if self._job.delete_only or self._job.limit == 0:
            return []
        left = cut_off_suspects(archive.catalogue, str(self._job.maildrop), run)
        return self._suspects.look_at(left, plan.known) if left else []

    def _to_hide(self, view: View, archive: Archive, run: str) -> list[MaildropEntry]:
        maildrop = str(self._job.maildrop)
        found = self._sessions.again(view, lambda entries: cut_off(archive.catalogue, maildrop, entries, run))
        return self._trouble.last_of_all([entry for entry in found if key(entry) not in self._parking.attempted])
