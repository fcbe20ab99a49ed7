"""Whatever is damaged at random, verify finds it and names it: 100 % of it.

Strategy: one archive with a record of every kind in a log of several segments. Each damage is made alone, looked for,
and undone; in mail/ also a hundred at a time, each of which must be named as what it is. What must be found follows
from what was done, except for flips in archive.db: there SQLite itself says whether its own check fails or any row is
another one. A seeded sample by default; with --full 100 rounds of 100 in mail/, and 200 single damages of each kind.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailmove.archive.log import Log
from mailmove.archive.schema import PROJECTED
from mailmove.jobs import Context
from mailmove.jobs.skip import SkipJob, run_skip
from mailmove.model import Complete, Digest
from mailmove.targets import Receipt
from tests.support import archives
from tests.support.mails import varied
from tests.unit.archive.delivering import replaying
from tests.unit.archive.making import Mail, commit, findings, log_lines, running, some, store, tree, verify

ROUND, ROUNDS, SINGLE = 100, 100, 200
SAMPLE_ROUNDS, SAMPLE_SINGLE = 2, 4
LEDGER = "verify.json"
FIRST, SECOND = some(150, seed=1), [Mail(f"v{n}", octets) for n, octets in enumerate(varied(45, seed=2))]
OTHER = [Mail(f"o{n}", mail.octets) for n, mail in enumerate(FIRST[:9])]

Findings = set[tuple[str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive in which every kind of record occurs, in segments of 8 KB."""
    root = tmp_path_factory.mktemp("damage") / "mail.mailmove"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailmove.archive.Log", partial(Log, segment_limit=8_000))
        store(root, *(FIRST[start : start + 15] for start in range(0, 150, 15)))
        store(root, SECOND, end=False)  # a run that was killed
        store(root, OTHER, maildrop="other@mail.example")
        with running(root) as archive:
            commit(
                archive, Mail("suspect", b"Subject: cut\r\n\r\nof", Complete.NO), Mail("suspect-2", b"x", Complete.NO)
            )
            for name in ("parked", "refused"):
                archive.park(name, 7, "refused", "SYS/PERM", "cannot read it")
            archive.gone([("gone", 5)])
            at = [[mail.unique_id, len(mail.octets), mail.digest] for mail in FIRST[:4]]
            for event in ("asked", "confirmed"):
                policy = {"delete_after": 30.0} if event == "asked" else {}
                archive.append(archive.event("delete", event=event, maildrop="me@mail.example", **policy, places=at))
            archive.end_run("partial", {"stored": 2})
        run_skip(SkipJob(root, "refused", "not needed"), Context())
        with replaying(root) as journal:
            digests = [Digest(mail.digest) for mail in FIRST[:6]]
            number = journal.intend(7, 1, digests)
            for uid, digest in enumerate(digests[:3], 1):
                journal.write([journal.delivered(digest, Receipt(7, uid), "append", intend=number)])
            journal.write([journal.parked(digests[3], "size", "TOOBIG", intend=number)])
            journal.write([journal.uncertain(digests[4], 9, number)])
        store(root, some(3, seed=3))
    assert verify(root).findings == [] and len(list((root / "log").glob("*.jsonl"))) > 5
    return root


@pytest.fixture
def root(made: Path) -> Iterator[Path]:
    """That archive. What a test leaves behind is an error of the test, and no trouble for the next one."""
    whole = shutil.copytree(made, made.with_name("whole"))
    yield made
    left = without_ledger(tree(made))
    if left != without_ledger(tree(whole)):
        shutil.rmtree(made)
        shutil.copytree(whole, made)
    shutil.rmtree(whole)
    assert left == without_ledger(tree(made))


def without_ledger(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: octets for name, octets in files.items() if name != LEDGER and not name.startswith("archive.db-")}


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{request.node.name} {seed}")


# ---- damages: each says what verify must name


