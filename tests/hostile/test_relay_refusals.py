"""Replays to SMTP servers that refuse: for a while or for good, a message or a recipient, before the message or after.

Strategy: as test_relay_sessions.py. 4yz is deferred and tried again in the run, then left pending (exit 75); 5yz is
parked with the code (exit 3); what the server says of one is never said of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hostile.smtp_peer import Rule, SmtpPeer, SmtpQuirks
from tests.hostile.test_relay_sessions import WAYS, either, every_way, every_way_of_both, letters
from tests.support import archives
from tests.support.cli import Result
from tests.support.relaying import (
    ONE,
    TWO,
    Pair,
    assert_accounted,
    assert_all_there,
    assert_polite,
    named,
    pairs,
    relayed,
)
from tests.support.replaying import fill

THREE = "three@new.example"
ALL_THREE = (ONE, TWO, THREE)


def parked_as(result: Result, code: str, to: tuple[str, ...] = (ONE,)) -> set[Pair]:
    """Those parked with this code in the log, in the report, or in the server's words there."""
    report: dict[str, Any] = result.json()
    told = [one for one in report["exceptions"] if one["kind"] == "parked" and code in f"{one}"]
    return named({"exceptions": told}, "parked", to)


def logged(archive: Path, kind: str) -> list[tuple[str, str, str]]:
    """(recipient, digest, code) of each record of this kind."""
    found = [one for one in archives.records(archive) if one["t"] == kind]
    return [(one["mailbox"], one["digest"], one.get("code", "")) for one in found]


# ---- For good


@every_way_of_both
def test_a_message_refused_after_its_last_octet_is_parked_and_the_others_go_on(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool
) -> None:
    messages = letters(9)
    fill(archive_dir, messages)
    rules = [Rule("END.*", b"554 5.6.0 this is spam\r\n", holds=b"Subject: 4")]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        there = assert_accounted(result, peer.arrived, messages)
        assert (result.code, set(there)) == (3, pairs(messages) - pairs(messages[4:5])), result
        assert parked_as(result, "this is spam") == pairs(messages[4:5])
        assert logged(archive_dir, "park") == [(ONE, archives.digest(messages[4]), "554 5.6.0")]
        assert {code for _, _, code in logged(archive_dir, "deliver")} == {"250 2.0.0" if not lmtp else "250 2.1.5"}
        again = relayed(peer, archive_dir)
        assert (again.code, again.json()["delivered"], again.json()["parked"]) == (3, 0, 1), again
        assert len(peer.arrived) == 8
        peer.becomes(SmtpQuirks(lmtp=lmtp, extensions=extensions))
        assert_all_there(relayed(peer, archive_dir, "--retry-parked"), peer, messages)


@every_way_of_both
def test_one_of_three_recipients_is_unknown(archive_dir: Path, extensions: tuple[str, ...], lmtp: bool) -> None:
    messages = letters(6)
    fill(archive_dir, messages)
    rules = [Rule(f"RCPT TO:<{TWO}>.*", b"550 5.1.1 no such user here\r\n")]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir, to=ALL_THREE)
        there = assert_accounted(result, peer.arrived, messages, ALL_THREE)
        assert set(there) == pairs(messages, (ONE, THREE)) and result.code == 3, result
        assert parked_as(result, "no such user here", ALL_THREE) == pairs(messages, (TWO,))
        assert {code for _, _, code in logged(archive_dir, "park")} == {"550 5.1.1"}
        again = relayed(peer, archive_dir, to=ALL_THREE)
        assert (again.json()["already_there"], again.json()["parked"], again.json()["delivered"]) == (12, 6, 0), again
        assert_polite(peer)


@every_way
def test_one_of_three_recipients_is_refused_when_the_message_is_there(
    archive_dir: Path, extensions: tuple[str, ...]
) -> None:
    """LMTP only: each has a reply of its own (RFC 2033)."""
    messages = letters(6)
    fill(archive_dir, messages)
    rules = [
        Rule(f"END <{TWO}>", b"552 5.2.2 mailbox full\r\n", holds=b"Subject: 2"),
        Rule(f"END <{THREE}>", b"451 4.2.0 busy\r\n", times=2),
    ]
    with SmtpPeer(SmtpQuirks(lmtp=True, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir, to=ALL_THREE)
        there = assert_accounted(result, peer.arrived, messages, ALL_THREE)
        assert set(there) == pairs(messages, ALL_THREE) - pairs(messages[2:3], (TWO,)), result
        assert (result.code, parked_as(result, "mailbox full", ALL_THREE)) == (3, pairs(messages[2:3], (TWO,)))
        assert_polite(peer)


@every_way_of_both
@pytest.mark.parametrize("stage", ["MAIL.*", "RCPT.*"])
def test_all_recipients_refused_and_no_message_goes(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool, stage: str
) -> None:
    messages = letters(5)
    fill(archive_dir, messages)
    rules = [Rule(stage, b"550 5.7.1 not from you\r\n", skip=2, times=2 if stage == "RCPT.*" else 1)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir, to=(ONE, TWO))
        there = assert_accounted(result, peer.arrived, messages, (ONE, TWO))
        refused = pairs(messages[1 if stage == "RCPT.*" else 2 :][:1], (ONE, TWO))
        assert set(there) == pairs(messages, (ONE, TWO)) - refused, result
        assert (result.code, parked_as(result, "not from you", (ONE, TWO))) == (3, refused)
        assert_polite(peer)


@every_way_of_both
def test_a_server_that_takes_a_message_though_it_refused_all_recipients(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool
) -> None:
    """354 or 250 for nobody proves nothing: parked by what was said of the recipients.

    On LMTP it has no reply to give then, and what comes next may be taken for one: what is behind it may be uncertain.
    """
    messages = letters(5)
    fill(archive_dir, messages)
    rules = [Rule("RCPT.*", b"550 5.1.1 no such user\r\n", skip=1, times=1)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules, takes_for_nobody=True)) as peer:
        result = relayed(peer, archive_dir)
        there = assert_accounted(result, peer.arrived, messages)
        uncertain = named(result.json(), "uncertain")
        assert set(there) | uncertain == pairs(messages) - pairs(messages[1:2]), result
        assert (result.code, parked_as(result, "no such user")) == (3, pairs(messages[1:2]))
        assert lmtp or not uncertain
        assert [one.octets for one in peer.transactions if not one.recipients] in ([b""], [messages[1]])
        assert_polite(peer)


