"""Where mailboxes are on real servers, as hosts set them up: a prefix, dots or slashes, special uses.

Strategy: through the Target contract; what was made, and what is in it, is asked of the referee. Each kind of Dovecot
is a few lines of configuration; Cyrus is the one that can make mailboxes for a special use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mailmove.errors import ConfigurationError, MailboxRefused
from mailmove.jobs.placement import Placement, Template
from mailmove.targets import Outgoing, Target
from mailmove.targets.imap import open_imap
from mailmove.targets.imap_login import ImapEndpoint
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.support.client import HOST, PASSWORD
from tests.support.imap_referee import Referee

MOMENT = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
LETTER = b"Subject: x\r\n\r\nbody\r\n"

USES = """
  mailbox "Ablage" {
    special_use = \\Archive
    auto = create
  }
  mailbox "Gesendete Objekte" {
    special_use = \\Sent
    auto = no
  }
  mailbox "Entwürfe" {
    special_use = \\Drafts
    auto = subscribe
  }
"""


def namespace(prefix: str, separator: str, *lines: str) -> str:
    head = f"namespace inbox {{\n  inbox = yes\n  separator = {separator}\n  prefix = {prefix}\n"
    return "\n".join([head, *lines, "}"])


KINDS = {
    "dots behind INBOX": (namespace("INBOX.", ".", USES), "INBOX.", "."),
    "slashes": (namespace("", "/", USES), "", "/"),
    "slashes behind a prefix": (namespace("Mail/", "/", USES), "Mail/", "/"),
}


class Kind:
    """A server of one kind."""

    def __init__(self, server: Dovecot | Cyrus, prefix: str, delimiter: str) -> None:
        self.server, self.prefix, self.delimiter = server, prefix, delimiter
        self.sessions = contextlib.ExitStack()

    def open(self, user: str) -> Target:
        endpoint = ImapEndpoint(HOST, self.server.ports["imap"], user, tls=False, allow_plaintext=True, timeout=20)
        target = open_imap(endpoint, PASSWORD, lambda: True)
        self.sessions.callback(target.close)
        return target

    def referee(self, user: str) -> Referee:
        return Referee(self.server.ports["imap"], user)

    def name(self, *levels: str) -> str:
        return self.prefix + self.delimiter.join(levels)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, needs_dovecot: None) -> Iterator[Kind]:
    extra, prefix, delimiter = KINDS[request.param]
    with Dovecot(ssl=False, extra=extra) as server:
        kind = Kind(server, prefix, delimiter)
        yield kind
        kind.sessions.close()


def deliver(target: Target, wanted: str) -> str:
    """As a replay does: the name there, made if it is missing."""
    name = target.place(wanted)
    if target.status(name) is None:
        target.create(name)
    target.select(name)
    target.append(Outgoing(len(LETTER), MOMENT, False, lambda: iter([LETTER])))
    return name


def wanted(template: str, maildrop: str = "me@gmx.de@pop.gmx.net") -> str:
    return Placement(Template.parse("--mailbox", template)).of(MOMENT, maildrop, "")


def test_a_mailbox_with_levels_is_made_where_it_belongs_and_found_again(kind: Kind, user: str) -> None:
    name = deliver(kind.open(user), wanted("Büro & Post/{year}/{month}"))
    assert name == kind.name("Büro & Post", "2001", "02")
    assert deliver(kind.open(user), wanted("Büro & Post/{year}/{month}")) == name
    wire = kind.name("B&APw-ro &- Post", "2001", "02")
    with kind.referee(user) as referee:
        assert [one.octets for one in referee.stored(f'"{wire}"')] == [LETTER] * 2
        assert wire in referee.subscribed() and referee.stored("INBOX") == []


def test_a_maildrop_is_one_level_whatever_is_in_it(kind: Kind, user: str) -> None:
    name = deliver(kind.open(user), wanted("Pulled/{maildrop}", "me/you@pop.example.org"))
    assert name == kind.name("Pulled", "me_you@pop_example_org")
    with kind.referee(user) as referee:
        assert len(referee.stored(f'"{name}"')) == 1
        top = kind.name("Pulled")
        assert {one for one in referee.mailboxes() if one.startswith(top)} <= {top, name}


def test_inbox_is_inbox(kind: Kind, user: str) -> None:
    assert deliver(kind.open(user), "inbox") == "INBOX"
    with kind.referee(user) as referee:
        assert len(referee.stored("INBOX")) == 1


@pytest.mark.parametrize(
    ("template", "levels", "wire"),
    [
        (r"\Archive", ["Ablage"], ["Ablage"]),
        (r"\Archive/{year}", ["Ablage", "2001"], ["Ablage", "2001"]),
        (r"\Drafts", ["Entwürfe"], ["Entw&APw-rfe"]),
    ],
)
def test_a_special_use_is_whatever_the_server_calls_it(
    kind: Kind, user: str, template: str, levels: list[str], wire: list[str]
) -> None:
    assert deliver(kind.open(user), wanted(template)) == kind.name(*levels)
    with kind.referee(user) as referee:
        assert len(referee.stored(f'"{kind.name(*wire)}"')) == 1


def test_a_special_use_that_no_mailbox_has_is_made(kind: Kind, user: str) -> None:
    """Dovecot 2.3 has no CREATE-SPECIAL-USE, so the second time it is known by its name."""
    names = {deliver(kind.open(user), r"\Junk") for _ in range(2)}
    assert names == {kind.name("Junk")}
    with kind.referee(user) as referee:
        assert len(referee.stored(kind.name("Junk"))) == 2


def test_the_server_is_asked_and_nothing_is_made_by_asking(kind: Kind, user: str) -> None:
    target = kind.open(user)
    with kind.referee(user) as referee:
        before = referee.mailboxes()
        for template in (r"\Junk", r"\Sent/{year}", "New/{year}", r"\Archive"):
            target.place(wanted(template))
        assert referee.mailboxes() == before


def test_a_name_that_would_become_another_is_refused(kind: Kind, user: str) -> None:
    target = kind.open(user)
    if kind.delimiter == ".":
        with pytest.raises(MailboxRefused, match="if you mean levels, write 'v1/0'"):
            target.place("v1.0")
    with pytest.raises(MailboxRefused, match="none has this special use"):
        target.place(r"\Flagged")
    assert target.status("INBOX")


def test_labels_are_refused_where_there_are_none(kind: Kind, user: str) -> None:
    target = kind.open(user)
    target.select("INBOX")
    with pytest.raises(ConfigurationError, match="--label needs Gmail"):
        target.label([1], ["Old"])


def test_where_a_mailbox_can_be_made_for_a_special_use_it_is(cyrus: Cyrus, user: str) -> None:
    """So whoever comes later, mailmove or another program, finds it by its use; also after somebody renames it."""
    server = Kind(cyrus, "", "/")
    with server.sessions:
        assert deliver(server.open(user), wanted(r"\Archive/{year}")) == "Archive/2001"
        assert deliver(server.open(user), r"\Sent") == "Sent"
        with server.referee(user) as referee:
            referee.rename("Archive", "Ablage")
            referee.rename("Sent", "Gesendete")
        assert deliver(server.open(user), r"\Sent") == "Gesendete"
        assert deliver(server.open(user), wanted(r"\Archive/{year}")) == "Ablage/2001"
        with server.referee(user) as referee:
            assert [len(referee.stored(name)) for name in ("Gesendete", "Ablage/2001")] == [2, 2]
