"""What a target that merges by Message-ID would swallow: found beforehand, proven afterwards, nothing else left out.

Strategy: archives are real and small; answers of a target are written down where the question is what we make of them,
and come from the scripted Gmail where the question is whether anything is lost without a word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries, Selected
from mailmove.archive.merging_query import Versions
from mailmove.jobs.journal import Journal
from mailmove.jobs.merging import REASON, Merging, Taken, judge, left_out, share, swallowed
from mailmove.model import Digest
from mailmove.targets import Outgoing, Receipt, Target
from mailmove.targets.imap import open_imap
from mailmove.targets.imap_login import ImapEndpoint
from tests.hostile.imap_peer import ALL_MAIL, ImapPeer, ImapQuirks
from tests.support.archives import digest
from tests.support.client import HOST, PASSWORD
from tests.support.replaying import fill

TARGET = "imap://me@gmail.example"


def letter(number: int, message_id: str = "", lines: int = 1) -> bytes:
    field = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return f"{field}Subject: {number}\r\n\r\n".encode() + b"text\r\n" * lines


def of(octets: bytes) -> Digest:
    return Digest(digest(octets))


def selected(
    archive: Archive, *, keep: bool = False, maildrops: Sequence[str] = (), mailbox: str = "INBOX"
) -> list[Selected]:
    deliveries = Deliveries(archive.catalogue, TARGET, mailbox)
    deliveries.select(maildrops, keep_duplicates=keep)
    return list(deliveries.undelivered())


def going(archive: Archive, messages: Sequence[Selected], **how: object) -> dict[Digest, int]:
    """Message -> copies that may go, of all that are wanted."""
    versions = Versions(archive.catalogue, TARGET, **how)  # type: ignore[arg-type]
    return {one.digest: share(versions, one, one.copies - one.delivered)[0] for one in messages}


def with_mail(root: Path, *messages: bytes, maildrop: str = "me@old.example") -> Archive:
    return Archive.open(fill(root, messages, maildrop))


def journal(archive: Archive, mailbox: str = "INBOX") -> Journal:
    archive.begin_run("replay", "", TARGET)
    return Journal(archive, TARGET, mailbox)


# ---- which of several versions goes


def test_the_first_of_a_message_id_goes_and_the_others_are_named(archive_dir: Path) -> None:
    first, second, third = letter(1, "same"), letter(2, "same"), letter(3, "same")
    alone, none, nothing = letter(4, "else"), letter(5), letter(6)
    with with_mail(archive_dir, alone, first, none, second, nothing, third) as archive:
        messages = selected(archive)
        assert going(archive, messages) == {
            **dict.fromkeys(map(of, (alone, first, none, nothing)), 1),
            **dict.fromkeys(map(of, (second, third)), 0),
        }
        versions = Versions(archive.catalogue, TARGET)
        second_one = next(one for one in messages if one.digest == of(second))
        count, why = share(versions, second_one, 1)
    assert count == 0 and of(first) in why
    named = left_out(of(second), why)
    assert (named.kind, named.digest) == ("skipped", of(second)) and named.reason.startswith(REASON)


def test_a_message_that_is_not_selected_goes_in_nobodys_place(archive_dir: Path) -> None:
    other, mine = letter(1, "same"), letter(2, "same")
    fill(archive_dir, [other], "other@old.example")
    with with_mail(archive_dir, mine) as archive:
        assert going(archive, selected(archive, maildrops=["me@old.example"])) == {of(mine): 1}
        assert going(archive, selected(archive)) == {of(other): 1, of(mine): 0}


@pytest.mark.parametrize("mailbox", ["INBOX", "Elsewhere"])
def test_what_is_at_the_target_stays_and_an_older_version_does_not_follow(archive_dir: Path, mailbox: str) -> None:
    older, there = letter(1, "same"), letter(2, "same")
    with with_mail(archive_dir, older, there) as archive:
        log = journal(archive, mailbox)
        log.write([log.delivered(of(there), Receipt(7, 1), "append")])
        expected = {of(older): 0} if mailbox == "INBOX" else {of(older): 0, of(there): 1}
        assert going(archive, selected(archive)) == expected


def test_one_that_was_refused_or_settled_makes_room_for_the_next(archive_dir: Path) -> None:
    first, second = letter(1, "same"), letter(2, "same")
    with with_mail(archive_dir, first, second) as archive:
        log = journal(archive)
        log.write([log.parked(of(first), "header", "")])
        messages = selected(archive)
        assert going(archive, messages)[of(second)] == 1
        assert going(archive, messages, retry_parked=True)[of(second)] == 0
        log.write([log.uncertain(of(first), 1, 0) | {"was": "parked"}])
        assert going(archive, selected(archive))[of(second)] == 0, "something much like it may be there"


def test_one_that_is_too_large_for_the_target_makes_room_too(archive_dir: Path) -> None:
    large, small = letter(1, "same", lines=99), letter(2, "same")
    with with_mail(archive_dir, large, small) as archive:
        messages = selected(archive)
        assert going(archive, messages, largest=200)[of(small)] == 1
        assert going(archive, messages)[of(small)] == 0


def test_one_that_is_damaged_here_makes_room_too(archive_dir: Path) -> None:
    damaged, sound = letter(1, "same"), letter(2, "same")
    with with_mail(archive_dir, damaged, sound) as archive:
        messages = selected(archive)
        archive.catalogue.connection.execute("UPDATE messages SET damaged = 1 WHERE digest = ?", (of(damaged),))
        assert going(archive, messages)[of(sound)] == 1


def test_no_question_reads_a_whole_table(archive_dir: Path) -> None:
    """SQLite's own plan of it, since a clock would only tell with a million messages."""
    with with_mail(archive_dir, letter(1, "same"), letter(2, "same")) as archive:
        selected(archive)
        asked: list[str] = []
        archive.catalogue.connection.set_trace_callback(asked.append)
        Versions(archive.catalogue, TARGET).instead_of(of(letter(2, "same")))
        archive.catalogue.connection.set_trace_callback(None)
        (question,) = (one for one in asked if "message_id" in one)
        plan = [row[3] for row in archive.catalogue.connection.execute(f"EXPLAIN QUERY PLAN {question}")]
    assert not [step for step in plan if step.startswith("SCAN") and "CONSTANT" not in step], plan
    assert any("messages_message_id" in step for step in plan) and any("selection_digest" in step for step in plan)


