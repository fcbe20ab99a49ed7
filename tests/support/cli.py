"""mailmove as a user has it: a process of its own, judged by its exit code, stdout and stderr.

    result = mailmove("pull", f"pop3s://alice@127.0.0.1:{port}", "-a", archive, "--ca-file", ca, *PASSWORD_FROM_ENV)
    assert result.code == 0 and result.json()["stored"] == 20

Strategy: this checkout, whatever is installed; an environment without the developer's own settings, home folder and
keyring, and of a fixed width and language, so that output can be compared. The password is in the environment only.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.client import PASSWORD

REPO = Path(__file__).resolve().parents[2]
PASSWORD_NAME = "MAILMOVE_TEST_PASSWORD"  # the name of a variable
PASSWORD_FROM_ENV = ("--password-env", PASSWORD_NAME)
FOREIGN = ("MAILMOVE_", "XDG_", "PYTHON")


@dataclass(frozen=True)
class Result:
    """What a finished mailmove left behind."""

    args: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """The one JSON document on stdout; anything else there is an error."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            raise AssertionError(f"stdout is not one JSON document\n{self}") from None

    def __str__(self) -> str:
        return f"mailmove {' '.join(self.args)}\nexit {self.code}\n-- stdout\n{self.stdout}\n-- stderr\n{self.stderr}"


def mailmove(
    *args: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float = 120,
) -> Result:
    """Runs `mailmove ARGS` to its end. Without `input` there is no stdin; `env` is added to the usual environment."""
    process = start_mailmove(*args, cwd=cwd, env=env, stdin=None if input is None else subprocess.PIPE)
    return finish(process, timeout, input)


def start_mailmove(
    *args: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    prefix: tuple[str, ...] = (),
) -> subprocess.Popen[str]:
    """Starts `mailmove ARGS` in a process group of its own. `prefix` comes before it (strace and the like).

    End it with `finish` (waits, returns its Result) or `kill`.
    """
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "mailmove", *_words(args)],
        cwd=cwd or _home(),
        env=environment(env),
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 120, input: str | None = None) -> Result:
    """Waits for a started mailmove, killed or not."""
    args = _words(process.args)
    args = args[args.index("mailmove") + 1 :]
    try:
        stdout, stderr = process.communicate(input, timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        said = Result(args, -signal.SIGKILL, *process.communicate())
        raise AssertionError(f"mailmove did not end within {timeout} s\n{said}") from None
    return Result(args, process.returncode, stdout, stderr)


def kill(process: subprocess.Popen[str], how: int = signal.SIGKILL) -> None:
    """Signals a started mailmove and all it started itself. Harmless when it has ended and was waited for."""
    if process.poll() is None:
        os.killpg(process.pid, how)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The developer's own settings left out, and nothing of a terminal's width or language left to chance."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    env |= {"HOME": str(_home()), "PYTHONPATH": str(REPO), PASSWORD_NAME: PASSWORD}
    env |= {"LC_ALL": "C.UTF-8", "TZ": "UTC", "COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}
    return env | dict(more or {})


def _words(args: object) -> tuple[str, ...]:
    assert isinstance(args, tuple | list)
    return tuple(os.fsdecode(arg) if isinstance(arg, bytes) else str(arg) for arg in args)


@cache
def _home() -> Path:
    """An empty home folder for this run of the tests."""
    home = tempfile.TemporaryDirectory(prefix="mailmove-home-")
    atexit.register(home.cleanup)
    return Path(home.name)
