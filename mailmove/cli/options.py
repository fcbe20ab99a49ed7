"""Options that several commands share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mailmove.model import Maildrop, SecretRef

ArchiveOption = Annotated[
    Path | None,
    typer.Option("-a", "--archive", metavar="DIR", help="The archive. Default: the only *.mailmove folder here."),
]
StateDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where archive.db and the lock live, for an archive on a network file system."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, and no report when all is well.")]
ProgressStyle = Annotated[
    str, typer.Option("--progress", metavar="auto|json", help="How to show progress on stderr; json is for programs.")
]
Wait = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for an archive that is in use.")]


def default_archive(maildrop: Maildrop) -> Path:
    """`./USER@HOST.mailmove`, other characters as %XX (design.md section 8)."""
    from urllib.parse import quote

    return Path(quote(str(maildrop), safe="@+") + ".mailmove")


def find_archive(given: Path | None) -> Path:
    """The archive a command is about. Raises UsageError if it is not clear which."""
    from mailmove.errors import UsageError

    if given is not None:
        return given
    here = sorted(path for path in Path().glob("*.mailmove") if path.is_dir())
    if len(here) != 1:
        what = f"{len(here)} *.mailmove folders" if here else "no *.mailmove folder"
        raise UsageError(f"There are {what} here; name the archive with -a DIR.")
    return here[0]


def secret_ref(env: str, file: str, command: str) -> SecretRef:
    """At most one way to find the password. Raises UsageError."""
    from mailmove.errors import UsageError
    from mailmove.model import SecretRef

    if sum(map(bool, (env, file, command))) > 1:
        raise UsageError("Give one of --password-env, --password-file and --password-command, not several.")
    return SecretRef(env, file, command)
