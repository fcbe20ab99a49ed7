"""HTML to text, for words and for eyes: pure, never fails, and takes time in proportion to the text.

Strategy: html.parser is fed once and never told that the end has come: at the end it looks for what was never closed
again and again, which a hostile mail can make take hours. What it leaves unread, or the whole of what it cannot parse,
loses its tags by one plain pattern instead.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

_SILENT = frozenset({"script", "style", "template", "noscript"})
_BREAKS = frozenset(
    {"p", "br", "div", "tr", "li", "ul", "ol", "table", "blockquote", "pre", "hr", "title", "head", "body"}
    | {"h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "section", "article", "header", "footer"}
)
_CELLS = frozenset({"td", "th", "option"})
_TAG = re.compile(r"<[^<>]*>")
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n\s*\n\s*")


class _Text(HTMLParser):
    """Collects what is to be read."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT and not self._silent:
            self._silent = tag
        self._space(tag)
        if tag == "img":
            self.pieces += [f" {value} " for name, value in attrs if name == "alt" and value]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SILENT:  # <style/> opens nothing
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._silent = ""
        self._space(tag)

    def _space(self, tag: str) -> None:
        if tag in _BREAKS or tag in _CELLS:
            self.pieces.append("\n" if tag in _BREAKS else " ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(" ".join(data.split("\n")))


def html_text(source: str) -> str:
    """What a reader sees of an HTML text: no tags, no script, blocks on lines of their own."""
    parser = _Text()
    try:
        parser.feed(source)
        text = "".join(parser.pieces) + _stripped(parser.rawdata)
    except Exception:  # noqa: BLE001 - html.parser raises AssertionError and more on hostile input
        text = _stripped(source)
    return _LINES.sub("\n\n", _BLANKS.sub(" ", text)).strip()


def _stripped(source: str) -> str:
    return html.unescape(_TAG.sub(" ", source))
