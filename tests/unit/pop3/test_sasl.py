"""SASL exchanges, before base64: what the RFCs give as examples, and servers that do not keep to them."""

from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.errors import UsageError
from mailmove.model import AuthMethod
from mailmove.protocols.sasl import (
    MECHANISMS,
    AnyMechanism,
    CramMd5,
    Exchange,
    Login,
    LoginMechanism,
    OAuthBearer,
    Plain,
    ScramSha256,
    XOAuth2,
)

SECRET = "hunter2-and-more"
WAYS = list(MECHANISMS.values())


def test_plain() -> None:
    assert Plain(Login("tim", "tanstaaftanstaaf")).initial == b"\0tim\0tanstaaftanstaaf"  # RFC 4616 section 4
    assert Plain(Login("jörg", "pässwört")).initial == "\0jörg\0pässwört".encode()
    assert Plain(Login("", "")).initial == b"\0\0"


@pytest.mark.parametrize("questions", [(b"User Name\0", b"Password\0"), (b"Username:", b"Password:"), (b"", b"")])
def test_login_answers_whatever_is_asked(questions: tuple[bytes, bytes]) -> None:
    mechanism = LoginMechanism(Login("tim", "tanstaaf"))
    assert mechanism.initial is None
    assert [mechanism.respond(question) for question in questions] == [b"tim", b"tanstaaf"]
    assert mechanism.respond(b"and your pet?") is None


def test_cram_md5() -> None:
    mechanism = CramMd5(Login("tim", "tanstaaftanstaaf"))  # RFC 2195 section 2
    assert mechanism.initial is None
    answer = mechanism.respond(b"<1896.697170952@postoffice.reston.mci.net>")
    assert answer == b"tim b913a602c7eda7a495b4e6e7334d3890"


NONCE = "rOprNGfwEbeRWgbNEkqO"  # RFC 7677 section 3
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def pencil() -> ScramSha256:
    return ScramSha256(Login("user", "pencil"), NONCE)


def test_scram_sha_256() -> None:
    mechanism = pencil()
    assert mechanism.initial == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert mechanism.respond(SERVER_FIRST) == CLIENT_FINAL
    assert not mechanism.proven
    assert mechanism.respond(SERVER_FINAL) == b""
    assert mechanism.proven