def test_of_copies_of_one_message_a_target_keeps_one(archive_dir: Path) -> None:
    twin, nameless = letter(1, "same"), letter(2)
    with with_mail(archive_dir, twin, nameless, twin, nameless, nameless) as archive:
        assert going(archive, selected(archive, keep=True)) == {of(twin): 1, of(nameless): 3}
        log = journal(archive)
        log.write([log.delivered(of(twin), Receipt(7, 1), "append")])
        assert going(archive, selected(archive, keep=True))[of(twin)] == 0


@contextmanager
def of_its_own(messages: Sequence[bytes]) -> Iterator[Archive]:
    with tempfile.TemporaryDirectory() as folder, with_mail(Path(folder) / "mail.mailmove", *messages) as archive:
        yield archive


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_of_each_message_id_exactly_one_goes(ids: list[int], data: st.DataObject) -> None:
    """Whatever is at the target, or was refused by it: never two of one Message-ID, and never none without a cause."""
    states = data.draw(st.lists(st.sampled_from(["", "delivered", "parked"]), min_size=len(ids), max_size=len(ids)))
    messages = [letter(n, f"id-{one}" if one else "") for n, one in enumerate(ids)]
    with of_its_own(messages) as archive:
        log = journal(archive)
        log.write(
            [
                log.delivered(of(m), Receipt(7, n + 1), "append")
                for n, m in enumerate(messages)
                if states[n] == "delivered"
            ]
        )
        log.write([log.parked(of(m), "header", "") for n, m in enumerate(messages) if states[n] == "parked"])
        wanted = [one for one in selected(archive) if not one.parked]
        gone = going(archive, wanted)
    for identity in set(ids):
        group = [n for n, one in enumerate(ids) if one == identity]
        there = sum(states[n] == "delivered" for n in group)
        sent = sum(gone.get(of(messages[n]), 0) for n in group)
        fresh = sum(not states[n] for n in group)
        assert sent == (fresh if not identity else int(not there and bool(fresh)))


# ---- what All Mail has


def no_other_size(digest: Digest) -> frozenset[int]:
    return frozenset({100})


@pytest.mark.parametrize(
    ("there", "lost"),
    [({}, False), ({"<a>": []}, False), ({"<a>": [100]}, False), ({"<a>": [99]}, True), ({"<a>": [99, 100]}, False)],
)
def test_a_message_of_another_size_would_swallow_ours(there: Mapping[str, Sequence[int]], lost: bool) -> None:
    one = Digest("1" * 64)
    assert swallowed({one: "<a>"}, there, no_other_size) == ([one] if lost else [])


# ---- what an OK was worth


def taken(number: int, uid: int, octets: int = 100) -> Taken:
    return Taken(Digest(f"{number:064}"), octets, Receipt(7 if uid else 0, uid))


