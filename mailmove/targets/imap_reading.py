"""What an IMAP mailbox holds: FETCH in pages (RFC 9051 section 6.4.5).

Strategy: pages are ranges of message numbers, not of UIDs. UIDs may be billions apart, so that a page of UIDs may be
empty a million times over, or hold the whole mailbox; numbers have no gaps, so a page is PAGE messages and memory is
bounded. Numbers shift when messages go, but no server may say so while nothing but FETCH is asked (section 7.5.1). The
caller is free to ask other things between two pages: if an EXPUNGE came with it, the place is looked up again by UID.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from mailmove.errors import CommandRejected, TryLater
from mailmove.targets import Found, imap_refusals
from mailmove.targets.imap_connection import Answer, ImapConnection

PAGE = 1000
SAMPLES = 100
DATE, MESSAGE_ID = " INTERNALDATE", " BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
LARGEST, LONGEST = 2**32 - 1, 2**63 - 1
"""The bounds of a UID and of RFC822.SIZE (RFC 9051 section 9, uniqueid and number64)."""

_FIELD = re.compile(rb"^message-id[ \t]*:((?:[^\n]|\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def found(connection: ImapConnection, first: int, *, message_ids: bool, dates: bool = False) -> Iterator[Found]:
    """Every message with UID `first` or higher, by rising UID. Raises TryLater where the server will not show them."""
    items = f"(UID RFC822.SIZE{DATE if dates else ''}{MESSAGE_ID if message_ids else ''})"
    connection.noop()
    start, expunges = _place_of(connection, first), connection.expunges
    while start <= connection.messages:
        end = min(start + PAGE - 1, connection.messages)
        page = _page(connection, f"{start}:{end}", items)
        page = [one for one in page if one.uid >= first]
        start, first = end + 1, page[-1].uid + 1 if page else first
        yield from page
        if connection.expunges != expunges:
            start, expunges = _place_of(connection, first), connection.expunges


def section(connection: ImapConnection, uid: int, name: str) -> bytes | None:
    """BODY.PEEK[`name`] of one message, None if there is no such message. Raises TryLater as `found` does."""
    return sections(connection, [uid], name).get(uid)


def sections(connection: ImapConnection, uids: Sequence[int], name: str) -> dict[int, bytes]:
    """BODY.PEEK[`name`] of these messages, as far as they are there, by one command. Raises TryLater as `found` does.

    So many UIDs as fit into a line of 8,192 octets (RFC 7162 section 4): 700 at most.
    """
    if not uids:
        return {}
    key, wanted = f"BODY[{name}]".encode("ascii"), frozenset(uids)
    answers = _fetched(connection, _uid_set(sorted(wanted)), f"(UID BODY.PEEK[{name}])", by_uid=True)
    asked = (answer for answer in answers if answer.get(b"UID") in wanted and key in answer)
    return {answer[b"UID"]: _octets(answer[key]) for answer in asked}


def dates(connection: ImapConnection, uids: Sequence[int]) -> dict[int, datetime]:
    """INTERNALDATE of these messages, as far as they are there and it can be read. Raises TryLater as `found` does."""
    wanted = frozenset(uids)
    answers = _fetched(connection, _uid_set(sorted(wanted)), "(UID INTERNALDATE)", by_uid=True) if uids else []
    told = ((answer.get(b"UID"), _moment(answer.get(b"INTERNALDATE"))) for answer in answers)
    return {uid: moment for uid, moment in told if uid in wanted and moment is not None}


def _uid_set(uids: Sequence[int]) -> str:
    """[1, 2, 3, 7] -> "1:3,7": the shortest sequence-set of exactly these (RFC 9051 section 9)."""
    starts = [uid for before, uid in zip((0, *uids), uids, strict=False) if uid != before + 1 or not before]
    ends = [uid for uid, after in zip(uids, (*uids[1:], 0), strict=True) if after != uid + 1]
    return ",".join(str(a) if a == b else f"{a}:{b}" for a, b in zip(starts, ends, strict=True))


def _page(connection: ImapConnection, numbers: str, items: str) -> list[Found]:
    """The messages with these numbers, by rising UID; answers about something else are not ours."""
    answers = _fetched(connection, numbers, items)
    whole = (answer for answer in answers if answer.keys() >= {b"UID", b"RFC822.SIZE"})
    found = (_found(answer) for answer in whole)
    return sorted((one for one in found if one.uid <= LARGEST and one.octets <= LONGEST), key=lambda one: one.uid)


def _place_of(connection: ImapConnection, first: int) -> int:
    """A message number not above that of the first message with UID `first` or higher, and near it.

    One FETCH tells whether it is within the last page; else each FETCH of SAMPLES numbers narrows it down to a
    hundredth, so 3 of them do for 10 million messages.
    """
    low, high = 1, connection.messages + 1
    if first > 1 and (last_page := high - PAGE) > 1:  # what is looked for came in last, as a rule
        answers = _fetched(connection, str(last_page), "(UID)")
        if any(answer.get(b"UID", first) < first for answer in answers):
            return last_page
        high = last_page
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
    moment = _moment(answer.get(b"INTERNALDATE"))
    return Found(answer[b"UID"], answer[b"RFC822.SIZE"], _message_id(_octets(fields)), moment)


def _moment(value: object) -> datetime | None:
    """An INTERNALDATE in UTC, None if it is outside the grammar: nobody would know what it means."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    try:
        return value.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _message_id(fields: bytes) -> str:
    """The value of the first Message-ID field, unfolded (RFC 5322 section 2.2.3)."""
    found = _FIELD.search(fields)
    return found[1].replace(b"\r", b"").replace(b"\n", b"").strip().decode("latin-1") if found else ""


def _octets(value: object) -> bytes:
    """A section's value: NIL stands for an empty one."""
    return value if isinstance(value, bytes) else b""
