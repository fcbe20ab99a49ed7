"""`mailmove show`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.cli.options import ArchiveOption, Json, StateDir, find_archive
from mailmove.cli.outcome import errors_told, leave, print_json, say
from mailmove.cli.plain import any_text, readable

if TYPE_CHECKING:
    from mailmove.archive import Reader
    from mailmove.archive.search.text import Readable
    from mailmove.model import Digest

EPILOG = "Example: mailmove show 3f9c0a1b2c3d -a ~/mail.mailmove --attachments ~/Downloads"
PARTLY = 3


def show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="The first 8 or more digits of a digest.")],
    archive: ArchiveOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Write the message's exact octets, and nothing else.")] = False,
    attachments: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Save the attachments here, under harmless names; never over another file."),
    ] = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show a message: its headers and its text. Nothing in it can move the cursor or hide what is there.

    Exit codes: 0, 2 no such message or usage, 3 an attachment could not be decoded, 4 the file is damaged,
    75 the attachments cannot be written, 78 a newer mailmove wrote the archive.
    """
    with errors_told(as_json=as_json):
        from mailmove.archive import Reader
        from mailmove.archive.search.lookup import find_digest
        from mailmove.errors import UsageError

        if raw + as_json + (attachments is not None) > 1:
            raise UsageError("Give one of --raw, --json and --attachments, not several.")
        reader = Reader.open(find_archive(archive), state_dir=state_dir)
        digest = find_digest(reader, identity)
        if raw:
            _write_raw(reader, digest)
        elif attachments is not None:
            _save(reader, digest, attachments)
        else:
            _show(reader, digest, as_json=as_json)


def _write_raw(reader: Reader, digest: Digest) -> None:
    from mailmove.archive.reading import pieces

    for piece in pieces(reader.layout, digest):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _show(reader: Reader, digest: Digest, *, as_json: bool) -> None:
    from mailmove.archive.reading import read_message
    from mailmove.archive.search.text import read

    found = read(read_message(reader.layout, digest), for_eyes=True)
    any_text()
    if as_json:
        print_json(_document(reader, digest, found))
    else:
        print(_text(reader, digest, found))


def _document(reader: Reader, digest: Digest, found: Readable) -> dict[str, object]:
    return {
        "digest": digest,
        "file": str(reader.layout.message(digest)),
        "date": found.date,
        "sender": found.sender,
        "recipients": found.recipients,
        "subject": found.subject,
        "attachments": found.filenames,
        "text": found.body,
        "read": found.state.value,
    }


def _text(reader: Reader, digest: Digest, found: Readable) -> str:
    from mailmove.archive.search.text import State

    fields = {
        "Date": found.date,
        "From": found.sender,
        "To": found.recipients,
        "Subject": found.subject,
        "Attached": ", ".join(found.filenames),
        "File": str(reader.layout.message(digest)),
    }
    lines = [f"{name + ':':<10}{readable(value)}" for name, value in fields.items() if value]
    if found.state is not State.WHOLE:
        lines.append(f"{'Note:':<10}not all of it could be read; --raw writes its exact octets")
    return "\n".join([*lines, "", *map(readable, found.body.expandtabs().splitlines())])


def _save(reader: Reader, digest: Digest, folder: Path) -> None:
    from mailmove.archive.reading import read_message
    from mailmove.archive.search import saving

    octets = read_message(reader.layout, digest)
    any_text()
    try:
        found = saving.attachments(octets)
        unreadable = [one.name for one in found if one.content is None]
    except ValueError:
        say(f"The message {digest[:16]} cannot be taken apart; --raw writes its exact octets.")
        leave(PARTLY)
    for path in saving.save_all(folder, found):
        print(readable(str(path)))
    if not found:
        say(f"The message {digest[:16]} has no attachments.")
    if unreadable:
        say(f"Not saved, for they cannot be decoded: {', '.join(unreadable)}.")
        leave(PARTLY)
