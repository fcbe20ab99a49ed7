"""What a job gets from a terminal: progress, Ctrl-C, passwords, the wire log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mailmove.cli.outcome import say

if TYPE_CHECKING:
    from mailmove.jobs import Context, PullJob, ReplayJob
    from mailmove.secrets import Secret
    from mailmove.wire_log import WireLog


def make_context(
    *,
    quiet: bool,
    style: str,
    pull: PullJob | None = None,
    replay: ReplayJob | None = None,
    wire_log: Path | None = None,
) -> Context:
    """The context for these jobs; asks for their passwords now, before anything takes long.

    Raises UsageError, and ConfigurationError for what cannot be read or written.
    """
    from mailmove.cli.prompt import ask_password
    from mailmove.endpoints import tls_policy
    from mailmove.secrets import supply
    from mailmove.wire_log import WireLog

    for job in (pull, replay):
        if job:
            tls_policy(job.ca_file, job.pin, job.client_cert)
    source = supply(pull.secret, lambda: ask_password(str(pull.maildrop))) if pull else None
    target = supply(replay.secret, lambda: ask_password(replay.target_name)) if replay else None
    return terminal_context(source, target, quiet=quiet, style=style, log=WireLog(wire_log) if wire_log else None)


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
            allow_plaintext=job.allow_plaintext,
            timeout=job.timeout,
            ok=stop.ok,
            log=log,
        )
    return context
