"""`mailmove pull` from servers that refuse, lie, or know half of POP3: every message is accounted for all the same.

Strategy: a Peer tells one lie, mailmove runs as a process of its own, and three witnesses are asked: the report (one
JSON document whose equation holds), the archive (read without mailmove), and what the peer was asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hostile.peer import Letter, Peer, Quirks, Rule, Then, cut, refuse, without
from tests.servers.certs import Certificates
from tests.support import archives
from tests.support.cli import PASSWORD_FROM_ENV, Result, kill, mailmove, start_mailmove
from tests.support.client import HOST

COMPLETE, PARTIAL, TRY_AGAIN, CONFIGURATION = 0, 3, 75, 78
TERMS = ("stored", "already_archived", "duplicate_content", "skipped", "gone", "parked", "pending")


def body(name: str, lines: int = 3) -> bytes:
    return f"Message-ID: <{name}@example>\r\nSubject: {name}\r\n\r\n".encode() + b"a line of text\r\n" * lines


def letters(count: int) -> list[Letter]:
    return [Letter(f"uid-{n}", body(f"m{n}")) for n in range(1, count + 1)]


def contents(sent: list[Letter]) -> dict[str, bytes]:
    return {letter.unique_id: letter.body for letter in sent}


def pull(peer: Peer, archive: Path, *more: object, scheme: str = "pop3") -> Result:
    """One run; its report adds up, if it has one, and nothing but one JSON document is on stdout."""
    url = f"{scheme}://me@{HOST}:{peer.port}"
    secure = () if peer.context else ("--allow-plaintext",)
    result = mailmove("pull", url, "-a", archive, "--maildrop", "M", "--json", *secure, *PASSWORD_FROM_ENV, *more)
    report = result.json()
    assert "Traceback" not in result.stderr, result
    if "listed" in report:
        assert report["listed"] == sum(report[term] for term in TERMS), result
    return result


def counts(result: Result) -> dict[str, int]:
    """The terms of the equation that are not 0, and `suspect`."""
    report = result.json()
    return {term: report[term] for term in (*TERMS, "suspect") if report[term]}


def asked(peer: Peer, command: str, sessions: slice = slice(None)) -> int:
    return sum(session.commands.count(command) for session in peer.sessions[sessions])


def of_kind(result: Result, kind: str) -> list[dict[str, Any]]:
    return [item for item in result.json()["exceptions"] if item["kind"] == kind]


def places_of(archive: Path, unique_id: str) -> list[dict[str, Any]]:
    return [r for r in archives.records(archive) if r["t"] in ("add", "place") and r["unique_id"] == unique_id]


# ---- A message that the server refuses


def test_a_refused_message_is_parked_named_and_settled_by_skip(archive_dir: Path) -> None:
    sent = letters(5)
    with Peer(sent, Quirks(rules=[refuse("RETR 3", "-ERR [SYS/PERM] broken index, sorry")])) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (PARTIAL, {"stored": 4, "parked": 1}), first
        (parked,) = of_kind(first, "parked")
        assert parked["unique_id"] == "uid-3" and "broken index, sorry" in parked["server_text"]
        seen = len(peer.sessions)
        assert asked(peer, "RETR 3") == 1

        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (PARTIAL, {"already_archived": 4, "parked": 1}), second
        assert asked(peer, "RETR 3", slice(seen, None)) == 1
        seen = len(peer.sessions)

        skipped = mailmove("skip", "uid-3", "-a", archive_dir, "--reason", "x", "--maildrop", "M", "--json")
        assert skipped.code == COMPLETE and skipped.json()["kind"] == "parked", skipped
        third = pull(peer, archive_dir)
        assert (third.code, counts(third)) == (COMPLETE, {"already_archived": 4, "skipped": 1}), third
        assert asked(peer, "RETR 3", slice(seen, None)) == 0 and third.json()["exceptions"] == []
    archives.assert_exactly(archive_dir, contents([x for x in sent if x.unique_id != "uid-3"]))


def test_a_message_refused_once_is_had_in_the_next_run(archive_dir: Path) -> None:
    sent = letters(3)
    with Peer(sent, Quirks(rules=[refuse("RETR 2", times=1)])) as peer:
        assert pull(peer, archive_dir).code == PARTIAL
        second = pull(peer, archive_dir)
    assert (second.code, counts(second)) == (COMPLETE, {"already_archived": 2, "stored": 1}), second
    archives.assert_exactly(archive_dir, contents(sent))
    assert archives.rows(archive_dir, "SELECT count(*) FROM parked") == [(0,)]


def test_all_refused_and_nothing_is_lost_or_made_up(archive_dir: Path) -> None:
    with Peer(letters(12), Quirks(rules=[refuse("RETR .*", "-ERR I/O error")])) as peer:
        result = pull(peer, archive_dir)
    assert (result.code, counts(result)) == (PARTIAL, {"parked": 12}), result
    assert archives.files(archive_dir) == {}


# ---- Sizes that do not fit


def test_a_wrong_size_makes_a_suspect_that_is_fetched_once_more(archive_dir: Path) -> None:
    sent = letters(4)
    sent[1] = Letter("uid-2", body("m2"), listed=len(body("m2")) + 1000)
    with Peer(sent) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (PARTIAL, {"stored": 4, "suspect": 1}), first
        (suspect,) = of_kind(first, "suspect")
        assert suspect["unique_id"] == "uid-2" and suspect["digest"] == archives.digest(body("m2"))
        assert (asked(peer, "RETR 2"), asked(peer, "RETR 1"), len(peer.sessions)) == (2, 1, 2)
        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (COMPLETE, {"already_archived": 4}), second
        assert asked(peer, "RETR 2") == 2
    assert set(archives.files(archive_dir)) == {archives.digest(letter.body) for letter in sent}
    assert {str(r["complete"]) for r in places_of(archive_dir, "uid-2")} == {"False"}
    assert "suspect" in mailmove("status", "-a", archive_dir).stdout


@pytest.mark.parametrize("whole_first", [False, True])
def test_of_two_different_copies_the_one_that_fits_is_complete_and_both_are_kept(
    archive_dir: Path, whole_first: bool
) -> None:
    """The size that fits the whole one is LIST's; what "+OK n octets" says fits neither."""
    whole, torn = body("m2", 50), body("m2", 20)
    copies = (whole, torn) if whole_first else (torn, whole)
    sent = letters(3)
    sent[1] = Letter("uid-2", copies[0], listed=len(whole), said=len(whole) + 999, later=[copies[1]])
    with Peer(sent) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (COMPLETE, {"stored": 3}), first
        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (COMPLETE, {"already_archived": 3}), second
    stored = archives.files(archive_dir)
    assert {archives.digest(whole), archives.digest(torn)} < set(stored) and len(stored) == 4
    assert last_verdict(archive_dir, "uid-2", whole) is True
    assert archives.rows(archive_dir, "SELECT sum(suspects) FROM maildrops") == [(0,)]


