"""What a session tells of its server: capabilities, room, and what Gmail has anywhere; nothing is changed by asking."""

from __future__ import annotations

import pytest

from mailmove.errors import ProtocolError, TryLater
from mailmove.targets import Quota, Traits
from tests.hostile.imap_peer import ALL_MAIL, ImapQuirks, Opener, Peers, Selected

KIB = 1024


def letter(name: str, lines: int = 1) -> bytes:
    return f"Subject: x\r\nMessage-ID:\r\n <{name}>\r\n\r\n".encode() + b"text\r\n" * lines


# ---- traits


@pytest.mark.parametrize(
    ("capabilities", "traits"),
    [
        ("IMAP4rev1", Traits()),
        ("IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS", Traits(literal_plus=True, multiappend=True, uidplus=True)),
        ("IMAP4rev1 APPENDLIMIT=35651584 LITERAL-", Traits(literal_minus=True, append_limit=35_651_584)),
        ("IMAP4rev1 APPENDLIMIT", Traits()),
        ("IMAP4rev1 APPENDLIMIT=0", Traits()),
        ("IMAP4rev1 APPENDLIMIT=lots", Traits()),
    ],
)
def test_what_a_server_says_of_itself(selected: Selected, capabilities: str, traits: Traits) -> None:
    assert selected(capabilities=capabilities)[1].traits() == traits


def test_gmail_is_told_by_its_traits(selected: Selected) -> None:
    assert selected(gmail=True)[1].traits().gmail


def test_a_round_trip_is_measured_by_commands_that_do_nothing(selected: Selected) -> None:
    peer, target = selected()
    before = len(peer.verbs)
    assert 0 < target.round_trip() < 5
    assert set(peer.verbs[before:]) == {"NOOP"}


# ---- quota


@pytest.mark.parametrize(
    ("told", "quota"),
    [
        (b'* QUOTA "User quota" (STORAGE 10 512)', Quota(10 * KIB, 512 * KIB, "User quota")),
        (b'* QUOTA "" (MESSAGE 3 9 STORAGE 10 512)', Quota(10 * KIB, 512 * KIB)),
        (
            b"* QUOTA a (STORAGE 1 100)\r\n* QUOTA 7 (storage 1 50)\r\n* QUOTA c (STORAGE 0 80)",
            Quota(KIB, 50 * KIB, "7"),
        ),
        (b"* QUOTA {4}\r\nroot (STORAGE 600 512)", Quota(600 * KIB, 512 * KIB, "root")),
        (b'* QUOTA "" (STORAGE 10 0)', None),
        (b'* QUOTA "" (MESSAGE 10 20)', None),
        (b'* QUOTA "" ()', None),
    ],
)
def test_the_room_that_is_told_is_in_octets(selected: Selected, told: bytes, quota: Quota | None) -> None:
    reply = b'* QUOTAROOT "INBOX" "a"\r\n' + told + b"\r\n{tag} OK done\r\n"
    peer, target = selected(capabilities="IMAP4rev1 QUOTA", replies={"GETQUOTAROOT": reply})
    assert target.quota("INBOX") == quota
    assert quota is None or quota.left == max(0, quota.limit - quota.used)
    assert peer.commands[-1].endswith('GETQUOTAROOT "INBOX"')


def test_quota_by_the_newer_capability_and_a_name_that_needs_quotes(selected: Selected) -> None:
    peer, target = selected(capabilities="IMAP4rev1 QUOTA=RES-STORAGE", quota=(1, 2))
    peer.account.create("B&APw-ro & Post")
    assert target.quota("Büro") is None, "the server says NO: there is no such mailbox"
    assert target.quota("INBOX") == Quota(KIB, 2 * KIB, "User")
    assert peer.commands[-2].endswith('GETQUOTAROOT "B&APw-ro"')


def test_who_has_no_quota_is_not_asked(selected: Selected) -> None:
    peer, target = selected()
    assert target.quota("INBOX") is None
    assert "GETQUOTAROOT" not in peer.verbs


