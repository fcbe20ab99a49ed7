"""An SMTP or LMTP server that knows nothing but how to be talked to before the first mail, by a dialogue of the test's.

    with SmtpSaslPeer("AUTH PLAIN", ["235 2.7.0 welcome"]) as peer:
        ... open a session on peer.port ...
    assert peer.sessions == [["EHLO [127.0.0.1]", "AUTH PLAIN AG1lAHBhc3M="]]

Strategy: EHLO and LHLO are answered honestly, with `offers`; every other line gets the next line of the dialogue. All
are kept. A reply may be a function of what the client said, for mechanisms that compute; "TLS" in the dialogue is said
as 220, and then TLS begins. Behind the dialogue the connection ends.
"""

from __future__ import annotations

import socket
import ssl
import traceback
from collections.abc import Sequence
from typing import Any

import pytest

from mailmove.errors import MailmoveError
from mailmove.model import AuthMethod
from mailmove.targets import RelayTraits
from mailmove.targets.smtp_login import SmtpEndpoint
from mailmove.targets.smtp_session import open_smtp
from tests.hostile.sasl_peer import Reply
from tests.hostile.test_login import PLAIN, SECRET, XOAUTH2, encoded
from tests.support import listener
from tests.support.client import HOST
from tests.support.listener import Listener

TLS = "TLS"


class SmtpSaslPeer(Listener):
    """`context`: TLS from the start, or with `starttls` when the dialogue says so. `hello`: what EHLO gets instead.

    `behind`: octets that follow the reply to STARTTLS in plaintext.
    """

    def __init__(
        self,
        offers: str = "",
        dialogue: Sequence[Reply] = (),
        *,
        greeting: str = "220 peer.example ready",
        hello: str = "",
        context: ssl.SSLContext | None = None,
        starttls: bool = False,
        behind: bytes = b"",
    ) -> None:
        super().__init__()
        self.offers, self.dialogue, self.greeting, self.hello = offers, dialogue, greeting, hello
        self.context, self.starttls, self.behind = context, starttls, behind
        self.sessions: list[list[str]] = []

    @property
    def said(self) -> list[str]:
        """By the client, in the one session there was, behind its hellos."""
        (session,) = self.sessions
        return [line for line in session if line[:4] not in ("EHLO", "LHLO")]

    def serve(self, connection: socket.socket) -> None:
        said: list[str] = []
        self.sessions.append(said)
        if self.context and not self.starttls:
            connection = self.secure(connection, self.context)
        connection.sendall(f"{self.greeting}\r\n".encode() if self.greeting else b"")
        replies = iter(self.dialogue)
        while (line := _line(connection)) is not None:
            said.append(line)
            reply = self._hello(line) or next(replies, "")
            told = reply(line) if callable(reply) else reply
            if not told:
                break
            if told == TLS and self.context:
                connection.sendall(b"220 go on\r\n" + self.behind)
                connection = self.secure(connection, self.context)
            else:
                connection.sendall(f"{told}\r\n".encode())
        listener.goodbye(connection)

    def _hello(self, line: str) -> str:
        if line[:4] not in ("EHLO", "LHLO"):
            return ""
        lines = ["peer.example", *filter(None, self.offers.split(","))]
        honest = "\r\n".join(f"250{' ' if number == len(lines) else '-'}{one}" for number, one in enumerate(lines, 1))
        return self.hello or honest


def _line(connection: socket.socket) -> str | None:
    """Octet by octet, so that nothing is read that belongs to TLS."""
    line = b""
    while not line.endswith(b"\r\n"):
        octet = connection.recv(1)
        if not octet:
            return None
        line += octet
    return line[:-2].decode()


# ---- The client


OK = "235 2.7.0 welcome"
BEYOND = "pässwörd-✓"


def begin(peer: SmtpSaslPeer, auth: AuthMethod = AuthMethod.AUTO, secret: str = SECRET, **more: Any) -> RelayTraits:
    """Opens a session and closes it; the secret is not in the wire log."""
    log: list[str] = []
    usual: dict[str, Any] = {"user": "me", "allow_plaintext": True, "timeout": 10.0}
    endpoint = SmtpEndpoint(HOST, peer.port, auth=auth, **(usual | more))
    try:
        relay = open_smtp(endpoint, secret, lambda: True, lambda *line: log.append(" ".join(line)))
        relay.close()
        return relay.traits
    finally:
        forms = (secret, encoded(secret), encoded(f"\0me\0{secret}"), encoded(f"user=me\1auth=Bearer {secret}\1\1"))
        assert not [line for line in log for form in forms if form in line]


def refused(peer: SmtpSaslPeer, kind: type[MailmoveError], *args: Any, **more: Any) -> str:
    """What the failure says, one sentence or some; the secret is in none of it."""
    with pytest.raises(kind) as caught:
        begin(peer, *args, **more)
    assert type(caught.value) is kind
    said = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert not any(form in said for form in (SECRET, encoded(SECRET), PLAIN, XOAUTH2, BEYOND))
    assert caught.value.message.endswith(".") and caught.value.message.isprintable()
    return caught.value.message
