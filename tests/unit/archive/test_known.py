"""Known? Only by maildrop, unique id and listed octets, as often as listed; the rest is fetched and decided by digest.

Strategy: runs store messages that share an id, octets or a Message-ID with others, and each test reads off what was
filed, what the log says, and what the next pull would fetch.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmove.archive import Archive, Received
from mailmove.archive.listings import Listings
from mailmove.model import Complete, MaildropEntry
from tests.support import archives
from tests.unit.archive.making import (
    MAILDROP,
    Mail,
    alter,
    assert_sound,
    commit,
    kinds,
    pull,
    receive,
    running,
    some,
    store,
    summary,
    unknown,
)

A, B, C = some(3)


def with_id(message_id: str, body: str) -> bytes:
    return f"Message-ID: <{message_id}>\r\nSubject: x\r\n\r\n{body}\r\n".encode()


def known(archive: Archive, entry: MaildropEntry) -> int:
    """How many sound places a listing of this one entry finds."""
    return Listings(archive.catalogue, MAILDROP, [entry]).known().get((entry.unique_id, entry.octets), 0)


def message_kinds(root: Path) -> list[str]:
    return [kind for kind in kinds(root) if kind != "run"]


# ---- what is known


def test_a_recorded_message_is_known_by_id_and_listed_octets(archive_dir: Path) -> None:
    store(archive_dir, [A])
    longer = Mail(A.unique_id, A.octets + b"more\r\n")
    renamed = replace(A, unique_id="renamed")
    assert unknown(archive_dir, A, B) == [B.unique_id]
    assert unknown(archive_dir, longer) == [A.unique_id] and unknown(archive_dir, renamed) == ["renamed"]


def test_an_id_means_something_in_its_maildrop_only(archive_dir: Path) -> None:
    store(archive_dir, [A])
    assert unknown(archive_dir, A, maildrop="you@mail.example") == [A.unique_id]
    assert unknown(archive_dir, A, maildrop=MAILDROP.upper()) == [A.unique_id]


def test_what_was_listed_is_recorded_so_that_it_is_fetched_once(archive_dir: Path) -> None:
    """The size of the file may be another: a server may count line ends differently."""
    with running(archive_dir) as archive:
        received = receive(archive, A)
        archive.commit([replace(received, entry=A.entry._replace(octets=7))])
        assert known(archive, A.entry._replace(octets=7)) == 1
        assert known(archive, A.entry) == 0


def test_an_entry_without_a_unique_id_is_never_known_and_never_counted_twice(archive_dir: Path) -> None:
    nameless = replace(A, unique_id="")
    for _ in range(3):
        assert pull(archive_dir, nameless) == [""]
    assert summary(archive_dir).maildrops[0]["places"] == 1
    assert message_kinds(archive_dir) == ["add", "place", "place"]


def test_a_message_that_is_damaged_is_not_known(archive_dir: Path) -> None:
    store(archive_dir, [A, B], [replace(A, unique_id="twin")])
    alter(A.file(archive_dir))
    (archive_dir / "archive.db").unlink()
    assert unknown(archive_dir, A, B, replace(A, unique_id="twin")) == [A.unique_id, "twin"]


def test_an_entry_without_a_unique_id_is_one_place_in_a_run_of_many_sessions_too(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        for _ in range(4):
            archive.begin_session()
            commit(archive, replace(A, unique_id=""))
    assert summary(archive_dir).maildrops[0]["places"] == 1


# ---- an id listed more than once


@pytest.mark.parametrize("same_group", [True, False])
def test_an_id_listed_n_times_is_known_when_n_places_are_recorded(archive_dir: Path, same_group: bool) -> None:
    twice = [A, replace(B, unique_id=A.unique_id, octets=B.octets[: len(A.octets)].ljust(len(A.octets)))]
    store(archive_dir, *([twice] if same_group else [[mail] for mail in twice]))
    assert unknown(archive_dir, A) == unknown(archive_dir, A, A) == []
    assert unknown(archive_dir, A, A, A) == [A.unique_id] * 3


def test_one_message_listed_twice_with_one_id_has_two_places(archive_dir: Path) -> None:
    store(archive_dir, [A, A])
    assert unknown(archive_dir, A, A) == [] and unknown(archive_dir, A, A, A) == [A.unique_id] * 3
    assert archives.places(archive_dir) == [(A.unique_id, A.digest)] * 2
    assert summary(archive_dir).maildrops[0]["places"] == 2


def test_one_of_two_like_entries_stored_before_a_break_does_not_count_twice(archive_dir: Path) -> None:
    """Both are fetched again, since it cannot be told which was stored; only one of them is new."""
    store(archive_dir, [A])
    assert pull(archive_dir, A, A) == [A.unique_id] * 2
    assert summary(archive_dir).maildrops[0]["places"] == 2
    assert pull(archive_dir, A, A) == []


def test_one_of_two_like_entries_stored_before_a_break_in_the_same_run(archive_dir: Path) -> None:
    with running(archive_dir) as archive:
        commit(archive, A)
        archive.begin_session()
        commit(archive, A)
        commit(archive, A)
        assert known(archive, A.entry) == 2


LISTED = st.builds(Mail, st.sampled_from("ab"), st.sampled_from([b"1\r\n", b"2\r\n"]))


@settings(max_examples=30, deadline=None)
@given(st.lists(LISTED, max_size=6), st.lists(st.integers(0, 4), max_size=3))
def test_a_listing_cut_off_anywhere_comes_in_once_and_is_known(listing: list[Mail], cuts: list[int]) -> None:
    """However ids and octets coincide: each entry has one place, and the next pull has nothing to do."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        root = Path(folder) / "a"
        for cut in cuts:
            pull(root, *listing, limit=cut)
        pull(root, *listing)
        counted = archives.rows(root, "SELECT unique_id, digest FROM places WHERE counted")
        assert Counter(counted) == Counter((mail.unique_id, mail.digest) for mail in listing)
        assert pull(root, *listing) == []


