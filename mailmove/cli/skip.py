"""`mailmove skip`."""

from __future__ import annotations

from typing import Annotated

import typer

from mailmove.cli.ids import unescaped
from mailmove.cli.options import ArchiveOption, Json, StateDir, Wait, find_archive
from mailmove.cli.outcome import errors_told, print_json, printable

EPILOG = "Example: mailmove skip 0000004d5e1f -a ~/mail.mailmove --reason 'spam, not needed'"


def skip(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="A unique id as the report prints it, or 8 or more digits of a digest.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is logged.")],
    archive: ArchiveOption = None,
    maildrop: Annotated[str, typer.Option(metavar="NAME", help="Which mailbox, where several have this id.")] = "",
    target: Annotated[str, typer.Option(metavar="TARGET", help="Settle a delivery to this target, not the pull.")] = "",
    mailbox: Annotated[str, typer.Option(metavar="NAME", help="Which mailbox of the target.")] = "",
    escaped: Annotated[
        bool, typer.Option("--escaped", help="ID has %XX for what cannot be typed, as a report prints such an id.")
    ] = False,
    state_dir: StateDir = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Settle what is parked (a server refuses it), suspect (it may be incomplete) or uncertain, with a reason."""
    with errors_told(as_json=as_json):
        from mailmove.errors import UsageError
        from mailmove.jobs import Context
        from mailmove.jobs.skip import SkipJob, run_skip

        if not reason.strip() or not reason.isprintable():
            raise UsageError("The reason is empty or holds a control character; give one line of text.")
        job = SkipJob(
            find_archive(archive),
            unescaped(identity) if escaped else identity,
            reason,
            maildrop=maildrop,
            target=_target_name(target),
            mailbox=mailbox,
            state_dir=state_dir,
            wait=wait,
        )
        found = run_skip(job, Context())
        names = ("kind", "maildrop", "unique_id", "target", "mailbox", "digest")
        settled = {name: found[name] for name in names if name in found}
        if as_json:
            print_json({"job": "skip", "outcome": "complete", **settled, "reason": reason})
        else:
            where = found.get("maildrop") or f"{found['target']} {found['mailbox']}"
            print(printable(f"Settled: {found['kind']} {found['digest'] or found['unique_id']} of {where}."))


def _target_name(text: str) -> str:
    """A target's name as the log has it, from that name or from its URL."""
    from mailmove.errors import UsageError
    from mailmove.urls import is_relay, parse_relay, parse_target

    parse = parse_relay if is_relay(text) else parse_target
    try:
        return parse(text).name if text else ""
    except UsageError:
        return text
