"""Envelopes: what is typed has one spelling or is refused in a sentence; what a message says is taken with care.

Strategy: tables of what must be taken and what must be refused. Hypothesis throws text at the check, and octets at the
reading of header sections: nothing comes out that could not be typed as `--rcpt`, and nothing that was not there.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailmove.errors import ConfigurationError, UsageError
from mailmove.jobs.envelope import (
    LONGEST,
    Audience,
    address,
    audience,
    check_confirmed,
    check_original,
    check_utf8,
    is_address,
    is_recipient,
    needs_utf8,
    original_recipients,
    recipients,
    reverse_path,
)

# ---- an address


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("me@new.example", "me@new.example"),
        ("Me.Too+x@NEW.Example", "Me.Too+x@new.example"),
        ("me@bücher.example", "me@xn--bcher-kva.example"),
        ("me@BÜCHER.example", "me@xn--bcher-kva.example"),
        ("me@bu\u0308cher.example", "me@xn--bcher-kva.example"),
        ("jörg@bücher.example", "jörg@xn--bcher-kva.example"),
        ("me@localhost", "me@localhost"),
        ("me@[127.0.0.1]", "me@[127.0.0.1]"),
        ("me@[IPv6:2001:DB8::1]", "me@[ipv6:2001:db8::1]"),
        ('"a,b"@new.example', '"a,b"@new.example'),
        ('"a@b"@new.example', '"a@b"@new.example'),
        ("o'neil/x=y#1@new.example", "o'neil/x=y#1@new.example"),
        ("two..dots@docomo.example", "two..dots@docomo.example"),
    ],
)
def test_an_address_has_one_spelling(text: str, spelt: str) -> None:
    assert address(text) == spelt and address(spelt) == spelt


NO_ADDRESSES = [
    "",
    "me",
    "@new.example",
    "me@",
    "me@new.example,you@new.example",
    "me@you@new.example",
    "me @new.example",
    "me@new.example\r\nRCPT TO:<you@new.example>",
    "me@new.example\n",
    "me@new.example\t",
    "me\0@new.example",
    "me\x7f@new.example",
    "me\u2028@new.example",
    "me\u202e@new.example",
    "me\udcff@new.example",
    "<me@new.example>",
    "Me <me@new.example>",
    "me@new.example>",
    "me@new.example> SIZE=1",
    "me@new..example",
    "me@.example",
    "me@new.example.",
    "me@-new.example",
    "me@new_example!",
    "me@straße.example",
    "me@STRAẞE.example",
    "me@x\uff20y.example",
    "me@x\uff1cy.example",
    "me@[127.0.0.1",
    "me@[]",
    '"a"b@new.example',
    '"a b"@new.example',
    "a;b@new.example",
    "a:b@new.example",
    "a(b)@new.example",
    "x" * 250 + "@new.example",
]


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_refused_in_one_sentence(text: str) -> None:
    assert not is_address(text)
    for refused in (lambda: recipients([text]), lambda: reverse_path(text, "", lmtp=False)):
        with pytest.raises(UsageError) as caught:
            refused()
        sentence = caught.value.message
        assert sentence.isprintable() and sentence.endswith(".") and repr(text) in sentence
        assert sentence.startswith(("--rcpt ", "--mail-from "))


@given(st.text(max_size=30) | st.builds("{}@{}".format, st.text(max_size=9), st.text(max_size=9)))
@example("a@\u2488com")
def test_whatever_is_taken_can_be_put_between_angle_brackets(text: str) -> None:
    if not is_address(text):
        return
    spelt = address(text)
    local, _, domain = spelt.rpartition("@")
    assert local == text.rpartition("@")[0] and domain.isascii() and domain == domain.lower()
    assert spelt.isprintable() and not set(spelt) & set(" <>\r\n\0") and len(spelt.encode()) <= LONGEST
    assert address(spelt) == spelt


# ---- --rcpt


def test_each_recipient_is_there_once() -> None:
    given_ = ["me@new.example", "you@new.example", "me@NEW.example", "Me@new.example"]
    assert recipients(given_) == ("me@new.example", "you@new.example", "Me@new.example")


def test_lmtp_takes_a_user_without_a_domain_and_smtp_does_not() -> None:
    assert recipients(["alice", "alice@new.example"], lmtp=True) == ("alice", "alice@new.example")
    assert is_recipient("alice") and is_recipient("alice@new.example") and not is_recipient("alice>")
    with pytest.raises(UsageError, match="--rcpt 'alice' is no address"):
        recipients(["alice"])


@pytest.mark.parametrize("text", ["", "a b", "<a>", "a,b", "a\n", "a\0", "x" * 300, "a\u2028", "me@", "@x"])
def test_what_is_no_user_either(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        recipients([text], lmtp=True)


# ---- the reverse path


@pytest.mark.parametrize(
    ("mail_from", "user", "lmtp", "path"),
    [
        (None, "", True, ""),
        (None, "me@gmx.example", True, ""),
        ("me@gmx.example", "", True, "me@gmx.example"),
        ("<>", "", True, ""),
        (None, "me@GMX.example", False, "me@gmx.example"),
        ("you@gmx.example", "me@gmx.example", False, "you@gmx.example"),
        ("<>", "me@gmx.example", False, ""),
        ("<>", "", False, ""),
    ],
)
def test_a_reverse_path(mail_from: str | None, user: str, lmtp: bool, path: str) -> None:
    assert reverse_path(mail_from, user, lmtp=lmtp) == path


@pytest.mark.parametrize("user", ["", "me", "DOMAIN\\me", "first last@gmx.example"])
def test_on_smtp_a_sender_is_not_made_up(user: str) -> None:
    with pytest.raises(UsageError, match="--mail-from ADDRESS, or --mail-from '<>'") as caught:
        reverse_path(None, user, lmtp=False)
    assert caught.value.exit_code == 2 and (repr(user) in caught.value.message or not user)


# ---- SMTPUTF8


def test_an_address_that_needs_smtputf8_is_named_where_there_is_none() -> None:
    new = recipients(["me@bücher.example", "jörg@new.example"])
    assert [needs_utf8(one) for one in new] == [False, True]
    check_utf8(new, utf8=True, server="mail.example")
    check_utf8(new[:1], utf8=False, server="mail.example")
    with pytest.raises(ConfigurationError, match=r"^jörg@new\.example cannot be named to mail\.example, .* SMTPUTF8"):
        check_utf8(new, utf8=False, server="mail.example")


# ---- --original-recipients


def named(*lines: bytes) -> tuple[str, ...]:
    return original_recipients(b"".join(line + b"\r\n" for line in lines))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"To: a@x.example", ["a@x.example"]),
        (b"to:a@X.Example", ["a@x.example"]),
        (b"To : a@x.example", ["a@x.example"]),
        (b"To: A <a@x.example>, b@x.example", ["a@x.example", "b@x.example"]),
        (b'To: "Last, First" <a@x.example>', ["a@x.example"]),
        (b'To: "evil@y.example" <a@x.example>', ["a@x.example"]),
        (b"To: A (evil@y.example) <a@x.example>", ["a@x.example"]),
        (b"To: =?utf-8?q?J=C3=B6rg?= <a@x.example>", ["a@x.example"]),
        (b"To: =?utf-8?b?PGV2aWxAeS5leGFtcGxlPg==?= <a@x.example>", ["a@x.example"]),
        (b"To: =?utf-8?q?evil=40y.example?=", []),
        (b"To: =?utf-8?q?evil?=@y.example", []),
        (b"To: friends: a@x.example, B <b@x.example>;, c@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        (b"To: undisclosed-recipients:;", []),
        (b"To: a@x.example,\r\n\tb@x.example,\r\n  c@x.example", ["a@x.example", "b@x.example", "c@x.example"]),
        (b"To: a@x.example, a@X.example", ["a@x.example"]),
        (b"To: <@relay.example:a@x.example>", ["a@x.example"]),
        ("To: jörg@x.example, a@bücher.example".encode(), ["jörg@x.example", "a@xn--bcher-kva.example"]),
        ("To: jörg@x.example, a@x.example".encode("latin-1"), ["a@x.example"]),
        (b"To: nobody, , <>, @, a@, @x.example, a@x.example", ["a@x.example"]),
        (b"To: a@x.example)b@y.example", ["a@x.example", "b@y.example"]),
        (b"To:", []),
        (b"To:\r\n a@x.example", ["a@x.example"]),
        (b"From: a@x.example\r\nReply-To: b@x.example\r\nX-To: c@x.example", []),
        (b"Subject: \r\n To: a@x.example", []),
        (b"To: " + b"(" * 100_000 + b"a@x.example", []),
    ],
)
def test_whom_a_field_names(line: bytes, found: list[str]) -> None:
    assert named(line) == tuple(found)


def test_all_fields_that_name_recipients_count_and_bcc_above_all() -> None:
    lines = [b"%s: %c@x.example" % (name, 97 + n) for n, name in enumerate((b"To", b"Cc", b"Bcc"))]
    again = [
        b"%s: %c@x.example" % (name, 100 + n) for n, name in enumerate((b"Resent-To", b"Resent-Cc", b"Resent-Bcc"))
    ]
    assert named(*lines, *again, b"to: a@x.example, g@x.example") == tuple(f"{one}@x.example" for one in "abcdefg")


MARKS = (
    b" ",
    b",",
    b";",
    b":",
    b"<",
    b">",
    b"(",
    b")",
    b'"',
    b"\\",
    b"@",
    b".",
    b"[",
    b"]",
    b"\0",
    b"\xff",
    b"\xc3\xbc",
)
WORDS = (
    b"To:",
    b"Cc: ",
    b"Bcc:",
    b"\r\n",
    b"\n",
    b"\r",
    b"a@x.example",
    b"b",
    b"=?utf-8?q?",
    b"?=",
    b"g: ",
    b"y.example",
)
PIECES = st.sampled_from(MARKS + WORDS)


@given(st.binary(max_size=80) | st.lists(PIECES, max_size=40).map(b"".join))
def test_nothing_is_named_that_could_not_be_typed_and_was_not_there(section: bytes) -> None:
    text = section.decode("utf-8", "replace").lower()
    for one in original_recipients(section):
        assert recipients([one]) == (one,)
        assert one.rpartition("@")[0].lower() in text


LOCALS = st.from_regex(r"[a-z0-9+_.-]{1,10}", fullmatch=True)
ADDRESSES = st.builds("{}@{}.example".format, LOCALS, st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True))
SHAPES = st.sampled_from(["{}", "<{}>", "Some One <{}>", '"One, Some" <{}>', "(note) {}", "=?utf-8?q?J=C3=B6rg?= <{}>"])


@given(st.lists(st.tuples(ADDRESSES, SHAPES), min_size=1, max_size=8), st.sampled_from([", ", ",\r\n ", " ,\n\t"]))
def test_everybody_who_is_named_properly_is_found(wanted: list[tuple[str, str]], between: str) -> None:
    value = between.join(shape.format(one) for one, shape in wanted)
    assert named(f"To: {value}".encode()) == tuple(dict.fromkeys(one for one, _ in wanted))


# ---- who that would be


def test_the_audience_is_counted_and_strangers_are_all_but_oneself() -> None:
    mails = [["me@gmail.com", "you@gmail.com"], ["you@gmail.com"], [], ["Me@gmail.com", "she@work.example"]]
    assert audience(mails, ["me@gmail.com"]) == Audience(
        4, 1, 5, 4, 2, (("you@gmail.com", 2), ("me@gmail.com", 1), ("Me@gmail.com", 1), ("she@work.example", 1))
    )
    assert audience(mails, ["me@gmail.com", "@work.example"]).strangers == 1
    assert audience(mails, []).strangers == 4


def test_only_the_most_frequent_are_named() -> None:
    many = audience(([f"{n}@x.example"] for n in range(5000)), [])
    assert (many.strangers, len(many.frequent)) == (5000, 10)
    assert "5,000 of the addresses are strangers" in many.sentence() and len(many.sentence()) < 600


def test_it_is_sent_only_if_the_number_of_strangers_is_typed_in() -> None:
    found = audience([["me@x.example", "a@x.example"], ["b@x.example"]], ["me@x.example"])
    asked: list[tuple[str, str]] = []

    def ask(question: str, answer: str) -> bool:
        asked.append((question, answer))
        return len(asked) == 1

    check_confirmed(found, confirmed=True, ask=ask)
    assert asked == []
    check_confirmed(found, confirmed=False, ask=ask)
    ((question, answer),) = asked
    assert answer == "2" and "2 of the addresses are strangers" in question and question.endswith(": ")
    with pytest.raises(UsageError, match=r"nothing was sent: .* --yes\.$") as caught:
        check_confirmed(found, confirmed=False, ask=ask)
    assert caught.value.exit_code == 2 and "\n" not in caught.value.message


def test_what_original_recipients_needs() -> None:
    check_original(given=(), authenticated=True, server="mail.example")
    with pytest.raises(UsageError, match="--original-recipients and --rcpt"):
        check_original(given=("me@new.example",), authenticated=True, server="mail.example")
    with pytest.raises(ConfigurationError, match=r"nobody has logged in at mail\.example"):
        check_original(given=(), authenticated=False, server="mail.example")
