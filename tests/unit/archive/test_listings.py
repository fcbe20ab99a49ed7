"""What an archive remembers of listings and deletions: in the log, so that a rebuild knows it too.

Strategy: the records are written as a pull writes them; asked are `Listings` and `known`, and after each story the
catalogue is thrown away and must come out equal.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailmove.archive import Archive
from mailmove.archive.listings import Listings
from mailmove.model import Complete
from tests.unit.archive.making import (
    MAILDROP,
    Mail,
    assert_rebuilds,
    commit,
    findings,
    pull,
    running,
    some,
    store,
    unknown,
)

MAILS = some(5, seed=7)


def listings(archive: Archive, *mails: Mail) -> Listings:
    return Listings(archive.catalogue, MAILDROP, [mail.entry for mail in mails])


def gone(archive: Archive, *mails: Mail, back: bool | None = None) -> None:
    ids = [[mail.unique_id, len(mail.octets)] for mail in mails]
    archive.append(archive.event("gone", maildrop=MAILDROP, back=back, ids=ids))


def delete(archive: Archive, event: str, *mails: Mail) -> None:
    places = [[mail.unique_id, len(mail.octets), mail.digest] for mail in mails]
    days = {"delete_after": 30.0} if event == "asked" else {}
    archive.append(archive.event("delete", event=event, maildrop=MAILDROP, **days, places=places))


def test_what_the_last_listing_had(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with running(archive_dir) as archive:
        now = listings(archive, *MAILS[:2], *some(3, seed=8))
        assert (now.before, now.still_listed()) == (5, 2)
        assert {unique_id for unique_id, _ in now.absent()} == {mail.unique_id for mail in MAILS[2:]}
        gone(archive, *MAILS[2:])
        later = listings(archive, *MAILS[1:4])
        assert (later.before, later.still_listed()) == (2, 1)
        assert {unique_id for unique_id, _ in later.back()} == {mail.unique_id for mail in MAILS[2:4]}
        gone(archive, *MAILS[2:4], back=True)
        assert listings(archive).before == 4
    assert unknown(archive_dir, *MAILS) == []
    assert findings(archive_dir) == set()
    assert_rebuilds(archive_dir)


def test_only_a_confirmed_deletion_makes_a_message_unknown(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with running(archive_dir) as archive:
        delete(archive, "asked", *MAILS[:3])
        assert {digest for _, digest in listings(archive).asked()} == {mail.digest for mail in MAILS[:3]}
        assert set(listings(archive, *MAILS).known().values()) == {1}
        delete(archive, "confirmed", *MAILS[:2])
        delete(archive, "withdrawn", MAILS[2])
        assert listings(archive).asked() == [] and listings(archive).before == 3
    assert unknown(archive_dir, *MAILS) == [mail.unique_id for mail in MAILS[:2]]
    assert findings(archive_dir) == set()
    assert_rebuilds(archive_dir)


def test_an_id_used_again_after_a_deletion_is_known_again_once_it_came_in(archive_dir: Path) -> None:
    store(archive_dir, MAILS[:1])
    with running(archive_dir) as archive:
        delete(archive, "asked", MAILS[0])
        delete(archive, "confirmed", MAILS[0])
    assert pull(archive_dir, MAILS[0]) == [MAILS[0].unique_id]
    assert pull(archive_dir, MAILS[0]) == []
    assert_rebuilds(archive_dir)


def test_the_policy_is_remembered(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with running(archive_dir) as archive:
        assert not listings(archive).has_deleted(30.0)
        delete(archive, "asked", MAILS[0])
        assert listings(archive).has_deleted(30.0) and not listings(archive).has_deleted(0.0)
    assert_rebuilds(archive_dir)


def test_what_may_go_leaves_out_suspects_and_says_what_only_a_fingerprint_tells(archive_dir: Path) -> None:
    whole, suspect, moved = MAILS[:3]
    store(archive_dir, [whole, Mail(suspect.unique_id, suspect.octets, Complete.NO), moved])
    with running(archive_dir) as archive:
        new = Mail("new-id", moved.octets)
        archive.adopt([(new.entry, moved.digest, len(moved.octets))])  # type: ignore[list-item]
        kept = {one.unique_id: one.received for one in listings(archive, whole, suspect, new).kept()}
        assert kept == {whole.unique_id: True, "new-id": False}
        commit(archive, new)
        kept = {one.unique_id: one.received for one in listings(archive, new).kept()}
        assert kept == {"new-id": True}
    assert_rebuilds(archive_dir)


def test_a_fingerprint_finds_present_places_of_this_maildrop_and_size_only(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    store(archive_dir, MAILS, maildrop="you@mail.example")
    with running(archive_dir) as archive:
        query = "SELECT fingerprint FROM messages WHERE digest = ?"
        (fingerprint,) = archive.catalogue.connection.execute(query, (MAILS[0].digest,)).fetchone()
        found, size = listings(archive), len(MAILS[0].octets)
        assert [digest for digest, _, _ in found.with_fingerprint(fingerprint, size)] == [MAILS[0].digest]
        assert found.with_fingerprint(fingerprint, size + 1) == []
        gone(archive, MAILS[0])
        assert found.with_fingerprint(fingerprint, size) == []
    assert_rebuilds(archive_dir)


def test_advice_is_only_advice(archive_dir: Path) -> None:
    store(archive_dir, MAILS)
    with running(archive_dir) as archive:
        archive.advise(MAILDROP, window_one=True)
        archive.advise(MAILDROP, shrunken=True)
        assert archive.advice(MAILDROP).window_one and archive.advice(MAILDROP).shrunken
        assert not archive.advice("you@mail.example").window_one
    (archive_dir / "archive.db").unlink()
    with running(archive_dir) as archive:
        assert not archive.advice(MAILDROP).window_one


def test_that_a_server_lied_is_forgotten_after_a_month(archive_dir: Path) -> None:
    lied = datetime(2026, 1, 1, tzinfo=UTC)

    def later(days: int) -> datetime:
        return lied + timedelta(days=days)

    with running(archive_dir, clock=lambda: lied) as archive:
        archive.advise(MAILDROP, window_one=True)
        assert archive.advice(MAILDROP).window_one
    with running(archive_dir, clock=lambda: later(29)) as archive:
        assert archive.advice(MAILDROP).window_one
        archive.advise(MAILDROP, shrunken=True)
    with running(archive_dir, clock=lambda: later(31)) as archive:
        assert not archive.advice(MAILDROP).window_one and archive.advice(MAILDROP).shrunken