def last_verdict(archive: Path, unique_id: str, octets: bytes) -> object:
    """What the log's last word on a copy is."""
    verdicts = [r["complete"] for r in places_of(archive, unique_id) if r["digest"] == archives.digest(octets)]
    return verdicts[-1]


def test_two_different_copies_of_which_none_fits_stay_suspect(archive_dir: Path) -> None:
    sent = letters(3)
    sent[1] = Letter("uid-2", body("m2", 5), listed=9000, said=9000, later=[body("m2", 6)])
    with Peer(sent) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (PARTIAL, {"stored": 3, "suspect": 1}), first
        assert pull(peer, archive_dir).code == COMPLETE
    assert len(archives.files(archive_dir)) == 4


def test_a_listed_size_of_0_twice_the_same_is_complete(archive_dir: Path) -> None:
    sent = letters(4)
    sent[2] = Letter("uid-3", body("m3"), listed=0)
    with Peer(sent) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (COMPLETE, {"stored": 4}), first
        assert asked(peer, "RETR 3") == 2
        assert pull(peer, archive_dir).code == COMPLETE and asked(peer, "RETR 3") == 2
    assert last_verdict(archive_dir, "uid-3", body("m3")) is True


def test_a_server_whose_sizes_are_all_wrong_is_learned(archive_dir: Path) -> None:
    sent = [Letter(x.unique_id, x.body, listed=len(x.body) + 500) for x in letters(12)]
    with Peer(sent) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (COMPLETE, {"stored": 12}), first
        assert first.stderr.count("sizes that fit few") == 1, first
        assert {last_verdict(archive_dir, x.unique_id, x.body) for x in sent} == {"unreliable-sizes"}
        late = Letter("uid-late", body("late"), listed=1)
        peer.maildrop.letters.append(late)
        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (COMPLETE, {"already_archived": 12, "stored": 1}), second
        assert asked(peer, "RETR 13") == 1 and second.json()["sessions"] == 1
    assert last_verdict(archive_dir, "uid-late", late.body) == "unreliable-sizes"


