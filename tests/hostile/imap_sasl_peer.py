"""An IMAP server that knows nothing but how to be logged in to, by a dialogue that the test writes down; and a client.

    with ImapSaslPeer("AUTH=XOAUTH2", ["+ ", "{tag} OK welcome"]) as peer:
        ... log in on peer.port ...
    assert peer.sessions == [["AUTHENTICATE XOAUTH2", "dXNlcj1…"]]

Strategy: CAPABILITY and LOGOUT are answered honestly; every other line gets the next line of the dialogue, and is kept,
without its tag. {tag} is that of the last command; a reply may be a function of what the client said, for mechanisms
that compute. Behind the dialogue the connection ends.
"""

from __future__ import annotations

import re
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from mailmove.errors import MailmoveError
from mailmove.model import AuthMethod
from mailmove.targets.imap import open_imap
from mailmove.targets.imap_login import ImapEndpoint
from tests.hostile.sasl_peer import Reply
from tests.hostile.test_login import PLAIN, SECRET, XOAUTH2, encoded
from tests.support import listener
from tests.support.client import HOST
from tests.support.listener import Listener

_COMMAND = re.compile(r"(\w+) ((CAPABILITY|LOGOUT|LOGIN|AUTHENTICATE)\b.*)")


class ImapSaslPeer(Listener):
    """`capabilities` beside IMAP4rev1; `context`: TLS from the start. `sessions`: what each of them was told."""

    def __init__(self, capabilities: str, dialogue: Sequence[Reply], *, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.capabilities, self.dialogue, self.context = capabilities, dialogue, context
        self.sessions: list[list[str]] = []

    def serve(self, connection: socket.socket) -> None:
        said: list[str] = []
        self.sessions.append(said)
        if self.context:
            connection = self.secure(connection, self.context)
        connection.sendall(b"* OK ready\r\n")
        with connection.makefile("rb") as lines:
            for reply in self._replies(lines, said):
                if not reply:
                    break
                connection.sendall(reply.encode())
        listener.goodbye(connection)

    def _replies(self, lines: Iterator[bytes], said: list[str]) -> Iterator[str]:
        dialogue, tag = iter(self.dialogue), ""
        for octets in lines:
            line = octets.decode().removesuffix("\r\n")
            if command := _COMMAND.fullmatch(line):
                tag, line = command[1], command[2]
            if honest := self._honest(line):
                yield honest.replace("{tag}", tag)
                continue
            said.append(line)
            reply = next(dialogue, "")
            told = reply(line) if callable(reply) else reply
            yield told.replace("{tag}", tag) + "\r\n" if told else ""

    def _honest(self, line: str) -> str:
        if line == "CAPABILITY":
            return f"* CAPABILITY IMAP4rev1 {self.capabilities}\r\n{{tag}} OK done\r\n"
        return "* BYE bye\r\n{tag} OK done\r\n" if line == "LOGOUT" else ""


# ---- The client


OK = "{tag} OK welcome"
BEYOND = "pässwörd-✓"


def log_in(peer: ImapSaslPeer, auth: AuthMethod = AuthMethod.AUTO, secret: str = SECRET, **more: Any) -> list[str]:
    """The wire log, in which the secret is not."""
    log: list[str] = []
    usual: dict[str, Any] = {"user": "me", "tls": False, "allow_plaintext": True, "timeout": 10.0}
    endpoint = ImapEndpoint(HOST, peer.port, auth=auth, **(usual | more))
    try:
        open_imap(endpoint, secret, lambda: True, lambda *line: log.append(" ".join(line))).close()
    finally:
        forms = (secret, encoded(secret), encoded(f"\0me\0{secret}"), encoded(f"user=me\1auth=Bearer {secret}\1\1"))
        assert log and not [line for line in log for form in forms if form in line]
    return log


def refused(peer: ImapSaslPeer, kind: type[MailmoveError], *args: Any, **more: Any) -> str:
    """What the failure says; the secret is in none of it."""
    with pytest.raises(kind) as caught:
        log_in(peer, *args, **more)
    assert type(caught.value) is kind
    said = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert not any(form in said for form in (SECRET, encoded(SECRET), PLAIN, XOAUTH2, BEYOND))
    return caught.value.message


Begin = Callable[..., ImapSaslPeer]
"""What the fixture of conftest.py gives: a peer; what it announces, and its dialogue."""
