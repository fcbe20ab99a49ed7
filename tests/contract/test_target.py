"""What every Target promises (mailmove/targets/__init__.py), held against each server that can be had.

Strategy: the suite speaks only the contract; what really lies at the server is asked of a referee that shares nothing
with mailmove. A server is one line in SERVERS; each test has a mailbox of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from mailmove.errors import (
    ArchiveDamaged,
    ConfigurationError,
    ConnectionLost,
    LocalProtocolError,
    MailboxRefused,
    MessageRejected,
)
from mailmove.targets import Outgoing, Receipt, Sent, Target, imap_reading
from mailmove.targets.imap import open_imap
from mailmove.targets.imap_login import ImapEndpoint
from tests.conftest import unavailable
from tests.servers import pymap as pymap_server
from tests.servers.dovecot import Dovecot
from tests.servers.pymap import Pymap
from tests.support.client import HOST, PASSWORD
from tests.support.imap_referee import Referee

MOMENT = datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC)
_numbers = itertools.count(1)


@dataclass
class Server:
    """Where an account is. `mailbox` is nobody else's, and not there yet. `refuses`: names it will not have."""

    port: int
    user: str
    mailbox: str
    refuses: frozenset[str] = frozenset()
    sessions: list[Target] = field(default_factory=list)

    def open(self) -> Target:
        endpoint = ImapEndpoint(HOST, self.port, self.user, tls=False, allow_plaintext=True, timeout=20)
        session = open_imap(endpoint, PASSWORD, lambda: True)
        self.sessions.append(session)
        return session

    def referee(self) -> Referee:
        return Referee(self.port, self.user)


@pytest.fixture(scope="module")
def pymap() -> Iterator[Pymap]:
    if reason := pymap_server.missing():
        unavailable(reason)
    with Pymap() as server:
        yield server


@pytest.fixture(scope="module")
def plain_dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False) as server:
        yield server


SERVERS: dict[str, Callable[[pytest.FixtureRequest], tuple[int, str]]] = {
    "dovecot": lambda request: (
        request.getfixturevalue("plain_dovecot").ports["imap"],
        request.getfixturevalue("user"),
    ),
    "cyrus": lambda request: (request.getfixturevalue("cyrus").ports["imap"], request.getfixturevalue("user")),
    "pymap": lambda request: (request.getfixturevalue("pymap").port, pymap_server.USER),
}

REFUSED_NAMES = {"cyrus": frozenset({'a"b', "{5+}", "back\\slash", "100%*"})}
"""Of those below. Cyrus has a list of characters that names may be made of."""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    refuses = REFUSED_NAMES.get(request.param, frozenset())
    server = Server(*SERVERS[request.param](request), f"Contract-{next(_numbers)}", refuses)
    yield server
    for session in server.sessions:
        session.close()


@pytest.fixture
def target(server: Server) -> Target:
    """A session with the mailbox made and selected."""
    session = server.open()
    session.create(server.mailbox)
    session.select(server.mailbox)
    return session


def outgoing(octets: bytes, *, seen: bool = False, moment: datetime = MOMENT, size: int | None = None) -> Outgoing:
    """In chunks of 7, so that every message is more than one."""
    chunks = [octets[start : start + 7] for start in range(0, len(octets), 7)]
    return Outgoing(len(octets) if size is None else size, moment, seen, lambda: iter(chunks))


def letter(number: int = 1, lines: int = 1) -> bytes:
    return b"Message-ID: <%d@contract.example>\r\nSubject: %d\r\n\r\n" % (number, number) + b"line of text\r\n" * lines


# ---- mailboxes


def test_a_mailbox_that_is_not_there_has_no_status_until_it_is_made(server: Server) -> None:
    session = server.open()
    assert session.status(server.mailbox) is None
    session.create(server.mailbox)
    state = session.status(server.mailbox)
    assert state and state.messages == 0 and state.uidvalidity > 0 and state.uidnext > 0
    session.create(server.mailbox)
    assert session.status(server.mailbox) == state
    session.quit()
    with server.referee() as referee:
        assert server.mailbox in referee.mailboxes()
        assert server.mailbox in referee.subscribed()


@pytest.mark.parametrize("wanted", ["{}", "{}/Below/Deep", "INBOX", "\\Archive", "\\Archive/{}", "Entwürfe {}"])
def test_a_place_is_a_name_that_every_method_takes_and_the_same_in_each_session(server: Server, wanted: str) -> None:
    wanted = wanted.format(server.mailbox)
    with server.referee() as referee:
        before = referee.mailboxes()
        session = server.open()
        name = session.place(wanted)
        assert referee.mailboxes() == before
    if session.status(name) is None:
        session.create(name)
    there = session.select(name).messages
    session.append(outgoing(letter()))
    other = server.open()
    assert other.place(wanted) == name
    assert other.select(other.place(wanted), read_only=True).messages == there + 1


