"""The way in to a hostile IMAP server, up to the selected mailbox: nothing is given away, nothing believed too soon."""

from __future__ import annotations

import base64
import contextlib
import traceback

import pytest

from mailmove.errors import (
    AuthenticationRejected,
    ConnectionLost,
    HostUnreachable,
    MailboxRefused,
    MailmoveError,
    PlaintextRefused,
    ProtocolError,
    TryLater,
)
from mailmove.tls import TlsPolicy
from tests.hostile.imap_peer import ImapQuirks, Opener, Peers, Selected
from tests.servers.certs import Certificates
from tests.support.client import PASSWORD

# ---- the way in


def test_a_server_that_never_greets_was_never_reached(peers: Peers, enter: Opener) -> None:
    with pytest.raises(HostUnreachable, match="is this a TLS port"):
        enter(peers(ImapQuirks(greeting=b"")), timeout=0.3)


@pytest.mark.parametrize(
    ("greeting", "error"),
    [
        (b"* BYE [UNAVAILABLE] not now\r\n", TryLater),
        (b"* BYE Too many connections\r\n", TryLater),
        (b"* BYE go away\r\n", ConnectionLost),
        (b"+OK POP3 ready\r\n", ProtocolError),
        (b"220 smtp ready\r\n", ProtocolError),
        (b"* OK " + b"x" * 2_000_000, ProtocolError),
    ],
)
def test_other_greetings(peers: Peers, enter: Opener, greeting: bytes, error: type[MailmoveError]) -> None:
    with pytest.raises(error):
        enter(peers(ImapQuirks(greeting=greeting)), timeout=1)


