"""What FETCH, SEARCH, LIST and their arguments mean to a scripted IMAP server: pure.

Strategy: as much of RFC 9051 as clients of ours say, and of Gmail's X-GM-EXT-1; everything else is None, which the peer
answers with BAD, so that a client cannot lean on what no server was shown to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tests.hostile.imap_account import Entry, Mail

_ITEM = re.compile(r"BODY(?:\.PEEK)?\[([^\]]*)\]|[A-Z0-9.-]+", re.IGNORECASE)
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s()"]+)|([()])')
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(?:[^\r\n]|\r?\n[ \t])*\r?\n")


def tokens(text: str) -> list[str]:
    """Atoms, quoted strings without their quotes, and parentheses."""
    return [
        re.sub(r"\\(.)", r"\1", quoted) if not atom and not bracket else atom or bracket
        for quoted, atom, bracket in _TOKEN.findall(text)
    ]


def sequence(text: str, most: int) -> list[range] | None:
    """A sequence-set (RFC 9051 section 9), `*` being `most`; None if it is none."""
    ranges = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+|\*)(?::(\d+|\*))?", part)
        if not found:
            return None
        ends = [most if end == "*" else int(end) for end in found.groups() if end]
        ranges.append(range(min(ends), max(ends) + 1))
    return ranges


def within(ranges: Sequence[range], number: int) -> bool:
    return any(number in part for part in ranges)


def matches(pattern: str, name: str) -> bool:
    """Whether LIST shows this name (RFC 9051 section 6.3.9)."""
    words = {"*": ".*", "%": "[^/]*"}
    return re.fullmatch("".join(words.get(char) or re.escape(char) for char in pattern), name) is not None


# ---- FETCH


def fetched(number: int, entry: Entry, items: str) -> bytes:
    """One FETCH response for the items that were asked for."""
    values = [_item(entry, found) for found in _ITEM.finditer(items)]
    if "UID" not in items.upper():
        values.insert(0, b"UID %d" % entry.uid)
    return b"%d FETCH (%s)" % (number, b" ".join(filter(None, values)))


def _item(entry: Entry, found: re.Match[str]) -> bytes:
    mail, name = entry.mail, found[0].upper()
    if found[1] is not None:
        octets = _section(mail, found[1].upper())
        return b"BODY[%s] {%d}\r\n%s" % (found[1].upper().encode(), len(octets), octets)
    values = {
        "UID": b"%d" % entry.uid,
        "RFC822.SIZE": b"%d" % mail.size,
        "FLAGS": b"(%s)" % mail.flags,
        "INTERNALDATE": b'"%s"' % (mail.date or b"01-Jan-2001 00:00:00 +0000"),
        "X-GM-MSGID": b"%d" % mail.number,
        "X-GM-LABELS": b"(%s)" % b" ".join(b'"%s"' % label.encode() for label in sorted(mail.labels)),
    }
    return f"{name} ".encode() + values[name] if name in values else b""


def _section(mail: Mail, name: str) -> bytes:
    if name == "":
        return mail.octets
    wanted = {word.encode() for word in tokens(name)[2:-1]} if name.startswith("HEADER.FIELDS (") else None
    if wanted is None:
        return mail.headers if name == "HEADER" else mail.octets[len(mail.headers) :]
    fields = (field for field in _FIELD.finditer(mail.headers) if field[1].upper() in wanted)
    return b"".join(field[0] for field in fields) + b"\r\n"


# ---- SEARCH


Test = Callable[[Entry], bool]


def found(criteria: str, entries: Sequence[Entry]) -> list[Entry] | None:
    """What SEARCH finds; None if a criterion is unknown."""
    most = max((entry.uid for entry in entries), default=0)
    words = iter(tokens(criteria))
    tests: list[Test] = []
    for word in words:
        if word.upper() == "CHARSET":
            next(words, "")
            continue
        test = _criterion(word, words, most)
        if test is None:
            return None
        tests.append(test)
    return [entry for entry in entries if all(test(entry) for test in tests)]


def _criterion(word: str, words: Iterator[str], most: int) -> Test | None:
    name = word.upper()
    if name == "ALL":
        return lambda entry: True
    if name == "OR":
        left, right = (_criterion(next(words, ""), words, most) for _ in range(2))
        return None if left is None or right is None else lambda entry: left(entry) or right(entry)
    if name == "UID":
        uids = sequence(next(words, ""), most)
        return None if uids is None else lambda entry: within(uids, entry.uid)
    if name == "X-GM-MSGID":
        number = next(words, "")
        return lambda entry: str(entry.mail.number) == number
    return _text_criterion(name, words)


def _text_criterion(name: str, words: Iterator[str]) -> Test | None:
    """HEADER Message-ID is a substring, in any case (RFC 9051 section 6.4.4); rfc822msgid: is all of it."""
    if name == "HEADER" and next(words, "").upper() == "MESSAGE-ID":
        part = next(words, "").encode("latin-1").lower()
        return lambda entry: part in entry.mail.message_id.lower()
    if name == "X-GM-RAW" and (query := next(words, "")).startswith("rfc822msgid:"):
        whole = query.removeprefix("rfc822msgid:").strip("<>").encode("latin-1")
        return lambda entry: entry.mail.message_id.strip(b"<>") == whole
    return None