def test_a_quota_outside_the_grammar_is_a_broken_connection(selected: Selected) -> None:
    reply = b'* QUOTA "" (STORAGE ten 20)\r\n{tag} OK done\r\n'
    with pytest.raises(ProtocolError):
        selected(capabilities="IMAP4rev1 QUOTA", replies={"GETQUOTAROOT": reply})[1].quota("INBOX")


# ---- sizes


def test_sizes_of_messages_by_uid(selected: Selected) -> None:
    peer, target = selected()
    uids = peer.account.add("INBOX", *(letter(f"{n}@x", n) for n in range(500)))
    assert target.sizes([*uids, 9_000, uids[0]]) == {uid: len(letter(f"{uid - 1}@x", uid - 1)) for uid in uids}
    assert target.sizes([]) == {} == target.sizes([9_000])


def test_sizes_that_are_not_shown_are_not_sizes_of_nothing(selected: Selected) -> None:
    with pytest.raises(TryLater):
        selected(replies={"UID FETCH": b"{tag} NO no\r\n"})[1].sizes([1])


# ---- elsewhere


@pytest.mark.parametrize("name", [ALL_MAIL, "[Google Mail]/Alle Nachrichten"])
def test_all_mail_is_found_by_its_use_and_asked_by_message_id(peers: Peers, enter: Opener, name: str) -> None:
    peer = peers(ImapQuirks(gmail=True, all_mail=name))
    peer.account.add(name, letter("a@x", 1), letter("b@x", 2), letter("ab@x", 3))
    target = enter(peer)
    before = target.select("INBOX")
    found = target.elsewhere(["<a@x>", " <b@x>", "<c@x>", "", "<ü@x>", "a@x"])
    assert found == {"<a@x>": [len(letter("a@x", 1))], " <b@x>": [len(letter("b@x", 2))]}
    assert target.moment() == before and target.append_limit() == 35_651_584
    said = [command.partition(" ")[2] for command in peer.commands]
    assert [line for line in said if line.startswith(("SELECT", "EXAMINE"))] == [
        'SELECT "INBOX"',
        f'EXAMINE "{name}"',
        'SELECT "INBOX"',
    ]


def test_many_message_ids_are_asked_in_lines_of_bounded_length(peers: Peers, enter: Opener) -> None:
    ids = [f"<{n:03}{'x' * 400}@x>" for n in range(100)]
    peer = peers(ImapQuirks(gmail=True))
    peer.account.add("INBOX", *(letter(one.strip("<>"), 1) for one in ids))
    target = enter(peer)
    target.select("INBOX")
    assert target.elsewhere(ids) == {one: [len(letter(one.strip("<>"), 1))] for one in ids}
    assert max(map(len, peer.commands)) < 8_000
    assert peer.verbs.count("UID SEARCH") <= 15


def test_an_id_that_looks_like_a_command_is_only_looked_for(peers: Peers, enter: Opener) -> None:
    trap = '<"x\\y" ALL) (OR {5+}@x>'
    peer = peers(ImapQuirks(gmail=True))
    peer.account.add("INBOX", letter(trap.strip("<>")), letter("other@x"))
    target = enter(peer)
    target.select("INBOX")
    assert target.elsewhere([trap, "<a@x>\r\nx CREATE y"]) == {trap: [len(letter(trap.strip("<>")))]}
    assert "CREATE" not in peer.verbs


def test_where_there_is_no_all_mail_nobody_can_be_asked(selected: Selected) -> None:
    peer, target = selected(capabilities="IMAP4rev1 X-GM-EXT-1")
    assert target.elsewhere(["<a@x>"]) == {}
    assert "EXAMINE" not in peer.verbs


@pytest.mark.parametrize("verb", ["EXAMINE", "UID SEARCH", "UID FETCH"])
def test_a_refusal_to_tell_is_not_a_no(peers: Peers, enter: Opener, verb: str) -> None:
    peer = peers(ImapQuirks(gmail=True, replies={verb: b"{tag} NO not now\r\n"}))
    peer.account.add("INBOX", letter("a@x"))
    target = enter(peer)
    target.select("INBOX")
    with pytest.raises(TryLater, match="not now"):
        target.elsewhere(["<a@x>"])
