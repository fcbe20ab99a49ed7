"""How far a verification has come is shown as it goes: for programs as JSON, on a terminal as a bar.

Strategy: the terminal is a real one (a pty), read until the program has closed it; what a bar must say is there in its
first picture already, whatever the machine's speed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.support.cli import REPO, environment, mailmove
from tests.unit.archive.making import some, store

MAILS = some(30)
OCTETS = sum(len(mail.octets) for mail in MAILS)


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    store(archive_dir, MAILS)
    return archive_dir


def on_a_terminal(*args: object) -> tuple[int, str, str]:
    """Exit code, stdout, and all that was drawn on the terminal that stderr is."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [sys.executable, "-m", "mailmove", *map(str, args)]
    with subprocess.Popen(command, cwd=REPO, env=environment(), stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                drawn += os.read(ours, 1 << 16) or b""
            except OSError:  # EIO: nobody has it open any more
                break
        assert process.stdout is not None
        said = process.stdout.read().decode()
    os.close(ours)
    return process.returncode, said, drawn.decode()


def test_for_programs_it_ends_with_all_of_it(archive: Path) -> None:
    result = mailmove("verify", "-a", archive, "--progress", "json")
    assert result.code == 0, result
    last = [json.loads(line) for line in result.stderr.splitlines()][-1]
    assert last == {
        "what": "verify",
        "messages": len(MAILS),
        "octets": OCTETS,
        "all_messages": len(MAILS),
        "all_octets": OCTETS,
    }


def test_a_part_is_measured_by_itself(archive: Path) -> None:
    one, n = MAILS[0], int(MAILS[0].digest[:3], 16) + 1
    result = mailmove("verify", "-a", archive, "--progress", "json", "--part", f"{n}/4096")
    last = json.loads(result.stderr.splitlines()[-1])
    in_it = [mail for mail in MAILS if mail.digest[:3] == one.digest[:3]]
    assert (last["messages"], last["all_octets"]) == (len(in_it), sum(len(mail.octets) for mail in in_it))


def test_on_a_terminal_it_is_a_bar_with_bytes_and_the_time_left(archive: Path) -> None:
    code, said, drawn = on_a_terminal("verify", "-a", archive)
    assert code == 0 and said.startswith("Sound: ") and "\x1b" not in said
    pictures = [picture for picture in drawn.split("\r") if picture.startswith("verify:")]
    assert pictures, drawn
    for picture in pictures:
        assert re.search(r"^verify: +\d+%.* [\d.]+k?/[\d.]+k \[[\d:]+<[\d:?]+, ", picture), picture
    quiet = on_a_terminal("verify", "-a", archive, "-q")
    assert quiet == (0, "", "")
