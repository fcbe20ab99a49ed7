"""The list of commands: a new one is one file and one line here."""

from __future__ import annotations

from typing import Annotated

import typer

from mailmove import __version__
from mailmove.cli import (
    checkpoint,
    demo,
    index,
    migrate,
    pull,
    rebuild,
    repair,
    replay,
    search,
    show,
    skip,
    status,
    timestamp,
    verify,
)

app = typer.Typer(
    name="mailmove",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Moves and backs up mailboxes: every message of a POP3 mailbox, byte for byte, in an archive of plain "
    "files, and from there into an IMAP mailbox.",
    epilog="Begin with: mailmove demo, or mailmove pull pop3s://YOU@POP.YOUR-PROVIDER.EXAMPLE",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mailmove {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of mailmove itself."""


app.command(name="demo", epilog=demo.EPILOG)(demo.demo)
app.command(name="pull", epilog=pull.EPILOG)(pull.pull)
app.command(name="replay", epilog=replay.EPILOG)(replay.replay)
app.command(name="migrate", epilog=migrate.EPILOG)(migrate.migrate)
app.command(name="verify", epilog=verify.EPILOG)(verify.verify)
app.command(name="status", epilog=status.EPILOG)(status.status)
app.command(name="index", epilog=index.EPILOG)(index.index)
app.command(name="search", epilog=search.EPILOG)(search.search)
app.command(name="show", epilog=show.EPILOG)(show.show)
app.command(name="repair", epilog=repair.EPILOG)(repair.repair)
app.command(name="rebuild", epilog=rebuild.EPILOG)(rebuild.rebuild)
app.command(name="skip", epilog=skip.EPILOG)(skip.skip)
app.command(name="checkpoint", epilog=checkpoint.EPILOG)(checkpoint.checkpoint)
app.command(name="timestamp", epilog=timestamp.EPILOG)(timestamp.timestamp)
