"""Log records: any unique id survives, whatever a later version adds is borne, and times are UTC.

Strategy: properties over all values for what is written and read back, and hand-written lines, as a later mailmove or
an editor would leave them, for what is only read.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive.records import Place, checked_digest, decode, encode, event, parse_timestamp, timestamp
from mailmove.errors import ArchiveDamaged
from mailmove.model import Complete, DateOrigin, Digest, InternalDate, RunId, UniqueId
from tests.support import archives
from tests.unit.archive.making import (
    Mail,
    assert_sound,
    commit,
    last_segment,
    log_lines,
    projected,
    running,
    some,
    store,
    unknown,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
OCTETS = st.binary(max_size=70).map(lambda octets: octets.decode("latin-1"))
TIMES = st.datetimes(
    datetime(1970, 1, 2),
    datetime(2100, 1, 1),
    timezones=st.integers(-12, 14).map(lambda h: timezone(timedelta(hours=h))),
)
PLACES = st.builds(
    Place,
    digest=st.binary(min_size=32, max_size=32).map(lambda octets: Digest(octets.hex())),
    octets=st.integers(0, 2**40),
    listed=st.integers(0, 2**40),
    complete=st.sampled_from(Complete),
    maildrop=st.text(st.characters(exclude_categories=["Cs"])),
    unique_id=OCTETS.map(UniqueId),
    run=st.just(RunId("run")),
    time=TIMES,
    internal_date=st.builds(InternalDate, TIMES, st.sampled_from(DateOrigin)),
    again=st.booleans(),
)


def a_place(**fields: Any) -> Place:
    date = InternalDate(NOON, DateOrigin.RECEIVED)
    usual = {"complete": Complete.YES, "maildrop": "m", "unique_id": UniqueId("u"), "run": RunId("r"), "time": NOON}
    return Place(Digest("a" * 64), 8, 9, internal_date=date, **(usual | fields))


def in_milliseconds(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=time.microsecond // 1000 * 1000)


# ---- what is written is read


@given(PLACES, st.booleans())
def test_a_place_is_read_as_it_was_written(place: Place, known: bool) -> None:
    record = decode(encode(place.record(known=known)), "here")
    again, fields = Place.of(record), ("digest", "octets", "listed", "complete", "maildrop", "unique_id", "again", "by")
    assert all(getattr(again, field) == getattr(place, field) for field in fields)
    assert again.time == in_milliseconds(place.time) and again.internal_date.origin is place.internal_date.origin
    assert record["t"] == ("place" if known else "add")


@given(PLACES)
def test_a_record_is_one_line_of_ascii_that_begins_with_its_type(place: Place) -> None:
    line = encode(place.record(known=False))
    assert line.startswith(b'{"t":"add",') and line.endswith(b"}\n")
    assert line.count(b"\n") == 1 and all(32 <= octet < 127 for octet in line[:-1])


def test_the_line_of_the_design_document() -> None:
    assert encode(a_place().record(known=False)).decode() == (
        '{"t":"add","time":"2026-01-31T12:00:00.000Z","run":"r","maildrop":"m","unique_id":"u",'
        f'"digest":"{"a" * 64}","octets":8,"listed":9,"complete":true,"by":"digest",'
        '"internal_date":"2026-01-31T12:00:00.000Z","internal_date_origin":"received"}\n'
    )


@pytest.mark.parametrize(
    ("complete", "written"),
    [(Complete.YES, True), (Complete.NO, False), (Complete.UNRELIABLE_SIZES, "unreliable-sizes")],
)
def test_complete_is_true_false_or_a_word(complete: Complete, written: object) -> None:
    assert a_place(complete=complete).record(known=False)["complete"] is written or written == complete.value


def test_a_field_that_is_nothing_is_left_out_and_a_run_is_optional() -> None:
    assert event("x", NOON, "", a=None, b=0) == {"t": "x", "time": "2026-01-31T12:00:00.000Z", "b": 0}
    assert list(event("x", NOON, "r", b=1, a=2)) == ["t", "time", "run", "b", "a"]


# ---- unique ids, by way of a whole archive

HOSTILE = ["\0", '"', "\\", "\r\n", "\xff" * 70, "ü", "\u0085", "\x7f", "' OR 1=1 --", "%s", "..", "{}", " ", "a\tb"]


def test_unique_ids_of_any_octets_survive_log_catalogue_and_rebuild(archive_dir: Path) -> None:
    every_octet = [chr(n) for n in range(256)]
    mails = [Mail(uid, mail.octets) for uid, mail in zip([*every_octet, *HOSTILE], some(270), strict=True)]
    store(archive_dir, mails)
    assert [uid for uid, _ in archives.places(archive_dir)] == [*every_octet, *HOSTILE]
    assert unknown(archive_dir, *mails) == []
    assert_sound(archive_dir, *mails)
    assert unknown(archive_dir, *mails) == []


# ---- what a later version may add


def test_unknown_types_and_keys_are_kept_and_ignored(archive_dir: Path) -> None:
    (mail, other) = some(2)
    with running(archive_dir) as archive:
        commit(archive, mail)
        archive.append(archive.event("intend-2", target="x", what=[1, {"deep": None}]))
        commit(archive, other)
        archive.end_run("complete", {})
    before = projected(archive_dir)
    add_keys(archive_dir)
    (archive_dir / "archive.db").unlink()
    assert unknown(archive_dir, mail, other) == [] and projected(archive_dir) == before
    assert all(json.loads(line)["later"] == {"n": 1} for line in log_lines(archive_dir))
    assert_sound(archive_dir, mail, other)


def add_keys(root: Path) -> None:
    """As if a later version had written every record with one key more."""
    lines = [json.dumps(json.loads(line) | {"later": {"n": 1}}) + "\n" for line in log_lines(root)]
    last_segment(root).write_text("".join(lines))
    (root / "log" / "checkpoint").unlink()  # it would have written its own; opening makes one


@pytest.mark.parametrize("line", [b"", b"[]", b"7", b"null", b"{}", b'{"t":1}', b'{"t":"add"', b"\xff\xfe", b"\0\0\0"])
def test_a_line_that_is_no_record_is_damage_and_says_where(line: bytes) -> None:
    with pytest.raises(ArchiveDamaged, match=r"log/1, record 2 is damaged.*`mailmove verify`"):
        decode(line, "log/1, record 2")


BAD_DIGESTS = ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "../" + "a" * 61, "a" * 63 + "\n", None, 7, "\u0661" * 64]


@pytest.mark.parametrize("value", BAD_DIGESTS)
def test_only_a_digest_becomes_a_file_name(value: object) -> None:
    with pytest.raises(ValueError):
        checked_digest(value)


@pytest.mark.parametrize("harm", [{"digest": "x"}, {"octets": "many"}, {"complete": "perhaps"}, {"time": "noon"}])
def test_a_place_that_is_damaged_cannot_be_built(harm: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        Place.of(a_place().record(known=False) | harm)


# ---- times


@given(TIMES)
def test_times_are_utc_in_milliseconds_with_z(time: datetime) -> None:
    text = timestamp(time)
    assert text.endswith("Z") and len(text) == len("2026-01-31T12:00:00.000Z")
    assert parse_timestamp(text) == in_milliseconds(time) and parse_timestamp(text).utcoffset() == timedelta(0)


@given(TIMES, TIMES)
def test_times_sort_as_text(one: datetime, other: datetime) -> None:
    assert (timestamp(one) < timestamp(other)) == (in_milliseconds(one) < in_milliseconds(other))
