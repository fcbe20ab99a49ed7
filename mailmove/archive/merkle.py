"""The Merkle tree of RFC 6962 over the lines of the log (section 2.1): one hash that stands for all of them.

Strategy: only the right edge is kept, the roots of the perfect subtrees that the lines so far make up, one for each
set bit of their number, largest first. A new line is merged into it, so appending never reads the log again; the root
is the edge folded from the right. The hashes of leaves and nodes begin with different octets, so that none can be
taken for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

HASH_OCTETS = 32


class Tree(NamedTuple):
    """The tree over `size` lines. `edge`: the roots of its perfect subtrees, largest first, 32 octets each."""

    size: int = 0
    edge: bytes = b""

    def extended(self, lines: Iterable[bytes]) -> Tree:
        """The tree with these lines behind, each without its LF."""
        sha256, size = hashlib.sha256, self.size
        edge = [self.edge[start : start + HASH_OCTETS] for start in range(0, len(self.edge), HASH_OCTETS)]
        for line in lines:
            node = sha256(b"\0" + line).digest()
            merged = size
            while merged & 1:
                node = sha256(b"\1" + edge.pop() + node).digest()
                merged >>= 1
            edge.append(node)
            size += 1
        return Tree(size, b"".join(edge))

    @property
    def is_whole(self) -> bool:
        """Whether the edge is that of so many lines."""
        return len(self.edge) == HASH_OCTETS * self.size.bit_count()

    @property
    def root(self) -> bytes:
        """MTH of the lines, 32 octets."""
        if not self.size:
            return hashlib.sha256(b"").digest()
        root = self.edge[-HASH_OCTETS:]
        for start in range(len(self.edge) - 2 * HASH_OCTETS, -1, -HASH_OCTETS):
            root = hashlib.sha256(b"\1" + self.edge[start : start + HASH_OCTETS] + root).digest()
        return root

    def differences(self, other: Tree) -> Iterator[tuple[int, int]]:
        """Ranges of lines, first and behind, whose perfect subtrees are not those of another tree of this size."""
        first = start = 0
        for bit in reversed(range(self.size.bit_length())):
            if self.size >> bit & 1:
                if self.edge[start : start + HASH_OCTETS] != other.edge[start : start + HASH_OCTETS]:
                    yield first, first + (1 << bit)
                first, start = first + (1 << bit), start + HASH_OCTETS
