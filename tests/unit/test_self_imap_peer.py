"""The scripted IMAP server: each way to be special is as special as it says, and without quirks it is an IMAP server.

Strategy: imaplib where an honest client will do, and a bare socket where commands must come in one write, as those of a
client that pipelines do.
"""

from __future__ import annotations

import imaplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.hostile.imap_peer import ALL_MAIL, ImapPeer, ImapQuirks, Interruption, Then
from tests.support.client import HOST, PASSWORD

LOGIN = f'a LOGIN me "{PASSWORD}"\r\n'.encode()
PIPELINING = "IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS"


@contextmanager
def client(peer: ImapPeer) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4(HOST, peer.port, 10) as session:
        session.login("me", PASSWORD)
        yield session


def said(peer: ImapPeer, octets: bytes, end: bytes = b"z") -> bytes:
    """Everything the server says when all of this comes in one write, up to its answer to a last NOOP."""
    with socket.create_connection((HOST, peer.port), 10) as connection:
        connection.sendall(LOGIN + octets + end + b" NOOP\r\n")
        with connection.makefile("rb") as answers:
            lines = iter(answers.readline, b"")
            said = b""
            for line in lines:
                said += line
                if line.startswith(end + b" "):
                    return said
            return said


def append(tag: str, *messages: bytes, plus: str = "+") -> bytes:
    """One APPEND command with literals of their own kind."""
    literals = b"".join(b" () {%d%s}\r\n%s" % (len(one), plus.encode(), one) for one in messages)
    return f'{tag} APPEND "INBOX"'.encode() + literals + b"\r\n"


def letter(number: int, message_id: str = "", lines: int = 1) -> bytes:
    field = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return f"{field}Subject: {number}\r\n\r\n".encode() + b"text\r\n" * lines


# ---- an honest server


def test_an_honest_peer_is_an_imap_server() -> None:
    with ImapPeer(ImapQuirks(capabilities="IMAP4rev1 UIDPLUS")) as peer, client(peer) as imap:
        assert imap.select("INBOX") == ("OK", [b"0"])
        for number in range(3):
            kind, (answer,) = imap.append("INBOX", r"(\Seen)", '"05-Jan-1999 00:00:00 +0000"', letter(number))
            assert (kind, answer) == ("OK", b"[APPENDUID 7 %d] appended" % (number + 1))
        assert imap.status("INBOX", "(UIDNEXT MESSAGES)")[1] == [b'"INBOX" (UIDNEXT 4 MESSAGES 3)']
        assert imap.uid("SEARCH", "UID", "2:*")[1] == [b"2 3"]
        _, ((head, body), _) = imap.uid("FETCH", "2", "(RFC822.SIZE FLAGS INTERNALDATE BODY.PEEK[])")
        assert body == letter(1)
        assert head.startswith(b"2 (UID 2 RFC822.SIZE %d FLAGS (\\Seen) INTERNALDATE" % len(letter(1)))
        assert imap.create("Other")[0] == "OK" and imap.create("Other")[0] == "NO"
        assert b'() "/" "Other"' in imap.list()[1]
        assert imap.list('""', '""')[1] == [b'(\\Noselect) "/" ""']
        assert imap.status("Nowhere", "(UIDNEXT)")[0] == imap.select("Nowhere")[0] == "NO"
        assert imap.append("Nowhere", "", "", letter(9))[1] == [b"[TRYCREATE] no such mailbox"]
    assert peer.stored == peer.account["INBOX"].stored == [letter(0), letter(1), letter(2)]


def test_a_wrong_password_and_a_command_nobody_knows() -> None:
    with ImapPeer() as peer:
        session = imaplib.IMAP4(HOST, peer.port, 10)
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            session.login("me", "wrong")
        session.logout()
        assert b"x BAD unknown" in said(peer, b"x RUN away\r\n")


@pytest.mark.parametrize(
    ("criteria", "uids"),
    [
        ('HEADER Message-ID "<B@X>"', b"2"),
        ('OR HEADER Message-ID "<a@x>" HEADER Message-ID "<c@x>"', b"1 3"),
        ("UID 2:* HEADER Message-ID <c@x>", b"3"),
        ("X-GM-RAW rfc822msgid:b@x", b"2"),
        ("X-GM-MSGID 3", b"3"),
        ("ALL", b"1 2 3"),
        ('HEADER Message-ID "no"', b""),
    ],
)
def test_a_search_finds_what_it_asks_for(criteria: str, uids: bytes) -> None:
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        peer.account.add("INBOX", *(letter(n, f"{name}@x") for n, name in enumerate("abc")))
        with client(peer) as imap:
            imap.select("INBOX", readonly=True)
            assert imap.uid("SEARCH", criteria)[1] == [uids]


