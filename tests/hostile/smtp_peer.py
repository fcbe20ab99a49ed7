"""An SMTP or LMTP server that does what a test tells it to, however wrong, in threads of the test's own process.

    with SmtpPeer(SmtpQuirks(lmtp=True, rules=[Rule("RCPT TO:<b@x.example>", b"550 5.1.1 unknown\\r\\n")])) as peer:
        ... let the client work on peer.port (any user, password "secret") ...
    assert peer.arrived == [("a@x.example", b"Subject: hi\\r\\n\\r\\n")] and peer.violations == []

Strategy: an honest server of what a relay needs (EHLO or LHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA, BDAT, RSET,
NOOP, QUIT), as good as the extensions it offers; before it says anything, it looks whether the test has something else
to say there (smtp_quirks.py). Every line that was read where a command belongs is kept, so that a test can see what a
message was taken for, and so is every transaction, with the octets of its message. Nothing sleeps.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence

from tests.hostile.smtp_conversation import Conversation, Transaction
from tests.hostile.smtp_quirks import ALL, Rule, SmtpQuirks, Then, without
from tests.support.client import PASSWORD
from tests.support.listener import PATIENCE, Listener

__all__ = ["ALL", "Rule", "SmtpPeer", "SmtpQuirks", "Then", "Transaction", "without"]

_MAIL = re.compile(r"MAIL FROM:<([^<>]*)>((?: \S+)*)", re.IGNORECASE)
_RCPT = re.compile(r"RCPT TO:<([^<>\s]+)>((?: \S+)*)", re.IGNORECASE)
_BDAT = re.compile(r"BDAT (\d+)( LAST)?", re.IGNORECASE)
HONEST = Rule()


class SmtpPeer(Listener):
    """`commands` are the lines that were read where a command belongs, of all connections; `sessions` those of each.

    `transactions` are in the order of their MAILs, of all connections. `violations` is what a client did that it may
    not do. `context`: TLS from the first octet, or by STARTTLS only with `starttls=True`.
    """

    def __init__(
        self, quirks: SmtpQuirks | None = None, *, context: ssl.SSLContext | None = None, starttls: bool = False
    ) -> None:
        super().__init__()
        self.quirks, self.context, self.starttls = quirks or SmtpQuirks(), context, starttls
        self.commands: list[str] = []
        self.sessions: list[list[str]] = []
        self.transactions: list[Transaction] = []
        self.violations: list[str] = []
        self.ended = threading.Event()
        self._over: list[threading.Event] = []
        self._matched: dict[int, int] = {}

    @property
    def verbs(self) -> list[str]:
        return [command.partition(" ")[0].upper() for command in self.commands]

    @property
    def arrived(self) -> list[tuple[str, bytes]]:
        """(recipient, octets) of everything the server has."""
        return [(recipient, one.octets) for one in self.transactions for recipient in one.kept]

    def becomes(self, quirks: SmtpQuirks) -> None:
        """From the next session on it has other quirks."""
        self.quirks, self._matched = quirks, {}

    def wait(self) -> None:
        """Until every session so far has ended: nothing is added to them any more."""
        for over in tuple(self._over):
            assert over.wait(PATIENCE), "a session does not end"

    def begin(self) -> tuple[int, list[str]]:
        with self._lock:
            self.sessions.append([])
            return len(self.sessions), self.sessions[-1]

    def rule_for(self, stage: str, session: int, octets: bytes, *, crowded: bool) -> Rule:
        """The first rule that matches and is not used up; matching counts."""
        with self._lock:
            for place, rule in enumerate(self.quirks.rules):
                if not rule.matches(stage, session, octets, crowded=crowded):
                    continue
                matched = self._matched[place] = self._matched.get(place, 0) + 1
                if matched > rule.skip and (rule.times is None or matched <= rule.skip + rule.times):
                    return rule
        return HONEST

    def serve(self, connection: socket.socket) -> None:
        over = threading.Event()
        self._over.append(over)
        try:
            if self.context and not self.starttls:
                connection = self.secure(connection, self.context)
            _Server(self, connection).run()
        finally:
            over.set()

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        super().__exit__(None, None, None)


class _Server(Conversation):
    """One connection, and what an honest server answers there."""

    def __init__(self, peer: SmtpPeer, connection: socket.socket) -> None:
        super().__init__(peer, connection, peer.quirks)
        self.peer = peer
        self.secured = self.logged_in = False
        self.chunks: list[bytes] | None = None

    def answer(self, command: str) -> None:
        verb = command.partition(" ")[0].upper()
        known = {"EHLO": self.hello, "LHLO": self.hello, "STARTTLS": self.tls, "AUTH": self.auth}
        known |= {"MAIL": self.mail, "RCPT": self.rcpt, "DATA": self.data, "BDAT": self.bdat, "RSET": self.rset}
        known |= {"HELO": self.helo, "NOOP": self.noop, "QUIT": self.bye}
        if self.buffer and not self.may_talk_ahead(verb):
            self.violated(f"something came in behind {command[:80]!r} before it was answered")
        known.get(verb, self.unknown)(command)

    def may_talk_ahead(self, verb: str) -> bool:
        """RFC 2920 section 3.1; the octets behind BDAT belong to it, and one of them left behind is no command."""
        in_a_group = self.quirks.offers("PIPELINING") and verb in ("MAIL", "RCPT", "RSET")
        return verb == "BDAT" or len(verb) < 2 or in_a_group

    # ---- sessions

    def hello(self, command: str) -> None:
        if command[:4].upper() != ("LHLO" if self.quirks.lmtp else "EHLO"):
            return self.unknown(command)
        lines = ["peer.example", *self.quirks.extensions]
        lines += ["STARTTLS"] if self.starttls_offered() else ["AUTH PLAIN"]
        said = "".join(f"250{' ' if one is lines[-1] else '-'}{one}\r\n" for one in lines)
        self.transaction = None
        self.exchange(command, said.encode())
        return None

    def starttls_offered(self) -> bool:
        return bool(self.peer.context and self.peer.starttls and not self.secured)

    def helo(self, command: str) -> None:
        self.exchange(command, b"250 peer.example\r\n" if not self.quirks.lmtp else b"500 5.5.1 unknown command\r\n")

    def tls(self, command: str) -> None:
        if not self.starttls_offered():
            return self.unknown(command)
        if self.exchange(command, b"220 2.0.0 go on\r\n") == "2" and not self.over and self.peer.context:
            self.buffer.clear()
            self.connection = self.peer.secure(self.connection, self.peer.context)
            self.secured = True
        return None

    def auth(self, command: str) -> None:
        words = command.split()
        if len(words) == 2:
            self.connection.sendall(b"334 \r\n")
            words.append(self.line().decode("latin-1").strip())
        right = words[1].upper() == "PLAIN" and base64.b64decode(words[2]).split(b"\0")[2:] == [PASSWORD.encode()]
        honest = b"235 2.7.0 welcome\r\n" if right else b"535 5.7.8 wrong\r\n"
        self.logged_in = self.exchange(command, honest) == "2"

    def rset(self, command: str) -> None:
        self.transaction = self.chunks = None
        self.exchange(command, b"250 2.0.0 forgotten\r\n")

    def noop(self, command: str) -> None:
        self.exchange(command, b"250 2.0.0 nothing done\r\n")

    def bye(self, command: str) -> None:
        self.exchange(command, b"221 2.0.0 bye\r\n")
        if not self.over:
            self.follow(Then.GOODBYE)

    def unknown(self, command: str) -> None:
        self.exchange(command, b"500 5.5.1 unknown command\r\n")

    # ---- envelopes

    def mail(self, command: str) -> None:
        found = _MAIL.fullmatch(command)
        honest = self.mail_refusal(found[2].upper()) if found else b"501 5.5.4 no such address\r\n"
        if self.exchange(command, honest or b"250 2.1.0 sender ok\r\n") == "2" and found:
            self.transaction = Transaction(found[1], found[2].strip())
            self.peer.transactions.append(self.transaction)

    def mail_refusal(self, parameters: str) -> bytes:
        """RFC 5321 section 4.1.1.11: 555 for what was not announced; RFC 1870: 552 for what is too large."""
        if self.transaction:
            return b"503 5.5.1 one is open already\r\n"
        if self.quirks.login_needed and not self.logged_in:
            return b"530 5.7.0 authentication required\r\n"
        needed = {"BODY=8BITMIME": "8BITMIME", "BODY=BINARYMIME": "BINARYMIME", "SMTPUTF8": "SMTPUTF8", "SIZE": "SIZE"}
        words = [word if word.startswith("BODY=") else word.partition("=")[0] for word in parameters.split()]
        if not all(word in needed and self.quirks.offers(needed[word]) for word in words):
            return b"555 5.5.4 no such parameter\r\n"
        size = re.search(r"SIZE=(\d+)", parameters)
        if size and self.quirks.largest and int(size[1]) > self.quirks.largest:
            return b"552 5.3.4 too large\r\n"
        return b""

    def rcpt(self, command: str) -> None:
        found = _RCPT.fullmatch(command)
        honest = b"250 2.1.5 recipient ok\r\n" if found else b"501 5.1.3 no such address\r\n"
        if not self.transaction:
            honest = b"503 5.5.1 MAIL first\r\n"
        elif self.quirks.most_recipients and len(self.transaction.recipients) >= self.quirks.most_recipients:
            honest = b"452 4.5.3 too many recipients\r\n"
        said = self.exchange(command, honest)
        if self.transaction and found:
            self.transaction.offered.append(found[1])
            self.transaction.recipients += [found[1]] if said == "2" else []

    # ---- messages

    def is_for_somebody(self) -> bool:
        return bool(self.transaction and (self.transaction.recipients or self.quirks.takes_for_nobody))

    def data(self, command: str) -> None:
        asked_for = self.is_for_somebody() and self.chunks is None
        honest = b"354 go on\r\n" if asked_for else b"503 5.5.1 no valid recipients\r\n"
        if self.exchange(command, honest) != "3" or self.over:
            return
        transaction = self.transaction or Transaction("")
        transaction.by = "DATA"
        body = self.lines_to_the_dot()
        self.over = self.over or body is None
        if body is not None:
            self.end(transaction, body)

    def bdat(self, command: str) -> None:
        found = _BDAT.fullmatch(command)
        if not found or not self.quirks.offers("CHUNKING"):
            return self.unknown(command)
        if self.rule_of_refused(command):
            return None
        octets = self.chunk(int(found[1]), last=bool(found[2]))
        self.over = self.over or octets is None
        if octets is None:
            return None
        return self.chunked(octets, command, last=bool(found[2]))

    def chunked(self, octets: bytes, command: str, *, last: bool) -> None:
        """A refused last chunk ends the transaction, too."""
        if not self.transaction or not self.is_for_somebody():
            self.transaction = None if last else self.transaction
            self.exchange(command, b"503 5.5.1 no valid recipients\r\n")
            return
        self.chunks = [*(self.chunks or ()), octets]
        self.transaction.by = "BDAT"
        if last:
            self.end(self.transaction, b"".join(self.chunks))
        else:
            self.exchange(command, b"250 2.0.0 %d octets\r\n" % len(octets))

    def rule_of_refused(self, command: str) -> bool:
        """Whether the test refuses this very BDAT; its octets are read all the same (RFC 3030), unless it says not."""
        rule = self.rule(command)
        if rule.reply is None and rule.then is Then.GO_ON:
            return False
        if not rule.unread:
            last = command.upper().endswith(" LAST")
            self.over = self.over or self.chunk(int(command.split()[1]), last=last) is None
        if command.upper().endswith(" LAST"):
            self.transaction = self.chunks = None
        if not self.over:
            self.connection.sendall(rule.said(b""))
            self.follow(rule.then)
        return True

    def end(self, transaction: Transaction, octets: bytes) -> None:
        """The message is whole: on LMTP each recipient gets a reply (RFC 2033 section 4.2)."""
        self.transaction = self.chunks = None
        transaction.octets, transaction.ended = octets, True
        if self.buffer and not self.quirks.offers("PIPELINING"):
            self.violated("something came in behind a message before it was answered")
        self.peer.violations += transaction.broken_rules()
        accepted = tuple(transaction.recipients)
        if not self.quirks.lmtp:
            self.exchange("END", b"250 2.0.0 queued\r\n", octets, _keeping(transaction, accepted))
        for recipient in accepted if self.quirks.lmtp else ():
            honest = f"250 2.1.5 <{recipient}> saved\r\n".encode("latin-1")
            if not self.over:
                self.exchange(f"END <{recipient}>", honest, octets, _keeping(transaction, [recipient]))


def _keeping(transaction: Transaction, recipients: Sequence[str]) -> Callable[[], None]:
    return lambda: transaction.kept.extend(recipients)
