"""The honest half of the hostile peer: RFC 1939 answered from a list of letters.

Strategy: one object per session; `answer(line)` gives the whole reply as octets, and the peer decides what of it is
sent. A reply is never computed from what the client should have said, only from what it said.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.hostile.quirks import Letter, Quirks


@dataclass
class Maildrop:
    """What all sessions of one peer share: the letters, how often each was retrieved, and which are gone or hidden."""

    letters: list[Letter]
    retrievals: dict[str, int] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    fetched: set[str] = field(default_factory=set)

    def listing(self, hidden: Iterable[str]) -> dict[int, Letter]:
        """{message number: letter} of a new session."""
        gone = self.fetched.union(hidden)
        alive = [x for i, x in enumerate(self.letters) if i not in self.deleted and x.unique_id not in gone]
        return dict(enumerate(alive, 1))

    def retrieve(self, letter: Letter) -> bytes:
        count = self.retrievals.get(letter.unique_id, 0)
        self.retrievals[letter.unique_id] = count + 1
        return letter.body_at(count)

    def remove(self, letters: Iterable[Letter]) -> None:
        gone = {id(letter) for letter in letters}
        self.deleted |= {i for i, letter in enumerate(self.letters) if id(letter) in gone}


class Refusal(Exception):
    """-ERR with this text."""


class HonestSession:
    """One session, `number` counting from 1. `ended` is true after QUIT, `starts_tls` after an accepted STLS."""

    def __init__(self, maildrop: Maildrop, quirks: Quirks, number: int, *, offers_stls: bool) -> None:
        self.maildrop, self.quirks, self.number, self.offers_stls = maildrop, quirks, number, offers_stls
        self.logged_in = self.ended = self.starts_tls = self.awaits_plain = False
        self.user = ""
        self.letters: dict[int, Letter] = {}
        self.marked: set[int] = set()
        self.retrieved: set[str] = set()

    def answer(self, line: str) -> bytes:
        """The reply's octets, in the peer's line ends."""
        try:
            if self.awaits_plain:
                return self._status(self._plain(line))
            verb, *arguments = line.split(" ")
            return self._command(verb.upper())(*arguments)
        except Refusal as refusal:
            return b"-ERR " + str(refusal).encode() + self.quirks.line_end
        except (TypeError, ValueError):
            return b"-ERR what is that?" + self.quirks.line_end

    def status_line(self, reply: bytes) -> int:
        """How many octets of a reply are its status line, or 0 if that is all of it."""
        first = reply.find(self.quirks.line_end) + len(self.quirks.line_end)
        return first if first < len(reply) else 0

    def _command(self, verb: str) -> Callable[..., bytes]:
        before = {"CAPA", "QUIT", "USER", "PASS", "AUTH", "STLS"}
        after = {"CAPA", "QUIT", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "RSET", "NOOP"}
        if verb in self.quirks.without or verb not in (after if self.logged_in else before):
            raise Refusal(f"unknown command {verb}")
        command: Callable[..., bytes] = getattr(self, f"_{verb.lower()}")
        return command

    # ---- Replies

    def _status(self, text: str) -> bytes:
        return f"+OK {text}".encode("latin-1") + self.quirks.line_end

    def _lines(self, text: str, lines: Iterable[str]) -> bytes:
        body = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        return self._status(text) + self._ended(body)

    def _ended(self, body: bytes) -> bytes:
        """Stuffed, with a last line end and the terminator, in the peer's line ends."""
        if body and not body.endswith(b"\r\n"):
            body += b"\r\n"
        stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
        return (stuffed + b".\r\n").replace(b"\r\n", self.quirks.line_end)

    # ---- Before the login

    def _capa(self) -> bytes:
        if self.quirks.capabilities is None:
            raise Refusal("unknown command CAPA")
        stls = ["STLS"] if self.offers_stls and not self.logged_in else []
        return self._lines("capabilities follow", [*self.quirks.capabilities, *stls])

    def _stls(self) -> bytes:
        if not self.offers_stls:
            raise Refusal("no TLS here")
        self.starts_tls, self.offers_stls = True, False
        return self._status("begin TLS") + self.quirks.after_stls

    def _user(self, name: str) -> bytes:
        self.user = name
        return self._status("password, please")

    def _pass(self, *words: str) -> bytes:
        return self._status(self._login(" ".join(words)))

    def _auth(self, mechanism: str, initial: str = "") -> bytes:
        if mechanism.upper() != "PLAIN":
            raise Refusal("only PLAIN")
        if initial:
            return self._status(self._plain(initial))
        self.awaits_plain = True
        return b"+ " + self.quirks.line_end

    def _plain(self, encoded: str) -> str:
        self.awaits_plain = False
        try:
            _, self.user, password = base64.b64decode(encoded, validate=True).decode().split("\0")
        except (binascii.Error, ValueError):
            raise Refusal("not base64 of three parts") from None
        return self._login(password)

    def _login(self, password: str) -> str:
        if not self.user or password != self.quirks.password:
            raise Refusal("[AUTH] wrong name or password")
        self.logged_in = True
        self.letters = self._numbered(self.maildrop.listing(self.quirks.expunged if self.number > 1 else ()))
        return "welcome"

    def _numbered(self, listing: dict[int, Letter]) -> dict[int, Letter]:
        shown = list(listing.items())[: self.quirks.shows]
        numbers = self.quirks.numbers or [number for number, _ in shown]
        return dict(zip(numbers, (letter for _, letter in shown), strict=False))

    # ---- After the login

    def _stat(self) -> bytes:
        return self._status(f"{len(self._alive())} {sum(map(_octets, self._alive().values()))}")

    def _list(self, number: str = "") -> bytes:
        return self._listing(number, lambda letter: str(_octets(letter)))

    def _uidl(self, number: str = "") -> bytes:
        return self._listing(number, lambda letter: letter.unique_id)

    def _listing(self, number: str, what: Callable[[Letter], str]) -> bytes:
        if number:
            return self._status(f"{int(number)} {what(self._letter(number))}")
        return self._lines("listing follows", [f"{n} {what(letter)}" for n, letter in self._alive().items()])

    def _retr(self, number: str) -> bytes:
        letter = self._letter(number)
        if letter.unique_id in self.quirks.expunged:
            raise Refusal(f"Message {number} expunged.")
        self.retrieved.add(letter.unique_id)
        body = self.maildrop.retrieve(letter)
        said = len(body) if letter.said is None else letter.said
        status = self._status(f"{said} octets" if self.quirks.says_octets else "message follows")
        return status + (body if letter.raw else self._ended(body))

    def _top(self, number: str, lines: str) -> bytes:
        head, _, body = self._letter(number).body.partition(b"\r\n\r\n")
        first = body.split(b"\r\n")[: int(lines)]
        return self._status("top follows") + self._ended(head + b"\r\n\r\n" + b"\r\n".join(first))

    def _dele(self, number: str) -> bytes:
        self._letter(number)
        self.marked.add(int(number))
        return self._status("marked")

    def _rset(self) -> bytes:
        self.marked.clear()
        return self._status("unmarked")

    def _noop(self) -> bytes:
        return self._status("done")

    def _quit(self) -> bytes:
        self.ended = True
        self.maildrop.remove(self.letters[number] for number in self.marked)
        if self.quirks.hides_fetched:
            self.maildrop.fetched |= self.retrieved
        return self._status("bye")

    def _alive(self) -> dict[int, Letter]:
        return {number: letter for number, letter in self.letters.items() if number not in self.marked}

    def _letter(self, number: str) -> Letter:
        letter = self._alive().get(int(number))
        if letter is None:
            raise Refusal(f"no message {number}")
        return letter


def _octets(letter: Letter) -> int:
    return len(letter.body) if letter.listed is None else letter.listed
