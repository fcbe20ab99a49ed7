"""Reading from an IMAP server that answers oddly, too much, or not in IMAP: only what was asked for counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailmove.errors import (
    ConnectionLost,
    ProtocolError,
    TimedOut,
    TryLater,
)
from mailmove.targets.imap import ImapTarget
from tests.hostile.imap_peer import Selected


def assert_dead(target: ImapTarget) -> None:
    with pytest.raises(ConnectionLost):
        target.moment()


# ---- reading


def test_uids_billions_apart_cost_few_commands(selected: Selected) -> None:
    uids = [1, 2, 5_000, 1_000_000, *range(3_000_000_000, 3_000_005_000), 4_294_967_295]
    peer, target = selected(uids=uids)
    for first in (1, 2, 3, 5_001, 3_000_002_500, 3_000_004_999, 4_294_967_295):
        before = len(peer.commands)
        assert [found.uid for found in target.found(first)] == [uid for uid in uids if uid >= first]
        assert len(peer.commands) - before <= 9


def test_answers_nobody_asked_for_are_passed_over(selected: Selected) -> None:
    fetch = (
        b"* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 20 RFC822.SIZE 200 FLAGS ())\r\n* 3 EXISTS\r\n"
        b"* 1 FETCH (RFC822.SIZE 100 UID 10)\r\n{tag} OK done\r\n"
    )
    _, target = selected(
        uids=[10, 20], replies={"FETCH": [fetch, b"* 3 FETCH (UID 30 RFC822.SIZE 1)\r\n{tag} OK d\r\n"]}
    )
    assert [(found.uid, found.octets) for found in target.found(1)] == [(10, 100), (20, 200), (30, 1)]


def test_numbers_that_no_message_can_have_are_passed_over(selected: Selected) -> None:
    fetch = (
        b"* 1 FETCH (UID 10 RFC822.SIZE 9999999999999999999999)\r\n* 2 FETCH (UID 9999999999 RFC822.SIZE 5)\r\n"
        b"* 3 FETCH (UID 4294967295 RFC822.SIZE 9223372036854775807)\r\n{tag} OK done\r\n"
    )
    _, target = selected(uids=[10, 20, 30], replies={"FETCH": fetch})
    assert [(found.uid, found.octets) for found in target.found(1)] == [(4294967295, 9223372036854775807)]


def test_the_body_of_another_message_is_not_the_one_asked_for(selected: Selected) -> None:
    reply = b"* 1 FETCH (UID 11 BODY[] {3}\r\nabc)\r\n{tag} OK done\r\n"
    _, target = selected(uids=[10, 11], replies={"UID FETCH": reply})
    assert target.body(10) is None
    assert target.body(11) == b"abc"


def test_of_many_only_those_asked_for_count_and_an_answer_without_them_leaves_them_out(selected: Selected) -> None:
    reply = b"* 3 FETCH (UID 12 BODY[HEADER] {3}\r\nc\r\n)\r\n* 1 FETCH (UID 10 FLAGS ())\r\n"
    reply += b"* 2 FETCH (BODY[HEADER] {3}\r\nb\r\n UID 11)\r\n* 4 FETCH (UID 99 BODY[HEADER] {3}\r\nx\r\n)\r\n"
    reply += b"{tag} OK done\r\n"
    peer, target = selected(uids=[10, 11, 12], replies={"UID FETCH": reply})
    assert target.headers_of([12, 10, 11, 17]) == {11: b"b\r\n", 12: b"c\r\n"}
    assert "UID FETCH 10:12,17 (" in peer.commands[-1]


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (b'" 1-Feb-2003 04:05:06 +0200"', datetime(2003, 2, 1, 2, 5, 6, tzinfo=UTC)),
        (b'"yesterday"', None),
        (b"NIL", None),
        (b"(1 2)", None),
        (b'"32-Foo-2003 99:99:99 +9999"', None),
    ],
)
def test_a_date_is_a_moment_or_unknown(selected: Selected, date: bytes, expected: datetime | None) -> None:
    reply = b"* 1 FETCH (UID 10 RFC822.SIZE 5 INTERNALDATE " + date + b")\r\n{tag} OK done\r\n"
    _, target = selected(uids=[10], replies={"FETCH": reply})
    try:
        dates = [found.internal_date for found in target.found(1, dates=True)]
    except ProtocolError:
        dates = [None]
    assert dates == [expected]


@pytest.mark.parametrize(
    ("value", "body"), [(b'"quo\\"ted"', b'quo"ted'), (b"NIL", b""), (b"{0}\r\n", b""), (b'""', b"")]
)
def test_a_body_may_come_in_any_form(selected: Selected, value: bytes, body: bytes) -> None:
    reply = b"* 1 FETCH (BODY[] " + value + b" UID 10)\r\n{tag} OK done\r\n"
    assert selected(uids=[10], replies={"UID FETCH": reply})[1].body(10) == body


def test_a_server_that_will_not_show_is_not_one_that_has_nothing(selected: Selected) -> None:
    _, target = selected(uids=[10], replies={"FETCH": b"{tag} NO no\r\n", "UID FETCH": b"{tag} NO no\r\n"})
    for ask in (lambda: list(target.found(1)), lambda: target.body(10), lambda: target.headers(10)):
        with pytest.raises(TryLater):
            ask()


def test_messages_that_went_while_they_were_asked_for_are_gone(selected: Selected) -> None:
    reply = b"* 2 FETCH (UID 20 RFC822.SIZE 9)\r\n{tag} NO [EXPUNGEISSUED] some are gone\r\n"
    _, target = selected(uids=[10, 20], replies={"FETCH": reply})
    assert [found.uid for found in target.found(1)] == [20]


@pytest.mark.parametrize(
    "garbage",
    [
        b"* 1 FETCH (UID",
        b"* 1 FETCH (UID ten RFC822.SIZE 5)",
        b"* 1 FETCH " + b"(" * 100_000,
        b"* 1 FETCH (BODY[] {99999999999}",
        b"* 1 FETCH " + b"x" * 2_000_000,
        b"* " + b"9" * 5_000 + b" EXISTS",
        b"\x00\xff\xfe",
    ],
)
def test_garbage_is_a_broken_connection(selected: Selected, garbage: bytes) -> None:
    _, target = selected(uids=[10], replies={"FETCH": garbage + b"\r\n{tag} OK done\r\n"})
    with pytest.raises(ProtocolError):
        list(target.found(1))
    assert_dead(target)


def test_an_answer_that_never_ends_is_given_up_and_the_session_with_it(selected: Selected) -> None:
    _, target = selected(timeout=0.3, uids=[10], replies={"FETCH": b"* 1 FETCH (UID 10 RFC822.SIZE 5)\r\n"})
    with pytest.raises(TimedOut):
        list(target.found(1))
    assert_dead(target)
