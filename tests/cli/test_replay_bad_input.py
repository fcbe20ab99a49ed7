"""Bad input and bad surroundings for `replay`, and for `skip --target`: one clear sentence, the right exit code.

Strategy: as for pull (test_bad_input.py), and judged by the same `refused`. Whatever can be known without the target is
said before it is asked: those cases name a port that refuses, so that a connection would show as another exit code.
After each refusal the archive's log is what it was: nothing counts as delivered.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.errors import UsageError
from mailmove.jobs import Context, ReplayJob
from mailmove.jobs.replay import run_replay
from mailmove.model import Digest
from tests.cli.test_bad_input import CONFIGURATION, LOGIN, TRY_AGAIN, USAGE, refused, tree
from tests.hostile.imap_peer import ImapPeer, ImapQuirks
from tests.servers.certs import Certificates
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, Result, mailmove
from tests.support.client import HOST
from tests.support.imap_referee import Referee
from tests.support.replaying import MAILDROP, fill, plain_replay, replay, url, words
from tests.unit.archive.delivering import replaying

GONE = "imaps://me@new.example"
"""A target nobody asks."""

TOO_LONG = "name" * 75
"""A mailbox that Dovecot will not make."""


@pytest.fixture
def filled(archive_dir: Path) -> Iterator[Path]:
    """An archive of three messages in which nothing may change but runs that are noted."""
    fill(archive_dir, mails.varied(3, seed=91))
    yield archive_dir
    about_deliveries = ("intend", "deliver", "park", "void", "skip")
    assert [record["t"] for record in archives.records(archive_dir) if record["t"] in about_deliveries] == []


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and that refuses."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


def unasked(archive: Path, port: int, *more: object) -> Result:
    """A replay that must not get as far as the target: its port refuses, which would be exit 75."""
    return mailmove(*words(url(port, "me", "imaps"), archive, *more))


# ---- The command line


@pytest.mark.parametrize(
    "mailbox",
    ["", "a\r\nx1 DELETE INBOX", "a\n", "\ra", 'a"\r\n', "a\x1b[31mb", "a\x7f", b"\xff", "\u2028"],
)
def test_a_mailbox_name_that_cannot_be_one(filled: Path, closed_port: int, mailbox: str | bytes) -> None:
    result = unasked(filled, closed_port, "--mailbox", mailbox)
    refused(result, USAGE, "mailbox name is empty, or holds a line break")


def test_a_mailbox_name_with_nul(filled: Path) -> None:
    """Which no command line can carry, but a program that calls us can."""
    with pytest.raises(UsageError, match="mailbox name"):
        run_replay(ReplayJob(GONE, "imap://me@new.example", filled, "a\0b"), Context())


@pytest.mark.parametrize(
    "target",
    [
        "imaps://me:hunter2@imap.example",
        "imaps://me@gmx.de:hunter2@imap.example",
        "imap://me:hun@hunter2@imap.example",
        "imaps://me:x/hunter2@imap.example",
        "imaps://me:hunter2@imap.example:99999999",
        "imaps://me:hunter2",
        "pop3s://me:hunter2@imap.example",
        "me:hunter2@imap.example",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(filled: Path, target: str) -> None:
    result = mailmove(*words(target, filled))
    refused(result, USAGE)
    assert "hunter2" not in result.stdout + result.stderr, result


@pytest.mark.parametrize(
    "target", ["", "imap.example", "imaps://imap.example", "imaps://@imap.example", "pop3s://me@host", "jmap://me@host"]
)
def test_a_target_that_is_none(filled: Path, target: str) -> None:
    refused(mailmove(*words(target, filled)), USAGE, "imaps://me@gmx.de@imap.gmx.net")


@pytest.mark.parametrize(
    "target", ["imaps://me\r\nx LOGOUT@h", "imaps://me%0d%0ax@h", "imaps://me@h\n", "imap://a%00@h"]
)
def test_a_line_break_in_the_url(filled: Path, target: str) -> None:
    refused(mailmove(*words(target, filled)), USAGE, "control character")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seen", "sometimes"), "older-than=DAYS"),
        (("--seen", "older-than=-1"), "older-than=DAYS"),
        (("--maildrop", "you@else.example"), f"it holds {MAILDROP}"),
        (("--progress", "loud"), "auto or json"),
        (("--repair", "nul"), "--retry-parked"),
        (("--repair", "everything"), "bare-newlines, nul, 8bit-headers, long-lines"),
        (("--daily-limit", "lots"), "like 450MB"),
        (("--daily-limit", "0MB"), "let nothing through"),
    ],
)
def test_an_option_that_means_nothing(filled: Path, closed_port: int, options: tuple[str, str], said: str) -> None:
    refused(unasked(filled, closed_port, *options), USAGE, options[1], said)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), USAGE, "--password-env"),
        (("--password-env", "A", "--password-file", "b"), USAGE, "not several"),
        (("--password-env", "NO_SUCH_NAME"), CONFIGURATION, "NO_SUCH_NAME"),
        (("--password-file", "nosuch/file"), CONFIGURATION, "nosuch/file"),
        (("--password-command", "exit 7"), CONFIGURATION, "7"),
        (("--password-command", "printf 'a\\nb'"), CONFIGURATION, "line break"),
    ],
)
def test_no_usable_password(filled: Path, options: tuple[str, ...], code: int, said: str) -> None:
    refused(mailmove("replay", GONE, "-a", filled, "--json", *options), code, said)


# ---- The archive


def test_an_archive_that_is_none(closed_port: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"precious")
    before = tree(tmp_path)
    for name, said in (("none", "does not exist"), ("file", "is a file"), ("photos", "not a mailmove archive")):
        refused(unasked(tmp_path / name, closed_port), USAGE, str(tmp_path / name), said)
    assert tree(tmp_path) == before


def test_no_archive_is_named_and_there_is_none_or_several(tmp_path: Path) -> None:
    command = ("replay", GONE, *PASSWORD_FROM_ENV)
    refused(mailmove(*command, cwd=tmp_path), USAGE, "no *.mailmove folder", "-a DIR")
    for name in ("a", "b"):
        fill(tmp_path / f"{name}.mailmove", [])
    refused(mailmove(*command, cwd=tmp_path), USAGE, "2 *.mailmove folders", "-a DIR")


def test_an_archive_in_use(filled: Path, closed_port: int) -> None:
    with Archive.open(filled):
        result = unasked(filled, closed_port)
    refused(result, TRY_AGAIN, str(filled), str(os.getpid()))


def test_an_archive_of_a_newer_format(filled: Path, closed_port: int) -> None:
    form = filled / "FORMAT"
    lines = ["mailmove-archive 2", *form.read_text().splitlines()[1:]]
    form.chmod(0o644)
    form.write_text("\n".join(lines) + "\n")
    before = tree(filled)
    refused(unasked(filled, closed_port), CONFIGURATION, "format 2")
    assert tree(filled) == before


# ---- The server and the way there


def test_an_unknown_host(filled: Path) -> None:
    refused(mailmove(*words("imaps://me@nosuchhost.invalid", filled)), TRY_AGAIN, "nosuchhost.invalid", "spelling")


@pytest.mark.parametrize("scheme", ["imap", "imaps"])
def test_a_refused_port(filled: Path, closed_port: int, scheme: str) -> None:
    result = mailmove(*words(url(closed_port, "me", scheme), filled))
    refused(result, TRY_AGAIN, f"{HOST}:{closed_port}", "refused")


def test_tls_on_a_plaintext_port(filled: Path, dovecot: Dovecot) -> None:
    result = mailmove(*words(url(dovecot.ports["imap"], "me", "imaps"), filled))
    refused(result, TRY_AGAIN, "does not speak TLS on this port", "imap://")


def test_plaintext_on_a_tls_port(filled: Path, dovecot: Dovecot) -> None:
    result = mailmove(*words(url(dovecot.ports["imaps"], "me"), filled, "--timeout", 1))
    refused(result, TRY_AGAIN, "sent no greeting", "imaps://")


def test_plaintext_only_with_the_flag(filled: Path) -> None:
    with ImapPeer() as peer:
        result = mailmove(*words(url(peer.port, "me"), filled))
        assert "LOGIN" not in peer.verbs
    refused(result, CONFIGURATION, "STARTTLS", "--allow-plaintext")


@pytest.mark.parametrize("kind", ["self_signed", "expired", "wrong_host"])
def test_a_certificate_that_proves_nothing(filled: Path, certificates: Certificates, kind: str) -> None:
    context, quirks = certificates.server_context(kind), ImapQuirks(capabilities="IMAP4rev1 STARTTLS")
    with ImapPeer(quirks, context=context) as peer:
        result = mailmove(*words(url(peer.port, "me"), filled, "--ca-file", certificates.ca))
        assert "LOGIN" not in peer.verbs
    refused(result, CONFIGURATION, "certificate")


def test_an_unknown_authority_at_a_real_server(filled: Path, dovecot: Dovecot, user: str) -> None:
    for scheme in ("imap", "imaps"):
        refused(mailmove(*words(url(dovecot.ports[scheme], user, scheme), filled)), CONFIGURATION, "certificate")


def test_a_wrong_password_quotes_the_server(filled: Path) -> None:
    said = b"{tag} NO [AUTHENTICATIONFAILED] Go away, \x1b[31mred\x1b[0m stranger\r\n"
    with ImapPeer(ImapQuirks(replies={"LOGIN": said})) as peer:
        result = plain_replay(peer.port, "me", filled)
        assert peer.verbs.count("LOGIN") == 1, "one wrong try, no second: it may lock the account"
    refused(result, LOGIN, "refused the login of me", "Go away")
    assert "\x1b" not in result.stderr and "Go away" in result.json()["error"]["server_text"]


def test_a_wrong_password_at_a_real_server(filled: Path, dovecot: Dovecot, user: str) -> None:
    target, ca, env = url(dovecot.ports["imaps"], user, "imaps"), dovecot.certificates.ca, {"WRONG": "not-the-password"}
    command = ("replay", target, "-a", filled, "--ca-file", ca, "--json", "--password-env", "WRONG")
    result = mailmove(*command, env=env)
    refused(result, LOGIN, user, "Authentication failed")
    assert "not-the-password" not in result.stdout + result.stderr


# ---- The mailbox

NO, NONE = b"{tag} NO no\r\n", b"{tag} NO [NONEXISTENT] none\r\n"


def test_a_mailbox_the_server_will_not_make(filled: Path, dovecot: Dovecot, user: str) -> None:
    result = replay(dovecot, user, filled, "--mailbox", TOO_LONG)
    refused(result, CONFIGURATION, TOO_LONG, result.json()["error"]["server_text"])
    with Referee(dovecot.ports["imap"], user) as referee:
        assert referee.mailboxes() <= {"INBOX"}


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ({"SELECT": NONE, "STATUS": NONE, "CREATE": b"{tag} NO [NOPERM] not yours\r\n"}, "not yours"),
        ({"SELECT": NO, "STATUS": NO, "LIST": b'* LIST (\\Noselect) "/" "INBOX"\r\n{tag} OK done\r\n'}, "'no'"),
        ({"SELECT": b"{tag} NO [CANNOT] it is a folder of folders\r\n"}, "folder of folders"),
        ({"SELECT": b"* OK [UIDVALIDITY 7] v\r\n* OK [UIDNEXT 1] n\r\n{tag} OK [READ-ONLY] look\r\n"}, "reading only"),
    ],
    ids=["create", "noselect", "select", "read-only"],
)
def test_a_mailbox_that_takes_no_messages(filled: Path, replies: dict[str, bytes], said: str) -> None:
    with ImapPeer(ImapQuirks(replies=replies)) as peer:
        result = plain_replay(peer.port, "me", filled)
        assert "APPEND" not in peer.verbs
    refused(result, CONFIGURATION, said, "INBOX")


# ---- skip --target


@pytest.fixture
def parked(archive_dir: Path) -> tuple[Path, Digest]:
    """An archive with a message that two mailboxes of a target refused."""
    message = b"Subject: refused\r\n\r\n"
    fill(archive_dir, [message])
    digest = Digest(archives.digest(message))
    for mailbox in ("INBOX", "Other"):
        with replaying(archive_dir, "imap://me@new.example", mailbox) as journal:
            journal.write([journal.parked(digest, "size", "TOOBIG")])
    return archive_dir, digest


def skip(archive: Path, identity: str, target: str, *more: object) -> Result:
    return mailmove("skip", identity, "-a", archive, "--target", target, "--reason", "spam", "--json", *more)


def test_a_delivery_to_settle_must_be_clear(parked: tuple[Path, Digest]) -> None:
    archive, digest = parked
    before = archives.records(archive)
    refused(skip(archive, digest[:7], GONE), USAGE, "too short", "8 digits")
    refused(skip(archive, "0" * 16, GONE), USAGE, "0" * 16, "mailmove status")
    refused(skip(archive, digest, "imaps://you@new.example"), USAGE, "imap://you@new.example", "mailmove status")
    refused(skip(archive, digest, "no target"), USAGE, "no target")
    refused(skip(archive, digest, GONE), USAGE, "Several mailboxes", "--mailbox")
    refused(skip(archive, digest, GONE, "--mailbox", "Third"), USAGE, "mailmove status")
    assert archives.records(archive) == before


def test_a_delivery_that_is_clear_is_settled(parked: tuple[Path, Digest]) -> None:
    archive, digest = parked
    result = skip(archive, digest[:8].upper(), GONE, "--mailbox", "Other")
    assert result.code == 0 and result.stderr == "", result
    settled = result.json()
    assert (settled["target"], settled["mailbox"], settled["digest"]) == ("imap://me@new.example", "Other", digest)
    refused(skip(archive, digest, GONE, "--mailbox", "Other"), USAGE, "mailmove status")
