"""What a run tells afterwards: counts that add up, and every exception by name (design.md section 8).

Strategy: the report is data; cli/ prints it. `counts` are integers in a fixed order, the terms of the equation first,
so that the same numbers stand on the terminal, in the JSON and in the log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field

from mailmove.errors import Interrupted, MailmoveError
from mailmove.model import Fate, Outcome, ReportedException

WORST_FIRST = (1, 4, 130, 78, 77, 75, 3, 0)
"""Of several causes or jobs the first exit code in this order wins."""

EXIT_CODES = {Outcome.COMPLETE: 0, Outcome.PARTIAL: 3, Outcome.INTERRUPTED: 130}


@dataclass(slots=True)
class JobReport(ABC):
    """What every run tells, whatever its job. `octets` came in or went out; `error` is why it ended early."""

    job: str
    run: str
    archive: str
    _: KW_ONLY
    outcome: Outcome = Outcome.COMPLETE
    suspect: int = 0
    octets: int = 0
    seconds: float = 0.0
    sessions: int = 0
    retries: int = 0
    dry_run: bool = False
    exceptions: list[ReportedException] = field(default_factory=list)
    error: MailmoveError | None = None

    @property
    def exit_code(self) -> int:
        """As the shell gets it (design.md section 8)."""
        if self.error is not None:
            return self.error.exit_code
        return EXIT_CODES.get(self.outcome, 1)

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """The numbers, the terms of the equation first."""

    @abstractmethod
    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""

    def _document(self, ends: Mapping[str, str], facts: Mapping[str, object]) -> dict[str, object]:
        """The report as one JSON object. `ends`: what it ran between, the archive apart; `facts`: what only it has."""
        return {
            "job": self.job,
            "run": self.run,
            "archive": self.archive,
            **ends,
            "outcome": self.outcome.value,
            **self.counts(),
            "seconds": round(self.seconds, 3),
            **facts,
            "exceptions": [{k: v for k, v in asdict(item).items() if v} for item in self.exceptions],
            **({"dry_run": True} if self.dry_run else {}),
            **({"error": error_dict(self.error)} if self.error else {}),
        }


@dataclass(slots=True)
class RunReport(JobReport):
    """One run of one pull."""

    source: str
    maildrop: str
    _: KW_ONLY
    listed: int = 0
    fates: Mapping[Fate, int] = field(default_factory=dict)
    deleted: int = 0
    held_back: int = 0
    would_delete: int = 0
    versions: int = 0
    archive_created: bool = False

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
        ends, facts = {"source": self.source, "maildrop": self.maildrop}, {"archive_created": self.archive_created}
        return self._document(ends, facts) | ({"would_delete": self.would_delete} if self.dry_run else {})


def worst(codes: Iterable[int]) -> int:
    """The exit code of several jobs (design.md section 8)."""
    given = set(codes)
    return next((code for code in WORST_FIRST if code in given), max(given, default=0))


def error_dict(error: BaseException) -> dict[str, str]:
    """An error as JSON (design.md section 8)."""
    server_text = error.server_text if isinstance(error, MailmoveError) else ""
    return {"class": type(error).__name__, "message": str(error), "server_text": server_text}


def outcome(report: RunReport) -> Outcome:
    """How a pull ended, by what is in its report."""
    if isinstance(report.error, Interrupted):
        return Outcome.INTERRUPTED
    if report.error is not None:
        return Outcome.FAILED
    partial = report.suspect or report.held_back or report.fates.get(Fate.PARKED) or report.fates.get(Fate.PENDING)
    partial = partial or any(item.kind == "damaged" for item in report.exceptions)
    return Outcome.PARTIAL if partial else Outcome.COMPLETE
