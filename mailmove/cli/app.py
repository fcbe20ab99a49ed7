"""The list of commands: a new one is one file, with a function of its name, and one word here.

Strategy: typer takes each command apart, so only the one that was asked for is imported and registered; all of them
where none is named, for the list in --help and for a word that is no command.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from mailmove import __version__

COMMANDS = (
    "demo",
    "pull",
    "replay",
    "migrate",
    "verify",
    "status",
    "index",
    "search",
    "show",
    "repair",
    "rebuild",
    "skip",
    "checkpoint",
    "timestamp",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mailmove {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of mailmove itself."""


def command_line(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
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
    app.callback()(root)
    for name in names:
        module = import_module(f"mailmove.cli.{name}")
        app.command(name=name, epilog=module.EPILOG)(getattr(module, name))
    return app
