"""One IMAP connection in words of IMAP: commands out, plain values back. The one module that touches imapclient.

Strategy: imapclient is handed our wire (imap_wire.py) instead of a connection of its own, and does what it does well:
capabilities, SASL, STATUS, and parsing LIST and FETCH. SELECT and APPEND are our own, because imapclient's forget
response codes or rewrite line ends. Whatever its parsers stumble over is a ProtocolError, and what a server has said is
forgotten after each command, so that nothing grows with the session.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import imapclient  # type: ignore[import-untyped]
from imapclient.response_parser import parse_fetch_response, parse_response  # type: ignore[import-untyped]

from mailmove.errors import CommandRejected, MailmoveError, ProtocolError, UsageError
from mailmove.model import Transcript
from mailmove.net import Stream
from mailmove.protocols import sasl
from mailmove.targets import imap_listing, imap_names
from mailmove.targets.imap_append import AppendWire, Part
from mailmove.targets.imap_challenges import LoginLiterals, SaslExchange
from mailmove.targets.imap_listing import Listed, Namespaces
from mailmove.targets.imap_refusals import code_of
from mailmove.targets.imap_transcript import TranscribedWire
from mailmove.targets.imap_wire import SHOWN
from mailmove.tls import TlsPolicy

_UNREADABLE = (imaplib.IMAP4.error, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What imapclient's parsers raise for responses outside the grammar."""


class _Client(imapclient.IMAPClient):  # type: ignore[misc]
    """imapclient with our wire under it and our quoting of mailbox names."""

    def __init__(self, wire: AppendWire) -> None:
        self._wire = wire
        super().__init__(wire.stream.peer, ssl=False)
        self._imap.debug = 0  # 5 by now: every line and literal would be formatted for a log nobody keeps
        del self._imap._mesg

    def _create_IMAP4(self) -> AppendWire:  # noqa: N802 - the name is imapclient's
        return self._wire

    def _set_read_timeout(self) -> None:
        """Ours are in the Stream."""

    def _normalise_folder(self, name: str) -> bytes:
        return imap_names.quoted(name)


Answer = Mapping[bytes, Any]
"""One FETCH response: {item: value}, the message's number as b"SEQ". UID and RFC822.SIZE are integers."""


