"""What is said at each "+" of a login: the literals of LOGIN, the responses of AUTHENTICATE (RFC 9051 section 7.6).

Strategy: imaplib calls the `process` that it is given as `literal`, once for each continuation request, and sends what
that returns as one line; it must be a bound method, by which imaplib tells it from octets. A server that goes on asking
when everything is said would keep us answering for ever: it is dropped.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from mailmove.protocols import sasl
from mailmove.targets.imap_wire import Wire

LONGEST_INITIAL = 900
"""With more octets than these an initial response waits for the server to ask: RFC 2683 section 3.2.1.5 wants lines of
at most 1,000, and tokens of OAuth can have thousands."""


class LoginLiterals:
    """User and password in UTF-8, each as a synchronising literal (RFC 9051 section 4.3)."""

    def __init__(self, wire: Wire, user: bytes, password: bytes) -> None:
        self._wire = wire
        self._unsaid = [user + b" {%d}" % len(password), password]
        self.announcement = b"{%d}" % len(user)

    def process(self, challenge: bytes | None) -> bytes:
        """Raises ProtocolError for a third request."""
        if not self._unsaid:
            raise self._wire.broken("asks for more than LOGIN has to say")
        return self._unsaid.pop(0)


class SaslExchange:
    """A mechanism's responses, in base64. Whatever secret they hold is hidden from here on.

    `initial`: the arguments that carry the initial response (RFC 4959 section 3), none where it has to wait.
    """

    def __init__(self, wire: Wire, mechanism: sasl.Mechanism, secret: str, *, inline: bool) -> None:
        said = _base64(mechanism.initial or b"")
        self.initial: Sequence[bytes] = ()
        if inline and mechanism.initial is not None and len(said) <= LONGEST_INITIAL:
            self.initial = (said or b"=",)
        self._wire = wire
        self._exchange = sasl.Exchange(mechanism, begun=bool(self.initial))
        self._hidden = [secret, said.decode("ascii")]
        self._over = False
        wire.hide(*self._hidden)

    def process(self, challenge: bytes | None) -> bytes:
        """The answer, or "*" to give up. Raises ProtocolError for what comes behind that, ValueError for no base64."""
        if self._over:
            raise self._wire.broken("goes on with a login that was given up")
        response = self._exchange.answer(base64.b64decode(challenge or b""))
        if response is None:
            self._over = True
            return b"*"
        said = _base64(response)
        self._hidden.append(said.decode("ascii"))
        self._wire.hide(*self._hidden)
        return said


def _base64(octets: bytes) -> bytes:
    return base64.b64encode(octets)