def test_one_message_comes_to_all_who_look() -> None:
    with ImapPeer() as peer, client(peer) as one, client(peer) as other:
        assert one.select("INBOX") == other.select("INBOX") == ("OK", [b"0"])
        one.append("INBOX", "", "", letter(1))
        other.noop()
        assert other.response("EXISTS") == ("EXISTS", [b"0", b"1"])
    assert [verbs[-1].split()[1] for verbs in peer.sessions] == ["LOGOUT", "LOGOUT"]


# ---- literals that come unasked, and several messages in one command


def test_pipelined_appends_are_answered_in_order() -> None:
    with ImapPeer(ImapQuirks(capabilities=PIPELINING)) as peer:
        answers = said(peer, b"".join(append(f"t{n}", letter(n)) for n in range(300)))
    assert [line.split()[:4] for line in answers.splitlines() if line.startswith(b"t")] == [
        [b"t%d" % n, b"OK", b"[APPENDUID", b"7"] for n in range(300)
    ]
    assert peer.account["INBOX"].stored == [letter(n) for n in range(300)]


def test_a_batch_gets_one_answer_with_all_uids_in_order() -> None:
    with ImapPeer(ImapQuirks(capabilities=PIPELINING)) as peer:
        peer.account.add("INBOX", letter(0))
        answers = said(peer, append("t", *map(letter, (1, 2, 3))) + append("u", letter(4)))
    assert b"t OK [APPENDUID 7 2:4] appended\r\nu OK [APPENDUID 7 5] appended\r\n" in answers
    assert peer.batches == [3, 1] and peer.account["INBOX"].stored == [letter(n) for n in range(5)]


def refuse_two(octets: bytes) -> bytes:
    return b"NO [TOOBIG] no twos" if b"Subject: 2" in octets else b""


def test_a_refused_message_refuses_its_batch_and_no_other() -> None:
    with ImapPeer(ImapQuirks(capabilities=PIPELINING, refuse=refuse_two)) as peer:
        answers = said(peer, append("t", *map(letter, (1, 2, 3))) + append("u", letter(4)) + append("v", letter(2)))
    lines = [line for line in answers.splitlines() if line[:1] in b"tuv"]
    assert lines == [b"t NO [TOOBIG] no twos", b"u OK [APPENDUID 7 1] appended", b"v NO [TOOBIG] no twos"]
    assert peer.stored == [letter(4)]


@pytest.mark.parametrize(
    ("capabilities", "messages"),
    [
        ("IMAP4rev1", [b"x" * 10]),
        ("IMAP4rev1 LITERAL-", [b"x" * 4097]),
        ("IMAP4rev1 LITERAL+", [b"x" * 10, b"y" * 10]),
    ],
)
def test_what_was_not_offered_is_bad_and_the_rest_is_read_as_commands(
    capabilities: str, messages: Sequence[bytes]
) -> None:
    trap = b"x1 CREATE PWNED\r\n"
    with ImapPeer(ImapQuirks(capabilities=capabilities)) as peer:
        answers = said(peer, append("t", *messages[:-1], trap + messages[-1]))
    assert b"t BAD" in answers and peer.stored == []
    assert "x1 CREATE PWNED" in peer.commands and "PWNED" in peer.account.mailboxes


def test_a_short_literal_needs_no_more_than_literal_minus() -> None:
    with ImapPeer(ImapQuirks(capabilities="IMAP4rev1 LITERAL-")) as peer:
        assert b"t OK appended\r\n" in said(peer, append("t", b"x" * 4096))
    assert peer.stored == [b"x" * 4096]


def test_a_message_above_the_limit_is_refused_before_it_is_sent_or_after() -> None:
    with ImapPeer(ImapQuirks(capabilities=f"{PIPELINING} APPENDLIMIT=50")) as peer:
        asked, unasked = append("t", letter(1, lines=50), plus="").partition(b"\r\n")[0] + b"\r\n", letter(1, lines=50)
        answers = said(peer, asked + append("u", unasked) + append("v", letter(2)))
    assert b"t NO [TOOBIG]" in answers and b"u NO [TOOBIG]" in answers and b"v OK" in answers
    assert peer.stored == [letter(2)]


