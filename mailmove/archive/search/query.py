"""The query language: what somebody types -> values, which `conditions` makes SQL of. Pure.

    from:smith "annual report" -draft (after:2024-01-31 OR larger:5M) has:attachment

Strategy: one pass cuts the text into tokens that know where they stand, and recursive descent makes a tree of them.
Length and depth are bounded, since SQLite's own parser is. Every wrong query is one sentence that points at the place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from mailmove.errors import UsageError

LONGEST = 1000
DEEPEST = 10

WORD_FIELDS = {"from": "sender", "to": "recipients", "subject": "subject", "filename": "filenames"}
"""Field of the language -> column of `contents`."""

FIELDS = (*WORD_FIELDS, "has", "before", "after", "larger", "maildrop")
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}

_UNUSABLE = re.compile(r"[\0\ud800-\udfff]")
_TOKEN = re.compile(
    r"\s*(?:(?P<open>-?\()|(?P<close>\))|(?P<minus>-?)(?:(?P<field>[^\W\d_]+):)?"
    r"(?:\"(?P<phrase>[^\"]*)\"|(?P<word>[^\s()\"]*)))"
)


# ---- values


@dataclass(frozen=True, slots=True)
class Words:
    """Words in this order, anywhere or in one column; the last may be only a beginning."""

    text: str
    column: str = ""
    beginning: bool = False


@dataclass(frozen=True, slots=True)
class Dated:
    """Arrived on this day or later, or before it begins (UTC)."""

    day: date
    before: bool


@dataclass(frozen=True, slots=True)
class Larger:
    """Has more octets than this."""

    octets: int


@dataclass(frozen=True, slots=True)
class HasAttachment:
    """Has a part that is a file."""


@dataclass(frozen=True, slots=True)
class InMaildrop:
    """Was found in this maildrop."""

    name: str


@dataclass(frozen=True, slots=True)
class Not:
    of: Node


@dataclass(frozen=True, slots=True)
class All:
    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    of: tuple[Node, ...]


Node = Words | Dated | Larger | HasAttachment | InMaildrop | Not | All | Any


# ---- text -> values


def parse(text: str) -> Node:
    """The meaning of a query. Raises UsageError, one sentence that names the place."""
    if len(text) > LONGEST:
        raise UsageError(f"The query is longer than {LONGEST} characters; ask for less at a time.")
    if unusable := _UNUSABLE.search(text):
        raise _wrong(text, unusable.start(), "this is no text")
    parser = _Parser(text, _tokens(text))
    found = parser.alternatives(0)
    if parser.token:
        raise parser.wrong("this ) closes nothing")
    return found


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "open", "close", "or", "term"
    at: int
    text: str
    negated: bool = False
    field: str = ""
    value: str = ""
    quoted: bool = False


def _tokens(text: str) -> list[_Token]:
    found, at, text = list[_Token](), 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at or not match[0].strip():
            rest = text[at:].lstrip()
            raise _wrong(text, len(text) - len(rest), 'this " has no second one' if rest[:1] == '"' else "what is this")
        at = match.end()
        found.append(_token(match))
        if found[-1].kind == "term" and text[at : at + 1] == '"':
            raise _wrong(text, at, 'this " has no second one, or no space before it')
    return found


def _token(match: re.Match[str]) -> _Token:
    raw = match[0].lstrip()
    at = match.end() - len(raw)
    if match["open"] or match["close"]:
        return _Token("open" if match["open"] else "close", at, raw, negated=raw == "-(")
    quoted = match["phrase"] is not None
    value = match["phrase"] if quoted else match["word"]
    if raw == "OR":
        return _Token("or", at, raw)
    return _Token("term", at, raw, bool(match["minus"]), (match["field"] or "").lower(), value, quoted)


class _Parser:
    """Recursive descent: alternatives of sequences of terms."""

    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0

    @property
    def token(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def wrong(self, what: str, token: _Token | None = None) -> UsageError:
        token = token or self.token
        return _wrong(self._text, token.at if token else len(self._text), what)

    def alternatives(self, depth: int) -> Node:
        found = [self._sequence(depth)]
        while self.token and self.token.kind == "or":
            self._next += 1
            found.append(self._sequence(depth))
        return found[0] if len(found) == 1 else Any(tuple(found))

    def _sequence(self, depth: int) -> Node:
        found = []
        while (token := self.token) and token.kind in ("term", "open"):
            self._next += 1
            found.append(self._group(token, depth) if token.kind == "open" else self._term(token))
        if not found:
            raise self.wrong("something to look for is missing here")
        return found[0] if len(found) == 1 else All(tuple(found))

    def _group(self, opening: _Token, depth: int) -> Node:
        if depth == DEEPEST:
            raise self.wrong(f"more than {DEEPEST} parentheses in each other", opening)
        inner = self.alternatives(depth + 1)
        if not self.token:
            raise self.wrong("this ( is not closed", opening)
        self._next += 1
        return Not(inner) if opening.negated else inner

    def _term(self, token: _Token) -> Node:
        if token.field and token.field not in FIELDS:
            raise self.wrong(
                f"there is no field {token.field}: (there are {', '.join(FIELDS)}; put text with a colon in quotes)",
                token,
            )
        try:
            found = _meaning(token)
        except ValueError as error:
            raise self.wrong(str(error), token) from None
        return Not(found) if token.negated else found


def _meaning(token: _Token) -> Node:
    """What one term asks for. Raises ValueError, which says what is wrong with it."""
    if token.field in ("", *WORD_FIELDS):
        beginning = token.value.endswith("*") and not token.quoted
        text = token.value.removesuffix("*") if beginning else token.value
        if not any(map(_is_letter, text)):
            raise ValueError('a word or a "quoted phrase" is missing here' if not text else "no letter or digit here")
        return Words(text, WORD_FIELDS.get(token.field, ""), beginning)
    if token.field == "has":
        if token.value.lower() not in ("attachment", "attachments"):
            raise ValueError("has: knows only has:attachment")
        return HasAttachment()
    if token.field == "larger":
        return Larger(_octets(token.value))
    if token.field == "maildrop":
        if not token.value:
            raise ValueError("maildrop: needs a name, as `mailmove status` shows it")
        return InMaildrop(token.value)
    return Dated(_day(token), before=token.field == "before")


def _is_letter(character: str) -> bool:
    """What FTS5's unicode61 makes words of."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category == "Co"


def _day(token: _Token) -> date:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", token.value):
        try:
            return date.fromisoformat(token.value)
        except ValueError:
            pass
    raise ValueError(f"{token.field}: needs a day like 2026-01-31")


def _octets(value: str) -> int:
    found = re.fullmatch(r"([0-9]{1,12})([kmg]?)b?", value.lower())
    if not found:
        raise ValueError("larger: needs a size like 900, 10k or 5M")
    return int(found[1]) * UNITS[found[2]]


def _wrong(text: str, at: int, what: str) -> UsageError:
    text = text.rstrip()
    shown = text[at : at + 20] + ("…" if len(text) > at + 20 else "")
    where = f"at character {at + 1} ({shown})" if shown else "at its end"
    return UsageError(f"The query is wrong {where}: {what}.")
