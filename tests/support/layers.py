"""Which room of the house may import which (design.md section 4), and the checker that holds them to it.

Strategy: a table, not prose: a room is a top-level module or package of mailmove, "sources.*" being the adapters behind
the contract "sources". The source is read, never run, so an import counts wherever it stands: inside a function, behind
TYPE_CHECKING, relative, or as import_module("..."). A module of a room that is not in the table is a finding too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

HOUSE = "mailmove"
PACKAGE = Path(__file__).resolve().parents[2] / HOUSE

BASE = ("model", "errors")
CONTRACTS = ("sources", "targets")
WIRE = ("net", "dial", "tls", "wire_log")
NAMES = ("hosts", "urls")

ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "model": (),
    "message": BASE,
    "repairs": ("repairs", "message", *BASE),
    "secrets": BASE,
    "tls": BASE,
    "hosts": BASE,
    "urls": ("hosts", *BASE),
    "dial": ("hosts", *BASE),
    "net": ("dial", "hosts", "tls", *BASE),
    "wire_log": BASE,
    "tsa": BASE,
    "protocols": ("protocols", *BASE),
    "sources": BASE,
    "targets": BASE,
    "sources.*": ("sources", "sources.*", "protocols", "net", "dial", "hosts", "tls", *BASE),
    "targets.*": ("targets", "targets.*", "protocols", "net", "dial", "hosts", "tls", *BASE),
    "archive": ("archive", "message", *BASE),
    "jobs": ("jobs", "archive", "repairs", "message", *NAMES, *CONTRACTS, *BASE),
    "recipe": ("recipe", "jobs", "repairs", *NAMES, *BASE),
    "endpoints": ("sources.*", "targets.*", "jobs", "secrets", "urls", *WIRE, "protocols", *CONTRACTS, *BASE),
    "schedule": ("schedule", "jobs", *BASE),
    "reporting": ("reporting", "jobs", *BASE),
    "notify": BASE,
    "demo": ("demo", "protocols", *BASE),
    "cli": (
        "cli",
        "endpoints",
        *NAMES,
        "recipe",
        "schedule",
        "reporting",
        "notify",
        "secrets",
        "jobs",
        "archive",
        "repairs",
        "message",
        *WIRE,
        "tsa",
        "demo",
        *CONTRACTS,
        *BASE,
    ),
    "__main__": ("cli",),
    "": (),
}
"""Room -> the rooms it may import. The root ("") holds the version, which everybody may read."""

PURE = ("errors", "model", "message", "repairs", "protocols")
"""Rooms that need the standard library and nothing else, but what OWNERS gives them."""

_NETWORK = ("net", "dial", "tls", "targets.*")
OWNERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("socket", "ssl", "select", "selectors", "socketserver"), _NETWORK),
    **dict.fromkeys(("http", "urllib.request"), ("tsa", "notify")),
    **dict.fromkeys(("poplib", "telnetlib", "ftplib"), ()),
    **dict.fromkeys(("rfc3161_client", "cryptography"), ("archive.tokens",)),
    **dict.fromkeys(("asyncio", "pymap", "pysasl", "proxyprotocol"), ("demo",)),
    **dict.fromkeys(("imapclient", "imaplib", "smtplib"), ("targets.*",)),
    **dict.fromkeys(("sqlite3", "sqlite_utils", "filelock"), ("archive",)),
    **dict.fromkeys(("typer", "click", "tqdm", "rich"), ("cli",)),
    "tenacity": ("jobs.retry",),
    "scramp": ("protocols.sasl",),
}
"""Foreign module -> the rooms (or one module) that alone may import it."""

DENIED = {"protocols": ("time", "logging", "datetime", "threading", "os"), "model": ("time", "logging", "os")}
"""What a room that is sans-IO must not even reach for."""

SPEAKERS = ("cli",)


def findings(name: str, source: str, *, package: bool = False, modules: Collection[str] = ()) -> list[str]:
    """What module `name` ("mailmove.jobs.pull") does against the rules, one sentence each.

    `package`: it is an __init__.py. `modules`: the modules there are, to tell `from mailmove.x import module` from
    `from mailmove.x import value`; the rooms themselves are known anyway.
    """
    tree = ast.parse(source)
    room = room_of(name)
    if room not in ALLOWED:
        return [f"{name}: no room {room!r} in tests/support/layers.py; add it to ALLOWED"]
    known = {*modules, *(f"{HOUSE}.{one}" for one in ALLOWED if one.isidentifier())}
    found = []
    for line, target in imported(tree, name, package=package, modules=known):
        reason = _ours(room, target) if _is_ours(target) else _foreign(name, room, target)
        found += [f"{name}:{line}: {reason}"] if reason else []
    return found + [f"{name}:{line}: {what}, and only {HOUSE}.cli speaks" for line, what in _speech(tree, room)]


def room_of(module: str) -> str:
    """ "mailmove.sources.pop3" -> "sources.*"; "mailmove.archive.log" -> "archive"; "mailmove" -> ""."""
    _, _, rest = module.partition(".")
    top, _, inner = rest.partition(".")
    return f"{top}.*" if top in CONTRACTS and inner else top


def house() -> Iterator[tuple[str, Path]]:
    """(name, file) of every module of mailmove."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


