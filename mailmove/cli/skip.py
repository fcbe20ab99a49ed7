"""`mailmove skip`."""

from __future__ import annotations

from typing import Annotated

import typer

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
    state_dir: StateDir = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Settle a message that is parked (the server refuses it) or suspect (it may be incomplete), with a reason."""
    with errors_told(as_json=as_json):
        from mailmove.errors import UsageError
        from mailmove.jobs import Context
        from mailmove.jobs.skip import SkipJob, run_skip

        if not reason.strip() or not reason.isprintable():
            raise UsageError("The reason is empty or holds a control character; give one line of text.")
        found = run_skip(SkipJob(find_archive(archive), identity, reason, maildrop, state_dir, wait), Context())
        settled = {"kind": found["kind"], "maildrop": found["maildrop"], "unique_id": found["unique_id"]}
        if as_json:
            print_json({"job": "skip", "outcome": "complete", "digest": found["digest"], **settled, "reason": reason})
        else:
            print(
                printable(f"Settled: {found['kind']} {found['digest'] or found['unique_id']} of {found['maildrop']}.")
            )
