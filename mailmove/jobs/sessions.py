"""How many sessions a run needs, and when the next one may begin (design.md section 6.6).

Strategy: one session is the rule. Another follows when this one was cut to a slice on purpose, or when the listing was
a few hundred messages, none of them known from a finished run: some providers (Gmail) list so many at a time, and hide
what was fetched when its session ends with QUIT. A server that wants a pause between two logins (LOGIN-DELAY, RFC 2449
section 6.5) gets it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailmove.jobs import Context, PullJob
from mailmove.jobs.look import View
from mailmove.model import MaildropEntry
from mailmove.sources import Source

BATCH = range(100, 501)
"""A listing of so many messages may be one batch of several."""


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
        self.wanted = True

    def wait(self) -> None:
        """Until the server accepts another login. Raises Interrupted."""
        if (left := self._next_login - time.monotonic()) > 0:
            self._context.progress.note(f"The server wants a pause between logins; going on in {left:.0f} s.")
            self._context.sleep(left)

    def opened(self, source: Source) -> None:
        """A login was made."""
        self._next_login = time.monotonic() + source.login_delay

    def slice(self, view: View, wanted: Sequence[MaildropEntry]) -> Sequence[MaildropEntry]:
        """What of `wanted` is fetched in this session; decides whether another one follows."""
        now = self._cut(wanted)
        self.wanted = bool(now) and (len(now) < len(wanted) or _may_be_a_batch(view))
        return now

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
