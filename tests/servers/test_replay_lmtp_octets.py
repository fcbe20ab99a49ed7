"""Octets over Dovecot's LMTP: what is stored is what the archive has, below the fields that Dovecot puts above it.

Strategy: delivered by the command line, by BDAT and, through a proxy that hides CHUNKING, by DATA; read back over IMAP.
Bare newlines and NUL cannot go to it (it announces no BINARYMIME), so they are parked, and everything else arrives.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.hostile.test_relay_octets import SMUGGLED, smuggling_set, up_to
from tests.servers import dovecot as dovecot_server
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import Result, mailmove
from tests.support.proxy import Proxy, Session
from tests.support.relaying import arrived, assert_accounted, delivered_by_lmtp, named, pairs, words
from tests.support.replaying import fill

SAMPLE = 150
"""Messages of the corpus, when not all of it is sent."""


class WithoutChunking(Proxy):
    """Dovecot has no setting for it, but an extension by another name is none."""

    def _pass_down(self, session: Session, client: object, data: bytes) -> None:
        super()._pass_down(session, client, data.replace(b"-CHUNKING\r\n", b"-CHEWING\r\n"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lmtp() -> Iterator[Dovecot]:
    if reason := dovecot_server.lmtp_missing():
        unavailable(reason)
    with Dovecot(ssl=False, lmtp=True) as server:
        yield server


@pytest.fixture(params=["BDAT", "DATA"])
def port(request: pytest.FixtureRequest, lmtp: Dovecot) -> Iterator[int]:
    """Where Dovecot is reached, as it is or without CHUNKING; and at the end, that messages went as they should."""
    with (WithoutChunking if request.param == "DATA" else Proxy)(lmtp.ports["lmtp"]) as proxy:
        yield proxy.port
        proxy.wait(len(proxy.sessions))
        lines = [line for session in proxy.sessions for line in session.commands]
        assert any(re.fullmatch(r"BDAT \d+ LAST", line) for line in lines) == (request.param == "BDAT")


def sent(port: int, archive: Path, to: Sequence[str], *more: object) -> Result:
    return mailmove(*words(port, archive, *more, lmtp=True, to=to))


def the_same(found: Sequence[tuple[str, bytes]], messages: Sequence[bytes], to: Sequence[str]) -> bool:
    """Octet by octet; but DATA ends the last line of a message, if that has no end."""
    return set(arrived(found, messages)) == pairs(messages, to) and len(found) == len(pairs(messages, to))


def test_every_kind_of_message_is_stored_as_it_is(lmtp: Dovecot, port: int, user: str, archive_dir: Path) -> None:
    messages = [*mails.varied(90, seed=91), *mails.mixed(20, seed=92)]
    to = (f"{user}@one.example", f"{user}@two.example")
    fill(archive_dir, messages)
    result = sent(port, archive_dir, to)
    found = delivered_by_lmtp(lmtp, to)
    assert_accounted(result, found, messages, to)
    assert result.code == 0 and the_same(found, messages, to), result
    assert mailmove("verify", "-a", archive_dir).code == 0


def test_by_bdat_even_a_last_line_without_end(lmtp: Dovecot, user: str, archive_dir: Path) -> None:
    messages = [b"Subject: %d\r\n\r\nthe end" % n for n in range(9)]
    fill(archive_dir, messages)
    to = (f"{user}@one.example",)
    assert sent(lmtp.ports["lmtp"], archive_dir, to).code == 0
    assert sorted(octets for _, octets in delivered_by_lmtp(lmtp, to)) == messages


def test_dots_at_the_edges_of_blocks(lmtp: Dovecot, port: int, user: str, archive_dir: Path) -> None:
    dots = b"\r\n.\r\n" + SMUGGLED + b"..\r\n.x\r\n"
    edges = [1 << n for n in (12, 14, 16, 18, 20)]
    messages = [up_to(edge - shift, b"Subject: dots %d\r\n\r\n" % shift) + dots for edge in edges for shift in range(6)]
    fill(archive_dir, messages)
    to = (f"{user}@one.example",)
    result = sent(port, archive_dir, to)
    assert result.code == 0 and the_same(delivered_by_lmtp(lmtp, to), messages, to), result


def test_no_message_ends_early(lmtp: Dovecot, port: int, user: str, archive_dir: Path) -> None:
    """They go only repaired, and then each is one message, with all that was to be smuggled in its text."""
    messages = smuggling_set()
    fill(archive_dir, messages)
    to = (f"{user}@one.example",)
    first = sent(port, archive_dir, to)
    assert first.code == 3 and named(first.json(), "parked", to) == pairs(messages, to), first
    fill(archive_dir, [b"Subject: a plain one, so that something is sent\r\n\r\n"])
    result = sent(port, archive_dir, to, "--retry-parked", "--repair", "bare-newlines,nul")
    assert (result.code, result.json()["delivered"]) == (0, len(messages) + 1), result
    found = [octets for _, octets in delivered_by_lmtp(lmtp, to) if octets.startswith(b"Subject: smuggling")]
    assert len(found) == len(messages) and all(b"\r\nSubject: evil\r\n\r\nevil\r\n" in octets for octets in found)
    assert not lmtp.maildir("victim@new.example").exists()


@pytest.mark.parametrize("form", [bytes, mails.crlf], ids=["as it is", "with CRLF"])
def test_the_corpus(
    lmtp: Dovecot,
    port: int,
    user: str,
    archive_dir: Path,
    corpus: Callable[[], Iterator[tuple[str, bytes]]],
    form: Callable[[bytes], bytes],
    seed: int,
    full: bool,
) -> None:
    """What has bare newlines or NUL, or no octets at all, is parked with the cause; all else is there as it is."""
    messages = sorted({form(octets) for _, octets in corpus()})
    if not full:
        messages = random.Random(f"lmtp corpus {seed}").sample(messages, SAMPLE)
    fill(archive_dir, messages)
    to = (f"{user}@one.example",)
    result = sent(port, archive_dir, to, "--no-loop-guard")
    found = delivered_by_lmtp(lmtp, to)
    assert_accounted(result, found, messages, to)
    expected = [octets for octets in messages if carried(octets)]
    assert the_same(found, expected, to), result
    assert result.json()["parked"] == len(messages) - len(expected) and result.json()["pending"] == 0, result
    causes = {one["cause"] for one in archives.records(archive_dir) if one["t"] == "park"}
    assert causes <= {"nul", "bare-newlines", "empty"}, causes


def carried(octets: bytes) -> bool:
    rest = octets.replace(b"\r\n", b"")
    return bool(octets) and not any(one in rest for one in (b"\r", b"\n", b"\0"))
