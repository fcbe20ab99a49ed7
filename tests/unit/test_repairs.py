"""The repairs: each takes its fault away, leaves everything else as it was, and does nothing where the fault is not.

Strategy: named messages show what each makes of them; hypothesis makes messages of headers and bodies with faults of
all kinds, and each repair is held to the same promises. What the repaired octets mean is asked of the standard
library's email package, which shares nothing with the code under test.
"""

from __future__ import annotations

import email
import email.header
import email.policy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.errors import UsageError
from mailmove.repairs import Repair, apply, effective, header, parse_repairs, repair
from tests.support.mails import CORPUS

ALL = frozenset(Repair)
NUL, NEWLINES, HEADERS, LONG = Repair.NUL, Repair.BARE_NEWLINES, Repair.EIGHT_BIT_HEADERS, Repair.LONG_LINES

# ---- LIST


def test_a_list_of_repairs() -> None:
    assert parse_repairs("nul") == {NUL}
    assert parse_repairs(" NUL, bare-newlines,8bit-headers ,long-lines,nul") == ALL


@pytest.mark.parametrize("text", ["", "nul,", "nul;bare-newlines", "size", "all", "8bit"])
def test_a_list_that_cannot_be_meant_names_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="bare-newlines, nul, 8bit-headers, long-lines") as caught:
        parse_repairs(text)
    assert repr(text) in caught.value.message


# ---- what each takes away, and what stays


def long_lines(octets: bytes) -> bool:
    return any(len(line.removesuffix(b"\r")) > 998 for line in octets.split(b"\n"))


FAULTS = {
    NUL: lambda octets: b"\0" in octets,
    NEWLINES: lambda octets: re.search(rb"(?<!\r)\n|\r(?!\n)", octets) is not None,
    HEADERS: lambda octets: not header(octets).isascii(),
    LONG: long_lines,
}
NAMES = st.sampled_from(["Subject", "From", "To", "X-Note", "Content-Type", "Received", "Content-Disposition"])
PIECES = st.one_of(
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=20),
    st.sampled_from([b"x" * 600, b" " * 700, "ü".encode() * 500, b"word " * 250, b"=C3=BC" * 200, b"=?utf-8?Q?a?= "]),
)
LINES = st.lists(PIECES, max_size=4).map(b"".join)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n"])


@st.composite
def messages(draw: st.DrawFn, faulty_ends: bool = True) -> bytes:
    """A header of known fields, an empty line, and a body of lines."""
    ends = ENDS if faulty_ends else st.just(b"\r\n")
    fields = [
        draw(NAMES).encode() + b": " + re.sub(rb"[\r\n]", b" ", draw(LINES)) + draw(ends)
        for _ in range(draw(st.integers(0, 4)))
    ]
    encoding = draw(st.sampled_from([b"7bit", b"8bit", b"quoted-printable", b"base64"]))
    fields.append(b"Content-Transfer-Encoding: " + encoding + b"\r\n")
    body = b"".join(draw(LINES) + draw(ends) for _ in range(draw(st.integers(0, 5))))
    return b"".join(fields) + b"\r\n" + body


@given(messages(), st.sampled_from(Repair))
def test_a_repair_takes_its_fault_away_and_does_it_once(octets: bytes, one: Repair) -> None:
    after = apply(octets, {one})
    assert not FAULTS[one](after)
    assert apply(after, {one}) == after and effective(after, {one}) == ()
    assert effective(octets, {one}) == ((one,) if after != octets else ())


@given(messages(), st.sampled_from(Repair))
def test_a_message_without_the_fault_is_left_alone(octets: bytes, one: Repair) -> None:
    if not FAULTS[one](octets):
        assert apply(octets, {one}) == octets


@given(messages(faulty_ends=False))
def test_all_of_them_leave_no_fault_at_all(octets: bytes) -> None:
    after = apply(octets, ALL)
    assert not any(fault(after) for fault in FAULTS.values())
    assert apply(after, ALL) == after


@given(messages())
def test_nothing_but_nul_goes(octets: bytes) -> None:
    assert apply(octets, {NUL}) == bytes(octet for octet in octets if octet)


@given(messages())
def test_newlines_change_nothing_but_line_ends(octets: bytes) -> None:
    after = apply(octets, {NEWLINES})
    assert re.sub(rb"[\r\n]", b"", after) == re.sub(rb"[\r\n]", b"", octets)
    assert after.count(b"\n") == len(re.findall(rb"\r*\n|\r", octets))


@given(messages())
def test_8bit_headers_leave_the_body_alone(octets: bytes) -> None:
    after = apply(octets, {HEADERS})
    assert after.removeprefix(header(after)) == octets.removeprefix(header(octets))


@given(st.lists(PIECES, max_size=20).map(b" ".join))
def test_breaking_text_puts_crlf_in_and_takes_nothing_out(body: bytes) -> None:
    octets = b"Subject: x\r\n\r\n" + body
    after = apply(octets, {LONG})
    assert _is_with_more_line_ends(octets, after)


