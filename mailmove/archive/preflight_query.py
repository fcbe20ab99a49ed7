"""What a pre-flight asks the catalogue: subjects of messages, and how fast an earlier replay was."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mailmove.archive.catalogue import Catalogue
from mailmove.archive.records import parse_timestamp
from mailmove.model import Digest

RUNS = 20
"""Runs that are looked at: what is longer ago says little about the line of today."""

LEAST = 20
"""Messages: a run of fewer is mostly login and goodbye."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What an earlier run did a second."""

    messages: float
    octets: float


def subject(catalogue: Catalogue, digest: Digest) -> str:
    """A message's subject, for people; "" if it has none."""
    row = catalogue.connection.execute("SELECT subject FROM messages WHERE digest = ?", (digest,)).fetchone()
    return str(row[0]) if row else ""


def earlier_speed(catalogue: Catalogue, target: str) -> Speed | None:
    """Of the last run to this target that tells something; None if there is none."""
    rows = catalogue.connection.execute(
        "SELECT started, ended, counts FROM runs WHERE target = ? AND ended != '' ORDER BY started DESC LIMIT ?",
        (target, RUNS),
    )
    speeds = (_speed(started, ended, json.loads(counts)) for started, ended, counts in rows)
    return next(filter(None, speeds), None)


def _speed(started: str, ended: str, counts: dict[str, int]) -> Speed | None:
    seconds = (parse_timestamp(ended) - parse_timestamp(started)).total_seconds()
    messages, octets = counts.get("delivered", 0), counts.get("bytes", 0)
    if messages < LEAST or octets <= 0 or seconds <= 0:
        return None
    return Speed(messages / seconds, octets / seconds)
