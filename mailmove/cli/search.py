"""`mailmove search`."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mailmove.cli.options import ArchiveOption, Json, StateDir, find_archive
from mailmove.cli.outcome import errors_told, print_json, say
from mailmove.cli.plain import any_text, readable

if TYPE_CHECKING:
    from mailmove.archive.search.find import Hit

EPILOG = """Example: mailmove search 'from:smith "annual report" has:attachment -draft after:2024-01-31'"""
DIGITS = 12
DATE = len("2026-01-31")
GAP = "  "
NARROWEST = 50
WIDEST_FROM = 30
NO_TERMINAL = (120, 25)


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in one pair of quotes.")],
    archive: ArchiveOption = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show the newest N.")] = 100,
    count: Annotated[bool, typer.Option("--count", help="Print only how many there are.")] = False,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Find messages: newest first, with the digits that `show` takes.

    Words match in headers, text and names of attachments, in any case, with or without accents; a word* may go on.
    "Words in quotes" stand together. -word, -(a b): without. a OR b. Parentheses group.

    from: to: subject: filename: WORD or "PHRASE". has:attachment. after:2026-01-31 (that day or later),
    before:2026-01-31 (UTC, by arrival). larger:10k, larger:5M (k = 1,000 octets). maildrop:NAME. A query that begins
    with - goes behind --.

    It looks in what `mailmove index` has indexed, and says how many messages are not yet.

    Exit codes: 0 (also if nothing is found), 2 usage or a wrong query, 75 the index cannot be read now, 78 a newer
    mailmove wrote the archive.
    """
    with errors_told(as_json=as_json):
        from mailmove.archive import Reader
        from mailmove.archive.search.find import Finder
        from mailmove.archive.search.query import parse

        wanted = parse(query)
        reader = Reader.open(find_archive(archive), state_dir=state_dir)
        with Finder.open(reader.layout) as finder:
            hits = [] if count else finder.hits(wanted, limit)
            number = len(hits) if 0 < len(hits) < limit else finder.count(wanted)
            missing = finder.missing()
        any_text()
        if as_json:
            print_json({"query": query, "count": number, "not_indexed": missing, "hits": [_json(hit) for hit in hits]})
            return
        print(f"{number}" if count else _table(hits, number))
        if missing:
            some = "1 message" if missing == 1 else f"{missing:,} messages"
            say(f"Not looked at, for not indexed: {some}; run `mailmove index`.")


def _json(hit: Hit) -> dict[str, object]:
    return asdict(hit) | {"file": f"mail/{hit.digest[:3]}/{hit.digest}.eml"}


# ---- the table


def _table(hits: Sequence[Hit], number: int) -> str:
    if not number:
        return "Nothing found."
    width = max(NARROWEST, shutil.get_terminal_size(NO_TERMINAL).columns)
    room = width - DATE - DIGITS - 3 * len(GAP)
    sender = min(WIDEST_FROM, room // 3)
    lines = [_row("Date", "From", "Subject", "ID", sender, room)]
    for hit in hits:
        subject = ("(damaged) " if hit.damaged else "") + hit.subject
        lines.append(_row(hit.date[:DATE], _name(hit.sender), subject, hit.digest[:DIGITS], sender, room))
    more = f" (the newest {len(hits):,} are shown; --limit shows more)" if number > len(hits) else ""
    return "\n".join([*lines, f"{number:,} found{more}."])


def _row(date: str, sender: str, subject: str, digest: str, sender_width: int, room: int) -> str:
    return GAP.join((fit(date, DATE), fit(sender, sender_width), fit(subject, room - sender_width), digest))


def _name(sender: str) -> str:
    """The name of the first sender, or the address where there is none."""
    from email.utils import parseaddr

    name, address = parseaddr(sender)
    return name or address or sender


def fit(text: str, width: int) -> str:
    """The text in exactly `width` columns of a terminal: cut with …, or filled up."""
    text = readable(text)
    most = 2 * width  # characters, since any number of accents takes no column
    if columns(text) > width or len(text) > most:
        used, kept = 1, list[str]()
        for character in text:
            used += columns(character)
            if used > width or len(kept) == most:
                break
            kept.append(character)
        text = "".join(kept) + "…"
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """How many columns a terminal takes for it (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text
    )
