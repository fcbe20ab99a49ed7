"""An IMAP server that does what a test tells it to, however wrong, in threads of the test's own process.

    with ImapPeer(ImapQuirks(replies={"SELECT": b"{tag} NO [UNAVAILABLE] later\\r\\n"})) as peer:
        ... let the client work on peer.port (any user, password "secret") ...
    assert peer.verbs == ["CAPABILITY", "LOGIN", "SELECT", "LOGOUT"]

Strategy: an honest server of the few commands a Target needs, as good as its `capabilities` say (LITERAL+, LITERAL-,
MULTIAPPEND, UIDPLUS, APPENDLIMIT=n, QUOTA, and Gmail's ways), with one account in memory (imap_account.py) for all its
connections; before it answers, it looks whether the test has an answer of its own for that command, or something to say
in the middle of a literal. Every line that came in where a command belongs is kept, so that a test can see what a
message was taken for. Nothing sleeps: a stall waits until the peer ends.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence

from mailmove.targets.imap import ImapTarget
from tests.hostile import imap_queries
from tests.hostile.imap_account import UIDVALIDITY, Account, Draft, Entry, Mailbox
from tests.hostile.imap_conversation import Conversation, Refused, verb
from tests.hostile.imap_quirks import ALL_MAIL, GMAIL, ImapQuirks, Interruption, Then
from tests.support import listener
from tests.support.client import PASSWORD
from tests.support.listener import Listener

__all__ = ["ALL_MAIL", "GMAIL", "ImapPeer", "ImapQuirks", "Interruption", "Opener", "Peers", "Selected", "Then"]


class ImapPeer(Listener):
    """`commands` are the lines that were read where a command belongs, of all connections; `sessions` those of each.

    `stored` are the literals that arrived whole and were kept, and `batches` says how many each APPEND that was
    answered with OK had. `account` holds the mailboxes; `most_at_once` is the most sessions that were logged in.
    """

    def __init__(self, quirks: ImapQuirks | None = None, *, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.quirks, self.context = quirks or ImapQuirks(), context
        self.account = Account(self.quirks.all_mail if self.quirks.gmail else "")
        self.account.make_up(self.quirks.uids)
        self.commands: list[str] = []
        self.sessions: list[list[str]] = []
        self.stored: list[bytes] = []
        self.batches: list[int] = []
        self.literals = self.most_at_once = 0
        self.inside: set[_Server] = set()
        self.ended = threading.Event()

    @property
    def verbs(self) -> list[str]:
        return [verb(command) for command in self.commands]

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        super().__exit__(None, None, None)

    def serve(self, connection: socket.socket) -> None:
        conversation = _Server(self, connection)
        try:
            conversation.run()
        finally:
            self.leave(conversation)

    def enter(self, conversation: _Server) -> bool:
        """False if there are too many already."""
        with self.account.lock:
            if self.quirks.most_sessions and len(self.inside) >= self.quirks.most_sessions:
                return False
            self.inside.add(conversation)
            self.most_at_once = max(self.most_at_once, len(self.inside))
            return True

    def leave(self, conversation: _Server) -> None:
        with self.account.lock:
            self.inside.discard(conversation)


class _Server(Conversation):
    """One connection, and what an honest server answers there."""

    def __init__(self, peer: ImapPeer, connection: socket.socket) -> None:
        super().__init__(peer, connection, peer.quirks)
        self.peer: ImapPeer = peer
        self.mailbox: Mailbox | None = None
        self.told = 0

    # ---- the honest server: sessions

    def done(self, tag: bytes, *untagged: bytes) -> None:
        self.say(*(b"* " + line for line in untagged), tag + b" OK done")

    def noop(self, tag: bytes, line: bytes) -> None:
        self.done(tag, *self.news())

    def news(self) -> list[bytes]:
        """What came into the selected mailbox since it was last told."""
        if self.mailbox is None or len(self.mailbox.entries) == self.told:
            return []
        self.told = len(self.mailbox.entries)
        return [b"%d EXISTS" % self.told]

    def capability(self, tag: bytes, line: bytes) -> None:
        self.done(tag, b"CAPABILITY " + self.quirks.offered.encode())

    def starttls(self, tag: bytes, line: bytes) -> None:
        assert self.peer.context
        self.connection.sendall(tag + b" OK now\r\n" + self.quirks.behind_starttls)
        self.connection = self.peer.secure(self.connection, self.peer.context)

    def login(self, tag: bytes, line: bytes) -> None:
        if not line.endswith(f'"{PASSWORD}"\r\n'.encode()):
            raise Refused(b"NO [AUTHENTICATIONFAILED] no")
        if self.peer.enter(self):
            return self.say(tag + b" OK welcome")
        said = self.quirks.one_too_many
        self.connection.sendall(said.replace(b"{tag}", tag))
        self.over = said.startswith(b"* BYE")
        return listener.goodbye(self.connection) if self.over else None

    def logout(self, tag: bytes, line: bytes) -> None:
        self.peer.leave(self)
        self.done(tag, b"BYE see you")

    # ---- mailboxes

    def named(self, line: bytes, code: bytes = b"NONEXISTENT") -> Mailbox:
        """The mailbox that is a command's first argument."""
        found = self.peer.account.find(imap_queries.tokens(line.decode("latin-1"))[2])
        if found is None:
            raise Refused(b"NO [%s] no such mailbox" % code)
        return found

    def select(self, tag: bytes, line: bytes) -> None:
        self.mailbox = None
        self.mailbox = self.named(line)
        with self.peer.account.lock:
            self.told, uidnext = len(self.mailbox.entries), self.mailbox.uidnext
        codes = (b"OK [UIDVALIDITY %d] valid" % UIDVALIDITY, b"OK [UIDNEXT %d] next" % uidnext)
        self.done(tag, b"%d EXISTS" % self.told, *codes)

    def status(self, tag: bytes, line: bytes) -> None:
        name, *items = imap_queries.tokens(line.decode("latin-1"))[2:]
        mailbox = self.named(line)
        with self.peer.account.lock:
            there = {"MESSAGES": len(mailbox.entries), "UIDNEXT": mailbox.uidnext, "UIDVALIDITY": UIDVALIDITY}
        values = " ".join(f"{item} {there[item]}" for item in map(str.upper, items) if item in there)
        self.done(tag, f'STATUS "{name}" ({values})'.encode("latin-1"))

    def create(self, tag: bytes, line: bytes) -> None:
        name, *more = imap_queries.tokens(line.decode("latin-1"))[2:]
        if not self.peer.account.create(name, " ".join(word for word in more if word.startswith("\\"))):
            raise Refused(b"NO [ALREADYEXISTS] it is there")
        self.done(tag)

    def listed(self, tag: bytes, line: bytes) -> None:
        """LIST-EXTENDED's options (RFC 5258) are passed over, and all is shown as without them."""
        words = imap_queries.tokens(re.sub(rb"\([^)]*\)|RETURN", b"", line).decode("latin-1"))
        pattern = words[3]
        if not pattern:  # what separates levels, and nothing else
            return self.done(tag, b'LIST (\\Noselect) "/" ""')
        mailboxes = tuple(self.peer.account.mailboxes.values())
        shown = [one for one in mailboxes if imap_queries.matches(pattern, one.name)]
        return self.done(tag, *(f'LIST ({one.attributes}) "/" "{one.name}"'.encode("latin-1") for one in shown))

    def getquotaroot(self, tag: bytes, line: bytes) -> None:
        if not self.quirks.offers("QUOTA") and self.quirks.quota is None:
            raise Refused(b"BAD unknown command")
        root = f'QUOTAROOT "{self.named(line).name}"'.encode("latin-1")
        if self.quirks.quota is None:
            return self.done(tag, root)
        return self.done(tag, root + b' "User"', b'QUOTA "User" (STORAGE %d %d)' % self.quirks.quota)

    # ---- APPEND

    def append(self, tag: bytes, line: bytes) -> None:
        drafts = self.drafts(tag, line)
        if drafts is None:
            return
        mailbox = self.named(line, b"TRYCREATE")
        if refusal := next(filter(None, map(self.refusal, drafts)), b""):
            raise Refused(refusal)
        with self.peer.account.lock:
            uids = self.peer.account.append(mailbox, drafts, self.peer.stored.append)
            self.peer.batches.append(len(drafts))
        self.say(*(b"* " + news for news in self.news()), tag + b" " + self.appended(uids))

    def refusal(self, draft: Draft) -> bytes:
        limit = self.quirks.append_limit
        return b"NO [TOOBIG] too large" if limit and len(draft.octets) > limit else self.quirks.refuse(draft.octets)

    def appended(self, uids: Sequence[int]) -> bytes:
        if self.quirks.appended or not self.quirks.offers("UIDPLUS"):
            return self.quirks.appended or b"OK appended"
        return b"OK [APPENDUID %d %s] appended" % (UIDVALIDITY, _uid_set(uids))

    # ---- messages

    def fetch(self, tag: bytes, line: bytes) -> None:
        numbers, _, items = line.decode("latin-1").rstrip().split(" ", 2)[2].partition(" ")
        entries = self.entries()
        wanted = imap_queries.sequence(numbers, len(entries))
        if wanted is None or not entries or any(part[-1] > len(entries) for part in wanted):
            raise Refused(b"BAD no such message")
        chosen = [n for n in range(1, len(entries) + 1) if imap_queries.within(wanted, n)]
        self.done(tag, *(imap_queries.fetched(n, entries[n - 1], items) for n in chosen))

    def uid_fetch(self, tag: bytes, line: bytes) -> None:
        _, items, chosen = self.chosen(line)
        self.done(tag, *(imap_queries.fetched(n, entry, items) for n, entry in chosen))

    def uid_search(self, tag: bytes, line: bytes) -> None:
        found = imap_queries.found(line.decode("latin-1").split(" ", 3)[3], self.entries())
        if found is None:
            raise Refused(b"BAD no such criterion")
        self.done(tag, b" ".join([b"SEARCH", *(b"%d" % entry.uid for entry in found)]))

    def uid_store(self, tag: bytes, line: bytes) -> None:
        """+X-GM-LABELS only."""
        _, arguments, chosen = self.chosen(line)
        name, *labels = imap_queries.tokens(arguments)
        if name.upper() != "+X-GM-LABELS" or not self.quirks.gmail:
            raise Refused(b"BAD no such item")
        for _, entry in chosen:
            entry.mail.labels.update(label for label in labels if label not in "()")
        self.done(tag, *(imap_queries.fetched(n, entry, "UID X-GM-LABELS") for n, entry in chosen))

    def chosen(self, line: bytes) -> tuple[str, str, list[tuple[int, Entry]]]:
        """(UIDs as they were given, what comes behind them, (number, message) of each that is there)."""
        uids, _, rest = line.decode("latin-1").rstrip().split(" ", 3)[3].partition(" ")
        entries = self.entries()
        wanted = imap_queries.sequence(uids, max((entry.uid for entry in entries), default=0))
        if wanted is None:
            raise Refused(b"BAD no such set")
        return uids, rest, [(n, one) for n, one in enumerate(entries, 1) if imap_queries.within(wanted, one.uid)]

    def entries(self) -> Sequence[Entry]:
        if self.mailbox is None:
            raise Refused(b"BAD no mailbox is selected")
        with self.peer.account.lock:
            return tuple(self.mailbox.entries)


_PLAIN = "CAPABILITY NOOP STARTTLS LOGIN LOGOUT SELECT STATUS CREATE APPEND FETCH GETQUOTAROOT"
_Server.ANSWERS = {
    **{name: name.lower() for name in _PLAIN.split()},
    **{f"UID {name}": f"uid_{name.lower()}" for name in ("FETCH", "SEARCH", "STORE")},
    "EXAMINE": "select",
    "LIST": "listed",
    "SUBSCRIBE": "noop",
}


def _uid_set(uids: Sequence[int]) -> bytes:
    """As RFC 4315 has it: ranges where the numbers follow each other, in the order of the messages."""
    runs: list[list[int]] = []
    for uid in uids:
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return b",".join(b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in runs)


Peers = Callable[..., ImapPeer]
Opener = Callable[..., ImapTarget]
Selected = Callable[..., tuple[ImapPeer, ImapTarget]]
"""What the fixtures of conftest.py give: a peer, a session with it, or both with INBOX selected."""
