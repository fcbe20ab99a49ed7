"""What a job gets from a terminal: progress, Ctrl-C, passwords, the wire log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mailmove.cli.outcome import say

if TYPE_CHECKING:
    from mailmove.dial import Ahead
    from mailmove.jobs import Context, PullJob, RelayJob, ReplayJob
    from mailmove.secrets import Secret
    from mailmove.wire_log import WireLog


def make_context(
    *,
    quiet: bool,
    style: str,
    pull: PullJob | None = None,
    replay: ReplayJob | None = None,
    relay: RelayJob | None = None,
    wire_log: Path | None = None,
    line: Ahead | None = None,
) -> Context:
    """The context for these jobs; asks for their passwords now, before anything takes long.

    `line`: a connection that is being made, for the first session of the pull, or of the replay where none is pulled.
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
    context = terminal_context(source, target, quiet=quiet, style=style, log=log, line=line)
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


def terminal_context(
    source: Callable[[], Secret] | None,
    target: Callable[[], Secret] | None,
    *,
    quiet: bool,
    style: str,
    log: WireLog | None = None,
    line: Ahead | None = None,
) -> Context:
    """A context that logs in with what these give; they are asked anew for each session. `line`: see make_context."""
    from mailmove import endpoints
    from mailmove.cli import progress
    from mailmove.cli.stop import Stop
    from mailmove.jobs import Context

    stop, lines = Stop(), [line] * (line is not None)
    context = Context(
        progress=progress.choose(style, quiet=quiet),
        ok=stop.ok,
        created=lambda path: None if quiet else say(f"Making a new archive: {path}"),
    )
    if source is not None:
        context.open_source = lambda job, window: endpoints.open_source(
            job, source(), window, stop.ok, log, lines.pop() if lines else None
        )
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
            ahead=lines.pop() if lines else None,
        )
    return context
