"""What a replay tells afterwards: counts that add up, and every exception by name (design.md section 8)."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import asdict, dataclass, field

from mailmove.errors import Interrupted, MailmoveError
from mailmove.jobs.report import EXIT_CODES, error_dict
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
class ReplayReport:
    """One run of one replay. `terms` holds all but `pending`, which is what is left.

    `missing`: deliveries of a mailbox that was recreated since; `at_target` and `delivered_ever`: messages in the
    mailbox at the beginning of this run, and those we ever delivered there.
    """

    job: str
    run: str
    archive: str
    target: str
    mailbox: str
    outcome: Outcome = Outcome.COMPLETE
    selected: int = 0
    terms: Counter[Term] = field(default_factory=Counter)
    duplicate_content: int = 0
    suspect: int = 0
    extra_at_target: int = 0
    missing: int = 0
    redelivered: int = 0
    at_target: int = 0
    delivered_ever: int = 0
    octets: int = 0
    seconds: float = 0.0
    sessions: int = 0
    retries: int = 0
    dry_run: bool = False
    mailbox_missing: bool = False
    exceptions: list[ReportedException] = field(default_factory=list)
    error: MailmoveError | None = None

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        return EXIT_CODES.get(self.outcome, 1)

    @property
    def pending(self) -> int:
        return self.selected - self.terms.total()

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
        found: dict[str, object] = {
            "job": self.job,
            "run": self.run,
            "archive": self.archive,
            "target": self.target,
            "mailbox": self.mailbox,
            "outcome": self.outcome.value,
            **self.counts(),
            "seconds": round(self.seconds, 3),
            "exceptions": [{k: v for k, v in asdict(item).items() if v} for item in self.exceptions],
        }
        if self.dry_run:
            found["dry_run"] = True
        return found | ({"error": error_dict(self.error)} if self.error else {})
