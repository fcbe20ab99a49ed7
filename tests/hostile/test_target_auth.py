"""Logging in to IMAP servers that refuse, misunderstand or lie: what is sent, in which way, and how often.

Strategy: open_imap in this process against a dialogue written down here; the peer keeps every line, so that "nothing
more was sent" is a fact. The secret is looked for in whatever the failure says, and in the wire log.
"""

from __future__ import annotations

import base64

import pytest

from mailmove.errors import (
    AuthenticationRejected,
    ConfigurationError,
    ConnectionLost,
    LoginUnanswered,
    MailmoveError,
    PlaintextRefused,
    ProtocolError,
    TryLater,
    UsageError,
)
from mailmove.jobs import ReplayJob
from mailmove.model import AuthMethod, SecretRef
from mailmove.targets.imap_login import ImapEndpoint, choose
from mailmove.tls import TlsPolicy
from tests.hostile.imap_sasl_peer import BEYOND, OK, Begin, log_in, refused
from tests.hostile.sasl_peer import Reply
from tests.hostile.test_login import PLAIN, SECRET, XOAUTH2, encoded
from tests.servers.certs import Certificates
from tests.support.client import HOST

ALL = "AUTH=PLAIN AUTH=LOGIN AUTH=CRAM-MD5 AUTH=SCRAM-SHA-256 AUTH=XOAUTH2 AUTH=OAUTHBEARER"
IN_IMAP = tuple(way for way in AuthMethod if way not in (AuthMethod.USER, AuthMethod.APOP))


# ---- Which way is taken


@pytest.mark.parametrize(
    ("announced", "secret", "encrypted", "way"),
    [
        ("AUTH=SCRAM-SHA-256 AUTH=PLAIN", "pw", True, "scram-sha-256"),
        ("AUTH=SCRAM-SHA-256 AUTH=PLAIN", "pw", False, "scram-sha-256"),
        ("AUTH=PLAIN AUTH=LOGIN AUTH=CRAM-MD5", "pw", True, "login"),
        ("", "pw", True, "login"),
        ("", BEYOND, True, "login"),
        ("AUTH=LOGIN", BEYOND, True, "login"),
        ("AUTH=PLAIN AUTH=LOGIN", BEYOND, True, "plain"),
        ("AUTH=PLAIN AUTH=LOGIN LOGINDISABLED", "pw", True, "plain"),
        ("AUTH=SCRAM-SHA-256 AUTH=PLAIN", BEYOND, True, "plain"),
        ("AUTH=SCRAM-SHA-256 AUTH=PLAIN", BEYOND, False, "scram-sha-256"),
        ("AUTH=CRAM-MD5 AUTH=XOAUTH2", "pw", False, "login"),
    ],
)
def test_the_best_way_that_is_announced(announced: str, secret: str, encrypted: bool, way: str) -> None:
    endpoint = ImapEndpoint("h", 1, "me", True)
    assert choose(endpoint, announced.split(), secret, encrypted=encrypted) == way
    asked = ImapEndpoint("h", 1, "me", True, auth=AuthMethod.CRAM_MD5)
    assert choose(asked, announced.split(), secret, encrypted=encrypted) == "cram-md5"


@pytest.mark.parametrize(
    ("announced", "way"),
    [("AUTH=XOAUTH2 AUTH=OAUTHBEARER AUTH=PLAIN", "oauthbearer"), ("AUTH=XOAUTH2", "xoauth2"), ("", "xoauth2")],
)
def test_the_best_way_for_a_token(announced: str, way: str) -> None:
    endpoint = ImapEndpoint("h", 1, "me", True, bearer=True)
    assert choose(endpoint, announced.split(), "t", encrypted=True) == way


def test_capabilities_in_lower_case_count(begin: Begin) -> None:
    peer = begin("auth=plain logindisabled sasl-ir", [OK])
    log_in(peer)
    assert peer.sessions == [[f"AUTHENTICATE PLAIN {PLAIN}"]]


def test_a_way_that_is_not_offered_is_not_tried(begin: Begin) -> None:
    peer = begin("AUTH=PLAIN AUTH=LOGIN", [])
    said = refused(peer, ConfigurationError, AuthMethod.SCRAM_SHA_256)
    assert "SCRAM-SHA-256" in said and "LOGIN, PLAIN" in said and "--auth" in said
    assert peer.sessions == [[]]


def test_a_way_that_was_asked_for_is_tried_where_nothing_is_announced(begin: Begin) -> None:
    peer = begin("", ["+ " + encoded("<1@x>"), OK])
    log_in(peer, AuthMethod.CRAM_MD5)
    assert peer.sessions[0][0] == "AUTHENTICATE CRAM-MD5" and len(peer.sessions[0]) == 2


