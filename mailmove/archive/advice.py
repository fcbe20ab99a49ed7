"""What was learned about a maildrop's server: it makes the next run go better, and may be lost (design.md section 5).

Strategy: one row a maildrop, read and written as a whole. What a server did wrong is not held against it for ever.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.records import timestamp

MEMORY = timedelta(days=30)
"""So long a server that lied about PIPELINING is asked one thing at a time."""


@dataclass(frozen=True, slots=True)
class Advice:
    """`window_one`: it announced PIPELINING and answered wrongly; `lied`: when (UTC, as the log has it).

    `shrunken`: its last listing was a tenth of the last but one.
    """

    window_one: bool = False
    shrunken: bool = False
    lied: str = ""


def advice(catalogue: Catalogue, maildrop: str, now: datetime) -> Advice:
    """What still counts."""
    row = catalogue.connection.execute(
        "SELECT window_one, shrunken, lied FROM maildrop_advice WHERE maildrop = ?", (maildrop,)
    ).fetchone()
    found = Advice(bool(row[0]), bool(row[1]), row[2]) if row else Advice()
    return replace(found, window_one=found.window_one and found.lied > timestamp(now - MEMORY))


def advise(catalogue: Catalogue, maildrop: str, now: datetime, *, window_one: bool, shrunken: bool | None) -> None:
    """Remembers; `window_one` False and `shrunken` None leave it as it was."""
    after = before = advice(catalogue, maildrop, now)
    if window_one:
        after = replace(after, window_one=True, lied=timestamp(now))
    if shrunken is not None:
        after = replace(after, shrunken=shrunken)
    if after != before:
        with catalogue.transaction():
            catalogue.connection.execute(
                "INSERT OR REPLACE INTO maildrop_advice VALUES (?, ?, ?, ?)", (maildrop, *astuple(after))
            )
