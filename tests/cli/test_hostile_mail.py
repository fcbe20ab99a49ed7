"""Mail that means harm to whoever looks at it: nothing of it reaches the terminal, nothing leaves the folder.

Strategy: one message for each field a mail can put something into, each with every kind of character that does
something to a terminal: escape sequences in both forms, what turns writing round, what ends a line. Every command that
prints anything of a mail is asked about the same ones. Names of attachments are tried by saving them, next to what
somebody planted there before.
"""

from __future__ import annotations

import base64
import json
import os
import unicodedata
from collections.abc import Iterator
from email.header import Header
from pathlib import Path

import pytest

from tests.cli.making import COMPLETE, archive_of, one_sentence
from tests.hostile.peer import Letter
from tests.support import archives
from tests.support.cli import Result, mailmove

ESCAPES = (
    "\x1b[2J\x1b[1;31m",  # clears, and paints red
    "\x1b]0;title\x07",  # renames the window
    "\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x1b\\",  # a link
    "\x1b]52;c;cm0gLXJmIC8=\x07",  # writes to the clipboard
    "\x1bP+q544e\x1b\\",  # has the terminal answer as if it was typed
    "\x9b2J\x9d0;title\x9c",  # the same in one character
    "\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c",  # turns writing round
    "a\rb\x08c\x00d\x7fe\x0bf\x0cg\x85h\u2028i\u2029j\ue000k\U000e0041l",
)
EVIL = "|".join(ESCAPES)
CODED = "=?utf-8?b?" + base64.b64encode(EVIL.encode()).decode() + "?="
RAW = EVIL.replace("\r", "").replace("\x0b", "").replace("\x0c", "")
HTML = f"<p>needle {RAW}</p><a href='x'>&#27;[31m&#x9b;2J&#8238;</a>"

FIELDS = ("From", "To", "Cc", "Subject", "Date", "Message-ID", "List-Id", "Sender", "Reply-To")
SUBTYPES = {"plain": f"needle {EVIL}", "html": HTML}


def message(head: dict[str, str], body: str = "needle") -> bytes:
    fields = {"From": "a@b.example", "Subject": "s", **head}
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", body, ""]).encode("utf-8", "surrogateescape")


def messages() -> Iterator[bytes]:
    for field in FIELDS:
        yield message({field: CODED})
        yield message({field: RAW})
        yield message({field: f'"{RAW}" <{CODED}@evil.example>'})
    for subtype, text in SUBTYPES.items():
        yield message({"Content-Type": f"text/{subtype}; charset=utf-8"}, text)
        coded = base64.encodebytes(text.encode()).decode()
        yield message({"Content-Type": f"text/{subtype}; charset=utf-8", "Content-Transfer-Encoding": "base64"}, coded)
    yield message({"Content-Type": "text/plain; charset=utf-7"}, "needle +ABs-[31m+IC4-")
    yield message({"Content-Type": f"text/plain; charset=\x1b[31m; name={CODED}"}, EVIL)
    yield files(EVIL, CODED, Header(RAW, "utf-8").encode())
    yield message({"Subject": "needle " + "Z" + "\u0351\u0352\u0353" * 400})


def files(*names: str, kind: str = 'attachment; filename="{}"') -> bytes:
    """A message with a file of each of these names, whose content is its number."""
    parts = [f"--m\r\nContent-Disposition: {kind.format(name)}\r\n\r\n{n}\r\n" for n, name in enumerate(names)]
    return message({"Content-Type": "multipart/mixed; boundary=m"}, "".join(["--m\r\n\r\nneedle\r\n", *parts, "--m--"]))


MESSAGES = list(messages())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("evil") / "mail.mailmove"
    archive_of(root, *(Letter(f"{n}-\x1b[31m\x9b", octets) for n, octets in enumerate(MESSAGES)))
    assert mailmove("index", "-a", root, "-q").code == COMPLETE
    return root


def assert_harmless(result: Result) -> None:
    """Nothing in it moves the cursor, changes colours, turns writing round, or asks the terminal for anything."""
    for text in (result.stdout, result.stderr):
        bad = {c for c in text if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))}
        assert not bad, (sorted(map(hex, map(ord, bad))), result)
    assert "Traceback" not in result.stderr, result


@pytest.mark.parametrize("octets", MESSAGES, ids=lambda octets: archives.digest(octets)[:8])
def test_show(archive: Path, octets: bytes) -> None:
    digest = archives.digest(octets)
    shown = mailmove("show", digest, "-a", archive)
    assert shown.code == COMPLETE, shown
    assert_harmless(shown)
    document = mailmove("show", digest, "-a", archive, "--json")
    assert document.stdout.isascii() and json.loads(document.stdout)["digest"] == digest
    assert_harmless(document)


@pytest.mark.parametrize("width", [50, 120])
def test_search(archive: Path, width: int) -> None:
    result = mailmove("search", "larger:0", "-a", archive, env={"COLUMNS": str(width)})
    assert result.code == COMPLETE, result
    assert_harmless(result)
    rows = result.stdout.splitlines()
    assert len(rows) == len(MESSAGES) + 2, "one line a message, whatever it puts into its subject"
    for row in rows[1:-1]:
        shown = [c for c in row if unicodedata.category(c) not in ("Mn", "Me")]
        assert len(shown) == width and len(row) <= 2 * width, row
    document = mailmove("search", "needle", "-a", archive, "--json")
    assert document.stdout.isascii() and document.json()["count"] >= len(MESSAGES) - 2
    assert_harmless(document)