class ImapConnection:
    """A greeted connection, in words of IMAP.

    Every method may raise ConnectionLost, ProtocolError, Interrupted, what a BYE means (imap_refusals.farewell), and
    where the server says NO, CommandRejected.
    """

    def __init__(self, stream: Stream, transcript: Transcript | None = None) -> None:
        """Reads the greeting (RFC 9051 section 7.1). Raises HostUnreachable if none comes."""
        try:
            self._wire = TranscribedWire(stream, transcript) if transcript else AppendWire(stream)
        except imaplib.IMAP4.error as error:
            raise ProtocolError(f"{stream.peer} does not speak IMAP4rev1 ({str(error)[:SHOWN]!r}).") from None
        self._client = _Client(self._wire)

    @property
    def peer(self) -> str:
        return self._wire.stream.peer

    @property
    def encrypted(self) -> bool:
        return self._wire.stream.encrypted

    @property
    def preauthenticated(self) -> bool:
        return self._wire.state == "AUTH"

    @property
    def capabilities(self) -> frozenset[str]:
        """In capitals; as of the login, after it."""
        with self._understood():
            return frozenset(word.decode("ascii", "replace").upper() for word in self._client.capabilities())

    def start_tls(self, policy: TlsPolicy, host: str) -> None:
        """STARTTLS; what was said in plaintext before is forgotten. Also raises CertificateRefused."""
        self._wire.start_tls(policy, host)

    def log_in(self, user: str, password: str) -> None:
        """LOGIN (RFC 9051 section 6.2.3); in UTF-8 and as literals where quoted strings could not hold it.

        Raises UsageError for what cannot be sent.
        """
        self._wire.hide(password, base64.b64encode(sasl.Plain(sasl.Login(user, password)).initial).decode("ascii"))
        if (user + password).isascii() and (user + password).isprintable():
            self._begin("LOGIN", imap_names.quoted_string(user), imap_names.quoted_string(password))
        else:
            literals = LoginLiterals(self._wire, user.encode(), password.encode())
            self._begin("LOGIN", literals.announcement, process=literals.process)

    def authenticate(self, mechanism: sasl.Mechanism, secret: str) -> None:
        """AUTHENTICATE (RFC 9051 section 6.2.2), in one step less with SASL-IR. `secret` is what no error may show."""
        exchange = SaslExchange(self._wire, mechanism, secret, inline="SASL-IR" in self.capabilities)
        self._begin("AUTHENTICATE", mechanism.name.encode("ascii"), *exchange.initial, process=exchange.process)

    def _begin(self, command: str, *words: bytes, process: Callable[[bytes | None], bytes] | None = None) -> None:
        """Logs in by a command. Capabilities that come with the OK are kept (RFC 9051 section 7.1)."""
        with self._understood():
            self._wire.literal = process  # type: ignore[assignment]
            self._wire._simple_command(command, *words)
            self._wire.state = "AUTH"
            if "CAPABILITY" in self._wire.untagged_responses:
                self._client.capabilities()

    def learn_capabilities(self) -> None:
        """After the login: only now are they the session's own. What the server says is not searched for secrets any
        more."""
        with self._understood():
            self._client.capabilities()
        self._wire.hide()

    def select(self, mailbox: str, *, read_only: bool) -> Mapping[str, str]:
        """SELECT or EXAMINE: response codes and their arguments, in capitals. `messages` is set by EXISTS."""
        wire = self._wire
        wire.untagged_responses.clear()
        wire.state, wire.is_readonly, wire.messages = "AUTH", read_only, 0  # NO leaves no mailbox selected
        with self._understood():
            _, done = wire._simple_command("EXAMINE" if read_only else "SELECT", imap_names.quoted(mailbox))
            wire.state = "SELECTED"
            lines = [line for kind in ("OK", "NO") for line in wire.untagged_responses.get(kind, [])]
            return {code_of(text): _argument(text) for text in map(wire.words, [*lines, *done])}

    @property
    def messages(self) -> int:
        """How many messages the selected mailbox holds, as far as the server has told."""
        return self._wire.messages

    @property
    def expunges(self) -> int:
        """Grows whenever a message number may mean another message than before."""
        return self._wire.expunges

    def status(self, mailbox: str, *items: str) -> Mapping[str, int | None]:
        """STATUS (RFC 9051 section 6.3.11). A value is None where the server says NIL."""
        with self._understood():
            found = self._client.folder_status(mailbox, items)
            return {key.decode().upper(): None if value is None else int(value) for key, value in found.items()}

    def attributes(self, mailbox: str) -> frozenset[str] | None:
        """The LIST attributes of a mailbox, in lower case; None if it is not listed.

        With LIST-EXTENDED (RFC 5258) a name that only has children is told apart from one that can hold no messages.
        """
        more = ("RETURN", "(CHILDREN)") if "LIST-EXTENDED" in self.capabilities else ()
        found = self.listing('""', imap_names.quoted(mailbox), *more)
        return next((one.attributes for one in found if imap_names.same(one.name, mailbox)), None)

    def listing(self, *words: str | bytes) -> list[Listed]:
        """LIST with these words (RFC 9051 section 6.3.9)."""
        with self._understood():
            self._wire._simple_command("LIST", *words)
            return imap_listing.listed(self._wire.untagged_responses.pop("LIST", []))

    def namespaces(self) -> Namespaces:
        """NAMESPACE (RFC 2342)."""
        with self._understood():
            self._wire._simple_command("NAMESPACE")
            return imap_listing.namespaces(self._wire.untagged_responses.pop("NAMESPACE", []))

    def create(self, mailbox: str, use: str = "") -> None:
        """CREATE (RFC 9051 section 6.3.4), for a special use if there is one (RFC 6154 section 3)."""
        with self._understood():
            self._wire._simple_command("CREATE", imap_names.quoted(mailbox), *([f"(USE ({use}))"] if use else []))

    def add_labels(self, uids: str, labels: bytes) -> None:
        """UID STORE +X-GM-LABELS (Gmail's X-GM-EXT-1)."""
        with self._understood():
            self._wire._simple_command("UID", "STORE", uids, "+X-GM-LABELS", labels)

    def subscribe(self, mailbox: str) -> None:
        """SUBSCRIBE (RFC 9051 section 6.3.7)."""
        with self._understood():
            self._client.subscribe_folder(mailbox)

    def noop(self) -> None:
        """NOOP: the server says what is new."""
        with self._understood():
            self._wire._simple_command("NOOP")

    def begin_append(self, mailbox: str, parts: Iterable[Part]) -> bytes:
        """APPEND, as far as it goes without its answer; the tag to ask for it. What goes wrong closes the connection.

        Also raises what the parts raise, and CommandRejected for a refusal in the middle of a message.
        """
        try:
            return self._wire.begin_append(imap_names.quoted(mailbox), parts)
        except BaseException:
            self.close()
            raise
        finally:
            self._wire.untagged_responses.clear()

    def is_answered(self, tag: bytes) -> bool:
        """Whether the answer to an APPEND has been read."""
        return self._wire.is_answered(tag)

    def is_refused(self, tag: bytes) -> bool:
        """Whether the answer that has been read is a refusal."""
        return self._wire.is_refused(tag)

    def finish_append(self, tag: bytes) -> str:
        """The answer to an APPEND: the text behind OK."""
        with self._understood():
            return self._wire.finish_append(tag)

    def hear_what_came(self) -> None:
        """Reads what the server has said already, and waits for nothing more."""
        with self._understood():
            self._wire.hear_what_came()

    def fetch(self, messages: str, items: str, *, by_uid: bool) -> list[Answer]:
        """FETCH or UID FETCH (RFC 9051 section 6.4.5). Servers may add answers, and items, that nobody asked for."""
        words = ("UID", "FETCH", messages, items) if by_uid else ("FETCH", messages, items)
        with self._understood():
            try:
                self._wire._simple_command(*words)
            except CommandRejected as error:
                if error.code != "EXPUNGEISSUED":  # RFC 5530: some are gone, the others were shown
                    raise
            lines = self._wire.untagged_responses.pop("FETCH", [None])
            return list(parse_fetch_response(lines, normalise_times=False, uid_is_key=False).values())

    def quotas(self, mailbox: str) -> list[tuple[str, str, int, int]]:
        """GETQUOTAROOT (RFC 9208 section 4.2.2): (root, resource in capitals, usage, limit) of each."""
        with self._understood():
            self._wire._simple_command("GETQUOTAROOT", imap_names.quoted(mailbox))
            told = parse_response(self._wire.untagged_responses.pop("QUOTA", []))
            return [
                (_text(root), _text(name).upper(), int(used), int(limit))
                for root, resources in zip(told[::2], told[1::2], strict=True)
                for name, used, limit in zip(resources[::3], resources[1::3], resources[2::3], strict=True)
            ]

    def search(self, *criteria: bytes) -> list[int]:
        """UID SEARCH (RFC 9051 section 6.4.4): UIDs, rising."""
        with self._understood():
            self._wire._simple_command("UID", "SEARCH", *criteria)
            lines = self._wire.untagged_responses.pop("SEARCH", [])
            return sorted({int(uid) for line in lines if isinstance(line, bytes) for uid in line.split()})

    def logout(self, timeout: float) -> None:
        """LOGOUT. Its answer is not waited for: every append was answered before. Never raises."""
        self._wire.stream.timeout = min(self._wire.stream.timeout, timeout)
        with contextlib.suppress(MailmoveError, imaplib.IMAP4.error, OSError):
            self._wire._command("LOGOUT")
        self.close()

    def close(self) -> None:
        """Drops the connection. Never raises."""
        self._wire.shutdown()

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Answers outside the grammar become ProtocolError, and whatever is no plain NO ends the session.

        What was said stays no longer than it is needed.
        """
        try:
            yield
        except (CommandRejected, UsageError):
            raise
        except MailmoveError:
            self.close()
            raise
        except _UNREADABLE:
            raise self._wire.broken(f"answered {self._wire.doing} with something outside IMAP's grammar") from None
        finally:
            self._wire.untagged_responses.clear()


def _text(value: object) -> str:
    """An astring as imapclient's parser gives it: a number where it looks like one."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _argument(text: str) -> str:
    """ "[UIDNEXT 5] Predicted next UID" -> "5"."""
    return text.partition("]")[0].partition(" ")[2] if text.startswith("[") else ""
