"""An IMAP mailbox as a Target (design.md section 7): what the contract asks for, in commands of RFC 9051.

Strategy: `open_imap` logs in and hands over a session; nothing here decides what to send or what has arrived. The
server's refusals become our errors by imap_refusals, its octets become answers in imap_connection, and what a mailbox
holds is read by imap_reading. After an error that ends the session, every further method raises ConnectionLost.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mailmove.errors import (
    AuthenticationRejected,
    CommandRejected,
    LocalProtocolError,
    MailboxRefused,
    PlaintextRefused,
    TryLater,
)
from mailmove.model import Transcript
from mailmove.net import Ok, connect, wire_name
from mailmove.protocols import sasl
from mailmove.targets import Found, MailboxState, Outgoing, Receipt, imap_names, imap_reading, imap_refusals
from mailmove.targets.imap_connection import ImapConnection
from mailmove.tls import TlsPolicy

GREETING_TIMEOUT = 30.0
LOGOUT_TIMEOUT = 10.0
LARGEST = 0xFFFF_FFFF
"""UIDs and UIDVALIDITY have 32 bits (RFC 9051 section 9, nz-number)."""

TLS_ADVICE = "use the server's TLS port (993 for IMAP), or imap:// to start TLS after the greeting (STARTTLS, port 143)"

SEEN, UNSEEN = b"(\\Seen)", b"()"
_STATE = ("MESSAGES", "UIDNEXT", "UIDVALIDITY")
_APPENDUID = re.compile(r"\[APPENDUID ([1-9][0-9]{0,9}) ([1-9][0-9]{0,9})\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImapEndpoint:
    """Where an account is, and how the way there must be protected.

    `tls` means TLS from the first octet (port 993); without it STARTTLS is required unless `allow_plaintext`.
    `bearer`: the secret is a token of OAuth, no password.
    """

    host: str
    port: int
    user: str
    tls: bool
    policy: TlsPolicy = field(default_factory=TlsPolicy)
    allow_plaintext: bool = False
    timeout: float = 60.0
    bearer: bool = False


def open_imap(endpoint: ImapEndpoint, secret: str, ok: Ok, transcript: Transcript | None = None) -> ImapTarget:
    """Connects and logs in; what crosses the wire is told to `transcript`, without secrets and messages.

    Raises HostUnreachable, CertificateRefused, PlaintextRefused, AuthenticationRejected, TryLater, ConnectionLost,
    ProtocolError, Interrupted.
    """
    stream = connect(endpoint.host, endpoint.port, timeout=min(endpoint.timeout, GREETING_TIMEOUT), ok=ok)
    try:
        if endpoint.tls:
            stream.start_tls(endpoint.policy, endpoint.host, advice=TLS_ADVICE)
        connection = ImapConnection(stream, transcript)
        _protect(connection, endpoint)
        _log_in(connection, endpoint, secret)
    except BaseException:
        stream.close()
        raise
    stream.timeout = endpoint.timeout
    return ImapTarget(connection)


def _protect(connection: ImapConnection, endpoint: ImapEndpoint) -> None:
    """STARTTLS where it is needed (RFC 9051 section 6.2.1). PREAUTH in plaintext rules it out, so that is refused."""
    if endpoint.tls:
        return
    if "STARTTLS" in connection.capabilities and not connection.preauthenticated:
        connection.start_tls(endpoint.policy, endpoint.host)
    elif not endpoint.allow_plaintext:
        reason = "begins logged in (PREAUTH)" if connection.preauthenticated else "offers no STARTTLS"
        raise PlaintextRefused(
            f"{connection.peer} {reason}, so mail and password would cross the network unencrypted; use imaps://, or "
            "give --allow-plaintext if you accept that."
        )


def _log_in(connection: ImapConnection, endpoint: ImapEndpoint, secret: str) -> None:
    if connection.preauthenticated:
        return
    mechanism = _mechanism(connection, endpoint, secret)
    try:
        if mechanism is None:
            connection.log_in(endpoint.user, secret)
        else:
            connection.authenticate(mechanism, secret)
    except TryLater:
        raise
    except CommandRejected as error:
        complaint = mechanism.complaint if mechanism else ""
        raise imap_refusals.login_refused(connection.peer, endpoint.user, error, complaint) from error


def _mechanism(connection: ImapConnection, endpoint: ImapEndpoint, secret: str) -> sasl.Mechanism | None:
    """None is LOGIN; PLAIN where that is not offered or cannot carry the password (ASCII only, RFC 9051 section 6.2.3).

    For a token OAUTHBEARER (RFC 7628) if it is announced, else XOAUTH2.

    Raises PlaintextRefused, AuthenticationRejected.
    """
    login = sasl.Login(endpoint.user, secret, wire_name(endpoint.host), endpoint.port)
    if endpoint.bearer:
        return sasl.OAuthBearer(login) if "AUTH=OAUTHBEARER" in connection.capabilities else sasl.XOAuth2(login)
    disabled, plain = "LOGINDISABLED" in connection.capabilities, "AUTH=PLAIN" in connection.capabilities
    if disabled and not plain:
        raise _no_password(connection, endpoint)
    return sasl.Plain(login) if disabled or not (endpoint.user + secret).isascii() else None


def _no_password(connection: ImapConnection, endpoint: ImapEndpoint) -> PlaintextRefused | AuthenticationRejected:
    if connection.encrypted:
        return AuthenticationRejected(
            f"{connection.peer} takes no password (LOGINDISABLED, and no AUTH=PLAIN); nothing was sent."
        )
    return PlaintextRefused(f"{connection.peer} takes no password unencrypted (LOGINDISABLED); use imaps://.")


class ImapTarget:
    """One session."""

    def __init__(self, connection: ImapConnection) -> None:
        self._connection = connection
        self._mailbox = ""

    @property
    def merges_message_ids(self) -> bool:
        """Gmail merges messages with equal Message-ID; X-GM-EXT-1 is how it gives itself away."""
        return "X-GM-EXT-1" in self._connection.capabilities

    # ---- mailboxes

    def status(self, mailbox: str) -> MailboxState | None:
        """STATUS (RFC 9051 section 6.3.11); after a NO without NONEXISTENT, LIST tells whether the mailbox is absent.

        Raises MailboxRefused if the name can hold no messages (\\Noselect), or is there but is not shown.
        """
        try:
            return self._state(mailbox)
        except CommandRejected as error:
            refusal = imap_refusals.mailbox_refused(self._connection.peer, "show", mailbox, error)
            if not isinstance(refusal, MailboxRefused):
                raise refusal from error
            if error.code == "NONEXISTENT" or self._is_absent(mailbox):
                return None
            raise refusal from error

    def _is_absent(self, mailbox: str) -> bool:
        """A name that is listed only for its children's sake is absent too, and can be created (RFC 5258)."""
        attributes = self._connection.attributes(mailbox)
        return attributes is None or "\\nonexistent" in attributes

    def _state(self, mailbox: str) -> MailboxState:
        found = self._connection.status(mailbox, *_STATE)
        return self._sound(mailbox, *(found.get(item) for item in _STATE))

    def _sound(self, mailbox: str, messages: int | None, uidnext: int | None, uidvalidity: int | None) -> MailboxState:
        """Raises MailboxRefused: without UIDVALIDITY and UIDNEXT nobody can tell what has arrived."""
        if not uidvalidity or not uidnext:
            missing = "UIDVALIDITY" if not uidvalidity else "UIDNEXT"
            raise MailboxRefused(
                f"{self._connection.peer} gives no {missing} for the mailbox {mailbox!r}, so mailmove could not tell "
                "what has arrived there; nothing was sent."
            )
        return MailboxState(uidvalidity, uidnext, messages or 0)

    def create(self, mailbox: str) -> None:
        """CREATE and SUBSCRIBE. One that exists is fine (ALREADYEXISTS, RFC 5530), one left unsubscribed too."""
        try:
            self._connection.create(mailbox)
        except CommandRejected as error:
            if error.code != "ALREADYEXISTS" and "already exists" not in error.server_text.lower():
                raise imap_refusals.mailbox_refused(self._connection.peer, "create", mailbox, error) from error
        with contextlib.suppress(CommandRejected):
            self._connection.subscribe(mailbox)

    def select(self, mailbox: str, *, read_only: bool = False) -> MailboxState:
        """SELECT, or EXAMINE if `read_only` (RFC 9051 sections 6.3.2 and 6.3.3).

        Raises MailboxRefused also where messages could not be written, or their UIDs do not last (RFC 4315).
        """
        self._mailbox, connection = "", self._connection
        try:
            codes = connection.select(mailbox, read_only=read_only)
        except CommandRejected as error:
            raise imap_refusals.mailbox_refused(connection.peer, "open", mailbox, error) from error
        if "READ-ONLY" in codes and not read_only:
            raise MailboxRefused(f"{connection.peer} opens the mailbox {mailbox!r} for reading only.")
        if "UIDNOTSTICKY" in codes:
            raise MailboxRefused(f"{connection.peer} keeps no lasting UIDs in {mailbox!r}; nothing was sent.")
        uidvalidity, uidnext = (_number(codes.get(code, "")) for code in ("UIDVALIDITY", "UIDNEXT"))
        told = self._sound(mailbox, connection.messages, uidnext, uidvalidity) if uidnext and uidvalidity else None
        state = told or self._asked(mailbox)
        self._mailbox = mailbox
        return state

    def _asked(self, mailbox: str) -> MailboxState:
        """What SELECT did not say (UIDNEXT was optional in RFC 2060), by STATUS."""
        try:
            return self._state(mailbox)
        except CommandRejected as error:
            raise imap_refusals.mailbox_refused(self._connection.peer, "show", mailbox, error) from error

    def moment(self) -> MailboxState:
        """NOOP and STATUS of the selected mailbox."""
        self._connection.noop()
        return self._asked(self._selected())

    def append_limit(self) -> int | None:
        """APPENDLIMIT (RFC 7889), of the server or of the mailbox. 0 is a server's mistake, not a limit."""
        for word in self._connection.capabilities:
            name, equals, limit = word.partition("=")
            if name == "APPENDLIMIT" and equals:
                return _number(limit) or None
        if "APPENDLIMIT" not in self._connection.capabilities:
            return None
        with contextlib.suppress(CommandRejected):
            return self._connection.status(self._selected(), "APPENDLIMIT").get("APPENDLIMIT") or None
        return None

    # ---- messages

    def append(self, message: Outgoing) -> Receipt:
        """APPEND with a synchronising literal (RFC 9051 section 6.3.12); the Receipt is APPENDUID (RFC 4315).

        A refusal in the middle of the message also drops the connection, so the next method raises ConnectionLost.
        Also raises MailboxRefused (it is gone, or may not be written), and LocalProtocolError or whatever
        `message.chunks()` raises when the message is not what it should be: then it is not there.
        """
        mailbox, flags = self._selected(), SEEN if message.seen else UNSEEN
        date = imap_names.date_time(message.internal_date)
        try:
            said = self._connection.append(mailbox, flags, date, message.octets, message.chunks())
        except TryLater:
            raise
        except CommandRejected as error:
            raise imap_refusals.message_refused(self._connection.peer, mailbox, error) from error
        return _receipt(said)

    def found(self, first: int, *, message_ids: bool = False) -> Iterator[Found]:
        """NOOP, so that what is new counts too, then FETCH in pages; one page is in memory."""
        self._selected()
        return imap_reading.found(self._connection, first, message_ids=message_ids)

    def headers(self, uid: int) -> bytes | None:
        """BODY.PEEK[HEADER]."""
        self._selected()
        return imap_reading.section(self._connection, uid, "HEADER")

    def body(self, uid: int) -> bytes | None:
        """BODY.PEEK[]: PEEK leaves \\Seen as it is."""
        self._selected()
        return imap_reading.section(self._connection, uid, "")

    def _selected(self) -> str:
        if not self._mailbox:
            raise LocalProtocolError("No mailbox was selected.")
        return self._mailbox

    # ---- the end

    def quit(self) -> None:
        """LOGOUT, and its answer if it comes soon: every append was answered before, so nothing depends on it."""
        self._connection.logout(LOGOUT_TIMEOUT)

    def close(self) -> None:
        """Drops the connection without LOGOUT."""
        self._connection.close()


def _receipt(said: str) -> Receipt:
    """What is not exactly an APPENDUID of one message is none: a wrong UID would be worse than no UID."""
    found = _APPENDUID.match(said)
    if not found or max(int(found[1]), int(found[2])) > LARGEST:
        return Receipt()
    return Receipt(int(found[1]), int(found[2]))


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
