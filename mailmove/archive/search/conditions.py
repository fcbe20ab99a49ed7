"""A query's values -> one SQL condition over `documents`, with bound parameters. Pure.

Strategy: neighbouring words are asked of FTS5 in one MATCH, whose expression holds nothing but quoted strings; whatever
was typed goes to SQLite as a bound parameter and is never part of the SQL.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailmove.archive.search.query import All, Any, Dated, HasAttachment, InMaildrop, Larger, Node, Not, Words

Condition = tuple[str, list[object]]
"""A condition over `documents`, and the parameters to bind."""


def condition(node: Node) -> Condition:
    """SQL that is true for the documents asked for."""
    if (matching := match_of(node)) is not None:
        return "documents.id IN (SELECT rowid FROM contents WHERE contents MATCH ?)", [matching]
    match node:
        case Not(of):
            sql, values = condition(of)
            return f"NOT ({sql})", values
        case All(of):
            return _joined("AND", _merged(of, All))
        case Any(of):
            return _joined("OR", _merged(of, Any))
        case Dated(day, before):
            return f"documents.date {'<' if before else '>='} ?", [day.isoformat()]
        case Larger(octets):
            return "documents.octets > ?", [octets]
        case HasAttachment():
            return "documents.attachments > 0", []
        case InMaildrop(name):
            return _IN_MAILDROP, [name]
    raise AssertionError(node)


_IN_MAILDROP = (  # the plus: only the index over digests is of use here
    "EXISTS (SELECT 1 FROM catalogue.places WHERE places.digest = documents.digest"
    " AND +places.maildrop = (SELECT id FROM catalogue.maildrops WHERE name = ?))"
)


def _joined(how: str, nodes: Sequence[Node]) -> Condition:
    conditions = [condition(node) for node in nodes]
    return f" {how} ".join(f"({sql})" for sql, _ in conditions), [v for _, values in conditions for v in values]


def _merged(nodes: Sequence[Node], how: type[All] | type[Any]) -> list[Node]:
    """The same, with all that FTS5 can answer in one question of it."""
    wordy = tuple(node for node in nodes if match_of(node) is not None)
    others = [node for node in nodes if match_of(node) is None]
    return [how(wordy) if len(wordy) > 1 else wordy[0], *others] if wordy else others


def match_of(node: Node) -> str | None:
    """The FTS5 expression for this, or None if FTS5 cannot answer it. Every text in it is a quoted string."""
    match node:
        case Words(text, column, beginning):
            quoted = '"' + text.replace('"', '""') + '"' + (" *" if beginning else "")
            return f"{{{column}}} : {quoted}" if column else quoted
        case Any(of):
            found = [match_of(one) for one in of]
            return None if None in found else " OR ".join(f"({one})" for one in found)
        case All(of):
            wanted = [match_of(one) for one in of if not isinstance(one, Not)]
            unwanted = [match_of(one.of) for one in of if isinstance(one, Not)]
            if not wanted or None in wanted or None in unwanted:
                return None
            expression = " AND ".join(f"({one})" for one in wanted)
            return f"({expression}) NOT ({' OR '.join(f'({one})' for one in unwanted)})" if unwanted else expression
    return None
