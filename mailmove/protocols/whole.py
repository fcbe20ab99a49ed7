"""Exactly as many octets as were announced, or not all of them: what every protocol needs that counts before it sends.

Strategy: the last chunk is held back until it is known to be the last, and that the message is all there: what is read
from a disk may prove damaged at its very end, and then the message must not be whole on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mailmove.errors import LocalProtocolError


def whole(chunks: Iterable[bytes], octets: int) -> Iterator[bytes]:
    """The chunks, each one late, without empty ones. Raises LocalProtocolError if they are not `octets` octets."""
    total, held = 0, b""
    for chunk in filter(None, chunks):
        total += len(chunk)
        if total > octets:  # before `held` goes: it may be all that was announced
            break
        if held:
            yield held
        held = chunk
    if total != octets:
        raise LocalProtocolError(f"A message of {octets} octets was announced, but {total} came; it was not sent.")
    if held:
        yield held
