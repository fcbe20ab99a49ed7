"""What a job gets from a terminal: progress, Ctrl-C, passwords, the wire log."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mailmove.cli.outcome import say

Session = TypeVar("Session")

if TYPE_CHECKING:
    from mailmove.jobs import Context, PullJob, RelayJob, ReplayJob
    from mailmove.secrets import Secret
    from mailmove.sources import Source
    from mailmove.targets import Relay, Target
    from mailmove.wire_log import WireLog


def make_context(
    *,
    quiet: bool,
    style: str,
    pull: PullJob | None = None,
    replay: ReplayJob | None = None,
    relay: RelayJob | None = None,
    wire_log: Path | None = None,
) -> Context:
    """The context for these jobs; asks for their passwords now, before anything takes long.

    Raises UsageError, and ConfigurationError for what cannot be read or written.
    """
    from mailmove.cli.prompt import ask_password
    from mailmove.endpoints import tls_policy
    from mailmove.secrets import supply
    from mailmove.wire_log import WireLog

    for job in (pull, replay, relay):
        if job:
            tls_policy(job.ca_file, job.pin, job.client_cert)
    source = supply(pull.secret, lambda: ask_password(str(pull.maildrop))) if pull else None
    target = supply(replay.secret, lambda: ask_password(replay.target_name)) if replay else None
    log = WireLog(wire_log) if wire_log else None
    context = terminal_context(source, target, quiet=quiet, style=style, log=log)
    if relay:
        needed = relay.user != ""
        secret = supply(relay.secret, lambda: ask_password(relay.target_name)) if needed else None
        _open_relays(context, secret, log)
    return context


def _open_relays(context: Context, secret: Callable[[], Secret] | None, log: WireLog | None) -> None:
    """The context also logs in to SMTP and LMTP servers, with this secret if they want to know who it is."""
    from mailmove import endpoints
    from mailmove.cli.prompt import confirm

    context.confirm = confirm
    context.open_relay = lambda job: endpoints.open_relay(
        job.target,
        secret() if secret else None,
        ca_file=job.ca_file,
        pin=job.pin,
        client_cert=job.client_cert,
        bearer=bool(job.secret.token_command),
        auth=job.auth,
        one_by_one=job.window_messages == 1,
        allow_plaintext=job.allow_plaintext,
        timeout=job.timeout,
        ok=context.ok,
        log=log,
    )


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
    load_target(job.target)


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


def terminal_context(
    source: Callable[[], Secret] | None,
    target: Callable[[], Secret] | None,
    *,
    quiet: bool,
    style: str,
    log: WireLog | None = None,
) -> Context:
    """A context that logs in with what these give; they are asked anew for each session."""
    from mailmove import endpoints
    from mailmove.cli import progress
    from mailmove.cli.stop import Stop
    from mailmove.jobs import Context

    stop = Stop()
    context = Context(
        progress=progress.choose(style, quiet=quiet),
        ok=stop.ok,
        created=lambda path: None if quiet else say(f"Making a new archive: {path}"),
    )
    if source is not None:
        context.open_source = lambda job, window: endpoints.open_source(job, source(), window, stop.ok, log)
    if target is not None:
        context.open_target = lambda job: endpoints.open_target(
            job.target,
            target(),
            ca_file=job.ca_file,
            pin=job.pin,
            client_cert=job.client_cert,
            bearer=bool(job.secret.token_command),
            auth=job.auth,
            allow_plaintext=job.allow_plaintext,
            timeout=job.timeout,
            ok=stop.ok,
            log=log,
        )
    return context
