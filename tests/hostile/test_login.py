"""Logging in to POP3 servers that refuse, misunderstand or lie: what is sent, in which way, and how often.

Strategy: open_pop3 in this process against a dialogue written down here; the peer keeps every line, so that "nothing
more was sent" is a fact. The secret is looked for in whatever the failure says.
"""

from __future__ import annotations

import base64
import hmac
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from hashlib import pbkdf2_hmac, sha256
from typing import Any

import pytest

from mailmove.errors import (
    AuthenticationRejected,
    ConfigurationError,
    ConnectionLost,
    LoginUnanswered,
    MailmoveError,
    PlaintextRefused,
    TryLater,
)
from mailmove.model import AuthMethod
from mailmove.protocols.pop3 import apop_digest
from mailmove.sources.pop3 import open_pop3
from mailmove.sources.pop3_login import Pop3Endpoint, choose
from tests.hostile.sasl_peer import Reply, SaslPeer
from tests.support.client import HOST

SECRET = "hunter2-and-more"
PLAIN = base64.b64encode(f"\0me\0{SECRET}".encode()).decode()
XOAUTH2 = base64.b64encode(f"user=me\1auth=Bearer {SECRET}\1\1".encode()).decode()

Begin = Callable[..., SaslPeer]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """A peer; its dialogue, and what it announces."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(SaslPeer(*args, **options))


def log_in(peer: SaslPeer, auth: AuthMethod = AuthMethod.AUTO, secret: str = SECRET, **more: Any) -> None:
    more = {"user": "me", "tls": False, "allow_plaintext": True, "timeout": 10.0} | more
    with closing(open_pop3(Pop3Endpoint(HOST, peer.port, auth=auth, **more), secret, lambda: True)):
        pass


def refused(peer: SaslPeer, kind: type[MailmoveError], *args: Any, **more: Any) -> str:
    """What the failure says; the secret is in none of it."""
    with pytest.raises(kind) as caught:
        log_in(peer, *args, **more)
    said = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert not any(form in said for form in (SECRET, PLAIN, XOAUTH2))
    return caught.value.message


# ---- Which way is taken


@pytest.mark.parametrize(
    ("announced", "secret", "bearer", "way"),
    [
        ("SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5", "pw", False, "scram-sha-256"),
        ("PLAIN LOGIN CRAM-MD5", "pw", False, "plain"),
        ("CRAM-MD5 LOGIN", "pw", False, "login"),
        ("CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256-PLUS GSSAPI XOAUTH2 OAUTHBEARER", "pw", False, "user"),
        ("", "pw", False, "user"),
        ("SCRAM-SHA-256 PLAIN", "pässword", False, "plain"),
        ("SCRAM-SHA-256", "pass\tword", False, "user"),
        ("PLAIN XOAUTH2 OAUTHBEARER", "t", True, "oauthbearer"),
        ("PLAIN XOAUTH2", "t", True, "xoauth2"),
        ("PLAIN", "t", True, "xoauth2"),
    ],
)
def test_the_best_way_that_is_announced(announced: str, secret: str, bearer: bool, way: str) -> None:
    endpoint = Pop3Endpoint("h", 1, "me", True, bearer=bearer)
    assert choose(endpoint, announced.split(), secret) == way
    asked = Pop3Endpoint("h", 1, "me", True, auth=AuthMethod.APOP)
    assert choose(asked, announced.split(), secret) == "apop"


def test_capabilities_in_lower_case_count(begin: Begin) -> None:
    peer = begin("sasl plain", ["+OK"])
    log_in(peer)
    assert peer.sessions == [[f"AUTH PLAIN {PLAIN}"]]


def test_a_way_that_is_not_offered_is_not_tried(begin: Begin) -> None:
    peer = begin("USER\nSASL PLAIN LOGIN", [])
    said = refused(peer, ConfigurationError, AuthMethod.CRAM_MD5)
    assert "CRAM-MD5" in said and "LOGIN, PLAIN" in said and "--auth" in said
    assert peer.sessions == [[]]


def test_a_way_that_was_asked_for_is_tried_where_nothing_is_announced(begin: Begin) -> None:
    peer = begin("USER", ["+ ", "+OK"])
    log_in(peer, AuthMethod.CRAM_MD5)
    assert peer.sessions[0][0] == "AUTH CRAM-MD5"


def test_no_way_is_taken_over_a_line_that_is_not_protected(begin: Begin) -> None:
    for way in AuthMethod:
        peer = begin("SASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER", [], greeting="+OK <1@x>")
        refused(peer, PlaintextRefused, way, allow_plaintext=False)
        assert peer.sessions == [[]]


# ---- Each way on the wire


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CRAM = encoded(f"me {hmac.new(SECRET.encode(), b'<1@x>', 'md5').hexdigest()}")


@pytest.mark.parametrize(
    ("way", "dialogue", "said"),
    [
        ("user", ["+OK", "+OK"], ["USER me", f"PASS {SECRET}"]),
        ("apop", ["+OK"], [f"APOP me {apop_digest('<1@x>', SECRET)}"]),
        ("plain", ["+OK"], [f"AUTH PLAIN {PLAIN}"]),
        ("plain", ["+ ", "+OK"], [f"AUTH PLAIN {PLAIN}"]),
        ("login", ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "+OK"], ["AUTH LOGIN", encoded("me"), encoded(SECRET)]),
        ("cram-md5", ["+ " + encoded("<1@x>"), "+OK"], ["AUTH CRAM-MD5", CRAM]),
        ("xoauth2", ["+ ", "+OK"], ["AUTH XOAUTH2", XOAUTH2]),
        ("xoauth2", ["+", "+OK"], ["AUTH XOAUTH2", XOAUTH2]),
    ],
)
def test_what_is_sent(begin: Begin, way: str, dialogue: list[Reply], said: list[str]) -> None:
    peer = begin("USER", dialogue, greeting="+OK ready <1@x>")
    if way == "plain" and len(dialogue) == 2:  # a challenge after the initial response asks for more than there is
        refused(peer, AuthenticationRejected, AuthMethod(way))
        assert peer.sessions == [[*said, "*"]]
    else:
        log_in(peer, AuthMethod(way), bearer=way == "xoauth2")
        assert peer.sessions == [said]


def test_apop_without_a_timestamp_is_refused_before_anything_is_sent(begin: Begin) -> None:
    peer = begin("USER", [])
    assert "APOP" in refused(peer, ConfigurationError, AuthMethod.APOP)
    assert peer.sessions == [[]]


def test_a_response_that_is_too_long_for_a_command_waits_for_a_challenge(begin: Begin) -> None:
    long = "x" * 200
    peer = begin("SASL PLAIN", ["+ ", "+OK"])
    log_in(peer, secret=long)
    assert peer.sessions == [["AUTH PLAIN", encoded(f"\0me\0{long}")]]


@pytest.mark.parametrize("way", [AuthMethod.XOAUTH2, AuthMethod.OAUTHBEARER])
def test_a_token_of_16_kb(begin: Begin, way: AuthMethod) -> None:
    token = "t" * 16_384
    peer = begin("SASL XOAUTH2 OAUTHBEARER", ["+ ", "+OK"])
    log_in(peer, way, token, bearer=True)
    ((command, response),) = peer.sessions
    assert command == f"AUTH {way.value.upper()}"
    assert f"auth=Bearer {token}\1\1" in base64.b64decode(response).decode()


def test_a_short_token_goes_with_the_command_where_the_standard_says_so(begin: Begin) -> None:
    peer = begin("SASL OAUTHBEARER", ["+OK"])
    log_in(peer, bearer=True)
    (line,) = peer.sessions[0]
    assert f"host={HOST}\1port={peer.port}\1auth=Bearer {SECRET}" in base64.b64decode(line.split()[-1]).decode()


# ---- Refusals


@pytest.mark.parametrize("said", ["[AUTH] no", "no", "Authentication failed.", "unknown user", "Logon failure"])
def test_a_refused_password_is_tried_once_in_one_way(begin: Begin, said: str) -> None:
    peer = begin("USER\nSASL PLAIN LOGIN", [f"-ERR {said}"] * 9)
    assert said in refused(peer, AuthenticationRejected)
    assert peer.sessions == [[f"AUTH PLAIN {PLAIN}"]]


@pytest.mark.parametrize("said", ["Syntax error", "too many arguments", "Protocol error. 10", "unknown command"])
def test_a_server_that_did_not_understand_is_asked_in_two_steps(begin: Begin, said: str) -> None:
    peer = begin("SASL PLAIN", [f"-ERR {said}", "+ ", "+OK"])
    log_in(peer)
    assert peer.sessions == [[f"AUTH PLAIN {PLAIN}", "AUTH PLAIN", PLAIN]]
    stubborn = begin("SASL PLAIN", [f"-ERR {said}"] * 9)
    assert said in refused(stubborn, AuthenticationRejected)
    assert stubborn.sessions == [[f"AUTH PLAIN {PLAIN}", "AUTH PLAIN"]]


def test_what_has_a_code_was_understood(begin: Begin) -> None:
    peer = begin("SASL PLAIN", ["-ERR [AUTH] invalid parameter"] * 9)
    refused(peer, AuthenticationRejected)
    assert len(peer.sessions[0]) == 1


@pytest.mark.parametrize("way", ["user", "plain", "apop", "cram-md5", "xoauth2"])
def test_a_locked_maildrop_is_no_refused_login(begin: Begin, way: str) -> None:
    first = {"user": ["+OK"], "cram-md5": ["+ PDFAeD4="], "xoauth2": ["+ "]}.get(way, [])
    peer = begin("USER", [*first, "-ERR [IN-USE] locked"], greeting="+OK <1@x>")
    refused(peer, TryLater, AuthMethod(way), bearer=way == "xoauth2")


@pytest.mark.parametrize(
    ("way", "dialogue"),
    [
        ("user", ["+OK"]),
        ("apop", []),
        ("plain", []),
        ("plain", ["-ERR syntax error"]),
        ("login", ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6"]),
        ("cram-md5", ["+ PDFAeD4="]),
        ("xoauth2", ["+ "]),
        ("scram-sha-256", []),
    ],
)
def test_a_login_without_an_answer_is_called_so(begin: Begin, way: str, dialogue: list[Reply]) -> None:
    peer = begin("USER", dialogue, greeting="+OK <1@x>")
    said = refused(peer, LoginUnanswered, AuthMethod(way), bearer=way == "xoauth2")
    assert f"The login of me at {HOST}:{peer.port} got no answer" in said and "before you run again" in said
    assert len(peer.sessions) == 1


def test_a_user_name_without_an_answer_is_no_login_yet(begin: Begin) -> None:
    assert "got no answer" not in refused(begin("USER", []), ConnectionLost, AuthMethod.USER)


@pytest.mark.parametrize(("way", "acknowledged"), [("xoauth2", ""), ("oauthbearer", "AQ==")])
def test_why_a_token_was_refused_is_told(begin: Begin, way: str, acknowledged: str) -> None:
    failure = '{"status":"401","schemes":"bearer","scope":"https://mail.example/"}'
    begun = ["+ "] if way == "xoauth2" else []
    peer = begin(f"SASL {way.upper()}", [*begun, "+ " + encoded(failure), "-ERR [AUTH] no"])
    said = refused(peer, AuthenticationRejected, bearer=True)
    assert failure in said and "token" in said and "password" not in said
    assert peer.sessions[0][-1] == acknowledged


def test_a_server_that_repeats_the_token_in_its_reason(begin: Begin) -> None:
    peer = begin("SASL XOAUTH2", ["+ ", "+ " + encoded(f"bad {SECRET}"), f"-ERR bad {XOAUTH2}"])
    assert "bad ***" in refused(peer, AuthenticationRejected, bearer=True)


# ---- SCRAM, where the server must prove itself


def server_first(line: str) -> str:
    nonce = base64.b64decode(line.split()[-1]).decode().partition(",r=")[2]
    return "+ " + encoded(f"r={nonce}server,s={encoded('sixteen octets..')},i=4096")


class Scram:
    """The server's half of SCRAM-SHA-256, computed here from RFC 5802 section 3; `password` is what the server has."""

    def __init__(self, password: str) -> None:
        self.password, self.exchanged = password, []

    def first(self, line: str) -> str:
        bare = base64.b64decode(line.split()[-1]).decode().removeprefix("n,,")
        reply = server_first(line)
        self.exchanged = [bare, base64.b64decode(reply[2:]).decode()]
        return reply

    def final(self, line: str) -> str:
        without_proof = base64.b64decode(line).decode().rpartition(",p=")[0]
        salted = pbkdf2_hmac("sha256", self.password.encode(), b"sixteen octets..", 4096)
        key = hmac.digest(salted, b"Server Key", sha256)
        signature = hmac.digest(key, ",".join([*self.exchanged, without_proof]).encode(), sha256)
        return "+ " + encoded("v=" + base64.b64encode(signature).decode())