def test_labels_are_refused_where_there_are_none(target: Target) -> None:
    receipt = target.append(outgoing(letter()))
    with pytest.raises(ConfigurationError, match="--label needs Gmail"):
        target.label([receipt.uid], ["Old"])
    assert target.body(receipt.uid) == letter()


def test_a_mailbox_that_is_not_there_cannot_be_selected_and_the_session_goes_on(server: Server) -> None:
    session = server.open()
    session.select("INBOX")
    with pytest.raises(MailboxRefused) as caught:
        session.select(server.mailbox)
    assert caught.value.server_text and caught.value.server_text in caught.value.message
    with pytest.raises(LocalProtocolError):
        session.append(outgoing(letter()))
    assert session.select("INBOX").uidvalidity > 0
    session.quit()


@pytest.mark.parametrize(
    "name", ["Entwürfe", 'a"b', "{5+}", "back\\slash", "b & c", "100%*", "日本語", "x1 CREATE PWNED"]
)
def test_a_name_is_a_name_whatever_is_in_it(server: Server, name: str) -> None:
    session = server.open()
    whole_name = f"{server.mailbox} {name}"
    with server.referee() as referee:
        before = referee.mailboxes()
    assert session.status(whole_name) is None
    if name in server.refuses:
        with pytest.raises(MailboxRefused, match="Invalid mailbox name"):
            session.create(whole_name)
    else:
        session.create(whole_name)
        assert session.select(whole_name) == session.status(whole_name)
        receipt = session.append(outgoing(letter()))
        assert session.body(receipt.uid) == letter()
    session.quit()
    with server.referee() as referee:
        assert len(referee.mailboxes() - before) == (name not in server.refuses)


def test_read_only_changes_nothing_and_shows_the_same(server: Server, target: Target) -> None:
    uid = target.append(outgoing(letter())).uid
    session = server.open()
    assert session.select(server.mailbox, read_only=True) == target.moment()
    assert session.body(uid) == letter()
    session.quit()


# ---- appending


def test_what_was_appended_is_there_once_unaltered_with_its_date_and_flag(server: Server, target: Target) -> None:
    state = target.select(server.mailbox)
    receipts = [target.append(outgoing(letter(n), seen=n == 2)) for n in (1, 2, 3)]
    assert all(receipt.uidvalidity == state.uidvalidity for receipt in receipts)
    with server.referee() as referee:
        stored = referee.stored(server.mailbox)
    assert [one.uid for one in stored] == [receipt.uid for receipt in receipts]
    assert [one.octets for one in stored] == [letter(1), letter(2), letter(3)]
    assert [one.seen for one in stored] == [False, True, False]
    assert {one.date for one in stored} == {"31-Dec-1999 23:59:58 +0000"}


def test_uids_are_never_below_the_uidnext_that_was_told_before(target: Target) -> None:
    for number in range(3):
        before = target.moment()
        receipt = target.append(outgoing(letter(number)))
        after = target.moment()
        assert before.uidnext <= receipt.uid < after.uidnext
        assert after.messages == before.messages + 1


def test_twins_become_two_messages(target: Target) -> None:
    receipts = {target.append(outgoing(letter())).uid for _ in range(2)}
    assert [found.uid for found in target.found(1)] == sorted(receipts) and len(receipts) == 2


def test_a_message_goes_to_the_selected_mailbox(server: Server, target: Target) -> None:
    other = f"{server.mailbox} other"
    target.create(other)
    target.select(other)
    target.append(outgoing(letter(7)))
    with server.referee() as referee:
        assert referee.stored(server.mailbox) == []
        assert [one.octets for one in referee.stored(f'"{other}"')] == [letter(7)]


def _then_damaged(data: bytes) -> Iterator[bytes]:
    yield data
    raise ArchiveDamaged("It does not hash to its name.")


