"""Replays to SMTP servers whose sessions go wrong: what is there then, what is said of it, what the next run does.

Strategy: the command line against a scripted server (smtp_peer.py), in each of the ways a message can be sent: chunks
that follow each other, one flight a message, one command at a time. Whatever happens, `assert_accounted` must hold;
each test adds what is special about its case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hostile.smtp_peer import Rule, SmtpPeer, SmtpQuirks, Then, without
from tests.support import archives
from tests.support.cli import Result, mailmove
from tests.support.relaying import (
    ONE,
    TWO,
    assert_accounted,
    assert_all_there,
    assert_polite,
    named,
    pairs,
    relayed,
    words,
)
from tests.support.replaying import fill

WAYS = {
    "chunks": without(),
    "a flight a message": without("CHUNKING", "BINARYMIME"),
    "one by one": without("CHUNKING", "BINARYMIME", "PIPELINING"),
    "chunks, one by one": without("PIPELINING"),
}
BUSY = b"421 4.3.2 peer.example closes. Suggested Backoff Time: 100 milliseconds\r\n"
SELDOM = {"chunks, one by one", "smtp one by one", "lmtp a flight a message"}
"""Those of which the others tell nearly all; tried with --full."""


def _named(name: str, *values: object) -> Any:
    seldom = name in SELDOM or name.partition(" ")[2] in SELDOM
    return pytest.param(*values, id=name, marks=[pytest.mark.full] * seldom)


every_way = pytest.mark.parametrize("extensions", [_named(*one) for one in WAYS.items()])
either = pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
every_way_of_both = pytest.mark.parametrize(
    ("extensions", "lmtp"),
    [_named(f"{kind} {name}", way, kind == "lmtp") for name, way in WAYS.items() for kind in ("smtp", "lmtp")],
)


def letters(number: int, octets: int = 300) -> list[bytes]:
    return [b"Subject: %d\r\n\r\n" % n + (b"x" * 70 + b"\r\n") * (octets // 72) for n in range(number)]


def in_two_runs(peer: SmtpPeer, archive: Path, messages: list[bytes], to: tuple[str, ...] = (ONE,)) -> Result:
    """The first run. The second one sends what is certainly missing; what may be there it only names."""
    first = relayed(peer, archive, to=to)
    assert_accounted(first, peer.arrived, messages, to)
    uncertain, there = named(first.json(), "uncertain", to), len(peer.arrived)
    again = relayed(peer, archive, to=to)
    assert_accounted(again, peer.arrived, messages, to)
    assert named(again.json(), "uncertain", to) == uncertain, (first, again)
    if first.json()["pending"] == 0:
        assert len(peer.arrived) == there and again.json()["delivered"] == 0, again
    assert_polite(peer)
    return first


def sent_again_if_asked(peer: SmtpPeer, archive: Path, messages: list[bytes], to: tuple[str, ...] = (ONE,)) -> None:
    """With --resend-uncertain every message is there, and none of them more than twice."""
    result = relayed(peer, archive, "--resend-uncertain", to=to)
    assert (result.code, result.json()["uncertain"], result.json()["pending"]) == (0, 0, 0), result
    there = [(recipient, archives.digest(octets)) for recipient, octets in peer.arrived]
    assert set(there) == pairs(messages, to) and max(map(there.count, there)) <= 2


# ---- 421 at every stage


@pytest.mark.parametrize("stage", ["GREETING", "[EL]HLO.*", "AUTH.*"])
def test_421_before_any_mail_is_waited_out(archive_dir: Path, stage: str) -> None:
    messages = letters(5)
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(rules=[Rule(stage, BUSY, Then.GOODBYE, times=1)])) as peer:
        result = relayed(peer, archive_dir)
        assert_all_there(result, peer, messages)
    assert result.json()["retries"] >= 1 and len(peer.sessions) >= 2


@every_way_of_both
@pytest.mark.parametrize("stage", ["MAIL.*", "RCPT.*", "DATA", "END.*"])
def test_421_to_one_of_many_messages_ends_the_session_and_nothing_more(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool, stage: str
) -> None:
    """What it is said of was not taken, and goes out again; what was on its way behind it may be uncertain."""
    if stage == "DATA" and "CHUNKING" in extensions:
        stage = "BDAT.*"
    messages = letters(9)
    fill(archive_dir, messages)
    rules = [Rule(stage, BUSY, Then.GOODBYE, skip=3, times=1)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = in_two_runs(peer, archive_dir, messages)
        assert result.json()["parked"] == result.json()["pending"] == 0 and result.json()["retries"] >= 1, result
        if "PIPELINING" not in extensions:
            assert_all_there(result, peer, messages)
        assert (ONE, archives.digest(messages[3])) not in named(result.json(), "uncertain")
        sent_again_if_asked(peer, archive_dir, messages)


# ---- A connection that breaks


@every_way_of_both
@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
def test_dropped_after_the_last_octet_nobody_knows(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool, then: Then
) -> None:
    """The server has the message and never says so: named, not sent again, sent again if asked."""
    messages = letters(7)
    fill(archive_dir, messages)
    rules = [Rule("END.*", b"", then, skip=2, times=1, keeps=True)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = in_two_runs(peer, archive_dir, messages)
        uncertain = named(result.json(), "uncertain")
        assert result.code == 3 and (ONE, archives.digest(messages[2])) in uncertain, result
        assert result.json()["parked"] == result.json()["pending"] == 0
        if "CHUNKING" not in extensions or "PIPELINING" not in extensions:
            assert len(uncertain) == 1 and len(peer.arrived) == len(messages)
        sent_again_if_asked(peer, archive_dir, messages)


@every_way_of_both
def test_dropped_in_the_middle_of_a_message_it_is_sent_again_once(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool
) -> None:
    """A large one, so that its last octets cannot have left us when the connection breaks."""
    large = b"Subject: large\r\n\r\n" + (b"y" * 76 + b"\r\n") * 150_000
    messages = [*letters(4), large]
    fill(archive_dir, messages)
    rules = [Rule("BODY.*", then=Then.RESET, skip=4, times=1, after=2_000_000)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        assert_all_there(result, peer, messages)
        assert result.json()["retries"] == 1
        assert relayed(peer, archive_dir).json()["delivered"] == 0


def test_a_message_in_which_every_connection_breaks_is_parked_and_the_others_arrive(archive_dir: Path) -> None:
    large = b"Subject: large\r\n\r\n" + (b"y" * 76 + b"\r\n") * 150_000
    messages = [*letters(3), large, *letters(6)[3:]]
    fill(archive_dir, messages)

    rules = [Rule("BODY.* SIZE=1[0-9]{7}.*", b"", Then.CLOSE, after=2_000_000)]
    with SmtpPeer(SmtpQuirks(rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        assert_accounted(result, peer.arrived, messages)
        assert (result.code, result.json()["delivered"], result.json()["parked"]) == (3, 6, 1), result
        assert named(result.json(), "parked") == pairs([large])


@every_way
@pytest.mark.parametrize("place", [0, 20])
@pytest.mark.parametrize("octets", [300, 1_100_000], ids=["among small ones", "among large ones"])
def test_a_large_message_whose_envelope_breaks_connections_is_parked_and_the_others_arrive(
    archive_dir: Path, extensions: tuple[str, ...], place: int, octets: int
) -> None:
    """Not an octet of it has gone when the connection breaks; it is found all the same (P8)."""
    evil = b"Subject: large\r\n\r\n" + (b"y" * 76 + b"\r\n") * 20_000
    messages = letters(39 if octets < 1000 else 8, octets)
    messages.insert(place, evil)
    fill(archive_dir, messages)
    rules = [Rule(f"MAIL.* SIZE={len(evil)}.*", b"", Then.RESET if place else Then.CLOSE)]
    with SmtpPeer(SmtpQuirks(extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        assert_accounted(result, peer.arrived, messages)
        assert (result.code, result.json()["parked"], result.json()["pending"]) == (3, 1, 0), result
        assert named(result.json(), "parked") == pairs([evil])


@either
def test_a_server_that_stops_talking_is_left_after_the_timeout(archive_dir: Path, lmtp: bool) -> None:
    messages = letters(5)
    fill(archive_dir, messages)
    rules = [Rule("END.*", b"", Then.STALL, skip=1, times=1, keeps=True)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=WAYS["a flight a message"], rules=rules)) as peer:
        result = mailmove(*words(peer.port, archive_dir, "--timeout", "0.3", lmtp=lmtp))  # its session stalls on
        there = assert_accounted(result, peer.arrived, messages)
        assert result.code == 3 and named(result.json(), "uncertain") == pairs(messages[1:2]), result
        assert set(there) == pairs(messages)


# ---- Replies that are none


@every_way
@pytest.mark.parametrize(
    "said",
    [
        b"\x00\xff\x1b[2Jrubbish\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"2500 too long a code\r\n",
        b"999 no such class\r\n",
        b"250-never\r\n550 the same code\r\n",
        b"250 \xc3",
    ],
    ids=["octets", "HTTP", "four digits", "999", "two codes", "cut"],
)
def test_garbage_in_place_of_a_reply(archive_dir: Path, extensions: tuple[str, ...], said: bytes) -> None:
    messages = letters(6)
    fill(archive_dir, messages)
    rules = [Rule("END", said, Then.GOODBYE, skip=2, times=1, keeps=True)]
    with SmtpPeer(SmtpQuirks(extensions=extensions, rules=rules)) as peer:
        result = in_two_runs(peer, archive_dir, messages)
        assert result.code == 3 and pairs(messages[2:3]) <= named(result.json(), "uncertain"), result
        assert "\x1b" not in result.stdout + result.stderr and "\\u001b" not in result.stdout
        sent_again_if_asked(peer, archive_dir, messages)


@every_way
@pytest.mark.parametrize("said", [b"250\r\n", b"250 \r\n", b"250 2.0.0\r\n", b"250\n"])
def test_a_reply_without_text_is_a_reply(archive_dir: Path, extensions: tuple[str, ...], said: bytes) -> None:
    messages = letters(6)
    fill(archive_dir, messages)
    stages = ("MAIL.*", "RCPT.*", "END")
    with SmtpPeer(SmtpQuirks(extensions=extensions, rules=[Rule(stage, said) for stage in stages])) as peer:
        assert_all_there(relayed(peer, archive_dir), peer, messages)


@every_way_of_both
def test_a_reply_of_many_lines_is_one_reply(archive_dir: Path, extensions: tuple[str, ...], lmtp: bool) -> None:
    """200 lines are strange, and still a reply (RFC 5321 section 4.2.1)."""
    messages = letters(5)
    fill(archive_dir, messages)
    said = b"".join(b"250-2.0.0 line %d\r\n" % n for n in range(200)) + b"250 2.0.0 the end\r\n"
    rules = [Rule(stage, said) for stage in ("MAIL.*", "RCPT.*", "END.*")]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        assert_all_there(relayed(peer, archive_dir), peer, messages)


@every_way
@pytest.mark.parametrize(
    "said",
    [
        b"".join(b"250-line %d\r\n" % n for n in range(10_000)) + b"250 the end\r\n",
        b"250 " + b"x" * 100_000 + b"\r\n",
        b"250 " + b"x" * 20_000_000,
    ],
    ids=["10,000 lines", "a line of 100 KB", "a line without end"],
)
def test_an_absurd_reply_is_taken_or_refused_but_never_counted_wrongly(
    archive_dir: Path, extensions: tuple[str, ...], said: bytes
) -> None:
    messages = letters(5)
    fill(archive_dir, messages)
    rules = [Rule("END", said, skip=1, times=1, keeps=True)]
    with SmtpPeer(SmtpQuirks(extensions=extensions, rules=rules)) as peer:
        result = in_two_runs(peer, archive_dir, messages)
        assert result.code in (0, 3) and result.json()["pending"] == result.json()["parked"] == 0, result
        assert len(result.stderr) < 20_000 and len(result.stdout) < 20_000
        sent_again_if_asked(peer, archive_dir, messages)


# ---- Replies out of step


@either
@pytest.mark.parametrize("missing", ["MAIL.*", "RCPT.*", "END.*"])
def test_pipelining_that_swallows_a_reply(archive_dir: Path, lmtp: bool, missing: str) -> None:
    """No reply behind it is booked on anything else: what was answered before is delivered, the rest is uncertain."""
    messages = letters(8)
    fill(archive_dir, messages)
    rules = [Rule(missing, b"", skip=2, times=1)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, rules=rules)) as peer:
        result = relayed(peer, archive_dir, "--timeout", "0.3")
        assert_accounted(result, peer.arrived, messages)
        assert result.json()["parked"] == result.json()["pending"] == 0, result
        sent_again_if_asked(peer, archive_dir, messages)
        assert_polite(peer)


@pytest.mark.parametrize(
    ("extensions", "lmtp"),
    [
        pytest.param(WAYS["chunks"], False, id="smtp chunks"),
        pytest.param(WAYS["a flight a message"], True, id="lmtp flights"),
        pytest.param(WAYS["chunks"], True, id="lmtp chunks", marks=pytest.mark.full),
        pytest.param(WAYS["a flight a message"], False, id="smtp flights", marks=pytest.mark.full),
    ],
)
def test_pipelining_that_forgets_what_came_in_behind_a_command(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool
) -> None:
    """It is left with everything accounted for; what it may have is uncertain, and the rest pending."""
    messages = letters(6)
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, forgets_pipelined=True)) as peer:
        result = relayed(peer, archive_dir, "--timeout", "0.3")
        assert_accounted(result, peer.arrived, messages)


@pytest.mark.parametrize("extensions", [WAYS["chunks"], WAYS["a flight a message"]], ids=["chunks", "flights"])
def test_a_reply_too_many(archive_dir: Path, extensions: tuple[str, ...]) -> None:
    messages = letters(8)
    fill(archive_dir, messages)
    rules = [Rule("RCPT.*", b"250 ok\r\n250 and again\r\n", skip=3, times=1)]
    with SmtpPeer(SmtpQuirks(extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir, "--timeout", "0.3")
        assert_accounted(result, peer.arrived, messages)
        sent_again_if_asked(peer, archive_dir, messages)


@pytest.mark.parametrize("extensions", [WAYS["chunks"], WAYS["a flight a message"]], ids=["chunks", "flights"])
def test_one_reply_for_two_lmtp_recipients(archive_dir: Path, extensions: tuple[str, ...]) -> None:
    """Nobody can know whose it was, so the message is delivered to the first, and uncertain for the other at least."""
    messages = letters(4)
    fill(archive_dir, messages)
    rules = [Rule(f"END <{TWO}>", b"", times=1)]
    with SmtpPeer(SmtpQuirks(lmtp=True, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir, "--timeout", "0.3", to=(ONE, TWO))
        assert_accounted(result, peer.arrived, messages, (ONE, TWO))
        assert result.code == 3 and result.json()["uncertain"] >= 1, result
        sent_again_if_asked(peer, archive_dir, messages, (ONE, TWO))
