"""What a message's octets demand of an SMTP server, and what becomes of them where it cannot carry them.

Strategy: as test_relay_sessions.py. What arrives is compared octet by octet; the peer notes whatever was sent that had
not been agreed to. Smuggling: servers of the lenient kind end a message where RFC 5321 does not, and whatever they are
sent, no line of a message may be read as a command.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.smtp_peer import Rule, SmtpPeer, SmtpQuirks, without
from tests.hostile.test_relay_sessions import WAYS, either, every_way, every_way_of_both, letters
from tests.support import archives, mails
from tests.support.relaying import (
    ONE,
    assert_accounted,
    assert_all_there,
    assert_polite,
    named,
    pairs,
    relayed,
)
from tests.support.replaying import fill

BARE_LF = b"Subject: bare LF\r\n\r\none\ntwo\r\n"
BARE_CR = b"Subject: bare CR\r\n\r\none\rtwo\r\n"
NUL = b"Subject: NUL\r\n\r\none\0two\r\n"
EIGHT_BIT = b"Subject: 8 bits\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
PLAIN = b"Subject: plain\r\n\r\n.\r\n..\r\n.text\r\n"
BINARY = [BARE_LF, BARE_CR, NUL]
SMUGGLED = (
    b"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<victim@new.example>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n"
)
ENDS = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\r\n.\r\r\n",
]
LENIENT = rb"(\r\n|\n|\r)\.(?:\r\n|\n|\r)"


@every_way_of_both
def test_every_kind_of_message_arrives_octet_by_octet(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool
) -> None:
    """But that DATA has no way to say that the last line is not ended."""
    messages = [*mails.varied(60, seed=71), *mails.mixed(15, seed=72), PLAIN, EIGHT_BIT]
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions)) as peer:
        assert_all_there(relayed(peer, archive_dir), peer, messages)
        if "CHUNKING" in extensions:
            assert sorted(octets for _, octets in peer.arrived) == sorted(messages)
        assert {one.by for one in peer.transactions} == {"BDAT" if "CHUNKING" in extensions else "DATA"}


@every_way
def test_bare_newlines_and_nul_arrive_untouched_where_binarymime_is_announced(
    archive_dir: Path, extensions: tuple[str, ...]
) -> None:
    """And are parked unsent, with the cause, where it is not."""
    messages = [PLAIN, *BINARY, EIGHT_BIT]
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(extensions=extensions)) as peer:
        result = relayed(peer, archive_dir)
        there = assert_accounted(result, peer.arrived, messages)
        if "BINARYMIME" in extensions:
            assert_all_there(result, peer, messages)
            assert sorted(octets for _, octets in peer.arrived) == sorted(messages)
            return
        assert (result.code, set(there)) == (3, pairs([PLAIN, EIGHT_BIT])), result
        causes = {one["digest"]: one["cause"] for one in archives.records(archive_dir) if one["t"] == "park"}
        assert causes == {
            archives.digest(BARE_LF): "bare-newlines",
            archives.digest(BARE_CR): "bare-newlines",
            archives.digest(NUL): "nul",
        }
        assert len(peer.transactions) == 2
        assert_polite(peer)


def test_a_repair_that_is_named_delivers_altered_and_says_so(archive_dir: Path) -> None:
    messages = [PLAIN, BARE_LF, NUL]
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(extensions=WAYS["a flight a message"])) as peer:
        assert relayed(peer, archive_dir).code == 3
        result = relayed(peer, archive_dir, "--retry-parked", "--repair", "bare-newlines,nul")
        assert (result.code, result.json()["delivered"], result.json()["already_there"]) == (0, 2, 1), result
        assert_polite(peer)
        sent = [octets for _, octets in peer.arrived]
        assert (
            sent[0] == PLAIN and BARE_LF.replace(b"e\nt", b"e\r\nt") in sent and not any(b"\0" in one for one in sent)
        )
    altered = [one for one in archives.records(archive_dir) if one["t"] == "deliver" and "repairs" in f"{one}"]
    assert {one["digest"] for one in altered} == {archives.digest(BARE_LF), archives.digest(NUL)}, altered
    assert archives.files(archive_dir)[archives.digest(BARE_LF)] == BARE_LF


@every_way
def test_eight_bits_where_8bitmime_is_not_announced_are_parked_with_the_cause(
    archive_dir: Path, extensions: tuple[str, ...]
) -> None:
    messages = [PLAIN, EIGHT_BIT, *letters(2)]
    fill(archive_dir, messages)
    poor = tuple(one for one in extensions if one not in ("8BITMIME", "BINARYMIME"))
    with SmtpPeer(SmtpQuirks(extensions=poor)) as peer:
        result = relayed(peer, archive_dir)
        there = assert_accounted(result, peer.arrived, messages)
        assert (result.code, set(there)) == (3, pairs([PLAIN, *letters(2)])), result
        parks = [(one["digest"], one["cause"]) for one in archives.records(archive_dir) if one["t"] == "park"]
        assert parks == [(archives.digest(EIGHT_BIT), "8bit")]
        assert_polite(peer)
        peer.becomes(SmtpQuirks())
        assert_all_there(relayed(peer, archive_dir, "--retry-parked"), peer, messages)


@either
def test_chunking_that_was_announced_and_is_refused_falls_back_to_data(archive_dir: Path, lmtp: bool) -> None:
    messages = letters(30)
    fill(archive_dir, messages)
    rules = [Rule("BDAT.*", b"502 5.5.1 command not implemented\r\n")]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        assert_all_there(result, peer, messages)
        assert {one.by for one in peer.transactions if one.kept} == {"DATA"}


@either
@pytest.mark.parametrize("octets", [0, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize("code", [b"500 5.5.1", b"502 5.5.1"])
def test_who_does_not_know_bdat_never_reads_a_message_as_commands(
    archive_dir: Path, lmtp: bool, octets: int, code: bytes
) -> None:
    """A proxy that passes CHUNKING on and does not know BDAT: octets that are no chunk to it are lines (P7)."""
    evil = b"RSET\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@x.example>\r\nDATA\r\nboo\r\n.\r\nQUIT\r\n"
    messages = [evil * (1 + octets // len(evil)), *letters(5)]
    fill(archive_dir, messages)
    rules = [Rule("BDAT.*", code + b" what is that\r\n", unread=True)]
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, rules=rules)) as peer:
        result = relayed(peer, archive_dir)
        assert_all_there(result, peer, messages)
        assert {one.by for one in peer.transactions if one.kept} == {"DATA"}
        assert len(peer.sessions) == 1 and {tuple(one.offered) for one in peer.transactions} == {(ONE,)}


@either
def test_what_only_bdat_can_carry_is_parked_then(archive_dir: Path, lmtp: bool) -> None:
    messages = [*letters(3), *BINARY, *letters(6)[3:]]
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, rules=[Rule("BDAT.*", b"500 5.5.2 what\r\n")])) as peer:
        result = relayed(peer, archive_dir)
        there = assert_accounted(result, peer.arrived, messages)
        assert (result.code, set(there)) == (3, pairs(letters(6))), result
        assert named(result.json(), "parked") == pairs(BINARY)
        assert_polite(peer)
        peer.becomes(SmtpQuirks(lmtp=lmtp))
        assert_all_there(relayed(peer, archive_dir, "--retry-parked"), peer, messages)


# ---- Smuggling


def smuggling_set() -> list[bytes]:
    """Each way to end a message early, in the middle of it and across what may be the edge of a block."""
    head = b"Subject: smuggling %d.%d\r\n\r\n"
    set_ = []
    for n, end in enumerate(ENDS):
        for m, edge in enumerate((0, 4096, 1 << 14, 1 << 16, 1 << 18)):
            for shift in range(len(end) + 1) if edge else (0,):
                start = head % (n, m * 10 + shift)
                set_.append(up_to(edge - shift, start) + end + SMUGGLED)
    return set_


def up_to(edge: int, start: bytes) -> bytes:
    """A message of so many octets that begins so; its last line is not ended."""
    lines = (start + (b"x" * 76 + b"\r\n") * (edge // 78 + 1))[: max(edge - 2, len(start))]
    return lines.rstrip(b"\r\n").ljust(edge, b"x") if edge else start


@pytest.mark.parametrize("ends", [SmtpQuirks.data_ends, LENIENT], ids=["strict", "lenient"])
@every_way_of_both
def test_no_message_ends_early_and_none_of_it_is_read_as_commands(
    archive_dir: Path, extensions: tuple[str, ...], lmtp: bool, ends: bytes
) -> None:
    messages = smuggling_set()
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(lmtp=lmtp, extensions=extensions, data_ends=ends)) as peer:
        result = relayed(peer, archive_dir)
        assert_accounted(result, peer.arrived, messages)
        assert_polite(peer)
        assert not any("evil" in one.sender or "victim" in f"{one.offered}" for one in peer.transactions)
        if "BINARYMIME" in extensions:
            assert_all_there(result, peer, messages)
            assert sorted(octets for _, octets in peer.arrived) == sorted(messages)
        else:
            assert named(result.json(), "parked") == pairs(messages) and peer.arrived == []


@pytest.mark.parametrize("ends", [SmtpQuirks.data_ends, LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize("extensions", [WAYS["a flight a message"], WAYS["one by one"]], ids=["flights", "one by one"])
def test_nor_when_they_are_repaired(archive_dir: Path, extensions: tuple[str, ...], ends: bytes) -> None:
    """A repair makes lines of bare newlines, and a dot that stands alone then is stuffed like any other."""
    messages = smuggling_set()
    fill(archive_dir, messages)
    with SmtpPeer(SmtpQuirks(extensions=extensions, data_ends=ends)) as peer:
        relayed(peer, archive_dir)
        result = relayed(peer, archive_dir, "--retry-parked", "--repair", "bare-newlines,nul")
        assert (result.code, result.json()["delivered"]) == (0, len(messages)), result
        assert_polite(peer)
        assert len(peer.arrived) == len(messages) and all(b"\r\nevil\r\n" in octets for _, octets in peer.arrived)
        assert not any("evil" in one.sender for one in peer.transactions)


@pytest.mark.parametrize("edge", [1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20])
def test_dots_at_the_edge_of_a_block(archive_dir: Path, edge: int) -> None:
    """CRLF, dot and what follows fall on both sides of it."""
    dots = b"\r\n.\r\n..\r\n.x\r\n" * 20
    messages = [up_to(edge - shift, b"Subject: dots %d\r\n\r\n" % shift) + dots for shift in range(6)]
    fill(archive_dir, messages)
    for extensions in (without("CHUNKING", "BINARYMIME"), without()):
        with SmtpPeer(SmtpQuirks(extensions=extensions)) as peer:
            result = relayed(peer, archive_dir, "--target-name", f"{len(extensions)}")
            assert_all_there(result, peer, messages)
            assert sorted(peer.arrived) == sorted((ONE, octets) for octets in messages)
