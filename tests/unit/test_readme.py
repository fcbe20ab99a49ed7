"""Every `mailmove ...` line in README.md is one that the real parser takes.

Strategy: shell blocks only, comments cut by shlex, the words behind `mailmove` given to the command line of typer up to
the point where the command would run. A line that is not understood fails with its own text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from mailmove.cli.app import command_line

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SEPARATORS = {"&&", "||", ";", "|", ">"}
(USAGE_ERROR,) = typer.BadParameter.__bases__  # click's UsageError: newer typers bring a click of their own


def commands(text: str) -> Iterator[list[str]]:
    """The words behind each `mailmove` in the shell blocks of a text; README's fences all name their language."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from _of_line(shlex.split(line, comments=True))


def _of_line(words: list[str]) -> Iterator[list[str]]:
    start = 0
    for end in [n for n, word in enumerate(words) if word in SEPARATORS] + [len(words)]:
        part, start = words[start:end], end + 1
        if part and Path(part[0]).name == "mailmove":
            yield part[1:]


def commands_of_mailmove() -> TyperGroup:
    root = typer.main.get_command(command_line())
    assert isinstance(root, TyperGroup)
    return root


def parse(words: list[str]) -> None:
    """As `mailmove WORDS` would be parsed; nothing runs."""
    root = commands_of_mailmove()
    if not words or words[0] == "--help":
        return
    context = typer.Context(root, info_name="mailmove")
    name, command, rest = root.resolve_command(context, words)
    assert command is not None
    command.make_context(name, [word for word in rest if word != "--help"], parent=context, resilient_parsing=False)


LINES = list(commands(README.read_text(encoding="utf-8")))


@pytest.mark.parametrize("words", LINES, ids=shlex.join)
def test_the_parser_takes_every_command_line_in_the_readme(words: list[str]) -> None:
    parse(words)


def test_the_readme_shows_every_command() -> None:
    assert {words[0] for words in LINES} >= set(commands_of_mailmove().commands)


@pytest.mark.parametrize(
    "line",
    ["pull pop3s://me@host --no-such-option", "pul pop3s://me@host", "skip 0001", "pull", "status extra", "pull a b"],
)
def test_of_the_test_a_wrong_line_is_found(line: str) -> None:
    (words,) = commands(f"Text\n```sh\nmailmove {line}   # why\n```\n")
    with pytest.raises(USAGE_ERROR):
        parse(words)


def test_of_the_test_lines_are_found_behind_other_commands_and_in_shell_blocks_only() -> None:
    text = "```sh\ncd x && .venv/bin/mailmove a  # mailmove b\n```\nmailmove c\n```json\nmailmove d\n```\n"
    assert list(commands(text)) == [["a"]]