BROKEN = [
    pytest.param(lambda data: iter([data[:-1]]), LocalProtocolError, id="an octet too few"),
    pytest.param(lambda data: iter([data, b"!"]), LocalProtocolError, id="an octet too many"),
    pytest.param(lambda data: iter([data + b"\r\nx1 CREATE PWNED\r\n"]), LocalProtocolError, id="a command too many"),
    pytest.param(
        lambda data: iter([data, b"\r\nx1 CREATE PWNED\r\n", b"."]), LocalProtocolError, id="two chunks too many"
    ),
    pytest.param(lambda data: iter([]), LocalProtocolError, id="nothing at all"),
    pytest.param(lambda data: _then_damaged(data[:20]), ArchiveDamaged, id="damaged in the middle"),
    pytest.param(_then_damaged, ArchiveDamaged, id="damaged, known after the last octet"),
]


@pytest.mark.parametrize(("chunks", "error"), BROKEN)
def test_a_message_that_is_not_what_was_announced_never_arrives(
    server: Server, target: Target, chunks: Callable[[bytes], Iterator[bytes]], error: type[Exception]
) -> None:
    data = letter(lines=30)
    with pytest.raises(error):
        target.append(Outgoing(len(data), MOMENT, False, lambda: chunks(data)))
    with pytest.raises(ConnectionLost):
        target.moment()
    with server.referee() as referee:
        assert referee.stored(server.mailbox) == []
        assert "PWNED" not in referee.mailboxes()


def test_commands_in_a_message_stay_text(server: Server, target: Target) -> None:
    data = (
        b"Subject: x1 CREATE PWNED\r\n\r\n" + b"x1 CREATE PWNED\r\n" * 20 + b"{5+}\r\nx2 CREATE PWNED\r\n.\r\n{0}\r\n"
    )
    target.append(outgoing(data))
    target.append(outgoing(letter()))
    with server.referee() as referee:
        assert [one.octets for one in referee.stored(server.mailbox)] == [data, letter()]
        assert "PWNED" not in referee.mailboxes()


# ---- many under way


def reaped(target: Target) -> list[Sent]:
    told: list[Sent] = []
    while some := target.reap():
        told += some
    return told


@pytest.mark.parametrize("sizes", [(1,) * 7, (7,), (3, 1, 3)], ids=["one by one", "together", "in groups"])
def test_what_was_sent_ahead_is_there_once_in_order_and_each_has_its_receipt(
    server: Server, target: Target, sizes: tuple[int, ...]
) -> None:
    octets = [letter(number, number) for number in range(sum(sizes))]
    messages = [outgoing(one, seen=number % 3 == 0) for number, one in enumerate(octets)]
    rest = iter(messages)
    for size in sizes:
        target.send(list(itertools.islice(rest, size)))
    told = reaped(target)
    assert [sent.message for sent in told] == messages
    assert [sent.refusal for sent in told] == [None] * len(messages)
    with server.referee() as referee:
        stored = referee.stored(server.mailbox)
    assert [one.octets for one in stored] == octets
    assert [one.seen for one in stored] == [message.seen for message in messages]
    receipts = [sent.receipt.uid for sent in told if sent.receipt and sent.receipt.uid]
    assert receipts == ([one.uid for one in stored] if target.manner.tells_uids else [])
    assert target.reap() == [] and target.moment().messages == len(messages)


def test_many_more_than_the_buffers_hold_do_not_block(server: Server, target: Target) -> None:
    """Octets for several seconds on the way, and answers nobody has read yet."""
    sizes = [70_000, 10, 3_000_000, 1, 200_000] * 3
    octets = [b"Subject: %d\r\n\r\n" % number + b"x" * size + b"\r\n" for number, size in enumerate(sizes)]
    for one in octets:
        target.send([Outgoing(len(one), MOMENT, False, lambda one=one: iter([one]))])  # type: ignore[misc]
    assert all(sent.receipt for sent in reaped(target))
    with server.referee() as referee:
        assert [one.octets for one in referee.stored(server.mailbox)] == octets


@pytest.mark.parametrize(("chunks", "error"), BROKEN)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_of_many_that_is_not_what_was_announced_never_arrives(
    server: Server, target: Target, chunks: Callable[[bytes], Iterator[bytes]], error: type[Exception], place: int
) -> None:
    data = letter(lines=30)
    target.append(outgoing(letter(7)))
    messages = [outgoing(letter(8)), outgoing(letter(9))]
    messages.insert(place, Outgoing(len(data), MOMENT, False, lambda: chunks(data)))
    with pytest.raises(error):
        target.send(messages)
    target.reap(wait=False)
    with pytest.raises(ConnectionLost):
        target.moment()
    with server.referee() as referee:
        stored = [one.octets for one in referee.stored(server.mailbox)]
        assert stored[0] == letter(7) and set(stored[1:]) <= {letter(8), letter(9)}
        assert "PWNED" not in referee.mailboxes()


