"""Verdicts on what lies at a target: pure, so any message and any change can be tried.

Strategy: whatever a server is known to do is not called altered, and anything else is; the shallow verdict never
contradicts the deep one where header and size can tell; each verdict but `there` names its reason.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.jobs.against_verdict import THERE, Kind, difference, judge, judge_date, judge_head, rewriting, section
from mailmove.jobs.likeness import canonical, munged

PIECES = (b"A: b", b"Subject: x\0y", b"S: \xe4", b"text", b"", b" ", b"\0", b"\x80")
ENDS = (b"\r\n", b"\n", b"\r\r\n", b"")
MESSAGES = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(ENDS)), max_size=8).map(
    lambda lines: b"".join(piece + end for piece, end in lines)
)
SERVERS = (
    lambda octets: octets,
    canonical,
    lambda octets: octets.replace(b"\0", b"\x80"),
    lambda octets: munged(canonical(octets)),
    lambda octets: octets if octets.endswith(b"\n") else octets + b"\r\n",
)


@given(MESSAGES, st.sampled_from(SERVERS))
def test_what_servers_are_known_to_do_is_never_called_altered(ours: bytes, server: object) -> None:
    theirs = server(ours)  # type: ignore[operator]
    verdict = judge(ours, theirs)
    assert verdict.kind is (Kind.THERE if theirs == ours else Kind.REWRITTEN)
    assert bool(verdict.reason) is (theirs != ours)
    shallow = judge_head(ours, section(theirs) + b"\r\n", len(theirs))
    assert shallow is None or shallow.kind in (Kind.THERE, Kind.REWRITTEN)


@given(MESSAGES, MESSAGES)
def test_anything_else_is_altered_and_the_reason_says_how(ours: bytes, theirs: bytes) -> None:
    verdict = judge(ours, theirs)
    if verdict.kind is Kind.ALTERED:
        assert canonical(ours) != canonical(theirs)
        assert "differs" in verdict.reason and f"{len(ours):,} octets were sent" in verdict.reason
    elif verdict is not THERE:
        assert verdict.reason.startswith("the server rewrote it: ")
    else:
        assert ours == theirs


@given(MESSAGES, MESSAGES)
def test_the_header_and_the_size_decide_only_where_they_fit(ours: bytes, theirs: bytes) -> None:
    verdict = judge_head(ours, section(theirs), len(theirs))
    if verdict is THERE:
        assert (section(ours), len(ours)) == (section(theirs), len(theirs))
    elif verdict is None:
        assert ours != theirs


HEAD = b"Subject: s\r\nX-A: 1\r\n"


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (b"X-Scanned: yes\r\n" + HEAD + b"\r\nbody\r\n", ["header differs (added: X-Scanned)"]),
        (b"Subject: s\r\n\r\nbody\r\n", ["header differs (missing: X-A)"]),
        (b"Subject: [x] s\r\nX-A: 1\r\n\r\nbody\r\n", ["header differs (changed: Subject)"]),
        (b"X-A: 1\r\nSubject: s\r\n\r\nbody\r\n", ["header differs (folded or ordered otherwise)"]),
        (HEAD + b"\r\nbodY\r\n", ["its body differs (", "28 octets were sent, 28 are there"]),
        (b"X: 1\r\n" + HEAD + b"\r\nbodY\r\n", ["added: X", "and its body differs"]),
    ],
)
def test_a_change_is_named_so_that_a_person_knows_it_again(theirs: bytes, words: list[str]) -> None:
    ours = HEAD + b"\r\nbody\r\n"
    assert all(word in difference(ours, theirs) for word in words), difference(ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (b"A: b\n\nc\n", b"A: b\r\n\r\nc\r\n", "bare LF became CRLF"),
        (b"A: b\r\n\r\n\0\r\n", b"A: b\r\n\r\n\x80\r\n", "NUL became 0x80"),
        (b"A: b\r\n\r\nc", b"A: b\r\n\r\nc\r\n", "a final CRLF was added"),
        (b"A: \xe4\r\n\r\nc\r\n", b"A: X\r\n\r\nc\r\n", "8-bit octets in its header became X"),
        (b"A: b\r\n\r\nc\r\r\nd\r\n", b"A: b\r\n\r\nc\r\nd\r\n", "extra CRs before a line end were dropped"),
        (b"A: b\r\n\r\nc\r\n\r\n", b"A: b\r\n\r\nc\r\n", "line ends at its end were changed"),
    ],
)
def test_a_rewriting_is_named(ours: bytes, theirs: bytes, words: str) -> None:
    assert rewriting(ours, theirs) == f"the server rewrote it: {words}"
    assert judge(ours, theirs).reason == rewriting(ours, theirs)


SENT = datetime(2004, 2, 2, 9, tzinfo=UTC)
DELIVERED = datetime(2024, 5, 6, 7, 8, 9, 300_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sent", "wanted", "theirs", "words"),
    [
        (SENT, SENT, SENT, ""),
        (SENT + timedelta(milliseconds=900), SENT, SENT, ""),
        (SENT, SENT, None, ""),
        (SENT, SENT, DELIVERED, "ignored its date 2004-02-02 09:00:00Z"),
        (SENT, SENT, SENT + timedelta(hours=1), "has the date 2004-02-02 10:00:00Z, and was given 2004-02-02 09:00"),
        (DELIVERED, DELIVERED + timedelta(hours=6), DELIVERED, "clamped to 2024-05-06 07:08:09Z"),
    ],
)
def test_a_date_is_the_one_that_was_sent_or_the_reason_is_named(
    sent: datetime, wanted: datetime, theirs: datetime | None, words: str
) -> None:
    assert words in judge_date(sent, wanted, DELIVERED, theirs)
    assert bool(words) is bool(judge_date(sent, wanted, DELIVERED, theirs))
