"""`mailmove checkpoint` and `verify --since`, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import mailmove
from tests.unit.archive.making import some, store


def test_what_is_printed_proves_later_that_the_log_only_grew(archive_dir: Path, tmp_path: Path) -> None:
    store(archive_dir, some(3))
    printed = mailmove("checkpoint", "-a", archive_dir)
    assert printed.code == 0 and printed.stdout == (archive_dir / "log" / "checkpoint").read_text()
    kept = tmp_path / "kept.txt"
    kept.write_text(printed.stdout)
    store(archive_dir, some(2, seed=9))
    assert mailmove("verify", "-a", archive_dir, "--since", kept).code == 0
    log = archive_dir / "log" / "00000001.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"by":"digest"', b'"by":"hearse"', 1))
    refused = mailmove("verify", "-a", archive_dir, "--since", kept)
    assert refused.code == 4 and str(kept) in refused.stdout and "Traceback" not in refused.stderr


def test_as_json(archive_dir: Path) -> None:
    store(archive_dir, some(3))
    told = json.loads(mailmove("checkpoint", "-a", archive_dir, "--json").stdout)
    lines = len((archive_dir / "log" / "00000001.jsonl").read_text().splitlines())
    assert told["records"] == lines and len(told["root"]) == 64


@pytest.mark.parametrize(
    "content", [None, b"", b"mailmove/00\n3\nnonsense\n", b"mailmove/00ff\n0\n" + b"A" * 43 + b"=\n"]
)
def test_what_is_no_checkpoint_of_this_archive_is_one_sentence(
    archive_dir: Path, tmp_path: Path, content: bytes | None
) -> None:
    store(archive_dir, some(1))
    kept = tmp_path / "kept.txt"
    if content is not None:
        kept.write_bytes(content)
    refused = mailmove("verify", "-a", archive_dir, "--since", kept)
    assert refused.code == 2 and str(kept) in refused.stderr and len(refused.stderr.splitlines()) == 1
