"""What a replay tells afterwards: counts that add up, and every exception by name (design.md section 8)."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import KW_ONLY, dataclass, field

from mailmove.errors import Interrupted
from mailmove.jobs.preflight import Preflight
from mailmove.jobs.report import JobReport
from mailmove.model import Outcome, ReportedException


class Term(enum.StrEnum):
    """What became of one selected delivery; the terms of the replay's equation (design.md, P4)."""

    DELIVERED = "delivered"
    ALREADY_THERE = "already_there"
    SKIPPED = "skipped"
    PARKED = "parked"
    UNCERTAIN = "uncertain"
    PENDING = "pending"


@dataclass(slots=True)
class ReplayReport(JobReport):
    """One run of one replay. `terms` holds all but `pending`, which is what is left.

    `missing`: deliveries of a mailbox that was recreated since; `at_target` and `delivered_ever`: messages in the
    mailbox at the beginning of this run, and those we ever delivered there. `preflight`: of a dry run only.
    `mailbox` is what was asked for; `mailboxes`: those that come of it, as the target calls them.
    """

    target: str
    mailbox: str
    _: KW_ONLY
    selected: int = 0
    terms: Counter[Term] = field(default_factory=Counter)
    duplicate_content: int = 0
    extra_at_target: int = 0
    missing: int = 0
    redelivered: int = 0
    at_target: int = 0
    delivered_ever: int = 0
    mailbox_missing: bool = False
    preflight: Preflight | None = None
    mailboxes: list[str] = field(default_factory=list)

    @property
    def pending(self) -> int:
        return self.selected - self.terms.total()

    def limited(self, count: int) -> None:
        """So many more lie beyond --limit."""
        earlier = next((item for item in self.exceptions if item.kind == "limit"), None)
        if earlier is not None:
            self.exceptions.remove(earlier)
            count += earlier.count
        self.exceptions.append(ReportedException("limit", "beyond --limit", count=count))

    def conclude(self) -> None:
        """Draws the outcome from what is known."""
        if isinstance(self.error, Interrupted):
            self.outcome = Outcome.INTERRUPTED
        elif self.error is not None:
            self.outcome = Outcome.FAILED
        elif (
            self.pending
            or self.terms[Term.PARKED]
            or self.terms[Term.UNCERTAIN]
            or self.missing
            or self.extra_at_target
        ):
            self.outcome = Outcome.PARTIAL

    def counts(self) -> dict[str, int]:
        """The numbers, the terms of the equation first."""
        terms = {term.value: self.terms[term] for term in Term} | {Term.PENDING.value: self.pending}
        rest = {
            "duplicate_content": self.duplicate_content,
            "suspect": self.suspect,
            "extra_at_target": self.extra_at_target,
            "missing": self.missing,
            "redelivered": self.redelivered,
            "at_target": self.at_target,
            "delivered_ever": self.delivered_ever,
            "bytes": self.octets,
        }
        return {"selected": self.selected} | terms | rest | {"sessions": self.sessions, "retries": self.retries}

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        facts: dict[str, object] = {"preflight": self.preflight.as_dict()} if self.preflight else {}
        if self.mailboxes and self.mailboxes != [self.mailbox]:
            facts["mailboxes"] = self.mailboxes
        return self._document({"target": self.target, "mailbox": self.mailbox}, facts)
