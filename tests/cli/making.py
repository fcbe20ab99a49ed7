"""Archives in the states that `verify`, `status` and `skip` are about, made by a pull from a Peer.

Strategy: one maildrop for all, whose letters say what is wrong with them by their unique ids, so that a test reads like
what a user sees. `run` holds every result against what all commands promise: one JSON document on stdout with --json,
on every exit but 2, and then nothing; never a traceback.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.hostile.peer import Letter, Peer, Quirks, refuse
from tests.support import archives
from tests.support.cli import PASSWORD_FROM_ENV, Result, mailmove
from tests.support.client import HOST

COMPLETE, USAGE, PARTIAL, DAMAGED = 0, 2, 3, 4
MAILDROP = "M"


def body(name: str) -> bytes:
    return f"Message-ID: <{name}@example>\r\nSubject: {name}\r\n\r\nbody of {name}\r\n".encode()


def digest(name: str) -> str:
    return archives.digest(body(name))


def good(*names: str) -> list[Letter]:
    return [Letter(name, body(name)) for name in names]


def suspect(name: str) -> Letter:
    """Its size is never the one listed."""
    return Letter(name, body(name), listed=len(body(name)) + 1000)


def peer(*letters: Letter, refused: tuple[str, ...] = ()) -> Peer:
    """A server that refuses the letters with these unique ids."""
    numbers = [n for n, letter in enumerate(letters, 1) if letter.unique_id in refused]
    return Peer(letters, Quirks(rules=[refuse(f"RETR {n}", "-ERR [SYS/PERM] cannot read it") for n in numbers]))


def run(command: str, archive: Path, *more: object) -> Result:
    """With --json."""
    result = mailmove(command, *more, "-a", archive, "--json")
    assert_one_document(result)
    return result


def assert_one_document(result: Result) -> None:
    assert "Traceback" not in result.stderr, result
    assert (result.stdout == "") if result.code == USAGE else isinstance(json.loads(result.stdout), dict), result


def pull(server: Peer, archive: Path, *more: object, maildrop: str = MAILDROP) -> Result:
    url = f"pop3://me@{HOST}:{server.port}"
    words = ("-a", archive, "--maildrop", maildrop, "--allow-plaintext", *PASSWORD_FROM_ENV)
    return mailmove("pull", url, *words, *(more or ("--json",)))


def archive_of(archive: Path, *letters: Letter, refused: tuple[str, ...] = (), maildrop: str = MAILDROP) -> Path:
    """One pull; the archive."""
    with peer(*letters, refused=refused) as server:
        result = pull(server, archive, maildrop=maildrop)
    assert result.code in (COMPLETE, PARTIAL), result
    return archive


def file_of(archive: Path, name: str) -> Path:
    return archive / "mail" / digest(name)[:3] / f"{digest(name)}.eml"


def overwrite(path: Path, octets: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(octets)


def one_sentence(result: Result, *said: str) -> None:
    assert result.stderr.startswith("mailmove: ") and len(result.stderr.splitlines()) == 1, result
    assert all(word in result.stderr for word in said), result


def tree(folder: Path) -> dict[str, bytes]:
    """Every name below a folder, but SQLite's own -shm and -wal, and its octets."""
    files = (path for path in folder.rglob("*") if not path.name.startswith("archive.db-"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in files}
