"""Messages whose files are damaged or missing: found, kept aside, and their octets put back (design.md sections 2, 5).

Strategy: what is put back is what hashes to the name, so where it came from need not be believed. The damaged file gets
a second name in quarantine/ before the right one is renamed over it: it is never destroyed, and there is no moment
without a file. What was done is logged as `repair`, which changes nothing that is known of a message.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from mailmove.archive import Archive, Draft
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.durable import sync_directory
from mailmove.archive.failures import disk_errors
from mailmove.archive.layout import Layout
from mailmove.archive.place_projection import UNREADABLE
from mailmove.archive.store import hash_file
from mailmove.message import read_headers
from mailmove.model import Digest

BATCH = 1000
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Unsound:
    """A message without a sound file. `octets`: what the file should have."""

    kind: Literal["damaged", "missing"]
    digest: Digest
    octets: int


def work_ahead(catalogue: Catalogue) -> tuple[int, int]:
    """How many messages there are to read, and of how many octets."""
    messages, octets = catalogue.connection.execute("SELECT messages, octets FROM totals").fetchone()
    return messages, octets


def unsound(layout: Layout, catalogue: Catalogue, looked_at: Callable[[int], None]) -> Iterator[Unsound]:
    """Reads every message's file, in the order of their names; `looked_at(octets)` is told after each."""
    last = ""
    query = "SELECT digest, octets FROM messages WHERE digest > ? ORDER BY digest LIMIT ?"
    while rows := catalogue.connection.execute(query, (last, BATCH)).fetchall():
        for digest, octets in rows:
            if kind := what_is_wrong(layout, Digest(digest)):
                yield Unsound(kind, Digest(digest), octets)
            looked_at(octets)
        last = rows[-1][0]


def what_is_wrong(layout: Layout, digest: Digest) -> Literal["damaged", "missing"] | None:
    """None if the message's file hashes to its name; one that the disk cannot read is damaged."""
    try:
        found = hash_file(layout.message(digest))
    except OSError:
        return "damaged"
    if found is None:
        return "missing"
    return None if found == digest else "damaged"


def is_there(copy: Path, digest: Digest) -> bool:
    """Whether another copy of the archive has this message, sound."""
    return what_is_wrong(Layout(copy, copy), digest) is None


def places_of(catalogue: Catalogue, digest: Digest) -> set[str]:
    """The maildrops that had this message when it was last looked, as far as we have not deleted it there."""
    query = (
        "SELECT DISTINCT m.name FROM places p JOIN maildrops m ON m.id = p.maildrop"
        " WHERE p.digest = ? AND p.deleted = 0"
    )
    return {name for (name,) in catalogue.connection.execute(query, (digest,))}


# ---- the file that is damaged


def set_aside(layout: Layout, digest: Digest, now: datetime) -> str:
    """Gives what is under a message's name a name in quarantine/, too; returns that name, "" if nothing is there."""
    path, shard = layout.message(digest), layout.shard(digest)
    if os.path.lexists(shard) and not shard.is_dir():
        shard.rename(layout.quarantine / f"{shard.name}-{now:%Y%m%dT%H%M%S%f}")
    if not os.path.lexists(path):
        return ""
    aside = layout.quarantine / f"{digest}-{now:%Y%m%dT%H%M%S%f}.eml"
    try:
        os.link(path, aside)
    except OSError:  # no file, or a file system without hard links
        path.rename(aside)
    sync_directory(layout.quarantine)
    return aside.name


def take_back(layout: Layout, digest: Digest, name: str) -> None:
    """Nothing better came: the message's name is again all that what was set aside has."""
    if not name:
        return
    aside, path = layout.quarantine / name, layout.message(digest)
    if not os.path.lexists(path):
        aside.rename(path)
    elif path.samefile(aside):
        aside.unlink()


# ---- putting it back


def copy_in(archive: Archive, copy: Path, wanted: Unsound) -> Draft | None:
    """A draft of the octets another copy of the archive has; None if it has none that hash right."""
    draft = archive.draft()
    try:
        with Layout(copy, copy).message(wanted.digest).open("rb") as file:
            while block := file.read(BLOCK):
                archive.write(draft, block)
    except OSError:
        draft.discard()
        return None
    archive.finish(draft)
    if draft.digest == wanted.digest:
        return draft
    draft.discard()
    return None


def put_back(archive: Archive, found: Sequence[tuple[Unsound, Draft]], now: datetime) -> dict[Digest, str]:
    """Makes drafts the files of their messages: durable, and logged, when it returns.

    What was there is in quarantine/, by the names returned. Raises ArchiveError.
    """
    with disk_errors(archive.layout.root):
        kept = {one.digest: set_aside(archive.layout, one.digest, now) for one, _ in found}
        archive.store.settle([draft for _, draft in found])
    tell(archive, "copy", [one for one, _ in found], kept)
    with disk_errors(archive.layout.root):
        with archive.catalogue.transaction():
            for one, draft in found:
                if archive.catalogue.is_sound(one.digest) is False:
                    archive.catalogue.mark(one.digest, read_headers(draft.headers, now)[0], damaged=False)
        archive.store.finish_group()
    return kept


def tell(
    archive: Archive, origin: Literal["copy", "source"], mended: Sequence[Unsound], kept: dict[Digest, str]
) -> None:
    """Logs what was put back, and from where."""
    records = [
        archive.event(
            "repair",
            digest=one.digest,
            octets=one.octets,
            was=one.kind,
            **{"from": origin},
            quarantined=kept.get(one.digest) or None,
        )
        for one in mended
    ]
    if records:
        archive.append(*records)


def distrust(archive: Archive, digests: Collection[Digest]) -> None:
    """From here on these messages are damaged in the catalogue, as a rebuild would have it: the next pull fetches them.

    Only after a run has ended: what an unfinished one has stored would be voided.
    """
    with disk_errors(archive.layout.root), archive.catalogue.transaction():
        for digest in digests:
            if archive.catalogue.is_sound(digest):
                archive.catalogue.mark(digest, UNREADABLE, damaged=True)
