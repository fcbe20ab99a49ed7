"""A conversation with an SMTP or LMTP server before its first mail: one command, one reply (RFC 5321 section 4.2).

Strategy: replies are read by the core (protocols/smtp), octets go through our Stream, so that its timeouts, TLS policy
and interruptions hold here, too. smtplib is not used, though design.md names it: on a Stream of ours hardly more would
be left of it than the reading of replies, which the core does anyway and with bounds. Its starttls and its login would
have to be written anew: they wrap sockets themselves, keep no word of what was slipped in before TLS, try one mechanism
after the other, and know no SCRAM. Secrets are hidden in whatever is told: the log shows of a login nothing but that it
took place, and a server's echo of it is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mailmove.errors import ConnectionLost, HostUnreachable, ProtocolError, TimedOut
from mailmove.model import Reply, Transcript
from mailmove.net import Stream
from mailmove.protocols.smtp import ReplyReader, ServerReply
from mailmove.targets import smtp_refusals
from mailmove.tls import TlsPolicy

GREETING = "the greeting"
CHALLENGE = 334
SHOWN = 500
"""So many characters of a server's words are shown at most."""

TLS_ADVICE = "use the server's TLS port (465 for smtps://), or smtp:// to start TLS after the greeting (port 587)"


class Dialogue:
    """Every method may raise ConnectionLost, ProtocolError, Interrupted, and TryLater for 421 (the server hangs up)."""

    def __init__(self, stream: Stream, transcript: Transcript | None = None) -> None:
        self.stream = stream
        self._transcript = transcript or _nobody
        self._reader = ReplyReader()
        self._hidden: Sequence[str] = ()
        if stream.encrypted:
            self._transcript("-", stream.protection)

    @property
    def peer(self) -> str:
        return self.stream.peer

    def greeting(self, hint: str) -> Reply:
        """What the server says first. Raises HostUnreachable, with `hint`, if nothing comes."""
        try:
            return self.hear(GREETING)[0]
        except TimedOut as error:
            raise HostUnreachable(f"{self.peer} sent no greeting for {self.stream.timeout:g} s{hint}.") from error

    def ask(self, command: str, *, doing: str = "", shown: str = "") -> tuple[Reply, Sequence[str]]:
        """Sends one line, which the log has as `shown`, and hears the reply. `doing`: its name for errors."""
        self._transcript("C", shown or command)
        outgoing, doing = memoryview(command.encode("ascii") + b"\r\n"), doing or command.partition(" ")[0]
        while outgoing:
            outgoing = outgoing[self._exchange(outgoing, doing) :]
        return self.hear(doing)

    def hear(self, doing: str) -> tuple[Reply, Sequence[str]]:
        """The next reply: fit to be shown; and its lines as they came, but for their codes."""
        while (heard := self._next()) is None:
            self._exchange(memoryview(b""), doing)
        self._tell(heard)
        reply = self._fit(heard)
        if reply.code == smtp_refusals.CLOSING:
            raise smtp_refusals.closing(self.peer, doing, reply)
        return reply, heard.lines

    def hide(self, *secrets: str) -> None:
        """From here on these are not shown when the server repeats them."""
        self._hidden = [secret for secret in secrets if secret]

    def start_tls(self, policy: TlsPolicy, host: str) -> None:
        """The handshake behind STARTTLS (RFC 3207 section 4.2): nothing that was said before it counts any more.

        Raises CertificateRefused, HostUnreachable, and ProtocolError for what came behind the reply in plaintext:
        somebody in between could have put it there, to be taken for the server's words under TLS.
        """
        if self._reader.pending:
            raise ProtocolError(
                f"{self.peer} said more than it was asked before TLS began: somebody may be in between. No mail was "
                "sent."
            )
        self.stream.start_tls(policy, host, advice=TLS_ADVICE)
        self._reader = ReplyReader()
        self._transcript("-", self.stream.protection)

    def finish(self) -> None:
        """To be called before somebody else reads on. Raises ProtocolError for a reply that nobody asked for."""
        if self._reader.pending:
            reply, _ = self.hear("the login")
            raise ProtocolError(f"{self.peer} said what nobody asked for: {str(reply)!r}.", server_text=str(reply))

    def _next(self) -> ServerReply | None:
        """In a login nothing is quoted that is no reply, since a secret could be in it that was cut in two."""
        try:
            return self._reader.next_reply()
        except ProtocolError as error:
            if self._hidden:
                raise ProtocolError(f"{self.peer} answered the login with something that is no SMTP.") from None
            raise ProtocolError(f"{self.peer}: {error.message.rstrip('.')}.", server_text=error.server_text) from error

    def _exchange(self, outgoing: memoryview, doing: str) -> int:
        sent, received = self.stream.exchange(outgoing)
        if not sent and not received:
            raise ConnectionLost(f"{self.peer} closed the connection in the middle of {doing}.")
        self._reader.receive(received)
        return sent

    def _tell(self, heard: ServerReply) -> None:
        for number, line in enumerate(heard.lines, 1):
            mark = " " if number == len(heard.lines) else "-"
            text = "***" if heard.code == CHALLENGE and line else self._masked(line)
            self._transcript("S", f"{heard.code}{mark}{text}")

    def _fit(self, heard: ServerReply) -> Reply:
        """Masked before it is cut: of a secret that was cut in two the first half would be shown."""
        if not self._hidden:
            return heard.reply
        text = " / ".join(map(self._masked, heard.lines)).removeprefix(heard.reply.enhanced).strip()
        return replace(heard.reply, text=text if len(text) <= SHOWN else text[:SHOWN] + "…")

    def _masked(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text


def _nobody(direction: str, line: str) -> None:
    """Listens to nothing."""
