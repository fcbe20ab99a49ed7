"""Servers that break the grammar: the session ends, nobody is told as delivered who may not be, and nothing leaks."""

from __future__ import annotations

import pytest

from mailmove.errors import ConnectionLost, MailmoveError, ProtocolError, TryLater
from mailmove.protocols.smtp import NEED_DATA, Conversation, Offers, Outcome
from tests.unit.smtp.referee import Letter

CHUNKING = Offers(pipelining=True, chunking=True)
PIPELINING = Offers(pipelining=True)
LMTP_CHUNKING = Offers(True, True, True)
LMTP_PIPELINING = Offers(True, True)
ONE = [Letter((b"one\r\n",)), Letter((b"two\r\n",))]
TWO = [Letter((b"one\r\n",), ("a@x", "b@x")), Letter((b"two\r\n",), ("a@x",))]
OK = b"250 2.0.0 ok\r\n"
GO = b"354 go\r\n"
EOF = b""


class Liar:
    """Says what it likes to whatever comes. `written`: all that came."""

    def __init__(self, offers: Offers, letters: list[Letter]) -> None:
        self.conversation = Conversation[Letter](offers)
        self.conversation.send(letters)
        self.written = b""
        self.told: list[Outcome[Letter]] = []

    def hears(self, at_most: int = 1 << 30) -> None:
        data = self.conversation.data_to_send()
        self.written += data
        self.conversation.sent(min(len(data), at_most))

    def says(self, octets: bytes) -> None:
        self.conversation.receive_data(octets)
        while (outcome := self.conversation.next_event()) is not NEED_DATA:
            self.told.append(outcome)

    def play(self, *said: bytes) -> MailmoveError:
        """Hears what there is before each saying; the error that ends it, which must come again if asked again."""
        with pytest.raises(MailmoveError) as caught:
            for octets in said:
                self.hears()
                self.says(octets)
        for again in (self.conversation.next_event, self.conversation.data_to_send, lambda: self.says(OK)):
            with pytest.raises(type(caught.value)):
                again()
        self.told += self.conversation.leftover()
        return caught.value

    @property
    def codes(self) -> list[tuple[dict[str, int], bool]]:
        return [({name: reply.code for name, reply in one.replies.items()}, one.unsent) for one in self.told]


UNSENT: tuple[dict[str, int], bool] = ({}, True)
TAKEN: tuple[dict[str, int], bool] = ({"new@example.org": 250}, False)


@pytest.mark.parametrize("offers", [LMTP_CHUNKING, LMTP_PIPELINING])
def test_one_reply_for_two_recipients(offers: Offers) -> None:
    liar = Liar(offers, TWO)
    error = liar.play(OK * 3 + (OK if offers.chunking else GO), OK, EOF)
    assert isinstance(error, ConnectionLost)
    assert liar.codes == [({"a@x": 250}, False), UNSENT]
    assert b"two" not in liar.written


@pytest.mark.parametrize("offers", [LMTP_CHUNKING, LMTP_PIPELINING])
def test_nothing_follows_a_message_for_two_before_both_are_answered(offers: Offers) -> None:
    """Else the next 250, whatever it answers, would be taken for the missing one."""
    liar = Liar(offers, [Letter((b"zero\r\n",), ("a@x",)), *TWO])
    first, go = (OK, b"") if offers.chunking else (GO, GO)
    assert isinstance(liar.play(OK * 2 + first, OK, OK * 3 + go, OK, EOF), ConnectionLost)
    assert liar.written.count(b"MAIL FROM") == 2
    assert liar.codes == [({"a@x": 250}, False), ({"a@x": 250}, False), UNSENT]


@pytest.mark.parametrize("offers", [CHUNKING, PIPELINING, LMTP_CHUNKING, LMTP_PIPELINING, Offers()])
def test_every_reply_twice(offers: Offers) -> None:
    liar = Liar(offers, ONE)
    twice = [OK * 2] * (1 if not offers.pipelining else 2 if offers.chunking else 3)
    assert isinstance(liar.play(b"".join(twice), EOF), ProtocolError)
    assert liar.codes == [UNSENT, UNSENT]
    assert b"one" not in liar.written


@pytest.mark.parametrize("said", [OK, b"354 go\r\n", b"550 no\r\n"])
def test_a_reply_that_answers_nothing(said: bytes) -> None:
    liar = Liar(CHUNKING, ONE[:1])
    error = liar.play(OK * 3, OK + said)
    assert isinstance(error, ProtocolError)
    assert said.decode().strip()[:3] in error.server_text
    assert liar.codes == [TAKEN]


def test_a_reply_before_the_command_is_out() -> None:
    liar = Liar(CHUNKING, ONE)
    liar.hears(at_most=0)
    with pytest.raises(ProtocolError):
        liar.says(OK)


