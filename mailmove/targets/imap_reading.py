"""What an IMAP mailbox holds: FETCH in pages (RFC 9051 section 6.4.5).

Strategy: pages are ranges of message numbers, not of UIDs. UIDs may be billions apart, so that a page of UIDs may be
empty a million times over, or hold the whole mailbox; numbers have no gaps, so a page is PAGE messages and memory is
bounded. Numbers shift when messages go, but no server may say so while nothing but FETCH is asked (section 7.5.1). The
caller is free to ask other things between two pages: if an EXPUNGE came with it, the place is looked up again by UID.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailmove.errors import CommandRejected, TryLater
from mailmove.targets import Found, imap_refusals
from mailmove.targets.imap_connection import Answer, ImapConnection

PAGE = 1000
SAMPLES = 100
ITEMS, WITH_IDS = "(UID RFC822.SIZE)", "(UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
_FIELD = re.compile(rb"^message-id[ \t]*:((?:[^\n]|\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def found(connection: ImapConnection, first: int, *, message_ids: bool) -> Iterator[Found]:
    """Every message with UID `first` or higher, by rising UID. Raises TryLater where the server will not show them."""
    connection.noop()
    start, expunges = _place_of(connection, first), connection.expunges
    while start <= connection.messages:
        end = min(start + PAGE - 1, connection.messages)
        page = _page(connection, f"{start}:{end}", WITH_IDS if message_ids else ITEMS)
        page = [one for one in page if one.uid >= first]
        start, first = end + 1, page[-1].uid + 1 if page else first
        yield from page
        if connection.expunges != expunges:
            start, expunges = _place_of(connection, first), connection.expunges


def section(connection: ImapConnection, uid: int, name: str) -> bytes | None:
    """BODY.PEEK[`name`] of one message, None if there is no such message. Raises TryLater as `found` does."""
    key = f"BODY[{name}]".encode("ascii")
    answers = _fetched(connection, str(uid), f"(UID BODY.PEEK[{name}])", by_uid=True)
    return next((_octets(answer[key]) for answer in answers if answer.get(b"UID") == uid and key in answer), None)


def _page(connection: ImapConnection, numbers: str, items: str) -> list[Found]:
    """The messages with these numbers, by rising UID; answers about something else are not ours."""
    answers = _fetched(connection, numbers, items)
    whole = (answer for answer in answers if answer.keys() >= {b"UID", b"RFC822.SIZE"})
    return sorted((_found(answer) for answer in whole), key=lambda one: one.uid)


def _place_of(connection: ImapConnection, first: int) -> int:
    """A message number not above that of the first message with UID `first` or higher, and near it.

    Each FETCH of SAMPLES numbers narrows it down to a hundredth, so 3 of them do for 10 million messages.
    """
    low, high = 1, connection.messages + 1
    while first > 1 and high - low > SAMPLES:
        step = -(-(high - low) // SAMPLES)
        numbers = ",".join(map(str, range(low, high, step)))
        answers = _fetched(connection, numbers, "(UID)")
        below = [answer[b"SEQ"] for answer in answers if answer.get(b"UID", first) < first]
        low, high = max(below, default=low), min(max(below, default=low) + step, high)
    return low


def _fetched(connection: ImapConnection, messages: str, items: str, *, by_uid: bool = False) -> list[Answer]:
    try:
        return connection.fetch(messages, items, by_uid=by_uid)
    except TryLater:
        raise
    except CommandRejected as error:
        raise imap_refusals.reading_refused(connection.peer, error) from error


def _found(answer: Answer) -> Found:
    fields = next((value for key, value in answer.items() if key.startswith(b"BODY[HEADER.FIELDS")), b"")
    return Found(answer[b"UID"], answer[b"RFC822.SIZE"], _message_id(_octets(fields)))


def _message_id(fields: bytes) -> str:
    """The value of the first Message-ID field, unfolded (RFC 5322 section 2.2.3)."""
    found = _FIELD.search(fields)
    return found[1].replace(b"\r", b"").replace(b"\n", b"").strip().decode("latin-1") if found else ""


def _octets(value: object) -> bytes:
    """A section's value: NIL stands for an empty one."""
    return value if isinstance(value, bytes) else b""
