"""Where a password or token comes from: a reference in the job, resolved at the last moment.

Strategy: a job holds a SecretRef, which is plain data and safe to print or store; the secret itself lives in a Secret,
whose repr is ***, and leaves it only where it is sent. One trailing newline is cut, since files and commands end in
one; any other CR, LF or NUL is refused, since a server would read what follows as a command.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from mailmove.errors import ConfigurationError
from mailmove.model import SecretRef

COMMAND_TIMEOUT = 120.0


class Secret:
    """A password, or a token: shown only by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str, what: str = "password") -> None:
        """Raises ConfigurationError, in words of `what`, if no server could take it."""
        value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise ConfigurationError(f"The {what} is empty.")
        if any(character in value for character in "\r\n\0"):
            raise ConfigurationError(f"The {what} holds a line break or NUL in its middle; give it as one line.")
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


def resolve(ref: SecretRef, ask: Callable[[], str]) -> Secret:
    """The secret `ref` refers to; `ask` is called if it refers to none. Raises ConfigurationError."""
    if ref.env:
        return Secret(_from_env(ref.env))
    if ref.file:
        return Secret(_from_file(Path(ref.file)))
    if ref.command:
        return Secret(_from_command(ref.command))
    if ref.token_command:
        return Secret(_from_command(ref.token_command, "token"), "token")
    return Secret(ask())


def _from_env(name: str) -> str:
    if name not in os.environ:
        raise ConfigurationError(f"The environment has no variable {name} to take the password from.")
    return os.environ[name]


def _from_file(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The password file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"The password file {path} is not text in UTF-8.") from None


def supply(ref: SecretRef, ask: Callable[[], str]) -> Callable[[], Secret]:
    """What gives the secret at each login: a token made anew, but a password that is found out once and now.

    Raises ConfigurationError, and what it returns does likewise.
    """
    if ref.token_command:
        return lambda: resolve(ref, ask)
    secret = resolve(ref, ask)
    return lambda: secret


def _from_command(command: str, what: str = "password") -> str:
    """The first and only line a shell command prints; its own messages go to our stderr."""
    try:
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT, check=False)  # noqa: S602 - the user's own command line
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"The {what} command gave no answer for {COMMAND_TIMEOUT:g} s.") from None
    if done.returncode != 0:
        raise ConfigurationError(f"The {what} command failed with exit status {done.returncode}.")
    try:
        return done.stdout.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"The {what} command printed something that is not text in UTF-8.") from None