@pytest.mark.parametrize("said", [b"250", b"250-first\r\n", b"250-first\r\n250 sec"])
def test_the_end_inside_a_reply(said: bytes) -> None:
    liar = Liar(CHUNKING, ONE)
    error = liar.play(OK * 3, said, EOF)
    assert isinstance(error, ConnectionLost)
    assert "in the middle of a reply" in error.message
    assert liar.codes == [UNSENT]  # the second; of the first nobody knows


@pytest.mark.parametrize("offers", [CHUNKING, LMTP_CHUNKING])
def test_a_no_before_the_message_is_whole_ends_the_session_and_counts(offers: Offers) -> None:
    liar = Liar(offers, ONE)
    liar.hears()
    liar.says(OK * 3)
    liar.hears(at_most=len(b"BDAT 4 LAST\r\nne\r"))
    with pytest.raises(ConnectionLost, match="before it was whole"):
        liar.says(b"552 5.3.4 too big\r\n")
    liar.told += liar.conversation.leftover()
    assert liar.codes == [({"new@example.org": 552}, False), UNSENT]


def test_a_yes_before_the_message_is_whole_is_not_believed() -> None:
    liar = Liar(CHUNKING, ONE)
    liar.hears()
    liar.says(OK * 3)
    liar.hears(at_most=len(b"BDAT 4 LAST\r\nne\r"))
    with pytest.raises(ProtocolError, match="before it had all"):
        liar.says(OK)
    liar.told += liar.conversation.leftover()
    assert liar.codes == [UNSENT, UNSENT]


@pytest.mark.parametrize("answer", [b"354 go\r\n", b"334 \r\n"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_go_ahead_where_none_belongs(answer: bytes, place: int) -> None:
    liar = Liar(CHUNKING, ONE)
    assert isinstance(liar.play(OK * place + answer), ProtocolError)
    assert liar.codes == [UNSENT, UNSENT]


@pytest.mark.parametrize("answer", [OK, b"350 what\r\n"])
def test_data_without_a_go_ahead_gets_no_message(answer: bytes) -> None:
    liar = Liar(PIPELINING, ONE)
    assert isinstance(liar.play(OK * 2 + answer), ProtocolError)
    assert b"one" not in liar.written
    assert liar.codes == [UNSENT, UNSENT]


def test_a_reset_that_is_refused() -> None:
    liar = Liar(CHUNKING, ONE)
    assert isinstance(liar.play(b"550 no\r\n503 no\r\n503 no\r\n", b"500 what\r\n502 no\r\n"), ProtocolError)
    assert b"\r\nRSET\r\n" in liar.written
    assert liar.codes == [({"new@example.org": 550}, False), UNSENT]


def _flowing(offers: Offers) -> Liar:
    """Three more messages of a known envelope are out whole, each after the first with RSET before it, unanswered."""
    liar = Liar(offers, [*ONE, *ONE])
    for _ in range(2):
        liar.hears()
        liar.says(OK * (3 if not liar.told and liar.written.count(b"BDAT") == 1 else 1))
    liar.hears()
    assert liar.written.count(b"BDAT") == 5
    return liar


def test_lmtp_that_takes_a_message_for_nobody_is_not_believed() -> None:
    liar = _flowing(LMTP_CHUNKING)
    with pytest.raises(ProtocolError):
        liar.says(OK + b"550 no\r\n" + OK)
    liar.told += liar.conversation.leftover()
    assert liar.codes == [TAKEN, ({"new@example.org": 550}, False)]  # of the last two nobody knows


def test_smtp_that_takes_a_message_for_nobody_is_not_believed() -> None:
    liar = _flowing(CHUNKING)
    liar.says(OK + b"550 no\r\n" + OK)
    assert liar.codes == [TAKEN, ({"new@example.org": 550}, False)]


def test_an_end_that_nobody_asked_for() -> None:
    liar = Liar(CHUNKING, ONE[:1])
    error = liar.play(OK * 3, OK + b"421 4.4.2 idle for too long\r\n")
    assert isinstance(error, TryLater)
    assert liar.codes == [TAKEN]


def test_what_is_whole_and_unanswered_is_not_told_of() -> None:
    liar = _flowing(CHUNKING)
    with pytest.raises(ConnectionLost):
        liar.says(OK * 6)
        liar.says(EOF)
    assert liar.codes == [TAKEN, TAKEN]
    assert liar.conversation.leftover() == []


def test_a_421_in_the_pipe_leaves_nothing_in_doubt() -> None:
    liar = _flowing(CHUNKING)
    with pytest.raises(TryLater):
        liar.says(OK * 2 + b"421 4.3.2 bye\r\n")
    liar.told += liar.conversation.leftover()
    assert liar.codes == [TAKEN, UNSENT, UNSENT, UNSENT]


def test_a_421_for_one_of_two_recipients_takes_nothing_back_from_the_other() -> None:
    liar = Liar(LMTP_PIPELINING, TWO)
    assert isinstance(liar.play(OK * 3 + GO, OK + b"421 4.3.2 bye\r\n"), TryLater)
    assert liar.codes == [({"a@x": 250}, False), UNSENT]
