"""No octet of a message, name or date is ever a command (P7): pipelined, at a server that is easily misled.

Strategy: Dovecot answers a bad flag or date with BAD and reads the literal behind it as commands. So messages whose
every line is a command go out behind names, dates and flags that hypothesis makes of what usually breaks quoting; then
nothing may have been made that only such a command could make, and what was taken must be there octet by octet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailmove.errors import ConnectionLost, MailboxRefused, UsageError
from mailmove.targets import Outgoing
from mailmove.targets.imap import open_imap
from mailmove.targets.imap_login import ImapEndpoint
from tests.servers.dovecot import Dovecot
from tests.support.client import HOST, PASSWORD
from tests.support.imap_referee import Referee
from tests.support.replaying import rewritten

TRAP = b"x1 CREATE PWNED\r\nx2 CREATE PWNED\r\n"
ODD = ['"', "\\", "{5+}", "{5}", "\r\n", "\n", "\r", "\0", "ü", "日", "&", "*", "%", "(", ")", " ", "a", "~"]
NAMES = st.lists(st.sampled_from(ODD), min_size=1, max_size=8).map("".join)
ZONES = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
DATES = st.datetimes(timezones=ZONES)
LINES = [TRAP, b"{5+}\r\n", b")\r\n", b"\r\n", b'"', b"\0", b"\n", b"A1 LOGOUT\r\n"]
BODIES = st.lists(st.sampled_from(LINES), max_size=6)
MESSAGES = st.lists(st.tuples(DATES, st.booleans(), BODIES.map(b"".join)), min_size=1, max_size=5)


@pytest.fixture(scope="module", params=["batches", "one command each"])
def server(request: pytest.FixtureRequest, needs_dovecot: None) -> Iterator[Dovecot]:
    extra = "" if request.param == "batches" else "imap_capability = IMAP4rev1 LITERAL+ UIDPLUS"
    with Dovecot(ssl=False, extra=extra) as server:
        yield server


def outgoing(date: datetime, body: bytes, *, seen: bool) -> Outgoing:
    octets = b"Subject: x\r\n\r\n" + TRAP + body
    return Outgoing(len(octets), date, seen, lambda: iter([octets[:20], octets[20:]]))


def test_no_message_is_ever_executed(server: Dovecot, user: str, full: bool) -> None:
    """A name that cannot be made, or a message that is refused, is no matter; what is made and taken must be right."""
    port, taken = server.ports["imap"], []

    @settings(max_examples=400 if full else 60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(NAMES, MESSAGES)
    def send(name: str, messages: list[tuple[datetime, bool, bytes]]) -> None:
        endpoint = ImapEndpoint(HOST, port, user, tls=False, allow_plaintext=True, timeout=20)
        target = open_imap(endpoint, PASSWORD, lambda: True)
        with contextlib.suppress(UsageError, MailboxRefused, ConnectionLost):
            mailbox = f"box {name}"
            target.create(mailbox)
            target.select(mailbox)
            target.send([outgoing(date, body, seen=seen) for date, seen, body in messages])
            target.send([outgoing(date, body, seen=not seen) for date, seen, body in messages])
            while told := target.reap():
                for sent in told:
                    assert sent.receipt, sent.refusal
                    stored = target.body(sent.receipt.uid)
                    taken.append(stored == rewritten(b"".join(sent.message.chunks())))
        target.close()

    send()
    assert taken and all(taken), "the messages arrive, and as they are"
    with Referee(port, user) as referee:
        assert not any("PWNED" in name for name in referee.mailboxes())
        assert all(name == "INBOX" or name.strip('"').startswith("box ") for name in referee.mailboxes())
