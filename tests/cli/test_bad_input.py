"""Bad input and bad surroundings: one clear sentence on stderr, the right exit code, nothing lost and nothing made.

Strategy: mailmove is a process of its own, the server a hostile Peer where one lie is enough and a real Dovecot where
ports and TLS matter. `refused` judges every case the same way; a second look at the file system says what was made.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.peer import Letter, Peer, Quirks, refuse
from tests.servers.dovecot import Dovecot
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, Result, environment, mailmove
from tests.support.client import HOST, Referee
from tests.support.proxy import Proxy

USAGE, TRY_AGAIN, LOGIN, CONFIGURATION = 2, 75, 77, 78
LETTERS = [Letter(name, f"Subject: {name}\r\n\r\nbody {name}\r\n".encode()) for name in ("a1", "b2", "c3")]
GOODBYE = len("+OK Logging out.\r\n")


def source(scheme: str, port: int, user: str = "me") -> str:
    return f"{scheme}://{user}@{HOST}:{port}"


def words(port: int, archive: Path) -> tuple[object, ...]:
    """A pull from a Peer, as JSON."""
    return ("pull", source("pop3", port), "-a", archive, "--allow-plaintext", "--json", *PASSWORD_FROM_ENV)


def refused(result: Result, code: int, *said: str) -> None:
    """One sentence with these words, the exit code, and with --json one document unless it is a usage error."""
    assert result.code == code, result
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) == 1, result
    assert result.stderr.startswith("mailmove: ") and result.stderr.rstrip().endswith((".", "?")), result
    assert all(word in result.stderr for word in said), result
    if code == USAGE or "--json" not in result.args:
        assert result.stdout == "", result
    else:
        document = result.json()
        assert document["outcome"] == "failed" and document["error"]["message"] in result.stderr, result


def tree(folder: Path) -> dict[str, bytes]:
    """Every name below a folder and its octets (b"" for folders)."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(LETTERS) as server:
        yield server


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and that refuses."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


# ---- The server and the way there


def test_a_wrong_password_quotes_the_server(archive_dir: Path) -> None:
    quirks = Quirks(rules=[refuse("(AUTH|PASS) .*", "-ERR [AUTH] Go away, \x1b[31mred\x1b[0m stranger")])
    with Peer(LETTERS, quirks) as peer:
        result = mailmove(*words(peer.port, archive_dir))
        (session,) = peer.sessions
        assert session.verbs.count("AUTH") + session.verbs.count("PASS") == 1, "a second try may lock the account"
    refused(result, LOGIN, "refused the login of me", "Go away", "app password")
    assert "\x1b" not in result.stderr
    assert "Go away" in result.json()["error"]["server_text"]
    assert not archive_dir.exists()


def test_a_wrong_password_at_a_real_server(dovecot: Dovecot, user: str, archive_dir: Path) -> None:
    dovecot.seed(user, mails.small(1, seed=1))
    ca = dovecot.certificates.ca
    url = source("pop3s", dovecot.ports["pop3s"], user)
    env = {"WRONG": "not-the-password"}
    result = mailmove("pull", url, "-a", archive_dir, "--ca-file", ca, "--json", "--password-env", "WRONG", env=env)
    refused(result, LOGIN, "Authentication failed")
    assert "not-the-password" not in result.stdout + result.stderr
    assert not archive_dir.exists()


def test_an_unknown_host(archive_dir: Path) -> None:
    result = mailmove("pull", "pop3s://me@nosuchhost.invalid", "-a", archive_dir, "--json", *PASSWORD_FROM_ENV)
    refused(result, TRY_AGAIN, "nosuchhost.invalid", "spelling")
    assert not archive_dir.exists()


@pytest.mark.parametrize("scheme", ["pop3", "pop3s"])
def test_a_refused_port(scheme: str, closed_port: int, archive_dir: Path) -> None:
    result = mailmove("pull", source(scheme, closed_port), "-a", archive_dir, "--json", *PASSWORD_FROM_ENV)
    refused(result, TRY_AGAIN, f"{HOST}:{closed_port}", "refused")
    assert not archive_dir.exists()


def test_tls_on_a_plaintext_port(dovecot: Dovecot, archive_dir: Path) -> None:
    port = dovecot.ports["pop3"]
    result = mailmove("pull", source("pop3s", port), "-a", archive_dir, "--json", *PASSWORD_FROM_ENV)
    refused(result, TRY_AGAIN, f"{HOST}:{port} does not speak TLS on this port", "pop3://")
    assert not archive_dir.exists()


