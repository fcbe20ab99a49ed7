"""Messages known again without their unique ids: when it is tried, and when it is believed (design.md section 6.7).

Strategy: a source that answers TOP from a table, and a real archive; what counts is what is taken for known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.archive.listings import Listings
from mailmove.jobs.identify import all_changed, identify
from mailmove.model import MaildropEntry, MessageNumber, UniqueId
from tests.support import archives
from tests.support.replaying import MAILDROP, fill

LETTER = b"Message-ID: <%d@example.org>\r\nSubject: x\r\n\r\nbody of %d\r\n"


def letter(number: int) -> bytes:
    return LETTER % (number, number)


class Heads:
    """A source that only answers TOP; None is a refusal."""

    def __init__(self, heads: Mapping[int, bytes | None]) -> None:
        self._heads = heads
        self.asked: list[int] = []

    def heads(self, entries: Sequence[MaildropEntry]) -> Iterator[tuple[MaildropEntry, bytes | None]]:
        for entry in entries:
            self.asked.append(entry.number)
            yield entry, self._heads[entry.number]


def entry(number: int, unique_id: str, octets: int) -> MaildropEntry:
    return MaildropEntry(MessageNumber(number), UniqueId(unique_id), octets)


def identified(root: Path, source: Heads, listing: Sequence[MaildropEntry]) -> dict[int, str]:
    with Archive.open(root) as archive:
        listings = Listings(archive.catalogue, MAILDROP, listing)
        ids = {one.unique_id for one in listing if one.unique_id}
        return {one.entry.number: one.digest for one in identify(source, listings, listing, ids)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "still", "listed", "changed"),
    [
        (20, 1, 20, True),
        (20, 2, 20, False),
        (19, 0, 19, False),
        (100, 9, 50, True),
        (100, 9, 49, False),
        (100, 0, 1000, True),
        (0, 0, 0, False),
    ],
)
def test_when_all_ids_count_as_changed(before: int, still: int, listed: int, changed: bool) -> None:
    assert all_changed(before, still, listed) is changed


def test_one_place_and_one_entry_with_this_header_and_size_are_the_same(tmp_path: Path) -> None:
    root, octets = fill(tmp_path / "a.mailmove", [letter(1), letter(2)]), len(letter(1))
    listing = [entry(1, "new-1", octets), entry(2, "new-2", octets)]
    source = Heads({1: letter(2).partition(b"body")[0], 2: letter(1).partition(b"body")[0]})
    assert identified(root, source, listing) == {1: archives.digest(letter(2)), 2: archives.digest(letter(1))}


def test_another_size_is_another_message(tmp_path: Path) -> None:
    root, octets = fill(tmp_path / "a.mailmove", [letter(1)]), len(letter(1))
    assert identified(root, Heads({1: letter(1)}), [entry(1, "new", octets + 1)]) == {}


def test_two_entries_with_one_header_are_fetched(tmp_path: Path) -> None:
    root, octets = fill(tmp_path / "a.mailmove", [letter(1)]), len(letter(1))
    listing = [entry(1, "new-1", octets), entry(2, "new-2", octets)]
    assert identified(root, Heads({1: letter(1), 2: letter(1)}), listing) == {}


def test_two_places_with_one_header_are_fetched(tmp_path: Path) -> None:
    twin = letter(1).replace(b"body of", b"text of")
    root, octets = fill(tmp_path / "a.mailmove", [letter(1), twin]), len(letter(1))
    assert identified(root, Heads({1: letter(1)}), [entry(1, "new", octets)]) == {}


def test_a_place_whose_old_id_is_still_listed_is_another_message(tmp_path: Path) -> None:
    root, octets = fill(tmp_path / "a.mailmove", [letter(1)]), len(letter(1))
    listing = [entry(1, "new", octets), entry(2, "id-1", octets)]
    assert identified(root, Heads({1: letter(1), 2: letter(9)}), listing) == {}


def test_where_top_is_refused_nothing_more_is_asked(tmp_path: Path) -> None:
    root, octets = fill(tmp_path / "a.mailmove", [letter(1), letter(2)]), len(letter(1))
    source = Heads({1: None, 2: letter(2)})
    assert identified(root, source, [entry(1, "", octets), entry(2, "", octets)]) == {}
    assert source.asked == [1]


class OutOfStep(Heads):
    """From the third answer on it is behind by one: the answer before last comes again."""

    def heads(self, entries: Sequence[MaildropEntry]) -> Iterator[tuple[MaildropEntry, bytes | None]]:
        for entry, _ in super().heads(entries):
            number = self.asked[-1] if len(self.asked) < 3 else self.asked[-2]
            yield entry, self._heads[number]


def test_answers_that_are_out_of_step_are_not_believed(tmp_path: Path) -> None:
    """The last one asked for is new: the answer that belongs to another would make it an archived one."""
    letters = [letter(n) for n in range(1, 5)]
    root, octets = fill(tmp_path / "a.mailmove", letters), len(letters[0])
    listing = [entry(n, f"new-{n}", octets) for n in range(1, 6)]
    heads = {n: letter(n) for n in range(1, 6)}
    assert identified(root, Heads(heads), listing).keys() == {1, 2, 3, 4}
    assert identified(root, OutOfStep(heads), listing) == {}


def test_a_server_that_sends_the_whole_message_for_top(tmp_path: Path) -> None:
    root, octets = fill(tmp_path / "a.mailmove", [letter(1)]), len(letter(1))
    assert identified(root, Heads({1: letter(1)}), [entry(1, "", octets)]) == {1: archives.digest(letter(1))}
