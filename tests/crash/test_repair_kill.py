"""kill -9 of a repair at every file-system call: nothing is destroyed, and the next repair has every message.

Strategy: as test_rebuild_kill.py, for a repair from a second copy. Right after each kill every sound message must still
be there, what was damaged must be in its place or in quarantine/, octet by octet, and every log record must have been
written whole. One more repair must leave an archive that `verify` finds nothing wrong in.
"""

from __future__ import annotations

import random
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.crash.test_rebuild_kill import AT_ONCE, SAME_CALLS, SAMPLE
from tests.support import archives
from tests.support.cli import finish, mailmove, start_mailmove
from tests.support.strace import CALLS, every_call
from tests.unit.archive.making import Mail, alter, some, store, verify

MAILS = some(6, seed=41)
DAMAGED, MISSING = MAILS[:2], MAILS[2:4]


def test_at_every_file_system_call(strace: str, tmp_path: Path, seed: int, full: bool) -> None:
    copy, spoiled = tmp_path / "copy.mailmove", tmp_path / "spoiled.mailmove"
    store(copy, MAILS)
    shutil.copytree(copy, spoiled)
    for mail in DAMAGED:
        alter(mail.file(spoiled))
    for mail in MISSING:
        mail.file(spoiled).unlink()
    points = points_of(strace, spoiled, copy, tmp_path)
    assert {"rename", "link", "fdatasync"} <= {name for name, _ in points}
    chosen = points if full else random.Random(f"repair {seed}").sample(points, 2 * SAMPLE)

    def killed_at(point: tuple[str, int]) -> bool:
        archive = tmp_path / f"{point[0]}.{point[1]}.mailmove"
        shutil.copytree(spoiled, archive)
        code = traced(strace, archive, copy, f"inject={point[0]}:signal=KILL:when={point[1]}")
        assert code in (0, -signal.SIGKILL, 128 + signal.SIGKILL), (point, code)
        assert_nothing_destroyed(archive, spoiled)
        assert_repaired(archive, copy)
        return code != 0

    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(killed_at, point) for point in chosen]
        hits = sum(job.result() for job in jobs)
    assert hits >= len(chosen) / 2, f"only {hits} of {len(chosen)} kills hit: threads share the calls out as they like"


def points_of(strace: str, spoiled: Path, copy: Path, folder: Path) -> list[tuple[str, int]]:
    """The second run is counted: the first one may make this user's state folder, too."""
    for archive in (folder / "first.mailmove", folder / "counted.mailmove"):
        shutil.copytree(spoiled, archive)
        assert traced(strace, archive, copy, "") == 0
    return every_call(archive.with_suffix(".trace"))


def traced(strace: str, archive: Path, copy: Path, rule: str) -> int:
    output = ("-o", str(archive.with_suffix(".trace")))
    prefix = (strace, "-f", "-qq", "-e", f"trace={CALLS}", *(("-e", rule) if rule else ()), *output)
    return finish(start_mailmove("repair", "-a", archive, "--from", copy, "-q", env=SAME_CALLS, prefix=prefix)).code


def assert_nothing_destroyed(archive: Path, spoiled: Path) -> None:
    there = archives.files(archive)
    kept = [path.read_bytes() for path in (archive / "quarantine").iterdir()]
    for mail in MAILS[4:]:
        assert there[mail.digest] == mail.octets
    for mail in DAMAGED:
        assert there[mail.digest] == mail.octets or mail.file(spoiled).read_bytes() == there[mail.digest]
        assert mail.file(spoiled).read_bytes() in (there[mail.digest], *kept), "what was damaged is gone"


def assert_repaired(archive: Path, copy: Path) -> None:
    result = mailmove("repair", "-a", archive, "--from", copy)
    assert result.code == 0, result
    assert archives.files(archive) == {mail.digest: mail.octets for mail in MAILS}
    archives.assert_consistent(archive)
    assert verify(archive).sound
    assert_each_repair_is_told_once(archive, *DAMAGED, *MISSING)


def assert_each_repair_is_told_once(archive: Path, *mails: Mail) -> None:
    """At most: a kill between the file and its record leaves a sound file, and nothing to tell."""
    told = [record["digest"] for record in archives.records(archive) if record["t"] == "repair"]
    assert len(told) == len(set(told)) and set(told) <= {mail.digest for mail in mails}
