"""What is saved of a message: every part that is a file, under a name that does no harm, over no other file."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive.search.saving import LONGEST, Attachment, attachments, safe_name, save, save_all
from mailmove.errors import ArchiveError, UsageError
from tests.unit.archive.making import no_file_longer_than
from tests.unit.search.test_text import attached, multipart, nested

NAMES = [
    ("plan.pdf", "plan.pdf"),
    ("Müller's plan (2).pdf", "Müller's plan (2).pdf"),
    ("../../etc/passwd", "passwd"),
    ("..\\..\\Windows\\win.ini", "win.ini"),
    ("/etc/cron.d/x", "x"),
    ("C:\\autoexec.bat", "autoexec.bat"),
    ("C:evil.txt", "C_evil.txt"),
    ("plan.txt:stream", "plan.txt_stream"),
    (".bashrc", "bashrc"),
    ("...", "else"),
    ("..", "else"),
    ("a/..", "else"),
    ("a/", "else"),
    ("", "else"),
    (" . ", "else"),
    ("\0\x1b\u202e", "else"),
    ("plan\u202efdp.exe", "planfdp.exe"),
    ("a\x1b[31mb\r\nc", "a[31mb  c"),
    ("CON", "_CON"),
    ("nul.txt", "_nul.txt"),
    ("Com1.tar.gz", "_Com1.tar.gz"),
    ("LPT¹", "_LPT¹"),
    ("CONSOLE.txt", "CONSOLE.txt"),
    ("-rf", "_-rf"),
    ("~root", "_~root"),
    ("end. . ", "end"),
    ('a<b>c"d|e?f*g', "a_b_c_d_e_f_g"),
    ("\ud800x", "x"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES, ids=[ascii(name) for name, _ in NAMES])
def test_names(name: str, expected: str) -> None:
    assert safe_name(name, "else") == expected


@given(st.text(max_size=400) | st.text("./\\:CONcon1 \0é字", max_size=30))
def test_no_name_can_do_harm(name: str) -> None:
    safe = safe_name(name, "else")
    assert os.path.basename(safe) == safe and safe not in ("", ".", "..") and safe.isprintable()
    assert len(safe.encode()) <= LONGEST and safe[0] not in ".-~ " and safe[-1] not in ". "
    assert not set(safe) & set('<>:"|?*/\\')
    assert safe.split(".")[0].strip().upper() not in ("CON", "PRN", "AUX", "NUL", "COM1", "LPT1")


@pytest.mark.parametrize("name", ["字" * 300 + ".pdf", "x" * 300, "x." + "y" * 300, "." * 300 + "x"])
def test_a_long_name_keeps_its_suffix_where_it_is_one(name: str) -> None:
    safe = safe_name(name, "else")
    assert len(safe.encode()) <= LONGEST and safe.endswith(".pdf") == name.endswith(".pdf")


def test_every_file_of_a_message_with_its_exact_octets(tmp_path: Path) -> None:
    octets = bytes(range(256))
    coded = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(octets)
    inner = b"Content-Type: message/rfc822\r\n\r\nSubject: in/side\r\n\r\n" + b"inner\r\n"
    text = b"Content-Type: text/plain\r\n\r\nnot a file"
    found = attachments(multipart(text, attached(b'="a.txt"', b"one"), attached(b'="a.txt"', b"two"), coded, inner))
    paths = list(save_all(tmp_path / "new" / "folder", found))
    assert [path.name for path in paths] == ["a.txt", "a (2).txt", "part-3.png", "side.eml"]
    assert [path.read_bytes() for path in paths[:3]] == [b"one", b"two", octets]
    assert paths[3].read_bytes() == b"Subject: in/side\r\n\r\ninner\r\n"


def test_nothing_is_written_over_and_no_link_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").symlink_to(outside)
    (folder / "a (2).txt").write_bytes(b"mine")
    assert save(folder, "a.txt", b"theirs").name == "a (3).txt"
    assert not outside.exists() and (folder / "a (2).txt").read_bytes() == b"mine"
    assert save(folder, "noext", b"") and save(folder, "noext", b"").name == "noext (2)"


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="not a folder"):
        list(save_all(tmp_path / "file", [Attachment("a", b"x")]))
    with pytest.raises(UsageError, match="not a folder"):
        list(save_all(tmp_path / "file" / "below", [Attachment("a", b"x")]))
    with pytest.raises(ArchiveError):
        list(save_all(Path("/proc/nothing-can-be-made-here"), [Attachment("a", b"x")]))


def test_what_does_not_fit_on_the_disk_leaves_no_half_of_it(tmp_path: Path) -> None:
    with no_file_longer_than(1000), pytest.raises(ArchiveError):
        list(save_all(tmp_path, [Attachment("a.txt", b"a" * 1000), Attachment("b.txt", b"b" * 100_000)]))
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"a.txt": 1000}


def test_a_message_that_cannot_be_taken_apart_says_so() -> None:
    with pytest.raises(ValueError, match="cannot be taken apart"):
        attachments(nested(5000))


def test_a_message_without_files() -> None:
    assert attachments(b"Subject: s\r\n\r\ntext") == [] == attachments(b"")
