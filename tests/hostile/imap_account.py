"""What a scripted IMAP server keeps: the mailboxes of one account, seen by all its connections at once.

Strategy: one lock, and one method for whatever changes something, so that a batch is stored whole or not at all
(RFC 3502). A mail is one thing and its places in mailboxes are another, for Gmail has one mail in several mailboxes and
merges what has an equal Message-ID: the octets and the date of the first stay, whatever the second one's are, and the
answer is OK all the same.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

UIDVALIDITY = 7
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:[ \t]*((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
_SECTION = re.compile(rb".*?(?:\r?\n\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Draft:
    """One message of an APPEND. `flags` without parentheses, `date` without quotes, both b"" if there are none."""

    octets: bytes
    flags: bytes = b""
    date: bytes = b""


@dataclass
class Mail:
    """What was appended. `made_up`: RFC822.SIZE of a mail that a test wants there without any octets."""

    number: int
    octets: bytes
    flags: bytes = b""
    date: bytes = b""
    labels: set[str] = field(default_factory=set)
    made_up: int = 0

    @property
    def size(self) -> int:
        return self.made_up or len(self.octets)

    @property
    def headers(self) -> bytes:
        """The header section with the empty line that ends it."""
        found = _SECTION.match(self.octets)
        return found[0] if found else b""

    @property
    def message_id(self) -> bytes:
        """The field's value, unfolded, b"" if there is none."""
        found = _MESSAGE_ID.search(self.headers)
        return b" ".join(found[1].split()) if found else b""


@dataclass
class Entry:
    """A mail's place in a mailbox."""

    uid: int
    mail: Mail


@dataclass
class Mailbox:
    """`name` is as it goes over the wire, without quotes. `attributes`: what LIST says of it."""

    name: str
    attributes: str = ""
    entries: list[Entry] = field(default_factory=list)
    uidnext: int = 1

    @property
    def stored(self) -> list[bytes]:
        """The octets of every message, by rising UID."""
        return [entry.mail.octets for entry in self.entries]

    @property
    def uids(self) -> list[int]:
        return [entry.uid for entry in self.entries]

    def put(self, mail: Mail, uid: int = 0) -> Entry:
        entry = Entry(uid or self.uidnext, mail)
        self.entries.append(entry)
        self.uidnext = max(self.uidnext, entry.uid + 1)
        return entry


class Account:
    """All mailboxes. With `all_mail`, the name of Gmail's, mails with equal Message-ID are merged."""

    def __init__(self, all_mail: str = "") -> None:
        self.lock = threading.RLock()
        self.all_mail = all_mail
        self.mailboxes = {"INBOX": Mailbox("INBOX")}
        self._mails = 0
        self._by_message_id: dict[bytes, Mail] = {}
        if all_mail:
            self.mailboxes["[Gmail]"] = Mailbox("[Gmail]", "\\Noselect \\HasChildren")
            self.mailboxes[all_mail] = Mailbox(all_mail, "\\All")

    def __getitem__(self, name: str) -> Mailbox:
        return self.mailboxes[name]

    def find(self, name: str) -> Mailbox | None:
        """None if there is none, or it can hold no messages. INBOX is one in any case (RFC 9051 section 5.1)."""
        mailbox = self.mailboxes.get("INBOX" if name.upper() == "INBOX" else name)
        return None if mailbox is None or "\\Noselect" in mailbox.attributes else mailbox

    def create(self, name: str, attributes: str = "") -> bool:
        """False if it is there already."""
        with self.lock:
            if name in self.mailboxes:
                return False
            self.mailboxes[name] = Mailbox(name, attributes)
            return True

    def make_up(self, uids: Sequence[int]) -> None:
        """Messages in INBOX with these UIDs and nothing in them; the n-th has a size of 100 + n."""
        for number, uid in enumerate(uids, 1):
            self["INBOX"].put(Mail(number, b"", made_up=100 + number), uid)

    def add(self, name: str, *messages: bytes) -> list[int]:
        """As another program would have put them there; their UIDs."""
        return self.append(self[name], [Draft(octets) for octets in messages])

    def append(
        self, mailbox: Mailbox, drafts: Sequence[Draft], kept: Callable[[bytes], None] = lambda _: None
    ) -> list[int]:
        """Stores all of them; their UIDs. `kept` is told of octets that were stored, not merged into others."""
        with self.lock:
            return [self._append(mailbox, draft, kept) for draft in drafts]

    def _append(self, mailbox: Mailbox, draft: Draft, kept: Callable[[bytes], None]) -> int:
        new = Mail(self._mails + 1, draft.octets, draft.flags, draft.date)
        mail = self._merged_into(new)
        if mail is not None:
            there = next((entry for entry in mailbox.entries if entry.mail is mail), None)
            return (there or mailbox.put(mail)).uid
        self._mails += 1
        kept(draft.octets)
        if self.all_mail and mailbox.name != self.all_mail:
            self[self.all_mail].put(new)
        return mailbox.put(new).uid

    def _merged_into(self, mail: Mail) -> Mail | None:
        """What Gmail takes for the same mail, wherever it is; None if there is none, and the next one is this."""
        if not self.all_mail or not mail.message_id:
            return None
        first = self._by_message_id.setdefault(mail.message_id, mail)
        return None if first is mail else first
