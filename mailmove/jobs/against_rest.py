"""What the archive has and a target was never given (design.md section 7, `verify --against`).

Strategy: the replay's own selection and decisions, so that what is named here is what a replay would send, or would ask
a person about. What another mailbox of the target was given is there, and what a target would merge with another
message (Gmail) was left out on purpose: both are counted, and nothing is wrong with them.
"""

from __future__ import annotations

from mailmove.archive.against import Comparison
from mailmove.archive.deliveries import Deliveries
from mailmove.archive.merging_query import Versions
from mailmove.jobs import merging
from mailmove.jobs.against_report import AgainstReport
from mailmove.jobs.replay_plan import decide
from mailmove.model import Digest, ReportedException

WHY = "in the archive, and not delivered there yet; `mailmove replay` sends them"
NEVER = "; nothing ever was (`mailmove status` names the mailboxes to which something was)"


def name_undelivered(
    report: AgainstReport, deliveries: Deliveries, held: Comparison, versions: Versions | None
) -> None:
    """Counts and names it. `deliveries` has made its selection; `versions`: where the target merges."""
    fresh = 0
    for message in deliveries.undelivered():
        if held.is_elsewhere(message.digest):
            report.elsewhere += 1
            continue
        plan = decide(message, resend_uncertain=False, retry_parked=False)
        send, why = merging.share(versions, message, plan.send) if versions else (plan.send, "")
        if merged := plan.send - send:
            report.exceptions.append(merging.left_out(message.digest, why))
        report.left_out += plan.skipped + merged
        report.not_delivered += send + plan.parked + plan.uncertain
        fresh += send
        if plan.parked or plan.uncertain:
            report.exceptions.append(_undecided(deliveries, message.digest, parked=bool(plan.parked)))
    if fresh:
        why = WHY if deliveries.facts().delivered else WHY + NEVER
        report.exceptions.append(ReportedException("not_delivered", why, count=fresh))


def _undecided(deliveries: Deliveries, digest: Digest, *, parked: bool) -> ReportedException:
    cause, text = deliveries.text(digest)
    what = f"the target refused it ({cause})" if parked else "something much like it is there"
    why = f"{what}; `mailmove replay {'--retry-parked' if parked else '--resend-uncertain'}` sends it again"
    return ReportedException("not_delivered", why, digest=digest, server_text=text)
