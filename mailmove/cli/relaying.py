"""`replay` and `migrate` to an SMTP or LMTP target: which options mean something there, and the job they make.

Strategy: one command for both kinds of target, so an option that means nothing for the one at hand is refused by name,
and never silently ignored. What both kinds have in common is read as for IMAP, and taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import typer

from mailmove.errors import UsageError

if TYPE_CHECKING:
    from mailmove.jobs import RelayJob, ReplayJob
    from mailmove.urls import RelayUrl

IMAP_ONLY = (
    *("mailbox", "sent_to", "own_address", "label", "seen", "skip_present", "redeliver_missing", "ignore_missing"),
)
RELAY_ONLY = (
    *("rcpt", "mail_from", "resent", "original_recipients", "yes", "loop_guard"),
    *("max_rate", "patience", "target_max_rate", "target_patience"),
)
PULL_HAS = ("max_rate", "patience")
"""In `migrate` these are the source's."""


def check_options(context: typer.Context, *, relay: bool) -> None:
    """Raises UsageError for an option that was given and means nothing for this kind of target."""
    mine = PULL_HAS if "source" in context.params else ()
    for name in IMAP_ONLY if relay else RELAY_ONLY:
        if name in context.params and name not in mine and _was_given(context, name):
            what = "an IMAP target has" if relay else "an SMTP or LMTP target has"
            raise UsageError(f"{_flag(context, name)} is about what only {what}; leave it out for this target.")


def _was_given(context: typer.Context, name: str) -> bool:
    parameter = next(one for one in context.command.params if one.name == name)
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT" and context.params[name] != parameter.default


def _flag(context: typer.Context, name: str) -> str:
    parameter = next(one for one in context.command.params if one.name == name)
    return parameter.opts[0]


def relay_job(
    job: ReplayJob, url: RelayUrl, rcpt: Sequence[str] | None, mail_from: str | None, **options: Any
) -> RelayJob:
    """What `job` says, for recipients. `options`: fields that only a RelayJob has. Raises UsageError."""
    from mailmove.jobs import RelayJob
    from mailmove.jobs.envelope import recipients, reverse_path
    from mailmove.jobs.rate import rate_policy

    lmtp = url.name.startswith("lmtp:")
    original = options.get("original_recipients", False)
    if not (rcpt or original):
        raise UsageError("Say who gets the messages: --rcpt ADDRESS, which may be repeated.")
    if rcpt and original:
        raise UsageError("--original-recipients and --rcpt contradict each other; give one of them.")
    if options.get("confirmed") and not original:
        raise UsageError("--yes answers what --original-recipients asks, which was not given; leave it out.")
    rate_policy(options["max_rate"], url.host, url.user)  # before anything is connected
    common = {one.name: getattr(job, one.name) for one in fields(RelayJob) if hasattr(job, one.name)}
    envelope = {
        "recipients": recipients(rcpt or (), lmtp=lmtp),
        "sender": reverse_path(mail_from, url.user, lmtp=lmtp),
        "host": url.host,
        "user": url.user,
    }
    return RelayJob(**common | envelope | options)


def window_of(context: typer.Context) -> int:
    """`--window` as it was given; 0 if it was not: then as many as keep the line full."""
    return int(context.params["window"]) if _was_given(context, "window") else 0
