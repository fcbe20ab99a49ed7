"""One message by the beginning of its digest."""

from __future__ import annotations

import re

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.reader import Reader
from mailmove.errors import UsageError
from mailmove.model import Digest

SHORTEST = 8
SHOWN = 3


def find_digest(reader: Reader, prefix: str) -> Digest:
    """The one message whose digest begins so. Raises UsageError if it is none, or not one alone."""
    if not re.fullmatch(rf"[0-9a-fA-F]{{{SHORTEST},64}}", prefix):
        raise UsageError(f"{prefix!r} is no beginning of a digest: give {SHORTEST} to 64 hex digits, as search shows.")
    with reader.catalogue() as catalogue:
        if catalogue is None:
            raise UsageError(f"{reader.layout.root} has no catalogue (archive.db) now; the next run makes it.")
        found = _beginning(catalogue, prefix.lower())
    if not found:
        raise UsageError(f"No message in {reader.layout.root} has a digest that begins with {prefix}.")
    if len(found) > 1:
        some = ", ".join(found[: SHOWN - 1])
        raise UsageError(f"Several messages begin with {prefix} ({some} …); give more digits.")
    return found[0]


def _beginning(catalogue: Catalogue, prefix: str) -> list[Digest]:
    rows = catalogue.connection.execute(
        "SELECT digest FROM messages WHERE digest >= ? AND digest < ? ORDER BY digest LIMIT ?",
        (prefix, prefix + "g", SHOWN),
    )
    return [Digest(digest) for (digest,) in rows]
