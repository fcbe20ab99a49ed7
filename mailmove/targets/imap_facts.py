"""What an IMAP server offers, and what it holds elsewhere: questions that change nothing.

Strategy: capabilities, GETQUOTAROOT and NOOP for the pre-flight; UID FETCH and UID SEARCH for Gmail, which merges
messages of an equal Message-ID, so that its OK proves nothing and All Mail must be asked (design.md section 7). A
search by header is a substring search (RFC 9051 section 6.4.4): what it finds is compared again. A server that refuses
such a question has not answered it, which is said, or None where it is about room.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from mailmove.errors import CommandRejected, TryLater
from mailmove.targets import Quota, Traits, imap_names, imap_refusals
from mailmove.targets.imap_connection import Answer, ImapConnection

UNIT = 1024
"""Octets: what STORAGE is counted in (RFC 9208 section 5.1)."""

SAMPLES = 3
ASKED = 20
LINE = 4000
"""Message-IDs in one SEARCH, and octets of them: a server need not take a line of more than 8,192 (RFC 7162)."""

PAGE = 200
SIZES, WITH_IDS = "(UID RFC822.SIZE)", "(UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
Told = TypeVar("Told")
_FIELD = re.compile(rb"^message-id[ \t]*:((?:[^\n]|\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def traits(connection: ImapConnection) -> Traits:
    """What the server says of itself (RFC 7888, 3502, 4315, 7889, and Gmail's X-GM-EXT-1)."""
    words = connection.capabilities
    limits = (word.partition("=")[2] for word in words if word.startswith("APPENDLIMIT="))
    return Traits(
        literal_plus="LITERAL+" in words,
        literal_minus="LITERAL-" in words,
        multiappend="MULTIAPPEND" in words,
        uidplus="UIDPLUS" in words,
        gmail="X-GM-EXT-1" in words,
        append_limit=next((int(limit) for limit in limits if re.fullmatch(r"[1-9][0-9]{0,9}", limit)), None),
    )


def quota(connection: ImapConnection, mailbox: str) -> Quota | None:
    """GETQUOTAROOT (RFC 9208 section 4.2.2): of several roots the one with the least room.

    None if the server has no quota or will not tell (it may not for a mailbox that does not exist). A limit of 0 would
    be a mailbox that takes nothing, and is how some servers write that there is none.
    """
    if not any(word == "QUOTA" or word.startswith("QUOTA=") for word in connection.capabilities):
        return None
    try:
        told = connection.quotas(mailbox)
    except TryLater:
        raise
    except CommandRejected:
        return None
    rooms = [Quota(used * UNIT, limit * UNIT, root) for root, kind, used, limit in told if kind == "STORAGE" and limit]
    return min(rooms, key=lambda room: room.left, default=None)


def round_trip(connection: ImapConnection) -> float:
    """Seconds from a question to its answer: the quickest of a few NOOPs."""
    return min(_timed(connection) for _ in range(SAMPLES))


def _timed(connection: ImapConnection) -> float:
    started = time.monotonic()
    connection.noop()
    return time.monotonic() - started


def sizes(connection: ImapConnection, uids: Sequence[int]) -> dict[int, int]:
    """UID -> RFC822.SIZE of these messages of the selected mailbox; those that are not there are left out.

    Raises TryLater if the server will not show them.
    """
    wanted = frozenset(uids)
    answers = _fetched(connection, sorted(wanted), SIZES)
    return {answer[b"UID"]: answer[b"RFC822.SIZE"] for answer in answers if answer[b"UID"] in wanted}


def elsewhere(connection: ImapConnection, mailbox: str, message_ids: Iterable[str]) -> dict[str, list[int]]:
    """Message-ID -> RFC822.SIZE of each message of this mailbox that has it; after it, this one is selected.

    Raises TryLater if the server will not tell.
    """
    asked = {plain(one): one for one in message_ids if _can_be_asked(one)}
    found: dict[str, list[int]] = {}
    if asked:
        _told(connection, lambda: connection.select(mailbox, read_only=True))
    for some in _lines(list(asked)):
        uids = _told(connection, partial(connection.search, *_criteria(some)))
        for answer in _fetched(connection, uids, WITH_IDS):
            if message_id := asked.get(_message_id(answer)):
                found.setdefault(message_id, []).append(answer[b"RFC822.SIZE"])
    return found


def plain(message_id: str) -> str:
    """A Message-ID's value without folding, so that two can be compared."""
    return " ".join(message_id.split())


def _can_be_asked(message_id: str) -> bool:
    """In a quoted string of a search. Of another one nobody knows whether it is there before it was sent."""
    return bool(message_id.strip()) and message_id.isascii() and message_id.isprintable() and len(message_id) < LINE


def _lines(message_ids: Sequence[str]) -> Iterator[list[str]]:
    """So many at a time as one command may name."""
    line: list[str] = []
    for one in message_ids:
        if line and (len(line) == ASKED or sum(map(len, line)) + len(one) > LINE):
            yield line
            line = []
        line.append(one)
    if line:
        yield line


def _criteria(message_ids: Sequence[str]) -> list[bytes]:
    """OR takes two keys, so all but the last stand behind one each (RFC 9051 section 6.4.4)."""
    keys = [[b"HEADER", b"Message-ID", imap_names.quoted_string(one)] for one in message_ids]
    return [word for key in keys[:-1] for word in (b"OR", *key)] + keys[-1]


def _fetched(connection: ImapConnection, uids: Sequence[int], items: str) -> Iterator[Answer]:
    """Whole answers about these messages. Raises TryLater where the server will not show them."""
    for start in range(0, len(uids), PAGE):
        page = ",".join(map(str, uids[start : start + PAGE]))
        answers = _told(connection, partial(connection.fetch, page, items, by_uid=True))
        yield from (answer for answer in answers if answer.keys() >= {b"UID", b"RFC822.SIZE"})


def _told(connection: ImapConnection, ask: Callable[[], Told]) -> Told:
    """Raises TryLater where the server answers NO: what is there stays unknown."""
    try:
        return ask()
    except TryLater:
        raise
    except CommandRejected as error:
        raise imap_refusals.reading_refused(connection.peer, error) from error


def _message_id(answer: Mapping[bytes, object]) -> str:
    fields = next((value for key, value in answer.items() if key.startswith(b"BODY[HEADER.FIELDS")), b"")
    found = _FIELD.search(fields) if isinstance(fields, bytes) else None
    return plain(found[1].decode("latin-1")) if found else ""