def test_a_suspect_that_another_client_deletes_stays_and_is_not_gone(archive_dir: Path) -> None:
    sent = letters(3)
    sent[1] = Letter("uid-2", body("m2"), listed=9999)
    with Peer(sent) as peer:
        result = pull_and_delete_between(peer, archive_dir)
    assert (result.code, counts(result)) == (PARTIAL, {"stored": 3, "suspect": 1}), result
    archives.assert_exactly(archive_dir, contents(sent))


def pull_and_delete_between(peer: Peer, archive: Path) -> Result:
    """The second letter is not listed any more from the second session on."""
    honest = peer.maildrop.listing

    def listing(hidden: object) -> dict[int, Letter]:
        return honest(() if len(peer.sessions) == 1 else ("uid-2",))

    peer.maildrop.listing = listing  # type: ignore[method-assign, assignment]
    return pull(peer, archive)


def test_a_suspect_whose_run_was_killed_is_looked_at_again_and_named_by_the_next(archive_dir: Path) -> None:
    """Killed between its first copy and the second look, so that nobody was told of it."""
    sent = letters(4)
    sent[1] = Letter("uid-2", body("m2"), listed=len(body("m2")) + 1000)
    with Peer(sent, Quirks(rules=[Rule("RETR 2", then=Then.STALL, after=0, session=2)])) as peer:
        kill_when_stalled(peer, archive_dir)
        known = {"already_archived": 4}
        for code, expected, fetched in ((PARTIAL, known | {"suspect": 1}, 2), (COMPLETE, known, 0)):
            seen = len(peer.sessions)
            result = pull(peer, archive_dir)
            assert (result.code, counts(result)) == (code, expected), result
            assert asked(peer, "RETR 2", slice(seen, None)) == fetched and asked(peer, "RETR 1", slice(seen, None)) == 0
    assert set(archives.files(archive_dir)) == {archives.digest(letter.body) for letter in sent}


def kill_when_stalled(peer: Peer, archive: Path) -> None:
    url = f"pop3://me@{HOST}:{peer.port}"
    process = start_mailmove("pull", url, "-a", archive, "--maildrop", "M", "--allow-plaintext", *PASSWORD_FROM_ENV)
    try:
        assert peer.stalled.wait(30)
    finally:
        kill(process)
        process.communicate()
    peer.go_on.set()


# ---- Half a POP3


@pytest.mark.parametrize(
    ("without", "again", "fetched"), [(["UIDL"], "already_archived", 0), (["UIDL", "TOP"], "duplicate_content", 3)]
)
def test_without_uidl_headers_tell_what_is_known_or_else_the_octets(
    archive_dir: Path, without: list[str], again: str, fetched: int
) -> None:
    sent = letters(3)
    with Peer(sent, Quirks(without=without)) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (COMPLETE, {"stored": 3}), first
        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (COMPLETE, {again: 3}), second
        assert peer.sessions[1].verbs.count("RETR") == fetched
    assert set(archives.files(archive_dir)) == {archives.digest(letter.body) for letter in sent}
    archives.assert_consistent(archive_dir)


@pytest.mark.parametrize("capabilities", [without("PIPELINING"), None], ids=["no PIPELINING", "no CAPA"])
def test_without_pipelining_one_command_is_under_way(archive_dir: Path, capabilities: tuple[str, ...] | None) -> None:
    sent = letters(30)
    with Peer(sent, Quirks(capabilities=capabilities)) as peer:
        assert pull(peer, archive_dir).code == COMPLETE
        assert {session.window for session in peer.sessions} == {1}
    archives.assert_exactly(archive_dir, contents(sent))


def test_with_pipelining_many_are(archive_dir: Path) -> None:
    sent = letters(30)
    with Peer(sent) as peer:
        assert pull(peer, archive_dir).code == COMPLETE
        (session,) = peer.sessions
    assert session.window > 10 and session.verbs[-1] == "QUIT"
    assert session.commands.index("QUIT") > session.commands.index("RETR 30")
    archives.assert_exactly(archive_dir, contents(sent))


def test_a_login_by_sasl_plain_only(archive_dir: Path) -> None:
    sent = letters(2)
    with Peer(sent, Quirks(capabilities=without("USER"), without=["USER", "PASS"])) as peer:
        result = pull(peer, archive_dir)
        assert result.code == COMPLETE, result
        assert "AUTH" in peer.sessions[0].verbs and "USER" not in peer.sessions[0].verbs
    archives.assert_exactly(archive_dir, contents(sent))


