"""Host names that are not ASCII: one encoding for DNS and TLS, one spelling for people, and no name that means two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.errors import UsageError
from mailmove.hosts import shown_name, wire_name
from mailmove.urls import parse_source

PAIRS = [
    ("bücher.example", "xn--bcher-kva.example"),
    ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
    ("pop.example", "pop.example"),
    ("127.0.0.1", "127.0.0.1"),
    ("::1", "::1"),
]


@pytest.mark.parametrize(("shown", "wire"), PAIRS)
def test_both_spellings(shown: str, wire: str) -> None:
    assert (wire_name(shown), wire_name(wire)) == (wire, wire)
    assert (shown_name(shown), shown_name(wire)) == (shown, shown)


def test_both_spellings_of_a_host_are_one_maildrop() -> None:
    ways = [
        "bücher.example",
        "BÜCHER.example",
        "bu\u0308cher.example",
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.example",
    ]
    assert {str(parse_source(f"pop3s://me@{way}").maildrop()) for way in ways} == {"me@bücher.example"}


@pytest.mark.parametrize("host", ["straße.example", "STRAẞE.example", "φάρος.example"])
def test_a_name_that_means_two_domains_is_refused(host: str) -> None:
    """By IDNA 2003 straße is strasse, by IDNA 2008 it is not: a password could go to the wrong one."""
    with pytest.raises(UsageError, match="xn--"):
        parse_source(f"pop3s://me@{host}")


@pytest.mark.parametrize("host", ["xn--strae-oqa.example", "xn--", "xn--\x7f.example", "xn--a.example"])
def test_an_encoded_name_we_cannot_read_stays_as_it_is(host: str) -> None:
    assert (wire_name(host), shown_name(host)) == (host, host)


@pytest.mark.parametrize("host", ["ü..example", "ü" * 64 + ".example", "\u0660a\u05d0.example"])
def test_what_is_no_name_is_refused_in_one_sentence(host: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_source(f"pop3s://me@{host}")
    assert refused.value.message.endswith(".") and "\n" not in refused.value.message


@given(st.text(max_size=40))
def test_every_name_has_one_encoding_or_is_refused(text: str) -> None:
    try:
        name = wire_name(text)
        shown = shown_name(text)
    except UsageError:
        return
    assert name.isascii() and wire_name(shown) == name
