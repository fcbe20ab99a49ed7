"""The command line: options in, one job call, report out. The only package that prints, prompts or draws.

Strategy: one file per command. What a command needs is imported when it runs, so that `--help` and `--version` are
quick. Errors become sentences and exit codes in outcome.py and nowhere else.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

GARBAGE = 100_000
"""So many new objects before Python looks for cycles. We make hardly any; a listing is 10^5 objects that all stay."""


def main() -> None:
    """The console script."""
    if sys.argv[1:] == ["--version"]:
        from mailmove import __version__

        print(f"mailmove {__version__}")
        return
    gc.set_threshold(GARBAGE)
    from mailmove.cli.app import COMMANDS, command_line

    asked = [name for name in sys.argv[1:2] if name in COMMANDS]
    try:
        command_line(asked or COMMANDS)()
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise


def _leave(code: int) -> None:
    """Ends now: everything is closed, and to take modules and listings apart one by one takes as long as many a run."""
    with contextlib.suppress(OSError, ValueError):  # whoever read our output is gone: Python says so, its own way
        for stream in filter(None, (sys.stdout, sys.stderr)):  # there is none where it was closed: `mailmove … >&-`
            stream.flush()
        os._exit(code)
