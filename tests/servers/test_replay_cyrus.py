"""`mailmove replay` into a real Cyrus: what it refuses is parked with the right cause, all else is there once.

Strategy: what Cyrus refuses, and in which words, is written down here once, from what it promises to check ("minimal
RFC 822 compliance": no NUL, no bare newline, header lines with a name); a message that it refuses for another reason,
or that is parked without being refused, is a failure. It also alters some: 8-bit octets in a header become X.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.servers.cyrus import Cyrus
from tests.support import archives, mails
from tests.support.cli import Result, finish, kill, mailmove, start_mailmove
from tests.support.imap_referee import Referee, Stored
from tests.support.proxy import Proxy, Session, reset
from tests.support.replaying import assert_adds_up, fill, plain_replay, url, words

SAMPLE = 40
"""Messages of each cause, and of those without one, when not all of the corpus is replayed."""

EMPTY, NUL, BARE, HEADER = "empty", "nul", "bare-newlines", "header"
WORDS = {
    EMPTY: "",
    NUL: "Message contains NUL characters",
    BARE: "Message contains bare newlines",
    HEADER: "Message contains invalid header",
}
"""cause -> the server's words; nobody is asked about an empty message."""

_LINES = re.compile(rb"[^\n]*\n|[^\n]+\Z")
_BARE = re.compile(rb"(?<!\r)\n")


def refusal(octets: bytes) -> str:
    """Why Cyrus refuses this message, or ""."""
    if not octets:
        return EMPTY
    if b"\0" in octets:
        return NUL
    if _BARE.search(octets):
        return BARE
    return "" if _is_header(octets) else HEADER


def _is_header(octets: bytes) -> bool:
    """Lines up to an empty one, or the end; each has a name without blanks, goes on with the last, or is "From "."""
    for line in _LINES.findall(octets):
        if line.startswith(b"\r"):
            return True
        name, colon, _ = line.partition(b":")
        named = name and colon and min(name) > 0x20 and len(name) < 4096
        if not (named or line.startswith((b" ", b"\t", b"From "))):
            return False
    return octets.endswith(b"\n")


def as_cyrus_keeps_it(octets: bytes) -> bytes:
    """With an X for each 8-bit octet in the header section, which ends with the first empty line."""
    end = re.search(rb"^\r*\n", octets, re.MULTILINE)
    header = octets[: end.start()] if end else octets
    return re.sub(rb"[\x80-\xff]", b"X", header) + octets[len(header) :]


def at_cyrus(server: Cyrus, user: str) -> list[Stored]:
    with Referee(server.ports["imap"], user) as referee:
        return referee.stored("INBOX")


def assert_same(stored: Iterable[bytes], wanted: Iterable[bytes]) -> None:
    """The same messages as often, however long they are to print."""
    found, expected = Counter(stored), Counter(wanted)
    assert found == expected, f"{(expected - found).total()} missing, {(found - expected).total()} too many"


def assert_accounted(result: Result, archive: Path, messages: Iterable[bytes]) -> None:
    """Every refusal is parked under its cause, in the log and with the server's words in the report; exit 3 if any."""
    refused = {archives.digest(octets): refusal(octets) for octets in messages if refusal(octets)}
    report = result.json()
    assert_adds_up(report)
    assert result.code == (3 if refused else 0), result
    logged = {record["digest"]: record["cause"] for record in archives.records(archive) if record["t"] == "park"}
    assert logged == refused
    told = {one["digest"]: one.get("server_text") or "" for one in report["exceptions"] if one["kind"] == "parked"}
    assert told == {digest: WORDS[cause] for digest, cause in refused.items()}
    assert (report["parked"], report["uncertain"], report["pending"]) == (len(refused), 0, 0)


# ---- What it takes


def test_every_message_is_there_once_with_its_date_and_a_second_run_sends_nothing(
    cyrus: Cyrus, user: str, archive_dir: Path
) -> None:
    messages = [octets for octets in mails.varied(90, seed=71) if not refusal(octets)]
    fill(archive_dir, messages)
    first = plain_replay(cyrus.ports["imap"], user, archive_dir)
    assert_accounted(first, archive_dir, messages)
    stored = at_cyrus(cyrus, user)
    assert_same((one.octets for one in stored), map(as_cyrus_keeps_it, messages))
    receipts = {record["uid"]: record for record in archives.records(archive_dir) if record["t"] == "deliver"}
    assert {one.uid: _moment(one.date) for one in stored} == {
        uid: datetime.fromisoformat(record["internal_date"]).replace(microsecond=0) for uid, record in receipts.items()
    }
    second = plain_replay(cyrus.ports["imap"], user, archive_dir)
    assert second.code == 0, second
    assert (second.json()["delivered"], second.json()["already_there"]) == (0, len(messages))
    assert len(at_cyrus(cyrus, user)) == len(messages)
    assert mailmove("verify", "-a", archive_dir).code == 0


def _moment(date: str) -> datetime:
    return datetime.strptime(date, "%d-%b-%Y %H:%M:%S %z")


def test_a_cyrus_that_leaves_headers_alone_has_every_octet(needs_cyrus: None, user: str, archive_dir: Path) -> None:
    messages = [octets for octets in [*mails.varied(60, seed=72), *mails.mixed(5, seed=73)] if not refusal(octets)]
    assert any(as_cyrus_keeps_it(octets) != octets for octets in messages)
    fill(archive_dir, messages)
    with Cyrus(extra="munge8bit: no") as server:
        result = plain_replay(server.ports["imap"], user, archive_dir)
        assert result.code == 0, result
        assert_same((one.octets for one in at_cyrus(server, user)), messages)