@pytest.mark.parametrize("way", IN_IMAP)
def test_no_way_is_taken_over_a_line_that_is_not_protected(begin: Begin, way: AuthMethod) -> None:
    peer = begin(ALL, [])
    refused(peer, PlaintextRefused, way, allow_plaintext=False)
    assert peer.sessions == [[]]


@pytest.mark.parametrize("way", ["auto", "login", "plain"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_logindisabled_is_obeyed(begin: Begin, certificates: Certificates, way: str, encrypted: bool) -> None:
    """A password in clear goes only by what is announced beside it."""
    peer = begin("LOGINDISABLED AUTH=XOAUTH2", [], context=certificates.server_context() if encrypted else None)
    kind = AuthenticationRejected if encrypted else PlaintextRefused
    said = refused(peer, kind, AuthMethod(way), tls=encrypted, policy=TlsPolicy(certificates.ca))
    assert "LOGINDISABLED" in said and peer.sessions == [[]]


@pytest.mark.parametrize("way", [AuthMethod.USER, AuthMethod.APOP])
def test_the_ways_of_pop3_itself_are_refused(way: AuthMethod) -> None:
    with pytest.raises(UsageError, match=f"{way} is a way to log in to POP3"):
        ReplayJob("imaps://me@x", "imap://me@x", None, auth=way)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("way", "secret"),
    [("plain", SecretRef(token_command="t")), ("xoauth2", SecretRef(env="E")), ("oauthbearer", SecretRef())],
)
def test_a_way_needs_its_kind_of_secret(way: str, secret: SecretRef) -> None:
    with pytest.raises(UsageError, match="--token-command"):
        ReplayJob("imaps://me@x", "imap://me@x", None, secret=secret, auth=AuthMethod(way))  # type: ignore[arg-type]


# ---- Each way on the wire


LONG = "t" * 3_000
LONG_XOAUTH2 = encoded(f"user=me\1auth=Bearer {LONG}\1\1")


@pytest.mark.parametrize(
    ("way", "capabilities", "secret", "dialogue", "said"),
    [
        ("login", "", SECRET, [OK], [f'LOGIN "me" "{SECRET}"']),
        ("login", ALL, SECRET, [OK], [f'LOGIN "me" "{SECRET}"']),
        ("login", "", BEYOND, ["+ ", "+ ", OK], ["LOGIN {2}", "me {14}", BEYOND]),
        ("login", "", "a\tb", ["+", "+", OK], ["LOGIN {2}", "me {3}", "a\tb"]),
        (
            "login",
            "AUTH=LOGIN",
            BEYOND,
            ["+ VXNlcg==", "+ UGFzcw==", OK],
            ["AUTHENTICATE LOGIN", encoded("me"), encoded(BEYOND)],
        ),
        ("plain", "AUTH=PLAIN", SECRET, ["+ ", OK], ["AUTHENTICATE PLAIN", PLAIN]),
        ("plain", "AUTH=PLAIN", SECRET, ["+", OK], ["AUTHENTICATE PLAIN", PLAIN]),
        ("plain", "AUTH=PLAIN SASL-IR", SECRET, [OK], [f"AUTHENTICATE PLAIN {PLAIN}"]),
        ("plain", "SASL-IR", BEYOND, [OK], ["AUTHENTICATE PLAIN " + encoded(f"\0me\0{BEYOND}")]),
        ("login", "SASL-IR AUTH=LOGIN LOGINDISABLED", SECRET, ["+", "+", OK], None),
        ("xoauth2", "AUTH=XOAUTH2", SECRET, ["+ ", OK], ["AUTHENTICATE XOAUTH2", XOAUTH2]),
        ("xoauth2", "AUTH=XOAUTH2 SASL-IR", SECRET, [OK], [f"AUTHENTICATE XOAUTH2 {XOAUTH2}"]),
        ("xoauth2", "AUTH=XOAUTH2 SASL-IR", LONG, ["+ ", OK], ["AUTHENTICATE XOAUTH2", LONG_XOAUTH2]),
    ],
)
def test_what_is_sent(
    begin: Begin, way: str, capabilities: str, secret: str, dialogue: list[Reply], said: list[str] | None
) -> None:
    peer = begin(capabilities, dialogue)
    told = log_in(peer, AuthMethod(way), secret, bearer=way == "xoauth2")
    expected = said or ["AUTHENTICATE LOGIN", encoded("me"), encoded(SECRET)]
    assert peer.sessions == [expected]
    sent = [line for line in told if line.startswith("C ") and "CAPABILITY" not in line]
    assert len(sent) == len(expected) and all(line.endswith("***") for line in sent[1:]), "each line is masked"
    assert expected[0].split()[0] in sent[0], "but that somebody logs in is told"


def test_a_token_of_16_kb(begin: Begin) -> None:
    token = "t" * 16_384
    peer = begin("SASL-IR AUTH=OAUTHBEARER", ["+ ", OK])
    log_in(peer, secret=token, bearer=True)
    command, response = peer.sessions[0]
    assert command == "AUTHENTICATE OAUTHBEARER"
    said = base64.b64decode(response).decode()
    assert said == f"n,a=me,\1host={HOST}\1port={peer.port}\1auth=Bearer {token}\1\1"


def test_capabilities_that_come_with_the_login_are_not_asked_for(begin: Begin) -> None:
    told = log_in(begin("", ["{tag} OK [CAPABILITY IMAP4rev1 UIDPLUS] in"]))
    assert sum("CAPABILITY" in line for line in told if line.startswith("C ")) == 1
    told = log_in(begin("", ["* CAPABILITY IMAP4rev1\r\n{tag} OK in"]))
    assert sum("CAPABILITY" in line for line in told if line.startswith("C ")) == 1


# ---- Refusals


@pytest.mark.parametrize("capabilities", ["", ALL, "AUTH=PLAIN LOGINDISABLED SASL-IR"])
@pytest.mark.parametrize("said", ["[AUTHENTICATIONFAILED] no", "no", "[EXPIRED] that password", "Logon failure"])
def test_a_refused_password_is_tried_once_in_one_way(begin: Begin, capabilities: str, said: str) -> None:
    peer = begin(capabilities, [f"{{tag}} NO {said}"] * 9)
    message = refused(peer, AuthenticationRejected)
    assert said in message and "app password" in message
    assert len(peer.sessions) == 1 and len(peer.sessions[0]) == 1


@pytest.mark.parametrize("status", ["{tag} BAD", "* BYE"])
def test_a_refusal_is_known_by_its_code_in_whatever_form_it_comes(begin: Begin, status: str) -> None:
    peer = begin("", [f"{status} [AUTHENTICATIONFAILED] no"])
    assert "[AUTHENTICATIONFAILED] no" in refused(peer, AuthenticationRejected)


@pytest.mark.parametrize(
    ("way", "dialogue"),
    [
        ("login", []),
        ("plain", []),
        ("plain", ["+ "]),
        ("login", ["* BYE go away"]),
        ("cram-md5", ["+ PDFAeD4="]),
        ("xoauth2", ["+ "]),
        ("scram-sha-256", []),
    ],
)
def test_a_login_without_an_answer_is_called_so(begin: Begin, way: str, dialogue: list[Reply]) -> None:
    peer = begin("", dialogue)
    said = refused(peer, LoginUnanswered, AuthMethod(way), bearer=way == "xoauth2")
    assert f"The login of me at {HOST}:{peer.port} got no answer" in said and "before you run again" in said
    assert len(peer.sessions) == 1


def test_a_connection_lost_after_the_login_is_no_login_without_an_answer(begin: Begin) -> None:
    peer = begin("", ["{tag} OK in\r\n* BYE so soon"])
    assert "got no answer" not in refused(peer, ConnectionLost)


@pytest.mark.parametrize("way", ["login", "plain", "xoauth2"])
def test_a_busy_server_refuses_no_login(begin: Begin, way: str) -> None:
    peer = begin("SASL-IR", ["{tag} NO [UNAVAILABLE] later"])
    refused(peer, TryLater, AuthMethod(way), bearer=way == "xoauth2")


@pytest.mark.parametrize(
    ("way", "kind", "said"),
    [
        ("login", ProtocolError, "asks for more than LOGIN has to say"),
        ("plain", AuthenticationRejected, "asks for more than PLAIN has to say"),
    ],
)
def test_a_server_that_never_stops_asking_is_dropped(
    begin: Begin, way: str, kind: type[MailmoveError], said: str
) -> None:
    peer = begin("", ["+ "] * 99)
    assert said in refused(peer, kind, AuthMethod(way), BEYOND)
    assert len(peer.sessions[0]) == 3


@pytest.mark.parametrize("echo", [SECRET, encoded(SECRET)])
def test_a_server_that_repeats_a_password_it_asked_for(begin: Begin, echo: str) -> None:
    peer = begin("AUTH=LOGIN LOGINDISABLED", ["+", "+", f"{{tag}} NO what is {echo}"])
    assert "what is ***" in refused(peer, AuthenticationRejected)


def test_a_challenge_that_is_no_base64(begin: Begin) -> None:
    peer = begin("", ["+ a", OK])
    assert "grammar" in refused(peer, ProtocolError, AuthMethod.CRAM_MD5)
    assert len(peer.sessions[0]) == 1
