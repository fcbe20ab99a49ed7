"""The command line: options in, one job call, report out. The only package that prints, prompts or draws.

Strategy: one file per command. What a command needs is imported when it runs, so that `--help` and `--version` are
quick. Errors become sentences and exit codes in outcome.py and nowhere else.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script."""
    if sys.argv[1:] == ["--version"]:
        from mailmove import __version__

        print(f"mailmove {__version__}")
        return
    from mailmove.cli.app import app

    app()