def _is_with_more_line_ends(before: bytes, after: bytes) -> bool:
    """Whether `after` is `before` with CRLFs put in."""
    index = 0
    for octet in before:
        while after[index : index + 1] != bytes([octet]):
            if after[index : index + 2] != b"\r\n":
                return False
            index += 2
        index += 1
    return after[index:].replace(b"\r\n", b"") == b""


@given(st.text(min_size=1, max_size=3000))
def test_no_utf8_sequence_is_cut(text: str) -> None:
    octets = b"\r\n" + text.encode("utf-8", "replace")
    for line in apply(octets, {LONG}).split(b"\r\n"):
        line.decode("utf-8")


# ---- 8-bit header fields


def subject_of(octets: bytes, name: str = "Subject") -> str:
    """As a reader that follows RFC 2047 shows it."""
    value = email.message_from_bytes(octets, policy=email.policy.compat32)[name]
    unfolded = re.sub(r"\r?\n", "", value)
    return "".join(
        part if isinstance(part, str) else part.decode(charset or "ascii")
        for part, charset in email.header.decode_header(unfolded)
    )


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp", "Cs")), min_size=1, max_size=40)


@given(st.lists(WORD, min_size=1, max_size=12))
def test_a_subject_says_the_same_afterwards(words: list[str]) -> None:
    text = " ".join(words)
    after = apply(f"Subject: {text}\r\n\r\n".encode(), {HEADERS})
    if "=?" not in text:
        assert subject_of(after) == text
    assert all(len(word) <= 75 for line in after.split(b"\r\n") for word in line.split() if word.startswith(b"=?utf-8"))


ENCODED = [
    ("Subject: Grüße aus Köln", "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= aus =?utf-8?Q?K=C3=B6ln?="),
    ("Subject: schöne Grüße", "Subject: =?utf-8?Q?sch=C3=B6ne_Gr=C3=BC=C3=9Fe?="),
    ("Subject: schöne\r\n Grüße", "Subject: =?utf-8?Q?sch=C3=B6ne_Gr=C3=BC=C3=9Fe?="),
    ("Subject: =?utf-8?Q?a?= ü", "Subject: =?utf-8?Q?a?= =?utf-8?Q?_=C3=BC?="),
    ("To: =?utf-8?Q?a?= ü <a@b>", "To: =?utf-8?Q?a?= =?utf-8?Q?_=C3=BC?= <a@b>"),
    ("From: Jörg <j@x>", "From: =?utf-8?Q?J=C3=B6rg?= <j@x>"),
    ('From: "Jörg, der"<j@x>', "From: =?utf-8?Q?J=C3=B6rg=2C_der?= <j@x>"),
    (r'From: "J\"ö" <j@x>', "From: =?utf-8?Q?J=22=C3=B6?= <j@x>"),
    ("From: j@x (Jörg)", "From: j@x (=?utf-8?Q?J=C3=B6rg?=)"),
    ('Content-Type: a/b; name="ü b.pdf"', 'Content-Type: a/b; name="=?utf-8?Q?=C3=BC_b=2Epdf?="'),
    ("Content-Disposition: x; filename=ü.pdf", 'Content-Disposition: x; filename="=?utf-8?Q?=C3=BC=2Epdf?="'),
    ("Ünsinn ohne Feld", "=?utf-8?Q?=C3=9Cnsinn?= ohne Feld"),
]


@pytest.mark.parametrize(("before", "after"), ENCODED)
def test_the_smallest_encoded_words(before: str, after: str) -> None:
    rest = "\r\nX-Plain: a  b\r\n\r\nKörper\r\n"
    assert apply((before + rest).encode(), {HEADERS}).decode() == after + rest


def test_the_charset_is_the_one_the_message_names_or_none() -> None:
    typed = "Subject: Grüße\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\r\n".encode("latin-1")
    assert subject_of(apply(typed, {HEADERS})) == "Grüße"
    untyped = "Subject: Grüße\r\n\r\n".encode("latin-1")
    assert apply(untyped, {HEADERS}) == b"Subject: =?unknown-8bit?Q?Gr=FC=DFe?=\r\n\r\n"
    asian = "Subject: 日本語 テスト\r\nContent-Type: text/plain; charset=shift_jis\r\n\r\n".encode("shift_jis")
    assert subject_of(apply(asian, {HEADERS})) == "日本語 テスト"


def test_where_no_empty_line_ends_the_header_the_first_line_that_is_no_field_does() -> None:
    assert apply("Subject: ü\r\nZeile für Zeile".encode(), {HEADERS}).endswith("\r\nZeile für Zeile".encode())


# ---- newlines


def test_mac_lines_and_doubled_returns() -> None:
    assert apply(b"A: b\rC: d\r\rtext\r", {NEWLINES}) == b"A: b\r\nC: d\r\n\r\ntext\r\n"
    assert apply(b"A: b\r\r\nC: d\r\r\n\r\r\ntext", {NEWLINES}) == b"A: b\r\nC: d\r\n\r\ntext"


# ---- long lines


def parts(octets: bytes) -> list[bytes]:
    """The decoded leaves of a message."""
    walk = email.message_from_bytes(octets, policy=email.policy.compat32).walk()
    return [part.get_payload(decode=True) for part in walk if not part.is_multipart()]