# ---- decided by digest


@pytest.mark.parametrize("same_group", [True, False])
def test_the_same_octets_at_a_second_id_are_a_place_and_not_new(archive_dir: Path, same_group: bool) -> None:
    both = [A, replace(A, unique_id="second")]
    filed = store(archive_dir, *([both] if same_group else [[mail] for mail in both]))
    assert [one.new for one in filed] == [True, False] and not any(one.version for one in filed)
    assert message_kinds(archive_dir) == ["add", "place"]
    assert archives.places(archive_dir) == [(A.unique_id, A.digest), ("second", A.digest)]
    assert unknown(archive_dir, *both) == []
    assert_sound(archive_dir, A)


def test_the_same_octets_in_a_second_maildrop_are_a_place(archive_dir: Path) -> None:
    store(archive_dir, [A])
    (filed,) = store(archive_dir, [A], maildrop="you@mail.example")
    assert not filed.new and message_kinds(archive_dir) == ["add", "place"]
    found = summary(archive_dir)
    assert found.messages == 1 and [row["places"] for row in found.maildrops] == [1, 1]


@pytest.mark.parametrize("same_group", [True, False])
def test_the_same_message_id_with_other_octets_is_kept_as_a_version(archive_dir: Path, same_group: bool) -> None:
    mails = [Mail(str(n), with_id(message_id, str(n))) for n, message_id in enumerate(("x@y", "x@y", "z@y"))]
    filed = store(archive_dir, *([mails] if same_group else [[mail] for mail in mails]))
    assert [one.version for one in filed] == [False, True, False] and all(one.new for one in filed)
    assert_sound(archive_dir, *mails)


def test_messages_without_a_message_id_are_no_versions_of_each_other(archive_dir: Path) -> None:
    mails = [Mail(str(n), b"Subject: x\r\n\r\n%d\r\n" % n) for n in range(3)]
    assert not any(one.version for one in store(archive_dir, mails[:2], mails[2:]))


def test_the_very_same_octets_are_no_version(archive_dir: Path) -> None:
    mail = Mail("1", with_id("x@y", "1"))
    assert not any(one.version for one in store(archive_dir, [mail, replace(mail, unique_id="2")], [mail]))


def test_a_healed_message_is_new_and_its_places_are_what_they_were(archive_dir: Path) -> None:
    store(archive_dir, [A])
    alter(A.file(archive_dir))
    (archive_dir / "archive.db").unlink()
    (filed,) = store(archive_dir, [A])
    assert filed.new and summary(archive_dir).messages == summary(archive_dir).maildrops[0]["places"] == 1


# ---- suspects


def test_a_suspect_is_known_and_named_until_a_whole_copy_comes(archive_dir: Path) -> None:
    store(archive_dir, [replace(A, complete=Complete.NO)])
    assert unknown(archive_dir, A) == []
    assert [row["digest"] for row in summary(archive_dir).suspects] == [A.digest]
    with running(archive_dir) as archive:
        archive.commit([Received(A.entry, receive(archive, B).draft, Complete.YES, again=True)])
    assert summary(archive_dir).suspects == [] and summary(archive_dir).maildrops[0]["suspects"] == 0
    assert_sound(archive_dir, A, B)
