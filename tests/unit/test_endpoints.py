"""What a person may type as SOURCE, or as a mail target; of a mistake comes one clear sentence, and no password in it.

Strategy: tables of what must be taken and what must be refused; then arbitrary text, which must be one or the other and
never anything else. Ends of lines, wherever they hide, would be commands to a server, so they get a table of their own.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.errors import UsageError
from mailmove.urls import is_relay, parse_relay, parse_source


def parsed(text: str) -> tuple[str, str, str, int]:
    url = parse_source(text)
    return url.scheme, url.user, url.host, url.port


def refusal(text: str) -> str:
    """The sentence."""
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert caught.value.exit_code == 2
    sentence = caught.value.message
    assert sentence.isprintable() and sentence.endswith(".") and len(sentence) < 300, sentence
    return sentence


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("pop3s://me@pop.example", "me", "pop.example", 995),
        ("pop3://me@pop.example", "me", "pop.example", 110),
        ("pop3s://me@gmx.de@pop.gmx.net", "me@gmx.de", "pop.gmx.net", 995),
        ("pop3s://a@b@c@pop.example", "a@b@c", "pop.example", 995),
        ("pop3s://me@pop.example:1995", "me", "pop.example", 1995),
        ("pop3://me@pop.example:1", "me", "pop.example", 1),
        ("pop3s://me@pop.example:65535", "me", "pop.example", 65535),
        ("pop3s://me@pop.example/", "me", "pop.example", 995),
        ("POP3S://Me@POP.Example", "Me", "pop.example", 995),
        ("pop3s://me@127.0.0.1:995", "me", "127.0.0.1", 995),
        ("pop3s://me@[::1]", "me", "::1", 995),
        ("pop3s://me@[2001:DB8::1]:1995", "me", "2001:db8::1", 1995),
        ("pop3s://domain\\me@pop.example", "domain\\me", "pop.example", 995),
        ("pop3s://first last@pop.example", "first last", "pop.example", 995),
        ("pop3s://jörg@pop.example", "jörg", "pop.example", 995),
        ("pop3s://a%3Ab@pop.example", "a:b", "pop.example", 995),
        ("pop3s://me%40gmx.de@pop.gmx.net", "me@gmx.de", "pop.gmx.net", 995),
        ("pop3s://100%25@pop.example", "100%", "pop.example", 995),
        ("pop3s://a+b=c~d@pop.example", "a+b=c~d", "pop.example", 995),
    ],
)
def test_what_is_taken(text: str, user: str, host: str, port: int) -> None:
    assert parsed(text)[1:] == (user, host, port)
    assert parsed(text)[0] == text.partition(":")[0].lower()


@pytest.mark.parametrize(
    "text",
    [
        *("", "pop.example", "me@pop.example", "//me@pop.example", "://me@pop.example", "pop3s:me@pop.example"),
        *("imaps://me@pop.example", "http://me@pop.example", "pop3ss://me@pop.example", "pop3s ://me@pop.example"),
        *("pop3s://", "pop3s://@", "pop3s://me@", "pop3s://@pop.example", "pop3s://pop.example", "pop3s://me"),
        *("pop3s://me@:995", "pop3s://me@pop.example:", "pop3s://me@pop.example:x", "pop3s://me@pop.example:-1"),
        *("pop3s://me@pop.example:123456", "pop3s://me@pop example", "pop3s://me@pop.example/inbox"),
        *(
            "pop3s://me@pop.example?x=1",
            "pop3s://me@pop.example#x",
            "pop3s://me@::1",
            "pop3s://me@[::1",
            "pop3s://me@[]",
        ),
        *("pop3s://me@[pop.example]", "pop3s://me@[::1]x"),
    ],
)
def test_what_is_no_source_is_refused_with_an_example(text: str) -> None:
    assert "like pop3s://me@gmx.de@pop.gmx.net" in refusal(text)


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_that_cannot_be(port: int) -> None:
    assert f"There is no port {port}; ports go from 1 to 65535." == refusal(f"pop3s://me@pop.example:{port}")


@pytest.mark.parametrize(
    "text",
    [
        *("pop3s://me:hunter2@pop.example", "pop3s://me@gmx.de:hunter2@pop.example", "pop3s://:hunter2@pop.example"),
        *("pop3s://me:hun@hunter2@pop.example", "pop3s://me:hunter2:hunter2@pop.example", "pop3s://me:x/hunter2@p"),
        *("pop3s://me:hunter2@", "pop3s://me:hunter2", "imaps://me:hunter2@imap.example", "me:hunter2@pop.example"),
        *("pop3s://me:hunter2@pop.example:0", "pop3s://me:hunter2@pop.example:port", "pop3s//me:hunter2@pop.example"),
    ],
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    assert "hunter2" not in refusal(text)


def test_the_refusal_of_a_password_says_what_to_do() -> None:
    sentence = refusal("pop3s://me:hunter2@pop.example")
    assert "pop.example" in sentence and "--password-env" in sentence and "%3A" in sentence


BREAKS = ("\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x1b", "\x7f", "\x85", "\u2028", "\u2029")


@pytest.mark.parametrize("bad", BREAKS, ids=ascii)
@pytest.mark.parametrize(
    "where", ["pop3s://m{}e@pop.example", "pop3s://me@pop.ex{}ample", "{}pop3s://me@p", "pop3s://me@p{}"]
)
def test_a_control_character_anywhere(where: str, bad: str) -> None:
    assert "control character" in refusal(where.format(bad))


@pytest.mark.parametrize("bad", ["%0d", "%0A", "%0D%0aDELE 1", "%00", "%1b", "%7F", "%c2%85", "%e2%80%a8"])
def test_a_control_character_that_hides_behind_percent(bad: str) -> None:
    assert "control character" in refusal(f"pop3s://me{bad}@pop.example")


PIECES = ("pop3s", "pop3", "://", ":", "@", "me", "%0a", "%", "[", "]", "::1", "/", "99", "\n", "é")
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES)).map("".join))


@given(TEXTS)
@example("pop3s://me@pop.example")
def test_any_text_is_taken_or_refused_and_what_is_taken_is_harmless(text: str) -> None:
    try:
        url = parse_source(text)
    except UsageError as error:
        assert error.message.isprintable(), "a sentence for the terminal"
        return
    assert url.user and url.user.isprintable() and url.host and url.host.isprintable()
    assert " " not in url.host and 0 < url.port < 65536


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="%:"), min_size=1))
def test_every_visible_user_name_arrives_as_it_was_typed(user: str) -> None:
    assert parsed(f"pop3s://{user}@pop.example:1234") == ("pop3s", user, "pop.example", 1234)


def test_the_ports_of_a_maildrop() -> None:
    """110 and 995 of one host are one maildrop, any other port is another, a given name is all that counts."""
    names = [str(parse_source(f"pop3s://me@POP.example{port}").maildrop()) for port in ("", ":995", ":110", ":1995")]
    assert names == ["me@pop.example"] * 3 + ["me@pop.example:1995"]
    assert str(parse_source("pop3://me@pop.example").maildrop()) == "me@pop.example"
    assert str(parse_source("pop3s://me@[::1]:1995").maildrop()) == "me@[::1]:1995"
    assert str(parse_source("pop3s://me@pop.example:1995").maildrop("home")) == "home"


# ---- SMTP and LMTP targets


def refused_relay(text: str) -> str:
    """The sentence."""
    with pytest.raises(UsageError) as caught:
        parse_relay(text)
    sentence = caught.value.message
    assert sentence.isprintable() and sentence.endswith(".") and len(sentence) < 300, sentence
    return sentence


@pytest.mark.parametrize(
    ("text", "user", "host", "port", "path", "name"),
    [
        ("smtp://me@mx.example", "me", "mx.example", 587, "", "smtp://me@mx.example"),
        ("smtps://me@mx.example", "me", "mx.example", 465, "", "smtp://me@mx.example"),
        ("smtps://me@gmx.de@MX.example:1465/", "me@gmx.de", "mx.example", 1465, "", "smtp://me@gmx.de@mx.example"),
        ("SMTP://mx.example", "", "mx.example", 587, "", "smtp://mx.example"),
        ("smtp://mx.example:25", "", "mx.example", 25, "", "smtp://mx.example"),
        ("lmtp://mx.example", "", "mx.example", 24, "", "lmtp://mx.example"),
        ("lmtp://me@mx.example:2003", "me", "mx.example", 2003, "", "lmtp://me@mx.example"),
        ("lmtp://[::1]:24", "", "::1", 24, "", "lmtp://::1"),
        ("lmtp:///run/dovecot/lmtp", "", "", 0, "/run/dovecot/lmtp", "lmtp:///run/dovecot/lmtp"),
        ("LMTP:///a b/c%20d:24@x", "", "", 0, "/a b/c d:24@x", "lmtp:///a b/c d:24@x"),
    ],
)
def test_a_relay_is_taken(text: str, user: str, host: str, port: int, path: str, name: str) -> None:
    url = parse_relay(text)
    assert (url.user, url.host, url.port, url.path, url.name) == (user, host, port, path, name)
    assert is_relay(text)


@pytest.mark.parametrize(
    "text", ["imaps://me@x", "imap://x", "pop3s://me@x", "me@x.example", "smtp", "smtp:x", "", "/a"]
)
def test_what_is_no_relay_is_told_from_one(text: str) -> None:
    assert not is_relay(text)
    assert "is no SMTP or LMTP target; give one like smtps://me@gmx.de@mail.gmx.net" in refused_relay(text)


@pytest.mark.parametrize(
    "text",
    [
        *("smtp://", "smtps://@mx.example", "smtp:///run/socket", "lmtp://", "lmtp://me@", "lmtp://me@/run/socket"),
        *(
            "smtp://mx.example:x",
            "smtp://mx.example/inbox",
            "smtp://mx.example?x",
            "smtp://mx example",
            "lmtp://@/run/x",
        ),
    ],
)
def test_a_relay_without_a_host_is_refused(text: str) -> None:
    assert is_relay(text) and "names no host; give it like" in refused_relay(text)


@pytest.mark.parametrize("text", ["lmtp:///", "lmtp:////"])
def test_a_socket_needs_a_path(text: str) -> None:
    assert "names no socket; give its whole path, like lmtp:///path/to/socket." in refused_relay(text)


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_that_a_relay_cannot_have(port: int) -> None:
    assert f"There is no port {port}" in refused_relay(f"smtp://mx.example:{port}")


@pytest.mark.parametrize(
    "text",
    ["smtp://me:hunter2@mx.example", "smtps://me@gmx.de:hunter2@mx.example", "lmtp://:hunter2@x", "smtp://a:hunter2"],
)
def test_a_password_in_a_relay_is_refused_and_not_repeated(text: str) -> None:
    assert "hunter2" not in refused_relay(text)


@pytest.mark.parametrize("bad", BREAKS, ids=ascii)
@pytest.mark.parametrize("where", ["smtp://m{}e@mx.example", "lmtp:///run/{}x", "{}smtp://mx.example"])
def test_a_control_character_anywhere_in_a_relay(where: str, bad: str) -> None:
    assert "control character" in refused_relay(where.format(bad))


@pytest.mark.parametrize("text", ["smtp://me%0d%0a@mx.example", "lmtp:///run%0ax", "lmtp:///%00", "lmtp:///x%e2%80%a8"])
def test_a_control_character_that_hides_behind_percent_in_a_relay(text: str) -> None:
    assert "control character" in refused_relay(text)


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(("smtp", "lmtp", "/", *PIECES))).map("".join)))
def test_any_text_is_a_harmless_relay_or_none(text: str) -> None:
    try:
        url = parse_relay(text)
    except UsageError as error:
        assert error.message.isprintable()
        return
    assert bool(url.host) != bool(url.path) and (url.host + url.path + url.user).isprintable()
    assert is_relay(text) and (0 < url.port < 65536 or url.path.startswith("/"))
