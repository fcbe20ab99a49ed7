"""The way in to SMTP and LMTP servers that refuse, misunderstand or lie: what is said, how often, what is told of it.

Strategy: open_smtp in this process against a dialogue written down here; the peer keeps every line, so that "nothing
more was said" is a fact. The secret is looked for in whatever a failure says, and in the wire log.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mailmove.errors import (
    AuthenticationRejected,
    CertificateRefused,
    CommandRejected,
    ConfigurationError,
    HostUnreachable,
    LoginUnanswered,
    MailmoveError,
    PlaintextRefused,
    ProtocolError,
    TokenRefused,
    TryLater,
    UsageError,
)
from mailmove.model import AuthMethod
from mailmove.targets import RelayTraits
from mailmove.targets.smtp_extensions import extensions_of, mechanisms_of, traits_of
from mailmove.targets.smtp_login import SmtpEndpoint, choose
from mailmove.targets.smtp_session import OUR_NAME, is_loopback
from mailmove.tls import TlsPolicy
from tests.hostile.sasl_peer import Reply
from tests.hostile.smtp_sasl_peer import BEYOND, OK, TLS, SmtpSaslPeer, begin, refused
from tests.hostile.test_login import PLAIN, SECRET, XOAUTH2, Scram, encoded, server_first
from tests.servers.certs import Certificates

ALL = "AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER"
IN_SMTP = tuple(way for way in AuthMethod if way not in (AuthMethod.USER, AuthMethod.APOP))
Peers = Callable[..., SmtpSaslPeer]


@pytest.fixture
def peers() -> Iterator[Peers]:
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(SmtpSaslPeer(*args, **more))


def asks(text: str = "") -> str:
    return f"334 {encoded(text)}"


# ---- What is announced


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], RelayTraits()),
        (["PIPELINING", "SIZE 1000", "8BITMIME"], RelayTraits(pipelining=True, largest=1000, eight_bit=True)),
        (["pipelining", "Size 0", "8bitmime"], RelayTraits(pipelining=True, eight_bit=True)),
        (["SIZE"], RelayTraits()),
        (["SIZE many"], RelayTraits()),
        (["SIZE " + "9" * 99], RelayTraits()),
        (["CHUNKING", "BINARYMIME", "SMTPUTF8"], RelayTraits(chunking=True, binary=True, utf8=True)),
        (["BINARYMIME"], RelayTraits()),
        (["XCHUNKING", "CHUNKINGS", ""], RelayTraits()),
    ],
)
def test_what_a_server_offers(lines: list[str], expected: RelayTraits) -> None:
    extensions = extensions_of(["peer.example PIPELINING CHUNKING", *lines])
    assert traits_of(extensions, lmtp=False, authenticated=False, greeting="") == expected


def test_the_ways_to_log_in_are_read_in_the_old_form_too() -> None:
    lines = ["peer.example", "auth plain Login", "AUTH=LOGIN CRAM-MD5"]
    assert mechanisms_of(extensions_of(lines)) == ("PLAIN", "LOGIN", "CRAM-MD5")


@pytest.mark.parametrize(("lmtp", "hello"), [(False, "EHLO"), (True, "LHLO")])
def test_a_session_without_a_login(peers: Peers, lmtp: bool, hello: str) -> None:
    peer = peers("PIPELINING,SIZE 99,AUTH PLAIN")
    traits = begin(peer, user="", lmtp=lmtp)
    assert traits == RelayTraits(lmtp=lmtp, pipelining=True, largest=99, greeting="peer.example ready")
    assert peer.sessions == [[f"{hello} {OUR_NAME}"]]


def test_a_server_that_knows_no_ehlo(peers: Peers) -> None:
    peer = peers(hello="502 5.5.1 what?", dialogue=["250 peer.example PIPELINING"])
    assert begin(peer, user="") == RelayTraits(greeting="peer.example ready")
    assert peer.sessions == [[f"EHLO {OUR_NAME}", f"HELO {OUR_NAME}"]]


# ---- Not let in


@pytest.mark.parametrize(
    ("greeting", "kind"),
    [
        ("421 4.3.2 too many connections", TryLater),
        ("450 4.7.1 greylisted", TryLater),
        ("554 5.7.1 you are listed", CommandRejected),
        ("200 hello", ProtocolError),
        ("+OK POP3 ready", ProtocolError),
        ("* OK IMAP ready", ProtocolError),
        ("220-hello\r\n250 there", ProtocolError),
    ],
)
def test_a_greeting_that_lets_nobody_in(peers: Peers, greeting: str, kind: type[MailmoveError]) -> None:
    peer = peers(greeting=greeting)
    said = refused(peer, kind)
    assert greeting.partition("\r\n")[0][:3] in said and peer.sessions == [[]]


def test_a_server_that_never_greets_was_never_reached(peers: Peers) -> None:
    assert "is this a TLS port? Then use smtps://" in refused(peers(greeting=""), HostUnreachable, timeout=0.3)


@pytest.mark.parametrize(
    ("hello", "kind", "said"),
    [
        ("421 4.3.2 going down", TryLater, "hung up at EHLO: '421 4.3.2 going down'"),
        ("451 4.3.0 not ready", TryLater, "not ready"),
        ("500 5.5.1 unknown command", ConfigurationError, "use lmtp://"),
        ("250-peer.example\r\n250-PIPELINING\r\n5", ProtocolError, "that is no reply"),
    ],
)
def test_a_hello_that_is_refused(peers: Peers, hello: str, kind: type[MailmoveError], said: str) -> None:
    more = ["500 5.5.1 unknown command"] if kind is ConfigurationError else []
    assert said in refused(peers(hello=hello, dialogue=more), kind)


def test_a_server_that_speaks_no_lmtp(peers: Peers) -> None:
    peer = peers(hello="502 5.5.2 unknown command")
    assert "no LMTP server, use smtp://" in refused(peer, ConfigurationError, lmtp=True, user="")
    assert peer.sessions == [[f"LHLO {OUR_NAME}"]]


# ---- Protection


@pytest.mark.parametrize("way", IN_SMTP)
@pytest.mark.parametrize("lmtp", [False, True])
def test_no_way_is_taken_over_a_line_that_is_not_protected(peers: Peers, way: AuthMethod, lmtp: bool) -> None:
    peer = peers(ALL)
    endpoint = {"allow_plaintext": False, "lmtp": lmtp, "policy": TlsPolicy(pin="sha256:" + "0" * 64)}
    assert "--allow-plaintext" in refused(peer, PlaintextRefused, way, **endpoint)
    assert peer.said == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [("454 4.7.0 not now", TryLater), ("501 5.5.4 no", PlaintextRefused), ("250 ok", PlaintextRefused)],
)
def test_a_starttls_that_is_refused(peers: Peers, reply: str, kind: type[MailmoveError]) -> None:
    peer = peers("STARTTLS," + ALL, [reply])
    assert reply in refused(peer, kind)
    assert peer.said == ["STARTTLS"]


def test_what_was_said_before_starttls_is_forgotten(peers: Peers, certificates: Certificates) -> None:
    """Of what is announced in plaintext nothing counts: the login goes by what is announced under TLS."""
    peer = peers("STARTTLS,AUTH LOGIN", [TLS, OK], context=certificates.server_context(), starttls=True)
    hello = peer._hello

    def changed(line: str) -> str:
        peer.offers = "STARTTLS,AUTH LOGIN" if len(peer.sessions[-1]) == 1 else "CHUNKING,AUTH PLAIN"
        return hello(line)

    peer._hello = changed  # type: ignore[method-assign]
    traits = begin(peer, allow_plaintext=False, policy=TlsPolicy(certificates.ca))
    assert traits == RelayTraits(chunking=True, authenticated=True, greeting="peer.example ready")
    assert peer.sessions == [[f"EHLO {OUR_NAME}", "STARTTLS", f"EHLO {OUR_NAME}", f"AUTH PLAIN {PLAIN}"]]


@pytest.mark.parametrize("behind", [b"250 AUTH PLAIN\r\n", b"2", b"235 2.7.0 you are in\r\n"])
def test_what_is_slipped_in_behind_starttls_is_refused(peers: Peers, certificates: Certificates, behind: bytes) -> None:
    peer = peers("STARTTLS", [TLS], context=certificates.server_context(), starttls=True, behind=behind)
    assert "somebody may be in between" in refused(peer, ProtocolError, policy=TlsPolicy(certificates.ca))
    assert peer.said == ["STARTTLS"]


def test_a_certificate_that_is_not_trusted(peers: Peers, certificates: Certificates) -> None:
    peer = peers("STARTTLS", [TLS], context=certificates.server_context("self_signed"), starttls=True)
    assert "--pin sha256:" in refused(peer, CertificateRefused, policy=TlsPolicy(certificates.ca))
    assert peer.said == ["STARTTLS"]


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("fe80::1%lo", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, ours: bool) -> None:
    assert is_loopback(host) == ours


# ---- Which way is taken


@pytest.mark.parametrize(
    ("offered", "secret", "encrypted", "way"),
    [
        ("SCRAM-SHA-256 PLAIN", "pw", True, "scram-sha-256"),
        ("LOGIN PLAIN", "pw", True, "plain"),
        ("LOGIN CRAM-MD5", "pw", True, "login"),
        ("SCRAM-SHA-256 PLAIN", BEYOND, True, "plain"),
        ("SCRAM-SHA-256 PLAIN", BEYOND, False, "scram-sha-256"),
        ("CRAM-MD5", "pw", True, "plain"),
    ],
)
def test_the_best_way_that_is_announced(offered: str, secret: str, encrypted: bool, way: str) -> None:
    assert choose(SmtpEndpoint("h", 1, "me"), offered.split(), secret, encrypted=encrypted) == way
    asked = SmtpEndpoint("h", 1, "me", auth=AuthMethod.CRAM_MD5)
    assert choose(asked, offered.split(), secret, encrypted=encrypted) == "cram-md5"


@pytest.mark.parametrize(
    ("offered", "way"), [("XOAUTH2 OAUTHBEARER PLAIN", "oauthbearer"), ("XOAUTH2", "xoauth2"), ("", "xoauth2")]
)
def test_the_best_way_for_a_token(offered: str, way: str) -> None:
    assert choose(SmtpEndpoint("h", 1, "me", bearer=True), offered.split(), "t", encrypted=True) == way


@pytest.mark.parametrize(
    ("offers", "more", "said"),
    [
        (
            "AUTH PLAIN LOGIN",
            {"auth": AuthMethod.SCRAM_SHA_256},
            "SCRAM-SHA-256 (it offers PLAIN, LOGIN); log in with an",
        ),
        ("AUTH CRAM-MD5", {}, "does not offer PLAIN (it offers CRAM-MD5); log in with another --auth"),
        ("AUTH PLAIN", {"bearer": True}, "does not offer XOAUTH2 (it offers PLAIN); log in with a password"),
        ("PIPELINING", {}, "offers no login (no AUTH); if it takes mail without one, leave the user out"),
    ],
)
def test_a_way_that_is_not_offered_is_not_tried(peers: Peers, offers: str, more: dict[str, Any], said: str) -> None:
    peer = peers(offers)
    assert said in refused(peer, ConfigurationError, **more)
    assert peer.said == []


LONG = "t" * 3_000
LONG_XOAUTH2 = encoded(f"user=me\1auth=Bearer {LONG}\1\1")


@pytest.mark.parametrize(
    ("way", "secret", "dialogue", "said"),
    [
        ("plain", SECRET, [OK], [f"AUTH PLAIN {PLAIN}"]),
        ("plain", BEYOND, [OK], ["AUTH PLAIN " + encoded(f"\0me\0{BEYOND}")]),
        ("plain", LONG, [asks(), OK], ["AUTH PLAIN", encoded(f"\0me\0{LONG}")]),
        ("plain", SECRET, ["334", OK], [f"AUTH PLAIN {PLAIN}", None]),
        ("login", SECRET, [asks("User"), asks("Pass"), OK], ["AUTH LOGIN", encoded("me"), encoded(SECRET)]),
        ("xoauth2", SECRET, ["334 ", OK], ["AUTH XOAUTH2", XOAUTH2]),
        ("xoauth2", LONG, ["334 ", OK], ["AUTH XOAUTH2", LONG_XOAUTH2]),
        ("plain", SECRET, ["501 5.5.4 syntax", "334 ", OK], [f"AUTH PLAIN {PLAIN}", "AUTH PLAIN", PLAIN]),
    ],
)
def test_what_is_said(peers: Peers, way: str, secret: str, dialogue: list[Reply], said: list[str | None]) -> None:
    peer = peers(ALL, dialogue)
    if None in said:  # more is asked than there is to say
        assert "asks for more than PLAIN" in refused(peer, AuthenticationRejected, AuthMethod(way), secret)
        assert peer.said == [said[0], "*"]
    else:
        assert begin(peer, AuthMethod(way), secret, bearer=way == "xoauth2").authenticated
        assert peer.said == said


def test_cram_md5_as_in_its_rfc(peers: Peers) -> None:
    """RFC 2195 section 2."""
    peer = peers("AUTH CRAM-MD5", [asks("<1896.697170952@postoffice.reston.mci.net>"), OK])
    begin(peer, AuthMethod.CRAM_MD5, "tanstaaftanstaaf", user="tim")
    assert base64.b64decode(peer.said[1]) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_a_token_of_16_kb(peers: Peers) -> None:
    token = "t" * 16_384
    peer = peers("AUTH OAUTHBEARER", ["334 ", OK])
    begin(peer, secret=token, bearer=True)
    said = base64.b64decode(peer.said[1]).decode()
    assert said == f"n,a=me,\1host=127.0.0.1\1port={peer.port}\1auth=Bearer {token}\1\1"


def test_what_a_way_cannot_carry(peers: Peers) -> None:
    peer = peers("AUTH SCRAM-SHA-256")
    assert "--auth" in refused(peer, UsageError, AuthMethod.SCRAM_SHA_256, "a\u0007b")
    assert peer.said == []


# ---- Refusals


@pytest.mark.parametrize("offers", [ALL, "AUTH PLAIN", "AUTH LOGIN PLAIN"])
@pytest.mark.parametrize(
    "reply",
    ["535 5.7.8 no", "535 no", "534 5.7.9 app password", "550 5.7.1 no", "432 4.7.12 transition", "501 5.7.0 x"],
)
def test_a_refused_password_is_tried_once_in_one_way(peers: Peers, offers: str, reply: str) -> None:
    peer = peers(offers, [reply] * 9)
    said = refused(peer, AuthenticationRejected)
    assert reply in said and "app password" in said and len(peer.said) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("454 4.7.0 temporary authentication failure", TryLater),
        ("421 4.7.0 too many logins", TryLater),
        ("538 5.7.11 encryption required", PlaintextRefused),
        ("530 5.7.0 must issue a STARTTLS first", PlaintextRefused),
        ("504 5.5.4 unrecognized", ConfigurationError),
        ("503 5.5.1 not here", ConfigurationError),
        ("354 go on", ProtocolError),
        ("hello", ProtocolError),
    ],
)
@pytest.mark.parametrize("token", [False, True])
def test_a_refusal_that_is_not_about_the_secret(
    peers: Peers, reply: str, kind: type[MailmoveError], token: bool
) -> None:
    begun = ["334 "] if token else []
    peer = peers("AUTH PLAIN XOAUTH2", [*begun, reply])
    refused(peer, kind, bearer=token)
    assert len(peer.said) == 1 + len(begun)


@pytest.mark.parametrize(
    ("way", "dialogue"),
    [("plain", []), ("login", [asks()]), ("cram-md5", [asks("<1@x>")]), ("xoauth2", ["334 "]), ("scram-sha-256", [])],
)
def test_a_login_without_an_answer_is_called_so(peers: Peers, way: str, dialogue: list[Reply]) -> None:
    peer = peers(ALL, dialogue)
    said = refused(peer, LoginUnanswered, AuthMethod(way), bearer=way == "xoauth2")
    assert "got no answer" in said and "before you run again" in said and len(peer.sessions) == 1


@pytest.mark.parametrize("echo", [SECRET, encoded(SECRET), PLAIN])
@pytest.mark.parametrize("before", ["", "x" * 490, "x" * 990])
def test_a_server_that_repeats_the_secret(peers: Peers, echo: str, before: str) -> None:
    """Not a part of it either, where a long reply is cut."""
    said = refused(peers("AUTH PLAIN", [f"535 5.7.8 {before}{echo}"]), AuthenticationRejected)
    assert "5.7.8 ***" in said or before in said or "…" in said
    assert SECRET[:7] not in said and PLAIN[:9] not in said


def test_a_server_that_repeats_the_secret_in_what_is_no_reply(peers: Peers) -> None:
    said = refused(peers("AUTH PLAIN", ["x" * 190 + SECRET]), ProtocolError)
    assert "no SMTP" in said and SECRET[:7] not in said


def test_what_a_server_says_after_the_login_is_shown_as_it_is(peers: Peers) -> None:
    """And a reply that nobody asked for ends the session before a mail could be booked on it."""
    said = refused(peers("AUTH PLAIN", [OK + "\r\n250 2.0.0 queued"]), ProtocolError)
    assert "what nobody asked for: '250 2.0.0 queued'" in said
    assert "hung up" in refused(peers("AUTH PLAIN", [OK + "\r\n421 4.3.2 bye"]), TryLater)


def test_a_challenge_that_is_no_base64(peers: Peers) -> None:
    peer = peers(ALL, ["334 a", OK])
    assert "no base64" in refused(peer, ProtocolError, AuthMethod.CRAM_MD5)
    assert peer.said == ["AUTH CRAM-MD5"]


def test_a_server_that_never_stops_asking_is_given_up(peers: Peers) -> None:
    peer = peers(ALL, ["334 "] * 99)
    assert "asks for more than LOGIN has to say" in refused(peer, AuthenticationRejected, AuthMethod.LOGIN)
    assert peer.said[-1] == "*" and len(peer.said) == 4


# ---- Tokens


FAILURE = '{"status":"401","schemes":"bearer","scope":"https://mail.example/"}'


@pytest.mark.parametrize(("way", "acknowledged"), [("xoauth2", ""), ("oauthbearer", "AQ==")])
@pytest.mark.parametrize("end", ["535 5.7.8 no", "501 5.5.2 no", ""])
def test_why_a_token_was_refused_is_told(peers: Peers, way: str, acknowledged: str, end: str) -> None:
    """Some hang up after the reason: it is a refusal all the same."""
    begun = ["334 "] if way == "xoauth2" else []
    peer = peers(f"AUTH {way}", [*begun, asks(FAILURE), end])
    said = refused(peer, TokenRefused, bearer=True)
    assert FAILURE in said and "password" not in said
    assert peer.said[-1] == acknowledged and len(peer.sessions) == 1


def test_a_server_that_repeats_the_token_in_its_reason(peers: Peers) -> None:
    peer = peers("AUTH XOAUTH2", ["334 ", asks(f"bad {SECRET}"), f"535 bad {XOAUTH2}"])
    assert refused(peer, TokenRefused, bearer=True).count("bad ***") == 2


def test_a_token_that_is_refused_while_the_server_is_busy(peers: Peers) -> None:
    refused(peers("AUTH XOAUTH2", ["334 ", asks(FAILURE), "454 4.7.0 later"]), TryLater, bearer=True)


# ---- SCRAM, where the server must prove itself


def challenge(reply: Callable[[str], str]) -> Callable[[str], str]:
    """IMAP's "+ " as SMTP says it."""
    return lambda line: "334 " + reply(line).removeprefix("+ ")


def test_a_server_that_proves_to_know_the_password(peers: Peers) -> None:
    scram = Scram(SECRET)
    peer = peers("AUTH SCRAM-SHA-256", [challenge(scram.first), challenge(scram.final), OK])
    assert begin(peer).authenticated
    assert len(peer.said) == 3 and peer.said[-1] == ""


@pytest.mark.parametrize("end", ["501 5.7.0 cancelled", OK, "334 ", ""])
def test_a_server_that_has_another_password_is_given_up(peers: Peers, end: str) -> None:
    """The answer to "*" must be 501 (RFC 4954 section 4); whatever it is, nobody is logged in."""
    scram = Scram("guessed")
    peer = peers("AUTH SCRAM-SHA-256", [challenge(scram.first), challenge(scram.final), end])
    assert "given up" in refused(peer, AuthenticationRejected)
    assert peer.said[-1] == "*" and len(peer.said) == 3


@pytest.mark.parametrize("dialogue", [[OK], [challenge(server_first), OK]])
def test_a_success_without_proof_is_none(peers: Peers, dialogue: list[Reply]) -> None:
    assert "without showing" in refused(peers("AUTH SCRAM-SHA-256", dialogue), AuthenticationRejected)
