"""How many sessions a run needs, and when the next one may begin (design.md section 6.6).

Strategy: one session is the rule. Another follows when this one was cut to a slice on purpose, or when the listing was
a few hundred messages, none of them known from a finished run: some providers (Gmail) list so many at a time, and hide
what was fetched when its session ends with QUIT (hiding.py). A server that wants a pause between two logins
(LOGIN-DELAY, RFC 2449 section 6.5) gets it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailmove.jobs import Context, PullJob
from mailmove.jobs.hiding import BATCH, CutOff, Hiding
from mailmove.jobs.look import View
from mailmove.jobs.plan import key
from mailmove.model import MaildropEntry
from mailmove.sources import Source


def _may_be_a_batch(view: View) -> bool:
    """Whether more may be hidden behind this listing: nothing in it was archived by a run that came to its end."""
    plan = view.plan
    return (
        len(view.listing) in BATCH
        and bool(plan.retrieve)
        and not plan.beyond_limit
        and len(plan.known) <= view.listings.unfinished()
    )


class Sessions:
    """The sessions of one run."""

    def __init__(self, job: PullJob, context: Context) -> None:
        self._job = job
        self._context = context
        self._next_login = 0.0
        self.hiding = Hiding(deletes=job.delete_after is not None)
        self.wanted = True

    def wait(self) -> None:
        """Until the server accepts another login. Raises Interrupted."""
        if (left := self._next_login - time.monotonic()) > 0:
            self._context.progress.note(f"The server wants a pause between logins; going on in {left:.0f} s.")
            self._context.sleep(left)

    def opened(self, source: Source) -> None:
        """A login was made."""
        self._next_login = time.monotonic() + source.login_delay
        self.hiding.begin()

    def again(self, view: View, cut_off: CutOff) -> list[MaildropEntry]:
        """What is archived and must be fetched once more in this session, so that its QUIT hides it."""
        return [] if self._job.delete_only or self._job.limit == 0 else self.hiding.choose(view, cut_off)

    def slice(self, view: View, wanted: Sequence[MaildropEntry]) -> Sequence[MaildropEntry]:
        """What of `wanted` is fetched in this session; decides whether another one follows."""
        now = self._cut(wanted)
        self.hiding.again.intersection_update(map(key, now))
        self.wanted = bool(now) and (len(now) < len(wanted) or self._may_be_a_batch(view))
        return now

    def _may_be_a_batch(self, view: View) -> bool:
        if self.hiding.again or (self.hiding.seen and len(view.listing) in BATCH):
            return True
        return _may_be_a_batch(view)

    def ended(self, *, confirmed: bool) -> None:
        """QUIT was said, and answered or not."""
        self.hiding.ended(confirmed=confirmed)
        if self.hiding.again and not confirmed:
            self._context.progress.note(
                f"The server did not confirm the end of the session in which {len(self.hiding.again):,} messages were "
                "fetched again; if it hides what was fetched, there may be more behind them. Run again later."
            )

    def _cut(self, wanted: Sequence[MaildropEntry]) -> Sequence[MaildropEntry]:
        messages, octets = self._job.session_messages, self._job.session_octets
        cut = list(wanted[:messages] if messages else wanted)
        if not octets:
            return cut
        total = 0
        for place, entry in enumerate(cut):
            total += entry.octets
            if place and total > octets:
                return cut[:place]
        return cut
