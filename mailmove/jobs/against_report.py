"""What `verify --against` tells afterwards: counts that add up, and every exception by name (design.md section 8)."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import KW_ONLY, dataclass, field

from mailmove.errors import Interrupted
from mailmove.jobs.against_verdict import Kind
from mailmove.jobs.report import JobReport
from mailmove.model import Outcome

WORST_FIRST = ("unproven", "missing", "altered", "extra", "not_delivered", "skipped", "other_date", "rewritten")
COLUMNS = ("kind", "digest", "count", "reason", "server_text", "command")


@dataclass(slots=True)
class AgainstReport(JobReport):
    """One comparison of an archive with a mailbox it was delivered to.

    `kinds`: what became of each delivery; delivered = there + rewritten + altered + missing + unproven + pending, the
    last being what was not looked at. Beside that:
    `other_date` of those that are there; `extra`, second copies of messages of ours; `not_delivered`, what a replay
    would send; `elsewhere`, what another mailbox of the target was given; `left_out`, what a person settled, or
    the target would merge with another; `renewed`,
    receipts that got a new UID.
    """

    target: str
    mailbox: str
    _: KW_ONLY
    deep: bool = False
    delivered: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    other_date: int = 0
    extra: int = 0
    not_delivered: int = 0
    elsewhere: int = 0
    left_out: int = 0
    renewed: int = 0
    at_target: int = 0
    mailbox_missing: bool = False

    @property
    def pending(self) -> int:
        return self.delivered - self.kinds.total()

    def conclude(self) -> None:
        """Draws the outcome from what is known, and puts the worst first."""
        self.exceptions.sort(key=lambda item: WORST_FIRST.index(item.kind))
        if isinstance(self.error, Interrupted):
            self.outcome = Outcome.INTERRUPTED
        elif self.error is not None:
            self.outcome = Outcome.FAILED
        elif self.pending or self.kinds[Kind.MISSING] or self.kinds[Kind.ALTERED] or self.extra or self.not_delivered:
            self.outcome = Outcome.PARTIAL

    def counts(self) -> dict[str, int]:
        """The numbers, the terms of the equation first."""
        rest = {
            "other_date": self.other_date,
            "extra": self.extra,
            "not_delivered": self.not_delivered,
            "elsewhere": self.elsewhere,
            "skipped": self.left_out,
            "renewed": self.renewed,
            "at_target": self.at_target,
            "bytes": self.octets,
        }
        terms = {kind.value: self.kinds[kind] for kind in Kind} | {"pending": self.pending}
        return {"delivered": self.delivered} | terms | rest | {"sessions": self.sessions, "retries": self.retries}

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        return self._document({"target": self.target, "mailbox": self.mailbox}, {"deep": self.deep})

    def as_csv(self) -> str:
        """One line for each exception, under a line of names (RFC 4180)."""
        out = io.StringIO()
        lines = csv.writer(out)
        lines.writerow(COLUMNS)
        lines.writerows([getattr(item, name) or "" for name in COLUMNS] for item in self.exceptions)
        return out.getvalue()
