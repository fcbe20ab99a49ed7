"""`mailmove replay` and `migrate` by mail, to real servers: Dovecot by LMTP, Postfix by SMTP.

Strategy: as a user runs it, and judged by what lies in the mailboxes afterwards. Whatever a server refuses there it
refuses by its own rules; what no real server would do is left to tests/hostile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.hostile.smtp_peer import Rule, SmtpPeer, SmtpQuirks
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.support import archives, mails
from tests.support.cli import PASSWORD_NAME, Result, mailmove
from tests.support.client import HOST, fetch_all
from tests.support.relaying import assert_accounted, delivered_by_lmtp, named, pairs
from tests.support.replaying import assert_adds_up, fill

REFUSED = b"550 5.7.1 <two@new.example> not this one\r\n"


@pytest.fixture(scope="module")
def lmtp(needs_lmtp: None) -> Iterator[Dovecot]:
    with Dovecot(lmtp=True) as server:
        yield server


@pytest.fixture(scope="module")
def postfix(needs_postfix: None) -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


def replay(url: str, archive: Path, to: Sequence[str], *more: object) -> Result:
    return mailmove("replay", url, "-a", archive, *(word for one in to for word in ("--rcpt", one)), *more)


# ---- Dovecot, by LMTP


@pytest.mark.parametrize("way", ["port", "socket"])
def test_over_lmtp_each_recipient_has_each_message_once(
    lmtp: Dovecot, way: str, new_user: Callable[[], str], archive_dir: Path
) -> None:
    messages, to = mails.varied(40, seed=7), (f"{new_user()}@one.example", f"{new_user()}@two.example")
    fill(archive_dir, messages)
    url = f"lmtp://{HOST}:{lmtp.ports['lmtp']}" if way == "port" else f"lmtp://{lmtp.lmtp_socket}"
    result = replay(url, archive_dir, to, "--json")
    assert result.code == 0, result
    assert_accounted(result, delivered_by_lmtp(lmtp, to), messages, to)
    again = replay(url, archive_dir, to, "--json")
    assert (again.code, again.json()["already_there"], again.json()["sessions"]) == (0, 80, 1), again
    assert len(delivered_by_lmtp(lmtp, to)) == 80


def test_a_dry_run_says_what_the_server_offers_and_changes_nothing(lmtp: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, mails.varied(5, seed=8))
    before = archives.records(archive_dir)
    url = f"lmtp://{HOST}:{lmtp.ports['lmtp']}"
    report = replay(url, archive_dir, [user], "--json", "--dry-run").json()
    assert_adds_up(report)
    assert (report["pending"], report["messages"], report["offers"]["chunking"]) == (5, 5, True)
    said = replay(url, archive_dir, [user], "--dry-run").stdout
    assert user in said and "CHUNKING" in said and "Nothing was sent" in said
    assert archives.records(archive_dir) == before
    assert delivered_by_lmtp(lmtp, [user]) == []


def test_the_text_report_names_recipients(lmtp: Dovecot, user: str, archive_dir: Path) -> None:
    fill(archive_dir, [*mails.varied(3, seed=9), b"Subject: x\r\n\r\na\0b\r\n"])
    result = replay(f"lmtp://{HOST}:{lmtp.ports['lmtp']}", archive_dir, [user])
    assert result.code == 3, result
    assert f"for {user}" in result.stdout and "BINARYMIME" in result.stdout
    (command,) = [line.split() for line in result.stdout.splitlines() if line.strip().startswith("mailmove skip")]
    settled = mailmove(*command[1:])
    assert settled.code == 0, settled
    assert replay(f"lmtp://{HOST}:{lmtp.ports['lmtp']}", archive_dir, [user]).code == 0


# ---- Postfix, by SMTP


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_over_smtp_what_arrives_is_what_is_archived(
    postfix: Postfix, scheme: str, new_user: Callable[[], str], archive_dir: Path
) -> None:
    messages, to = [mails.crlf(b"Subject: %d\n\nhello\n" % n) for n in range(30)], f"{new_user()}@example.org"
    fill(archive_dir, messages)
    more = ("--mail-from", "<>", "--ca-file", postfix.certificates.ca, "--json")
    result = replay(f"{scheme}://localhost:{postfix.ports[scheme]}", archive_dir, [to], *more)
    assert (result.code, result.json()["delivered"]) == (0, 30), result
    found = postfix.wait_for(to, 30)
    assert Counter(b"Subject: " + one.partition(b"\nSubject: ")[2] for one in found) == Counter(
        one.replace(b"\r\n", b"\n") for one in messages
    )


def test_what_some_recipients_are_refused_and_some_put_off_the_others_get(
    postfix: Postfix, user: str, archive_dir: Path
) -> None:
    messages = [mails.crlf(b"Subject: %d\n\nhello\n" % n) for n in range(3)]
    fill(archive_dir, messages)
    good, unknown, later = f"{user}@example.org", "unknown@example.org", "later@example.org"
    more = ("--mail-from", "<>", "--ca-file", postfix.certificates.ca, "--json", "--patience", "1")
    result = replay(f"smtp://localhost:{postfix.ports['smtp']}", archive_dir, [good, unknown, later], *more)
    report = result.json()
    assert_adds_up(report)
    assert (result.code, report["delivered"], report["parked"], report["pending"]) == (75, 3, 3, 3), result
    assert named(report, "parked") == pairs(messages, [unknown])
    assert named(report, "pending") == pairs(messages, [later])
    assert {one["server_text"].partition(" <")[0] for one in report["exceptions"] if one["kind"] == "parked"} == {
        "550 5.1.1"
    }
    postfix.wait_for(good, 3)
    rows = archives.rows(archive_dir, "SELECT DISTINCT cause, code FROM deliveries WHERE state = 'parked'")
    assert rows == [("no-such-user", "550 5.1.1")]


# ---- migrate


def test_migrate_deletes_only_what_every_recipient_has(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    messages = mails.varied(6, seed=11)
    dovecot.seed(user, messages)
    to = ("one@new.example", "two@new.example")
    listed = list(fetch_all(dovecot.ports["pop3"], user).values())
    kept = listed[2]
    rule = Rule(r"END <two@new\.example>", REFUSED, holds=kept)
    with SmtpPeer(SmtpQuirks(lmtp=True, rules=[rule])) as peer:
        result = mailmove(
            *("migrate", f"pop3://{user}@{HOST}:{dovecot.ports['pop3']}", f"lmtp://{HOST}:{peer.port}"),
            *("-a", archive_dir, "--rcpt", to[0], "--rcpt", to[1], "--source-password-env", PASSWORD_NAME),
            *(
                "--ca-file",
                dovecot.certificates.ca,
                "--allow-plaintext",
                "--delete-after",
                "0",
                "--allow-mass-delete",
                "--json",
            ),
        )
        peer.wait()
    assert "jobs" in result.json(), result
    pull, replayed, deletion = result.json()["jobs"]
    assert (result.code, pull["stored"], replayed["delivered"], replayed["parked"]) == (3, 6, 11, 1), result
    assert deletion["deleted"] == 5, result
    assert list(fetch_all(dovecot.ports["pop3"], user).values()) == [kept]