def test_an_ok_counts_if_the_message_is_there_once_and_as_large_as_ours() -> None:
    said = [
        taken(1, 11),
        taken(2, 12, 200),
        taken(3, 13),
        taken(4, 11),
        taken(5, 12),
        taken(6, 14),
        taken(7, 0),
        taken(8, 15),
    ]
    there = {11: 100, 12: 200, 13: 999, 15: 100}
    judgement = judge(said, there, lambda digest: (), lambda uid: uid == 15)
    assert judgement.proven == [said[0], said[1]]
    assert judgement.merged == [said[2], said[3], said[4], said[7]]
    assert judgement.unproven == [said[5], said[6]]


def test_of_two_with_one_uid_the_one_that_fits_was_kept() -> None:
    large, small = taken(1, 11, 200), taken(2, 11, 100)
    judgement = judge([large, small], {11: 100}, lambda digest: (), lambda uid: False)
    assert (judgement.proven, judgement.merged) == ([small], [large])


def test_other_line_ends_are_no_other_message(archive_dir: Path) -> None:
    octets = letter(1, "a").replace(b"\r\n", b"\n")
    with with_mail(archive_dir, octets) as archive:
        selected(archive)
        sizes = Merging(archive, TARGET).sizes(of(octets))
        there = len(octets) + octets.count(b"\n")
        assert there in sizes and there + 1 not in sizes


# ---- all of it, at a Gmail of ours


@dataclass
class Account:
    """A Gmail, and what was said to be there: octets -> how it ended."""

    peer: ImapPeer
    target: Target
    ended: dict[bytes, str] = field(default_factory=dict)

    def send(self, archive: Archive, messages: Sequence[bytes]) -> None:
        """As a replay does: the plan, then window after window."""
        by_digest = {of(octets): octets for octets in messages}
        plan = selected(archive)
        merging = Merging(archive, TARGET)
        goes = [one for one in plan if merging.share(one, 1)[0]]
        self.ended |= {by_digest[one.digest]: "left out" for one in plan if one not in goes}
        uids: set[int] = set()
        for start in range(0, len(goes), 4):
            window = goes[start : start + 4]
            lost = merging.screen(self.target, window)
            self.ended |= {by_digest[digest]: "screened" for digest in lost}
            taken = [self._append(by_digest[one.digest]) for one in window if one.digest not in lost]
            judgement = merging.prove(self.target, taken, uids.__contains__)
            uids |= {one.receipt.uid for one in judgement.proven}
            for ending, group in (("there", judgement.proven), ("merged", judgement.merged), ("?", judgement.unproven)):
                self.ended |= {by_digest[one.digest]: ending for one in group}

    def _append(self, octets: bytes) -> Taken:
        receipt = self.target.append(
            Outgoing(len(octets), datetime(2001, 2, 3, tzinfo=UTC), False, lambda: iter([octets]))
        )
        return Taken(of(octets), len(octets), receipt)


@pytest.fixture
def gmail() -> Iterator[Account]:
    with ImapPeer(ImapQuirks(gmail=True)) as peer:
        target = open_imap(
            ImapEndpoint(HOST, peer.port, "me", False, allow_plaintext=True, timeout=10), PASSWORD, lambda: True
        )
        target.select("INBOX")
        yield Account(peer, target)
        target.close()


def test_nothing_is_lost_without_a_word(gmail: Account, archive_dir: Path) -> None:
    plain = [letter(n, f"plain-{n}") for n in range(6)] + [letter(n) for n in (6, 7)]
    versions = [letter(n, "versions", lines=n) for n in (20, 21, 22)]
    swallowed, same = letter(30, "swallowed", lines=3), letter(31, "same")
    unsearchable = letter(32, "b\xfcro", lines=3)
    gmail.peer.account.add(ALL_MAIL, letter(99, "swallowed"), same, letter(98, "b\xfcro"))
    messages = [*plain[:4], *versions, swallowed, *plain[4:], same, unsearchable]
    with with_mail(archive_dir, *messages) as archive:
        gmail.send(archive, messages)
    there = [octets for octets, ending in gmail.ended.items() if ending == "there"]
    assert sorted(there) == sorted([*plain, versions[0], same])
    assert {gmail.ended[one] for one in versions[1:]} == {"left out"}
    assert gmail.ended[swallowed] == "screened" and gmail.ended[unsearchable] == "merged"
    stored = gmail.peer.account["INBOX"].stored
    assert sorted(one for one in stored if one in messages) == sorted(there)
    assert set(gmail.ended) == set(messages)


def test_a_window_costs_a_few_commands_whatever_is_in_it(gmail: Account, archive_dir: Path) -> None:
    messages = [letter(n, f"id-{n}") for n in range(8)]
    with with_mail(archive_dir, *messages) as archive:
        gmail.send(archive, messages)
    others = [verb for verb in gmail.peer.verbs if verb != "APPEND"]
    assert others.count("UID SEARCH") == others.count("EXAMINE") == 2
    assert len(others) < 24 and set(gmail.ended.values()) == {"there"}
