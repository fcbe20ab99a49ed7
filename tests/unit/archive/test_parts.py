"""A selection in parts: every place in exactly one, each message once in each mailbox it belongs in.

Strategy: small archives of several maildrops, divided by the replay's own templates; what a part holds is what a replay
into its mailbox would select.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailmove.archive import Archive, parts
from mailmove.archive.deliveries import Deliveries, Selected
from mailmove.archive.parts import Part, divide
from mailmove.jobs.journal import Journal
from mailmove.jobs.placement import Placement, Template
from mailmove.model import Complete, Digest
from mailmove.targets import Receipt
from tests.unit.archive.delivering import TARGET
from tests.unit.archive.making import MAILDROP, Mail, commit, running, some, store

OTHER = "you@mail.example"
ME = "me@mail.example"
MINE, YOURS = "me@mail_example", "you@mail_example"
"""How {maildrop} names the two."""


def dated(year: int, text: str = "x", sender: str = "them@mail.example", month: str = "Mar") -> Mail:
    octets = f"Date: Tue, 12 {month} {year} 00:00:00 +0000\r\nFrom: {sender}\r\n\r\n{text}\r\n".encode()
    return Mail(f"{year}-{month}-{text}", octets)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Archive]:
    with Archive.open(root) as archive:
        archive.begin_run("replay", "", TARGET)
        yield archive


def placement(mailbox: str, sent_to: str = "") -> Placement:
    sent = Template.parse("--sent-to", sent_to) if sent_to else None
    return Placement(Template.parse("--mailbox", mailbox), sent, frozenset({ME}))


def selected(archive: Archive, part: Part, maildrops: Sequence[str] = (), *, keep: bool = False) -> list[Selected]:
    deliveries = Deliveries(archive.catalogue, TARGET, part.wanted, [part.number])
    deliveries.select(maildrops, keep_duplicates=keep)
    return list(deliveries.undelivered())


def divided(archive: Archive, place: Placement, *maildrops: str, keep: bool = False) -> dict[str, list[str]]:
    """Wanted mailbox -> the digests a replay into it would send, one for each copy."""
    found: dict[str, list[str]] = {}
    for part in divide(archive.catalogue, maildrops, place.of):
        rows = selected(archive, part, maildrops, keep=keep)
        found[part.wanted] = [row.digest for row in rows for _ in range(row.copies)]
    return found


@pytest.fixture(params=["one page", "pages of two"])
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pages of two":
        monkeypatch.setattr(parts, "PAGE", 2)


@pytest.mark.usefixtures("pages")
def test_by_year_every_message_is_in_one_part_and_with_its_like(archive_dir: Path) -> None:
    mails = [dated(year, text) for text in "abc" for year in (2003, 1999, 2011)]
    store(archive_dir, mails)
    with opened(archive_dir) as archive:
        found = divided(archive, placement("Archive/{year}"))
    assert list(found) == ["Archive/1999", "Archive/2003", "Archive/2011"]
    assert found == {
        f"Archive/{year}": [mail.digest for mail in mails if mail.unique_id.startswith(f"{year}")]
        for year in (1999, 2003, 2011)
    }


def test_by_month_and_year(archive_dir: Path) -> None:
    mails = [dated(2003, "x", month=month) for month in ("Dec", "Jan")] + [dated(2004, "x", month="Jan")]
    store(archive_dir, mails)
    with opened(archive_dir) as archive:
        found = divided(archive, placement("{year}/{month}"))
    december, january, next_january = (mail.digest for mail in mails)
    assert found == {"2003/01": [january], "2003/12": [december], "2004/01": [next_january]}


@pytest.mark.usefixtures("pages")
def test_a_message_of_two_maildrops_goes_to_the_mailbox_of_each(archive_dir: Path) -> None:
    mails = [dated(2001, text) for text in "abc"]
    mine, both, yours = (mail.digest for mail in mails)
    store(archive_dir, mails[:2])
    store(archive_dir, mails[1:], maildrop=OTHER)
    with opened(archive_dir) as archive:
        assert divided(archive, placement("{maildrop}")) == {MINE: [mine, both], YOURS: [both, yours]}
        assert divided(archive, placement("{maildrop}"), OTHER) == {YOURS: [both, yours]}
        assert divided(archive, placement("{year}")) == {"2001": [mine, both, yours]}


def test_copies_are_those_of_each_maildrop(archive_dir: Path) -> None:
    mail = dated(2001)
    store(archive_dir, [mail, Mail("again", mail.octets)])
    store(archive_dir, [mail], maildrop=OTHER)
    with opened(archive_dir) as archive:
        assert divided(archive, placement("{maildrop}"), keep=True) == {
            MINE: [mail.digest] * 2,
            YOURS: [mail.digest],
        }
        sums = []
        for part in divide(archive.catalogue, [], placement("{maildrop}").of):
            deliveries = Deliveries(archive.catalogue, TARGET, part.wanted, [part.number])
            sums.append(deliveries.select([], keep_duplicates=False))
        assert sums == [(1, 1), (1, 0)]


def test_the_year_is_that_of_the_date_it_gets_there(archive_dir: Path) -> None:
    """The earliest of the selected maildrops, for the mailbox as for the InternalDate; whatever the parts are by."""
    undated = Mail("a", b"Subject: no date\r\n\r\n")
    for year, maildrop in ((2003, MAILDROP), (2001, OTHER), (2002, "third@mail.example")):
        with running(archive_dir, maildrop, clock=lambda year=year: datetime(year, 5, 5, tzinfo=UTC)) as archive:
            commit(archive, undated)
    with opened(archive_dir) as archive:
        for maildrops, year in (((), 2001), ((MAILDROP,), 2003), ((MAILDROP, "third@mail.example"), 2002)):
            for template in ("{year}", "{maildrop}/{year}"):
                for part in divide(archive.catalogue, maildrops, placement(template).of):
                    (row,) = selected(archive, part, maildrops)
                    assert (part.wanted[-4:], row.internal_date.time.year) == (str(year), year)


def test_mail_from_oneself_goes_elsewhere_once_whatever_maildrops_have_it(archive_dir: Path) -> None:
    sent, got = dated(2001, "sent", f"Me <{ME.upper()}>"), dated(2001, "got")
    store(archive_dir, [sent, got])
    store(archive_dir, [sent], maildrop=OTHER)
    with opened(archive_dir) as archive:
        assert divided(archive, placement("{maildrop}", r"\Sent")) == {MINE: [got.digest], r"\Sent": [sent.digest]}
        assert divided(archive, placement("INBOX", "Sent/{year}")) == {
            "INBOX": [got.digest],
            "Sent/2001": [sent.digest],
        }


@pytest.mark.usefixtures("pages")
def test_what_a_query_has_chosen_is_divided_and_nothing_else(archive_dir: Path) -> None:
    mails = [dated(year, text) for text in "ab" for year in (2001, 2002, 2003)]
    store(archive_dir, mails)
    with opened(archive_dir) as archive:
        Deliveries(archive.catalogue, TARGET, "").choose([Digest(mails[0].digest), Digest(mails[4].digest)])
        assert divided(archive, placement("{year}")) == {"2001": [mails[0].digest], "2002": [mails[4].digest]}


@pytest.mark.usefixtures("pages")
def test_all_parts_together_are_the_selection(archive_dir: Path) -> None:
    mails = some(9, seed=4)
    store(archive_dir, mails, [Mail("copy", mails[0].octets)])
    with opened(archive_dir) as archive:
        whole = Deliveries(archive.catalogue, TARGET, "INBOX")
        found = [
            Deliveries(archive.catalogue, TARGET, p.wanted, [p.number]).select([], keep_duplicates=False)
            for p in divide(archive.catalogue, [], placement("{year}/{month}").of)
        ]
        assert whole.select([], keep_duplicates=False) == (9, 1)
        assert tuple(map(sum, zip(*found, strict=True))) == (9, 1) and len(found) > 1


def test_two_parts_can_be_one_mailbox(archive_dir: Path) -> None:
    """Then what belongs in both is there once."""
    mails = [dated(2001, text) for text in "abc"]
    store(archive_dir, mails[:2])
    store(archive_dir, mails[1:], maildrop=OTHER)
    with opened(archive_dir) as archive:
        numbers = [part.number for part in divide(archive.catalogue, [], placement("{maildrop}").of)]
        together = Deliveries(archive.catalogue, TARGET, "INBOX", numbers)
        assert together.select([], keep_duplicates=False) == (3, 1)
        assert [row.digest for row in together.undelivered()] == [mail.digest for mail in mails]


def test_selections_of_several_mailboxes_stand_beside_each_other(archive_dir: Path) -> None:
    """And each knows what was delivered into its own mailbox only."""
    old, new = [dated(2001, text) for text in "abc"], [dated(2002, text) for text in "de"]
    store(archive_dir, old, new)
    with opened(archive_dir) as archive:
        by_year = divide(archive.catalogue, [], placement("{year}").of)
        journals = [Journal(archive, TARGET, part.wanted) for part in by_year]
        asked = [Deliveries(archive.catalogue, TARGET, part.wanted, [part.number]) for part in by_year]
        journals[0].write([journals[0].delivered(Digest(mail.digest), Receipt(7, 1), "append") for mail in old[:2]])
        journals[1].write([journals[1].delivered(Digest(old[2].digest), Receipt(7, 1), "append")])
        assert [one.select([], keep_duplicates=False) for one in asked] == [(3, 0), (2, 0)]
        assert [one.already_delivered() for one in asked] == [2, 0]
        assert [[row.digest for row in one.undelivered()] for one in asked] == [
            [old[2].digest],
            [mail.digest for mail in new],
        ]
        asked[0].select([], keep_duplicates=False)
        assert len(list(asked[1].undelivered())) == 2


def test_suspects_are_named_where_they_go(archive_dir: Path) -> None:
    odd = Mail("odd", dated(2001).octets, Complete.NO)
    store(archive_dir, [odd, dated(2002)])
    with opened(archive_dir) as archive:
        named = []
        for part in divide(archive.catalogue, [], placement("{year}").of):
            deliveries = Deliveries(archive.catalogue, TARGET, part.wanted, [part.number])
            deliveries.select([], keep_duplicates=False)
            named.append(list(deliveries.suspects()))
    assert named == [[odd.digest], []]


def test_a_part_knows_what_is_its_own(archive_dir: Path) -> None:
    old, new = dated(2001), dated(2002)
    store(archive_dir, [old, new])
    with opened(archive_dir) as archive:
        for part, own in zip(divide(archive.catalogue, [], placement("{year}").of), (old, new), strict=True):
            deliveries = Deliveries(archive.catalogue, TARGET, part.wanted, [part.number])
            assert [deliveries.selects(Digest(mail.digest), []) for mail in (old, new)] == [own is old, own is new]


def test_an_empty_archive_has_no_parts(archive_dir: Path) -> None:
    store(archive_dir)
    with opened(archive_dir) as archive:
        assert divide(archive.catalogue, [], placement("{year}").of) == []


def test_a_replay_into_one_mailbox_makes_no_parts(archive_dir: Path) -> None:
    store(archive_dir, [dated(2001)])
    with opened(archive_dir) as archive:
        Deliveries(archive.catalogue, TARGET, "INBOX").select([], keep_duplicates=False)
        tables = archive.catalogue.connection.execute("SELECT name FROM sqlite_temp_master WHERE type = 'table'")
        assert [name for (name,) in tables] == ["selection"]


def test_a_part_costs_what_is_in_it_not_what_is_in_the_archive(archive_dir: Path) -> None:
    store(archive_dir, [dated(2001), dated(2002)])
    with opened(archive_dir) as archive:
        _, part = divide(archive.catalogue, [MAILDROP], placement("{year}").of)
        deliveries = Deliveries(archive.catalogue, TARGET, part.wanted, [part.number])
        asked: list[str] = []
        connection = archive.catalogue.connection
        connection.set_trace_callback(asked.append)
        deliveries.select([MAILDROP], keep_duplicates=False)
        deliveries.selects(Digest(dated(2001).digest), [MAILDROP])
        connection.set_trace_callback(None)
        plans = [
            row[3]
            for one in asked
            if one.startswith(("SELECT", "INSERT"))
            for row in connection.execute(f"EXPLAIN QUERY PLAN {one}")
        ]
    assert [step for step in plans if "places" in step or step.startswith(("SCAN e", "SEARCH e"))]
    assert not [step for step in plans if step.startswith("SCAN") and ("places" in step or " e" in step)]
