"""`mailmove demo` as somebody meets it first: it works at once, tells what happened, and leaves an archive to look at.

Strategy: the real command, as a process of its own with TMPDIR in the test's folder, so that what it leaves behind can
be found. Its story is checked against the archive, by the standard library and by `mailmove verify`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailmove.demo import generate
from tests.conftest import unavailable
from tests.servers import pymap
from tests.support import archives
from tests.support.cli import REPO, Result, mailmove
from tests.support.replaying import fill

MESSAGES = 300
HIDES_PYMAP = """
import sys

class Hider:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pymap":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hider())
"""


@pytest.fixture(scope="module")
def needs_pymap() -> None:
    if reason := pymap.missing():
        unavailable(reason)


def demo(folder: Path, *more: object) -> Result:
    """A demo that makes its temporary files in `folder`. No message of it may look like a failure."""
    result = mailmove("demo", *more, cwd=folder, env={"TMPDIR": str(folder)})
    assert "Traceback" not in result.stderr + result.stdout, result
    assert all(line.startswith("mailmove: ") for line in result.stderr.splitlines()), result
    return result


def the_archive(folder: Path) -> Path:
    (made,) = folder.rglob("*.mailmove")
    return made


def assert_holds_the_demo_mail(archive: Path, messages: int) -> None:
    expected = {archives.digest(message.octets): message.octets for message in generate(messages)}
    assert archives.files(archive) == expected and len(expected) == messages
    archives.assert_consistent(archive)
    assert mailmove("verify", "-a", archive).code == 0


def test_the_whole_story(needs_pymap: None, tmp_path: Path) -> None:
    result = demo(tmp_path)
    assert result.code == 0, result
    archive = the_archive(tmp_path)
    assert_holds_the_demo_mail(archive, MESSAGES)
    assert f"{MESSAGES} of {MESSAGES} messages, octet for octet" in result.stdout
    assert re.search(rf"^Sound: .*\n  {MESSAGES} messages proven", result.stdout, re.MULTILINE), result
    assert f"Run again: 0 stored, {MESSAGES} archived and {MESSAGES} there already." in result.stdout
    assert result.stdout.count("Complete: ") == 2
    assert re.search(r"closed the connection .* Trying again", result.stderr), "the reconnect is to be seen"


def test_it_says_where_the_archive_is_and_what_to_type_next(needs_pymap: None, tmp_path: Path) -> None:
    result = demo(tmp_path, "--messages", 20)
    assert result.code == 0, result
    archive = the_archive(tmp_path)
    last = result.stdout.splitlines()[-5:]
    assert any(line.endswith(f": {archive}") for line in last), result
    assert any("mailmove migrate pop3s://" in line and "imaps://" in line for line in last), result
    (command,) = [line for line in last if "mailmove status" in line]
    shown = mailmove(*command.partition("; mailmove ")[2].split())
    assert shown.code == 0 and "20 messages" in shown.stdout and "20 delivered" in shown.stdout, shown


def test_as_json_it_is_one_document(needs_pymap: None, tmp_path: Path) -> None:
    document = demo(tmp_path, "--messages", 20, "--json").json()
    assert (document["job"], document["outcome"], document["identical_at_target"]) == ("demo", "complete", 20)
    assert document["archive"] == str(the_archive(tmp_path))
    first, again, verified = document["jobs"]
    assert [(job["stored"], job.get("retries")) for job in first["jobs"][:1]] == [(20, 1)], "cut once, and resumed"
    assert first["jobs"][1]["delivered"] == 20
    assert (again["jobs"][0]["already_archived"], again["jobs"][1]["already_there"]) == (20, 20)
    assert (verified["outcome"], verified["proven"], verified["findings"]) == ("complete", 20, [])


def test_quiet_says_nothing(needs_pymap: None, tmp_path: Path) -> None:
    result = demo(tmp_path, "--messages", 20, "-q")
    assert (result.code, result.stdout, result.stderr) == (0, "", "")
    assert_holds_the_demo_mail(the_archive(tmp_path), 20)


def test_the_archive_can_be_named(needs_pymap: None, tmp_path: Path) -> None:
    place = tmp_path / "folder" / "mine.mailmove"
    place.parent.mkdir()
    result = demo(tmp_path, "--messages", 2, "-a", place)
    assert result.code == 0 and str(place) in result.stdout, result
    assert_holds_the_demo_mail(place, 2)


def test_without_pymap_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDES_PYMAP)
    env = {"PYTHONPATH": f"{tmp_path}:{REPO}", "TMPDIR": str(tmp_path)}
    for more in ((), ("--json",)):
        result = mailmove("demo", *more, env=env)
        assert result.code == 78, result
        assert result.stderr == "mailmove: The demo needs its extra: pip install 'mailmove[demo]'\n"
        assert bool(result.stdout) == bool(more), result
    assert result.json()["error"]["class"] == "ConfigurationError"
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["sitecustomize.py"]


def test_an_archive_that_is_there_is_left_alone(tmp_path: Path) -> None:
    archive = fill(tmp_path / "mine.mailmove", [b"Subject: precious\r\n\r\n"])
    before = archives.records(archive)
    result = demo(tmp_path, "-a", archive)
    assert (result.code, result.stdout) == (2, "") and str(archive) in result.stderr, result
    assert archives.records(archive) == before


@pytest.mark.parametrize("number", ["1", "0", "-3", "many"])
def test_a_number_of_messages_that_makes_no_demo(tmp_path: Path, number: str) -> None:
    result = demo_of_nothing(tmp_path, number)
    assert (result.code, result.stdout) == (2, "") and "--messages" in result.stderr
    assert list(tmp_path.iterdir()) == []


def demo_of_nothing(folder: Path, number: str) -> Result:
    return mailmove("demo", "--messages", number, cwd=folder, env={"TMPDIR": str(folder)})
