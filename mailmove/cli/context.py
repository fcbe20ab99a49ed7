"""What a job gets from a terminal: progress, Ctrl-C, passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmove.cli.outcome import say

if TYPE_CHECKING:
    from mailmove.jobs import Context, PullJob, ReplayJob
    from mailmove.secrets import Secret


def make_context(*, quiet: bool, style: str, pull: PullJob | None = None, replay: ReplayJob | None = None) -> Context:
    """The context for these jobs; asks for their passwords now, before anything takes long. Raises UsageError."""
    from mailmove.cli.prompt import ask_password
    from mailmove.secrets import resolve

    source = resolve(pull.secret, lambda: ask_password(str(pull.maildrop))) if pull else None
    target = resolve(replay.secret, lambda: ask_password(replay.target_name)) if replay else None
    return terminal_context(source, target, quiet=quiet, style=style)


def terminal_context(source: Secret | None, target: Secret | None, *, quiet: bool, style: str) -> Context:
    """A context that logs in with these secrets."""
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
        context.open_source = lambda job, window: endpoints.open_source(job, source, window, stop.ok)
    if target is not None:
        context.open_target = lambda job: endpoints.open_target(
            job.target,
            target,
            ca_file=job.ca_file,
            allow_plaintext=job.allow_plaintext,
            timeout=job.timeout,
            ok=stop.ok,
        )
    return context