def test_a_server_that_proves_to_know_the_password(begin: Begin) -> None:
    scram = Scram(SECRET)
    peer = begin("SASL SCRAM-SHA-256", [scram.first, scram.final, "+OK"])
    log_in(peer)
    assert len(peer.sessions[0]) == 3 and peer.sessions[0][2] == ""


def test_a_server_that_has_another_password_is_given_up(begin: Begin) -> None:
    scram = Scram("guessed")
    peer = begin("SASL SCRAM-SHA-256", [scram.first, scram.final, "-ERR cancelled"])
    assert "SCRAM" in refused(peer, AuthenticationRejected)
    assert peer.sessions[0][-1] == "*"


@pytest.mark.parametrize("dialogue", [["+OK"], [server_first, "+OK welcome"]])
def test_a_success_without_proof_is_none(begin: Begin, dialogue: list[Reply]) -> None:
    peer = begin("SASL SCRAM-SHA-256", dialogue)
    assert "without showing" in refused(peer, AuthenticationRejected)


def test_a_server_that_takes_another_nonce_is_given_up(begin: Begin) -> None:
    peer = begin("SASL SCRAM-SHA-256", ["+ " + encoded("r=other,s=c2l4dGVlbiBvY3RldHMuLg==,i=4096"), "+OK"])
    refused(peer, AuthenticationRejected)
    assert peer.sessions[0][-1] == "*" and len(peer.sessions[0]) == 2
