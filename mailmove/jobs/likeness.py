"""What a message looks like, to find it again at a target that may have rewritten it (design.md section 7): pure.

Strategy: three likenesses, from proof to suspicion. The digest of the exact octets; the digest after the rewritings
servers are known to make (bare LF to CRLF, NUL to 0x80, the final line end; X for 8-bit octets in a header); and
Message-ID or header fields, which show that something much like it is there, and prove nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

from mailmove.message import header_section
from mailmove.model import Digest

_LINE_END = re.compile(rb"\r*\n")
_FOLD = re.compile(rb"\r\n[ \t]")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_MESSAGE_ID = re.compile(rb"message-id[ \t]*:", re.IGNORECASE)


def canonical(octets: bytes) -> bytes:
    """The message as a server that rewrites line ends and NUL has it; Dovecot also loses extra CRs there."""
    return _rewritten(octets).rstrip(b"\r\n") + b"\r\n"


def _rewritten(octets: bytes) -> bytes:
    return _LINE_END.sub(b"\r\n", octets).replace(b"\0", b"\x80")


def munged(octets: bytes) -> bytes:
    """A canonical message as Cyrus has it unless told otherwise (munge8bit, imapd.conf(5)): 8-bit header octets are X.

    Only ours is ever changed so, and held against what is at the target: two messages that differ there are two.
    """
    section = header_section(octets)
    header = octets if section is None else section
    return _EIGHT_BIT.sub(b"X", header) + octets[len(header) :] if _EIGHT_BIT.search(header) else octets


@dataclass(frozen=True, slots=True)
class Likeness:
    """One message's three likenesses; `sizes` are the octets it may have at a target.

    `munged`: the digest after the same rewritings and that of 8-bit headers.
    """

    exact: Digest
    canonical: str = ""
    munged: str = ""
    message_id: str = ""
    fields: Counter[bytes] = field(default_factory=Counter)
    sizes: frozenset[int] = frozenset()

    @classmethod
    def of(cls, octets: bytes) -> Likeness:
        rewritten = canonical(octets)
        seven_bit = munged(rewritten)
        rewritten_digest = hashlib.sha256(rewritten).hexdigest()
        fields = header_fields(rewritten)
        return cls(
            exact=Digest(hashlib.sha256(octets).hexdigest()),
            canonical=rewritten_digest,
            munged=rewritten_digest if seven_bit is rewritten else hashlib.sha256(seven_bit).hexdigest(),
            message_id=message_id(fields),
            fields=Counter(fields),
            sizes=frozenset({len(octets), len(_rewritten(octets)), len(rewritten)}),
        )

    @property
    def whole(self) -> bool:
        """Whether all of it is known, and not only its digest."""
        return bool(self.canonical)

    def resembles(self, other: Likeness) -> bool:
        """Whether `other` has the same Message-ID, or all our header fields, whatever was added or refolded."""
        if self.message_id and self.message_id == other.message_id:
            return True
        return bool(self.fields) and not self.fields - other.fields


def header_fields(octets: bytes) -> list[bytes]:
    """The header fields in their order, unfolded, runs of white space as one blank."""
    section = header_section(octets)
    unfolded = _FOLD.sub(b" ", octets if section is None else section)
    return [b" ".join(line.split()) for line in unfolded.split(b"\r\n") if line.strip()]


def message_id(fields: list[bytes]) -> str:
    """The first Message-ID's value as it stands there, "" if there is none."""
    for line in fields:
        if found := _MESSAGE_ID.match(line):
            return normal_id(line[found.end() :].decode("latin-1"))
    return ""


def normal_id(value: str) -> str:
    """A Message-ID value without folding and blanks around it."""
    return " ".join(value.split())