@dataclass(frozen=True)
class Undone:
    """Files as they were."""

    files: dict[Path, bytes | None]

    @classmethod
    def of(cls, *paths: Path) -> Undone:
        return cls({path: path.read_bytes() if path.is_file() else None for path in paths})

    def undo(self) -> None:
        for path, octets in self.files.items():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if octets is not None:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(octets)
            elif path.parent.name not in ("mail", "log", "tmp") and not any(path.parent.iterdir()):
                path.parent.rmdir()


Damage = Callable[[random.Random, Path, list[Path]], tuple[Undone, Findings]]


def write(path: Path, octets: bytes) -> None:
    """Message files may not be written, so they are replaced, as a program that edits them would."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(octets)


def flipped(rng: random.Random, octets: bytes) -> bytes:
    place = rng.randrange(len(octets))
    return octets[:place] + bytes([octets[place] ^ 1 << rng.randrange(8)]) + octets[place + 1 :]


def shown(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def changed(rng: random.Random, root: Path, files: list[Path], change: Callable[..., bytes]) -> tuple[Undone, Findings]:
    path = files.pop()
    undone = Undone.of(path)
    write(path, change(rng, path.read_bytes()))
    return undone, {("damaged", shown(root, path))}


def truncated(rng: random.Random, octets: bytes) -> bytes:
    return octets[: rng.randrange(len(octets))]


def longer(rng: random.Random, octets: bytes) -> bytes:
    return octets + rng.randbytes(rng.randint(1, 9))


def others(rng: random.Random, octets: bytes) -> bytes:
    return rng.choice(FIRST).octets + b"\n"


def removed(rng: random.Random, root: Path, files: list[Path]) -> tuple[Undone, Findings]:
    path = files.pop()
    undone = Undone.of(path)
    path.unlink()
    return undone, {("missing", shown(root, path))}


def a_folder(rng: random.Random, root: Path, files: list[Path]) -> tuple[Undone, Findings]:
    undone, found = removed(rng, root, files)
    (path,) = undone.files
    path.mkdir()
    return undone, found


def strange_name(rng: random.Random, root: Path) -> Path:
    """A name nothing has: like a message's in its folder, or in a wrong one, or like nothing of ours."""
    name = f"{rng.getrandbits(256):064x}"
    wrong = f"{rng.getrandbits(12):03x}"
    names = (
        f"{name[:3]}/{name}.eml",
        f"{name[:3]}/{name}.eml~",
        f"{wrong}/{name}.txt",
        f"zzz/{name}.eml",
        f"{name}.eml",
    )
    return root / "mail" / rng.choice(names)


def renamed(rng: random.Random, root: Path, files: list[Path]) -> tuple[Undone, Findings]:
    path, to = files.pop(), strange_name(rng, root)
    undone = Undone.of(path, to)
    to.parent.mkdir(exist_ok=True)
    path.rename(to)
    return undone, {("missing", shown(root, path)), ("extra", shown(root, to))}


def swapped(rng: random.Random, root: Path, files: list[Path]) -> tuple[Undone, Findings]:
    one, two = files.pop(), files.pop()
    undone = Undone.of(one, two)
    octets = one.read_bytes()
    write(one, two.read_bytes())
    write(two, octets)
    return undone, {("damaged", shown(root, path)) for path in (one, two)}


def added(rng: random.Random, root: Path, files: list[Path]) -> tuple[Undone, Findings]:
    path = strange_name(rng, root)
    undone = Undone.of(path)
    write(path, rng.choice((b"", rng.randbytes(50), files[-1].read_bytes())))
    return undone, {("extra", shown(root, path))}


def added_whole(rng: random.Random, root: Path, files: list[Path]) -> tuple[Undone, Findings]:
    """A message nobody has received, under its right name."""
    octets = rng.randbytes(50)
    path = Mail("", octets).file(root)
    undone = Undone.of(path)
    write(path, octets)
    return undone, {("extra", shown(root, path))}


