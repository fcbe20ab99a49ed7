"""What a repair tells afterwards: each message that had no sound file, and what became of it.

Strategy: data; cli/ prints it. damaged + missing = from_copy + from_source + not_repaired, in every report.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailmove.archive.mending import Unsound
from mailmove.errors import MailmoveError
from mailmove.jobs.report import RunReport, worst

COPY, SOURCE = "copy", "source"


@dataclass(slots=True)
class Item:
    """One message that had no sound file.

    `repaired_from`: "copy" or "source", in a dry run what would be tried; "": neither, and `reason` says why.
    `quarantined`: the name in quarantine/ of what was there before.
    """

    wanted: Unsound
    repaired_from: str = ""
    reason: str = ""
    quarantined: str = ""

    def as_dict(self) -> dict[str, object]:
        digest = self.wanted.digest
        facts: dict[str, object] = {
            "repaired_from": self.repaired_from,
            "reason": self.reason,
            "quarantined": self.quarantined,
        }
        what = f"mail/{digest[:3]}/{digest}.eml"
        given: dict[str, object] = {name: value for name, value in facts.items() if value}
        return {"kind": self.wanted.kind, "digest": digest, "what": what, **given}


@dataclass(slots=True)
class RepairReport:
    """What was looked at, and what became of each message that was not sound. `pull`: the pull's own report."""

    archive: str
    copy: str = ""
    source: str = ""
    checked: int = 0
    octets: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    items: list[Item] = field(default_factory=list)
    pull: RunReport | None = None

    def count(self, repaired_from: str) -> int:
        return sum(item.repaired_from == repaired_from for item in self.items)

    @property
    def error(self) -> MailmoveError | None:
        """Why the pull ended early."""
        return self.pull.error if self.pull else None

    @property
    def exit_code(self) -> int:
        return worst([4 if self.count("") else 0, self.pull.exit_code if self.pull else 0])

    @property
    def outcome(self) -> str:
        if self.exit_code == 0:
            return "complete"
        return self.pull.outcome.value if self.pull and not self.count("") else "failed"

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        return {
            "job": "repair",
            "archive": self.archive,
            **({"copy": self.copy} if self.copy else {}),
            **({"source": self.source} if self.source else {}),
            "outcome": self.outcome,
            "checked": self.checked,
            "octets": self.octets,
            "damaged": sum(item.wanted.kind == "damaged" for item in self.items),
            "missing": sum(item.wanted.kind == "missing" for item in self.items),
            "from_copy": self.count(COPY),
            "from_source": self.count(SOURCE),
            "not_repaired": self.count(""),
            "seconds": round(self.seconds, 3),
            "findings": [item.as_dict() for item in self.items],
            **({"pull": self.pull.as_dict()} if self.pull else {}),
            **({"dry_run": True} if self.dry_run else {}),
        }
