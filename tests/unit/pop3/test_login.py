"""From the greeting to the TRANSACTION state."""

from __future__ import annotations

from base64 import b64encode

import pytest

from mailmove.errors import ConnectionLost, ProtocolError
from mailmove.protocols.pop3 import (
    MAX_LINE,
    NEED_DATA,
    Accepted,
    Apop,
    Auth,
    AuthCancel,
    AuthResponse,
    Capa,
    CapabilityList,
    Challenge,
    Closed,
    Command,
    Greeting,
    Noop,
    Pass,
    Refused,
    Stat,
    Stls,
    User,
)
from tests.unit.wire import connect, drain, greeted, logged_in, play, run


@pytest.mark.parametrize(
    ("line", "greeting"),
    [
        (b"+OK Dovecot ready.\r\n", Greeting("Dovecot ready.", "")),
        (
            b"+OK hi <1896.69@dbc.mtview.ca.us>\r\n",
            Greeting("hi <1896.69@dbc.mtview.ca.us>", "<1896.69@dbc.mtview.ca.us>"),
        ),
        (b"+OK <no timestamp> a<b@c d>\r\n", Greeting("<no timestamp> a<b@c d>", "")),
        (b"+OK\r\n", Greeting("", "")),
        (b"+ok  hi\r\n", Greeting("hi", "")),
        ("+OK Grüße\r\n".encode(), Greeting("Grüße", "")),
        ("+OK Grüße\r\n".encode("latin-1"), Greeting("Grüße", "")),
        (b"+OK LF server\n", Greeting("LF server", "")),
    ],
)
def test_a_greeting(line: bytes, greeting: Greeting) -> None:
    assert run(connect, line) == [greeting]


def test_a_server_may_refuse_to_begin() -> None:
    line = b"-ERR [SYS/TEMP] too many connections\r\n"
    assert run(connect, line) == [Refused(None, "[SYS/TEMP] too many connections", "SYS/TEMP")]
    assert run(connect, line, b"") == [Refused(None, "[SYS/TEMP] too many connections", "SYS/TEMP"), Closed()]


@pytest.mark.parametrize(
    "line", [b"220 smtp.example ESMTP\r\n", b"* OK IMAP\r\n", b"\r\n", b"+OKAY\r\n", b"+ OK\r\n", b"\x16\x03\x01\n"]
)
def test_what_is_no_pop3_server(line: bytes) -> None:
    assert run(connect, line) == [ProtocolError]


def test_nothing_happens_before_the_greeting() -> None:
    connection = connect()
    assert (connection.next_event(), connection.data_to_send()) == (NEED_DATA, b"")


def test_user_and_pass() -> None:
    user, secret = User("me"), Pass("secret")
    events = [Accepted(user, "go on"), Accepted(secret, "logged in")]
    assert run(greeted, user, b"+OK go on\r\n", secret, b"+OK logged in\r\n") == events


@pytest.mark.parametrize(
    ("reply", "code", "argument"),
    [
        ("[IN-USE] locked", "IN-USE", ""),
        ("[sys/temp] later", "SYS/TEMP", ""),
        ("[LOGIN-DELAY 300] too often", "LOGIN-DELAY", "300"),
        ("[ AUTH ]", "AUTH", ""),
        ("[] odd", "", ""),
        ("[unclosed", "", ""),
        ("not [AUTH] at the beginning", "", ""),
        ("", "", ""),
        ("[" * 3000 + "]" * 3000, "[" * 2999, ""),
    ],
)
def test_response_codes(reply: str, code: str, argument: str) -> None:
    secret = Pass("x")
    assert run(greeted, secret, f"-ERR {reply}\r\n".encode()) == [Refused(secret, reply, code, argument)]


def test_a_reply_in_any_encoding_can_be_read() -> None:
    secret = Pass("x")
    events = run(greeted, secret, "-ERR 密码错误\r\n".encode("gbk"))
    assert events == [Refused(secret, "密码错误".encode("gbk").decode("latin-1"))]


