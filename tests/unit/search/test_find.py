"""What a query finds: in which field, in which spelling, in which order; and never what is not there any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.archive.making import MAILDROP, Mail, store
from tests.unit.search.searching import content, found, index, mail, missing

DATED = "Mon, {} 2024 23:30:00 +0000"
MAILS = {
    "plain": mail("plain", "the annual report of the year", sender="Ann Smith <ann@example.org>"),
    "order": mail("order", "a report, annual", To="Bob <bob@example.net>", Cc="carol@example.net"),
    "muller": mail("muller", subject="=?iso-8859-1?Q?M=FCller?=", Date="x"),
    "body": mail("body", "Grüße von Frau MÜLLER aus Łódź", Content_Type="text/plain; charset=utf-8"),
    "file": mail("file", "--m\r\nContent-Disposition: attachment; filename=\"Müller's plan.pdf\"\r\n\r\nx\r\n--m--",
                 Content_Type="multipart/mixed; boundary=m"),
    "large": mail("large", "filler " * 2000),
    "html": mail("html", "<p>inv<b>oice</b> 4711</p>", Content_Type="text/html"),
    "january": mail("january", Received="x; Wed, 31 Jan 2024 23:30:00 +0000"),
    "february": mail("february", Received="x; Thu, 01 Feb 2024 00:30:00 +0000"),
    "zone": mail("zone", Received="x; Thu, 01 Feb 2024 00:30:00 +0100"),
}  # fmt: skip
OTHER = mail("other", "in the other maildrop")
ALL = {*MAILS, "other"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("find") / "mail.mailmove"
    store(root, list(MAILS.values()))
    store(root, [OTHER, MAILS["plain"]], maildrop="you@mail.example")
    index(root)
    return root


def names(root: Path, query: str) -> set[str]:
    by_digest = {mail.digest: name for name, mail in (MAILS | {"other": OTHER}).items()}
    return {by_digest[digest] for digest in found(root, query)}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("report", {"plain", "order"}),
        ("REPORT annual", {"plain", "order"}),
        ('"annual report"', {"plain"}),
        ("repo*", {"plain", "order"}),
        ("repo", set()),
        ("Müller", {"muller", "body", "file"}),
        ("muller", {"muller", "body", "file"}),
        ("Mu\u0308LLER", {"muller", "body", "file"}),
        ("müller -frau", {"muller", "file"}),
        ("GRÜSSE OR grüße", {"body"}),
        ("subject:müller", {"muller"}),
        ("filename:müller", {"file"}),
        ("filename:plan.pdf", {"file"}),
        ("has:attachment", {"file"}),
        ("from:smith", {"plain"}),
        ("from:ann@example.org", {"plain"}),
        ("to:bob OR to:nobody", {"order"}),
        ("to:carol", {"order"}),
        ("from:bob", set()),
        ('from:"ann smith" report', {"plain"}),
        ("invoice 4711", {"html"}),
        ("larger:10k", {"large"}),
        ("larger:1M", set()),
        ("after:2024-02-01 before:2024-02-02", {"february"}),
        ("after:2024-01-31 before:2024-02-01", {"january", "zone"}),
        ("before:2024-02-02", {"january", "february", "zone"}),
        ("maildrop:you@mail.example", {"other", "plain"}),
        (f"maildrop:{MAILDROP} -report -maildrop:you@mail.example", set(MAILS) - {"plain", "order"}),
        ("maildrop:nobody@nowhere", set()),
        ("-report", ALL - {"plain", "order"}),
        ("-(report OR müller) -larger:10k", ALL - {"plain", "order", "muller", "body", "file", "large"}),
        ("annual (from:smith OR to:carol)", {"plain", "order"}),
        ("(larger:10k OR has:attachment) -filler", {"file"}),
        ("html@example.org", {"html"}),
    ],
)  # fmt: skip
def test_what_is_found(archive: Path, query: str, expected: set[str]) -> None:
    assert names(archive, query) == expected


def test_the_order_is_newest_first_and_always_the_same(archive: Path) -> None:
    same = sorted(MAILS[name].digest for name in ("january", "zone"))
    assert found(archive, "before:2024-02-02") == [MAILS["february"].digest, *same]
    rest = found(archive, "after:2024-02-02")
    assert len(rest) == len(ALL) - 3 and rest == found(archive, "after:2024-02-02")


def test_what_is_new_is_missing_until_it_is_indexed(archive_dir: Path) -> None:
    first, second = mail("first", "word"), mail("second", "word")
    store(archive_dir, [first])
    assert index(archive_dir).indexed == 1
    store(archive_dir, [second, first])
    assert (found(archive_dir, "word"), missing(archive_dir)) == ([first.digest], 1)
    assert index(archive_dir).indexed == 1
    assert (set(found(archive_dir, "word")), missing(archive_dir)) == ({first.digest, second.digest}, 0)
    before = content(archive_dir)
    assert index(archive_dir).indexed == 0 and content(archive_dir) == before


def test_a_message_has_the_date_of_its_earliest_place(archive_dir: Path) -> None:
    """It came without a date to begin with, so what is recorded is when it was pulled."""
    one, two = mail("one", "word"), mail("two", "word")
    store(archive_dir, [one])
    index(archive_dir)
    store(archive_dir, [two])
    store(archive_dir, [Mail("again", one.octets)])
    index(archive_dir)
    assert found(archive_dir, "word") == [two.digest, one.digest]