def test_an_answer_of_the_tests_own_to_a_literal_that_comes_unasked() -> None:
    replies = {"APPEND": [b"{tag} NO [UNAVAILABLE] later\r\n", b""]}
    with ImapPeer(ImapQuirks(capabilities=PIPELINING, replies=replies)) as peer:
        answers = said(peer, append("t", letter(1), letter(2)) + append("u", letter(3)))
    assert b"t NO [UNAVAILABLE] later\r\nu OK" in answers.replace(b"* 1 EXISTS\r\n", b"")
    assert peer.stored == [letter(3)]


def test_an_interruption_in_one_literal_only() -> None:
    interruption = Interruption(3, b"* BYE enough\r\n", Then.CLOSE, literal=2)
    with ImapPeer(ImapQuirks(capabilities=PIPELINING, interruption=interruption)) as peer:
        with socket.create_connection((HOST, peer.port), 10) as connection:
            connection.sendall(LOGIN + append("t", letter(1)) + append("u", letter(2)))
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answers:
                heard = answers.read()
        assert b"t OK" in heard and heard.endswith(b"* BYE enough\r\n")
        assert b"v OK" in said(peer, append("v", letter(3)))
    assert peer.stored == [letter(1), letter(3)]


# ---- sessions


@pytest.mark.parametrize(
    "answer", [b"{tag} NO [UNAVAILABLE] too many\r\n", b"* BYE [UNAVAILABLE] too many connections\r\n"]
)
def test_more_sessions_than_it_takes(answer: bytes) -> None:
    with ImapPeer(ImapQuirks(most_sessions=2, one_too_many=answer)) as peer:
        with client(peer), client(peer):
            third = imaplib.IMAP4(HOST, peer.port, 10)
            with pytest.raises(imaplib.IMAP4.error, match="too many"):
                third.login("me", PASSWORD)
            third.shutdown()
        with client(peer):
            pass
    assert peer.most_at_once == 2


def test_quota_is_told_where_there_is_one() -> None:
    with ImapPeer(ImapQuirks(capabilities="IMAP4rev1 QUOTA", quota=(10, 500))) as peer, client(peer) as imap:
        assert imap.getquotaroot("INBOX") == ("OK", [[b'"INBOX" "User"'], [b'"User" (STORAGE 10 500)']])


# ---- Gmail


def test_gmail_answers_ok_and_keeps_the_first_of_an_equal_message_id() -> None:
    first, other, third = letter(1, "same@x"), letter(2, "same@x", lines=9), letter(3, "else@x")
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        answers = said(peer, append("t", first) + append("u", other) + append("v", third))
        assert b"t OK [APPENDUID 7 1]" in answers and b"u OK [APPENDUID 7 1]" in answers
        assert b"v OK [APPENDUID 7 2]" in answers
    assert peer.stored == peer.account["INBOX"].stored == peer.account[ALL_MAIL].stored == [first, third]


def test_gmail_merges_with_what_is_in_all_mail_only_and_not_what_has_no_message_id() -> None:
    there, other = letter(1, "same@x"), letter(2, "same@x", lines=9)
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        peer.account.add(ALL_MAIL, there)
        answers = said(peer, append("t", other) + append("u", letter(3)) + append("v", letter(3)))
        assert b"t OK [APPENDUID 7 1]" in answers
    assert peer.account["INBOX"].stored == [there, letter(3), letter(3)]
    assert peer.account[ALL_MAIL].stored == [there, letter(3), letter(3)]


def test_gmail_says_what_it_is_and_keeps_labels() -> None:
    with ImapPeer(ImapQuirks(gmail=True, all_mail="[Gmail]/Alle Nachrichten")) as peer:
        peer.account.add("INBOX", letter(1))
        with client(peer) as imap:
            assert {"X-GM-EXT-1", "LITERAL-", "UIDPLUS", "APPENDLIMIT=35651584"} <= set(imap.capabilities)
            assert not {"MULTIAPPEND", "LITERAL+"} & set(imap.capabilities)
            assert b'(\\All) "/" "[Gmail]/Alle Nachrichten"' in imap.list()[1]
            assert imap.select('"[Gmail]"')[0] == "NO"
            imap.select("INBOX")
            assert imap.uid("STORE", "1", "+X-GM-LABELS", '("Old mail" \\Starred)')[0] == "OK"
            assert imap.uid("STORE", "1", "+X-GM-LABELS", "(Work)")[1] == [
                b'1 (UID 1 X-GM-LABELS ("Old mail" "Work" "\\Starred"))'
            ]
        assert peer.account["INBOX"].entries[0].mail.labels == {"Old mail", "\\Starred", "Work"}
