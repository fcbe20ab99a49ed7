"""What the tests of this folder need of the machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.support import strace as tracing


@pytest.fixture(scope="session")
def strace() -> str:
    """The program that traces others."""
    if reason := tracing.missing():
        unavailable(reason)
    return "strace"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder on a tmpfs, or on any other disk where there is none."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else tmp_path, prefix="mailmove-") as folder:
        yield Path(folder)
