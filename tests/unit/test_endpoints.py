"""What a person may type as SOURCE, and what comes of a mistake: one clear sentence, and no password in it.

Strategy: tables of what must be taken and what must be refused; then arbitrary text, which must be one or the other and
never anything else. Ends of lines, wherever they hide, would be commands to a server, so they get a table of their own.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.endpoints import parse_source
from mailmove.errors import UsageError


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