# ---- What it refuses

REFUSED = [
    pytest.param(b"Subject: nul\r\n\r\na\0b\r\n", NUL, id="NUL in the body"),
    pytest.param(b"Subject: n\0l\r\n\r\nbody\r\n", NUL, id="NUL in the header"),
    pytest.param(b"Subject: both\n\r\n" + b"x" * 9000 + b"\0\r\n", NUL, id="NUL after a bare newline"),
    pytest.param(b"Subject: lf\r\n\r\none\ntwo\r\n", BARE, id="LF in the body"),
    pytest.param(b"Subject: lf\n\nbody\n", BARE, id="LF throughout"),
    pytest.param(b"no header here\nat all\n", BARE, id="LF, and no header either"),
    pytest.param(b"Just text, no header.\r\n\r\nbody\r\n", HEADER, id="text for a header"),
    pytest.param(b"Subject: x\r\nnot a field\r\n\r\nbody\r\n", HEADER, id="a line without colon"),
    pytest.param(b"Subject : x\r\n\r\nbody\r\n", HEADER, id="a blank before the colon"),
    pytest.param(b": no name\r\n\r\nbody\r\n", HEADER, id="no name"),
    pytest.param(b"Subject: cut off", HEADER, id="no line end"),
    pytest.param(b"", EMPTY, id="empty"),
]


@pytest.mark.parametrize(("octets", "cause"), REFUSED)
def test_a_refused_message_is_parked_with_its_cause_and_the_others_arrive(
    cyrus: Cyrus, user: str, archive_dir: Path, octets: bytes, cause: str
) -> None:
    assert refusal(octets) == cause
    good = [message for message in mails.varied(6, seed=74) if not refusal(message)]
    messages = [*good[:3], octets, *good[3:]]
    fill(archive_dir, messages)
    result = plain_replay(cyrus.ports["imap"], user, archive_dir)
    assert_accounted(result, archive_dir, messages)
    assert (result.json()["delivered"], result.json()["parked"]) == (len(good), 1)
    assert_same((one.octets for one in at_cyrus(cyrus, user)), map(as_cyrus_keeps_it, good))


# ---- What it alters


def test_a_message_with_an_altered_header_is_found_again_and_not_sent_twice(
    cyrus: Cyrus, user: str, archive_dir: Path
) -> None:
    """kill -9 when both are announced and neither is answered; then the server has both after all."""
    body = b"\r\n\r\n" + b"0123456789abcdef\r\n" * 2_000
    messages = [b"Subject: Gr\xc3\xbc\xc3\x9fe" + body, b"Message-ID: <1@a.example>\r\nSubject: \xe4" + body]
    fill(archive_dir, messages)
    port = cyrus.ports["imap"]
    with Proxy(port) as proxy:
        process = start_mailmove(*words(url(proxy.port, user), archive_dir, "--allow-plaintext"))

        def end_both(session: Session) -> None:
            archives.wait_until_announced(archive_dir, len(messages))
            kill(process)
            reset(session)

        proxy.at_up(len(messages[0]) // 2, end_both)
        finish(process)
    assert archives.unsettled(archive_dir).total() == 2, "the two were not under way"
    assert at_cyrus(cyrus, user) == []
    with Referee(port, user) as referee:
        for octets in messages:
            referee.add("INBOX", octets)
    result = plain_replay(port, user, archive_dir)
    assert_accounted(result, archive_dir, messages)
    assert_same((one.octets for one in at_cyrus(cyrus, user)), map(as_cyrus_keeps_it, messages))


# ---- The whole corpus


@pytest.mark.parametrize("form", [lambda octets: octets, mails.crlf], ids=["as it is", "with CRLF"])
def test_the_corpus_into_cyrus(
    cyrus: Cyrus,
    user: str,
    archive_dir: Path,
    corpus: Callable[[], Iterator[tuple[str, bytes]]],
    seed: int,
    full: bool,
    form: Callable[[bytes], bytes],
) -> None:
    """Three quarters of the corpus have no CR at all and are refused; with CRLF the rest of them is seen."""
    distinct = sorted({form(octets) for _, octets in corpus()})
    chosen = distinct if full else _some_of_each(distinct, random.Random(f"cyrus {seed}"))
    fill(archive_dir, chosen)
    result = mailmove(*words(url(cyrus.ports["imap"], user), archive_dir, "--allow-plaintext"), timeout=600)
    assert_accounted(result, archive_dir, chosen)
    taken = [octets for octets in chosen if not refusal(octets)]
    assert result.json()["delivered"] == len(taken)
    assert_same((one.octets for one in at_cyrus(cyrus, user)), map(as_cyrus_keeps_it, taken))
    again = plain_replay(cyrus.ports["imap"], user, archive_dir)
    assert (again.json()["delivered"], again.json()["already_there"]) == (0, len(taken)), again
    assert_adds_up(again.json())


def _some_of_each(messages: Iterable[bytes], rng: random.Random) -> list[bytes]:
    """Of each cause, and of those without, SAMPLE messages at most."""
    by_cause = defaultdict(list)
    for octets in messages:
        by_cause[refusal(octets)].append(octets)
    return [octets for group in by_cause.values() for octets in rng.sample(group, min(SAMPLE, len(group)))]
