"""A short run of each target under atheris: 30 s in CI and with --full, else so many inputs, the same ones for a seed.

What breaks an invariant is in the output, in base64 too: `python -m tests.fuzz.TARGET FILE` repeats it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.fuzz import engine

SECONDS, RUNS, PATIENCE = 30, 5000, 200


@pytest.mark.parametrize("target", ["framing", "smtp", "source"])
def test_atheris_finds_nothing(target: str, full: bool, seed: int, tmp_path: Path) -> None:
    if reason := engine.missing():
        unavailable(reason)
    long = full or os.environ.get("CI") == "true"
    limits = [f"--seconds={SECONDS}"] if long else [f"--seconds={SECONDS}", f"--runs={RUNS}"]
    command = [sys.executable, "-m", f"tests.fuzz.{target}", *limits, f"--seed={seed or 1}"]
    run = subprocess.run(command, capture_output=True, timeout=PATIENCE, env={**os.environ, "TMPDIR": str(tmp_path)})
    told = (run.stdout + run.stderr).decode("utf-8", "replace")
    done = re.search(r"Done (\d+) runs", told)
    assert run.returncode == 0 and done, told[-4000:]
    assert int(done[1]) > len(list((engine.CORPUS / target).iterdir())), told[-4000:]