def test_capabilities() -> None:
    listing = b"+OK\r\nTOP\r\nuidl\r\nSASL PLAIN  XOAUTH2\r\n\r\nSASL LOGIN\r\nLOGIN-DELAY 300 USER\r\n..odd\r\n.\r\n"
    expected = {
        "TOP": (),
        "UIDL": (),
        "SASL": ("PLAIN", "XOAUTH2", "LOGIN"),
        "LOGIN-DELAY": ("300", "USER"),
        ".ODD": (),
    }
    assert run(greeted, Capa(), listing) == [CapabilityList(Capa(), expected)]
    assert run(greeted, Capa(), b"+OK\r\n.\r\n") == [CapabilityList(Capa(), {})]
    assert run(greeted, Capa(), b"-ERR unknown\r\n") == [Refused(Capa(), "unknown")]


def test_an_initial_response_is_answered_at_once() -> None:
    auth = Auth("PLAIN", b"\0me\0secret")
    assert run(greeted, auth, b"+OK logged in\r\n") == [Accepted(auth, "logged in")]
    assert run(greeted, auth, b"-ERR [AUTH] no\r\n") == [Refused(auth, "[AUTH] no", "AUTH")]


@pytest.mark.parametrize("empty", [b"+ \r\n", b"+\r\n"])
def test_a_response_in_two_steps(empty: bytes) -> None:
    auth, response = Auth("XOAUTH2"), AuthResponse(b"user=me\1auth=Bearer t\1\1")
    events = [Challenge(auth, b""), Accepted(response, "")]
    assert run(greeted, auth, empty, response, b"+OK\r\n") == events


def test_a_challenge_may_follow_a_challenge() -> None:
    auth, response, empty = Auth("XOAUTH2"), AuthResponse(b"token"), AuthResponse(b"")
    script = (auth, b"+ \r\n", response, b"+ " + b64encode(b'{"status":"400"}') + b"\r\n", empty, b"-ERR no\r\n")
    events = [Challenge(auth, b""), Challenge(response, b'{"status":"400"}'), Refused(empty, "no")]
    assert run(greeted, *script) == events


def test_an_exchange_can_be_given_up() -> None:
    auth = Auth("SCRAM-SHA-256")
    script = (auth, b"+ AAAA\r\n", AuthCancel(), b"-ERR cancelled\r\n", User("me"), b"+OK\r\n")
    assert run(greeted, *script)[1:] == [Refused(AuthCancel(), "cancelled"), Accepted(User("me"), "")]
    assert run(greeted, auth, b"+ AAAA\r\n", AuthCancel(), b"+ AAAA\r\n")[1:] == [ProtocolError]


@pytest.mark.parametrize("line", [b"+ not base64!\r\n", b"+ abc\r\n", b"+ \xe4\xf6\r\n", b"+AAAA\r\n"])
def test_a_challenge_is_base64(line: bytes) -> None:
    assert run(greeted, Auth("PLAIN"), line) == [ProtocolError]


def test_a_challenge_answers_nothing_but_auth() -> None:
    assert run(greeted, User("me"), b"+ \r\n") == [ProtocolError]
    assert run(logged_in, Noop(), b"+ \r\n") == [ProtocolError]


def test_the_end_inside_an_exchange_is_a_loss() -> None:
    assert run(greeted, Auth("PLAIN"), b"+ \r\n", b"")[1:] == [ConnectionLost]


def test_stls_goes_on_under_tls() -> None:
    script = (Stls(), b"+OK begin\r\n", Capa(), b"+OK\r\n.\r\n")
    assert run(greeted, *script) == [Accepted(Stls(), "begin"), CapabilityList(Capa(), {})]
    assert run(greeted, Stls(), b"-ERR no\r\n") == [Refused(Stls(), "no")]


@pytest.mark.parametrize("injected", [b"+", b"\n", b"+OK\r\n", b"-ERR [AUTH] me too\r\n"])
def test_octets_behind_the_answer_to_stls_are_an_attack(injected: bytes) -> None:
    connection = greeted()
    assert play(connection, [Stls(), b"+OK begin\r\n" + injected]) == [ProtocolError]
    with pytest.raises(ProtocolError):
        connection.send(Capa())
    # The same octets a moment later, before the handshake: nobody asked for them.
    later = greeted()
    assert play(later, [Stls(), b"+OK begin\r\n"]) == [Accepted(Stls(), "begin")]
    later.receive_data(injected)
    with pytest.raises(ProtocolError):
        later.send(Capa())
    assert drain(later) == [ProtocolError]


