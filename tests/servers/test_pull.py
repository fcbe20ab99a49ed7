"""`mailmove pull` from a real Dovecot: the promises a user relies on, seen from outside."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, Result, finish, mailmove, start_mailmove
from tests.support.client import HOST, fetch_all
from tests.support.proxy import Proxy, reset


def url(scheme: str, user: str, port: int) -> str:
    return f"{scheme}://{user}@{HOST}:{port}"


def pull(dovecot: Dovecot, user: str, archive: Path, *more: object, port: int | None = None) -> Result:
    source = url("pop3s", user, port or dovecot.ports["pop3s"])
    ca = dovecot.certificates.ca
    return mailmove("pull", source, "-a", archive, "--ca-file", ca, "--json", *PASSWORD_FROM_ENV, *more)


def plain_pull(port: int, user: str, archive: Path, *more: object) -> Result:
    return mailmove(*plain_words(port, user, archive), *more)


def plain_words(port: int, user: str, archive: Path) -> tuple[object, ...]:
    return (
        "pull",
        url("pop3", user, port),
        "-a",
        archive,
        "--maildrop",
        user,
        "--allow-plaintext",
        "--json",
        *PASSWORD_FROM_ENV,
    )


@pytest.fixture(scope="module")
def plain_dovecot(needs_dovecot: None):  # type: ignore[no-untyped-def]
    """A server without any TLS."""
    with Dovecot(ssl=False) as server:
        yield server


def assert_adds_up(report: dict[str, int]) -> None:
    terms = ("stored", "already_archived", "duplicate_content", "skipped", "gone", "parked", "pending")
    assert report["listed"] == sum(report[term] for term in terms)


def test_over_tls_every_message_is_stored_as_the_server_sent_it(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    dovecot.seed(user, mails.varied(60, seed=1))
    result = pull(dovecot, user, archive_dir)
    assert result.code == 0, result
    report = result.json()
    assert (report["outcome"], report["listed"], report["pending"]) == ("complete", 60, 0)
    assert report["stored"] + report["duplicate_content"] == 60
    assert report["archive_created"] is True
    assert_adds_up(report)
    archives.assert_exactly(archive_dir, fetch_all(dovecot.ports["pop3"], user))


def test_over_stls(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    dovecot.seed(user, mails.varied(5, seed=2))
    source, ca = url("pop3", user, dovecot.ports["pop3"]), dovecot.certificates.ca
    result = mailmove("pull", source, "-a", archive_dir, "--ca-file", ca, "--json", *PASSWORD_FROM_ENV)
    assert result.code == 0, result
    archives.assert_exactly(archive_dir, fetch_all(dovecot.ports["pop3"], user))


def test_plaintext_only_with_the_flag(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    plain_dovecot.seed(user, mails.varied(5, seed=3))
    with Proxy(plain_dovecot.ports["pop3"]) as proxy:
        source = url("pop3", user, proxy.port)
        refused = mailmove("pull", source, "-a", archive_dir, "--json", *PASSWORD_FROM_ENV)
        proxy.wait(1)
        assert refused.code == 78 and "STLS" in refused.stderr, refused
        assert not {"USER", "PASS", "AUTH"} & set(proxy.sessions[0].verbs)
        assert not archive_dir.exists()
        assert plain_pull(proxy.port, user, archive_dir).code == 0
    archives.assert_exactly(archive_dir, fetch_all(plain_dovecot.ports["pop3"], user))


@pytest.mark.parametrize(
    ("kind", "word"), [("self_signed", "self-signed"), ("expired", "expired"), ("wrong_host", "match")]
)
def test_a_bad_certificate_is_refused_in_one_sentence(
    needs_dovecot: None, user: str, archive_dir: Path, kind: str, word: str
) -> None:
    with Dovecot(certificate=kind) as server:
        source = url("pop3s", user, server.ports["pop3s"])
        ca = () if kind == "self_signed" else ("--ca-file", server.certificates.ca)
        result = mailmove("pull", source, "-a", archive_dir, *ca, *PASSWORD_FROM_ENV)
    assert result.code == 78 and word in result.stderr, result
    assert_one_sentence(result)
    assert not archive_dir.exists()


def test_nothing_new_costs_one_login_uidl_and_list(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    plain_dovecot.seed(user, mails.small(10_000, seed=4, octets=300))
    port = plain_dovecot.ports["pop3"]
    assert plain_pull(port, user, archive_dir).code == 0
    before = archives.places(archive_dir)
    with Proxy(port) as proxy:
        result = plain_pull(proxy.port, user, archive_dir)
        proxy.wait(1)
        (session,) = proxy.sessions
    report = result.json()
    assert (result.code, report["stored"], report["already_archived"]) == (0, 0, 10_000)
    verbs = [verb for verb in session.verbs if verb != "CAPA"]
    assert verbs == ["AUTH", "STAT", "UIDL", "LIST", "QUIT"]
    assert archives.places(archive_dir) == before


@pytest.mark.parametrize("octets", [30_000, 100_000, 250_000])
def test_a_cut_in_mid_message_resumes_with_what_is_not_stored(
    plain_dovecot: Dovecot, user: str, archive_dir: Path, octets: int
) -> None:
    plain_dovecot.seed(user, mails.mixed(60, seed=octets))
    with Proxy(plain_dovecot.ports["pop3"]) as proxy:
        proxy.at(octets, reset)
        result = plain_pull(proxy.port, user, archive_dir, "--group-messages", 4)
    assert result.code == 0 and result.json()["sessions"] == 2, result
    assert result.json()["retries"] == 1
    assert_adds_up(result.json())
    archives.assert_exactly(archive_dir, fetch_all(plain_dovecot.ports["pop3"], user))


def test_a_cut_on_every_line_stores_what_came_in_and_exits_75(
    plain_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    """Each session advances a little, so the job never gives up; when the server is gone for good, it says so."""
    plain_dovecot.seed(user, mails.mixed(20, seed=9))
    with Proxy(plain_dovecot.ports["pop3"]) as proxy:
        for n in range(1, 6):
            proxy.at(n * 60_000, reset)
        result = plain_pull(proxy.port, user, archive_dir, "--group-messages", 1)
    assert result.code == 0, result
    archives.assert_exactly(archive_dir, fetch_all(plain_dovecot.ports["pop3"], user))


def test_limit_leaves_the_rest_for_the_next_run(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    dovecot.seed(user, mails.small(10, seed=5))
    first = pull(dovecot, user, archive_dir, "--limit", 4)
    report = first.json()
    assert (first.code, report["stored"], report["skipped"]) == (0, 4, 6)
    assert report["exceptions"] == [{"kind": "limit", "reason": "beyond --limit", "count": 6}]
    assert_adds_up(report)
    second = pull(dovecot, user, archive_dir).json()
    assert (second["stored"], second["already_archived"]) == (6, 4)
    archives.assert_exactly(archive_dir, fetch_all(dovecot.ports["pop3"], user))


def test_dry_run_changes_nothing(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    dovecot.seed(user, mails.small(3, seed=6))
    result = pull(dovecot, user, archive_dir, "--dry-run")
    assert result.code == 0 and result.json()["pending"] == 3
    assert not archive_dir.exists()


def interrupt_once_something_is_stored(pid: int, archive: Path) -> None:
    """The proxy holds the rest back meanwhile, so it is neither too early nor too late."""
    pause, deadline = threading.Event(), time.monotonic() + 30
    while not any((archive / "mail").glob("*/*.eml")):
        assert time.monotonic() < deadline, "nothing was stored of a million octets"
        pause.wait(0.02)
    os.kill(pid, signal.SIGINT)


def test_ctrl_c_keeps_what_is_stored_and_says_how_to_go_on(
    plain_dovecot: Dovecot, user: str, archive_dir: Path
) -> None:
    plain_dovecot.seed(user, mails.mixed(200, seed=7))
    with Proxy(plain_dovecot.ports["pop3"]) as proxy:
        process = start_mailmove(*plain_words(proxy.port, user, archive_dir), "--group-messages", 4)
        proxy.at(1_000_000, lambda session: interrupt_once_something_is_stored(process.pid, archive_dir))
        result = finish(process)
        proxy.wait(1)
        assert "QUIT" not in proxy.sessions[0].verbs
    report = result.json()
    assert (result.code, report["outcome"]) == (130, "interrupted"), result
    assert 0 < report["pending"] < 200 and "again" in result.stderr
    assert len(archives.places(archive_dir)) == report["stored"] + report["duplicate_content"]
    archives.assert_consistent(archive_dir)
    assert plain_pull(plain_dovecot.ports["pop3"], user, archive_dir).code == 0
    archives.assert_exactly(archive_dir, fetch_all(plain_dovecot.ports["pop3"], user))


def test_a_second_writer_is_told_who_has_the_archive(plain_dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    plain_dovecot.seed(user, mails.mixed(50, seed=8))
    with Proxy(plain_dovecot.ports["pop3"]) as proxy:
        held: list[Result] = []
        process = start_mailmove(*plain_words(proxy.port, user, archive_dir))
        proxy.at(200_000, lambda session: held.append(plain_pull(plain_dovecot.ports["pop3"], user, archive_dir)))
        assert finish(process).code == 0
    (second,) = held
    assert second.code == 75 and f"process {process.pid}" in second.stderr, second


def test_the_whole_corpus(plain_dovecot: Dovecot, user: str, archive_dir: Path, corpus) -> None:  # type: ignore[no-untyped-def]
    plain_dovecot.seed(user, [octets for _, octets in corpus()])
    port = plain_dovecot.ports["pop3"]
    result = plain_pull(port, user, archive_dir)
    expected = fetch_all(port, user)
    assert len(expected) == result.json()["listed"]
    assert dict(archives.places(archive_dir)) == {uid: archives.digest(octets) for uid, octets in expected.items()}
    archives.assert_consistent(archive_dir)
    assert result.code == 0, result.json()["exceptions"][:5]


def assert_one_sentence(result: Result) -> None:
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and "Traceback" not in result.stderr, result
