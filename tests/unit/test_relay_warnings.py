"""What is said before mail goes to an SMTP or LMTP server: that Cyrus drops what it has had, and of others nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries
from mailmove.archive.merging_query import sharing
from mailmove.jobs.journal import Journal
from mailmove.jobs.relay_warnings import relay_warnings
from mailmove.model import Digest
from mailmove.targets import Receipt, RelayTraits
from tests.support.archives import digest
from tests.support.replaying import fill

TARGET, RECIPIENT = "lmtp://mx.example", "me@new.example"
CYRUS = "vm Cyrus LMTP 3.6.1-Debian-3.6.1-4+deb12u5 server ready"


def test_of_cyrus_it_says_what_is_dropped_how_to_end_that_and_how_many_it_may_be() -> None:
    (alone,) = relay_warnings(RelayTraits(lmtp=True, greeting=CYRUS))
    assert "duplicatesuppression" in alone and "says 250" in alone and "selected" not in alone
    (told,) = relay_warnings(RelayTraits(lmtp=True, greeting=CYRUS), 1_234)
    assert told.startswith(alone) and "1,234 of the selected messages share both" in told


@pytest.mark.parametrize(
    "traits",
    [
        RelayTraits(lmtp=True, greeting="vm Dovecot ready."),
        RelayTraits(lmtp=False, greeting="cyrus.example ESMTP Postfix"),
        RelayTraits(lmtp=True, greeting="cyrus.example LMTP server ready"),
    ],
    ids=lambda traits: traits.greeting,
)
def test_of_others_it_says_nothing(traits: RelayTraits) -> None:
    assert relay_warnings(traits, 7) == []


def letter(subject: str, message_id: str = "", day: int = 1) -> bytes:
    field = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return f"{field}Date: {day:02} Jan 2020 00:00:00 +0000\r\nSubject: {subject}\r\n\r\n.\r\n".encode()


PAIR = [letter("a", "1@x"), letter("b", "1@x")]
OTHERS = [letter("c", "2@x"), letter("d", "2@x", day=2), letter("e"), letter("f"), letter("g", "3@x")]


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [(PAIR, 2), (OTHERS, 0), (PAIR + OTHERS, 2), ([*PAIR, letter("c", "1@x"), *OTHERS], 3), ([], 0)],
    ids=["a pair", "none", "a pair among others", "three", "nothing"],
)
def test_messages_with_the_same_message_id_and_date_are_counted(
    archive_dir: Path, messages: list[bytes], wanted: int
) -> None:
    fill(archive_dir, messages)
    with Archive.open(archive_dir) as archive:
        assert sharing_in(archive) == wanted


def test_they_are_counted_as_long_as_one_of_them_is_to_be_sent(archive_dir: Path) -> None:
    fill(archive_dir, PAIR + OTHERS)
    with Archive.open(archive_dir) as archive:
        archive.begin_run("replay", "", TARGET)
        journal, counted = Journal(archive, TARGET, RECIPIENT), []
        for octets in PAIR:
            counted.append(sharing_in(archive))
            journal.write([journal.delivered(Digest(digest(octets)), Receipt(), "append")])
        assert [*counted, sharing_in(archive)] == [2, 2, 0]


def sharing_in(archive: Archive) -> int:
    Deliveries(archive.catalogue, TARGET, RECIPIENT).select([], keep_duplicates=False)
    return sharing(archive.catalogue)