def test_plaintext_on_a_tls_port(dovecot: Dovecot, archive_dir: Path) -> None:
    url = source("pop3", dovecot.ports["pop3s"])
    result = mailmove("pull", url, "-a", archive_dir, "--timeout", 1, "--json", *PASSWORD_FROM_ENV)
    refused(result, TRY_AGAIN, "sent no greeting", "pop3s://")
    assert not archive_dir.exists()


# ---- The archive


@pytest.mark.parametrize("command", ["pull", "verify", "status", "skip"])
def test_an_archive_of_a_newer_format(command: str, peer: Peer, archive_dir: Path) -> None:
    assert mailmove(*words(peer.port, archive_dir)).code == 0
    form = archive_dir / "FORMAT"
    lines = form.read_text().splitlines()
    lines = ["mailmove-archive 2", *(line for line in lines[1:] if "written-by" not in line), "written-by 9.8.7"]
    form.chmod(0o644)
    form.write_text("\n".join(lines) + "\n")
    before = tree(archive_dir)
    refused(run_on(command, peer.port, archive_dir), CONFIGURATION, "format 2", "9.8.7")
    assert tree(archive_dir) == before


def run_on(command: str, port: int, archive: Path) -> Result:
    """Each command on one archive."""
    if command == "pull":
        return mailmove(*words(port, archive))
    more = ("a1aaaaaa", "--reason", "because") if command == "skip" else ()
    return mailmove(command, *more, "-a", archive, "--json")


@pytest.mark.parametrize("command", ["pull", "verify", "status", "skip"])
def test_a_file_in_place_of_the_folder(command: str, peer: Peer, tmp_path: Path) -> None:
    file = tmp_path / "file.mailmove"
    file.write_bytes(b"precious")
    refused(run_on(command, peer.port, file), USAGE, str(file), "is a file")
    assert tree(tmp_path) == {"file.mailmove": b"precious"}


@pytest.mark.parametrize("command", ["pull", "verify", "status", "skip"])
def test_a_folder_that_is_something_else(command: str, peer: Peer, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "me.jpg").write_bytes(b"precious")
    refused(run_on(command, peer.port, folder), USAGE, str(folder), "not a mailmove archive")
    assert tree(tmp_path) == {"photos": b"", "photos/me.jpg": b"precious"}
    assert peer.sessions == []


@pytest.mark.parametrize("command", ["verify", "status", "skip"])
def test_no_archive_at_all(command: str, tmp_path: Path) -> None:
    refused(run_on(command, 0, tmp_path / "none"), USAGE, "none")
    assert tree(tmp_path) == {}


def test_no_default_archive_without_a_terminal(peer: Peer, tmp_path: Path) -> None:
    more = ("--allow-plaintext", *PASSWORD_FROM_ENV)
    refused(mailmove("pull", source("pop3", peer.port), *more, cwd=tmp_path), USAGE, "-a DIR", "--create")
    assert tree(tmp_path) == {} and peer.sessions == []
    assert mailmove("pull", source("pop3", peer.port), "--create", *more, cwd=tmp_path).code == 0
    (archive,) = tmp_path.iterdir()
    archives.assert_exactly(archive, {letter.unique_id: letter.body for letter in LETTERS})
    again = mailmove("pull", source("pop3", peer.port), *more, cwd=tmp_path)
    assert again.code == 0, "the archive that is there needs no --create"


# ---- The command line