@pytest.mark.parametrize("server", ["cyrus"], indirect=True)
@pytest.mark.parametrize("heard", [False, True], ids=["waited for", "answered before"])
def test_of_what_was_sent_together_only_the_message_at_fault_stays_out(
    server: Server, target: Target, heard: bool
) -> None:
    """Also when the refusal of all of them was read before anybody waited for it."""
    messages = [outgoing(letter(1)), outgoing(b"Subject: NUL\r\n\r\n\0\r\n"), outgoing(letter(3))]
    target.send(messages)
    if heard:
        target.moment()
    told = {sent.message: sent for sent in [*target.reap(wait=not heard), *reaped(target)]}
    assert set(told) == set(messages)
    refusal = told[messages[1]].refusal
    assert isinstance(refusal, MessageRejected) and refusal.cause == "nul"
    assert told[messages[0]].receipt and told[messages[2]].receipt
    with server.referee() as referee:
        assert [one.octets for one in referee.stored(server.mailbox)] == [letter(1), letter(3)]


# ---- finding


@pytest.fixture(params=["one page", "pages of two"])
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pages of two":
        monkeypatch.setattr(imap_reading, "PAGE", 2)
        monkeypatch.setattr(imap_reading, "SAMPLES", 2)


@pytest.fixture
def receipts(target: Target) -> list[Receipt]:
    return [target.append(outgoing(letter(number, number))) for number in range(9)]


@pytest.mark.usefixtures("pages")
def test_found_begins_where_it_is_told_to_and_rises(target: Target, receipts: list[Receipt]) -> None:
    uids = [receipt.uid for receipt in receipts]
    assert [found.uid for found in target.found(1)] == uids
    for place, uid in enumerate(uids):
        assert [found.uid for found in target.found(uid)] == uids[place:]
    assert list(target.found(uids[-1] + 1)) == []
    assert list(target.found(4_000_000_000)) == []


@pytest.mark.usefixtures("pages")
def test_found_tells_sizes_and_ids_as_they_are(target: Target, receipts: list[Receipt]) -> None:
    assert [found.octets for found in target.found(1)] == [len(letter(number, number)) for number in range(9)]
    assert {found.message_id for found in target.found(1)} == {""}
    ids = [found.message_id for found in target.found(1, message_ids=True)]
    assert ids == [f"<{number}@contract.example>" for number in range(9)]


def test_found_unfolds_an_id_and_does_without_one(target: Target) -> None:
    target.append(outgoing(b"Message-ID:\r\n <folded@contract.example>\r\n (twice)\r\n\r\n"))
    target.append(outgoing(b"Subject: none\r\n\r\nMessage-ID: <body@contract.example>\r\n"))
    target.append(outgoing(b"message-id: not an id \r\n\r\n"))
    ids = [found.message_id for found in target.found(1, message_ids=True)]
    assert ids == ["<folded@contract.example> (twice)", "", "not an id"]


@pytest.mark.usefixtures("pages")
def test_found_passes_over_gaps(server: Server, target: Target, receipts: list[Receipt]) -> None:
    uids = [receipt.uid for receipt in receipts]
    with server.referee() as referee:
        referee.expunge(server.mailbox, uids[0], uids[3], uids[4], uids[8])
    left = [uids[place] for place in (1, 2, 5, 6, 7)]
    assert [found.uid for found in target.found(1)] == left
    assert [found.uid for found in target.found(uids[3])] == left[2:]
    assert list(target.found(uids[8])) == []


@pytest.mark.usefixtures("pages")
def test_found_loses_none_while_others_are_deleted_and_it_is_interrupted(
    server: Server, target: Target, receipts: list[Receipt]
) -> None:
    uids = [receipt.uid for receipt in receipts]
    seen = []
    with server.referee() as referee:
        for found in target.found(1):
            seen.append(found.uid)
            if found.uid == uids[3]:
                referee.expunge(server.mailbox, *uids[:3])
            assert target.body(found.uid)
            target.moment()  # now the numbers have shifted
    assert seen == uids


@pytest.mark.usefixtures("pages")
def test_found_sees_what_another_session_has_added(server: Server, target: Target, receipts: list[Receipt]) -> None:
    with server.referee() as referee:
        referee.add(server.mailbox, letter(99))
    assert len(list(target.found(1))) == 10
    assert [found.octets for found in target.found(receipts[-1].uid + 1)] == [len(letter(99))]


def test_found_in_an_empty_mailbox_is_nothing(target: Target) -> None:
    assert list(target.found(1)) == []
    assert list(target.found(17, message_ids=True)) == []


