"""A job of a recipe, as plain data: steps on one archive, what happens afterwards, what a server may be asked for.

Strategy: a recipe becomes these, `run` runs them, `status` and `schedule` read them; a chain holds references to
secrets, never secrets. The order of the steps is that of `steps`: pull, replays, verify, index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmove.jobs import PullJob, RelayJob, ReplayJob
    from mailmove.jobs.index import IndexJob
    from mailmove.jobs.verify import VerifyJob

    Step = PullJob | ReplayJob | RelayJob | VerifyJob | IndexJob


@dataclass(frozen=True, slots=True)
class After:
    """What happens when a chain has ended; "" is nothing.

    `on_success`, `on_failure`: a command line for the system's shell. `ping`: an https URL that is told of success and
    failure. `report`: where the HTML report goes, an absolute path with {job} and {date} already in place as such.
    """

    on_success: str = ""
    on_failure: str = ""
    ping: str = ""
    report: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """One job of a recipe. `steps` work on `archive`, and are named "NAME/pull", "NAME/replay", "NAME/verify" …

    Where there is a pull with `delete_after` and replays, only what is at all targets is deleted, and last.
    """

    name: str
    archive: Path
    steps: tuple[Step, ...]
    after: After = field(default_factory=After)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The servers it talks to, in lower case, each once: what limits are about."""
        from mailmove.jobs import PullJob, RelayJob, ReplayJob
        from mailmove.urls import host_of

        talking = (step for step in self.steps if isinstance(step, PullJob | ReplayJob | RelayJob))
        urls = (step.source if isinstance(step, PullJob) else step.target for step in talking)
        return tuple(dict.fromkeys(filter(None, map(host_of, urls))))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server may be asked for, by all chains of a run together; 0 is no limit.

    `bytes_per_day`: in any 24 hours, both ways.
    """

    connections: int = 0
    logins_per_minute: int = 0
    bytes_per_day: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a recipe runs. Either `every` so many seconds, or `at` a time of the day, "HH:MM", local.

    `on`: "daily", "weekdays", a day of the week ("monday" …) or a day of the month ("1" to "28"); with `at` only.
    """

    every: float = 0.0
    at: str = ""
    on: str = "daily"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file. `path` is absolute; `limits` by host, in lower case; `parallel`: so many chains at once."""

    path: Path
    chains: tuple[Chain, ...]
    limits: Mapping[str, Limits] = field(default_factory=dict)
    schedule: Schedule | None = None
    parallel: int = 1
