"""Asking a person, on a terminal only."""

from __future__ import annotations

import getpass
import sys

from mailmove.errors import UsageError


def ask_password(whose: str) -> str:
    """A password, not echoed. Raises UsageError where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"No password for {whose}: give --password-env NAME, --password-file FILE or --password-command CMD "
            "(or --token-command CMD for OAuth 2), or run in a terminal to be asked."
        )
    return getpass.getpass(f"Password for {whose}: ")


def confirm(question: str, answer: str) -> bool:
    """Whether a person types this very answer; False where there is nobody to ask."""
    if not sys.stdin.isatty():
        return False
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == answer
