"""`mailmove index`, `search` and `show`, as somebody types them."""

from __future__ import annotations

import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from mailmove.archive.search.index import BATCH
from tests.cli.making import COMPLETE, DAMAGED, PARTIAL, USAGE, assert_one_document, one_sentence, tree
from tests.support.cli import REPO, environment, mailmove
from tests.unit.archive.making import Mail, alter, some, store
from tests.unit.search.searching import content, mail
from tests.unit.search.searching import index as index_here

EVIL = "\x1b[31mred\x1b]0;title\x07 \u202eexe.fdp\u202c \x9b2J \u2066x\x7f"
PLAIN = mail("plain", "hello world", subject="=?iso-8859-1?Q?M=FCller?= und das Wetter", sender="Ann <ann@b.example>")
WIDE = mail(
    "wide",
    "hello",
    subject="=?utf-8?b?" + "5pel5pys6Kqe44Gu44Oh44O844Or" * 3 + "?=",
    sender="=?utf-8?q?=E5=AD=97?= <w@x>",
)
HOSTILE = mail("hostile", "hello " + EVIL, subject="x " + EVIL, sender=f'"{EVIL}" <e@v.example>')
FILES = Mail(
    "files",
    b"Subject: files\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nhello files\r\n"
    b'--m\r\nContent-Disposition: attachment; filename="../../evil.txt"\r\n\r\none\r\n'
    b'--m\r\nContent-Disposition: attachment; filename="\x1b[31m.txt"\r\n\r\ntwo\r\n--m--\r\n',
)
ALL = (PLAIN, WIDE, HOSTILE, FILES)


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    store(archive_dir, ALL)
    assert mailmove("index", "-a", archive_dir, "-q").code == COMPLETE
    return archive_dir


