"""Mistakes in --mailbox, --sent-to, --own-address and --label: one sentence, exit 2, before anybody is asked anything.

Strategy: source and target have ports that refuse, and the password is in a variable that is not set; so whatever is
asked before the mistake is seen would show as another exit code.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_bad_input import USAGE, refused, tree
from tests.support import mails
from tests.support.cli import mailmove
from tests.support.client import HOST
from tests.support.replaying import fill, url

MISTAKES = [
    (["--mailbox", "Archive/{yaer}"], "--mailbox 'Archive/{yaer}': there is no {yaer}; did you mean {year}?"),
    (["--mailbox", "Archive/{year"], "a { stands alone; write {{ for a brace"),
    (["--mailbox", "Archive//{year}"], "a level without a name"),
    (["--mailbox", r"\Archiv"], r"did you mean \Archive?"),
    (["--sent-to", r"\Sentt"], r"--sent-to '\Sentt': \Sentt is no special use; did you mean \Sent?"),
    (["--sent-to", "a\r\nx1 DELETE INBOX"], "--sent-to: the mailbox name is empty, or holds a line break"),
    (["--own-address", "me@old.example"], "give --sent-to NAME"),
    (["--sent-to", r"\Sent", "--own-address", "me"], "'me' is no e-mail address"),
    (["--label", r"\Starrred"], r"did you mean \Starred?"),
    (["--label", "ok", "--label", "a\nb"], "--label: the label is empty, or holds a line break"),
]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and that refuses."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_replay_sees_it_before_it_asks(archive_dir: Path, closed_port: int, words: list[str], said: str) -> None:
    fill(archive_dir, mails.varied(1, seed=7))
    before = tree(archive_dir)
    target = url(closed_port, "me", "imaps")
    refused(mailmove("replay", target, "-a", archive_dir, "--password-env", "NOT_SET", *words), USAGE, said)
    assert tree(archive_dir) == before


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_migrate_sees_it_before_it_asks(archive_dir: Path, closed_port: int, words: list[str], said: str) -> None:
    urls = (url(closed_port, "me", "pop3s"), url(closed_port, "me", "imaps"))
    secrets = ("--source-password-env", "NOT_SET", "--target-password-env", "NOT_SET")
    refused(mailmove("migrate", *urls, "-a", archive_dir, *secrets, *words), USAGE, said)
    assert not archive_dir.exists()
