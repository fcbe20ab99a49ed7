"""`replay` and `migrate`: options that mean nothing for a target are refused by name, before anything is connected."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailmove.cli.app import command_line
from tests.support.replaying import fill

SMTP, IMAP = "smtp://me@old.example@mail.example", "imaps://me@mail.example"
TO = ("--rcpt", "me@new.example")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("options") / "a.mailmove", [b"Subject: x\r\n\r\n"])


def refused(archive: Path, command: str, target: str, *more: str) -> str:
    """The sentence, of a command that ends with exit code 2."""
    ends = (target,) if command == "replay" else ("pop3s://me@old.example", target)
    words = (command, *ends, "-a", str(archive), "--json", *more)
    result = CliRunner().invoke(command_line(), words)
    assert result.exit_code == 2, result.output
    assert result.stdout == "", "no JSON on exit 2"
    return result.stderr.replace("\n", " ")


ONLY_IMAP = [
    ("--mailbox", "Archive"),
    ("--sent-to", "Sent"),
    ("--own-address", "me@x.example"),
    ("--label", "old"),
    ("--seen", "all"),
    ("--skip-present",),
    ("--no-skip-present",),
    ("--redeliver-missing",),
    ("--ignore-missing",),
]
ONLY_MAIL = [
    TO,
    ("--mail-from", "me@x.example"),
    ("--resent",),
    ("--no-loop-guard",),
]
ONLY_REPLAY = [("--original-recipients",), ("--yes",), ("--max-rate", "5/min"), ("--patience", "5")]


@pytest.mark.parametrize("command", ["replay", "migrate"])
@pytest.mark.parametrize("words", ONLY_IMAP, ids=" ".join)
def test_what_only_imap_has_is_refused_by_mail(archive: Path, command: str, words: tuple[str, ...]) -> None:
    said = refused(archive, command, SMTP, *TO, *words)
    assert words[0].replace("--no-", "--") in said and "IMAP" in said


@pytest.mark.parametrize(
    ("command", "words"),
    [(command, words) for command in ("replay", "migrate") for words in ONLY_MAIL]
    + [("replay", words) for words in ONLY_REPLAY]
    + [("migrate", ("--target-max-rate", "5/min")), ("migrate", ("--target-patience", "5"))],
)
def test_what_only_mail_has_is_refused_by_imap(archive: Path, command: str, words: tuple[str, ...]) -> None:
    said = refused(archive, command, IMAP, *words)
    assert words[0].replace("--no-", "--") in said and "SMTP or LMTP" in said


@pytest.mark.parametrize("command", ["replay", "migrate"])
def test_somebody_must_get_it(archive: Path, command: str) -> None:
    assert "--rcpt" in refused(archive, command, SMTP)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((*TO, "--original-recipients"), "contradict"),
        (("--rcpt", "me new@x.example"), "is no address"),
        ((*TO, "--mail-from", "no address"), "is no address"),
        ((*TO, "--max-rate", "many"), "is no rate"),
        ((*TO, "--repair", "nul"), "--retry-parked"),
        ((*TO, "--auth", "apop"), "POP3"),
    ],
)
def test_what_means_nothing_is_a_sentence(archive: Path, words: tuple[str, ...], part: str) -> None:
    assert part in refused(archive, "replay", SMTP, *words)


def test_without_a_login_the_sender_must_be_named(archive: Path) -> None:
    assert "--mail-from" in refused(archive, "replay", "smtp://mail.example", *TO)
