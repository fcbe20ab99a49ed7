"""The IMAP target against a server that lies, refuses, stalls and hangs up: each by what becomes of the session."""

from __future__ import annotations

import base64
import contextlib
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from mailmove.errors import (
    AuthenticationRejected,
    ConnectionLost,
    HostUnreachable,
    Interrupted,
    MailboxRefused,
    MailmoveError,
    MessageRejected,
    PlaintextRefused,
    ProtocolError,
    QuotaExceeded,
    TimedOut,
    TryLater,
)
from mailmove.net import TlsPolicy
from mailmove.targets import Outgoing, Receipt
from mailmove.targets.imap import ImapEndpoint, ImapTarget, open_imap
from tests.hostile.imap_peer import ImapPeer, ImapQuirks, Interruption, Then
from tests.servers.certs import Certificates
from tests.support.client import HOST, PASSWORD

LETTER = b"Subject: x\r\n\r\nx1 CREATE PWNED\r\n"
LARGE = LETTER + b"x1 CREATE PWNED\r\n" * 500_000
"""More than fits into the buffers on the way, so that the peer can stop reading before it has all."""

Opener = Callable[..., ImapTarget]


@pytest.fixture
def peers() -> Iterator[Callable[..., ImapPeer]]:
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(ImapPeer(*args, **options))


