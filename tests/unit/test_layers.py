"""The layers of the house: every module of mailmove keeps to them, and the checker can tell when one does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.layers import ALLOWED, findings, house, room_of

MODULES = dict(house())


@pytest.mark.parametrize("name", MODULES)
def test_every_module_keeps_to_its_layer(name: str) -> None:
    path = MODULES[name]
    package = path.name == "__init__.py"
    assert findings(name, path.read_text("utf-8"), package=package, modules=MODULES) == []


def test_the_whole_house_is_looked_at() -> None:
    assert {"mailmove", "mailmove.model", "mailmove.errors"} <= set(MODULES)
    assert all(isinstance(path, Path) and path.is_file() for path in MODULES.values())


def test_no_room_can_come_back_to_itself_by_way_of_others() -> None:
    """The table itself runs one way: following it from any room never leads back."""

    def reaches(room: str, goal: str, seen: set[str]) -> bool:
        onward = [next_room for next_room in ALLOWED.get(room, ()) if next_room != room and next_room not in seen]
        return goal in onward or any(reaches(one, goal, seen | {room}) for one in onward)

    assert [room for room in ALLOWED if reaches(room, room, set())] == []


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("mailmove", ""),
        ("mailmove.__main__", "__main__"),
        ("mailmove.net", "net"),
        ("mailmove.archive.export.bag", "archive"),
        ("mailmove.sources", "sources"),
        ("mailmove.sources.pop3", "sources.*"),
    ],
)
def test_a_module_knows_its_room(module: str, room: str) -> None:
    assert room_of(module) == room


WRONG_WAY = [
    ("mailmove.errors", "from mailmove.model import Digest"),
    ("mailmove.model", "import mailmove.errors"),
    ("mailmove.message", "from mailmove.archive import Archive"),
    ("mailmove.jobs.timestamp", "from mailmove.tsa import ask"),
    ("mailmove.net", "from mailmove.sources import Source"),
    ("mailmove.protocols.pop3.connection", "from mailmove.net import Stream"),
    ("mailmove.archive.store", "from mailmove.net import connect"),
    ("mailmove.archive.store", "from mailmove.sources import Source"),
    ("mailmove.archive.store", "import mailmove.jobs.pull as p"),
    ("mailmove.sources", "from mailmove.sources.pop3 import open_pop3"),
    ("mailmove.sources.pop3", "from mailmove.archive import Archive"),
    ("mailmove.jobs.pull", "from mailmove.sources.pop3 import open_pop3"),
    ("mailmove.jobs.pull", "from mailmove.net import connect"),
    ("mailmove.jobs.pull", "from mailmove.endpoints import open_source"),
    ("mailmove.secrets", "from mailmove.jobs import PullJob"),
    ("mailmove.recipe", "from mailmove.endpoints import parse"),
    ("mailmove.endpoints", "from mailmove.archive import Archive"),
    ("mailmove.endpoints", "from mailmove.cli import app"),
    ("mailmove.demo.pop3_server", "from mailmove.net import connect"),
    ("mailmove.demo.pop3_server", "from mailmove.archive import Archive"),
    ("mailmove.jobs.pull", "from mailmove.demo import Pop3Server"),
    ("mailmove.endpoints", "from mailmove.demo import Pop3Server"),
    ("mailmove", "from mailmove.cli import main"),
    ("mailmove.cellar", "import os"),
]


@pytest.mark.parametrize(("name", "source"), WRONG_WAY)
def test_an_import_the_wrong_way_is_found(name: str, source: str) -> None:
    assert len(findings(name, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from mailmove import net",
        "from .. import net",
        "from ..net import connect",
        "import mailmove.net",
        "import mailmove.net as wire",
        "def late():\n    from mailmove.net import connect",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mailmove.net import Stream",
        "import importlib\nimportlib.import_module('mailmove.net')",
        "__import__('mailmove.net')",
    ],
)
def test_there_is_no_way_round_by_another_spelling(source: str) -> None:
    found = findings("mailmove.archive.store", source, modules=MODULES)
    assert len(found) == 1
    assert "mailmove.net" in found[0]


def test_a_relative_import_counts_from_the_package_it_stands_in() -> None:
    assert findings("mailmove.archive", "from .net import x", package=True, modules=["mailmove.archive.net"]) == []
    assert len(findings("mailmove.archive", "from ..net import x", package=True)) == 1
    assert findings("mailmove.archive.log", "from .records import Record") == []


OWNED = [
    ("mailmove.sources.pop3", "import socket"),
    ("mailmove.sources.pop3", "import ssl"),
    ("mailmove.jobs.pull", "from select import poll"),
    ("mailmove.jobs.pull", "import selectors"),
    ("mailmove.net", "import asyncio"),
    ("mailmove.targets.imap", "import pymap"),
    ("mailmove.cli.demo", "from pymap.imap import IMAPServer"),
    ("mailmove.demo.pop3_server", "import socket"),
    ("mailmove.demo.imap_server", "import imapclient"),
    ("mailmove.sources.pop3", "import poplib"),
    ("mailmove.archive.store", "import urllib.request"),
    ("mailmove.archive.store", "from urllib import request"),
    ("mailmove.jobs.timestamp", "import urllib.request"),
    ("mailmove.jobs.timestamp", "from rfc3161_client import decode_timestamp_response"),
    ("mailmove.archive.store", "import tqdm"),
    ("mailmove.jobs.pull", "from tqdm.auto import tqdm"),
    ("mailmove.endpoints", "import typer"),
    ("mailmove.jobs.pull", "from rich.table import Table"),
    ("mailmove.jobs.pull", "import tenacity"),
    ("mailmove.protocols.pop3.commands", "import scramp"),
    ("mailmove.targets.imap", "from scramp import ScramClient"),
    ("mailmove.net", "from tenacity import retry"),
    ("mailmove.cli.status", "import sqlite3"),
    ("mailmove.protocols.sasl", "import time"),
    ("mailmove.protocols.sasl", "import logging"),
    ("mailmove.protocols.sasl", "import typing_extensions"),
    ("mailmove.message", "import sqlite_utils"),
]


@pytest.mark.parametrize(("name", "source"), OWNED)
def test_a_foreign_module_in_the_wrong_room_is_found(name: str, source: str) -> None:
    assert len(findings(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mailmove.net", "import socket, ssl, selectors, select"),
        ("mailmove.targets.imap", "import socket\nimport imapclient"),
        ("mailmove.jobs.retry", "import tenacity"),
        ("mailmove.protocols.sasl", "from scramp import ScramClient"),
        ("mailmove.cli.progress", "import tqdm, typer, rich.console\nprint(1)"),
        ("mailmove.archive.catalogue", "import sqlite3\nfrom sqlite_utils import Database"),
        ("mailmove.endpoints", "from urllib.parse import unquote\nfrom mailmove.sources.pop3 import open_pop3"),
        ("mailmove.archive.layout", "from mailmove import __version__"),
        ("mailmove.__main__", "from mailmove.cli import main"),
        ("mailmove.cli.pull", "from mailmove.endpoints import parse\nfrom mailmove import jobs, errors"),
        ("mailmove.model", "import enum, dataclasses, datetime"),
        (
            "mailmove.demo.pymap_backend",
            "import asyncio, pymap, threading\nfrom mailmove.errors import ConfigurationError",
        ),
        ("mailmove.cli.demo", "from mailmove.demo import Pop3Server"),
    ],
)
def test_the_right_way_is_let_through(name: str, source: str) -> None:
    assert findings(name, source, modules=MODULES) == []


@pytest.mark.parametrize("source", ["print(1)", "def f():\n    input()", "import sys\nsys.stderr.write('x')"])
def test_only_the_command_line_speaks(source: str) -> None:
    assert len(findings("mailmove.jobs.pull", source)) == 1
    assert findings("mailmove.cli.output", source) == []
