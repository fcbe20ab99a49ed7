"""Log records: one JSON object a line, built and read here and nowhere else (design.md section 5).

Strategy: plain dicts in a fixed key order, first key "t", pure ASCII, so that grep, jq and a text editor suffice. A
record carries no subject, no message text, and no server text. Unknown types and keys are kept and ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mailmove.errors import ArchiveDamaged
from mailmove.model import Complete, DateOrigin, Digest, InternalDate, RunId, UniqueId

Record = dict[str, Any]

_JSON = json.JSONEncoder(separators=(",", ":"))
_DIGEST = re.compile(r"[0-9a-f]{64}")

_COMPLETE_JSON: Mapping[Complete, object] = {
    Complete.YES: True,
    Complete.NO: False,
    Complete.UNRELIABLE_SIZES: Complete.UNRELIABLE_SIZES.value,
}


@dataclass(frozen=True, slots=True)
class Place:
    """One message found at one place: the content of an `add` or `place` record.

    `octets` is the size of the file, `listed` what LIST said; `again` marks the same listed entry received once more,
    which changes what is known of the entry but does not make it two.
    """

    digest: Digest
    octets: int
    listed: int
    complete: Complete
    maildrop: str
    unique_id: UniqueId
    run: RunId
    time: datetime
    internal_date: InternalDate
    by: str = "digest"
    again: bool = False

    def record(self, *, known: bool) -> Record:
        """As `add`, or as `place` if the digest is known already."""
        record: Record = {
            "t": "place" if known else "add",
            "time": timestamp(self.time),
            "run": self.run,
            "maildrop": self.maildrop,
            "unique_id": self.unique_id,
            "digest": self.digest,
            "octets": self.octets,
            "listed": self.listed,
            "complete": _COMPLETE_JSON[self.complete],
            "by": self.by,
            "internal_date": timestamp(self.internal_date.time),
            "internal_date_origin": self.internal_date.origin.value,
        }
        return record | {"again": True} if self.again else record

    @classmethod
    def of(cls, record: Record) -> Place:
        """The place an `add` or `place` record tells of. Raises KeyError, ValueError or TypeError if it is damaged."""
        complete = record["complete"]
        return cls(
            digest=checked_digest(record["digest"]),
            octets=int(record["octets"]),
            listed=int(record["listed"]),
            complete=Complete(str(complete).lower() if isinstance(complete, bool) else complete),
            maildrop=str(record["maildrop"]),
            unique_id=UniqueId(str(record["unique_id"])),
            run=RunId(str(record["run"])),
            time=parse_timestamp(record["time"]),
            internal_date=InternalDate(
                parse_timestamp(record["internal_date"]), DateOrigin(record["internal_date_origin"])
            ),
            by=str(record["by"]),
            again=bool(record.get("again", False)),
        )


def event(kind: str, time: datetime, run: RunId | str, **fields: object) -> Record:
    """Any other record: type, time, run, then `fields` in the order given; fields that are None are left out."""
    head: Record = {"t": kind, "time": timestamp(time)}
    if run:
        head["run"] = run
    return head | {key: value for key, value in fields.items() if value is not None}


def encode(record: Record) -> bytes:
    """The record's line with its LF."""
    return _JSON.encode(record).encode("ascii") + b"\n"


def decode(line: bytes, where: str) -> Record:
    """The record of a complete line. Raises ArchiveDamaged naming `where`."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("t"), str):
        raise ArchiveDamaged(f"{where} is damaged: it holds no log record. Run `mailmove verify`.")
    return record


def checked_digest(value: object) -> Digest:
    """A digest that is safe to make a file name of. Raises ValueError."""
    text = str(value)
    if not _DIGEST.fullmatch(text):
        raise ValueError("not a sha256 digest")
    return Digest(text)


def timestamp(time: datetime) -> str:
    """UTC, RFC 3339 with milliseconds and Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text)
