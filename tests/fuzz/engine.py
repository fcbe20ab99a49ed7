"""The command line of a target, and atheris, which is known here only.

Strategy: atheris counts branches in modules that it sees being imported, and a target that runs as `python -m` has
imported them long before. So `main` only reads the options and then becomes another process, this module's own, which
imports the target under atheris' eyes. What is found goes to a folder of its own, never to the corpus.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
MAX_LENGTH = 600
ADVICE = "atheris is not installed: pip install --only-binary atheris -e '.[fuzz]' (Linux on x86-64)"


def missing() -> str:
    """Why there is no coverage-guided fuzzing on this machine, or ""."""
    return "" if importlib.util.find_spec("atheris") else ADVICE


def main(target: str, arguments: Sequence[str] | None = None) -> None:
    """`python -m tests.fuzz.TARGET`: replays files, or fuzzes until the time or the runs are over."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{target}")
    parser.add_argument("--seconds", type=int, default=60, help="how long to go on (default: 60)")
    parser.add_argument(
        "--runs", type=int, default=-1, help="how many inputs to try (default: as many as there is time)"
    )
    parser.add_argument("--seed", type=int, default=0, help="repeats a run (default: a random one)")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to check once, without fuzzing")
    options = parser.parse_args(arguments)
    if options.files:
        replay(target, options.files)
    elif reason := missing():
        parser.exit(2, f"{parser.prog}: {reason}\n")
    else:
        _become(target, options)


def replay(target: str, files: Sequence[Path]) -> None:
    """Checks each input; the first that breaks the invariant ends it with its AssertionError."""
    check = importlib.import_module(f"tests.fuzz.{target}").check
    for file in files:
        check(file.read_bytes())
    print(f"{len(files)} inputs, and the invariant holds.")


def _become(target: str, options: argparse.Namespace) -> None:
    found = tempfile.mkdtemp(prefix=f"fuzz-{target}-")
    flags = (
        f"-max_total_time={options.seconds} -runs={options.runs} -seed={options.seed} -max_len={MAX_LENGTH}"
        f" -len_control=0 -timeout=20 -rss_limit_mb=1024 -artifact_prefix={found}/broke- -print_final_stats=1"
    )
    print(f"What breaks the invariant is kept as {found}/broke-*", flush=True)
    command = [sys.executable, "-m", __name__, target, *flags.split(), found, str(CORPUS / target)]
    os.execv(sys.executable, command)


def _fuzz(target: str, flags: Sequence[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["mailmove"]):
        check = importlib.import_module(f"tests.fuzz.{target}").check
    atheris.Setup([target, *flags], check)
    atheris.Fuzz()


if __name__ == "__main__":
    _fuzz(sys.argv[1], sys.argv[2:])
