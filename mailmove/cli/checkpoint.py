"""`mailmove checkpoint`."""

from __future__ import annotations

from mailmove.cli.options import ArchiveOption, Json, StateDir, find_archive
from mailmove.cli.outcome import errors_told, print_json

EPILOG = "Example: mailmove checkpoint -a ~/mail.mailmove > /media/usb/mail.checkpoint"


def checkpoint(archive: ArchiveOption = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Print what the log is now, in three lines. Keep them elsewhere: `verify --since` proves later that it only grew.

    Exit codes: 0, 2 usage, 4 the log is damaged.
    """
    with errors_told(as_json=as_json):
        from mailmove.archive import Reader
        from mailmove.archive.checkpoint import Checkpoint

        reader = Reader.open(find_archive(archive), state_dir=state_dir)
        now = Checkpoint.of(reader.id, reader.tree())
        if as_json:
            facts = {"id": now.archive_id, "records": now.size, "root": now.root.hex()}
            print_json({"archive": str(reader.layout.root), **facts})
        else:
            print(now.text(), end="")
