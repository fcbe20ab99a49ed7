"""`mailmove skip` settles what an SMTP or LMTP server refused, by the URL it was sent to, whatever its TLS and port."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailmove.archive import Archive
from mailmove.jobs.journal import Journal
from mailmove.model import Digest
from tests.support import archives
from tests.support.cli import mailmove
from tests.support.replaying import fill

MESSAGE = b"Subject: refused\r\n\r\nx\r\n"
ONE, TWO = "one@new.example", "two@new.example"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("smtp://me@mx.example", "smtps://me@mx.example:2465"),
        ("smtp://mx.example", "smtp://MX.example:25"),
        ("lmtp://mx.example", "lmtp://mx.example"),
        ("lmtp:///run/lmtp", "lmtp:///run/lmtp"),
        ("work", "work"),
    ],
)
def test_a_refused_delivery_is_settled_for_the_recipient_that_is_named(archive_dir: Path, name: str, url: str) -> None:
    fill(archive_dir, [MESSAGE])
    digest = Digest(archives.digest(MESSAGE))
    with Archive.open(archive_dir) as archive:
        archive.begin_run("replay", "", name)
        for recipient in (ONE, TWO):
            journal = Journal(archive, name, recipient)
            journal.write([journal.parked(digest, "policy", "550 5.7.1")])
    words = ("skip", digest[:12], "-a", archive_dir, "--target", url, "--reason", "not needed")
    unclear = mailmove(*words)
    assert unclear.code == 2 and "--mailbox" in unclear.stderr, unclear
    settled = mailmove(*words, "--mailbox", TWO)
    assert settled.code == 0 and f"of {name} {TWO}" in settled.stdout, settled
    skipped = [record for record in archives.records(archive_dir) if record["t"] == "skip"]
    assert [(one["target"], one["mailbox"], one["digest"]) for one in skipped] == [(name, TWO, digest)]
