"""The IMAP adapter stands on private names of imaplib: it must work on every Python from 3.11 on (adapter.py).

Strategy: each Python that can be found here runs the same check in a process of its own, with the imapclient of this
one, which is pure Python. A version that is not here is a skipped test; the one that runs the tests always is.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import imapclient
import pytest

from tests.hostile import adapter

PROJECT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def test_with_this_python() -> None:
    adapter.main()


@pytest.mark.parametrize("version", VERSIONS)
def test_with_each_python_that_is_here(version: str) -> None:
    python = pythons().get(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    with tempfile.TemporaryDirectory() as folder:
        package = Path(imapclient.__file__).parent
        for part in (package, *package.parent.glob("imapclient-*.dist-info")):
            (Path(folder) / part.name).symlink_to(part)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), folder])}
        command = [python, "-W", "error", "-m", "tests.hostile.adapter"]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"Python {version}." in done.stdout


@functools.cache
def pythons() -> dict[str, str]:
    """version -> a Python of that version: by name, or beside the one this venv was made of."""
    beside = Path(sys.base_prefix).parent.glob("*/bin/python3")
    named = (shutil.which(f"python{version}") for version in VERSIONS)
    found: dict[str, str] = {}
    for python in filter(None, [*named, *map(str, beside)]):
        said = subprocess.run([python, "-I", "-c", ASK], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            found.setdefault(said.stdout.strip(), python)
    return found
