"""Draws the Progress contract on stderr: a bar on a terminal, a line now and then elsewhere, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from mailmove.cli.outcome import printable, say
from mailmove.model import NoProgress, Progress

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""

JSON_EVERY = 1.0


def choose(style: str, *, quiet: bool) -> Progress:
    """The progress for this terminal. Raises UsageError."""
    from mailmove.errors import UsageError

    if style not in ("auto", "json"):
        raise UsageError(f"--progress {style!r} is none; give auto or json.")
    if quiet:
        return NoProgress()
    if style == "json":
        return JsonLines()
    return Bar() if sys.stderr.isatty() else Lines()


class Tally:
    """What all ways of drawing count: settled messages and octets, and octets on their way."""

    def __init__(self) -> None:
        self.what = ""
        self.messages = self.octets = self.all_messages = self.all_octets = self.open = 0
        self.shown = time.monotonic()

    def note(self, text: str) -> None:
        say(text)

    def begin(self, what: str, messages: int, octets: int) -> None:
        self.what = what
        self.all_messages, self.all_octets = self.messages + messages, self.octets + octets
        self.show(force=False)

    def received(self, octets: int) -> None:
        self.open += octets
        self.show(force=False)

    def done(self, messages: int, octets: int) -> None:
        self.messages += messages
        self.octets += octets
        self.open = max(0, self.open - octets)
        self.show(force=False)

    def rewind(self) -> None:
        self.open = 0

    def end(self) -> None:
        """The next job counts from the start."""
        self.messages = self.octets = self.all_messages = self.all_octets = self.open = 0

    def show(self, *, force: bool) -> None:
        """Draws, if it is time to."""


class Lines(Tally):
    """A line every 30 s."""

    def show(self, *, force: bool) -> None:
        if time.monotonic() - self.shown >= EVERY:
            self.shown = time.monotonic()
            done = f"{self.messages:,} of {self.all_messages:,} messages, {self.octets:,} of {self.all_octets:,} bytes"
            say(f"{self.what}: {done}")


class JsonLines(Tally):
    """An object a line, at most one a second, and one at the end."""

    def note(self, text: str) -> None:
        self._print({"note": text})

    def end(self) -> None:
        if self.all_messages:
            self.show(force=True)
        super().end()

    def show(self, *, force: bool) -> None:
        if force or time.monotonic() - self.shown >= JSON_EVERY:
            self.shown = time.monotonic()
            names = ("what", "messages", "octets", "all_messages", "all_octets")
            self._print({name: getattr(self, name) for name in names})

    @staticmethod
    def _print(document: dict[str, Any]) -> None:
        print(json.dumps(document), file=sys.stderr, flush=True)


class Bar(Tally):
    """tqdm: octets as the bar's length, settled messages beside it."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def note(self, text: str) -> None:
        if self._bar is None:
            say(text)
        else:
            self._bar.write("mailmove: " + printable(text), file=sys.stderr)

    def begin(self, what: str, messages: int, octets: int) -> None:
        from tqdm import tqdm

        super().begin(what, messages, octets)
        if self._bar is None and messages:
            self._bar = tqdm(
                total=octets, desc=what, unit="B", unit_scale=True, dynamic_ncols=True, leave=False, mininterval=0.2
            )
        elif self._bar is not None:
            self._bar.total = self.all_octets
        self.show(force=True)

    def show(self, *, force: bool) -> None:
        if self._bar is None:
            return
        self._bar.set_postfix_str(f"{self.messages:,} of {self.all_messages:,} messages", refresh=False)
        self._bar.update(min(self.octets + self.open, self.all_octets) - self._bar.n)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        super().end()
