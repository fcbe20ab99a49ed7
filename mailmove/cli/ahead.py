"""What takes a round trip is begun before it is needed: the connection, then the session.

Strategy: as soon as the URL is read a thread connects (dial.py), while the program is loaded; as soon as the job is
known another logs in, while the archive is opened. Nothing is begun that may not be needed: not with --dry-run, and
not where a person or a program of theirs is still to be asked for the password, since a server waits for none of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mailmove.dial import Ahead
    from mailmove.jobs import Context, PullJob, RelayJob, ReplayJob
    from mailmove.model import SecretRef
    from mailmove.sources import Source
    from mailmove.targets import Relay, Target
    from mailmove.urls import SourceUrl, TargetUrl

Session = TypeVar("Session")


def line_to(url: SourceUrl | TargetUrl, secret: SecretRef, *, dry_run: bool) -> Ahead | None:
    """A connection to that place, begun now; None where it may come to nothing."""
    if dry_run or not (secret.env or secret.file):
        return None
    from mailmove.dial import Ahead

    return Ahead(url.host, url.port)


def open_ahead(context: Context, job: PullJob) -> None:
    """Begins to log in now, while the rest of the program is loaded, where no archive has to be looked at before.

    A token is not made ahead: it is the job that knows when one is needed.
    """
    if job.dry_run or job.secret.token_command or job.archive.exists() or not os.access(job.archive.parent, os.W_OK):
        return
    later = context.open_source
    sessions = [_begun(lambda: later(job, job.window))]

    def open_source(job: PullJob, window: int) -> Source:
        return sessions.pop()() if sessions else later(job, window)

    context.open_source = open_source


def open_target_ahead(context: Context, job: ReplayJob) -> None:
    """The same for a replay: the target answers while the archive is opened.

    What the session needs is loaded first, by this thread alone: two that load would be slower than one.
    """
    if job.dry_run or job.secret.token_command:
        return
    from mailmove.endpoints import load_target

    later = context.open_target
    sessions = [_begun(lambda: later(job))]

    def open_target(job: ReplayJob) -> Target:
        return sessions.pop()() if sessions else later(job)

    context.open_target = open_target
    load_target()


def open_relay_ahead(context: Context, job: RelayJob) -> None:
    """The same for a replay to recipients."""
    if job.dry_run or job.secret.token_command:
        return
    later = context.open_relay
    sessions = [_begun(lambda: later(job))]

    def open_relay(job: RelayJob) -> Relay:
        return sessions.pop()() if sessions else later(job)

    context.open_relay = open_relay


def _begun(open_one: Callable[[], Session]) -> Callable[[], Session]:
    """Begins it in a thread; waits for its end when it is called.

    No executor: to load one takes as long as to connect.
    """
    outcome: list[Session | BaseException] = []

    def work() -> None:
        try:
            outcome.append(open_one())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            outcome.append(error)

    thread = threading.Thread(target=work, name="mailmove-ahead", daemon=True)
    thread.start()

    def result() -> Session:
        thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    return result
