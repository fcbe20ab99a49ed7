"""A program's system calls, seen and tampered with by strace.

    prefix = traced(strace, trace, "inject=fsync:error=EIO:when=2", program=ONE_THREAD)
    result = finish(start_mailmove("pull", ..., prefix=prefix, env=QUIET))
    assert any(call.injected for call in calls(trace))

Strategy: strace counts the calls of each kind in each thread by itself, so a point (call, its number) is found by an
undisturbed run and then hit in others. It is the same call in each of them only where one thread makes all of them:
that is what ONE_THREAD is for (altered.py). Call is what a trace says of one call, in the order in which they began.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

SYNCS = ("fsync", "fdatasync", "syncfs")
WRITES = ("write", "pwrite64", "writev", "pwritev")
CALLS = (
    "?rename,?renameat,?renameat2,fsync,fdatasync,syncfs,?mkdir,mkdirat,?unlink,unlinkat,?link,linkat,pwrite64,write,"
    "ftruncate"
)
"""All that change a file system, but for opening a new file."""

ONE_THREAD = (sys.executable, "-m", "tests.support.altered", "one-thread")
EACH_FILE = (sys.executable, "-m", "tests.support.altered", "each-file")
QUIET = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Environment in which Python itself writes no file."""

_CALL = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<args>.*)$")
_RESUMED = re.compile(r"^(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<args>.*)$")
_DESCRIPTOR = re.compile(r"^(\d+)<([^>]*)>")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FAILED = re.compile(r" = -1 (E[A-Z0-9]+) [^=]*$")


def missing() -> str:
    """Why strace cannot be used here, or ""."""
    program = shutil.which("strace")
    if not program:
        return "strace is not installed (Debian: apt install strace)"
    if subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True).returncode:
        return "strace may not trace processes here"
    return ""


def traced(
    trace: Path,
    *rules: str,
    kinds: str = CALLS,
    texts: int = 256,
    only: Path | None = None,
    program: Sequence[str] = (),
) -> tuple[str, ...]:
    """What to put before a command line: its calls go to the file `trace`, and `rules` are injected.

    Of each text, `texts` characters are kept. With `only`, none but the calls on this one file are seen, counted and
    tampered with. `program` is what stands between strace and the command line.
    """
    options = [word for rule in (f"trace={kinds}", *rules) for word in ("-e", rule)]
    paths = ("-P", str(only)) if only else ()
    return ("strace", "-f", "-y", "-qq", "-s", str(texts), *options, *paths, "-o", str(trace), *program)


@dataclass(frozen=True)
class Call:
    """One system call. `path` is its descriptor's (number `descriptor`), else the first one it names.

    `began` and `ended` are lines of the trace. `nth` is its number among those of its name in its thread: strace's
    `when`. `texts` are its quoted arguments, still escaped. `failed` is the error's name, or "".
    """

    thread: int
    name: str
    nth: int
    began: int
    ended: int
    path: PurePosixPath
    descriptor: int
    texts: tuple[str, ...]
    args: str
    failed: str
    injected: bool

    @property
    def counts(self) -> int:
        """The line of the trace from which on it has happened: a sync has when it returned."""
        return self.ended if self.name in SYNCS else self.began


def calls(trace: Path) -> list[Call]:
    """Every call of a trace, oldest first."""
    found: list[Call] = []
    waiting: dict[str, int] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for number, line in enumerate(trace.read_text("utf-8", "replace").splitlines()):
        if call := _CALL.match(line):
            thread, name, args = call["thread"], call["name"], call["args"]
            counts[thread, name] += 1
            waiting[thread] = len(found)
            found.append(_call(int(thread), name, counts[thread, name], number, args))
        elif (resumed := _RESUMED.match(line)) and resumed["thread"] in waiting:
            place = waiting.pop(resumed["thread"])
            found[place] = replace(found[place], ended=number, **_result(resumed["args"]))
    return found


def _call(thread: int, name: str, nth: int, began: int, args: str) -> Call:
    texts = tuple(_STRING.findall(args))
    descriptor = _DESCRIPTOR.match(args)
    number, path = (int(descriptor[1]), descriptor[2]) if descriptor else (-1, texts[0] if texts else "")
    return Call(thread, name, nth, began, began, PurePosixPath(path), number, texts, args, **_result(args))


def _result(args: str) -> dict[str, Any]:
    failed = _FAILED.search(args)
    return {"failed": failed[1] if failed else "", "injected": args.endswith("(INJECTED)")}


def every_call(trace: Path) -> list[tuple[str, int]]:
    """(call, which of its kind in its thread), of the thread that makes most of each kind."""
    most: dict[str, int] = {}
    for call in calls(trace):
        most[call.name] = max(call.nth, most.get(call.name, 0))
    return [(name, number) for name, count in most.items() for number in range(1, count + 1)]
