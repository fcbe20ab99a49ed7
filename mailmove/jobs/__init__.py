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
from typing import TYPE_CHECKING

from mailmove.errors import Interrupted, LocalProtocolError, UsageError
from mailmove.model import (
    POP3_METHODS,
    TOKEN_METHODS,
    AuthMethod,
    GroupLimits,
    Maildrop,
    NoProgress,
    Progress,
    SecretRef,
)
from mailmove.sources import Source
from mailmove.targets import Relay, Target

if TYPE_CHECKING:
    from mailmove.repairs import Repair

SLICE = 0.2


@dataclass(frozen=True, slots=True)
class PullJob:
    """Pull every message of a maildrop into an archive. Octets, seconds and days; None and 0 mean no bound.

    `delete_after` None: nothing is deleted. `delivered_to`: (target, its mailboxes); only what was delivered to all
    targets, to one of the mailboxes there, may be deleted. `delete_only`: nothing is fetched that is not needed for it.
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
    delivered_to: tuple[tuple[str, tuple[str, ...]], ...] = ()
    delete_only: bool = False
    session_messages: int = 0
    session_octets: int = 0
    max_rate: float = 0.0
    patience: float = 15 * 60.0
    group: GroupLimits = field(default_factory=GroupLimits)

    def __post_init__(self) -> None:
        """Raises UsageError if the secret is not what this way to log in needs."""
        _check_secret(self.auth, self.secret)


def _check_secret(auth: AuthMethod, secret: SecretRef) -> None:
    if auth is AuthMethod.AUTO or (auth in TOKEN_METHODS) == bool(secret.token_command):
        return
    if secret.token_command:
        raise UsageError(f"--auth {auth} takes a password, but --token-command gives a token; leave one out.")
    raise UsageError(f"--auth {auth} takes a token, which --token-command must give.")


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """Deliver an archive's messages to a mailbox of a target. Seconds; `limit` None means all.

    `target` is a URL, `target_name` what the log calls it; no `maildrops` means all of them, which on an archive of
    several must be asked for by `all_maildrops`. `query`: only what a search for it finds. `skip_present` None: decided
    at first contact. `mailbox` and `sent_to` may be templates (placement.py); `labels` are Gmail's. `window_messages`:
    in one batch where the target takes batches, else under way at once; `connections` 0: as many as make sense.
    `repairs`: what may be done to what was refused before (`retry_parked`); `daily_limit`: octets in any 24 hours.
    """

    target: str
    target_name: str
    archive: Path
    mailbox: str = "INBOX"
    secret: SecretRef = field(default_factory=SecretRef)
    name: str = "replay"
    auth: AuthMethod = AuthMethod.AUTO
    maildrops: tuple[str, ...] = ()
    all_maildrops: bool = False
    query: str | None = None
    sent_to: str = ""
    own_addresses: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
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

    connections: int = 0
    repairs: frozenset[Repair] = frozenset()
    daily_limit: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for a way to log in that POP3 alone has, or that needs another secret.

        Also for names of mailboxes and labels that mean nothing (placement.py).
        """
        from mailmove.jobs.placement import check_places  # which a pull has no use for

        _check_delivery(self)
        check_places(self)


@dataclass(frozen=True, slots=True)
class RelayJob:
    """Send an archive's messages to recipients over SMTP or LMTP. Seconds; `limit` None means all.

    What a ReplayJob has too means the same. `recipients`: addresses; each gets every message once. `sender`: the
    reverse path of all of them, "" for <>. `resent`: Resent- fields go above each message. `original_recipients`:
    instead of `recipients`, whom each message names; `confirmed`: nobody is asked whether that is meant. `max_rate`:
    deliveries in a time, like "30/min", "" for what the provider is known to allow. `host` and `user`: of the target.
    `window_messages` 0: as many as keep the line full; 1: one command at a time. `patience`: how long the server may
    put off deliveries before the rest is left for another run.
    """

    target: str
    target_name: str
    archive: Path
    recipients: tuple[str, ...]
    sender: str = ""
    host: str = ""
    user: str = ""
    secret: SecretRef = field(default_factory=SecretRef)
    name: str = "replay"
    auth: AuthMethod = AuthMethod.AUTO
    maildrops: tuple[str, ...] = ()
    all_maildrops: bool = False
    query: str | None = None
    keep_duplicates: bool = False
    limit: int | None = None
    dry_run: bool = False
    retry_parked: bool = False
    resend_uncertain: bool = False
    ca_file: str = ""
    pin: str = ""
    client_cert: str = ""
    allow_plaintext: bool = False
    timeout: float = 60.0
    state_dir: Path | None = None
    wait: float = 0.0
    take_over: bool = False
    window_messages: int = 0
    connections: int = 0
    repairs: frozenset[Repair] = frozenset()
    daily_limit: int | None = None
    resent: bool = False
    original_recipients: bool = False
    confirmed: bool = False
    max_rate: str = ""
    loop_guard: bool = True
    patience: float = 30.0

    def __post_init__(self) -> None:
        """Raises UsageError for a way to log in that cannot be, and for repairs of what is not sent again."""
        _check_delivery(self)


def _check_delivery(job: ReplayJob | RelayJob) -> None:
    if job.auth in POP3_METHODS:
        raise UsageError(f"--auth {job.auth} is a way to log in to POP3; for a target choose another, or none.")
    _check_secret(job.auth, job.secret)
    if job.repairs and not job.retry_parked:
        names = ",".join(sorted(job.repairs))
        raise UsageError(f"--repair {names} is for what the target refused before; give --retry-parked with it.")


def _always() -> bool:
    return True


def _no_source(job: PullJob, window: int) -> Source:
    raise LocalProtocolError("A job without a source tried to open one: this is a bug in mailmove.")


def _no_target(job: ReplayJob) -> Target:
    raise LocalProtocolError("A job without a target tried to open one: this is a bug in mailmove.")


def _no_relay(job: RelayJob) -> Relay:
    raise LocalProtocolError("A job without a relay tried to open one: this is a bug in mailmove.")


def _nobody(question: str, answer: str) -> bool:
    return False


@dataclass(slots=True)
class Context:
    """What a job gets from outside.

    `open_source(job, window)`, `open_target(job)` and `open_relay(job)` log in; `confirm(question, answer)` tells
    whether a person gave this very answer to a question, False where nobody can be asked; `ok` turns False when the run
    shall stop; `created` is told the path of an archive that is made, before anything is in it.
    """

    open_source: Callable[[PullJob, int], Source] = _no_source
    open_target: Callable[[ReplayJob], Target] = _no_target
    open_relay: Callable[[RelayJob], Relay] = _no_relay
    confirm: Callable[[str, str], bool] = _nobody
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
