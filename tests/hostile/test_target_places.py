"""Where a mailbox is on servers of every kind: prefixes, delimiters, special uses, and Gmail's labels.

Strategy: a server's ways are what it answers to NAMESPACE and LIST, no more; so each kind is a few lines of script, and
what must come out is the name that is given to all other commands, or one refusal before anything was written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from mailmove.errors import (
    ConfigurationError,
    ConnectionLost,
    LocalProtocolError,
    MailboxRefused,
    ProtocolError,
    TryLater,
    UsageError,
)
from mailmove.jobs.labels import labelling
from mailmove.targets import Outgoing, Sent
from mailmove.targets.imap import ImapTarget
from tests.hostile.imap_peer import ImapPeer, ImapQuirks, Opener, Selected

Ways = dict[str, bytes | list[bytes]]
Place = Callable[..., tuple[ImapPeer, ImapTarget]]

DONE = b"{tag} OK done\r\n"
WRITES = {"CREATE", "SUBSCRIBE", "APPEND", "UID STORE", "SELECT"}


def namespace(personal: bytes, others: bytes = b"NIL", shared: bytes = b"NIL") -> Ways:
    return {"NAMESPACE": b"* NAMESPACE " + b" ".join((personal, others, shared)) + b"\r\n" + DONE}


def listing(*lines: bytes) -> bytes:
    return b"".join(b"* LIST " + line + b"\r\n" for line in lines) + DONE


SLASH = namespace(b'(("" "/"))')
DOT = namespace(b'(("" "."))')
COURIER = namespace(b'(("INBOX." "."))', b"NIL", b'(("#shared." ".") ("shared." "."))')
CYRUS = namespace(b'(("INBOX." "."))', b'(("user." "."))', b'(("" "."))')
EXTENDED = namespace(b'(("" "/" "X-PARAM" ("FLAG1" "FLAG2")))', b'(("~" "/"))', b'(("#shared/" "/"))')
FLAT = namespace(b'(("" NIL))')
SEVERAL = namespace(b'(("" "/") ("#mh/" "/"))')
UMLAUT = namespace(b'(("&AMQ-." "."))')


@pytest.fixture
def at(peers: Callable[..., ImapPeer], enter: Opener) -> Place:
    """A session with a server that has these ways, and nothing selected."""

    def opened(ways: Ways, capabilities: str = "") -> tuple[ImapPeer, ImapTarget]:
        announced = f"IMAP4rev1 {'NAMESPACE ' * ('NAMESPACE' in ways)}{capabilities}".strip()
        peer = peers(ImapQuirks(replies=ways, capabilities=announced))
        return peer, enter(peer)

    return opened


# ---- levels and prefixes


PLACES = [
    (SLASH, "Archive", "Archive"),
    (SLASH, "Archive/2024/02", "Archive/2024/02"),
    (SLASH, "Lists.python", "Lists.python"),
    (SLASH, "INBOX/Old", "INBOX/Old"),
    (DOT, "Archive/2024", "Archive.2024"),
    (DOT, "Büro/Post", "Büro.Post"),
    (COURIER, "Archive", "INBOX.Archive"),
    (COURIER, "Archive/2024", "INBOX.Archive.2024"),
    (COURIER, "INBOX/Archive", "INBOX.Archive"),
    (COURIER, "inbox/Archive", "INBOX.Archive"),
    (COURIER, "INBOX.Archive", "INBOX.Archive"),
    (COURIER, "INBOX.Archive.2024", "INBOX.Archive.2024"),
    (COURIER, "Inbox.Archive", "INBOX.Archive"),
    (COURIER, "INBOXES", "INBOX.INBOXES"),
    (COURIER, "shared/team", "shared.team"),
    (COURIER, "#shared.team", "#shared.team"),
    (CYRUS, "user/other", "user.other"),
    (CYRUS, "users", "INBOX.users"),
    (EXTENDED, "Archive/2024", "Archive/2024"),
    (EXTENDED, "#shared/team", "#shared/team"),
    (FLAT, "Archive", "Archive"),
    (SEVERAL, "Archive", "Archive"),
    (SEVERAL, "#mh/old", "#mh/old"),
    (UMLAUT, "Post", "Ä.Post"),
]


@pytest.mark.parametrize(("ways", "wanted", "name"), PLACES)
def test_a_wanted_name_as_the_server_has_it(at: Place, ways: Ways, wanted: str, name: str) -> None:
    peer, target = at(ways)
    assert target.place(wanted) == name
    assert target.place(wanted) == name
    assert peer.verbs.count("NAMESPACE") == 1 and not WRITES & set(peer.verbs)


@pytest.mark.parametrize("name", ["INBOX", "inbox", "Inbox"])
def test_inbox_is_inbox_everywhere_and_costs_nothing(at: Place, name: str) -> None:
    peer, target = at(COURIER)
    before = list(peer.verbs)
    assert target.place(name) == "INBOX"
    assert peer.verbs == before


@pytest.mark.parametrize(
    ("ways", "wanted", "said"),
    [
        (DOT, "Lists.python", "'Lists.python': '.' separates levels there; if you mean levels, write 'Lists/python'"),
        (DOT, "Archive/v1.0", "write 'Archive/v1/0'"),
        (COURIER, "Lists.python", "write 'Lists/python'"),
        (FLAT, "Archive/2024", "'Archive/2024': mailboxes have no levels there"),
        (namespace(b'(("" "|"))'), "a|b", "'|' separates levels there"),
    ],
)
def test_a_name_that_cannot_exist_there_is_refused_before_the_server_sees_it(
    at: Place, ways: Ways, wanted: str, said: str
) -> None:
    peer, target = at(ways)
    with pytest.raises(MailboxRefused) as caught:
        target.place(wanted)
    assert said in caught.value.message and "\n" not in caught.value.message
    assert not WRITES & set(peer.verbs)
    assert target.status("INBOX")


@pytest.mark.parametrize(
    ("ways", "name"),
    [
        ({"LIST": listing(b'(\\Noselect) "." ""')}, "Archive.2024"),
        ({"LIST": listing(b'(\\Noselect) "/" ""')}, "Archive/2024"),
        (namespace(b"NIL") | {"LIST": listing(b'(\\Noselect) "." ""')}, "Archive.2024"),
        ({"NAMESPACE": DONE, "LIST": listing(b'(\\Noselect) "." ""')}, "Archive.2024"),
    ],
)
def test_without_a_namespace_list_tells_the_delimiter(at: Place, ways: Ways, name: str) -> None:
    peer, target = at(ways)
    assert target.place("Archive/2024") == name
    assert any(command.endswith(' LIST "" ""') for command in peer.commands)


def test_a_busy_server_is_asked_again_later_and_an_unwilling_one_is_quoted(at: Place) -> None:
    with pytest.raises(TryLater):
        at({"NAMESPACE": b"{tag} NO [UNAVAILABLE] later\r\n"})[1].place("Archive")
    with pytest.raises(MailboxRefused, match="will not find the mailbox 'Archive': 'not for you'"):
        at({"NAMESPACE": b"{tag} NO not for you\r\n"})[1].place("Archive")


@pytest.mark.parametrize(
    "answer", [b'* NAMESPACE (("" "/")\r\n', b"* NAMESPACE ((1))) NIL NIL\r\n", b"* NAMESPACE NIL\r\n"]
)
def test_an_answer_outside_the_grammar_ends_the_session(at: Place, answer: bytes) -> None:
    _, target = at({"NAMESPACE": answer + DONE})
    with pytest.raises(ProtocolError, match=r"grammar|no IMAP"):
        target.place("Archive")
    with pytest.raises(ConnectionLost):
        target.moment()


# ---- special uses


USES = listing(
    b'(\\HasChildren) "/" INBOX',
    b'(\\HasNoChildren \\Sent) "/" "Gesendete Objekte"',
    b'(\\archive) "/" "Ablage &APw-ber alles"',
    b'(\\Noselect \\Drafts) "/" Drafts',
    b'(\\Drafts) "/" Entw&APw-rfe',
    b'(\\Junk) "/" {4}\r\nSpam',
    b'(\\All \\Trash) "/" "Z"',
    b'(\\Trash) "/" "A"',
)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (r"\Sent", "Gesendete Objekte"),
        (r"\Archive", "Ablage über alles"),
        (r"\Archive/2024/02", "Ablage über alles/2024/02"),
        (r"\Drafts", "Entwürfe"),
        (r"\Junk", "Spam"),
        (r"\All", "Z"),
        (r"\Trash", "A"),
    ],
)
@pytest.mark.parametrize("announced", ["", "SPECIAL-USE", "SPECIAL-USE LIST-EXTENDED CREATE-SPECIAL-USE"])
def test_a_special_use_is_found_by_what_list_says(at: Place, wanted: str, name: str, announced: str) -> None:
    peer, target = at(SLASH | {"LIST": USES}, announced)
    assert target.place(wanted) == target.place(wanted) == name
    asked = [command.partition(" ")[2] for command in peer.commands if " LIST " in command]
    extended = 'LIST (SPECIAL-USE) "" "*" RETURN (SPECIAL-USE)'
    assert asked == [extended if "LIST-EXTENDED" in announced else 'LIST "" "*"']
    assert not WRITES & set(peer.verbs)


def test_the_order_of_the_list_does_not_decide(at: Place) -> None:
    one, other = b'(\\Sent) "/" "Sent"', b'(\\Sent) "/" "Sent Messages"'
    for lines in ((one, other), (other, one)):
        assert at(SLASH | {"LIST": listing(*lines)})[1].place(r"\Sent") == "Sent"


def test_what_is_others_is_not_ours(at: Place) -> None:
    lines = (b'(\\Sent) "." "shared.boss.Sent"', b'(\\Sent) "." "INBOX.Zent"')
    assert at(COURIER | {"LIST": listing(*lines)})[1].place(r"\Sent") == "INBOX.Zent"


def test_a_folder_with_a_broken_name_keeps_nobody_from_the_others(at: Place) -> None:
    lines = (b'() "/" "&AP"', b'() "/" "&!!!-"', b'(\\Sent) "/" "Out"', b'() "/" "\xff"', b'() "/" 123')
    assert at(SLASH | {"LIST": listing(*lines)})[1].place(r"\Sent") == "Out"


NOTHING = {"LIST": listing(b'() "." INBOX')}


@pytest.mark.parametrize(
    ("wanted", "announced", "created"),
    [
        (r"\Archive", "CREATE-SPECIAL-USE", [r'CREATE "INBOX.Archive" (USE (\Archive))']),
        (r"\Sent", "CREATE-SPECIAL-USE", [r'CREATE "INBOX.Sent" (USE (\Sent))']),
        (r"\Archive", "", ['CREATE "INBOX.Archive"']),
        (
            r"\Archive/2024",
            "CREATE-SPECIAL-USE",
            [r'CREATE "INBOX.Archive" (USE (\Archive))', 'CREATE "INBOX.Archive.2024"'],
        ),
        ("Archive", "CREATE-SPECIAL-USE", ['CREATE "INBOX.Archive"']),
    ],
)
def test_one_that_nobody_has_is_made_for_it(at: Place, wanted: str, announced: str, created: list[str]) -> None:
    peer, target = at(COURIER | NOTHING, announced)
    target.create(target.place(wanted))
    assert [command.partition(" ")[2] for command in peer.commands if " CREATE " in command] == created
    assert peer.verbs[-1] == "SUBSCRIBE"


def test_a_server_that_will_not_have_the_use_gets_an_ordinary_mailbox(at: Place) -> None:
    no = b"{tag} NO [USEATTR] not that one\r\n"
    peer, target = at(SLASH | NOTHING | {"CREATE": [no, DONE]}, "CREATE-SPECIAL-USE")
    target.create(target.place(r"\Archive"))
    assert [command.partition(" ")[2] for command in peer.commands if " CREATE " in command] == [
        r'CREATE "Archive" (USE (\Archive))',
        'CREATE "Archive"',
    ]


def test_another_mailbox_is_not_made_for_the_use(at: Place) -> None:
    peer, target = at(FLAT | NOTHING, "CREATE-SPECIAL-USE")
    assert target.place(r"\Archive") == "Archive"
    target.create("Archives")
    assert peer.account.mailboxes.keys() >= {"Archives"} and "Archive" not in peer.account.mailboxes
    assert not any("USE" in command for command in peer.commands if " CREATE " in command)


def test_a_refusal_to_make_it_is_quoted(at: Place) -> None:
    _, target = at(SLASH | NOTHING | {"CREATE": b"{tag} NO [NOPERM] not yours\r\n"}, "CREATE-SPECIAL-USE")
    with pytest.raises(MailboxRefused, match="not yours"):
        target.create(target.place(r"\Archive"))


@pytest.mark.parametrize("use", [r"\All", r"\Flagged"])
def test_a_view_cannot_be_made(at: Place, use: str) -> None:
    with pytest.raises(MailboxRefused, match="none has this special use, and it cannot be made"):
        at(SLASH | NOTHING)[1].place(use)


# ---- Gmail


@pytest.mark.parametrize("wanted", [" a", "a ", "a  b", "a/ b", "a^b", 'a"b', "back\\slash"])
def test_names_that_gmail_refuses_are_not_tried(at: Place, wanted: str) -> None:
    with pytest.raises(MailboxRefused, match="Gmail has no labels with"):
        at(SLASH, "X-GM-EXT-1")[1].place(wanted)
    assert at(SLASH)[1].place(wanted) == wanted


def test_gmail_has_its_own_names_for_special_uses(at: Place) -> None:
    lines = listing(b'(\\HasChildren \\Noselect) "/" "[Gmail]"', b'(\\Sent) "/" "[Gmail]/Gesendet"')
    _, target = at(SLASH | {"LIST": lines}, "X-GM-EXT-1 SPECIAL-USE")
    assert target.place(r"\Sent") == "[Gmail]/Gesendet"
    assert target.place("[Gmail]/Gesendet") == "[Gmail]/Gesendet"


def stored(peer: ImapPeer) -> list[str]:
    return [command.partition(" ")[2] for command in peer.commands if " STORE " in command]


def test_labels_are_added_to_the_messages_and_to_no_other(selected: Selected) -> None:
    peer, target = selected(gmail=True, uids=[3, 4, 5, 9, 11])
    target.label([5, 4, 3, 9, 9], ["Old mail", r"\Starred", "Büro & Post"])
    assert stored(peer) == [r'UID STORE 3:5,9 +X-GM-LABELS ("Old mail" \Starred "B&APw-ro &- Post")']
    labels = [entry.mail.labels for entry in peer.account["INBOX"].entries]
    assert labels == [{"Old mail", r"\Starred", "B&APw-ro &- Post"}] * 4 + [set()]


def test_many_messages_that_do_not_follow_each_other_take_several_commands(selected: Selected) -> None:
    uids = list(range(1_000_000_001, 1_000_001_001, 2))
    peer, target = selected(gmail=True, uids=uids)
    target.label(uids, ["Old"])
    assert all(entry.mail.labels == {"Old"} for entry in peer.account["INBOX"].entries)
    assert len(stored(peer)) == 5 and max(map(len, stored(peer))) < 2000


@pytest.mark.parametrize(("uids", "labels"), [([], ["Old"]), ([1], [])])
def test_nothing_to_label_is_no_command(selected: Selected, uids: list[int], labels: list[str]) -> None:
    peer, target = selected(gmail=True, uids=[1])
    target.label(uids, labels)
    assert stored(peer) == []


@pytest.mark.parametrize("label", ["a\r\nx1 DELETE INBOX", "a\0", "", r"\Trash", r"\Starred) x"])
def test_a_label_that_cannot_be_one_never_reaches_the_server(selected: Selected, label: str) -> None:
    peer, target = selected(gmail=True, uids=[1])
    with pytest.raises(UsageError):
        target.label([1], [label])
    assert stored(peer) == []


@pytest.mark.parametrize("label", ['a"b', "a) x1 DELETE INBOX (", "{5+}", "a\\b", "(", "*"])
def test_a_label_is_one_argument_whatever_is_in_it(selected: Selected, label: str) -> None:
    peer, target = selected(gmail=True, uids=[1])
    target.label([1], [label])
    (entry,) = peer.account["INBOX"].entries
    assert len(stored(peer)) == 1 and target.status("INBOX")
    assert entry.mail.labels <= {label} and "x1" not in peer.verbs


def test_labels_are_gmails(selected: Selected) -> None:
    peer, target = selected(uids=[1])
    with pytest.raises(ConfigurationError, match="--label needs Gmail"):
        target.label([1], ["Old"])
    assert stored(peer) == []


def test_a_message_whose_uid_nobody_knows_is_not_labelled(selected: Selected) -> None:
    peer, target = selected(gmail=True, uids=[1])
    with pytest.raises(LocalProtocolError):
        target.label([1, 0], ["Old"])
    assert stored(peer) == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"{tag} NO [CANNOT] Invalid label\r\n", MailboxRefused),
        (b"{tag} NO [THROTTLED] slow down\r\n", TryLater),
        (b"{tag} BAD Request is throttled. Suggested Backoff Time: 250 ms\r\n", TryLater),
    ],
)
def test_a_refusal_of_labels_is_quoted(selected: Selected, answer: bytes, error: type[Exception]) -> None:
    _, target = selected(gmail=True, uids=[1], replies={"UID STORE": answer})
    with pytest.raises(error) as caught:
        target.label([1], ["Old"])
    assert answer.decode().split(" ", 2)[2].strip() in str(caught.value)


def test_labels_come_between_messages_that_are_under_way(selected: Selected) -> None:
    """As in a replay, where some messages are answered while others are on their way."""
    peer, session = selected(gmail=True)
    target = labelling(session, ["Old"])
    messages = [letter(number) for number in range(6)]
    told: list[Sent] = []
    target.send(messages[:3])
    told += target.reap(wait=False)
    target.send(messages[3:])
    while some := target.reap():
        told += some
    assert [sent.message for sent in told] == messages and all(sent.receipt for sent in told)
    assert [entry.mail.labels for entry in peer.account["INBOX"].entries] == [{"Old"}] * 6
    assert peer.stored == [b"".join(message.chunks()) for message in messages]


def letter(number: int) -> Outgoing:
    octets = b"Message-ID: <%d@x.example>\r\n\r\nx1 CREATE PWNED\r\n" % number + b"line\r\n" * 1000 * (number % 2)
    return Outgoing(len(octets), datetime(2001, 2, 3, tzinfo=UTC), False, lambda: iter([octets]))