def left_over(rng: random.Random, root: Path, files: list[Path]) -> tuple[Undone, Findings]:
    """A message that a run was about to record when it was killed: sound."""
    undone, found = added_whole(rng, root, files)
    (path,) = undone.files
    group = root / "tmp" / f"{path.stem[:9]}.group"
    group.write_text(f"{path.stem}\n")
    return Undone({**undone.files, group: None}), {("leftover", what) for _, what in found}


IN_MAIL: dict[str, Damage] = {
    "flipped": partial(changed, change=flipped),
    "truncated": partial(changed, change=truncated),
    "longer": partial(changed, change=longer),
    "others": partial(changed, change=others),
    "removed": removed,
    "a_folder": a_folder,
    "renamed": renamed,
    "swapped": swapped,
    "added": added,
    "added_whole": added_whole,
    "left_over": left_over,
}


def messages(root: Path, rng: random.Random) -> list[Path]:
    """The message files, in any order."""
    return rng.sample(sorted((root / "mail").glob("*/*.eml")), k=len(archives.files(root)))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", IN_MAIL)
def test_a_single_damage_in_mail_is_named_as_what_it_is(root: Path, rng: random.Random, full: bool, kind: str) -> None:
    for _ in range(SINGLE if full else SAMPLE_SINGLE):
        undone, expected = IN_MAIL[kind](rng, root, messages(root, rng))
        assert findings(root) == expected
        undone.undo()


def test_no_descriptor_is_left_open_by_a_folder_in_a_file_s_place(root: Path, rng: random.Random) -> None:
    undone, expected = IN_MAIL["a_folder"](rng, root, messages(root, rng))
    before = len(list(Path("/dev/fd").iterdir()))
    assert findings(root) == expected
    assert len(list(Path("/dev/fd").iterdir())) == before
    undone.undo()


@pytest.mark.timeout(1800)
def test_of_a_hundred_damages_in_mail_each_is_named(root: Path, rng: random.Random, full: bool) -> None:
    for _ in range(ROUNDS if full else SAMPLE_ROUNDS):
        files = messages(root, rng)
        done = [rng.choice(list(IN_MAIL.values()))(rng, root, files) for _ in range(ROUND)]
        assert findings(root) == set().union(*(expected for _, expected in done))
        for undone, _ in reversed(done):
            undone.undo()


# ---- the log


def cut(rng: random.Random, lines: list[bytes]) -> None:
    start = rng.randrange(len(lines))
    del lines[start : start + rng.randint(1, 3)]


def swap_lines(rng: random.Random, lines: list[bytes]) -> None:
    one, two = rng.sample(range(len(lines)), k=2)
    lines[one], lines[two] = lines[two], lines[one]