@pytest.mark.parametrize(
    "url",
    [
        "pop3s://me:hunter2@pop.example",
        "pop3s://me@gmx.de:hunter2@pop.example",
        "pop3s://me:hun@hunter2@pop.example",
        "pop3s://me:x/hunter2@pop.example",
        "pop3s://me:hunter2@pop.example:99999999",
        "pop3s://me:hunter2",
        "imaps://me:x/hunter2@pop.example",
        "imaps://me:x@hunter2@pop.example",
        "me:hunter2@pop.example",
        "me:x:hunter2@pop.example",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    result = mailmove("pull", url, "-a", tmp_path / "new", "--json", *PASSWORD_FROM_ENV)
    refused(result, USAGE)
    assert "hunter2" not in result.stdout + result.stderr, result
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "url",
    [
        "pop3s://me\r\nDELE 1@pop.example",
        "pop3s://me%0d%0aDELE 1@pop.example",
        "pop3s://me@pop.example\n",
        "pop3s://me\0@pop.example".replace("\0", "%00"),
        "pop3s://me@pop.exa\rmple",
    ],
)
def test_a_line_break_in_the_url(url: str, tmp_path: Path) -> None:
    result = mailmove("pull", url, "-a", tmp_path / "new", "--json", *PASSWORD_FROM_ENV)
    refused(result, USAGE, "control character")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("url", ["", "pop.example", "pop3s://pop.example", "pop3s://@pop.example", "ftp://me@host"])
def test_a_source_that_is_none(url: str, tmp_path: Path) -> None:
    refused(mailmove("pull", url, "-a", tmp_path / "new", *PASSWORD_FROM_ENV), USAGE, "pop3s://me@gmx.de@pop.gmx.net")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--password-file", "nosuch/file"), CONFIGURATION, "nosuch/file"),
        (("--password-env", "NO_SUCH_NAME"), CONFIGURATION, "NO_SUCH_NAME"),
        (("--password-command", "exit 7"), CONFIGURATION, "7"),
        (("--password-command", "printf 'a\\nb\\n'"), CONFIGURATION, "line break"),
        (("--password-command", "true"), CONFIGURATION, "empty"),
        (("--password-env", "A", "--password-file", "b"), USAGE, "not several"),
        (("--password-file", "b", "--password-command", "c"), USAGE, "not several"),
        ((), USAGE, "--password-env"),
        ((*PASSWORD_FROM_ENV, "--ca-file", "nosuch/ca.pem"), CONFIGURATION, "nosuch/ca.pem"),
    ],
)
def test_no_usable_password_or_authority(
    options: tuple[str, ...], code: int, said: str, certificates: object, tmp_path: Path
) -> None:
    with Peer(LETTERS, context=certificates.server_context()) as peer:  # type: ignore[attr-defined]
        result = mailmove("pull", source("pop3s", peer.port), "-a", tmp_path / "new", "--json", *options)
        assert all(session.commands == [] for session in peer.sessions)
    refused(result, code, said)
    assert tree(tmp_path) == {}


# ---- A message that another client deletes between UIDL and RETR


def assert_gone(result: Result, archive: Path, unique_id: str, rest: dict[str, bytes]) -> None:
    assert result.code == 0, result
    report = result.json()
    assert (report["listed"], report["stored"], report["gone"]) == (len(rest) + 1, len(rest), 1)
    (exception,) = report["exceptions"]
    assert (exception["kind"], exception["unique_id"]) == ("gone", unique_id)
    assert "Traceback" not in result.stderr
    archives.assert_exactly(archive, rest)


def test_a_message_deleted_before_retr_is_gone(archive_dir: Path) -> None:
    with Peer(LETTERS, Quirks(expunged=["b2"])) as peer:
        result = mailmove(*words(peer.port, archive_dir))
    assert_gone(result, archive_dir, "b2", {x.unique_id: x.body for x in LETTERS if x.unique_id != "b2"})
    assert "expunged" in result.json()["exceptions"][0]["server_text"]


def test_a_message_deleted_at_a_real_server(needs_dovecot: None, user: str, archive_dir: Path) -> None:
    """A dry run says how many octets there are up to the listing; there, exactly, the other client strikes."""
    with Dovecot(ssl=False) as server, Proxy(server.ports["pop3"]) as proxy:
        server.seed(user, mails.small(5, seed=2))
        expected = everything(server.ports["pop3"], user)
        command = ("pull", source("pop3", proxy.port, user), "-a", archive_dir, "--allow-plaintext", "--json")
        assert mailmove(*command, *PASSWORD_FROM_ENV, "--dry-run").code == 0
        proxy.wait(1)
        proxy.at(2 * proxy.down - GOODBYE, lambda session: delete(server.ports["pop3"], user, 2))
        result = mailmove(*command, *PASSWORD_FROM_ENV)
    unique_id = list(expected)[1]
    assert_gone(result, archive_dir, unique_id, {k: v for k, v in expected.items() if k != unique_id})


def everything(port: int, user: str) -> dict[str, bytes]:
    with Referee(port) as referee:
        referee.login(user)
        found = {unique_id: referee.retrieve(number) for number, unique_id in referee.unique_ids().items()}
        referee.quit()
    return found


def delete(port: int, user: str, number: int) -> None:
    with Referee(port) as other:
        other.login(user)
        other.ask(f"DELE {number}")
        other.quit()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [("--help", 0), ("status -a /nowhere", 2)])
def test_a_closed_output_changes_no_exit_code(closed: str, words: str, code: int) -> None:
    """As some programs start others: without stdout or stderr."""
    line = f"exec {shlex.quote(sys.executable)} -m mailmove {words} {closed}"
    run = subprocess.run(["sh", "-c", line], env=environment(), capture_output=True, text=True, timeout=60)
    assert run.returncode == code and "Traceback" not in run.stderr, run.stderr