def multipart(*bodies: bytes) -> bytes:
    head = b'Content-Type: multipart/mixed;\r\n boundary="b=_1"\r\n\r\npreamble\r\n'
    return head + b"".join(b"--b=_1\r\n" + body + b"\r\n" for body in bodies) + b"--b=_1--\r\n" + b"e" * 1500 + b"\r\n"


def part(encoding: str, body: bytes) -> bytes:
    return f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def test_what_is_encoded_decodes_to_the_same() -> None:
    import base64

    data = bytes(range(256)) * 20
    quoted = b"".join(b"=%02X" % octet for octet in data)
    octets = multipart(part("base64", base64.b64encode(data)), part("Quoted-Printable", quoted), part("7bit", b"short"))
    after = apply(octets, {LONG})
    assert not long_lines(after) and parts(after) == parts(octets) == [data, data, b"short"]


def test_a_binary_part_is_left_as_it_is() -> None:
    binary = part("binary", bytes(range(11, 256)) * 9)
    octets = multipart(binary, part("8bit", b"word " * 300))
    after = apply(octets, {LONG})
    assert binary in after and parts(after)[1].replace(b"\r\n", b"") == b"word " * 300


def test_text_is_broken_behind_a_blank_if_there_is_one() -> None:
    after = apply(b"\r\n" + b"word " * 300, {LONG})
    assert after == b"\r\n" + b"word " * 199 + b"\r\n" + b"word " * 101
    assert apply(b"\r\n" + b"x" * 2000, {LONG}) == b"\r\n" + b"\r\n".join([b"x" * 998, b"x" * 998, b"xxxx"])


def test_headers_are_folded_and_say_the_same() -> None:
    references = b"References: " + b" ".join(b"<%d@example.org>" % n for n in range(300)) + b"\r\n"
    nested = b"Content-Type: message/rfc822\r\n\r\n" + references + b"\r\ntext"
    for octets in (references + b"\r\ntext", multipart(nested)):
        after = apply(octets, {LONG})
        assert re.sub(rb"\r\n(?= )", b"", after) == octets if octets.startswith(b"Ref") else not long_lines(after)
        assert after.count(b"\r\n <") == 5


def test_a_field_without_white_space_gets_some() -> None:
    after = apply(b"X-Key: " + b"k" * 2500 + b"\r\n\r\ntext", {LONG})
    assert after == b"X-Key:\r\n " + b"\r\n ".join([b"k" * 997, b"k" * 997, b"k" * 506]) + b"\r\n\r\ntext"


def test_no_line_is_made_that_looks_like_a_boundary() -> None:
    body = b"x" * 990 + b" --b=_1 " + b"y" * 990
    assert len(parts(apply(multipart(part("7bit", body)), {LONG}))) == 1


# ---- which one is tried

FAULTY = "Subject: Grüße\r\n\r\n".encode() + b"a\0b\nline" + b" word" * 300 + b"\r\n"


@pytest.mark.parametrize(
    ("cause", "wanted", "earlier", "applied"),
    [
        ("nul", ALL, (), (NUL,)),
        ("nul", {LONG}, (), ()),
        ("bare-newlines", ALL, (), (NEWLINES,)),
        ("bare-newlines", ALL, (NUL,), (NUL, NEWLINES)),
        ("bare-newlines", {NEWLINES}, (NUL,), (NEWLINES,)),
        ("8bit-headers", ALL, (), (HEADERS,)),
        ("long-lines", ALL, (), (LONG,)),
        ("refused", ALL, (), (NEWLINES,)),
        ("refused", ALL, (NEWLINES,), (NUL, NEWLINES)),
        ("refused", {LONG, HEADERS}, (), (HEADERS,)),
        ("refused", ALL, tuple(ALL), (NUL, NEWLINES, HEADERS, LONG)),
        ("breaks-connection", {LONG}, (), (LONG,)),
        ("header", ALL, (), (HEADERS,)),
        ("header", {NUL, NEWLINES}, (), ()),
        ("size", ALL, (), ()),
        ("virus", ALL, (NUL,), (NUL,)),
    ],
)
def test_the_smallest_repair_that_fits_the_cause(
    cause: str, wanted: set[Repair], earlier: tuple[Repair, ...], applied: tuple[Repair, ...]
) -> None:
    after, names = repair(FAULTY, wanted, cause, earlier)
    assert names == applied and after == apply(FAULTY, applied)
    assert (after == FAULTY) == (not applied)


def test_a_cause_without_its_fault_changes_nothing() -> None:
    assert repair(b"Subject: fine\r\n\r\ntext\r\n", ALL, "nul") == (b"Subject: fine\r\n\r\ntext\r\n", ())


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not here")
def test_over_the_corpus_every_repair_keeps_its_promises() -> None:
    for path in sorted(CORPUS.glob("*.eml")):
        octets = path.read_bytes()
        for one in Repair:
            after = apply(octets, {one})
            assert apply(after, {one}) == after, (path.name, one)
            if b"binary" not in octets.lower() and header(octets) != octets:
                assert not FAULTS[one](after), (path.name, one)
