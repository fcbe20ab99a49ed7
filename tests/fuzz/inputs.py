"""Fuzzer's octets as a small program: a head of fixed length, then items of a kind and a payload.

Strategy: any octets are a program, and a small change of them is a small change of it, since an item is its kind, the
length of its payload, and the payload; so a mutation can insert, drop, repeat or swap items. `build` is the way back,
for seeds and for hypothesis.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

MAX_PAYLOAD = 255

Item = tuple[int, bytes]


def parse(data: bytes, head: int) -> tuple[bytes, list[Item]]:
    """The head, filled up with zeros, and the items."""
    return data[:head].ljust(head, b"\0"), list(_items(data[head:]))


def _items(data: bytes) -> Iterator[Item]:
    position = 0
    while position < len(data):
        length = data[position + 1] if position + 1 < len(data) else 0
        begin = position + 2
        yield data[position], data[begin : begin + length]
        position = begin + length


def build(head: bytes, items: Iterable[Item]) -> bytes:
    """The octets that `parse` reads as these."""
    return head + b"".join(bytes([kind, len(payload)]) + payload for kind, payload in items)


def cut(octets: bytes, style: int) -> Iterator[bytes]:
    """The same octets in pieces: all at once for style 0, one by one for 1, else of many lengths."""
    steps = lengths(style, len(octets))
    position = 0
    while position < len(octets):
        length = next(steps)
        yield octets[position : position + length]
        position += length


def lengths(style: int, everything: int) -> Iterator[int]:
    """The lengths of the pieces, for ever; `everything` is all at once."""
    source = random.Random(style)
    while True:
        yield everything if style == 0 else 1 if style == 1 else source.choice((1, 2, 3, 4, 5, 7, 11, 60, 4000))