@pytest.fixture
def enter() -> Iterator[Opener]:
    """Logs in to a peer; closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def opened(
            peer: ImapPeer,
            *,
            password: str = PASSWORD,
            user: str = "me",
            plaintext: bool = True,
            timeout: float = 10,
            policy: TlsPolicy | None = None,
            ok: Callable[[], bool] = lambda: True,
        ) -> ImapTarget:
            way = policy or TlsPolicy()
            endpoint = ImapEndpoint(HOST, peer.port, user, False, way, allow_plaintext=plaintext, timeout=timeout)
            target = open_imap(endpoint, password, ok)
            stack.callback(target.close)
            return target

        yield opened


@pytest.fixture
def selected(peers: Callable[..., ImapPeer], enter: Opener) -> Callable[..., tuple[ImapPeer, ImapTarget]]:
    """A peer with quirks, and a session with it that has selected INBOX."""

    def both(
        timeout: float = 10, ok: Callable[[], bool] = lambda: True, **quirks: object
    ) -> tuple[ImapPeer, ImapTarget]:
        peer = peers(ImapQuirks(**quirks))  # type: ignore[arg-type]
        target = enter(peer, timeout=timeout, ok=ok)
        target.select("INBOX")
        return peer, target

    return both


Selected = Callable[..., tuple[ImapPeer, ImapTarget]]
Peers = Callable[..., ImapPeer]


def outgoing(octets: bytes = LETTER) -> Outgoing:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(octets), 50_000):
            yield octets[start : start + 50_000]

    return Outgoing(len(octets), datetime(2001, 2, 3, tzinfo=UTC), False, chunks)


def assert_dead(target: ImapTarget) -> None:
    with pytest.raises(ConnectionLost):
        target.moment()


# ---- refusals of a message


REFUSALS = [
    (b"{tag} NO [TOOBIG] no\r\n", MessageRejected, "size"),
    (b"{tag} NO Message contains NUL characters\r\n", MessageRejected, "nul"),
    (b"{tag} NO we do not like it\r\n", MessageRejected, "refused"),
    (b"{tag} NO [OVERQUOTA] full\r\n", QuotaExceeded, ""),
    (b"{tag} NO [TRYCREATE] no mailbox\r\n", MailboxRefused, ""),
    (b"{tag} NO [UNAVAILABLE] busy\r\n", TryLater, ""),
]


@pytest.mark.parametrize(("reply", "error", "cause"), REFUSALS)
def test_a_refusal_before_the_message_costs_nothing_and_the_session_goes_on(
    selected: Selected, reply: bytes, error: type[MailmoveError], cause: str
) -> None:
    peer, target = selected(replies={"APPEND": [reply, b""]})
    with pytest.raises(error) as caught:
        target.append(outgoing())
    assert getattr(caught.value, "cause", "") == cause
    assert caught.value.server_text and caught.value.server_text in caught.value.message
    assert target.append(outgoing()) == Receipt()
    assert peer.stored == [LETTER]


def test_a_refusal_in_the_middle_of_a_message_ends_the_session_and_no_octet_becomes_a_command(
    selected: Selected,
) -> None:
    peer, target = selected(interruption=Interruption(1000, b"{tag} NO [TOOBIG] enough\r\n", Then.STALL))
    with pytest.raises(MessageRejected) as caught:
        target.append(outgoing(LARGE))
    assert (caught.value.cause, peer.stored) == ("size", [])
    assert_dead(target)
    assert peer.verbs[-1] == "APPEND"


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET, Then.STALL])
@pytest.mark.parametrize(
    ("says", "error", "delay"),
    [
        (b"* BYE shutting down\r\n", ConnectionLost, None),
        (b"* BYE Request is throttled. Suggested Backoff Time: 1500 milliseconds\r\n", TryLater, 1.5),
    ],
)
def test_a_bye_in_the_middle_of_a_message_is_heard(
    selected: Selected, says: bytes, error: type[MailmoveError], delay: float | None, then: Then
) -> None:
    peer, target = selected(interruption=Interruption(1000, says, then))
    with pytest.raises(error) as caught:
        target.append(outgoing(LARGE))
    assert says[6:-2].decode() in caught.value.message
    assert getattr(caught.value, "delay", None) == delay
    assert_dead(target)
    assert peer.stored == []


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
def test_a_connection_that_ends_in_the_middle_of_a_message_is_lost(selected: Selected, then: Then) -> None:
    _, target = selected(interruption=Interruption(1000, b"", then))
    with pytest.raises(ConnectionLost):
        target.append(outgoing(LARGE))
    assert_dead(target)


def test_a_server_that_stops_reading_is_waited_for_and_then_given_up(selected: Selected) -> None:
    _, target = selected(timeout=0.3, interruption=Interruption(1000, b"", Then.STALL))
    with pytest.raises(TimedOut, match="no progress"):
        target.append(outgoing(LARGE))
    assert_dead(target)


def test_a_server_that_talks_before_it_reads_cannot_deadlock_us(selected: Selected) -> None:
    chatter = b"* OK still here, and writing before I read on\r\n" * 200_000
    peer, target = selected(interruption=Interruption(1000, chatter))
    target.append(outgoing(LARGE))
    assert peer.stored == [LARGE]


@pytest.mark.parametrize("reply", [b"{tag} BAD what\r\n", b"{tag} OK done\r\n", b"{tag} MAYBE\r\n", b"? what\r\n"])
def test_an_answer_that_makes_no_sense_drops_the_connection(selected: Selected, reply: bytes) -> None:
    peer, target = selected(replies={"APPEND": reply})
    with pytest.raises(ProtocolError):
        target.append(outgoing())
    assert_dead(target)
    assert peer.stored == []


def test_an_ok_in_the_middle_of_a_message_proves_nothing(selected: Selected) -> None:
    _, target = selected(interruption=Interruption(1000, b"{tag} OK [APPENDUID 7 1] done\r\n", Then.STALL))
    with pytest.raises(ProtocolError, match="before it had the message"):
        target.append(outgoing(LARGE))
    assert_dead(target)


def test_a_throttling_bad_is_obeyed(selected: Selected) -> None:
    _, target = selected(replies={"APPEND": b"{tag} BAD Request is throttled. Suggested Backoff Time: 250 ms\r\n"})
    with pytest.raises(TryLater) as caught:
        target.append(outgoing())
    assert caught.value.delay == 0.25
    assert_dead(target)


# ---- receipts


@pytest.mark.parametrize(
    ("said", "receipt"),
    [
        (b"[APPENDUID 7 1] done", Receipt(7, 1)),
        (b"[appenduid 7 4294967295] done", Receipt(7, 4294967295)),
        (b"done", Receipt()),
        (b"[APPENDUID 0 1] done", Receipt()),
        (b"[APPENDUID 7 0] done", Receipt()),
        (b"[APPENDUID 7 1:2] done", Receipt()),
        (b"[APPENDUID 7] done", Receipt()),
        (b"[APPENDUID 7 99999999999] done", Receipt()),
        (b"[APPENDUID 7 9999999999] done", Receipt()),
        (b"done [APPENDUID 7 1]", Receipt()),
    ],
)
def test_only_a_receipt_by_the_grammar_counts(selected: Selected, said: bytes, receipt: Receipt) -> None:
    _, target = selected(appended=b"OK " + said)
    assert target.append(outgoing()) == receipt


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
    assert set(peer.verbs) == {"CAPABILITY"}


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
    with pytest.raises(ConnectionLost, match="that is all"):
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


# ---- reading


def test_uids_billions_apart_cost_few_commands(selected: Selected) -> None:
    uids = [1, 2, 5_000, 1_000_000, *range(3_000_000_000, 3_000_005_000), 4_294_967_295]
    peer, target = selected(uids=uids)
    for first in (1, 2, 3, 5_001, 3_000_002_500, 3_000_004_999, 4_294_967_295):
        before = len(peer.commands)
        assert [found.uid for found in target.found(first)] == [uid for uid in uids if uid >= first]
        assert len(peer.commands) - before <= 9


def test_answers_nobody_asked_for_are_passed_over(selected: Selected) -> None:
    fetch = (
        b"* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 20 RFC822.SIZE 200 FLAGS ())\r\n* 3 EXISTS\r\n"
        b"* 1 FETCH (RFC822.SIZE 100 UID 10)\r\n{tag} OK done\r\n"
    )
    _, target = selected(
        uids=[10, 20], replies={"FETCH": [fetch, b"* 3 FETCH (UID 30 RFC822.SIZE 1)\r\n{tag} OK d\r\n"]}
    )
    assert [(found.uid, found.octets) for found in target.found(1)] == [(10, 100), (20, 200), (30, 1)]


def test_the_body_of_another_message_is_not_the_one_asked_for(selected: Selected) -> None:
    reply = b"* 1 FETCH (UID 11 BODY[] {3}\r\nabc)\r\n{tag} OK done\r\n"
    _, target = selected(uids=[10, 11], replies={"UID FETCH": reply})
    assert target.body(10) is None
    assert target.body(11) == b"abc"


@pytest.mark.parametrize(
    ("value", "body"), [(b'"quo\\"ted"', b'quo"ted'), (b"NIL", b""), (b"{0}\r\n", b""), (b'""', b"")]
)
def test_a_body_may_come_in_any_form(selected: Selected, value: bytes, body: bytes) -> None:
    reply = b"* 1 FETCH (BODY[] " + value + b" UID 10)\r\n{tag} OK done\r\n"
    assert selected(uids=[10], replies={"UID FETCH": reply})[1].body(10) == body


def test_a_server_that_will_not_show_is_not_one_that_has_nothing(selected: Selected) -> None:
    _, target = selected(uids=[10], replies={"FETCH": b"{tag} NO no\r\n", "UID FETCH": b"{tag} NO no\r\n"})
    for ask in (lambda: list(target.found(1)), lambda: target.body(10), lambda: target.headers(10)):
        with pytest.raises(TryLater):
            ask()


def test_messages_that_went_while_they_were_asked_for_are_gone(selected: Selected) -> None:
    reply = b"* 2 FETCH (UID 20 RFC822.SIZE 9)\r\n{tag} NO [EXPUNGEISSUED] some are gone\r\n"
    _, target = selected(uids=[10, 20], replies={"FETCH": reply})
    assert [found.uid for found in target.found(1)] == [20]


@pytest.mark.parametrize(
    "garbage",
    [
        b"* 1 FETCH (UID",
        b"* 1 FETCH (UID ten RFC822.SIZE 5)",
        b"* 1 FETCH " + b"(" * 100_000,
        b"* 1 FETCH (BODY[] {99999999999}",
        b"* 1 FETCH " + b"x" * 2_000_000,
        b"* " + b"9" * 5_000 + b" EXISTS",
        b"\x00\xff\xfe",
    ],
)
def test_garbage_is_a_broken_connection(selected: Selected, garbage: bytes) -> None:
    _, target = selected(uids=[10], replies={"FETCH": garbage + b"\r\n{tag} OK done\r\n"})
    with pytest.raises(ProtocolError):
        list(target.found(1))
    assert_dead(target)


def test_an_answer_that_never_ends_is_given_up_and_the_session_with_it(selected: Selected) -> None:
    _, target = selected(timeout=0.3, uids=[10], replies={"FETCH": b"* 1 FETCH (UID 10 RFC822.SIZE 5)\r\n"})
    with pytest.raises(TimedOut):
        list(target.found(1))
    assert_dead(target)


def test_a_stop_that_was_asked_for_is_heard_while_the_server_says_nothing(selected: Selected) -> None:
    going = True
    _, target = selected(ok=lambda: going, timeout=60, interruption=Interruption(5, b"", Then.STALL))
    going = False
    with pytest.raises(Interrupted):
        target.append(outgoing())
    assert_dead(target)


def test_the_end_never_fails(selected: Selected) -> None:
    for reply in (b"{tag} NO\r\n", b"* BYE\r\n", b"garbage\r\n", b"{tag} BAD no\r\n"):
        _, target = selected(replies={"LOGOUT": reply})
        target.quit()
        target.close()
