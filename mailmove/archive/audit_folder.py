"""Holds the names in an archive's folder against what belongs there, so that nothing added to it goes unseen.

Strategy: names only; what is in the files is for others to judge, and mail/ is held against the log, name by name. What
belongs there is listed, not what does not. tmp/ is the writer's own, and quarantine/ is for what is to be kept aside,
whatever it is. What operating systems and network disks drop into any folder that somebody looks at is named, and is
no reason to call an archive unsound.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mailmove.archive.checkpoint import NAME
from mailmove.archive.findings import Finding
from mailmove.archive.layout import Layout
from mailmove.archive.log import SEGMENT
from mailmove.archive.timestamps import FOLDER

_FOLDERS = frozenset({"mail", "log", "tmp", "quarantine"})
_FILES = frozenset({"FORMAT", "README.txt", "lock", "search.lock", "writer", "verify.json"})
_DATABASES = re.compile(r"(?:archive|search)\.db(?:-wal|-shm|-journal)?")
_DRAFT = re.compile(
    r"FORMAT\.[0-9a-f]{8}(?:\.new)?|(?:README\.txt|writer)\.new|verify\.json\.[0-9a-f]{8}"
    r"|archive\.db\.new(?:-wal|-shm|-journal)?"
)
_STAMP = re.compile(r"(?:0|[1-9][0-9]{0,17})\.(?:checkpoint|tsr)(\.[0-9a-f]{8}(?:\.new)?)?")
_DROPPED = re.compile(
    r"\.ds_store|\._.*|\.spotlight-v100|\.fseventsd|\.trashes|\.temporaryitems|\.apdisk|thumbs\.db|ehthumbs\.db|desktop\.ini"
    r"|system volume information|\$recycle\.bin|lost\+found|\.trash-[0-9]+|\.directory|\.nfs[0-9a-f]+|@eadir|#recycle"
)

_UNFINISHED = "of a run or a command that was cut off"


def is_dropped(name: str) -> bool:
    """Whether systems leave files or folders of this name wherever they look."""
    return _DROPPED.fullmatch(name.lower()) is not None


def stranger(shown: str, name: str, reason: str) -> Finding:
    """What nobody owns: extra, unless it is of a kind that systems drop anywhere."""
    if is_dropped(name):
        return Finding("note", shown, "no part of the archive; systems leave such files in folders they show or mount")
    return Finding("extra", shown, reason)


def strangers(layout: Layout) -> Iterator[Finding]:
    """Everything in the archive's folder, log/ and log/ts/ that is no part of an archive. Raises OSError."""
    yield from _strangers(layout.root, "", _in_root(layout), "no part of an archive")
    yield from _strangers(layout.log, "log/", _in_log, "no part of a log")
    yield from _strangers(layout.log / FOLDER, f"log/{FOLDER}/", _in_stamps, "no time stamp")


Known = Callable[[os.DirEntry[str]], bool | None]
"""Whether it belongs there; None: it is left over."""


def _strangers(folder: Path, shown: str, known: Known, reason: str) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        belongs = known(entry)
        if belongs is None:
            yield Finding("leftover", shown + entry.name, _UNFINISHED)
        elif not belongs:
            yield stranger(shown + entry.name, entry.name, reason)


def _in_root(layout: Layout) -> Known:
    within = layout.state.is_relative_to(layout.root) and layout.state != layout.root
    state = {layout.state.relative_to(layout.root).parts[0]} if within else set()

    def known(entry: os.DirEntry[str]) -> bool | None:
        if _DRAFT.fullmatch(entry.name):
            return None
        if entry.name in _FOLDERS | state:
            return entry.is_dir()
        return entry.name in _FILES or _DATABASES.fullmatch(entry.name) is not None

    return known


def _in_log(entry: os.DirEntry[str]) -> bool | None:
    if entry.name == f"{NAME}.new":
        return None
    if entry.name == FOLDER:
        return entry.is_dir()
    return entry.name == NAME or SEGMENT.fullmatch(entry.name) is not None


def _in_stamps(entry: os.DirEntry[str]) -> bool | None:
    stamp = _STAMP.fullmatch(entry.name)
    if stamp is None:
        return False
    path = Path(entry.path)
    cut_off = stamp[1] or (path.suffix == ".checkpoint" and not path.with_suffix(".tsr").exists())
    return None if cut_off else True
