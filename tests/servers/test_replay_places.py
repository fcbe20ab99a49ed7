"""`mailmove replay` into several mailboxes of a real Dovecot: each message where it belongs, once.

Strategy: the server has a prefix, dots between levels, and special uses, so that nothing is where its name alone would
put it. Messages are told apart by what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.test_places import KINDS
from tests.support import archives
from tests.support.cli import Result
from tests.support.imap_referee import Referee
from tests.support.line import Line
from tests.support.replaying import MAILDROP, assert_adds_up, fill, plain_replay

OTHER = "you@old.example"
OLD = ("--mailbox", "Archive/{year}", "--own-address", "me@old.example", "--sent-to", r"\Archive")


def letter(year: int, number: int = 0, sender: str = "them@x.example") -> bytes:
    head = f"Date: Tue, 12 Mar {year} 00:00:00 +0000\r\nFrom: {sender}\r\nMessage-ID: <{year}.{number}@x.example>\r\n"
    return head.encode() + b"\r\nbody\r\n" * (number % 50 + 1)


@pytest.fixture(scope="module")
def server(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False, extra=KINDS["dots behind INBOX"][0]) as server:
        yield server


def replay(server: Dovecot, user: str, archive: Path, *more: object, port: int = 0) -> Result:
    return plain_replay(port or server.ports["imap"], user, archive, *more)


def there(server: Dovecot, user: str) -> dict[str, list[bytes]]:
    """Mailbox -> what is in it; empty ones are left out."""
    with Referee(server.ports["imap"], user) as referee:
        found = {name: [one.octets for one in referee.stored(f'"{name}"')] for name in referee.selectable()}
    return {name: sorted(octets) for name, octets in found.items() if octets}


def test_by_year_and_what_is_from_oneself_elsewhere(server: Dovecot, user: str, archive_dir: Path) -> None:
    got = [letter(year, number) for number in range(3) for year in (1999, 2005)]
    sent = [letter(2005, 7, "Me <ME@old.example>"), letter(1999, 8, "me@old.example")]
    fill(archive_dir, [*got, *sent])
    first = replay(server, user, archive_dir, *OLD)
    assert first.code == 0, first
    assert (first.json()["selected"], first.json()["delivered"]) == (8, 8)
    assert_adds_up(first.json())
    wanted = {
        "INBOX.Archive.1999": sorted(got[::2]),
        "INBOX.Archive.2005": sorted(got[1::2]),
        "INBOX.Ablage": sorted(sent),
    }
    assert there(server, user) == wanted
    second = replay(server, user, archive_dir, *OLD)
    assert (second.code, second.json()["delivered"], second.json()["already_there"]) == (0, 0, 8), second
    assert there(server, user) == wanted


def test_each_maildrop_has_its_mailbox(server: Dovecot, user: str, archive_dir: Path) -> None:
    mine, both, yours = letter(2001, 1), letter(2001, 2), letter(2001, 3)
    fill(archive_dir, [mine, both])
    fill(archive_dir, [both, yours], OTHER)
    options = ("--mailbox", "Pulled/{maildrop}", "--all-maildrops")
    result = replay(server, user, archive_dir, *options)
    assert result.code == 0, result
    assert (result.json()["selected"], result.json()["delivered"], result.json()["duplicate_content"]) == (4, 4, 0)
    assert there(server, user) == {
        "INBOX.Pulled.me@old_example": sorted([mine, both]),
        "INBOX.Pulled.you@old_example": sorted([both, yours]),
    }


def test_what_is_new_goes_to_its_mailbox_and_a_query_chooses(server: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(1999), letter(2005)])
    result = replay(server, user, archive_dir, "--mailbox", "{year}", "--query", "before:2000-01-01")
    assert (result.code, result.json()["delivered"]) == (0, 1), result
    assert there(server, user) == {"INBOX.1999": [letter(1999)]}
    result = replay(server, user, archive_dir, "--mailbox", "{year}")
    assert (result.code, result.json()["delivered"], result.json()["already_there"]) == (0, 1, 1), result
    assert there(server, user) == {"INBOX.1999": [letter(1999)], "INBOX.2005": [letter(2005)]}


def test_a_limit_counts_over_all_mailboxes(server: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(year, number) for year in (2001, 2002) for number in range(3)])
    for expected in (4, 2):
        result = replay(server, user, archive_dir, "--mailbox", "{year}", "--limit", 4)
        assert (result.code, result.json()["delivered"]) == (0, expected), result
        assert_adds_up(result.json())
    assert [len(found) for found in there(server, user).values()] == [3, 3]


def test_a_connection_that_breaks_changes_nothing(server: Dovecot, user: str, archive_dir: Path) -> None:
    messages = [letter(year, number) for number in range(40) for year in (1999, 2005, 2011)]
    fill(archive_dir, messages)
    with Line(server.ports["imap"], cut_after=9_000, cut_up=True, cut_times=2) as line:
        result = replay(server, user, archive_dir, "--mailbox", "Archive/{year}", port=line.port)
    assert result.code == 0, result
    assert result.json()["delivered"] == 120 and result.json()["sessions"] > 1
    assert_adds_up(result.json())
    assert there(server, user) == {
        f"INBOX.Archive.{year}": sorted(messages[place::3]) for place, year in enumerate((1999, 2005, 2011))
    }


def test_the_log_names_mailboxes_as_the_server_does(server: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(1999), letter(2005)])
    assert replay(server, user, archive_dir, "--mailbox", r"\Archive/{year}").code == 0
    named = {record["mailbox"] for record in archives.records(archive_dir) if record["t"] in ("intend", "deliver")}
    assert named == {"INBOX.Ablage.1999", "INBOX.Ablage.2005"}


def test_a_dry_run_asks_and_makes_nothing(server: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(1999), letter(2005)])
    with Referee(server.ports["imap"], user) as referee:
        before = referee.mailboxes()
        result = replay(server, user, archive_dir, "--mailbox", r"\Junk/{year}", "--dry-run")
        assert (result.code, result.json()["pending"]) == (0, 2), result
        assert referee.mailboxes() == before


def test_labels_need_gmail_and_nothing_is_sent_without_it(server: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(1999)])
    result = replay(server, user, archive_dir, "--label", "Old")
    assert result.code == 78 and "--label needs Gmail" in result.stderr, result
    assert there(server, user) == {}


def test_without_an_address_of_oneself_nobody_is_asked(server: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [letter(1999)], MAILDROP)
    result = replay(server, user, archive_dir, "--sent-to", r"\Sent", port=1)
    assert result.code == 2 and "--own-address ME@EXAMPLE" in result.stderr, result
