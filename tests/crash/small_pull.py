"""A small pull for tests that hit each of its system calls: eight messages in two groups, from a server of our own.

Strategy: no PIPELINING, so that the server sends one message at a time and what is transferred again can be counted.
Traced, it runs on one thread (tests/support/altered.py) and makes the same calls in every run; untraced it is
mailmove as everybody has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from random import Random

from tests.hostile.peer import Letter, Peer, Quirks, without
from tests.support import archives, mails
from tests.support.cli import PASSWORD_FROM_ENV, Result, finish, mailmove, start_mailmove
from tests.support.client import HOST
from tests.support.strace import QUIET, Call, calls

GROUP, GROUPS = 4, 2
WINDOW = 2  # messages: the one that comes in and the one that is asked for next
LETTERS = [Letter(f"uid-{n}", body.rstrip() + b"\r\n") for n, body in enumerate(mails.varied(GROUP * GROUPS, seed=92))]
EXPECTED = {letter.unique_id: letter.body for letter in LETTERS}
DELETE = ("--delete-after", 0, "--allow-mass-delete")
COMPLETE = 0
PATIENCE = 60.0  # seconds: a run that takes longer hangs

_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_DRAFT_OF_FORMAT = re.compile(r"FORMAT\.[0-9a-f]{8}")


def serving(letters: Sequence[Letter] = LETTERS) -> Peer:
    return Peer(letters, Quirks(capabilities=without("PIPELINING")))


def pull(peer: Peer, archive: Path, *more: object, prefix: tuple[str, ...] = ()) -> Result:
    """One run, to its end; `prefix` is what stands before its command line."""
    words = ("pull", f"pop3://me@{HOST}:{peer.port}", "-a", archive, "--maildrop", "me", "--allow-plaintext", "--json")
    options = ("-q", "--group-messages", GROUP, *PASSWORD_FROM_ENV, *more)
    result = finish(start_mailmove(*words, *options, prefix=prefix, env=QUIET), PATIENCE)
    peer.wait(len(peer.sessions))
    return result


def make_empty(archive: Path) -> Path:
    """An archive of an empty maildrop, from which each run begins; and what is made once for each user is made."""
    with serving([]) as peer:
        result = pull(peer, archive)
    assert result.code == COMPLETE, result
    return archive


def of_the_archive(trace: Path, archive: Path) -> list[Call]:
    """The calls that change the archive; all are on one thread."""
    root = PurePosixPath(archive)
    found = [call for call in calls(trace) if root in (call.path, *call.path.parents)]
    assert len({call.thread for call in found}) <= 1, "more than one thread writes: see tests/support/altered.py"
    return found


def name(call: Call, archive: Path) -> str:
    """What a call is called in every run: `rename tmp/RUN-3`, the fourth of its kind."""
    path = _RUN.sub("RUN", str(call.path.relative_to(PurePosixPath(archive))))
    return f"{call.name} {_DRAFT_OF_FORMAT.sub('FORMAT.DRAFT', path)}, number {call.nth}"


def thinned(points: Sequence[Call]) -> list[Call]:
    """Of a row of writes to the database only the first and the last."""
    beside = zip([None, *points], points, [*points[1:], None], strict=False)
    return [
        call
        for before, call, after in beside
        if call.name != "pwrite64" or not (before and after and before.name == call.name == after.name)
    ]


def sample(points: Sequence[Call], number: int, rng: Random) -> list[Call]:
    """So many of them, each kind at least once."""
    kinds: dict[str, Call] = {}
    for call in rng.sample(points, len(points)):
        kinds.setdefault(call.name, call)
    rest = [call for call in points if call not in kinds.values()]
    return [*kinds.values(), *rng.sample(rest, max(0, min(number - len(kinds), len(rest))))]


# ---- What must hold


def listed(peer: Peer) -> set[str]:
    """The unique ids that the server still has."""
    return {letter.unique_id for letter in peer.maildrop.listing(()).values()}


def logged(archive: Path) -> set[str]:
    """Digests in log records; the last line may be torn."""
    segments = sorted((archive / "log").glob("*.jsonl"))
    lines = [line for path in segments for line in path.read_bytes().splitlines(keepends=True)]
    records = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return {record["digest"] for record in records if record["t"] in ("add", "place")}


def assert_nothing_lost(peer: Peer, archive: Path) -> set[str]:
    """No record is without its file, and what the server has no longer is there, whole and recorded.

    Returns the unique ids of all that is.
    """
    sound = {digest for digest, octets in archives.files(archive).items() if archives.digest(octets) == digest}
    assert logged(archive) <= sound, "a record without its file"
    there = {unique_id for unique_id, octets in EXPECTED.items() if archives.digest(octets) in logged(archive)}
    assert EXPECTED.keys() - listed(peer) <= there, "deleted on the server, and not archived"
    return there


def assert_resumes(
    peer: Peer, archive: Path, there: Iterable[str], more: Sequence[object], again: int = GROUP + WINDOW
) -> None:
    """One more run has exactly the maildrop, and fetches nothing that was there, nor more than `again` once more."""
    before = dict(peer.maildrop.retrievals)
    result = pull(peer, archive, *more)
    assert result.code == COMPLETE and not result.stderr, result
    archives.assert_exactly(archive, EXPECTED)
    fetched = {uid for uid, times in peer.maildrop.retrievals.items() if times > before.get(uid, 0)}
    assert not fetched & set(there), "transferred again, though it was archived"
    assert len(fetched & before.keys()) <= again, "more than one group and one window transferred again"
    assert listed(peer) == (set() if more else set(EXPECTED))
    assert_valid(archive)


def assert_valid(archive: Path) -> None:
    verified = mailmove("verify", "-a", archive, "-q")
    assert verified.code == COMPLETE, verified
