r"""The octets of a message on their way out by DATA: with their dots stuffed.

Strategy: dots are stuffed by the chunk, never by the line; what a chunk's edge may hide is looked for in two octets of
the chunk before. That it is all of a message, and no more, is seen to before (protocols/whole.py).

Rules that live here:
- A dot after CRLF, and one at the very beginning, is doubled (RFC 5321 section 4.5.2). No other one is.
- A bare CR or LF never goes out by DATA: some servers take "\n.\n" or "\r.\r" for the end (SMTP smuggling), and any
  server may alter it. The job knows before; here it is a bug. BDAT carries it.
- A message that does not end with CRLF gets one by DATA, which cannot do without; by BDAT it arrives as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mailmove.errors import LocalProtocolError

END = b".\r\n"
CRLF = b"\r\n"


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks as DATA wants them, without the final dot. Raises LocalProtocolError for a bare CR or LF."""
    before = CRLF
    for chunk in filter(None, chunks):
        yield _stuffed(before, chunk)
        before = (before + chunk[-2:])[-2:]
    if before.endswith(b"\r"):
        raise _bare()
    if before != CRLF:
        yield CRLF


def _stuffed(before: bytes, chunk: bytes) -> bytes:
    """`before`: the two octets in front of it, CRLF at the beginning."""
    split_end = before.endswith(b"\r")
    _refuse_bare(chunk, split_end)
    out = chunk.replace(b"\r\n.", b"\r\n..")
    if before == CRLF and chunk.startswith(b"."):
        return b"." + out
    if split_end and chunk.startswith(b"\n."):
        return b"\n." + out[1:]
    return out


def _refuse_bare(chunk: bytes, split_end: bool) -> None:
    """`split_end`: a CR came before, whose LF must be the first octet."""
    if split_end and not chunk.startswith(b"\n"):
        raise _bare()
    ends = chunk.count(CRLF)
    if chunk.count(b"\n") != ends + split_end or chunk.count(b"\r") != ends + chunk.endswith(b"\r"):
        raise _bare()


def _bare() -> LocalProtocolError:
    return LocalProtocolError("A message with a bare CR or LF cannot go out by DATA; it was not sent.")