def double(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(rng.randint(0, len(lines)), rng.choice(lines))


def flip(rng: random.Random, lines: list[bytes]) -> None:
    lines[:] = [flipped(rng, b"".join(lines))]


def cut_in_a_line(rng: random.Random, lines: list[bytes]) -> None:
    whole = b"".join(lines)
    lines[:] = [whole[: rng.randrange(len(whole))]]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("change", [flip, cut, swap_lines, double, cut_in_a_line])
def test_a_change_of_the_log_is_found_and_its_segment_named(
    root: Path, rng: random.Random, full: bool, change: Callable[[random.Random, list[bytes]], None]
) -> None:
    segments = [path for path in sorted((root / "log").glob("*.jsonl")) if path.read_bytes().count(b"\n") > 1]
    for _ in range(SINGLE if full else SAMPLE_SINGLE):
        path = rng.choice(segments)
        undone = Undone.of(path)
        lines = path.read_bytes().splitlines(keepends=True)
        change(rng, lines)
        path.write_bytes(b"".join(lines))
        report = verify(root)
        named = [finding for finding in report.findings if finding.kind == "log"]
        assert report.exit_code == 4, path
        assert any(path.name in finding.what + finding.reason for finding in named), (path, report.findings)
        undone.undo()


def test_any_line_copied_to_the_end_is_found(root: Path, rng: random.Random, full: bool) -> None:
    """Where it could be that a run was killed before the catalogue heard of its records."""
    lines, last = log_lines(root), max((root / "log").glob("*.jsonl"))
    for line in lines if full else rng.sample(lines, k=SAMPLE_SINGLE):
        undone = Undone.of(last)
        last.write_bytes(last.read_bytes() + line)
        assert ("log", f"log/{last.name}") in findings(root), line
        undone.undo()


def test_segments_that_go_come_or_change_places_are_found(root: Path, rng: random.Random, full: bool) -> None:
    segments = sorted((root / "log").glob("*.jsonl"))
    new = root / "log" / f"{len(segments) + 1:08d}.jsonl"
    for path in segments if full else rng.sample(segments, k=3):
        undone = Undone.of(path, segments[0], new)
        path.unlink()
        assert verify(root).exit_code == 4, path
        undone.undo()
        new.write_bytes(path.read_bytes())
        assert ("log", f"log/{new.name}") in findings(root), path
        new.unlink()
        if path != segments[0]:
            octets = path.read_bytes()
            path.write_bytes(segments[0].read_bytes())
            segments[0].write_bytes(octets)
            assert "log" in {kind for kind, _ in findings(root)}, path
            undone.undo()


@pytest.mark.parametrize(
    "name", ["notes.txt", "00000001.jsonl~", "1.jsonl", "2.jsonl", "1².jsonl", "checkpoint.old", "ts"]
)
def test_what_is_no_part_of_a_log_is_extra(root: Path, name: str) -> None:
    (root / "log" / name).write_bytes(log_lines(root)[0])
    assert findings(root) == {("extra", f"log/{name}")}
    (root / "log" / name).unlink()


@pytest.mark.parametrize("name", ["checkpoint.new", "last", "next"])
def test_what_a_killed_run_leaves_in_the_log_is_left_over(root: Path, name: str) -> None:
    last = max((root / "log").glob("*.jsonl"))
    segments = {"last": last, "next": last.with_name(f"{int(last.stem) + 1:08d}.jsonl")}
    path = segments.get(name, root / "log" / name)
    undone = Undone.of(path)
    path.write_bytes((undone.files[path] or b"") + (b"" if name == "next" else b'{"t":"add","ti'))
    assert findings(root) == {("leftover", f"log/{path.name}")} and verify(root).exit_code == 0
    undone.undo()


def test_time_stamps_are_no_strangers(root: Path) -> None:
    (root / "log" / "ts").mkdir()
    assert findings(root) == set()
    (root / "log" / "ts").rmdir()


def test_a_changed_checkpoint_is_named(root: Path, rng: random.Random, full: bool) -> None:
    path = root / "log" / "checkpoint"
    undone = Undone.of(path)
    sound = path.read_bytes()
    bits = range(8 * len(sound))
    for bit in bits if full else rng.sample(bits, k=3 * SAMPLE_SINGLE):
        path.write_bytes(sound[: bit // 8] + bytes([sound[bit // 8] ^ 1 << bit % 8]) + sound[bit // 8 + 1 :])
        assert findings(root) == {("damaged", "log/checkpoint")}, bit
    for octets in (b"", sound[:-1], sound + b"\n"):
        path.write_bytes(octets)
        assert findings(root) == {("damaged", "log/checkpoint")}, octets
    path.unlink()
    assert findings(root) == {("missing", "log/checkpoint")}
    undone.undo()


@pytest.mark.parametrize("name", ["mail", "log"])
def test_a_whole_folder_that_is_gone(root: Path, name: str) -> None:
    folder, aside = root / name, root.parent / "aside"
    folder.rename(aside)
    expected = {("missing", f"mail/{path.parent.name}/{path.name}") for path in aside.glob("*/*.eml")}
    found = findings(root)
    assert (
        found == expected if expected else found >= {("missing", "log/checkpoint")} and "log" in {k for k, _ in found}
    )
    aside.rename(folder)


# ---- archive.db


def content(path: Path) -> Any:
    """Every row that the log and the messages determine, and what SQLite's own check says; None: it cannot be read."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        rows = [
            connection.execute(f"SELECT * FROM {table}").fetchall() for table in (*PROJECTED, "position", "segments")
        ]
        return rows, connection.execute("PRAGMA integrity_check").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):  # the latter for the name of a column
        return None
    finally:
        connection.close()


@pytest.mark.timeout(1800)
def test_a_flip_in_the_database_that_changes_anything_is_found(root: Path, rng: random.Random, full: bool) -> None:
    path = root / "archive.db"
    undone, sound = Undone.of(path), path.read_bytes()
    before, counted = content(path), 0
    for _ in range(8 * SINGLE if full else 10 * SAMPLE_SINGLE):
        path.write_bytes(flipped(rng, sound))
        matters = content(path) != before
        counted += matters
        kinds = {kind for kind, _ in findings(root)}
        assert kinds == {"catalogue"} if matters else kinds <= {"catalogue"}
    assert counted or not full, "not one of them mattered"
    undone.undo()


def columns(root: Path) -> list[tuple[str, str]]:
    """Every projected column but the numbers of rows, by which nothing is meant."""
    with sqlite3.connect(root / "archive.db") as database:
        query = "SELECT name FROM pragma_table_info(?) WHERE name != 'id'"
        found = [(table, name) for table in PROJECTED for (name,) in database.execute(query, (table,))]
    database.close()
    return [
        *found,
        *(("position", name) for name in ("records", "octets", "last_hash", "edge")),
        ("segments", "octets"),
    ]


def another(value: object) -> object:
    """A value of the same kind that is not this one."""
    if isinstance(value, int):
        return 1 - value if value in (0, 1) else value + 1_000_000
    if isinstance(value, float):
        return value + 1
    return value + "x" if isinstance(value, str) else bytes(len(value)) if isinstance(value, bytes) else "7"


def test_a_change_of_any_projected_column_is_found(root: Path, rng: random.Random, full: bool) -> None:
    """Done by SQLite itself, so that its own check has nothing to say."""
    path = root / "archive.db"
    undone = Undone.of(path)
    every = columns(root)
    for table, column in every if full else rng.sample(every, k=8 * SAMPLE_SINGLE):
        with sqlite3.connect(path) as database:
            values = database.execute(f"SELECT {column} FROM {table}").fetchall()
            assert values, f"the archive of this test has nothing in {table}"
            (value,) = rng.choice(values)
            update = f"UPDATE OR REPLACE {table} SET {column} = :new WHERE {column} IS :old"
            database.execute(update, {"old": value, "new": another(value)})
        database.close()
        assert {kind for kind, _ in findings(root)} == {"catalogue"}, (table, column)
        undone.undo()


@pytest.mark.parametrize("table", [*PROJECTED, "position", "segments"])
def test_a_table_that_was_emptied_is_found(root: Path, table: str) -> None:
    undone = Undone.of(root / "archive.db")
    with sqlite3.connect(root / "archive.db") as database:
        database.execute(f"DELETE FROM {table}")
    database.close()
    assert {kind for kind, _ in findings(root)} == {"catalogue"}
    undone.undo()


def test_a_message_that_the_database_calls_damaged_and_is_not(root: Path) -> None:
    """With its counter changed as well, and all else as it was: no run has left it like this."""
    undone = Undone.of(root / "archive.db")
    with sqlite3.connect(root / "archive.db") as database:
        database.execute("UPDATE messages SET damaged = 1 WHERE id = 7")
        database.execute("UPDATE totals SET damaged = 1")
    database.close()
    assert findings(root) == {("catalogue", "archive.db, table messages")}
    undone.undo()
