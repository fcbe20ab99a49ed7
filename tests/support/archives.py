"""What an archive must be, checked without mailmove: files, log and database by the standard library alone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds a running process gets for what it is certain to do."""
PAUSE = 0.01
"""Seconds between two looks at its log."""


def digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def files(archive: Path) -> dict[str, bytes]:
    """Digest in the name -> octets, of everything under mail/."""
    return {path.stem: path.read_bytes() for path in (archive / "mail").glob("*/*.eml")}


def records(archive: Path) -> list[dict[str, Any]]:
    """Every log line, oldest first."""
    segments = sorted((archive / "log").glob("*.jsonl"))
    return [json.loads(line) for segment in segments for line in segment.read_bytes().splitlines()]


def unsettled(archive: Path) -> Counter[tuple[int, str]]:
    """Deliveries that were announced and of which the log says nothing more: (number of the intention, digest)."""
    open_ones: Counter[tuple[int, str]] = Counter()
    for number, record in enumerate(records(archive)):
        if record["t"] == "intend":
            open_ones.update((number, digest) for digest in record["digests"])
        elif "intend" in record:
            open_ones[record["intend"], record["digest"]] -= 1
    return +open_ones


def wait_until_announced(archive: Path, messages: int) -> None:
    """Until the log of a running replay has announced so many: it has no other way to say so. Counts whole lines."""
    deadline = time.monotonic() + PATIENCE
    while (found := _announced(archive)) < messages:
        assert time.monotonic() < deadline, f"{found} of {messages} messages are announced"
        time.sleep(PAUSE)


def _announced(archive: Path) -> int:
    octets = b"".join(segment.read_bytes() for segment in sorted((archive / "log").glob("*.jsonl")))
    lines = (json.loads(line) for line in octets.split(b"\n")[:-1] if line)
    return sum(len(record["digests"]) for record in lines if record["t"] == "intend")


def places(archive: Path, *, again: bool = True) -> list[tuple[str, str]]:
    """(unique id, digest) of every place in the log that is not void; without `again`, once per entry."""
    found = records(archive)
    void = {record["record"] for record in found if record["t"] == "void" and "record" in record}
    kept = (r for n, r in enumerate(found) if r["t"] in ("add", "place") and n not in void)
    kept = (r for r in kept if again or not r.get("again", False))
    return [(record["unique_id"], record["digest"]) for record in kept]


def rows(archive: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"{(archive / 'archive.db').as_uri()}?mode=ro", uri=True) as database:
        found = database.execute(query).fetchall()
    database.close()
    return found


def assert_exactly(archive: Path, expected: dict[str, bytes]) -> None:
    """The archive holds exactly these messages (unique id -> octets): files, log and catalogue agree, tmp/ is empty.

    A listed entry that was received once more is still one.
    """
    assert Counter(places(archive, again=False)) == Counter((uid, digest(octets)) for uid, octets in expected.items())
    assert_consistent(archive)


def assert_consistent(archive: Path) -> None:
    """Every file hashes to its name, no record without a file, no row without a record, no file without either."""
    stored = files(archive)
    assert {name for name, octets in stored.items() if digest(octets) != name} == set()
    logged = places(archive)
    assert {name for _, name in logged} == set(stored)
    assert Counter(rows(archive, "SELECT unique_id, digest FROM places")) == Counter(logged)
    assert {row[0] for row in rows(archive, "SELECT digest FROM messages")} == set(stored)
    assert sorted(path.name for path in (archive / "tmp").iterdir()) == []