# ---- The rules


def _is_ours(target: str) -> bool:
    return target == HOUSE or target.startswith(HOUSE + ".")


def _ours(room: str, target: str) -> str:
    there = room_of(target)
    if there == "" or there in ALLOWED[room]:
        return ""
    return f"{room or 'the root'} must not import {target} (allowed: {', '.join(ALLOWED[room]) or 'nothing of ours'})"


def _foreign(name: str, room: str, target: str) -> str:
    top = target.partition(".")[0]
    for module, owners in OWNERS.items():
        if _within(target, module):
            if room in owners or name.partition(".")[2] in owners:
                return ""
            return f"{room} must not import {target} (only: {', '.join(owners) or 'nobody'})"
    if any(_within(target, module) for module in DENIED.get(room, ())):
        return f"{room} must not import {target}: it is sans-IO"
    if room in PURE and top not in sys.stdlib_module_names:
        return f"{room} must not import {target}: it is pure, the standard library only"
    return ""


def _within(target: str, module: str) -> bool:
    return target == module or target.startswith(module + ".")


def _speech(tree: ast.AST, room: str) -> Iterator[tuple[int, str]]:
    """Where it prints, reads a terminal or touches the standard streams."""
    if room in SPEAKERS:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input"):
            yield node.lineno, f"it calls {node.func.id}()"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            stream = f"{node.value.id}.{node.attr}"
            if stream in ("sys.stdout", "sys.stderr", "sys.stdin"):
                yield node.lineno, f"it uses {stream}"


# ---- The imports of a module


def imported(tree: ast.AST, name: str, *, package: bool, modules: Collection[str]) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of everything a module imports, wherever and however it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, name, package)
            yield from ((node.lineno, one) for one in _members(base, node.names, modules))
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield from ((node.lineno, one) for one in _constants(node))


def _absolute(node: ast.ImportFrom, name: str, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    up = node.level - 1 if package else node.level
    base = parts[: len(parts) - up]
    return ".".join([*base, node.module] if node.module else base)


def _members(base: str, aliases: list[ast.alias], modules: Collection[str]) -> Iterator[str]:
    """`from base import a, b`: base.a where that is a module of ours, or of theirs for all we know by the owners."""
    is_module: Callable[[str], bool] = modules.__contains__ if _is_ours(base) else OWNERS.__contains__
    for alias in aliases:
        member = f"{base}.{alias.name}"
        yield member if is_module(member) else base


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _constants(node: ast.Call) -> Iterator[str]:
    for argument in node.args[:1]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