@pytest.mark.parametrize("greeting", [b"* PREAUTH hello\r\n", b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] ready\r\n"])
@pytest.mark.parametrize("capabilities", ["IMAP4rev1 LOGINDISABLED", "IMAP4rev1"])
def test_no_password_goes_over_a_line_that_is_not_protected(
    peers: Peers, enter: Opener, greeting: bytes, capabilities: str
) -> None:
    peer = peers(ImapQuirks(greeting=greeting, capabilities=capabilities))
    with pytest.raises(PlaintextRefused):
        enter(peer, plaintext=False)
    assert set(peer.verbs) <= {"CAPABILITY"}


@pytest.mark.parametrize("plaintext", [False, True])
def test_a_session_that_begins_logged_in_gets_no_password_and_no_starttls(
    peers: Peers, enter: Opener, plaintext: bool
) -> None:
    peer = peers(ImapQuirks(greeting=b"* PREAUTH hello\r\n", capabilities="IMAP4rev1 STARTTLS"))
    with contextlib.nullcontext() if plaintext else pytest.raises(PlaintextRefused, match="PREAUTH"):
        assert enter(peer, plaintext=plaintext).select("INBOX").uidvalidity == 7
    assert not {"STARTTLS", "LOGIN", "AUTHENTICATE"} & set(peer.verbs)


def test_logindisabled_is_obeyed_even_where_plaintext_is_allowed(peers: Peers, enter: Opener) -> None:
    peer = peers(ImapQuirks(capabilities="IMAP4rev1 LOGINDISABLED"))
    with pytest.raises(PlaintextRefused, match="LOGINDISABLED"):
        enter(peer)
    assert set(peer.verbs) == {"CAPABILITY"}


def test_what_is_slipped_in_behind_starttls_is_refused(peers: Peers, enter: Opener, certificates: Certificates) -> None:
    quirks = ImapQuirks(capabilities="IMAP4rev1 STARTTLS", behind_starttls=b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
    peer = peers(quirks, context=certificates.server_context())
    with pytest.raises(ProtocolError, match="between STARTTLS and TLS"):
        enter(peer, policy=TlsPolicy(certificates.ca))
    assert "LOGIN" not in peer.verbs and "AUTHENTICATE" not in peer.verbs


def test_what_was_announced_before_tls_is_forgotten(peers: Peers, enter: Opener, certificates: Certificates) -> None:
    """Whoever sits in between could have announced it."""
    greeting = b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED AUTH=XOAUTH2 X-GM-EXT-1] ready\r\n"
    peer = peers(ImapQuirks(greeting=greeting, capabilities="IMAP4rev1"), context=certificates.server_context())
    target = enter(peer, policy=TlsPolicy(certificates.ca), plaintext=False)
    assert "LOGIN" in peer.verbs and not target.merges_message_ids


@pytest.mark.parametrize(
    ("said", "error", "delay"),
    [
        (b"NO [AUTHENTICATIONFAILED] try again later", AuthenticationRejected, None),
        (b"NO wrong", AuthenticationRejected, None),
        (b"NO [UNAVAILABLE] Temporary authentication failure", TryLater, None),
        (b"NO [INUSE] mailbox is locked", TryLater, None),
        (b"NO [LIMIT] sessions", TryLater, None),
        (b"NO Maximum number of connections from user+IP exceeded", TryLater, None),
        (b"NO [ALERT] Too many simultaneous connections. (Failure)", TryLater, None),
        (b"NO Request is throttled. Suggested Backoff Time: 2000 milliseconds", TryLater, 2.0),
    ],
)
def test_refused_logins(
    peers: Peers, enter: Opener, said: bytes, error: type[MailmoveError], delay: float | None
) -> None:
    with pytest.raises(error) as caught:
        enter(peers(ImapQuirks(replies={"LOGIN": b"{tag} " + said + b"\r\n"})))
    assert said[3:].decode() == caught.value.server_text
    assert getattr(caught.value, "delay", None) == delay


SECRET = 'h"un\\ter2'
ENCODED = base64.b64encode(f"\0me\0{SECRET}".encode())


@pytest.mark.parametrize("status", [b"{tag} NO", b"{tag} BAD", b"* BYE", b"?"])
@pytest.mark.parametrize("echo", [SECRET.encode(), b'"h\\"un\\\\ter2"', ENCODED])
@pytest.mark.parametrize("disabled", [" LOGINDISABLED AUTH=PLAIN", ""])
def test_a_password_that_the_server_repeats_is_not_repeated_by_us(
    peers: Peers, enter: Opener, status: bytes, echo: bytes, disabled: str
) -> None:
    reply = status + b" cannot parse " + echo + b"\r\n"
    quirks = ImapQuirks(capabilities="IMAP4rev1" + disabled, replies={"LOGIN": reply, "AUTHENTICATE": reply})
    with pytest.raises(MailmoveError) as caught:
        enter(peers(quirks), password=SECRET)
    everything = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.server_text
    assert "***" in caught.value.message
    for shown in (SECRET, SECRET.replace("\\", "\\\\"), 'h\\"un', "ter2", ENCODED.decode()):
        assert shown not in everything


def test_a_second_challenge_gets_no_second_password(peers: Peers, enter: Opener) -> None:
    replies = {"AUTHENTICATE": b"+ \r\n", "": [b"+ \r\n", b"* BYE that is all\r\n"]}
    peer = peers(ImapQuirks(capabilities="IMAP4rev1 LOGINDISABLED AUTH=PLAIN", replies=replies))
    with pytest.raises(AuthenticationRejected, match="given up: it asks for more than PLAIN has to say"):
        enter(peer)
    assert peer.commands[2:] == [base64.b64encode(f"\0me\0{PASSWORD}".encode()).decode(), "*"]


@pytest.mark.parametrize("name", ["me", 'm"e', "m e", "a\\b", "me) x1 LOGOUT ("])
def test_a_user_name_is_quoted(peers: Peers, enter: Opener, name: str) -> None:
    peer = peers()
    enter(peer, user=name)
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert peer.commands[1].partition(" ")[2] == f'LOGIN "{quoted}" "{PASSWORD}"'


# ---- mailboxes


def test_uidnext_is_asked_for_where_select_does_not_tell_it(selected: Selected) -> None:
    select = b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n{tag} OK done\r\n"
    status = b'* STATUS "INBOX" (MESSAGES 2 UIDNEXT 12 UIDVALIDITY 7)\r\n{tag} OK done\r\n'
    _, target = selected(replies={"SELECT": select, "STATUS": status})
    state = target.select("INBOX")
    assert (state.uidvalidity, state.uidnext, state.messages) == (7, 12, 2)


@pytest.mark.parametrize(
    ("select", "words"),
    [
        (b"* 2 EXISTS\r\n* OK [UIDNEXT 3] next\r\n{tag} OK done\r\n", "UIDVALIDITY"),
        (b"* OK [UIDVALIDITY 7] v\r\n* OK [UIDNEXT 3] next\r\n{tag} OK [READ-ONLY] done\r\n", "reading only"),
        (
            b"* NO [UIDNOTSTICKY] no\r\n* OK [UIDVALIDITY 7] v\r\n* OK [UIDNEXT 3] next\r\n{tag} OK done\r\n",
            "lasting UIDs",
        ),
        (b"{tag} NO [NOPERM] no\r\n", "NOPERM"),
    ],
)
def test_a_mailbox_in_which_nothing_could_be_proved_is_refused(
    peers: Peers, enter: Opener, select: bytes, words: str
) -> None:
    status = b'* STATUS "INBOX" (MESSAGES 2 UIDNEXT 12)\r\n{tag} OK done\r\n'
    target = enter(peers(ImapQuirks(replies={"SELECT": select, "STATUS": status})))
    with pytest.raises(MailboxRefused, match=words):
        target.select("INBOX")


@pytest.mark.parametrize(
    ("listed", "extended", "outcome"),
    [
        (b"", False, None),
        (b'* LIST (\\NonExistent \\HasChildren) "/" "There"\r\n', True, None),
        (b'* LIST (\\Noselect) "/" "There"\r\n', False, MailboxRefused),
        (b'* LIST () "/" "There"\r\n', False, MailboxRefused),
        (b'* LIST () "/" "There and elsewhere"\r\n', False, None),
        (b'* LIST () "/" {5}\r\nThere\r\n', False, MailboxRefused),
    ],
)
def test_absent_is_what_is_not_listed(
    peers: Peers, enter: Opener, listed: bytes, extended: bool, outcome: type[MailmoveError] | None
) -> None:
    replies = {"STATUS": b"{tag} NO cannot\r\n", "LIST": listed + b"{tag} OK done\r\n"}
    capabilities = "IMAP4rev1 LIST-EXTENDED" if extended else "IMAP4rev1"
    peer = peers(ImapQuirks(capabilities=capabilities, replies=replies))
    target = enter(peer)
    if outcome is None:
        assert target.status("There") is None
    else:
        with pytest.raises(outcome):
            target.status("There")
    assert peer.commands[-1].endswith('LIST "" "There" RETURN (CHILDREN)' if extended else 'LIST "" "There"')


def test_busy_is_not_absent(peers: Peers, enter: Opener) -> None:
    target = enter(peers(ImapQuirks(replies={"STATUS": b"{tag} NO [UNAVAILABLE] later\r\n"})))
    with pytest.raises(TryLater):
        target.status("There")


@pytest.mark.parametrize(
    ("create", "subscribe", "error"),
    [
        (b"{tag} NO [ALREADYEXISTS] it is there\r\n", b"{tag} NO no\r\n", None),
        (b"{tag} NO Mailbox already exists\r\n", b"", None),
        (b"{tag} NO [CANNOT] parent does not exist\r\n", b"", MailboxRefused),
        (b"{tag} NO [UNAVAILABLE] later\r\n", b"", TryLater),
    ],
)
def test_making_a_mailbox(
    peers: Peers, enter: Opener, create: bytes, subscribe: bytes, error: type[MailmoveError] | None
) -> None:
    target = enter(peers(ImapQuirks(replies={"CREATE": create, "SUBSCRIBE": subscribe})))
    with pytest.raises(error) if error else contextlib.nullcontext():
        target.create("New")
    assert target.select("INBOX").uidvalidity == 7


@pytest.mark.parametrize(
    ("capabilities", "status", "limit"),
    [
        ("IMAP4rev1", b"", None),
        ("IMAP4rev1 APPENDLIMIT=35651584", b"", 35651584),
        ("IMAP4rev1 APPENDLIMIT=0", b"", None),
        ("IMAP4rev1 APPENDLIMIT=lots", b"", None),
        ("IMAP4rev1 APPENDLIMIT", b'* STATUS "INBOX" (APPENDLIMIT 1000)\r\n{tag} OK done\r\n', 1000),
        ("IMAP4rev1 APPENDLIMIT", b'* STATUS "INBOX" (APPENDLIMIT NIL)\r\n{tag} OK done\r\n', None),
        ("IMAP4rev1 APPENDLIMIT", b'* STATUS "INBOX" (APPENDLIMIT 0)\r\n{tag} OK done\r\n', None),
        ("IMAP4rev1 APPENDLIMIT", b"{tag} NO what\r\n", None),
    ],
)
def test_the_largest_message(selected: Selected, capabilities: str, status: bytes, limit: int | None) -> None:
    _, target = selected(capabilities=capabilities, replies={"STATUS": status} if status else {})
    assert target.append_limit() == limit


def test_gmail_is_known_by_its_extension(selected: Selected) -> None:
    assert selected(capabilities="IMAP4rev1 X-GM-EXT-1")[1].merges_message_ids is True


def test_the_end_never_fails(selected: Selected) -> None:
    for reply in (b"{tag} NO\r\n", b"* BYE\r\n", b"garbage\r\n", b"{tag} BAD no\r\n"):
        _, target = selected(replies={"LOGOUT": reply})
        target.quit()
        target.close()
