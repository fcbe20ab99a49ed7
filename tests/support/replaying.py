"""Replays as a user runs them, and what the target must hold afterwards.

Strategy: archives are filled without a server, by `Archive` itself, so that a test says in one line what is in them.
What a server may do to a message is written down once, in `rewritten`: whatever differs beyond that is a failure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mailmove.archive import Archive, Received
from mailmove.model import MaildropEntry, MessageNumber, UniqueId
from tests.servers.dovecot import Dovecot
from tests.support.cli import PASSWORD_FROM_ENV, Result, mailmove
from tests.support.client import HOST
from tests.support.imap_referee import Referee, Stored

MAILDROP = "me@old.example"


def fill(root: Path, messages: Iterable[bytes], maildrop: str = MAILDROP) -> Path:
    """Adds messages to an archive, made if missing, as a pull that ended would have."""
    with Archive.open(root, create_missing=True) as archive:
        archive.begin_run("pull", maildrop)
        archive.begin_session()
        archive.commit([_received(archive, n, octets) for n, octets in enumerate(messages, 1)])
        archive.end_run("complete", {})
    return root


def _received(archive: Archive, number: int, octets: bytes) -> Received:
    draft = archive.draft()
    archive.write(draft, octets)
    archive.finish(draft)
    entry = MaildropEntry(MessageNumber(number), UniqueId(f"id-{number}"), len(octets))
    return Received(entry, draft)


def words(url: str, archive: Path, *more: object) -> tuple[object, ...]:
    return ("replay", url, "-a", archive, "--json", *PASSWORD_FROM_ENV, *more)


def url(port: int, user: str, scheme: str = "imap") -> str:
    return f"{scheme}://{user}@{HOST}:{port}"


def replay(dovecot: Dovecot, user: str, archive: Path, *more: object, port: int | None = None) -> Result:
    """Over TLS, as people do."""
    target = url(port or dovecot.ports["imaps"], user, "imaps")
    return mailmove(*words(target, archive, "--ca-file", dovecot.certificates.ca, *more))


def plain_replay(port: int, user: str, archive: Path, *more: object) -> Result:
    """Through a proxy, or to a server without TLS."""
    return mailmove(*words(url(port, user), archive, "--allow-plaintext", *more))


def at_target(dovecot: Dovecot, user: str, mailbox: str = "INBOX") -> list[Stored]:
    with Referee(dovecot.ports["imap"], user) as referee:
        return referee.stored(mailbox)


def rewritten(octets: bytes) -> bytes:
    """What Dovecot makes of a message: NUL to 0x80, bare LF to CRLF; it loses extra CRs there and one at the end."""
    return re.sub(rb"\r*\n", b"\r\n", octets).replace(b"\0", b"\x80").removesuffix(b"\r")


def assert_delivered_once(stored: Iterable[Stored], messages: Iterable[bytes]) -> None:
    """The mailbox holds exactly these messages, each once, with their octets as Dovecot keeps them."""
    found, wanted = Counter(one.octets for one in stored), Counter(map(rewritten, messages))
    assert found == wanted, f"{(wanted - found).total()} missing, {(found - wanted).total()} too many"


def assert_adds_up(report: dict[str, int]) -> None:
    terms = ("delivered", "already_there", "skipped", "parked", "uncertain", "pending")
    assert report["selected"] == sum(report[term] for term in terms), report
