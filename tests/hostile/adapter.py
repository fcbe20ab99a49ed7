"""What the IMAP adapter needs of imaplib's and imapclient's insides, tried with whatever Python runs this.

    python3.13 -m tests.hostile.adapter

Strategy: the standard library, imapclient and mailmove only, so that a Python without pytest can run it. Everything
that is done with private names is done once, for real, against a scripted server: commands under way and answered in
one go, refused and bad ones, literals both ways, and what a server says without being asked. Raises AssertionError.
"""

from __future__ import annotations

import contextlib
import imaplib
import inspect
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from mailmove.errors import ConnectionLost, MailmoveError, MessageRejected, ProtocolError
from mailmove.targets import Outgoing, Sent
from mailmove.targets.imap import ImapTarget, open_imap
from mailmove.targets.imap_login import ImapEndpoint
from tests.hostile.imap_peer import ImapPeer, ImapQuirks
from tests.support.client import HOST, PASSWORD

PRIVATE = {
    "_new_tag": ["self"],
    "_command": ["self", "name", "args"],
    "_get_response": ["self"],
    "_get_tagged_response": ["self", "tag", "expect_bye"],
    "_append_untagged": ["self", "typ", "dat"],
    "_command_complete": ["self", "name", "tag"],
    "_get_capabilities": ["self"],
}
"""imaplib's names that are used or replaced, and their parameters."""

WAYS = ("IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS", "IMAP4rev1 LITERAL+ UIDPLUS", "IMAP4rev1 UIDPLUS")
WHEN = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


def letter(number: int) -> bytes:
    return b"Message-ID: <%d@x>\r\n\r\nline\rwith\nodd ends {5+}\r\n" % number + b"x" * (number % 3) * 50_000


def outgoing(number: int) -> Outgoing:
    octets = letter(number)
    return Outgoing(len(octets), WHEN, number % 2 == 0, lambda: iter([octets[:10], octets[10:]]))


@contextlib.contextmanager
def session(peer: ImapPeer) -> Iterator[ImapTarget]:
    endpoint = ImapEndpoint(HOST, peer.port, "me", tls=False, allow_plaintext=True, timeout=20)
    with contextlib.closing(open_imap(endpoint, PASSWORD, lambda: True)) as target:
        target.select("INBOX")
        yield target


def reaped(target: ImapTarget) -> list[Sent]:
    told: list[Sent] = []
    while some := target.reap():
        told += some
    return told


def check_names() -> None:
    for name, wanted in PRIVATE.items():
        found = list(inspect.signature(getattr(imaplib.IMAP4, name)).parameters)
        assert found[: len(wanted)] == wanted, f"imaplib.IMAP4.{name} takes {found}"


def check_sending(capabilities: str) -> None:
    """Many under way, answered in order, octet by octet as they were; and nothing that was heard is kept."""
    with ImapPeer(ImapQuirks(capabilities=capabilities)) as peer, session(peer) as target:
        messages = [outgoing(number) for number in range(40)]
        for start in range(0, 40, 10):
            target.send(messages[start : start + 10])
        told = reaped(target)
        assert [sent.message for sent in told] == messages
        assert [sent.receipt.uid for sent in told if sent.receipt] == list(range(1, 41))
        assert peer.account["INBOX"].stored == [letter(number) for number in range(40)]
        assert target.body(3) == letter(2) and (target.headers(3) or b"").startswith(b"Message-ID: <2@x>")
        assert [found.octets for found in target.found(39)] == [len(letter(38)), len(letter(39))]
        assert not target._connection._wire.untagged_responses
        assert not target._connection._wire.tagged_commands
        assert target._connection._client._imap.debug == 0


def check_refusals(capabilities: str) -> None:
    bad = letter(7)
    quirks = ImapQuirks(capabilities=capabilities, refuse=lambda octets: b"NO [TOOBIG] no" if octets == bad else b"")
    with ImapPeer(quirks) as peer, session(peer) as target:
        target.send([outgoing(number) for number in range(5, 10)])
        told = reaped(target)
        assert [isinstance(sent.refusal, MessageRejected) for sent in told].count(True) == 1 and len(told) == 5
        assert target.moment().messages == 4


def check_bad(capabilities: str) -> None:
    with ImapPeer(ImapQuirks(capabilities=capabilities, refuse=lambda _: b"BAD what")) as peer, session(peer) as target:
        target.send([outgoing(1)])
        assert raises(target.reap) is ProtocolError
        assert raises(target.moment) is ConnectionLost


def check_farewell() -> None:
    with ImapPeer(ImapQuirks(replies={"NOOP": b"* BYE so long\r\n"})) as peer, session(peer) as target:
        assert raises(target.moment) is ConnectionLost


def raises(ask: object) -> type[MailmoveError] | None:
    try:
        ask()  # type: ignore[operator]
    except MailmoveError as error:
        return type(error)
    return None


def main() -> None:
    check_names()
    for capabilities in WAYS:
        check_sending(capabilities)
        check_refusals(capabilities)
        check_bad(capabilities)
    check_farewell()
    print(f"the IMAP adapter works with Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
