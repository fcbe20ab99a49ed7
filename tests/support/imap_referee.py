"""The referee for IMAP: what a mailbox holds, by plain imaplib, sharing nothing with mailmove's adapter.

    with Referee(dovecot.ports["imap"], "alice") as referee:
        referee.stored("INBOX") == [Stored(uid=1, octets=b"...", seen=False, date="01-Jan-1999 00:00:00 +0000")]

Strategy: one message at a time, slow and obvious. Mailbox names are given as they go over the wire: quoted, in modified
UTF-7.
"""

from __future__ import annotations

import imaplib
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.client import HOST, PASSWORD

PATIENCE = 30.0


@dataclass(frozen=True)
class Stored:
    """One message at the server. `date` is its internal date as the server writes it."""

    uid: int
    octets: bytes
    seen: bool
    date: str


class Referee:
    """One plaintext session."""

    def __init__(self, port: int, user: str, password: str = PASSWORD) -> None:
        self._imap = imaplib.IMAP4(HOST, port, PATIENCE)
        self._imap.login(user, password)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._imap.logout()

    def mailboxes(self) -> set[str]:
        """Names as the server lists them, without quotes."""
        _, lines = self._imap.list()
        return {_last_word(line) for line in lines if line}

    def selectable(self) -> set[str]:
        """Without names that are only there for what is below them."""
        _, lines = self._imap.list(pattern="*")
        shown = (line for line in lines if line)
        return {
            _last_word(line) for line in shown if b"\\Noselect" not in (line if isinstance(line, bytes) else line[0])
        }

    def subscribed(self) -> set[str]:
        _, lines = self._imap.lsub()
        return {_last_word(line) for line in lines if line}

    def stored(self, mailbox: str, first: int = 1) -> list[Stored]:
        """Every message with UID `first` or higher, by rising UID, without changing anything."""
        self._ok(self._imap.select(mailbox, readonly=True))
        return [self._stored(uid) for uid in self._uids() if int(uid) >= first]

    def add(self, mailbox: str, octets: bytes) -> None:
        """Appends as another mail program would."""
        self._ok(self._imap.append(mailbox, "", "", octets))

    def expunge(self, mailbox: str, *uids: int) -> None:
        """Deletes for good, as another mail program would."""
        self._ok(self._imap.select(mailbox))
        for uid in uids:
            self._ok(self._imap.uid("STORE", str(uid), "+FLAGS", r"(\Deleted)"))
        self._ok(self._imap.expunge())

    def create(self, mailbox: str) -> None:
        self._ok(self._imap.create(mailbox))

    def rename(self, mailbox: str, name: str) -> None:
        self._ok(self._imap.rename(mailbox, name))

    def delete(self, mailbox: str) -> None:
        self._ok(self._imap.delete(mailbox))

    def _uids(self) -> list[int]:
        _, (line,) = self._imap.uid("SEARCH", "ALL")
        return sorted(map(int, (line or b"").split()))

    def _stored(self, uid: int) -> Stored:
        _, answer = self._imap.uid("FETCH", str(uid), "(FLAGS INTERNALDATE BODY.PEEK[])")
        head = b" ".join(part[0] if isinstance(part, tuple) else part for part in answer if part)
        date = re.search(rb'INTERNALDATE "([^"]*)"', head)
        octets = next(part[1] for part in answer if isinstance(part, tuple))
        assert date
        return Stored(uid, octets, b"\\Seen" in head, date[1].decode().strip())

    @staticmethod
    def _ok(answer: tuple[str, list[object]]) -> None:
        assert answer[0] == "OK", answer


def _last_word(line: bytes | tuple[bytes, bytes]) -> str:
    if isinstance(line, tuple):  # a name as a literal
        return line[1].decode("ascii")
    found = re.search(rb'"((?:[^"\\]|\\.)*)"$|(\S+)$', line)
    assert found, line
    return re.sub(rb"\\(.)", rb"\1", found[1]).decode("ascii") if found[1] is not None else found[2].decode("ascii")