def test_a_server_that_ends_its_lines_with_lf(archive_dir: Path) -> None:
    """What it sends is what is stored: LF throughout."""
    sent = [lf_letter(n) for n in range(1, 4)]
    with Peer(sent, Quirks(line_end=b"\n")) as peer:
        result = pull(peer, archive_dir)
    assert (result.code, counts(result)) == (COMPLETE, {"stored": 3}), result
    archives.assert_exactly(archive_dir, {x.unique_id: x.body.replace(b"\r\n", b"\n") for x in sent})


def lf_letter(number: int) -> Letter:
    text = body(f"m{number}") + b".leading dot\r\n"
    octets = len(text.replace(b"\r\n", b"\n"))
    return Letter(f"uid-{number}", text, listed=octets, said=octets)


# ---- Unique ids that are not


def test_two_messages_with_one_unique_id_and_size_are_two(archive_dir: Path) -> None:
    sent = [Letter("same", body("x1")), Letter("same", body("x2")), *letters(2)]
    assert len(sent[0].body) == len(sent[1].body)
    with Peer(sent) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (COMPLETE, {"stored": 4}), first
        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (COMPLETE, {"already_archived": 4}), second
        assert asked(peer, "RETR 1") == 1
    archives.assert_consistent(archive_dir)
    assert set(archives.files(archive_dir)) == {archives.digest(letter.body) for letter in sent}


def test_a_message_without_a_unique_id_is_stored_once_and_known_by_its_header(archive_dir: Path) -> None:
    sent = [*letters(2), Letter("", body("nameless"))]
    with Peer(sent) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (COMPLETE, {"stored": 3}), first
        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (COMPLETE, {"already_archived": 3}), second
        assert asked(peer, "RETR 3") == 1
    assert len(archives.files(archive_dir)) == 3


def test_a_message_without_a_unique_id_nor_top_is_stored_once_and_fetched_each_time(archive_dir: Path) -> None:
    sent = [*letters(2), Letter("", body("nameless"))]
    with Peer(sent, Quirks(without=["TOP"])) as peer:
        first = pull(peer, archive_dir)
        assert (first.code, counts(first)) == (COMPLETE, {"stored": 3}), first
        second = pull(peer, archive_dir)
        assert (second.code, counts(second)) == (COMPLETE, {"already_archived": 2, "duplicate_content": 1}), second
        assert asked(peer, "RETR 3") == 2
    assert [(r["t"], r.get("again", False)) for r in places_of(archive_dir, "")] == [("add", False), ("place", True)]
    assert len(archives.files(archive_dir)) == 3


def test_a_message_id_used_twice_for_other_bytes_keeps_both(archive_dir: Path) -> None:
    sent = [Letter("a", body("same")), Letter("b", body("same", 9)), Letter("c", body("same"))]
    with Peer(sent) as peer:
        result = pull(peer, archive_dir)
    assert (result.code, counts(result)) == (COMPLETE, {"stored": 2, "duplicate_content": 1}), result
    assert result.json()["versions"] == 1
    archives.assert_exactly(archive_dir, contents(sent))


# ---- TLS


def test_what_is_injected_behind_stls_is_refused(archive_dir: Path, certificates: Certificates) -> None:
    quirks = Quirks(after_stls=b"+OK injected\r\n+OK injected\r\n")
    with Peer(letters(2), quirks, context=certificates.server_context(), stls=True) as peer:
        result = pull(peer, archive_dir, "--ca-file", certificates.ca)
        assert all({"USER", "PASS", "AUTH"}.isdisjoint(session.verbs) for session in peer.sessions)
    assert result.code == TRY_AGAIN, result
    assert not archive_dir.exists()


def test_stls_and_pop3s_from_the_same_letters(archive_dir: Path, certificates: Certificates) -> None:
    sent = letters(3)
    with Peer(sent, context=certificates.server_context(), stls=True) as peer:
        assert pull(peer, archive_dir, "--ca-file", certificates.ca).code == COMPLETE
        assert peer.sessions[0].secured
    archives.assert_exactly(archive_dir, contents(sent))


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET], ids=["no goodbye", "reset"])
def test_tls_that_is_cut_in_mid_message_resumes(archive_dir: Path, certificates: Certificates, then: Then) -> None:
    sent = letters(6)
    quirks = Quirks(rules=[cut("RETR 4", after=20, then=then)])
    with Peer(sent, quirks, context=certificates.server_context()) as peer:
        result = pull(peer, archive_dir, "--ca-file", certificates.ca, scheme="pop3s")
        assert "QUIT" not in peer.sessions[0].verbs
    report = result.json()
    assert (result.code, report["stored"], report["sessions"], report["retries"]) == (COMPLETE, 6, 2, 1), result
    archives.assert_exactly(archive_dir, contents(sent))