@pytest.mark.parametrize(
    ("first", "final"),
    [
        (SERVER_FIRST, b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        (SERVER_FIRST, b"v="),
        (SERVER_FIRST, b"e=invalid-proof"),
        (SERVER_FIRST, b""),
        (SERVER_FIRST, SERVER_FIRST),
        (SERVER_FIRST.replace(b"r=rOpr", b"r=xxxx"), SERVER_FINAL),
        (SERVER_FIRST.replace(b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", b""), SERVER_FINAL),
        (SERVER_FIRST.replace(b"i=4096", b"i=1"), SERVER_FINAL),
        (SERVER_FIRST.replace(b"i=4096", b"i=99999999999"), SERVER_FINAL),
        (SERVER_FIRST.replace(b"i=4096", b"i=2000000"), SERVER_FINAL),
        (SERVER_FINAL, SERVER_FINAL),
        (b"\xff\xfe", SERVER_FINAL),
    ],
)
def test_a_server_that_fails_scram_is_given_up_and_never_believed_again(first: bytes, final: bytes) -> None:
    mechanism = pencil()
    assert mechanism.respond(first) is None or mechanism.respond(final) is None
    assert mechanism.complaint and not mechanism.proven
    assert mechanism.respond(SERVER_FINAL) is None
    assert not mechanism.proven


def test_a_scram_nonce_is_new_each_time() -> None:
    assert ScramSha256(Login("user", "pencil")).initial != ScramSha256(Login("user", "pencil")).initial


def test_oauthbearer() -> None:
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="  # RFC 7628 section 4.1
    mechanism = OAuthBearer(Login("user@example.com", token, "server.example.com", 143))
    assert base64.b64encode(mechanism.initial or b"") == (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52"
        b"YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    failure = b'{"status":"invalid_token","scope":"example_scope"}'  # section 4.3
    assert mechanism.respond(failure) == b"\1"
    assert failure.decode() in mechanism.complaint


def test_oauthbearer_writes_commas_in_a_user_name_apart() -> None:
    assert OAuthBearer(Login("a,b=c", "t")).initial == b"n,a=a=2Cb=3Dc,\1auth=Bearer t\1\1"


def test_xoauth2() -> None:
    token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"  # Google's documentation of XOAUTH2
    mechanism = XOAuth2(Login("someuser@example.com", token))
    assert base64.b64encode(mechanism.initial or b"") == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0"
        b"Q2cBAQ=="
    )
    assert mechanism.respond(b'{"status":"400"}') == b""
    assert '{"status":"400"}' in mechanism.complaint
    assert mechanism.respond(b"once more") is None


# ---- What holds for all of them


@pytest.mark.parametrize("way", [way for way in WAYS if way is not ScramSha256])
@pytest.mark.parametrize(("user", "secret"), [("m\0e", SECRET), ("me", SECRET + "\0"), ("me", SECRET + "\udc80")])
def test_what_would_move_a_border_is_refused(way: type[AnyMechanism], user: str, secret: str) -> None:
    with pytest.raises(UsageError) as refused:
        way(Login(user, secret))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("way", [XOAuth2, OAuthBearer])
@pytest.mark.parametrize(("user", "secret"), [("m\1e", SECRET), ("me", SECRET + "\1auth=Bearer x")])
def test_a_field_cannot_be_smuggled_in(way: type[AnyMechanism], user: str, secret: str) -> None:
    with pytest.raises(UsageError):
        way(Login(user, secret))


@pytest.mark.parametrize("secret", [SECRET + "\7", SECRET + "\udc80"])
def test_scram_says_when_it_cannot_carry_a_password(secret: str) -> None:
    with pytest.raises(UsageError, match="--auth") as refused:
        ScramSha256(Login("me", secret))
    assert SECRET not in str(refused.value)


@given(st.sampled_from(WAYS), st.lists(st.binary(max_size=80), max_size=6), st.booleans())
def test_no_challenge_makes_it_fail_or_go_on_for_ever(
    way: type[AnyMechanism], challenges: list[bytes], begun: bool
) -> None:
    mechanism = way(Login("me", SECRET))
    exchange = Exchange(mechanism, begun=begun)
    answers = [exchange.answer(challenge) for challenge in [*challenges, b"", b"", b"", b""]]
    assert None in answers and mechanism.complaint
    assert SECRET not in mechanism.complaint
    assert not (way is ScramSha256 and mechanism.proven)


@pytest.mark.parametrize("way", WAYS)
def test_an_echoed_secret_is_not_in_the_complaint(way: type[AnyMechanism]) -> None:
    mechanism = way(Login("me", SECRET))
    while mechanism.respond(f"is it {SECRET}?".encode()) is not None:
        pass
    assert mechanism.complaint and SECRET not in mechanism.complaint


def test_the_first_message_waits_for_the_first_challenge_if_it_was_not_sent() -> None:
    assert Exchange(Plain(Login("a", "b")), begun=False).answer(b"") == b"\0a\0b"
    assert Exchange(Plain(Login("a", "b")), begun=True).answer(b"") is None
    cram = Exchange(CramMd5(Login("a", "b")), begun=False)
    assert cram.answer(b"<1@x>") == b"a " + hmac.new(b"b", b"<1@x>", "md5").hexdigest().encode()


def test_every_way_but_those_of_pop3_itself_has_a_mechanism() -> None:
    assert set(AuthMethod) - set(MECHANISMS) == {AuthMethod.AUTO, AuthMethod.USER, AuthMethod.APOP}
    assert all(MECHANISMS[way].name.lower() == way.value for way in MECHANISMS)


def test_a_login_does_not_show_its_secret() -> None:
    assert SECRET not in repr(Login("me", SECRET, "host", 1))
