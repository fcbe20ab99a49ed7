"""An IMAP mailbox as a Target (design.md section 7): what the contract asks for, in commands of RFC 9051.

Strategy: `open_imap` logs in and hands over a session; nothing here decides what to send or what has arrived. The
server's refusals become our errors by imap_refusals, its octets become answers in imap_connection, and what a mailbox
holds is read by imap_reading. After an error that ends the session, every further method raises ConnectionLost.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from mailmove.dial import Ok
from mailmove.errors import (
    CommandRejected,
    ConnectionLost,
    LocalProtocolError,
    MailboxRefused,
)
from mailmove.model import Transcript
from mailmove.net import Stream, connect
from mailmove.targets import (
    Found,
    MailboxState,
    Manner,
    Outgoing,
    Quota,
    Receipt,
    Sent,
    Traits,
    imap_facts,
    imap_reading,
    imap_refusals,
)
from mailmove.targets.imap_connection import ImapConnection
from mailmove.targets.imap_login import ImapEndpoint, log_in, protect
from mailmove.targets.imap_places import Places, add_labels
from mailmove.targets.imap_sending import Sender

GREETING_TIMEOUT = 30.0
LOGOUT_TIMEOUT = 10.0
TLS_ADVICE = "use the server's TLS port (993 for IMAP), or imap:// to start TLS after the greeting (STARTTLS, port 143)"

_STATE = ("MESSAGES", "UIDNEXT", "UIDVALIDITY")


def open_imap(
    endpoint: ImapEndpoint, secret: str, ok: Ok, transcript: Transcript | None = None, stream: Stream | None = None
) -> ImapTarget:
    """Connects and logs in; what crosses the wire is told to `transcript`, without secrets and messages.

    `stream`: a connection to that place that was just made.
    Raises HostUnreachable, CertificateRefused, TryLater, ConnectionLost, ProtocolError, Interrupted, and what `log_in`
    raises.
    """
    stream = stream or connect(endpoint.host, endpoint.port, timeout=endpoint.timeout, ok=ok)
    stream.timeout = min(endpoint.timeout, GREETING_TIMEOUT)
    try:
        if endpoint.tls:
            stream.start_tls(endpoint.policy, endpoint.host, advice=TLS_ADVICE)
        connection = ImapConnection(stream, transcript)
        protect(connection, endpoint)
        log_in(connection, endpoint, secret)
    except BaseException:
        stream.close()
        raise
    stream.timeout = endpoint.timeout
    return ImapTarget(connection)


class ImapTarget:
    """One session."""

    def __init__(self, connection: ImapConnection) -> None:
        self._connection = connection
        self._sender = Sender(connection)
        self._places = Places(connection)
        self._mailbox = ""

    @property
    def merges_message_ids(self) -> bool:
        """Gmail merges messages with equal Message-ID; X-GM-EXT-1 is how it gives itself away."""
        return "X-GM-EXT-1" in self._connection.capabilities

    # ---- mailboxes

    def place(self, wanted: str) -> str:
        """By NAMESPACE, special uses and the delimiter (imap_places.py). See Target.place."""
        return self._places.resolve(wanted)

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
            self._places.create(mailbox)
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

    @property
    def manner(self) -> Manner:
        """LITERAL+, MULTIAPPEND, UIDPLUS and MESSAGELIMIT."""
        return self._sender.manner

    def send(self, messages: Sequence[Outgoing]) -> None:
        """APPEND, pipelined as far as the server allows (imap_sending.py). See Target.send."""
        self._sender.send(self._selected(), messages)

    def reap(self, *, wait: bool = True) -> list[Sent]:
        """What became of messages sent; the receipts are APPENDUID (RFC 4315). See Target.reap."""
        return self._sender.reap(wait=wait)

    def append(self, message: Outgoing) -> Receipt:
        """One message, and what becomes of it.

        A refusal in the middle of the message also drops the connection, so the next method raises ConnectionLost.
        Also raises MailboxRefused (it is gone, or may not be written), and LocalProtocolError or whatever
        `message.chunks()` raises when the message is not what it should be: then it is not there.
        """
        told: list[Sent] = []
        try:
            self.send([message])
        except ConnectionLost:
            told = self.reap(wait=False)
            if not told:
                raise
        (sent,) = told or self.reap()
        if sent.refusal:
            raise sent.refusal
        return sent.receipt or Receipt()

    def found(self, first: int, *, message_ids: bool = False, dates: bool = False) -> Iterator[Found]:
        """NOOP, so that what is new counts too, then FETCH in pages; one page is in memory."""
        self._selected()
        return imap_reading.found(self._connection, first, message_ids=message_ids, dates=dates)

    def headers(self, uid: int) -> bytes | None:
        """BODY.PEEK[HEADER]."""
        self._selected()
        return imap_reading.section(self._connection, uid, "HEADER")

    def body(self, uid: int) -> bytes | None:
        """BODY.PEEK[]: PEEK leaves \\Seen as it is."""
        self._selected()
        return imap_reading.section(self._connection, uid, "")

    def headers_of(self, uids: Sequence[int]) -> Mapping[int, bytes]:
        """BODY.PEEK[HEADER] of a set of UIDs."""
        self._selected()
        return imap_reading.sections(self._connection, uids, "HEADER")

    def bodies_of(self, uids: Sequence[int]) -> Mapping[int, bytes]:
        """BODY.PEEK[] of a set of UIDs."""
        self._selected()
        return imap_reading.sections(self._connection, uids, "")

    def dates_of(self, uids: Sequence[int]) -> Mapping[int, datetime]:
        """UID FETCH INTERNALDATE."""
        self._selected()
        return imap_reading.dates(self._connection, uids)

    def label(self, uids: Sequence[int], labels: Sequence[str]) -> None:
        """UID STORE +X-GM-LABELS. See Target.label."""
        add_labels(self._connection, self._selected(), uids, labels)

    def _selected(self) -> str:
        self._sender.check()
        if not self._mailbox:
            raise LocalProtocolError("No mailbox was selected.")
        return self._mailbox

    # ---- facts

    def traits(self) -> Traits:
        """What the server says of itself."""
        return imap_facts.traits(self._connection)

    def quota(self, mailbox: str) -> Quota | None:
        """GETQUOTAROOT."""
        return imap_facts.quota(self._connection, mailbox)

    def round_trip(self) -> float:
        """By NOOP."""
        return imap_facts.round_trip(self._connection)

    def sizes(self, uids: Sequence[int]) -> Mapping[int, int]:
        """UID FETCH."""
        self._selected()
        return imap_facts.sizes(self._connection, uids)

    def elsewhere(self, message_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """EXAMINE of Gmail's All Mail, UID SEARCH, and SELECT of what was selected before."""
        mailbox = self._selected()
        try:
            everything = self.place("\\All")
        except MailboxRefused:
            return {}
        self._mailbox = ""
        found = imap_facts.elsewhere(self._connection, everything, message_ids)
        self.select(mailbox)
        return found

    # ---- the end

    def quit(self) -> None:
        """LOGOUT, and its answer if it comes soon: every append was answered before, so nothing depends on it."""
        self._connection.logout(LOGOUT_TIMEOUT)

    def close(self) -> None:
        """Drops the connection without LOGOUT."""
        self._connection.close()


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