def assert_harmless(text: str) -> None:
    """Nothing in it moves the cursor, changes colours, or turns writing round."""
    assert [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"] == []


# ---- index


def test_index_says_what_it_did(archive_dir: Path) -> None:
    store(archive_dir, ALL)
    first = mailmove("index", "-a", archive_dir, "--json")
    assert_one_document(first)
    assert (first.code, first.json()["indexed"], first.json()["outcome"]) == (COMPLETE, len(ALL), "complete")
    assert first.json()["bytes"] == sum(len(one.octets) for one in ALL)
    again = mailmove("index", "-a", archive_dir)
    assert again.code == COMPLETE and "0 new" in again.stdout
    quiet = mailmove("index", "-a", archive_dir, "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (COMPLETE, "", "")


def test_index_names_what_is_damaged(archive_dir: Path) -> None:
    store(archive_dir, ALL)
    alter(PLAIN.file(archive_dir))
    result = mailmove("index", "-a", archive_dir, "-q")
    assert result.code == DAMAGED and PLAIN.digest[:16] in result.stdout and "verify" in result.stdout
    document = mailmove("index", "-a", archive_dir, "--json")
    assert_one_document(document)
    assert document.code == DAMAGED and document.json()["damaged"] == 1


KILLED = """
import os, signal, sys
from mailmove.archive.search.index import Index
when, how_many = sys.argv.pop(1), int(sys.argv.pop(1))
whole, calls = getattr(Index, when), 0
def and_then_die(*args):
    global calls
    whole(*args)
    calls += 1
    if calls == how_many:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(Index, when, and_then_die)
from mailmove.cli import main
main()
"""


@pytest.mark.parametrize(
    "when", [("_add", 1), ("_add", 250), ("add", 1), ("add", 2)], ids=lambda when: f"{when[0]}-{when[1]}"
)
def test_index_killed_goes_on_and_ends_with_the_same(archive_dir: Path, when: tuple[str, int]) -> None:
    """kill -9 within a batch, after so many messages of it, or right after so many batches."""
    store(archive_dir, some(600))
    command = [sys.executable, "-c", KILLED, *map(str, when), "index", "-q", "-a", str(archive_dir)]
    assert subprocess.run(command, cwd=REPO, env=environment()).returncode == -signal.SIGKILL
    again = mailmove("index", "-a", archive_dir, "--json")
    committed = (when[1] if when[0] == "add" else when[1] // BATCH) * BATCH
    assert (again.code, again.json()["indexed"]) == (COMPLETE, 600 - committed), again
    after = content(archive_dir)
    for path in archive_dir.glob("search.db*"):
        path.unlink()
    assert index_here(archive_dir).indexed == 600 and content(archive_dir) == after


# ---- search


def test_search_is_a_table_that_fits_the_terminal(archive: Path) -> None:
    for width in (50, 80, 132):
        result = mailmove("search", "hello", "-a", archive, env={"COLUMNS": str(width)})
        head, *rows, last = result.stdout.splitlines()
        assert (
            result.code == COMPLETE
            and last == f"{len(ALL)} found."
            and head.split() == ["Date", "From", "Subject", "ID"]
        )
        assert_harmless(result.stdout)
        for row in rows:
            wide = sum(unicodedata.east_asian_width(c) in "WF" for c in row)
            assert len(row) + wide == width, row
        assert {row.split()[-1] for row in rows} == {one.digest[:12] for one in ALL}


def test_search_finds_what_the_issue_promises(archive: Path) -> None:
    result = mailmove("search", "Müller", "-a", archive, "--json")
    assert_one_document(result)
    (hit,) = result.json()["hits"]
    assert (hit["digest"], hit["subject"], hit["damaged"]) == (PLAIN.digest, "Müller und das Wetter", False)
    assert (archive / hit["file"]).read_bytes() == PLAIN.octets
    assert (result.json()["count"], result.json()["not_indexed"]) == (1, 0)


def test_search_counts_and_limits(archive: Path) -> None:
    assert mailmove("search", "hello -from:ann", "-a", archive, "--count").stdout == "3\n"
    few = mailmove("search", "hello", "-a", archive, "--limit", 2)
    assert len(few.stdout.splitlines()) == 4 and "4 found" in few.stdout and "--limit" in few.stdout
    document = mailmove("search", "hello", "-a", archive, "--limit", 2, "--json").json()
    assert (document["count"], len(document["hits"])) == (4, 2)
    nothing = mailmove("search", "nowhere", "-a", archive)
    assert (nothing.code, nothing.stdout) == (COMPLETE, "Nothing found.\n")
    assert mailmove("search", "--count", "-a", archive, "--", "-hello").stdout == "0\n"


def test_search_says_what_it_has_not_looked_at(archive: Path) -> None:
    store(archive, some(2))
    assert mailmove("search", "hello", "-a", archive, "--json").json()["not_indexed"] == 2
    result = mailmove("search", "hello", "-a", archive)
    assert result.code == COMPLETE and "4 found." in result.stdout
    one_sentence(result, "not indexed: 2 messages", "mailmove index")


def test_search_changes_nothing(archive: Path) -> None:
    before = {name: octets for name, octets in tree(archive).items() if not name.startswith("search.db-")}
    mailmove("search", "hello", "-a", archive)
    mailmove("show", PLAIN.digest, "-a", archive)
    assert {name: octets for name, octets in tree(archive).items() if not name.startswith("search.db-")} == before


@pytest.mark.parametrize(
    ("query", "said"),
    [("befor:2020-01-01", "at character 1 (befor:2020-01-01)"), ("a (b", "at character 3"), ("", "at its end"),
     ("befor:\x1b[31m", "\\x1b"), (b"\xff", "no text")],
)  # fmt: skip
def test_a_wrong_query_is_one_sentence(archive: Path, query: object, said: str) -> None:
    result = mailmove("search", query, "-a", archive, "--json")
    assert (result.code, result.stdout) == (USAGE, ""), result
    one_sentence(result, said)
    assert_harmless(result.stderr)


def test_without_an_index_it_says_what_to_run(archive_dir: Path) -> None:
    store(archive_dir, some(1))
    result = mailmove("search", "hello", "-a", archive_dir)
    assert result.code == USAGE
    one_sentence(result, "mailmove index")


def test_a_search_db_that_is_none_is_one_sentence(archive: Path) -> None:
    for path in archive.glob("search.db*"):
        path.unlink()
    (archive / "search.db").write_bytes(b"no database" * 1000)
    result = mailmove("search", "hello", "-a", archive)
    assert result.code == 75
    one_sentence(result, "search.db", "mailmove index")
    assert mailmove("index", "-a", archive).code == COMPLETE
    assert mailmove("search", "hello", "-a", archive, "--count").stdout == f"{len(ALL)}\n"


# ---- show


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.unique_id)
def test_show_is_harmless_and_raw_is_exact(archive: Path, one: Mail) -> None:
    shown = mailmove("show", one.digest[:8], "-a", archive)
    assert shown.code == COMPLETE and "hello" in shown.stdout and str(one.file(archive)) in shown.stdout
    assert_harmless(shown.stdout)
    document = mailmove("show", one.digest.upper(), "-a", archive, "--json")
    assert_one_document(document)
    assert document.json()["digest"] == one.digest and "hello" in document.json()["text"]
    assert_harmless(document.stdout)
    command = [sys.executable, "-m", "mailmove", "show", one.digest[:10], "-a", str(archive), "--raw"]
    raw = subprocess.run(command, capture_output=True, cwd=REPO, env=environment(), check=True)
    assert (raw.stdout, raw.stderr) == (one.octets, b"")


def test_show_decodes_headers_and_text(archive: Path) -> None:
    lines = mailmove("show", PLAIN.digest, "-a", archive).stdout.splitlines()
    assert "Subject:  Müller und das Wetter" in lines and "From:     Ann <ann@b.example>" in lines
    assert lines[-1] == "hello world"


def test_show_in_a_terminal_without_these_letters(archive: Path) -> None:
    result = mailmove("show", PLAIN.digest, "-a", archive, env={"PYTHONIOENCODING": "ascii"})
    assert result.code == COMPLETE and "M\\xfcller" in result.stdout


def test_show_saves_the_attachments_under_harmless_names(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved" / "here"
    for _ in range(2):
        result = mailmove("show", FILES.digest, "-a", archive, "--attachments", folder)
        assert result.code == COMPLETE
        assert_harmless(result.stdout)
    saved = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert saved == {"evil.txt": b"one", "[31m.txt": b"two", "evil (2).txt": b"one", "[31m (2).txt": b"two"}
    assert list((tmp_path / "saved").iterdir()) == [folder]
    none = mailmove("show", PLAIN.digest, "-a", archive, "--attachments", folder)
    assert none.code == COMPLETE and "no attachments" in none.stderr
    refused = mailmove("show", FILES.digest, "-a", archive, "--attachments", FILES.file(archive))
    assert refused.code == USAGE
    one_sentence(refused, "not a folder")


def test_show_of_a_message_that_cannot_be_taken_apart(archive_dir: Path, tmp_path: Path) -> None:
    parts = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
    deep = Mail("deep", b"Subject: too deep\r\n" + parts)
    store(archive_dir, [deep])
    shown = mailmove("show", deep.digest, "-a", archive_dir)
    assert shown.code == COMPLETE and "too deep" in shown.stdout and "--raw" in shown.stdout
    saved = mailmove("show", deep.digest, "-a", archive_dir, "--attachments", tmp_path / "saved")
    assert saved.code == PARTIAL and not (tmp_path / "saved").exists()
    one_sentence(saved, "cannot be taken apart")


def test_show_saves_what_it_can_and_names_the_rest(archive_dir: Path, tmp_path: Path) -> None:
    """A message is attached in which parts lie too deep to be written out again."""
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(300))
    one = b"--m\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\none\r\n"
    two = b"--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: deep\r\n" + deep
    both = Mail("both", b"Content-Type: multipart/mixed; boundary=m\r\n\r\n" + one + two + b"\r\n--m--\r\n")
    store(archive_dir, [both])
    saved = mailmove("show", both.digest, "-a", archive_dir, "--attachments", tmp_path / "saved")
    assert saved.code == PARTIAL and [path.name for path in (tmp_path / "saved").iterdir()] == ["a.txt"]
    one_sentence(saved, "deep.eml", "cannot be decoded")


def test_show_of_a_damaged_message_is_refused(archive: Path, tmp_path: Path) -> None:
    alter(FILES.file(archive))
    for more in ((), ("--json",), ("--raw",), ("--attachments", tmp_path / "saved")):
        result = mailmove("show", FILES.digest, "-a", archive, *more)
        assert result.code == DAMAGED, result
        one_sentence(result, FILES.digest, "does not hash to its name")
        assert "hello" not in result.stdout and not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("identity", "said"),
    [("1234567", "8 to 64 hex digits"), ("../../../etc", "8 to 64"), ("0" * 64, "No message"), ("%", "8 to 64")],
)
def test_show_of_what_is_no_message(archive: Path, identity: str, said: str) -> None:
    result = mailmove("show", identity, "-a", archive, "--json")
    assert (result.code, result.stdout) == (USAGE, "")
    one_sentence(result, said)


def test_show_takes_one_of_its_forms(archive: Path) -> None:
    result = mailmove("show", PLAIN.digest, "-a", archive, "--raw", "--json")
    assert (result.code, result.stdout) == (USAGE, "")
    one_sentence(result, "not several")


@pytest.mark.parametrize("words", [("index",), ("search", "x"), ("show", "0" * 8)], ids=" ".join)
def test_where_there_is_no_archive(words: tuple[str, ...], tmp_path: Path) -> None:
    for more in ((), ("-a", tmp_path / "none")):
        result = mailmove(*words, *more, cwd=tmp_path)
        assert (result.code, result.stdout) == (USAGE, "")
        one_sentence(result)
    assert list(tmp_path.iterdir()) == []
