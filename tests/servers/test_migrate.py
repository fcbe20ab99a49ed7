"""`mailmove migrate` between real servers: pulled, then delivered, as one job that can be cut off anywhere.

Strategy: one Dovecot is the old mailbox by POP3 and the new one by IMAP. What the old one holds is asked of it by the
referee, and must be in the archive octet for octet, and in the new one as Dovecot keeps it, each message once. The
kills come at a random octet of either half, several at a time, for the runs after them mostly wait.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailmove.demo import DemoMessage, Pop3Server
from mailmove.model import UniqueId
from tests.hostile.peer import Letter, Peer, Quirks, refuse
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_NAME, Result, finish, kill, mailmove, start_mailmove
from tests.support.client import HOST, PASSWORD, fetch_all
from tests.support.proxy import Proxy
from tests.support.replaying import assert_adds_up, assert_delivered_once, at_target, fill, plain_replay, replay, url

PASSWORDS = ("--source-password-env", PASSWORD_NAME, "--target-password-env", PASSWORD_NAME)
KILLS, KILLS_IF_FULL, AT_ONCE = 6, 20, 6
NEW = "new."
"""Where a user moves to."""


@pytest.fixture(scope="module")
def plain_dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    """Without TLS, so that a proxy can count its octets."""
    with Dovecot(ssl=False) as server:
        yield server


def words(source_port: int, target_port: int, user: str, archive: Path, *more: object) -> tuple[object, ...]:
    """A migration from `user` by POP3 to "new.user" by IMAP, without TLS. The maildrop is the same by any port."""
    ends = (url(source_port, user, "pop3"), url(target_port, NEW + user))
    options = ("-a", archive, "--maildrop", f"{user}@old.example", "--json", "--allow-plaintext")
    return ("migrate", *ends, *options, *more, *PASSWORDS)


def migrate(server: Dovecot, user: str, archive: Path, *more: object) -> Result:
    return mailmove(*words(server.ports["pop3"], server.ports["imap"], user, archive, *more))


def assert_moved(server: Dovecot, user: str, archive: Path) -> None:
    """Everything the old mailbox holds is in the archive, and in the new one once (byte-identical copies, too)."""
    expected = fetch_all(server.ports["pop3"], user)
    archives.assert_exactly(archive, expected)
    assert_delivered_once(at_target(server, NEW + user), set(expected.values()))


def halves(result: Result) -> tuple[dict[str, int], dict[str, int]]:
    """The reports of the pull and of the replay, whose equations hold."""
    document = result.json()
    assert document["job"] == "migrate"
    pull, replayed = document["jobs"]
    assert (pull["job"], replayed["job"]) == ("pull", "replay")
    terms = ("stored", "already_archived", "duplicate_content", "skipped", "gone", "parked", "pending")
    assert pull["listed"] == sum(pull[term] for term in terms), pull
    assert_adds_up(replayed)
    return pull, replayed


# ---- One job


def test_one_command_moves_a_mailbox_and_a_second_run_does_nothing(
    dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    dovecot.seed(user, mails.varied(45, seed=71))
    source, target = url(dovecot.ports["pop3s"], user, "pop3s"), url(dovecot.ports["imaps"], NEW + user, "imaps")
    command = ("migrate", source, target, "-a", archive_dir, "--ca-file", dovecot.certificates.ca, *PASSWORDS)
    first, second = mailmove(*command, "--json"), mailmove(*command, "--json")
    assert (first.code, first.json()["outcome"]) == (second.code, second.json()["outcome"]) == (0, "complete"), first
    pull, replayed = halves(first)
    assert (pull["stored"], replayed["delivered"]) == (45, 45)
    pull, replayed = halves(second)
    assert (pull["stored"], pull["already_archived"]) == (0, 45)
    assert (replayed["delivered"], replayed["already_there"]) == (0, 45)
    assert_moved(dovecot, user, archive_dir)
    assert mailmove("verify", "-a", archive_dir).code == 0


def test_a_plain_replay_later_finds_all_there(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    dovecot.seed(user, mails.varied(5, seed=72))
    source, target = url(dovecot.ports["pop3s"], user, "pop3s"), url(dovecot.ports["imaps"], NEW + user, "imaps")
    ca = dovecot.certificates.ca
    result = mailmove("migrate", source, target, "-a", archive_dir, "--ca-file", ca, *PASSWORDS)
    assert result.code == 0, result
    assert result.stdout.count("Complete: ") == 2 and str(archive_dir) in result.stdout
    later = replay(dovecot, NEW + user, archive_dir)
    assert (later.code, later.json()["delivered"], later.json()["already_there"]) == (0, 0, 5)
    assert_moved(dovecot, user, archive_dir)


def test_quiet_says_nothing_when_all_is_well(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    plain_dovecot.seed(user, mails.varied(3, seed=73))
    command = words(plain_dovecot.ports["pop3"], plain_dovecot.ports["imap"], user, archive_dir, "-q")
    result = mailmove(*(word for word in command if word != "--json"))
    assert (result.code, result.stdout, result.stderr) == (0, "", "")


def test_only_this_maildrop_is_replayed(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    others = mails.varied(4, seed=74)
    fill(archive_dir, others, "somebody@else.example")
    plain_dovecot.seed(user, mails.varied(3, seed=75))
    pull, replayed = halves(migrate(plain_dovecot, user, archive_dir))
    assert (pull["stored"], replayed["selected"]) == (3, 3)
    expected = fetch_all(plain_dovecot.ports["pop3"], user)
    assert_delivered_once(at_target(plain_dovecot, NEW + user), expected.values())
    assert len(archives.files(archive_dir)) == 7


def test_a_dry_run_changes_nothing_anywhere(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    plain_dovecot.seed(user, mails.varied(3, seed=76))
    result = migrate(plain_dovecot, user, archive_dir, "--dry-run")
    assert result.code == 0 and result.json()["jobs"][0]["pending"] == 3, result
    assert not archive_dir.exists() and at_target(plain_dovecot, NEW + user) == []


# ---- Passwords and the archive's place


def test_each_side_has_its_own_password(plain_dovecot: Dovecot, user: str, archive_dir: Path, tmp_path: Path) -> None:
    octets = list(mails.varied(3, seed=77))
    mailbox = [DemoMessage(UniqueId(str(n)), one) for n, one in enumerate(octets)]
    (tmp_path / "old").write_text("old secret\n")
    with Pop3Server({"me": ("old secret", mailbox)}) as source:
        ends = (url(source.port, "me", "pop3"), url(plain_dovecot.ports["imap"], user))
        command = ("migrate", *ends, "-a", archive_dir, "--allow-plaintext", "--json")
        result = mailmove(
            *command, "--source-password-file", tmp_path / "old", "--target-password-command", f"echo {PASSWORD}"
        )
    assert result.code == 0, result
    assert "old secret" not in result.stdout + result.stderr
    assert_delivered_once(at_target(plain_dovecot, user), [archives.files(archive_dir)[one] for one in wire(octets)])


def wire(messages: list[bytes]) -> list[str]:
    """The digests of messages that came by POP3, which ends each with a line end."""
    return [archives.digest(one if one.endswith(b"\r\n") else one + b"\r\n") for one in messages]


def test_a_wrong_target_password_shows_before_anything_is_pulled(
    plain_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    plain_dovecot.seed(user, mails.varied(3, seed=78))
    with Proxy(plain_dovecot.ports["pop3"]) as source:
        command = words(source.port, plain_dovecot.ports["imap"], user, archive_dir)
        result = mailmove(*command[:-2], "--target-password-env", "WRONG", env={"WRONG": "not-the-password"})
        assert all("RETR" not in session.verbs for session in source.sessions)
    assert (result.code, result.json()["outcome"]) == (77, "failed"), result
    assert "not-the-password" not in result.stdout + result.stderr and "login of new." in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not archive_dir.exists()


def test_the_default_archive_is_made_only_when_asked_for(plain_dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    plain_dovecot.seed(user, mails.varied(2, seed=79))
    port = plain_dovecot.ports["pop3"]
    ends = (url(port, user, "pop3"), url(plain_dovecot.ports["imap"], NEW + user))
    command = ("migrate", *ends, "--allow-plaintext", *PASSWORDS)
    refused = mailmove(*command, cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "") and "--create" in refused.stderr and "-a DIR" in refused.stderr
    assert list(tmp_path.iterdir()) == [] == at_target(plain_dovecot, NEW + user)
    assert mailmove(*command, "--create", cwd=tmp_path).code == 0
    archive = tmp_path / f"{user}@{HOST}%3A{port}.mailmove"
    assert_moved(plain_dovecot, user, archive)
    assert mailmove(*command, cwd=tmp_path).code == 0, "the archive that is there needs no --create"
    assert list(tmp_path.iterdir()) == [archive]


# ---- What one half cannot do does not stop the other

LETTERS = [Letter(name, f"Subject: {name}\r\n\r\nbody {name}\r\n".encode()) for name in ("a1", "b2", "c3")]


def test_what_the_source_refuses_does_not_keep_the_rest(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    with Peer(LETTERS, Quirks(rules=[refuse("RETR 2", "-ERR [SYS/PERM] damaged")])) as peer:
        result = mailmove(*words(peer.port, plain_dovecot.ports["imap"], user, archive_dir))
    pull, replayed = halves(result)
    assert (result.code, result.json()["outcome"]) == (3, "partial"), result
    assert (pull["parked"], replayed["selected"], replayed["delivered"], replayed["outcome"]) == (1, 2, 2, "complete")
    assert_delivered_once(at_target(plain_dovecot, NEW + user), [LETTERS[0].body, LETTERS[2].body])


def test_of_two_troubles_the_graver_one_is_the_exit_code(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    with Peer(LETTERS, Quirks(rules=[refuse("RETR 2", "-ERR [SYS/PERM] damaged")])) as peer:
        ports = (peer.port, plain_dovecot.ports["imap"])
        result = mailmove(*words(*ports, user, archive_dir, "--mailbox", "too-long" * 40))
    pull, replayed = halves(result)
    assert (result.code, result.json()["outcome"]) == (78, "failed"), result
    assert (pull["outcome"], pull["stored"], replayed["outcome"]) == ("partial", 2, "failed")


def test_a_source_that_is_gone_does_not_keep_what_is_archived(
    plain_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    with Peer(LETTERS) as peer:
        source = ("pull", url(peer.port, user, "pop3"), "-a", archive_dir, "--maildrop", f"{user}@old.example")
        assert mailmove(*source, "--allow-plaintext", "--password-env", PASSWORD_NAME).code == 0
    result = mailmove(*words(peer.port, plain_dovecot.ports["imap"], user, archive_dir))
    pull, replayed = halves(result)
    assert (result.code, result.json()["outcome"]) == (75, "failed"), result
    assert (pull["outcome"], replayed["delivered"]) == ("failed", 3)
    assert_delivered_once(at_target(plain_dovecot, NEW + user), [letter.body for letter in LETTERS])


def test_a_source_that_refuses_the_login_ends_it(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [LETTERS[0].body], f"{user}@old.example")
    with Peer(LETTERS, Quirks(password="another")) as peer:
        result = mailmove(*words(peer.port, plain_dovecot.ports["imap"], user, archive_dir))
    assert (result.code, result.json()["outcome"]) == (77, "failed"), result
    assert [job["job"] for job in result.json()["jobs"]] == ["pull"]
    assert at_target(plain_dovecot, NEW + user) == []


# ---- Ctrl-C and kill -9


def test_ctrl_c_in_the_pull_delivers_nothing_and_says_how_to_go_on(
    plain_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    seeded(plain_dovecot, user)
    with Proxy(plain_dovecot.ports["pop3"]) as source:
        process = start_mailmove(*words(source.port, plain_dovecot.ports["imap"], user, archive_dir))
        source.at(60_000, lambda session: kill(process, signal.SIGINT))
        result = finish(process)
    assert (result.code, result.json()["outcome"]) == (130, "interrupted"), result
    assert [job["outcome"] for job in result.json()["jobs"]] == ["interrupted"]
    assert "again to resume" in result.stderr and "Traceback" not in result.stderr
    assert at_target(plain_dovecot, NEW + user) == []
    assert migrate(plain_dovecot, user, archive_dir).code == 0
    assert_moved(plain_dovecot, user, archive_dir)


def test_killed_anywhere_one_more_run_has_moved_everything_once(
    plain_dovecot: Dovecot, tmp_path: Path, seed: int, full: bool
) -> None:
    octets = measured(plain_dovecot, tmp_path / "measured")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(kill_and_resume, plain_dovecot, octets[n % 2], n, tmp_path / str(n), seed)
            for n in range(KILLS_IF_FULL if full else KILLS)
        ]
        assert all(job.result() for job in jobs), "a kill came too late"


def seeded(server: Dovecot, user: str) -> str:
    server.seed(user, [*mails.varied(30, seed=80), *mails.mixed(8, seed=81), *[b"Subject: same\r\n\r\n"] * 2])
    return user


def measured(server: Dovecot, archive: Path) -> tuple[int, int]:
    """Octets that come down in the pull, and that go up in the replay, when nobody interferes."""
    user = seeded(server, "measured")
    with Proxy(server.ports["pop3"]) as source, Proxy(server.ports["imap"]) as target:
        assert mailmove(*words(source.port, target.port, user, archive)).code == 0
        return source.down, target.up


def kill_and_resume(server: Dovecot, octets: int, number: int, archive: Path, seed: int) -> bool:
    """A kill in the pull (even numbers) or in the replay, and one more run. Whether the kill found it running."""
    rng = random.Random(f"migrate kill {seed} {number}")
    user, when = seeded(server, f"killed.{number}"), rng.randrange(1, octets * 99 // 100)
    with Proxy(server.ports["pop3"]) as source, Proxy(server.ports["imap"]) as target:
        process = start_mailmove(*words(source.port, target.port, user, archive))
        strike_at = target.at_up if number % 2 else source.at
        strike_at(when, lambda session: kill(process))
        killed = finish(process).code == -signal.SIGKILL
    again = migrate(server, user, archive)
    assert again.code == 0, (number, when, again)
    halves(again)
    assert_moved(server, user, archive)
    pull, replayed = halves(migrate(server, user, archive))
    assert (pull["stored"], replayed["delivered"]) == (0, 0), (number, when)
    assert mailmove("verify", "-a", archive).code == 0
    return killed


def test_after_a_kill_in_the_replay_a_plain_replay_completes_it(
    plain_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    seeded(plain_dovecot, user)
    with Proxy(plain_dovecot.ports["imap"]) as target:
        process = start_mailmove(*words(plain_dovecot.ports["pop3"], target.port, user, archive_dir))
        target.at_up(40_000, lambda session: kill(process))
        assert finish(process).code == -signal.SIGKILL
    result = plain_replay(plain_dovecot.ports["imap"], NEW + user, archive_dir)
    assert result.code == 0, result
    assert_moved(plain_dovecot, user, archive_dir)
