"""8-bit octets in header fields, said in ASCII: encoded words (RFC 2047).

Strategy: words that hold such octets are encoded, and nothing else; neighbours among them together, since readers drop
the blank between two encoded words. In addresses a quoted string becomes an encoded word without its quotes, where
RFC 2047 section 5 wants it. In Content-Type and Content-Disposition it keeps them: RFC 2231 would have to rename the
parameter, and every reader understands this form. An 8-bit octet in an address itself has no form in ASCII at all; it
is encoded too, so that the message can be kept, and the address is still there to read.

The charset is UTF-8 where the field is UTF-8, else the one that the message itself names for its text, else
"unknown-8bit" (RFC 1428 section 3), which says no more than is known. Decoding gives the same octets back in any case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from mailmove.message import header_section

FOLD = b"\r\n "
LONGEST = 64
"""Octets of one encoded word; RFC 2047 section 2 allows 75, and 76 for the line it is in, field name included."""

UNKNOWN = "unknown-8bit"
LOOKED_AT = 256 * 1024
"""Octets of a message looked at for the name of a charset."""

_FIELD = re.compile(rb"[^\n]*\n?(?:[ \t][^\n]*\n?)*")
_LEADING_FIELDS = re.compile(rb"(?>[!-9;-~]+[ \t]*:[^\n]*\n?(?:[ \t][^\n]*\n?)*)*")
_WORDS = re.compile(rb"[ \t\r\n]+|[^ \t\r\n]+")
_TOKENS = re.compile(
    rb'[ \t\r\n]+|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=|[^ \t\r\n"()<>\[\]:;@\\,=]+|.', re.DOTALL
)
_ENCODED = re.compile(rb"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_LINE_END = re.compile(rb"\r*\n")
_CHARSET = re.compile(
    rb'charset\s*=\s*"?(iso-8859-\d{1,2}|windows-125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|euc-jp|euc-kr|shift_jis)\b',
    re.IGNORECASE,
)
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
"""What stands for itself in the Q encoding wherever an encoded word may be (RFC 2047 section 5, rule 3)."""

PARAMETERS = frozenset({b"content-type", b"content-disposition"})
STRUCTURED = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc resent-reply-to "
    b"return-path received delivered-to x-original-to envelope-to errors-to disposition-notification-to "
    b"return-receipt-to mail-followup-to mail-reply-to message-id in-reply-to references resent-message-id content-id "
    b"date resent-date mime-version content-transfer-encoding dkim-signature".split()
)
"""Fields with a grammar (RFC 5322 section 3.6, RFC 2045); all others are text."""


def encode_headers(octets: bytes) -> bytes:
    """The message with header fields in ASCII; its body is untouched."""
    section = header_section(octets)
    head = octets[: _fields_end(octets)] if section is None else section
    if head.isascii():
        return octets
    declared = [found.decode("ascii").lower() for found in _CHARSET.findall(octets, 0, LOOKED_AT)[:1]]
    return _FIELD.sub(lambda found: _encode_field(found[0], declared), head) + octets[len(head) :]


def _fields_end(octets: bytes) -> int:
    """Where no empty line ends the header section, the first line that is no field does."""
    found = _LEADING_FIELDS.match(octets)
    return found.end() if found else 0


def _encode_field(field: bytes, declared: Sequence[str]) -> bytes:
    if field.isascii():
        return field
    name, colon, value = field.partition(b":")
    if not name.isascii():  # no field at all
        name, colon, value = b"", b"", field
    kind = name.strip().lower()
    body = value.rstrip(b" \t\r\n")
    charset = next((one for one in ("utf-8", *declared) if _is(body, one)), UNKNOWN)
    if kind in PARAMETERS:
        pieces = _parameters(_TOKENS.findall(body), charset)
    else:
        pieces = _phrases((_TOKENS if kind in STRUCTURED else _WORDS).findall(body), charset, kind in STRUCTURED)
    return name + colon + b"".join(pieces) + value[len(body) :]


def _parameters(tokens: Sequence[bytes], charset: str) -> Iterator[bytes]:
    """Each token by itself, in quotes."""
    for token in tokens:
        yield token if token.isascii() else b'"' + encode(_unquoted(token), charset) + b'"'


def _phrases(tokens: Sequence[bytes], charset: str, structured: bool) -> Iterator[bytes]:
    """Neighbouring 8-bit tokens together."""
    index, last = 0, b""
    while index < len(tokens):
        end = _run_end(tokens, index)
        piece = tokens[index]
        if end > index:
            words = encode(_text(tokens, index, end, structured), charset)
            before = b" " if structured and last and last[-1:] not in b" \t\r\n(" else b""
            after = b" " if structured and tokens[end : end + 1] == [b"<"] else b""
            piece = before + words + after
        yield piece
        index, last = max(end, index + 1), piece


def _run_end(tokens: Sequence[bytes], start: int) -> int:
    """Behind the last of the 8-bit tokens from `start` on that have only white space between them."""
    end = start
    while end < len(tokens) and not tokens[end].isascii():
        end += 1
        if end + 1 < len(tokens) and tokens[end].isspace() and not tokens[end + 1].isascii():
            end += 1
    return end


def _text(tokens: Sequence[bytes], start: int, end: int, structured: bool) -> bytes:
    """What the run says. The blank that parts it from an encoded word beside it would be lost, so it is said too."""
    clean: Callable[[bytes], bytes] = _unquoted if structured else bytes
    text = b"".join(_LINE_END.sub(b"", clean(token)) for token in tokens[start:end])
    if start > 1 and tokens[start - 1].isspace() and _ENCODED.fullmatch(tokens[start - 2]):
        text = b" " + text
    if end + 1 < len(tokens) and tokens[end].isspace() and _ENCODED.fullmatch(tokens[end + 1]):
        text += b" "
    return text


def _unquoted(token: bytes) -> bytes:
    if len(token) > 1 and token.startswith(b'"') and token.endswith(b'"'):
        return _QUOTED_PAIR.sub(rb"\1", _LINE_END.sub(b"", token[1:-1]))
    return token


def encode(text: bytes, charset: str) -> bytes:
    """Encoded words, as many as it takes, one a line; no character of the charset is cut in two."""
    charset = charset if _is(text, charset) else UNKNOWN
    head = f"=?{charset}?Q?".encode("ascii")
    words, word = [], b""
    for character in _characters(text, charset):
        more = b"".join(map(_quoted, character))
        if word and len(head) + len(word) + len(more) + 2 > LONGEST:
            words.append(head + word + b"?=")
            word = b""
        word += more
    return FOLD.join([*words, head + word + b"?="])


def _characters(text: bytes, charset: str) -> Iterator[bytes]:
    if charset == UNKNOWN:
        return (text[index : index + 1] for index in range(len(text)))
    return (character.encode(charset) for character in text.decode(charset))


def _quoted(octet: int) -> bytes:
    if octet in _PLAIN:
        return bytes([octet])
    return b"_" if octet == 0x20 else b"=%02X" % octet


def _is(octets: bytes, charset: str) -> bool:
    try:
        text = octets.decode(charset)
        return text.encode(charset) == octets and b"".join(one.encode(charset) for one in text) == octets
    except (UnicodeError, LookupError):
        return False
