"""What a server says of its mailboxes' names: LIST and NAMESPACE (RFC 9051 sections 7.3.1 and 6.3.10). Pure.

Strategy: names come back decoded from modified UTF-7. A name that cannot be decoded is none of ours, and is passed
over: one broken folder must not keep anybody's mail from the others. Whatever is outside the grammar raises what
imapclient's parser raises, which ImapConnection turns into a ProtocolError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from imapclient.imap_utf7 import decode  # type: ignore[import-untyped]
from imapclient.response_parser import parse_response  # type: ignore[import-untyped]


class Listed(NamedTuple):
    """One LIST response. `attributes` in lower case; `delimiter` separates levels, "" if there are none."""

    attributes: frozenset[str]
    delimiter: str
    name: str


class Namespace(NamedTuple):
    """Names that begin with `prefix` (its delimiter included) are of one kind: ours, others', or shared."""

    prefix: str
    delimiter: str


class Namespaces(NamedTuple):
    """The answer to NAMESPACE: one's own mailboxes, then those of others and shared ones."""

    personal: Sequence[Namespace] = ()
    foreign: Sequence[Namespace] = ()


def listed(lines: Sequence[Any]) -> list[Listed]:
    """LIST responses, as imaplib has them."""
    parsed = parse_response([line for line in lines if line])
    return list(_readable(parsed))


def _readable(parsed: Sequence[Any]) -> Iterator[Listed]:
    for attributes, delimiter, name in zip(parsed[::3], parsed[1::3], parsed[2::3], strict=True):
        words = frozenset(_text(attribute).lower() for attribute in attributes)
        try:
            yield Listed(words, _text(delimiter), _text(name))
        except UnicodeError:
            continue


def namespaces(lines: Sequence[Any]) -> Namespaces:
    """A NAMESPACE response, as imaplib has it; of none, nothing is known."""
    if not lines:
        return Namespaces()
    personal, others, shared = parse_response([line for line in lines if line])
    return Namespaces(_namespaces(personal), [*_namespaces(others), *_namespaces(shared)])


def _namespaces(parsed: Sequence[Any] | None) -> list[Namespace]:
    """Behind prefix and delimiter a server may say more (namespace-response-extensions)."""
    return [Namespace(_text(one[0]), _text(one[1])) for one in parsed or ()]


def _text(value: bytes | int | None) -> str:
    """NIL is "". imapclient takes a quoted number for a number. Raises UnicodeError."""
    if isinstance(value, bytes):
        return str(decode(value))
    return "" if value is None else str(value)