@either
def test_354_refused_the_message_is_parked_and_the_others_go_on(archive_dir: Path, lmtp: bool) -> None:
    messages = letters(6)
    for extensions in (WAYS["a flight a message"], WAYS["one by one"]):
        archive = archive_dir.with_name(f"{len(extensions)}.mailmove")
        fill(archive, messages)
        rules = [Rule("DATA", b"554 5.7.1 no data today\r\n", skip=2, times=1)]
        with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
            result = relayed(peer, archive)
            there = assert_accounted(result, peer.arrived, messages)
            assert set(there) == pairs(messages) - pairs(messages[2:3]), result
            assert (result.code, parked_as(result, "no data today")) == (3, pairs(messages[2:3]))
            assert_polite(peer)


@either
def test_250_to_data_is_no_delivery_and_no_message_is_read_as_commands(archive_dir: Path, lmtp: bool) -> None:
    messages = letters(4)
    for extensions in (WAYS["a flight a message"], WAYS["one by one"]):
        archive = archive_dir.with_name(f"{len(extensions)}.mailmove")
        fill(archive, messages)
        rules = [Rule("DATA", b"250 2.0.0 fine\r\n", skip=1, times=1)]
        with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
            result = relayed(peer, archive)
            assert_accounted(result, peer.arrived, messages)
            assert_all_there(result, peer, messages)


# ---- For a while


@every_way_of_both
def test_a_message_put_off_for_a_while_is_taken_in_the_same_run(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool
) -> None:
    messages = letters(6)
    fill(archive_dir, messages)
    rules = [Rule("END.*", b"450 4.2.0 greylisted\r\n", holds=b"Subject: 3", times=1)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        assert_all_there(result, peer, messages)
        assert [recipient for recipient, octets in peer.arrived if octets == messages[3]] == [ONE]


@pytest.mark.parametrize("stage", ["END.*", pytest.param("RCPT.*", marks=pytest.mark.full)])
def test_a_message_put_off_for_ever_is_pending_and_not_uncertain(archive_dir: Path, stage: str) -> None:
    messages = letters(3)
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(rules=[Rule(stage, b"450 4.2.0 come back tomorrow\r\n")])) as peer:
        result = relayed(peer, archive_dir)
        assert_accounted(result, peer.arrived, messages)
        assert (result.code, result.json()["pending"], result.json()["delivered"]) == (75, 3, 0), result
        assert "come back tomorrow" in result.stdout
        assert not archives.unsettled(archive_dir)
        peer.becomes(SmtpQuirks())
        assert_all_there(relayed(peer, archive_dir), peer, messages)


@every_way_of_both
def test_452_too_many_recipients_splits_the_message(archive_dir: Path, extensions: tuple[str, ...], lmtp: bool) -> None:
    """Two recipients a transaction: the server says so only at the third (RFC 5321 section 4.5.3.1.10)."""
    messages = letters(4)
    fill(archive_dir, messages)
    to = tuple(f"r{n}@new.example" for n in range(5))
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, most_recipients=2)) as peer:
        result = relayed(peer, archive_dir, to=to)
        assert_all_there(result, peer, messages, to)
        assert {len(one.kept) for one in peer.transactions} == {1, 2}


# ---- Size


@every_way
def test_a_message_above_the_announced_size_is_parked_unsent(archive_dir: Path, extensions: tuple[str, ...]) -> None:
    large = b"Subject: large\r\n\r\n" + b"y" * 900 + b"\r\n" * 600
    messages = [*letters(3), large]
    fill(archive_dir, messages)
    announced = tuple("SIZE 2000" if one.startswith("SIZE") else one for one in extensions)
    with SmtpPeer(SmtpQuirks(extensions=announced)) as peer:
        result = relayed(peer, archive_dir)
        there = assert_accounted(result, peer.arrived, messages)
        assert (result.code, set(there)) == (3, pairs(letters(3))), result
        assert named(result.json(), "parked") == pairs([large])
        assert len(peer.transactions) == 3
        assert_polite(peer)


@every_way_of_both
def test_552_too_large_said_of_one_message(archive_dir: Path, extensions: tuple[str, ...], lmtp: bool) -> None:
    messages = letters(5)
    fill(archive_dir, messages)
    rules = [Rule("MAIL.*", b"552 5.3.4 message too big\r\n", skip=2, times=1)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        there = assert_accounted(result, peer.arrived, messages)
        assert (result.code, set(there)) == (3, pairs(messages) - pairs(messages[2:3])), result
        assert logged(archive_dir, "park") == [(ONE, archives.digest(messages[2]), "552 5.3.4")]
        assert_polite(peer)
