"""The loop guard: signs of a loop are seen in whatever shape they are written, and a message without them goes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.jobs.loop_guard import MOST_RECEIVED, loop_reason

ME = "me@new.example"


def section(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize(
    ("recipient", "value"),
    [
        (ME, b"me@new.example"),
        (ME, b"<me@new.example>"),
        (ME, b"ME@New.Example"),
        (ME, b"  me@new.example  "),
        (ME, b"\r\n\tme@new.example"),
        ("me@xn--bcher-kva.example", "me@bücher.example".encode()),
        ("jörg@new.example", "Jörg@new.example".encode()),
        ("alice", b"alice"),
    ],
)
def test_what_was_delivered_to_the_recipient_before(recipient: str, value: bytes) -> None:
    assert recipient in loop_reason(section(b"Subject: x", b"Delivered-To: " + value, b"To: y"), recipient)
    assert loop_reason(section(b"delivered-TO:" + value), recipient)
    assert loop_reason(section(b"Delivered-To: other@new.example", b"Delivered-To: " + value), recipient)


@pytest.mark.parametrize(
    "line",
    [
        b"Delivered-To: you@new.example",
        b"Delivered-To: me@old.example",
        b"Delivered-To: notme@new.example",
        b"Delivered-To: me@new.example.org",
        b"Delivered-To:",
        b"X-Delivered-To: me@new.example",
        b"X-Original-To: me@new.example",
        b"To: me@new.example",
        b"Subject: Delivered-To: me@new.example",
        b"Subject: x\r\n Delivered-To: me@new.example",
        b"Delivered-To: \xff\0@\x80",
    ],
)
def test_what_is_no_sign(line: bytes) -> None:
    assert loop_reason(section(line), ME) == ""


def test_more_received_fields_than_any_honest_way_has() -> None:
    hop = b"Received: from a by b;\r\n Mon, 5 Jan 2026 10:00:00 +0100"
    assert loop_reason(section(*[hop] * MOST_RECEIVED, b"X-Received: x", b"Subject: x"), ME) == ""
    assert f"{MOST_RECEIVED + 1} Received" in loop_reason(section(*[hop] * MOST_RECEIVED, b"received : x"), ME)
    assert loop_reason(section(*[hop] * 60).replace(b"\r\n", b"\n"), ME)
    assert loop_reason(section(b"no field at all", *[hop] * 60), ME)


def test_a_message_without_a_header_is_none() -> None:
    assert loop_reason(b"", ME) == ""


@given(st.binary(max_size=200), st.sampled_from([ME, "alice", "jörg@new.example"]))
def test_it_never_fails_and_sees_through_anything_above(junk: bytes, recipient: str) -> None:
    loop_reason(junk, recipient)
    assert loop_reason(junk + b"\nDelivered-To: " + recipient.encode() + b"\n", recipient)