def test_octets_behind_a_refused_stls_are_unsolicited() -> None:
    assert play(greeted(), [Stls(), b"-ERR no\r\n+OK\r\n"]) == [Refused(Stls(), "no"), ProtocolError]


@pytest.mark.parametrize(
    "reply", [b"PASS hunter2\r\n", b"-ERR bad command PASS hunter2\r\n", b"-ERR no\r\nPASS hunter2\r\n"]
)
def test_a_server_that_echoes_gives_no_secret_away(reply: bytes) -> None:
    connection = greeted()
    events = play(connection, [Pass("hunter2"), reply])
    assert "hunter2" not in repr(events)
    if events[-1] is ProtocolError:
        with pytest.raises(ProtocolError) as error:
            connection.next_event()
        assert "PASS ***" in str(error.value)
        assert "hunter2" not in f"{error.value}{error.value.server_text}"


@pytest.mark.parametrize(
    "late", [b"-ERR what is PASS hunter2\r\n", b"PASS hunter2\r\n", b"+OK 1 2\r\nPASS hunter2\r\n"]
)
def test_an_echo_that_comes_later_is_masked_too(late: bytes) -> None:
    connection = greeted()
    events = play(connection, [Pass("hunter2"), b"+OK\r\n", Stat(), late])
    assert "hunter2" not in repr(events)
    if events[-1] is ProtocolError:
        with pytest.raises(ProtocolError, match=r"PASS \*\*\*") as error:
            connection.next_event()
        assert "hunter2" not in error.value.server_text


@pytest.mark.parametrize(
    ("login", "secret"),
    [
        (Pass("hunter2-and-more"), "hunter2-and-more"),
        (Pass("*pässwörter*"), "*pässwörter*"),
        (Apop("me", "0123456789abcdef"), "0123456789abcdef"),
        (Auth("PLAIN", b"hunter2-and-more"), b64encode(b"hunter2-and-more").decode()),
        (AuthResponse(b"hunter2-and-more"), b64encode(b"hunter2-and-more").decode()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_unsolicited_echo_that_is_not_all_here_gives_no_more_than_three_characters_away(
    login: Pass | Apop | Auth | AuthResponse, secret: str
) -> None:
    before: list[Command | bytes] = [Auth("LOGIN"), b"+ \r\n"] if isinstance(login, AuthResponse) else []
    echo = login.line()
    for cut in range(1, len(echo) + 1):
        connection = greeted()
        play(connection, [*before, login, b"+OK\r\n" + b"you said " + echo[:cut]])
        with pytest.raises(ProtocolError, match="you said") as error:
            connection.next_event()
        for said in (str(error.value), error.value.server_text):
            for form in (secret[:4], secret.encode().decode("latin-1")[:4]):
                assert form not in said, (cut, said)


def test_an_echo_without_end_gives_nothing_away() -> None:
    connection = greeted()
    play(connection, [Pass("hunter2"), b"you said PASS hunter2 " + b"x" * MAX_LINE])
    with pytest.raises(ProtocolError, match=r"PASS \*\*\*") as error:
        connection.next_event()
    assert "hunter2" not in f"{error.value}{error.value.server_text}"


def test_an_echoed_sasl_response_is_masked() -> None:
    token = b64encode(b"hunter2")
    auth = Auth("PLAIN", b"hunter2")
    assert play(greeted(), [auth, b"-ERR AUTH PLAIN " + token + b"\r\n"]) == [Refused(auth, "AUTH PLAIN ***")]
    response = AuthResponse(b"hunter2")
    events = play(greeted(), [Auth("PLAIN"), b"+ \r\n", response, b"-ERR what is " + token + b"\r\n"])
    assert events[1:] == [Refused(response, "what is AUTH response ***")]
