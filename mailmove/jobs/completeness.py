"""Whether a message came in whole (design.md section 6.4): pure.

Strategy: a size that a server names is a signal, never a length to read. A message whose octets fit none of the two
usual countings (line ends as CRLF, as sent; as LF, as many servers store them) may be a truncated one. It is stored as
suspect, fetched once more, and the two copies are judged here. A message stored without a final line end gets
one on the wire, since the terminator needs it (RFC 1939 section 3), and servers such as Dovecot leave it out of the
size; a truncated message is never longer than was said, so this cannot hide one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailmove.model import Complete

ENOUGH = 10
"""So many messages of a run say something about the server's way of counting."""


LineEnds = tuple[int, int]
"""How many lines end with CRLF, and how many with LF alone."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the server said of one message: by LIST, and with the message itself ("+OK n octets"), if it did."""

    listed: int
    announced: int | None

    def agree(self, octets: int, line_ends: Callable[[], LineEnds]) -> bool:
        """Whether a message of `octets` fits all that was said. `line_ends` is asked only if it is needed."""
        said = {self.listed} if self.announced is None else {self.listed, self.announced}
        if said == {octets}:
            return True
        return said <= countings(octets, line_ends())

    def fits_any(self, octets: int, line_ends: Callable[[], LineEnds]) -> bool:
        """Whether it fits at least one of them: enough to prefer one of two different copies."""
        counted = countings(octets, line_ends())
        return self.listed in counted or (self.announced is not None and self.announced in counted)


def countings(octets: int, line_ends: LineEnds) -> set[int]:
    """The sizes an honest server may give: line ends as CRLF or LF, the last one counted or not.

    A message without any CRLF comes from a server that ends all its lines with LF; it may count them as CRLF.
    """
    pairs, bare = line_ends
    if pairs:
        return {octets, octets - 2, octets - pairs, octets - pairs - 1}
    return {octets, octets - 1, octets + bare, octets + bare - 2} if bare else {octets}


def unreliable(mismatches: int, received: int) -> bool:
    """Whether a server's sizes mean nothing: more than half of at least ten messages do not fit."""
    return received >= ENOUGH and mismatches * 2 > received


@dataclass(frozen=True, slots=True)
class Judgement:
    """What two copies of one entry are: `first` and `second`, or one verdict for both if they are the same octets."""

    first: Complete
    second: Complete


def judge(*, same: bool, listed: int, sizes_unreliable: bool, first_fits: bool, second_fits: bool) -> Judgement:
    """Judges a suspect and the copy that was fetched once more."""
    if same:
        verdict = Complete.NO
        if listed == 0:
            verdict = Complete.YES
        elif sizes_unreliable:
            verdict = Complete.UNRELIABLE_SIZES
        return Judgement(verdict, verdict)
    if first_fits != second_fits:
        return Judgement(*((Complete.YES, Complete.NO) if first_fits else (Complete.NO, Complete.YES)))
    return Judgement(Complete.NO, Complete.NO)
