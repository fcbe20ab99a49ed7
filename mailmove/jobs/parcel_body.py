"""What a message takes to be carried unaltered: 7-bit lines, 8BITMIME, or BINARYMIME (RFC 5321, 6152, 3030).

Strategy: octets are counted in bulk, never looked at one by one. CRs and LFs are bare unless each is half of a CRLF, so
three counts say it: as many CRs as CRLFs, and as many LFs. Only a CRLF cut in two by the edge of a chunk is counted
apart. Pure. What goes out is what must be classified: a repaired message, or one with a resent block above it, anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mailmove.model import Body

CR, LF, CRLF = b"\r", b"\n", b"\r\n"


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What was found. `ends_with_crlf`: its last line is ended; False for a message of no octets.

    `body`: what it takes to carry it, but for an unended last line, which BDAT keeps and DATA must end.
    """

    body: Body
    ends_with_crlf: bool
    has_nul: bool
    has_bare_newline: bool
    has_eight_bit: bool

    def obstacle(self, carried: Body) -> str:
        """What keeps it from a server that carries no more than `carried`: "nul", "bare-newlines", "8bit"; "": nothing.

        The first two are also words of `--repair`; after that repair the next one may show.
        """
        if self.body <= carried:
            return ""
        if self.body is Body.BINARY:
            return "nul" if self.has_nul else "bare-newlines"
        return "8bit"


def classify(chunks: Iterable[bytes]) -> BodyFacts:
    """The facts about a message that comes in these chunks, which are held one at a time."""
    crs = lfs = crlfs = 0
    has_nul, is_ascii, last = False, True, b""
    for chunk in chunks:
        if not chunk:
            continue
        crs, lfs = crs + chunk.count(CR), lfs + chunk.count(LF)
        crlfs += chunk.count(CRLF) + (last[-1:] == CR and chunk[:1] == LF)
        has_nul, is_ascii = has_nul or b"\0" in chunk, is_ascii and chunk.isascii()
        last = (last + chunk[-2:])[-2:]
    has_bare_newline = not crs == lfs == crlfs
    return BodyFacts(
        body=_body(binary=has_nul or has_bare_newline, eight_bit=not is_ascii),
        ends_with_crlf=last == CRLF,
        has_nul=has_nul,
        has_bare_newline=has_bare_newline,
        has_eight_bit=not is_ascii,
    )


def _body(*, binary: bool, eight_bit: bool) -> Body:
    if binary:
        return Body.BINARY
    return Body.EIGHT_BIT if eight_bit else Body.SEVEN_BIT