# ---- reading


def test_headers_and_body_as_they_were_sent_and_nothing_is_marked_read(server: Server, target: Target) -> None:
    data = letter(1, 3)
    uid = target.append(outgoing(data)).uid
    head, _, _ = data.partition(b"\r\n\r\n")
    assert target.headers(uid) == head + b"\r\n\r\n"
    assert target.body(uid) == data
    with server.referee() as referee:
        assert [one.seen for one in referee.stored(server.mailbox)] == [False]


def test_what_is_not_there_is_none(server: Server, target: Target) -> None:
    uid = target.append(outgoing(letter())).uid
    assert (target.headers(uid + 1), target.body(uid + 1)) == (None, None)
    with server.referee() as referee:
        referee.expunge(server.mailbox, uid)
    target.moment()
    assert (target.headers(uid), target.body(uid)) == (None, None)


def test_many_are_shown_at_once_each_its_own_and_none_that_was_not_asked_for(
    server: Server, target: Target, receipts: list[Receipt]
) -> None:
    uids = [receipt.uid for receipt in receipts]
    with server.referee() as referee:
        referee.expunge(server.mailbox, uids[4])
    target.moment()  # until then the session may show it
    asked = [uids[8], *uids[1:6], uids[8] + 7]
    there = {uids[number]: letter(number, number) for number in (1, 2, 3, 5, 8)}
    assert target.bodies_of(asked) == there
    assert target.headers_of(asked) == {uid: octets.partition(b"line")[0] for uid, octets in there.items()}
    assert (target.bodies_of([]), target.headers_of([])) == ({}, {})
    with server.referee() as referee:
        assert not any(one.seen for one in referee.stored(server.mailbox))


def test_found_tells_the_date_a_message_was_given_if_asked(target: Target) -> None:
    for moment in (MOMENT, datetime(2024, 2, 29, 23, 30, tzinfo=UTC)):
        target.append(outgoing(letter(), moment=moment))
    assert {found.internal_date for found in target.found(1)} == {None}
    dates = [found.internal_date for found in target.found(1, dates=True, message_ids=True)]
    assert dates == [MOMENT, datetime(2024, 2, 29, 23, 30, tzinfo=UTC)]


def test_a_moment_sees_other_sessions_at_work(server: Server, target: Target) -> None:
    before = target.moment()
    with server.referee() as referee:
        referee.add(server.mailbox, letter())
    after = target.moment()
    assert (after.messages, after.uidvalidity) == (before.messages + 1, before.uidvalidity)
    assert after.uidnext > before.uidnext


def test_the_largest_message_is_a_number_or_unknown(target: Target) -> None:
    limit = target.append_limit()
    assert limit is None or limit > 0
    assert target.merges_message_ids is False


# ---- facts


def test_sizes_are_those_that_are_found(server: Server, target: Target) -> None:
    uids = [target.append(outgoing(letter(number, number))).uid for number in (1, 2, 3)]
    with server.referee() as referee:
        referee.expunge(server.mailbox, uids[1])
    target.moment()
    assert target.sizes([*uids, uids[-1] + 1]) == {found.uid: found.octets for found in target.found(1)}
    assert set(target.sizes(uids)) == {uids[0], uids[2]} and target.sizes([]) == {}


def test_asking_for_facts_changes_nothing_and_selects_nothing(server: Server, target: Target) -> None:
    target.append(outgoing(letter()))
    before = target.moment()
    quota, traits = target.quota(server.mailbox), target.traits()
    assert quota is None or 0 <= quota.left <= quota.limit
    assert traits.uidplus is target.manner.tells_uids and not traits.gmail
    assert 0 < target.round_trip() < 10
    assert target.moment() == before


def test_who_merges_nothing_has_nothing_to_tell_of_elsewhere(target: Target) -> None:
    target.append(outgoing(letter(1)))
    before = target.moment()
    assert target.elsewhere(["<1@contract.example>"]) == {} and target.elsewhere([]) == {}
    assert target.moment() == before


# ---- the end


def test_the_end_can_come_twice_and_is_the_end(target: Target) -> None:
    target.quit()
    target.quit()
    target.close()
    with pytest.raises(ConnectionLost):
        target.moment()


def test_without_a_mailbox_nothing_can_be_asked_of_one(server: Server) -> None:
    session = server.open()
    for ask in (lambda: session.append(outgoing(letter())), lambda: session.body(1), session.moment):
        with pytest.raises(LocalProtocolError):
            ask()
    session.quit()
