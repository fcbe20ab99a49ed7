"""`mailmove pull --delete-after` against a real Dovecot: only what is proven goes, and only when QUIT is confirmed.

Strategy: what the server still holds is read by the referee, so that "deleted" means deleted there. The age of a
message is made by setting the times in the log back and rebuilding archive.db from it: the log is what decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, PASSWORD_NAME, Result, finish, kill, mailmove, start_mailmove
from tests.support.client import HOST, fetch_all
from tests.support.proxy import Proxy, reset
from tests.support.replaying import at_target

SMALL_MESSAGES_ONLY = """
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1000K
  quota_max_mail_size = 20K
}
"""
TIME = re.compile(r'"time":"([^"]+)"')


@pytest.fixture(scope="module")
def server(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False) as plain:
        yield plain


def words(port: int, user: str, archive: Path, *more: object) -> tuple[object, ...]:
    source = f"pop3://{user}@{HOST}:{port}"
    return ("pull", source, "-a", archive, "--maildrop", user, "--allow-plaintext", "--json", *PASSWORD_FROM_ENV, *more)


def pull(server: Dovecot, user: str, archive: Path, *more: object, port: int | None = None) -> Result:
    return mailmove(*words(port or server.ports["pop3"], user, archive, *more))


def left(server: Dovecot, user: str) -> list[bytes]:
    return list(fetch_all(server.ports["pop3"], user).values())


def older(archive: Path, days: float) -> None:
    """Everything in the archive happened so many days earlier."""
    for path in (archive / "log").glob("*.jsonl"):
        path.write_text(TIME.sub(lambda found: f'"time":"{_back(found[1], days)}"', path.read_text()))
    for path in archive.glob("archive.db*"):
        path.unlink()


def _back(time: str, days: float) -> str:
    moment = datetime.fromisoformat(time) - timedelta(days=days)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def deletions(archive: Path, event: str) -> list[list[object]]:
    found = (record for record in archives.records(archive) if record["t"] == "delete" and record["event"] == event)
    return [place for record in found for place in record["places"]]


def test_without_the_option_nothing_is_deleted(server: Dovecot, user: str, archive_dir: Path) -> None:
    server.seed(user, mails.varied(6, seed=71))
    assert pull(server, user, archive_dir).json()["deleted"] == 0
    older(archive_dir, 1000)
    assert pull(server, user, archive_dir).json()["deleted"] == 0
    assert len(left(server, user)) == 6


def test_age_counts_from_when_it_was_stored(server: Dovecot, user: str, archive_dir: Path) -> None:
    old, new = mails.varied(3, seed=72), mails.varied(6, seed=73)
    server.seed(user, old)
    assert pull(server, user, archive_dir, "--delete-after", 90).json()["deleted"] == 0
    older(archive_dir, 91)
    server.seed(user, new)
    result = pull(server, user, archive_dir, "--delete-after", 90)
    assert result.code == 0, result
    assert (result.json()["deleted"], result.json()["stored"]) == (3, 6)
    assert left(server, user) == list(fetch_all(server.ports["pop3"], user).values())
    assert len(left(server, user)) == 6
    assert len(deletions(archive_dir, "asked")) == len(deletions(archive_dir, "confirmed")) == 3


def test_zero_days_means_once_it_is_proven(server: Dovecot, user: str, archive_dir: Path) -> None:
    server.seed(user, mails.varied(20, seed=74))
    expected = fetch_all(server.ports["pop3"], user)
    result = pull(server, user, archive_dir, "--delete-after", 0, "--allow-mass-delete")
    assert result.code == 0, result
    assert (result.json()["stored"] + result.json()["duplicate_content"], result.json()["deleted"]) == (20, 20)
    assert left(server, user) == []
    archives.assert_exactly(archive_dir, expected)
    assert pull(server, user, archive_dir, "--delete-after", 0).code == 0


def test_the_first_deleting_run_does_not_empty_a_mailbox_unasked(server: Dovecot, user: str, archive_dir: Path) -> None:
    server.seed(user, mails.varied(10, seed=75))
    for _ in range(2):
        held = pull(server, user, archive_dir, "--delete-after", 0)
        assert held.code == 3, held
        (exception,) = [one for one in held.json()["exceptions"] if one["kind"] == "mass-delete"]
        assert exception["count"] == 10 and "--allow-mass-delete" in exception["reason"]
    assert len(left(server, user)) == 10
    assert pull(server, user, archive_dir, "--delete-after", 0, "--allow-mass-delete").json()["deleted"] == 10
    server.seed(user, mails.varied(4, seed=76))
    assert pull(server, user, archive_dir, "--delete-after", 0).json()["deleted"] == 4


def test_a_dry_run_shows_what_would_go(server: Dovecot, user: str, archive_dir: Path) -> None:
    server.seed(user, mails.varied(5, seed=77))
    assert pull(server, user, archive_dir).code == 0
    older(archive_dir, 10)
    pull(server, user, archive_dir)
    result = pull(server, user, archive_dir, "--delete-after", 9, "--dry-run")
    assert (result.code, result.json()["would_delete"]) == (0, 5), result
    assert pull(server, user, archive_dir, "--delete-after", 11, "--dry-run").json()["would_delete"] == 0
    assert len(left(server, user)) == 5


def _alter(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"x" + path.read_bytes()[1:])


@pytest.mark.parametrize("damage", [Path.unlink, _alter], ids=["missing", "altered"])
def test_what_cannot_be_proven_is_not_deleted(
    server: Dovecot, user: str, archive_dir: Path, damage: Callable[[Path], None]
) -> None:
    server.seed(user, mails.varied(6, seed=78))
    assert pull(server, user, archive_dir).code == 0
    victim = sorted((archive_dir / "mail").glob("*/*.eml"))[2]
    damage(victim)
    result = pull(server, user, archive_dir, "--delete-after", 0, "--allow-mass-delete")
    assert result.code == 3, result
    assert result.json()["deleted"] == 5
    assert [archives.digest(octets) for octets in left(server, user)] == [victim.stem]


def test_a_deleted_message_that_comes_back_under_its_old_id_is_fetched(
    server: Dovecot, user: str, archive_dir: Path
) -> None:
    """No confirmed deletion counts as known: an id that is used again names another message."""
    server.seed(user, mails.varied(2, seed=79))
    ids = fetch_all(server.ports["pop3"], user)
    assert pull(server, user, archive_dir, "--delete-after", 0, "--allow-mass-delete").json()["deleted"] == 2
    again = [record for record in archives.records(archive_dir) if record["t"] == "delete"]
    assert {place[0] for record in again for place in record["places"]} == set(ids)
    known = archives.rows(archive_dir, "SELECT count(*) FROM places WHERE deleted = 0")
    assert known == [(0,)]


@pytest.mark.parametrize("heard", [True, False], ids=["QUIT reached the server", "QUIT was lost"])
def test_a_quit_without_an_answer_is_settled_by_the_next_run(
    server: Dovecot, user: str, archive_dir: Path, heard: bool
) -> None:
    server.seed(user, mails.varied(8, seed=80))
    assert pull(server, user, archive_dir).code == 0
    with Proxy(server.ports["pop3"]) as proxy:
        cut = 5 if heard else 0
        first = pull(server, user, archive_dir, "--delete-after", 0, "--allow-mass-delete", port=_cutting(proxy, cut))
    assert first.json()["deleted"] == 0, first
    assert len(deletions(archive_dir, "asked")) == 8 and deletions(archive_dir, "confirmed") == []
    second = pull(server, user, archive_dir, "--delete-after", 0)
    assert second.code == 0, second
    assert second.json()["deleted"] == 8
    assert left(server, user) == []
    assert len(deletions(archive_dir, "confirmed")) == 8


def _cutting(proxy: Proxy, after: int) -> int:
    """Cuts the connection when QUIT has gone up (`after` = its length), or just before it."""
    proxy.on_command("QUIT", reset, passed=bool(after))
    return proxy.port


def test_migrate_deletes_only_what_is_at_the_target(needs_dovecot: None, user: str, archive_dir: Path) -> None:
    """What the target refuses stays where it is."""
    large = next(octets for octets in mails.mixed(50, seed=83) if len(octets) > 30_000)
    with Dovecot(ssl=False, extra=SMALL_MESSAGES_ONLY) as server:
        server.seed(user, [*mails.small(7, seed=81), large])
        target = f"imap://{user}.new@{HOST}:{server.ports['imap']}"
        secrets = ("--source-password-env", PASSWORD_NAME, "--target-password-env", PASSWORD_NAME)
        options = ("--allow-plaintext", "--delete-after", 0, "--allow-mass-delete", "--json")
        source = f"pop3://{user}@{HOST}:{server.ports['pop3']}"
        result = mailmove("migrate", source, target, "-a", archive_dir, *options, *secrets)
        pulled, replayed, deleted = result.json()["jobs"]
        assert result.code == 3, result
        assert (pulled["deleted"], replayed["parked"], deleted["deleted"]) == (0, 1, 7), result
        assert left(server, user) == [large]
        assert len(at_target(server, f"{user}.new")) == 7


def test_kill_in_the_middle_of_deleting(server: Dovecot, user: str, archive_dir: Path) -> None:
    server.seed(user, mails.varied(30, seed=82))
    expected = fetch_all(server.ports["pop3"], user)
    assert pull(server, user, archive_dir).code == 0
    with Proxy(server.ports["pop3"]) as proxy:
        proxy.on_command("DELE 15", lambda session: kill(process), passed=True)
        process = start_mailmove(*words(proxy.port, user, archive_dir, "--delete-after", 0, "--allow-mass-delete"))
        finish(process)
    assert len(left(server, user)) == 30
    assert pull(server, user, archive_dir, "--delete-after", 0, "--allow-mass-delete").json()["deleted"] == 30
    archives.assert_exactly(archive_dir, expected)
    assert json.loads(mailmove("verify", "-a", archive_dir, "--json").stdout)["outcome"] == "complete"
