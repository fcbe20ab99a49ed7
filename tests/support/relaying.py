"""Replays over SMTP and LMTP as a user runs them, and what must be true of them afterwards, whatever the server did.

Strategy: the unit is (recipient, octets of a message). `assert_accounted` holds what a report says against what is at
the server: the equation adds up; nothing is there twice; what is called delivered is there; what is not there is named,
or pending. A server's trace fields are its own affair (RFC 5321 section 4.4), and so is a missing last line end where a
message can only go by DATA.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.hostile.smtp_peer import SmtpPeer
from tests.servers.dovecot import Dovecot
from tests.support import archives
from tests.support.cli import PASSWORD_FROM_ENV, Result, mailmove
from tests.support.client import HOST
from tests.support.imap_referee import Referee
from tests.support.replaying import assert_adds_up

USER, ONE, TWO = "me@old.example", "one@new.example", "two@new.example"
VERBS = {"EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT"}
_TRACE = re.compile(
    rb"Return-Path: [^\r\n]*\r\n(?:Delivered-To: [^\r\n]*\r\n)?Received: .*?; [^;\r\n]* [+-]\d{4}\r\n", re.DOTALL
)

Pair = tuple[str, str]
"""(recipient, digest)"""


def words(port: int, archive: Path, *more: object, lmtp: bool, to: Iterable[str] = (ONE,)) -> tuple[object, ...]:
    """A whole command; on SMTP with a user, whose address is the reverse path."""
    url = f"lmtp://{HOST}:{port}" if lmtp else f"smtp://{USER}@{HOST}:{port}"
    login = () if lmtp else PASSWORD_FROM_ENV
    recipients = [word for one in to for word in ("--rcpt", one)]
    return ("replay", url, "-a", archive, "--json", "--allow-plaintext", *login, *recipients, *more)


def relayed(peer: SmtpPeer, archive: Path, *more: object, to: Sequence[str] = (ONE,)) -> Result:
    """One run against a peer, to its end on both sides."""
    result = mailmove(*words(peer.port, archive, *more, lmtp=peer.quirks.lmtp, to=to))
    peer.wait()
    return result


# ---- What a report names


def named(report: dict[str, Any], kind: str, to: Sequence[str] = (ONE,)) -> set[Pair]:
    """The (recipient, digest) pairs of this kind; where there is one recipient, it need not be said whose."""
    found = [one for one in report["exceptions"] if one["kind"] == kind and "digest" in one]
    return {(one.get("recipient") or one.get("mailbox") or to[0], one["digest"]) for one in found}


def pairs(messages: Iterable[bytes], to: Sequence[str] = (ONE,)) -> set[Pair]:
    return {(recipient, archives.digest(octets)) for octets in messages for recipient in to}


def arrived(found: Iterable[tuple[str, bytes]], messages: Iterable[bytes]) -> Counter[Pair]:
    """What came, by the digest of the message it is; a last line end may have been added on the way."""
    ours = {_ended(octets): archives.digest(octets) for octets in messages}
    return Counter((recipient, ours.get(_ended(octets), f"unknown: {octets[:300]!r}")) for recipient, octets in found)


def _ended(octets: bytes) -> bytes:
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


# ---- What must be true


def assert_accounted(
    result: Result, found: Iterable[tuple[str, bytes]], messages: Sequence[bytes], to: Sequence[str] = (ONE,)
) -> Counter[Pair]:
    """See above. Returns what is there."""
    report, there, wanted = result.json(), arrived(found, messages), pairs(messages, to)
    assert_adds_up(report)
    assert report["selected"] == len(wanted), result
    assert set(there) <= wanted, set(there) - wanted
    assert max(there.values(), default=1) == 1, ("twice", there - Counter(there.keys()), result)
    uncertain = named(report, "uncertain", to)
    assert len(uncertain) == report["uncertain"] and uncertain <= wanted, result
    assert report["delivered"] + report["already_there"] == len(set(there) - uncertain), result
    missing = wanted - set(there) - uncertain - named(report, "parked", to)
    assert len(missing) <= report["pending"] + report["skipped"], (missing, result)
    return there


def assert_all_there(result: Result, peer: SmtpPeer, messages: Sequence[bytes], to: Sequence[str] = (ONE,)) -> None:
    """The run is complete, and the peer has each message for each recipient, once."""
    there = assert_accounted(result, peer.arrived, messages, to)
    assert (result.code, set(there)) == (0, pairs(messages, to)), result
    assert_polite(peer)


def assert_polite(peer: SmtpPeer) -> None:
    """Nothing of a message was read as a command, and nothing was sent that the server had not agreed to.

    Of a first message its first octet may have been, or the empty line behind it: it shows whether BDAT is known.
    """
    strange = {verb for verb in peer.verbs if verb not in VERBS and len(verb) > 1}
    assert not strange, strange
    assert peer.violations == [], peer.violations


# ---- Real servers


def delivered_by_lmtp(dovecot: Dovecot, users: Iterable[str]) -> list[tuple[str, bytes]]:
    """(user, octets) of every inbox, without what Dovecot's LMTP has put above each message."""
    found: list[tuple[str, bytes]] = []
    for user in users:
        with Referee(dovecot.ports["imap"], user) as referee:
            found += [(user, without_trace(one.octets)) for one in referee.stored("INBOX")]
    return found


def without_trace(octets: bytes) -> bytes:
    """Less what Dovecot's LMTP puts above it. A message that begins with white space goes on where Received ends."""
    found = _TRACE.match(octets)
    assert found, octets[:400]
    return octets[found.end() :]
