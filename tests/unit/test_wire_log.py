"""The file of --wire-log: for its owner only, a line is a line, and a full disk does not end a job."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from mailmove.errors import ConfigurationError
from mailmove.wire_log import WireLog

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\d+) ([CS-]): (.*)")


def lines(path: Path) -> list[tuple[str, ...]]:
    found = [LINE.fullmatch(line) for line in path.read_text("utf-8").split("\n")[:-1]]
    assert all(found)
    return [match.groups() for match in found if match]


def test_each_line_has_time_session_and_direction(tmp_path: Path) -> None:
    log = WireLog(tmp_path / "log")
    first, second = log.session("a:1"), log.session("b:2")
    first("C", "CAPA")
    second("S", "+OK grüße")
    first("S", "+OK")
    log.close()
    assert lines(tmp_path / "log") == [
        ("1", "-", "connecting to a:1"),
        ("2", "-", "connecting to b:2"),
        ("1", "C", "CAPA"),
        ("2", "S", "+OK grüße"),
        ("1", "S", "+OK"),
    ]


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        WireLog(tmp_path / "log").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


@pytest.mark.parametrize("said", ["a\r\nb", "a\x1b[31mb", "a\x00b", "a\u2028b", "a\x85b", "a\udc80b"])
def test_no_server_can_write_a_second_line_or_move_the_cursor(said: str, tmp_path: Path) -> None:
    log = WireLog(tmp_path / "log")
    log.session("a:1")("S", said)
    log.close()
    ((_, _, text),) = lines(tmp_path / "log")[1:]
    assert text.isprintable() and text[0] == "a" and text[-1] == "b"


def test_a_second_run_goes_on_at_the_end(tmp_path: Path) -> None:
    for _ in range(2):
        log = WireLog(tmp_path / "log")
        log.session("a:1")
        log.close()
    assert len(lines(tmp_path / "log")) == 2


@pytest.mark.parametrize("place", [".", "no/such/folder/log"])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="wire log") as refused:
        WireLog(tmp_path / place)
    assert str(tmp_path / place) in refused.value.message and refused.value.exit_code == 78


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_no_error() -> None:
    log = WireLog(Path("/dev/full"))
    log.session("a:1")("C", "CAPA")
    log.close()
