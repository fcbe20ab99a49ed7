"""Lines of more than 998 octets, broken by CRLF (RFC 5322 section 2.1.1).

Strategy: CRLFs are put in and, in the body, nothing is taken out, so that what was there can still be read. In header
fields they go before white space, which is folding (section 2.2.3). In a body it depends on the transfer encoding of
the MIME part: quoted-printable has its soft break, base64 ignores line ends, text is broken behind a blank. A part that
says it is binary is left as it is: every octet counts there, and no line break could be told from its own. No sequence
of UTF-8 is cut in two. Which part a line is in is followed line by line, and only if there is a long one at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LIMIT = 998
QUADS = LIMIT // 4 * 4
"""Base64 in whole groups of four, for readers that decode line by line."""

CRLF = b"\r\n"

_LONG = re.compile(rb"[^\n]{999}")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_UNFOLD = re.compile(rb"\r*\n(?=[ \t])")
_ENCODING = re.compile(rb"^content-transfer-encoding[ \t]*:[ \t]*\"?([\w-]+)", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^content-type[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))', re.IGNORECASE)
_MUCH_SPACE = re.compile(rb"[ \t]{500,}")


def break_lines(octets: bytes) -> bytes:
    """The message with no line over 998 octets but in binary parts."""
    return b"".join(_Walk().lines(octets)) if _LONG.search(octets) else octets


class _Walk:
    """Where in a message a line is: in a header section, or in a body of some transfer encoding."""

    def __init__(self) -> None:
        self._boundaries: list[bytes] = []
        self._header: list[bytes] = []
        self._within = True
        self._encoding = b""

    def lines(self, octets: bytes) -> Iterator[bytes]:
        for found in _LINE.finditer(octets):
            line = found[0]
            long = len(line) > LIMIT
            if not long and line.startswith(b"--") and self._at_boundary(line):
                yield line
            elif self._within:
                yield from _header_line(line) if long else (line,)
                self._in_header(line)
            else:
                yield from self._body_line(line) if long else (line,)

    def _at_boundary(self, line: bytes) -> bool:
        """Whether a part begins or ends here (RFC 2046 section 5.1.1)."""
        word = line.rstrip(b" \t\r\n")[2:]
        if word in self._boundaries:
            self._header, self._within = [], True
            return True
        if word.endswith(b"--") and word[:-2] in self._boundaries:
            self._within, self._encoding = False, b""
            return True
        return False

    def _in_header(self, line: bytes) -> None:
        if line not in (b"\r\n", b"\n"):
            self._header.append(line)
            return
        fields = _UNFOLD.sub(b"", b"".join(self._header))
        kind = found[1].strip() if (found := _TYPE.search(fields)) else b""
        self._encoding = found[1].lower() if (found := _ENCODING.search(fields)) else b""
        self._header, self._within = [], False
        if kind.lower().startswith(b"multipart/"):
            self._encoding = b""
            if found := _BOUNDARY.search(kind):
                self._boundaries.append(re.sub(rb"\\(.)", rb"\1", found[1] or found[2] or b""))
        elif kind.lower().startswith(b"message/rfc822") and self._encoding not in (b"base64", b"quoted-printable"):
            self._within = True

    def _body_line(self, line: bytes) -> Iterator[bytes]:
        if self._encoding == b"binary":
            yield line
            return
        text, end = _parted(line)
        start = 0
        while len(text) - start > LIMIT:
            at, mark = self._place(text, start)
            yield text[start:at] + mark + CRLF
            start = at
        yield text[start:] + end

    def _place(self, text: bytes, start: int) -> tuple[int, bytes]:
        """Where to break, and what must stand before the CRLF."""
        if self._encoding == b"base64":
            return start + QUADS, b""
        if self._encoding == b"quoted-printable":
            return _outside_of_an_octet(text, whole(text, start + LIMIT - 1)), b"="
        at = _last_blank(text, start, start + LIMIT) + 1 or whole(text, start + LIMIT)
        made_a_boundary = any(text.startswith(b"--" + one, at) for one in self._boundaries)
        return at - 1 if made_a_boundary and at > start + 1 else at, b""


def _header_line(line: bytes) -> Iterator[bytes]:
    """Folded before white space; where there is none, white space is put in, since nothing else ends a line there."""
    text, end = _parted(line)
    if len(text) > LIMIT:
        text = _MUCH_SPACE.sub(b" ", text).rstrip(b" \t") or b" "  # lines of white space alone would end the header
    start, indent = 0, b""
    while len(indent) + len(text) - start > LIMIT:
        longest = start + LIMIT - len(indent)
        at = _last_blank(text, start + 1, longest + 1)
        folds = at > 0 and bool(text[start:at].strip(b" \t"))
        at = at if folds else whole(text, longest)
        yield indent + text[start:at] + CRLF
        start, indent = at, b"" if folds else b" "
    yield indent + text[start:] + end


def _last_blank(text: bytes, start: int, end: int) -> int:
    return max(text.rfind(b" ", start, end), text.rfind(b"\t", start, end))


def _parted(line: bytes) -> tuple[bytes, bytes]:
    """A line and its line end."""
    end = b"\r\n" if line.endswith(b"\r\n") else b"\n" if line.endswith(b"\n") else b""
    return line.removesuffix(end), end


def whole(text: bytes, at: int) -> int:
    """The place at `at` or just before it where no UTF-8 sequence is cut (RFC 3629 section 3)."""
    return next((at - back for back in range(4) if text[at - back] & 0xC0 != 0x80), at)


def _outside_of_an_octet(text: bytes, at: int) -> int:
    """The place at `at` or just before it where no "=XX" is cut (RFC 2045 section 6.7)."""
    return next((at - back for back in (1, 2) if text[at - back] == 0x3D), at)
