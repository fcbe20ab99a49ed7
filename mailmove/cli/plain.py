"""Text of a mail on a terminal: readable where it is honest, visible where it is not.

Strategy: whatever is not printable goes through `printable`, which shows it as its number: control characters, escapes,
and the marks that turn the direction of writing round. Only kinds of space, and marks that are invisible and move
nothing, are made plain first, since honest mail is full of them.
"""

from __future__ import annotations

import io
import re
import sys

from mailmove.cli.outcome import printable

_SPACES = re.compile(r"[\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile(r"[\u00ad\u034f\u200b-\u200d\u2060\ufeff]")


def readable(text: str) -> str:
    """One line of a mail that cannot move the cursor, change colours, or turn round what stands beside it."""
    if text.isascii() and text.isprintable():
        return text
    return printable(_INVISIBLE.sub("", _SPACES.sub(" ", text)))


def any_text() -> None:
    """From here on stdout takes any text: what its encoding does not have is shown as its number."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
