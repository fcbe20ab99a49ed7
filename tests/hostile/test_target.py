"""An APPEND to an IMAP server that lies, refuses, stalls or hangs up: what becomes of message and session."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mailmove.errors import (
    ConnectionLost,
    Interrupted,
    MailboxRefused,
    MailmoveError,
    MessageRejected,
    ProtocolError,
    QuotaExceeded,
    TimedOut,
    TryLater,
)
from mailmove.targets import Outgoing, Receipt
from mailmove.targets.imap import ImapTarget
from tests.hostile.imap_peer import Interruption, Selected, Then

LETTER = b"Subject: x\r\n\r\nx1 CREATE PWNED\r\n"
LARGE = LETTER + b"x1 CREATE PWNED\r\n" * 500_000
"""More than fits into the buffers on the way, so that the peer can stop reading before it has all."""


def outgoing(octets: bytes = LETTER) -> Outgoing:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(octets), 50_000):
            yield octets[start : start + 50_000]

    return Outgoing(len(octets), datetime(2001, 2, 3, tzinfo=UTC), False, chunks)


def assert_dead(target: ImapTarget) -> None:
    with pytest.raises(ConnectionLost):
        target.moment()


# ---- refusals of a message


REFUSALS = [
    (b"{tag} NO [TOOBIG] no\r\n", MessageRejected, "size"),
    (b"{tag} NO Message contains NUL characters\r\n", MessageRejected, "nul"),
    (b"{tag} NO we do not like it\r\n", MessageRejected, "refused"),
    (b"{tag} NO [OVERQUOTA] full\r\n", QuotaExceeded, ""),
    (b"{tag} NO [TRYCREATE] no mailbox\r\n", MailboxRefused, ""),
    (b"{tag} NO [UNAVAILABLE] busy\r\n", TryLater, ""),
]


@pytest.mark.parametrize(("reply", "error", "cause"), REFUSALS)
def test_a_refusal_before_the_message_costs_nothing_and_the_session_goes_on(
    selected: Selected, reply: bytes, error: type[MailmoveError], cause: str
) -> None:
    peer, target = selected(replies={"APPEND": [reply, b""]})
    with pytest.raises(error) as caught:
        target.append(outgoing())
    assert getattr(caught.value, "cause", "") == cause
    assert caught.value.server_text and caught.value.server_text in caught.value.message
    assert target.append(outgoing()) == Receipt()
    assert peer.stored == [LETTER]


def test_a_refusal_in_the_middle_of_a_message_ends_the_session_and_no_octet_becomes_a_command(
    selected: Selected,
) -> None:
    peer, target = selected(interruption=Interruption(1000, b"{tag} NO [TOOBIG] enough\r\n", Then.STALL))
    with pytest.raises(MessageRejected) as caught:
        target.append(outgoing(LARGE))
    assert (caught.value.cause, peer.stored) == ("size", [])
    assert_dead(target)
    assert peer.verbs[-1] == "APPEND"


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET, Then.STALL])
@pytest.mark.parametrize(
    ("says", "error", "delay"),
    [
        (b"* BYE shutting down\r\n", ConnectionLost, None),
        (b"* BYE Request is throttled. Suggested Backoff Time: 1500 milliseconds\r\n", TryLater, 1.5),
    ],
)
def test_a_bye_in_the_middle_of_a_message_is_heard(
    selected: Selected, says: bytes, error: type[MailmoveError], delay: float | None, then: Then
) -> None:
    peer, target = selected(interruption=Interruption(1000, says, then))
    with pytest.raises(error) as caught:
        target.append(outgoing(LARGE))
    assert says[6:-2].decode() in caught.value.message
    assert getattr(caught.value, "delay", None) == delay
    assert_dead(target)
    assert peer.stored == []


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
def test_a_connection_that_ends_in_the_middle_of_a_message_is_lost(selected: Selected, then: Then) -> None:
    _, target = selected(interruption=Interruption(1000, b"", then))
    with pytest.raises(ConnectionLost):
        target.append(outgoing(LARGE))
    assert_dead(target)


def test_a_server_that_stops_reading_is_waited_for_and_then_given_up(selected: Selected) -> None:
    _, target = selected(timeout=0.3, interruption=Interruption(1000, b"", Then.STALL))
    with pytest.raises(TimedOut, match="no progress"):
        target.append(outgoing(LARGE))
    assert_dead(target)


def test_a_server_that_talks_before_it_reads_cannot_deadlock_us(selected: Selected) -> None:
    chatter = b"* OK still here, and writing before I read on\r\n" * 200_000
    peer, target = selected(interruption=Interruption(1000, chatter))
    target.append(outgoing(LARGE))
    assert peer.stored == [LARGE]


@pytest.mark.parametrize("reply", [b"{tag} BAD what\r\n", b"{tag} OK done\r\n", b"{tag} MAYBE\r\n", b"? what\r\n"])
def test_an_answer_that_makes_no_sense_drops_the_connection(selected: Selected, reply: bytes) -> None:
    peer, target = selected(replies={"APPEND": reply})
    with pytest.raises(ProtocolError):
        target.append(outgoing())
    assert_dead(target)
    assert peer.stored == []


def test_an_ok_in_the_middle_of_a_message_proves_nothing(selected: Selected) -> None:
    _, target = selected(interruption=Interruption(1000, b"{tag} OK [APPENDUID 7 1] done\r\n", Then.STALL))
    with pytest.raises(ProtocolError, match="before it had the message"):
        target.append(outgoing(LARGE))
    assert_dead(target)


def test_a_throttling_bad_is_obeyed(selected: Selected) -> None:
    _, target = selected(replies={"APPEND": b"{tag} BAD Request is throttled. Suggested Backoff Time: 250 ms\r\n"})
    with pytest.raises(TryLater) as caught:
        target.append(outgoing())
    assert caught.value.delay == 0.25
    assert_dead(target)


# ---- receipts


@pytest.mark.parametrize(
    ("said", "receipt"),
    [
        (b"[APPENDUID 7 1] done", Receipt(7, 1)),
        (b"[appenduid 7 4294967295] done", Receipt(7, 4294967295)),
        (b"done", Receipt()),
        (b"[APPENDUID 0 1] done", Receipt()),
        (b"[APPENDUID 7 0] done", Receipt()),
        (b"[APPENDUID 7 1:2] done", Receipt()),
        (b"[APPENDUID 7] done", Receipt()),
        (b"[APPENDUID 7 99999999999] done", Receipt()),
        (b"[APPENDUID 7 9999999999] done", Receipt()),
        (b"done [APPENDUID 7 1]", Receipt()),
    ],
)
def test_only_a_receipt_by_the_grammar_counts(selected: Selected, said: bytes, receipt: Receipt) -> None:
    _, target = selected(appended=b"OK " + said)
    assert target.append(outgoing()) == receipt


def test_a_stop_that_was_asked_for_is_heard_while_the_server_says_nothing(selected: Selected) -> None:
    going = True
    _, target = selected(ok=lambda: going, timeout=60, interruption=Interruption(5, b"", Then.STALL))
    going = False
    with pytest.raises(Interrupted):
        target.append(outgoing())
    assert_dead(target)
