"""Which messages at a target are those we meant to deliver: a match in which no message is taken for two.

Strategy: messages are drawn from a small family in which all confusions are possible: byte-identical twins, the same
message as a server rewrites it, the same Message-ID with other bytes, the same header with other bodies. What must come
out is counted by multisets, so no order of wanted messages or candidates may matter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mailmove.jobs.claims import Claim, Claims
from mailmove.jobs.likeness import Likeness, canonical
from mailmove.model import Digest
from tests.support.archives import digest

IDS = (b"", b"Message-ID: <a@x>\r\n", b"Message-ID: <b@x>\r\n")
SUBJECTS = (b"Subject: one\r\n", b"Subject: two\r\n")
BODIES = (b"1\r\n", b"2\r\n", b"2\n", b"\x00\n", b"\x80\r\n")
FAMILY = [one + two + b"\r\n" + three for one in IDS for two in SUBJECTS for three in BODIES]
ADDED = b"X-Scanned: yes\r\n"


def confusable(few: list[bytes]) -> st.SearchStrategy[tuple[list[bytes], list[bytes]]]:
    """Wanted messages and a mailbox, of these few messages and what becomes of them at servers."""
    forms = [form for octets in few for form in (octets, canonical(octets), ADDED + octets)]
    some = st.lists(st.sampled_from(forms), max_size=8)
    return st.tuples(some, some)


PAIRS = st.lists(st.sampled_from(FAMILY), min_size=1, max_size=3).flatmap(confusable)
Pair = tuple[list[bytes], list[bytes]]


def matched(wanted: Sequence[bytes], there: Sequence[bytes]) -> list[Claim]:
    """The claims on a mailbox whose first message has UID 1, offered in the order of its UIDs."""
    claims = Claims([Likeness.of(octets) for octets in wanted])
    for uid, octets in enumerate(there, 1):
        claims.offer(uid, Likeness.of(octets))
    return list(claims.settle())


def found(wanted: Sequence[bytes], there: Sequence[bytes]) -> list[bytes | None]:
    """What was found for each wanted message, if anything was for certain."""
    return [there[claim.uid - 1] if claim.certain else None for claim in matched(wanted, there)]


# ---- What holds for any messages


@given(PAIRS)
def test_no_message_at_the_target_counts_for_two(pair: Pair) -> None:
    wanted, there = pair
    claims = matched(wanted, there)
    certain = [claim.uid for claim in claims if claim.certain]
    assert len(claims) == len(wanted)
    assert len(set(certain)) == len(certain) and set(certain) <= set(range(1, len(there) + 1))
    assert set(certain).isdisjoint(claim.uid for claim in claims if not claim.certain)


@given(PAIRS)
def test_what_is_found_for_certain_is_the_message_or_its_rewriting(pair: Pair) -> None:
    wanted, there = pair
    pairs = [(ours, theirs) for ours, theirs in zip(wanted, found(wanted, there), strict=True) if theirs is not None]
    assert all(canonical(ours) == canonical(theirs) for ours, theirs in pairs)
    exact = Counter(ours for ours, theirs in pairs if ours == theirs)
    assert exact == Counter(wanted) & Counter(there), "every message that is there unaltered is taken for itself"


@given(PAIRS)
def test_everything_that_can_be_found_is_found(pair: Pair) -> None:
    wanted, there = pair
    same = Counter(wanted) & Counter(there)
    left, over = Counter(wanted) - same, Counter(there) - same
    rewritten = forms(left) & forms(over)
    assert sum(theirs is not None for theirs in found(wanted, there)) == same.total() + rewritten.total()


def forms(messages: Counter[bytes]) -> Counter[bytes]:
    return Counter(canonical(octets) for octets in messages.elements())


@given(PAIRS, st.integers())
def test_the_order_does_not_matter(pair: Pair, seed: int) -> None:
    wanted, there = pair
    shuffled = random.Random(seed).sample(there, len(there))
    before, after = found(wanted, there), found(wanted, shuffled)
    assert Counter(map(form, before)) == Counter(map(form, after))


def form(octets: bytes | None) -> bytes | None:
    return None if octets is None else canonical(octets)


@given(PAIRS)
def test_what_is_unsure_resembles_and_what_is_not_there_does_not(pair: Pair) -> None:
    """Nothing is sent again while anything unaccounted for resembles it."""
    wanted, there = pair
    claims = matched(wanted, there)
    taken = {claim.uid for claim in claims if claim.certain}
    left = [Likeness.of(octets) for uid, octets in enumerate(there, 1) if uid not in taken]
    for octets, claim in zip(wanted, claims, strict=True):
        if not claim.certain:
            assert bool(claim.uid) == any(Likeness.of(octets).resembles(other) for other in left)


@given(PAIRS)
def test_once_it_is_satisfied_no_further_message_changes_anything(pair: Pair) -> None:
    wanted, more = pair
    claims = Claims([Likeness.of(octets) for octets in wanted])
    for uid, octets in enumerate(wanted, 1):
        assert claims.satisfied == (uid > len(wanted))
        claims.offer(uid, Likeness.of(octets))
    assert claims.satisfied
    before = [claim.uid for claim in claims.settle()]
    for uid, octets in enumerate(more, len(wanted) + 1):
        claims.offer(uid, Likeness.of(octets))
    assert [claim.uid for claim in claims.settle()] == before


# ---- The cases by name

CRLF_ONE, LF_ONE = b"Subject: x\r\n\r\nbody\r\n", b"Subject: x\n\nbody\n"


def test_byte_identical_twins_are_two() -> None:
    assert matched([CRLF_ONE, CRLF_ONE], [CRLF_ONE, CRLF_ONE]) == [Claim(1, certain=True), Claim(2, certain=True)]
    assert matched([CRLF_ONE, CRLF_ONE], [CRLF_ONE]) == [Claim(1, certain=True), Claim()]
    assert matched([CRLF_ONE], [CRLF_ONE, CRLF_ONE]) == [Claim(1, certain=True)]


def test_a_twin_that_was_rewritten_is_found_beside_one_that_was_not() -> None:
    assert found([LF_ONE, LF_ONE], [CRLF_ONE, LF_ONE]) == [LF_ONE, CRLF_ONE]
    assert found([LF_ONE, LF_ONE], [CRLF_ONE]) == [CRLF_ONE, None]


def test_the_exact_octets_come_before_the_rewriting() -> None:
    for wanted in ([LF_ONE, CRLF_ONE], [CRLF_ONE, LF_ONE]):
        assert [octets for octets in found(wanted, [CRLF_ONE]) if octets] == [CRLF_ONE]
        assert found(wanted, [CRLF_ONE])[wanted.index(LF_ONE)] is None


def test_the_rewriting_comes_before_the_likeness() -> None:
    for there in ([ADDED + CRLF_ONE, CRLF_ONE], [CRLF_ONE, ADDED + CRLF_ONE]):
        assert found([LF_ONE], there) == [CRLF_ONE]


GRUESSE, GROESSE, ALTERED = (b"Subject: Gr%bsse\r\n\r\n\xc3\xbc\r\n" % o for o in (b"\xc3\xbc", b"\xc3\xb6", b"XX"))


def test_a_message_whose_8_bit_header_was_altered_is_found() -> None:
    assert found([GRUESSE], [CRLF_ONE, ALTERED]) == [ALTERED]
    assert found([GRUESSE, GRUESSE], [ALTERED]) == [ALTERED, None]
    assert found([GRUESSE.replace(b"\r\n", b"\n")], [ALTERED]) == [ALTERED]


def test_the_exact_octets_come_before_an_altered_header() -> None:
    for wanted in ([GRUESSE, ALTERED], [ALTERED, GRUESSE]):
        assert found(wanted, [ALTERED])[wanted.index(ALTERED)] == ALTERED
        assert Counter(found(wanted, [ALTERED, GRUESSE])) == Counter([ALTERED, GRUESSE])


def test_what_is_there_with_an_8_bit_header_is_no_message_without() -> None:
    """A server alters headers in one way only, and never makes two 8-bit headers of one."""
    assert found([ALTERED], [GRUESSE]) == [None]
    assert found([GRUESSE], [GROESSE]) == [None]


def test_a_likeness_alone_is_unsure() -> None:
    assert matched([CRLF_ONE], [b"Subject: other\r\n\r\n", ADDED + CRLF_ONE]) == [Claim(2, certain=False)]
    assert matched([CRLF_ONE], [b"Subject: other\r\n\r\nbody\r\n"]) == [Claim()]


def test_equal_headers_are_no_proof() -> None:
    other = CRLF_ONE.replace(b"body", b"text")
    assert matched([CRLF_ONE], [other]) == [Claim(1, certain=False)]
    assert found([CRLF_ONE, other], [other, CRLF_ONE]) == [CRLF_ONE, other]


def test_of_a_damaged_message_only_the_exact_octets_can_be_found() -> None:
    claims = Claims([Likeness(Digest(digest(CRLF_ONE))), Likeness(Digest(digest(LF_ONE)))])
    for uid, octets in enumerate((b"", b"\r\n", CRLF_ONE), 1):
        claims.offer(uid, Likeness.of(octets))
    assert claims.settle() == [Claim(3, certain=True), Claim()]


def test_nothing_wanted_and_nothing_there() -> None:
    assert matched([], [CRLF_ONE]) == [] and matched([CRLF_ONE], []) == [Claim()]
    assert Claims([]).satisfied
