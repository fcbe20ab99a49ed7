"""Anybody but the writer: whoever reads an archive, be a run under way or not (design.md section 5).

Strategy: no lock and no change, so a reader never stands in a writer's way. The catalogue is only a projection: where
there is none, a reader is told so, and none is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.failures import disk_errors
from mailmove.archive.layout import Layout, read_format
from mailmove.archive.log import Log, Position
from mailmove.archive.merkle import Tree
from mailmove.archive.state import find_state
from mailmove.errors import ArchiveOutdated, UsageError


class Reader:
    """Anybody who only looks: takes no lock, changes nothing."""

    def __init__(self, layout: Layout, archive_id: str) -> None:
        self.layout = layout
        self.id = archive_id
        self.log = Log(layout.log)

    @classmethod
    def open(cls, root: Path, *, state_dir: Path | None = None) -> Reader:
        """Raises UsageError if there is no archive, ArchiveTooNew, ArchiveDamaged."""
        root = root.absolute()
        if not root.exists():
            raise UsageError(f"{root} does not exist; name the archive with -a.")
        form = read_format(root)
        return cls(Layout(root, find_state(root, form.archive_id, state_dir)), form.archive_id)

    @contextlib.contextmanager
    def catalogue(self) -> Iterator[Catalogue | None]:
        """The catalogue as it is now, or None if there is none (it is only a projection).

        Raises ArchiveOutdated, ArchiveTooNew, ArchiveDamaged.
        """
        if not self.layout.database.exists():
            yield None
            return
        with disk_errors(self.layout.root):
            catalogue = Catalogue.read(self.layout.database)
            try:
                yield catalogue
            finally:
                catalogue.close()

    def tree(self) -> Tree:
        """The Merkle tree over the log as it is now; what the catalogue has read of it is not read again.

        Raises ArchiveDamaged, ArchiveTooNew.
        """
        known = Position()
        with contextlib.suppress(ArchiveOutdated), self.catalogue() as catalogue:
            known = catalogue.position if catalogue else known
        if not (known.tree.is_whole and self.log.holds(known)):
            known = Position()
        with disk_errors(self.layout.root):
            return known.tree.extended(line.data for line in self.log.read(known))
