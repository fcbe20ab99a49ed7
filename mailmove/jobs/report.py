"""What a run tells afterwards: counts that add up, and every exception by name (design.md section 8).

Strategy: the report is data; cli/ prints it. `counts` are integers in a fixed order, the terms of the equation first,
so that the same numbers stand on the terminal, in the JSON and in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from mailmove.errors import MailmoveError
from mailmove.model import Fate, Outcome, ReportedException

WORST_FIRST = (1, 4, 130, 78, 77, 75, 3, 0)
"""Of several causes or jobs the first exit code in this order wins."""

EXIT_CODES = {Outcome.COMPLETE: 0, Outcome.PARTIAL: 3, Outcome.INTERRUPTED: 130}


@dataclass(slots=True)
class RunReport:
    """One run of one pull."""

    job: str
    run: str
    archive: str
    source: str
    maildrop: str
    outcome: Outcome = Outcome.COMPLETE
    listed: int = 0
    fates: Mapping[Fate, int] = field(default_factory=dict)
    suspect: int = 0
    deleted: int = 0
    held_back: int = 0
    would_delete: int = 0
    versions: int = 0
    octets: int = 0
    seconds: float = 0.0
    sessions: int = 0
    retries: int = 0
    archive_created: bool = False
    dry_run: bool = False
    exceptions: list[ReportedException] = field(default_factory=list)
    error: MailmoveError | None = None

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        return EXIT_CODES.get(self.outcome, 1)

    @property
    def adds_up(self) -> bool:
        """P4: the equation holds."""
        return self.listed == sum(self.fates.values())

    def counts(self) -> dict[str, int]:
        """The numbers, the terms of the equation first."""
        terms = {fate.value: self.fates.get(fate, 0) for fate in Fate}
        rest = {"suspect": self.suspect, "deleted": self.deleted, "versions": self.versions, "bytes": self.octets}
        return {"listed": self.listed} | terms | rest | {"sessions": self.sessions, "retries": self.retries}

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        found: dict[str, object] = {
            "job": self.job,
            "run": self.run,
            "archive": self.archive,
            "source": self.source,
            "maildrop": self.maildrop,
            "outcome": self.outcome.value,
            **self.counts(),
            "seconds": round(self.seconds, 3),
            "archive_created": self.archive_created,
            "exceptions": [{k: v for k, v in asdict(item).items() if v} for item in self.exceptions],
        }
        if self.dry_run:
            found |= {"dry_run": True, "would_delete": self.would_delete}
        return found | ({"error": error_dict(self.error)} if self.error else {})


def worst(codes: Iterable[int]) -> int:
    """The exit code of several jobs (design.md section 8)."""
    given = set(codes)
    return next((code for code in WORST_FIRST if code in given), max(given, default=0))


def error_dict(error: BaseException) -> dict[str, str]:
    """An error as JSON (design.md section 8)."""
    server_text = error.server_text if isinstance(error, MailmoveError) else ""
    return {"class": type(error).__name__, "message": str(error), "server_text": server_text}
