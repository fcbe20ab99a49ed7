"""What can be said, and what cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.errors import LocalProtocolError, UsageError
from mailmove.model import Body
from mailmove.protocols.smtp import MAX_ADDRESS, Conversation, Offers, check_address
from mailmove.protocols.smtp.commands import check, envelope
from tests.unit.smtp.referee import Letter, Referee, talk

ALL = Offers(pipelining=True, chunking=True, eight_bit=True, binary=True, utf8=True, size=True)
EIGHT, BINARY = Body.EIGHT_BIT, Body.BINARY


def said(letter: Letter, offers: Offers = ALL) -> bytes:
    mail, recipients = envelope(letter, offers)
    return mail + b"".join(recipients)


def test_parameters_are_those_the_server_offers_and_the_message_needs() -> None:
    text = (b"text\r\n",)
    assert said(Letter(text)) == b"MAIL FROM:<me@example.org> SIZE=6\r\nRCPT TO:<new@example.org>\r\n"
    assert said(Letter(text, sender=""), Offers()) == b"MAIL FROM:<>\r\nRCPT TO:<new@example.org>\r\n"
    assert b"> BODY=8BITMIME SIZE=6\r\n" in said(Letter(text, body=EIGHT))
    assert b"> BODY=BINARYMIME SIZE=6\r\n" in said(Letter(text, body=BINARY))
    assert said(Letter(text, ("jürgen@example.org", "b"), sender="")) == (
        "MAIL FROM:<> SMTPUTF8 SIZE=6\r\nRCPT TO:<jürgen@example.org>\r\nRCPT TO:<b>\r\n".encode()
    )


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a b@example.org",
        "a\r\nDATA@example.org",
        "a\n@example.org",
        "a\r@example.org",
        "a>@example.org",
        "<a@example.org>",
        "a\0@example.org",
        "a\t@example.org",
        "a\x7f@example.org",
        "a\u2028@example.org",
        "a\u00a0@example.org",
        "a\u0085@example.org",
        "a\udcff@example.org",
        "x" * (MAX_ADDRESS + 1),
    ],
)
def test_an_address_that_could_be_taken_for_more_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        check_address(address)
    for letter in (Letter((b"",), (address,)), Letter((b"",), sender=address)):
        if letter.sender:
            conversation = Conversation[Letter](ALL)
            with pytest.raises(UsageError):
                conversation.send([Letter((b"",)), letter])
            assert conversation.data_to_send() == b""  # nor was the good one sent


@given(st.text(max_size=12))
def test_whatever_passes_is_one_line(address: str) -> None:
    try:
        check_address(address)
    except UsageError:
        return
    referee = Referee()
    done = talk(ALL, referee, [Letter((b"x",), (address,))])
    assert done.codes == [{address: 250}]
    assert referee.lines[1] == f"RCPT TO:<{address}>".encode()
    assert [line.split()[0] for line in referee.lines] == [b"MAIL", b"RCPT", b"BDAT", b"BDAT"]
    assert not referee.strangers


@pytest.mark.parametrize(
    ("letter", "offers"),
    [
        (Letter((b"",), body=BINARY), Offers(chunking=True, eight_bit=True)),
        (Letter((b"",), body=BINARY), Offers(binary=True, eight_bit=True)),
        (Letter((b"",), body=EIGHT), Offers(chunking=True)),
        (Letter((b"",), ("ö@example.org",)), Offers(chunking=True)),
        (Letter((b"",), sender="ö@example.org"), Offers(chunking=True)),
        (Letter((b"",), ()), ALL),
        (Letter((b"",), ("a", "a")), ALL),
    ],
)
def test_what_the_server_cannot_carry_is_our_bug(letter: Letter, offers: Offers) -> None:
    with pytest.raises(LocalProtocolError):
        check(letter, offers)