@pytest.mark.parametrize("words", [("verify",), ("status",), ("index",), ("rebuild",)], ids=lambda words: words[0])
def test_everything_else_that_tells_of_it(archive: Path, words: tuple[str, ...]) -> None:
    (archive / "search.db").unlink(missing_ok=True)
    (archive / "\x1b[31mred\u202e").write_bytes(b"")
    for more in ((), ("--json",)):
        assert_harmless(mailmove(*words, "-a", archive, *more))
    (archive / "\x1b[31mred\u202e").unlink()
    assert mailmove("index", "-a", archive, "-q").code == COMPLETE


# ---- attachments


def saved(root: Path, octets: bytes, folder: Path) -> dict[str, bytes]:
    """What a message's attachments are saved as; nothing else may have come into being anywhere near."""
    archive_of(root, Letter("one", octets))
    around = folder.parent
    before = {path for path in around.rglob("*") if not path.is_relative_to(root)}
    result = mailmove("show", archives.digest(octets), "-a", root, "--attachments", folder, cwd=around)
    assert result.code == COMPLETE, result
    assert_harmless(result)
    after = {path for path in around.rglob("*") if not path.is_relative_to(root)}
    assert {path for path in after - before if path.parent != folder} <= {folder}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}


HOSTILE_NAMES = [
    *(
        "../../x",
        "..\\\\..\\\\x",
        "/etc/passwd",
        "\\\\\\\\host\\\\share\\\\x",
        "C:\\\\x",
        "x:stream",
        "..",
        ".",
        "",
        "   ",
    ),
    *("~", "~root/x", ".bashrc", ".ssh/authorized_keys", "-rf", "--help", "a/", "%2e%2e%2fx", "..%2f", "a\x00b"),
    *("CON", "nul", "NUL.txt", "aux", "Aux.tar.gz", "COM1", "lpt9.txt", "PRN .txt", "x.", "x ", "a\tb"),
    *("x" * 300, "x" * 300 + ".pdf", "\u5b57" * 300 + ".pdf", "a.txt", "a.txt", "A.TXT", "a.TXT"),
    *("\x1b[31mred", "\u202ecod.exe", "$(touch x)", "`touch x`", "x;touch y", "x|y", "*", "?", "<x>", "&", "'"),
]


@pytest.mark.parametrize(
    "kind", ['attachment; filename="{}"', "attachment; filename*=utf-8''{}", "inline; filename={}\r\nContent-Type: a/b"]
)
def test_names_of_attachments(archive_dir: Path, tmp_path: Path, kind: str) -> None:
    """All at once, so that they also meet each other; each has a content of its own."""
    folder = tmp_path / "saved"
    found = saved(archive_dir, files(*HOSTILE_NAMES, kind=kind), folder)
    assert sorted(found.values()) == sorted(b"%d" % n for n in range(len(HOSTILE_NAMES)))
    for name in found:
        assert len(name.encode()) <= 140 and name.isprintable() and name == os.path.basename(name)
        assert name[0] not in ".-~ " and name[-1] not in ". " and not set(name) & set('<>:"|?*\\/')
        assert name.split(".")[0].strip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}


def test_what_was_planted_there_is_left_alone(archive_dir: Path, tmp_path: Path) -> None:
    folder, outside = tmp_path / "saved", tmp_path / "outside"
    folder.mkdir()
    (folder / "link.txt").symlink_to(outside)
    (folder / "dangling.txt").symlink_to(tmp_path / "nowhere" / "x")
    (folder / "folder.txt").mkdir()
    (folder / "mine.txt").write_bytes(b"mine")
    (folder / "own.txt").write_bytes(b"one name")
    os.link(folder / "own.txt", tmp_path / "another-name")
    os.mkfifo(folder / "pipe.txt")
    found = saved(
        archive_dir, files("link.txt", "dangling.txt", "folder.txt", "mine.txt", "own.txt", "pipe.txt"), folder
    )
    names = ("link", "dangling", "folder", "mine", "own", "pipe")
    assert {f"{name} (2).txt": b"%d" % n for n, name in enumerate(names)}.items() <= found.items()
    assert not outside.exists() and not (tmp_path / "nowhere").exists()
    assert ((folder / "mine.txt").read_bytes(), (tmp_path / "another-name").read_bytes()) == (b"mine", b"one name")


def test_one_that_cannot_be_decoded_is_named_without_harm(archive_dir: Path, tmp_path: Path) -> None:
    deep = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(300))
    inner = f"--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: {CODED}\r\n{deep}\r\n--m--"
    octets = message({"Content-Type": "multipart/mixed; boundary=m"}, inner)
    archive_of(archive_dir, Letter("one", octets))
    result = mailmove("show", archives.digest(octets), "-a", archive_dir, "--attachments", tmp_path / "saved")
    assert result.code == 3, result
    assert_harmless(result)
    one_sentence(result, "cannot be decoded")


def test_one_that_cannot_be_taken_apart_is_indexed_by_its_headers_and_that_is_said(archive_dir: Path) -> None:
    deep = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(3000))
    octets = f"Subject: needle {CODED}\r\n{deep}\r\nhidden\r\n".encode()
    digest = archives.digest(octets)
    archive_of(archive_dir, Letter("one", octets), Letter("two", message({})))
    told = mailmove("index", "-a", archive_dir)
    assert told.code == COMPLETE, told
    assert "1 could not be taken apart, and are indexed by their headers only" in told.stdout
    assert f"headers: {digest[:16]}" in told.stdout
    assert_harmless(told)
    (hit,) = mailmove("search", "subject:needle", "-a", archive_dir, "--json").json()["hits"]
    assert (hit["digest"], hit["indexed"]) == (digest, "headers")
    assert mailmove("search", "hidden", "-a", archive_dir, "--count").stdout == "0\n"
