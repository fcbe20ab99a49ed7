"""Replays to servers that take mail in different ways, or only some of it: what arrives, and how it was asked for.

Strategy: the command line against a scripted server (imap_peer.py), so that every line that crossed the wire can be
looked at, and everything that lies in the mailbox afterwards. Waits are as long as the server says, and it says little.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile.imap_peer import ImapPeer, ImapQuirks
from tests.support import archives
from tests.support.cli import Result
from tests.support.replaying import assert_adds_up, fill, plain_replay

ALL = "IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS"
WAYS = {
    "batches": ALL,
    "pipelined": "IMAP4rev1 LITERAL+ UIDPLUS",
    "small literals": "IMAP4rev1 LITERAL- UIDPLUS",
    "one by one": "IMAP4rev1 UIDPLUS",
    "batches, but each waits": "IMAP4rev1 MULTIAPPEND UIDPLUS",
    "no UIDs": "IMAP4rev1 LITERAL+ MULTIAPPEND",
    "nothing at all": "IMAP4rev1",
}


def letters(number: int, octets: int = 200) -> list[bytes]:
    return [b"Subject: %d\r\n\r\n" % n + b"x" * 70 + b"\r\n" * (octets // 70) for n in range(number)]


LARGE = b"Subject: large\r\n\r\n" + b"y" * 6_000 + b"\r\n"
HUGE = b"Subject: huge\r\n\r\n" + (b"z" * 76 + b"\r\n") * 15_000


def replayed(peer: ImapPeer, archive: Path, *more: object) -> Result:
    result = plain_replay(peer.port, "me", archive, *more)
    assert_adds_up(result.json())
    return result


def literals(peer: ImapPeer) -> list[tuple[int, bool]]:
    """(octets, whether it was sent without being asked for) of each literal, as far as it is seen in the commands."""
    found = (re.search(r"\{(\d+)(\+?)\}$", command) for command in peer.commands)
    return [(int(one[1]), bool(one[2])) for one in found if one]


# ---- Every way leads to the same mailbox


@pytest.mark.parametrize("capabilities", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("window", [1, 5, 64])
def test_each_message_is_there_once_in_whatever_way(archive_dir: Path, capabilities: str, window: int) -> None:
    messages = [*letters(70), LARGE, HUGE]
    fill(archive_dir, messages)
    with ImapPeer(ImapQuirks(capabilities=capabilities)) as peer:
        first = replayed(peer, archive_dir, "--window", window)
        again = replayed(peer, archive_dir, "--window", window)
        assert Counter(peer.account["INBOX"].stored) == Counter(messages)
    assert (first.code, first.json()["delivered"]) == (0, 72), first
    assert (again.code, again.json()["delivered"], again.json()["already_there"]) == (0, 0, 72), again


def test_small_messages_follow_each_other_and_larger_ones_are_asked_for(archive_dir: Path) -> None:
    fill(archive_dir, [*letters(30), LARGE, *letters(30, 3_000)])
    with ImapPeer(ImapQuirks(capabilities=WAYS["small literals"])) as peer:
        assert replayed(peer, archive_dir, "--connections", 1).code == 0
        first, *rest = literals(peer)
    assert not first[1], "nothing goes unasked before the server has taken one"
    assert {unasked for octets, unasked in rest if octets <= 4096} == {True}
    assert {unasked for octets, unasked in rest if octets > 4096} == {False}


def test_a_huge_message_is_asked_for_even_where_nothing_need_be(archive_dir: Path) -> None:
    fill(archive_dir, [*letters(12), HUGE, *letters(12, 1_000)])
    with ImapPeer(ImapQuirks(capabilities=WAYS["pipelined"])) as peer:
        assert replayed(peer, archive_dir).code == 0
        assert {unasked for octets, unasked in literals(peer) if octets > 1024 * 1024} == {False}
        assert sum(unasked for _, unasked in literals(peer)) == 23


def test_messages_go_in_batches_and_no_larger_ones_than_the_server_takes(archive_dir: Path) -> None:
    fill(archive_dir, letters(100))
    with ImapPeer(ImapQuirks(capabilities=f"{ALL} MESSAGELIMIT=10")) as peer:
        assert replayed(peer, archive_dir).code == 0
        assert sum(peer.batches) == 100 and max(peer.batches) == 10
    other = archive_dir.with_name("other.mailmove")
    fill(other, letters(100))
    with ImapPeer(ImapQuirks(capabilities=ALL)) as peer:
        assert replayed(peer, other).code == 0
        assert sum(peer.batches) == 100 and max(peer.batches) > 50


# ---- Several sessions


@pytest.mark.parametrize("said", [b"", b"* BYE [UNAVAILABLE] too many connections\r\n"], ids=["NO", "BYE"])
def test_no_more_sessions_than_the_server_lets_in(archive_dir: Path, said: bytes) -> None:
    fill(archive_dir, letters(150))
    bound = {"one_too_many": said} if said else {}
    with ImapPeer(ImapQuirks(capabilities=WAYS["one by one"], most_sessions=2, **bound)) as peer:  # type: ignore[arg-type]
        result = replayed(peer, archive_dir, "--connections", 5)
        assert peer.most_at_once == 2
        assert Counter(peer.account["INBOX"].stored) == Counter(letters(150))
    assert (result.code, result.json()["delivered"]) == (0, 150), result
    assert "fewer connections" in result.stderr


def test_as_many_sessions_as_are_asked_for_and_no_more(archive_dir: Path) -> None:
    """The peer answers the first messages only when so many sessions are inside: one after another would wait."""
    fill(archive_dir, letters(150))
    together = threading.Barrier(3)
    with ImapPeer(ImapQuirks(capabilities=WAYS["one by one"], refuse=lambda _: _meet(together))) as peer:
        result = replayed(peer, archive_dir, "--connections", 3)
        assert peer.most_at_once == 3
    assert (result.code, result.json()["delivered"]) == (0, 150), result


def _meet(together: threading.Barrier) -> bytes:
    if together.n_waiting >= 0 and not together.broken:
        try:
            together.wait(20)
            together.abort()
        except threading.BrokenBarrierError:
            pass
    return b""


def test_one_session_where_nothing_waits(archive_dir: Path) -> None:
    fill(archive_dir, letters(150))
    with ImapPeer(ImapQuirks(capabilities=ALL)) as peer:
        assert replayed(peer, archive_dir).code == 0
        assert peer.most_at_once == 1


# ---- Refusals


@pytest.mark.parametrize("capabilities", WAYS.values(), ids=WAYS)
def test_the_message_at_fault_stays_out_and_all_others_arrive(archive_dir: Path, capabilities: str) -> None:
    messages = letters(40)
    bad = {messages[3], messages[20]}
    fill(archive_dir, messages)

    def refuse(octets: bytes) -> bytes:
        return b"NO Message contains NUL characters" if octets in bad else b""

    with ImapPeer(ImapQuirks(capabilities=capabilities, refuse=refuse)) as peer:
        result = replayed(peer, archive_dir)
        assert Counter(peer.account["INBOX"].stored) == Counter(set(messages) - bad)
    assert (result.code, result.json()["delivered"], result.json()["parked"]) == (3, 38, 2), result
    assert {one["digest"] for one in result.json()["exceptions"]} == {archives.digest(octets) for octets in bad}
    assert {one["server_text"] for one in result.json()["exceptions"]} == {"Message contains NUL characters"}


@pytest.mark.parametrize("capabilities", [ALL, WAYS["pipelined"], WAYS["one by one"]])
@pytest.mark.parametrize(
    "said",
    [
        b"NO Request is throttled. Suggested Backoff Time: 200 milliseconds",
        b"NO [LIMIT] slow down. Backoff Time: 200 ms",
        b"BAD Request is throttled. Suggested Backoff Time: 200 milliseconds",
    ],
)
def test_a_server_that_asks_for_patience_gets_it_and_everything(
    archive_dir: Path, capabilities: str, said: bytes
) -> None:
    messages = letters(60)
    fill(archive_dir, messages)
    answers = iter([b""] * 10 + [said])

    with ImapPeer(ImapQuirks(capabilities=capabilities, refuse=lambda _: next(answers, b""))) as peer:
        result = replayed(peer, archive_dir)
        assert Counter(peer.account["INBOX"].stored) == Counter(messages)
    assert (result.code, result.json()["delivered"]) == (0, 60), result
    assert result.json()["retries"] == 1 and said.partition(b" ")[2].decode() in result.stderr


@pytest.mark.parametrize("capabilities", [ALL, WAYS["pipelined"]])
def test_a_full_mailbox_takes_what_fits_and_ends_the_run(archive_dir: Path, capabilities: str) -> None:
    fill(archive_dir, letters(60))
    room = iter([b""] * 25)
    with ImapPeer(ImapQuirks(capabilities=capabilities, refuse=lambda _: next(room, b"NO [OVERQUOTA] full"))) as peer:
        result = replayed(peer, archive_dir)
        stored = len(peer.account["INBOX"].stored)
    assert (result.code, result.json()["error"]["class"]) == (75, "QuotaExceeded"), result
    assert result.json()["delivered"] == stored < 60 and result.json()["pending"] == 60 - stored


@pytest.mark.parametrize("capabilities", [ALL, WAYS["pipelined"]])
def test_a_message_that_is_always_bad_is_parked_in_the_end(archive_dir: Path, capabilities: str) -> None:
    """BAD ends each session (P7); the others are delivered all the same (P8)."""
    messages = letters(30)
    fill(archive_dir, messages)

    def refuse(octets: bytes) -> bytes:
        return b"BAD I cannot parse that" if octets == messages[7] else b""

    with ImapPeer(ImapQuirks(capabilities=capabilities, refuse=refuse)) as peer:
        result = replayed(peer, archive_dir)
        assert Counter(peer.account["INBOX"].stored) == Counter(set(messages) - {messages[7]})
    assert (result.code, result.json()["delivered"], result.json()["parked"]) == (3, 29, 1), result
    (exception,) = result.json()["exceptions"]
    assert exception["digest"] == archives.digest(messages[7])


# ---- Dates

FETCHED = b'* %d FETCH (UID %d INTERNALDATE "02-Jan-2026 03:04:05 +0000")\r\n'
SHOWN = b"".join(FETCHED % (n, n) for n in range(1, 41)) + b"{tag} OK done\r\n"
"""Whatever is asked: with several sessions, nobody knows which messages are."""


def dated(number: int) -> list[bytes]:
    return [b"Date: Mon, 01 Feb 1999 10:00:00 +0000\r\nSubject: %d\r\n\r\nx\r\n" % n for n in range(number)]


@pytest.mark.parametrize("capabilities", [ALL, WAYS["one by one"]])
def test_a_server_that_ignores_dates_is_told_of_once(archive_dir: Path, capabilities: str) -> None:
    fill(archive_dir, dated(40))
    with ImapPeer(ImapQuirks(capabilities=capabilities, replies={"UID FETCH": SHOWN})) as peer:
        first = replayed(peer, archive_dir)
        fill(archive_dir, [b"Date: Mon, 01 Feb 1999 10:00:00 +0000\r\n\r\none more\r\n"])
        second = replayed(peer, archive_dir)
    assert (first.code, first.json()["delivered"]) == (0, 40), first
    assert [one["kind"] for one in first.json()["exceptions"]] == ["internal-date"]
    assert "1999-02-01 10:00:00" in first.stderr and "2026-01-02 03:04:05" in first.stderr
    assert second.code == 0 and "exceptions" in second.json() and not second.json()["exceptions"], second
    assert "dates" not in second.stderr


def test_of_a_server_that_keeps_dates_nothing_is_said(archive_dir: Path) -> None:
    fill(archive_dir, dated(40))
    with ImapPeer(ImapQuirks(capabilities=ALL)) as peer:
        result = replayed(peer, archive_dir)
        assert any("INTERNALDATE" in command for command in peer.commands), "it was asked"
    assert (result.code, result.json()["exceptions"], result.stderr) == (0, [], ""), result
