"""What is read of a message: every charset and encoding people use, and whatever a hostile one holds, in bounded time.

Strategy: messages are written out octet by octet, since no library would make most of them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmove.archive.search.html import html_text
from mailmove.archive.search.text import FIELD_LIMIT, TEXT_LIMIT, Readable, State, read

TEXT = b"Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s\r\n"


def multipart(*parts: bytes, kind: bytes = b"mixed", mark: bytes = b"m") -> bytes:
    body = b"".join(b"--%s\r\n%s\r\n" % (mark, part) for part in parts)
    return b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n%s--%s--\r\n' % (kind, mark, body, mark)


def attached(name: bytes, content: bytes = b"x") -> bytes:
    return b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename%s\r\n\r\n%s" % (name, content)


@pytest.mark.parametrize(
    ("charset", "encoding", "octets"),
    [
        (b"iso-8859-1", b"quoted-printable", b"Gr=FC=DFe, M=FCller"),
        (b"utf-8", b"base64", base64.b64encode("Grüße, Müller".encode())),
        (b"utf-8", b"8bit", "Grüße, Müller".encode()),
        (b"iso-8859-15", b"8bit", "Grüße, Müller".encode("latin-1")),
        (b"us-ascii", b"8bit", "Grüße, Müller".encode()),
        (b"us-ascii", b"8bit", "Grüße, Müller".encode("cp1252")),
        (b"x-unknown-9", b"8bit", "Grüße, Müller".encode()),
        (b"x-unknown-9", b"8bit", "Grüße, Müller".encode("cp1252")),
        (b"utf-8", b"8bit", "Grüße, Müller".encode("cp1252")),
        (b"utf-16", b"base64", base64.b64encode("Grüße, Müller".encode("utf-16"))),
        (b"base64_codec", b"8bit", "Grüße, Müller".encode()),
        (b"utf-8", b"x-nonsense", "Grüße, Müller".encode()),
    ],
)
def test_text_is_decoded_whatever_it_says_it_is(charset: bytes, encoding: bytes, octets: bytes) -> None:
    found = read(TEXT % (charset, encoding, octets))
    assert found.body.strip() == "Grüße, Müller" and found.state is State.WHOLE


@pytest.mark.parametrize("charset", [b"punycode", b"idna", b"unicode_escape"])
def test_what_only_python_takes_for_a_charset_is_none(charset: bytes) -> None:
    assert read(TEXT % (charset, b"8bit", b"Mller-kva \\u00fc")).body.strip() == "Mller-kva \\u00fc"


@pytest.mark.parametrize(
    "field",
    [
        b"=?iso-8859-1?Q?M=FCller?=",
        b"=?utf-8?b?TcO8bGxlcg==?=",
        b"=?utf-8?q?M=C3=BC?=\r\n =?utf-8?q?ller?=",
        "Müller".encode(),
        "Müller".encode("latin-1"),
        b"=?x-unknown?q?M=C3=BCller?=",
    ],
)
def test_header_fields_are_decoded(field: bytes) -> None:
    found = read(b"Subject: %s\r\nFrom: %s <a@b.example>\r\nCc: %s\r\n\r\n" % (field, field, field))
    assert (found.subject, found.sender, found.recipients) == ("Müller", "Müller <a@b.example>", "Müller")


@pytest.mark.parametrize("name", [b'="plan.pdf"', b"*=utf-8''%70lan.pdf", b'*0="plan"; filename*1=".pdf"',
                                  b'="=?utf-8?q?plan.pdf?="'])  # fmt: skip
def test_names_of_attachments(name: bytes) -> None:
    found = read(multipart(TEXT % (b"utf-8", b"7bit", b"hello"), attached(name)))
    assert (found.filenames, found.attachments, found.body.strip()) == (["plan.pdf"], 1, "hello")


def test_an_attached_message_is_read_too() -> None:
    inner = b"Subject: inside\r\nFrom: deep@example.org\r\n\r\n" + b"words of the inner one\r\n"
    found = read(multipart(b"Content-Type: message/rfc822\r\n\r\n" + inner))
    assert "inside" in found.body and "deep@example.org" in found.body and "words of the inner one" in found.body
    assert found.attachments == 1


def test_for_eyes_a_text_is_taken_once_and_for_words_twice() -> None:
    html = b"Content-Type: text/html\r\n\r\n<p>the <b>HTML</b> one</p>"
    message = multipart(TEXT % (b"utf-8", b"7bit", b"the plain one"), html, kind=b"alternative")
    assert "plain" in read(message).body and "HTML" in read(message).body
    assert read(message, for_eyes=True).body.split() == ["the", "plain", "one"]
    only = multipart(TEXT % (b"utf-8", b"7bit", b"  "), html, kind=b"alternative")
    assert read(only, for_eyes=True).body.split() == ["the", "HTML", "one"]


def test_lines_of_base64_are_shown_but_are_no_words() -> None:
    block = base64.encodebytes(bytes(range(200))).decode().replace("\n", "\r\n")
    octets = f"Subject: signed\r\n\r\nbefore\r\n{block}after {'x' * 80}\r\n".encode()
    assert read(octets).body.split()[:1] == ["before"] and read(octets).body.split()[-2:] == ["after", "x" * 80]
    assert len(read(octets).body.split()) == 4, "the last line of a block may be short, and stays"
    assert block.splitlines()[0] in read(octets, for_eyes=True).body


def test_html_becomes_text() -> None:
    source = (
        "<html><head><title>T</title><style>p { color: red }</style></head><body><p>Gr&uuml;&#223;e<br>two&nbsp;three"
        "<script>alert('no')</script><td>a</td><td>b</td><img alt='a dog'><!-- no --> fo<b>ur</b></p></body>"
    )
    text = html_text(source)
    assert text.split() == ["T", "Grüße", "two", "three", "a", "b", "a", "dog", "four"]


@pytest.mark.parametrize("source", ["one <!-- two", "one <a href='two", "one <![two x", "one & two <"])
def test_what_html_never_closes_is_text(source: str) -> None:
    assert {"one", "two"} <= set(html_text(source).replace("'", " ").replace("<", " ").replace("[", " ").split())


# ---- hostile


def nested(depth: int) -> bytes:
    opened = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth))
    return b"Subject: deep\r\n" + opened + b"Content-Type: text/plain\r\n\r\nbottom\r\n"


def test_a_hundred_parts_in_each_other_are_read() -> None:
    found = read(nested(100))
    assert (found.subject, found.body.strip(), found.state) == ("deep", "bottom", State.WHOLE)


def test_where_parts_lie_too_deep_the_headers_are_all_there_is() -> None:
    found = read(nested(5000))
    assert (found.subject, found.body, found.state) == ("deep", "", State.HEADERS)


def test_a_hundred_messages_in_each_other_are_read() -> None:
    octets = b"".join(b"Subject: level %d\r\nContent-Type: message/rfc822\r\n\r\n" % n for n in range(100))
    found = read(octets + b"Subject: last\r\n\r\nbottom\r\n")
    assert found.subject == "level 0" and "level 99" in found.body and "bottom" in found.body


def test_ten_thousand_parts() -> None:
    found = read(b"Subject: many\r\n" + multipart(*(attached(b"=f%d.txt" % n) for n in range(10_000))))
    assert (found.subject, found.attachments, found.state) == ("many", 10_000, State.PARTLY)
    assert found.filenames[0] == "f0.txt" and sum(map(len, found.filenames)) <= FIELD_LIMIT + 10


def test_one_part_that_cannot_be_decoded_costs_only_itself() -> None:
    bad = b"Content-Type: text/plain; charset*%s*=x\r\n\r\nlost?" % (b"9" * 5000)
    found = read(b"Subject: s\r\n" + multipart(bad, TEXT % (b"utf-8", b"7bit", b"the good one")))
    assert found.subject == "s" and "the good one" in found.body and found.state is State.PARTLY


def test_text_is_kept_up_to_a_limit() -> None:
    found = read(b"Subject: long\r\n\r\n" + b"word " * TEXT_LIMIT)
    assert len(found.body) == TEXT_LIMIT and found.state is State.PARTLY
    assert read(b"Subject: s\r\n\r\nfirst octets", cut=True).state is State.PARTLY


HOSTILE: dict[str, bytes] = {
    "no octet": b"",
    "zero octets": b"Subject: a\0b\r\nContent-Type: text/plain\0\r\n\r\nx\0y",
    "broken base64": TEXT % (b"utf-8", b"base64", b"!!!not base64=="),
    "broken encoded word": b"Subject: =?utf-8?b?AAA?= =?utf-8?q?=ZZ?= =?a?b?=?= =?utf-8*en?q?x?=\r\n\r\n",
    "header of 2 MB": b"Subject: " + b"x" * 2_000_000 + b"\r\n\r\n",
    "100,000 fields": b"X-Field: y\r\n" * 100_000 + b"\r\n",
    "encoded words without end": b"Subject: " + b"=?a?q?" * 200_000 + b"\r\n\r\n",
    "parameters": b"Content-Type: text/plain; " + b"a=b; " * 200_000 + b"\r\n\r\nx",
    "continued names": b"Content-Disposition: attachment; " + b"filename*1=x; " * 50_000 + b"\r\n\r\nx",
    "boundary in itself": multipart(multipart(b"\r\nx", mark=b"m"), mark=b"m"),
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n--\r\n",
    "punycode": TEXT % (b"punycode", b"8bit", b"a" * 100_000 + b"-" + b"b" * 100_000),
    "undefined charset": TEXT % (b"undefined", b"8bit", b"x"),
    "charset with zero": TEXT % (b'"utf\0-8"', b"8bit", b"x"),
    "charset in a charset": b"Content-Type: text/plain; charset*=no-such''%FF\r\n\r\nx",
    "uuencode": TEXT % (b"utf-8", b"x-uuencode", b"begin 666 f\r\nM~~~~\r\nend"),
    "comments": b"Content-Type: text/html\r\n\r\n" + b"<!--" * 100_000,
    "declarations": b"Content-Type: text/html\r\n\r\n" + b"<![if" * 100_000,
    "tags": b"Content-Type: text/html\r\n\r\n" + b"<a b='" * 100_000,
    "references": b"Content-Type: text/html\r\n\r\n" + b"&#x110000;&#" * 50_000,
    "lone surrogates": "Subject: \ud800\r\n\r\n\udfff".encode("utf-8", "surrogatepass"),
    "only a field name": b"Subject",
    "mbox": b"From somebody\r\nSubject: s\r\n\r\nx",
}


@pytest.mark.parametrize("octets", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.timeout(20)
def test_a_hostile_message_is_read_as_far_as_it_goes(octets: bytes) -> None:
    assert_read(read(octets))
    assert_read(read(octets, for_eyes=True))


def assert_read(found: Readable) -> None:
    """Texts within their limits, of which nothing stops SQLite or a terminal but what `plain` sees to."""
    fields = (found.subject, found.sender, found.recipients, found.other, found.date)
    assert all(len(text) <= FIELD_LIMIT for text in fields) and len(found.body) <= TEXT_LIMIT + 1000
    assert not any(c in text for text in (*fields, *found.filenames) for c in "\r\n\0\x1b")


@given(st.binary(max_size=400), st.sampled_from(sorted(HOSTILE)), st.integers(0, 300))
@settings(max_examples=150, deadline=None)
def test_any_octets_are_read(octets: bytes, name: str, at: int) -> None:
    assert_read(read(octets))
    assert_read(read(HOSTILE[name][:at] + octets))


def test_the_whole_corpus_is_read(corpus: Callable[[], Iterator[tuple[str, bytes]]]) -> None:
    headers = [name for name, octets in corpus() if read(octets).state is State.HEADERS]
    assert headers == []
