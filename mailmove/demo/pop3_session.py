"""The server's side of one POP3 session, without input or output (RFC 1939, CAPA of RFC 2449).

Strategy: `answer(line)` gives the whole reply as octets, whatever the line; who reads lines and writes replies is
`pop3_server`'s business, so pipelining needs nothing here. A session sees the maildrop as it was at its login: message
numbers stay what they are while another session deletes, which is all that RFC 1939's lock is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mailmove.demo.messages import DemoMessage

CAPABILITIES = ("TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION mailmove-demo")
_NUMBER = re.compile(r"[0-9]{1,9}")


class Maildrop:
    """What all sessions of one user share."""

    def __init__(self, password: str, messages: Iterable[DemoMessage]) -> None:
        self.password = password
        self.messages: Sequence[DemoMessage] = tuple(messages)

    def remove(self, gone: Iterable[DemoMessage]) -> None:
        """The UPDATE state. By identity: two messages may be equal, and only one of them be meant."""
        marked = {id(message) for message in gone}
        self.messages = tuple(message for message in self.messages if id(message) not in marked)


class Refusal(Exception):
    """-ERR with this text."""


def on_the_wire(octets: bytes) -> bytes:
    """A message as it is sent, before dot-stuffing: with a last line end, which the terminator needs (RFC 1939)."""
    return octets if not octets or octets.endswith(b"\r\n") else octets + b"\r\n"


def stuffed(octets: bytes) -> bytes:
    """A multi-line reply's body and its terminator: every line that begins with a dot gets one more."""
    lines = b"\r\n" + on_the_wire(octets)
    return lines.replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


class Session:
    """One session. `ended` after QUIT; `retrieved` counts the RETRs that were answered with a message."""

    greeting = b"+OK mailmove demo server ready\r\n"

    def __init__(self, maildrops: Mapping[str, Maildrop]) -> None:
        self.ended = False
        self.retrieved = 0
        self._maildrops = maildrops
        self._user = ""
        self._maildrop: Maildrop | None = None
        self._messages: Sequence[DemoMessage] = ()
        self._marked: set[int] = set()

    def answer(self, line: bytes) -> bytes:
        """The reply to one command line, with or without its line end."""
        verb, _, argument = line.rstrip(b"\r\n").decode("utf-8", "replace").partition(" ")
        try:
            return self._command(verb.upper())(argument)
        except Refusal as refusal:
            return f"-ERR {refusal}\r\n".encode()

    def _command(self, verb: str) -> Callable[[str], bytes]:
        always = {"CAPA": self._capa, "QUIT": self._quit}
        if self._maildrop is None:
            commands = always | {"USER": self._name, "PASS": self._pass}
        else:
            commands = always | {
                "STAT": self._stat,
                "LIST": self._list,
                "UIDL": self._uidl,
                "RETR": self._retr,
                "TOP": self._top,
                "DELE": self._dele,
                "RSET": self._rset,
                "NOOP": self._noop,
            }
        if verb not in commands:
            raise Refusal("there is no such command here")
        return commands[verb]

    # ---- always, and before the login

    def _capa(self, argument: str) -> bytes:
        return _lines("capabilities follow", CAPABILITIES)

    def _quit(self, argument: str) -> bytes:
        if self._maildrop:
            self._maildrop.remove(self._messages[place] for place in self._marked)
        self.ended = True
        return _ok("bye")

    def _name(self, argument: str) -> bytes:
        """USER says yes to every name, so that names cannot be tried."""
        self._user = argument
        return _ok("and the password")

    def _pass(self, argument: str) -> bytes:
        maildrop = self._maildrops.get(self._user)
        self._user = ""
        if maildrop is None or maildrop.password != argument:
            raise Refusal("[AUTH] wrong name or password")
        self._maildrop, self._messages = maildrop, maildrop.messages
        return _ok(f"{len(self._messages)} messages")

    # ---- after the login

    def _stat(self, argument: str) -> bytes:
        sizes = [_octets(message) for _, message in self._alive()]
        return _ok(f"{len(sizes)} {sum(sizes)}")

    def _list(self, argument: str) -> bytes:
        return self._listing(argument, lambda message: str(_octets(message)))

    def _uidl(self, argument: str) -> bytes:
        return self._listing(argument, lambda message: message.unique_id)

    def _listing(self, argument: str, what: Callable[[DemoMessage], str]) -> bytes:
        if argument:
            place = self._place(argument)
            return _ok(f"{place + 1} {what(self._messages[place])}")
        return _lines("listing follows", (f"{place + 1} {what(message)}" for place, message in self._alive()))

    def _retr(self, argument: str) -> bytes:
        message = self._messages[self._place(argument)]
        self.retrieved += 1
        return _ok(f"{_octets(message)} octets") + stuffed(message.octets)

    def _top(self, argument: str) -> bytes:
        number, _, lines = argument.partition(" ")
        if not _NUMBER.fullmatch(lines):
            raise Refusal("TOP needs a number of lines")
        head, blank, body = self._messages[self._place(number)].octets.partition(b"\r\n\r\n")
        first = body.split(b"\r\n", int(lines))[: int(lines)]
        return _ok("top follows") + stuffed(head + blank + b"\r\n".join(first))

    def _dele(self, argument: str) -> bytes:
        self._marked.add(self._place(argument))
        return _ok("marked")

    def _rset(self, argument: str) -> bytes:
        self._marked.clear()
        return _ok("unmarked")

    def _noop(self, argument: str) -> bytes:
        return _ok("still here")

    def _alive(self) -> Iterator[tuple[int, DemoMessage]]:
        return ((place, message) for place, message in enumerate(self._messages) if place not in self._marked)

    def _place(self, number: str) -> int:
        """Where a message stands; -ERR if there is none of this number, or it is marked as deleted."""
        place = int(number) - 1 if _NUMBER.fullmatch(number) else -1
        if not 0 <= place < len(self._messages) or place in self._marked:
            raise Refusal("no such message")
        return place


def _octets(message: DemoMessage) -> int:
    """What LIST says: the octets that RETR delivers."""
    return len(message.octets) + (len(on_the_wire(message.octets[-2:])) - len(message.octets[-2:]))


def _ok(text: str) -> bytes:
    return f"+OK {text}\r\n".encode()


def _lines(text: str, lines: Iterable[str]) -> bytes:
    return _ok(text) + stuffed("".join(f"{line}\r\n" for line in lines).encode("latin-1"))
