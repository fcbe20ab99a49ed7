"""Jobs: what to do, as plain data; what a job gets from outside; what it tells afterwards.

Strategy: one entry point a job, `run_job(job, context) -> RunReport`, with no globals, prompts, signal handlers or
drawing inside (design.md section 12). A job holds references to secrets, never secrets. The context brings everything
that differs between a terminal and a fleet: progress, clock, sleep, how to open a source, and `ok`, asked between
messages and before every commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mailmove.errors import Interrupted, LocalProtocolError, UsageError
from mailmove.model import TOKEN_METHODS, AuthMethod, GroupLimits, Maildrop, NoProgress, Progress, SecretRef
from mailmove.sources import Source
from mailmove.targets import Target

SLICE = 0.2


@dataclass(frozen=True, slots=True)
class PullJob:
    """Pull every message of a maildrop into an archive. Octets, seconds and days; None and 0 mean no bound.

    `delete_after` None: nothing is deleted. `delivered_to`: (target, mailbox) pairs; only what was delivered to all of
    them may be deleted. `delete_only`: nothing is fetched that is not needed for deleting.
    """

    source: str
    maildrop: Maildrop
    archive: Path
    secret: SecretRef = field(default_factory=SecretRef)
    name: str = "pull"
    auth: AuthMethod = AuthMethod.AUTO
    ca_file: str = ""
    pin: str = ""
    client_cert: str = ""
    allow_plaintext: bool = False
    timeout: float = 60.0
    limit: int | None = None
    dry_run: bool = False
    state_dir: Path | None = None
    wait: float = 0.0
    take_over: bool = False
    window: int = 1000
    delete_after: float | None = None
    trust_received: bool = False
    allow_mass_delete: bool = False
    delivered_to: tuple[tuple[str, str], ...] = ()
    delete_only: bool = False
    session_messages: int = 0
    session_octets: int = 0
    max_rate: float = 0.0
    patience: float = 15 * 60.0
    group: GroupLimits = field(default_factory=GroupLimits)

    def __post_init__(self) -> None:
        """Raises UsageError if the secret is not what this way to log in needs."""
        if self.auth is AuthMethod.AUTO or (self.auth in TOKEN_METHODS) == bool(self.secret.token_command):
            return
        if self.secret.token_command:
            raise UsageError(f"--auth {self.auth} takes a password, but --token-command gives a token; leave one out.")
        raise UsageError(f"--auth {self.auth} takes a token, which --token-command must give.")


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """Deliver an archive's messages to a mailbox of a target. Seconds; `limit` None means all.

    `target` is a URL, `target_name` what the log calls it; no `maildrops` means all of them, which on an archive of
    several must be asked for by `all_maildrops`. `query`: only what a search for it finds. `skip_present` None: decided
    at first contact.
    """

    target: str
    target_name: str
    archive: Path
    mailbox: str = "INBOX"
    secret: SecretRef = field(default_factory=SecretRef)
    name: str = "replay"
    maildrops: tuple[str, ...] = ()
    all_maildrops: bool = False
    query: str | None = None
    keep_duplicates: bool = False
    seen: str = "older-than=14"
    limit: int | None = None
    dry_run: bool = False
    skip_present: bool | None = None
    retry_parked: bool = False
    resend_uncertain: bool = False
    redeliver_missing: bool = False
    ignore_missing: bool = False
    ca_file: str = ""
    pin: str = ""
    client_cert: str = ""
    allow_plaintext: bool = False
    timeout: float = 60.0
    state_dir: Path | None = None
    wait: float = 0.0
    take_over: bool = False
    window_messages: int = 64
    window_octets: int = 8 * 1024 * 1024


def _always() -> bool:
    return True


def _no_source(job: PullJob, window: int) -> Source:
    raise LocalProtocolError("A job without a source tried to open one: this is a bug in mailmove.")


def _no_target(job: ReplayJob) -> Target:
    raise LocalProtocolError("A job without a target tried to open one: this is a bug in mailmove.")


@dataclass(slots=True)
class Context:
    """What a job gets from outside.

    `open_source(job, window)` and `open_target(job)` log in; `ok` turns False when the run shall stop; `created` is
    told the path of an archive that is made, before anything is in it.
    """

    open_source: Callable[[PullJob, int], Source] = _no_source
    open_target: Callable[[ReplayJob], Target] = _no_target
    progress: Progress = field(default_factory=NoProgress)
    ok: Callable[[], bool] = _always
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    created: Callable[[Path], None] = lambda path: None

    def check(self) -> None:
        """Raises Interrupted when the run shall stop."""
        if not self.ok():
            raise Interrupted("Interrupted: run the same command again to resume.")

    def sleep(self, seconds: float) -> None:
        """Waits, but hears a stop. Raises Interrupted."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(SLICE, left))
