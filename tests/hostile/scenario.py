"""A scenario of the quirk matrix: what a server does wrong, and how everything must look afterwards.

    Scenario("uidl-with-spaces", letters(("a  b", BODY), ...), runs=complete(3))

Strategy: a row is data, and says nothing of the way. `play` runs mailmove in this process, once for each Run, against a
Peer that may become another between two runs; nobody waits, since the context's sleep only writes down for how long.
After each run the exit code and the counts must be the row's; then four witnesses are asked: the archive, read without
mailmove; what the peer was told to delete; how often somebody logged in; and what the report calls by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mailmove.endpoints import open_source
from mailmove.errors import MailmoveError
from mailmove.jobs import Context, PullJob
from mailmove.jobs.pull import run_pull
from mailmove.model import Maildrop
from mailmove.secrets import Secret
from tests.hostile.peer import HONEST, Letter, Peer, Quirks, Rule, Session
from tests.servers.certs import Certificates
from tests.support import archives
from tests.support.client import HOST, PASSWORD

COMPLETE, PARTIAL, TRY_AGAIN, LOGIN_REFUSED, CONFIGURATION = 0, 3, 75, 77, 78
TERMS = ("stored", "already_archived", "duplicate_content", "skipped", "gone", "parked", "pending")
SHORT = 0.3
"""Seconds of --timeout for a server that falls silent."""


@dataclass(frozen=True)
class Run:
    """One run of mailmove: what the server has become before it (None: what it was), and how the run must end.

    `counts` are the terms of the equation that are not 0, and `suspect`. `named`: kind of exception -> unique ids.
    `logins`: how many passwords the server may have seen at most. `check` is asked with what the run left behind.
    """

    counts: Mapping[str, int]
    code: int = COMPLETE
    named: Mapping[str, Sequence[str]] = field(default_factory=dict)
    letters: Sequence[Letter] | None = None
    quirks: Quirks | None = None
    logins: int | None = None
    check: Callable[[Ended], None] | None = None


@dataclass(frozen=True)
class Scenario:
    """A row. `archived`: (unique id, octets) of all that is in the archive at the end; None: the letters as they are.

    `tls` is "", "pop3s" or "stls"; `options` are fields of the PullJob.
    """

    name: str
    letters: Sequence[Letter]
    quirks: Quirks = HONEST
    runs: Sequence[Run] = ()
    archived: Sequence[tuple[str, bytes]] | None = None
    tls: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expected(self) -> set[tuple[str, str]]:
        """(unique id, digest)."""
        pairs = [(x.unique_id, x.body) for x in self.letters] if self.archived is None else self.archived
        return {(unique_id, archives.digest(octets)) for unique_id, octets in pairs}


@dataclass(frozen=True)
class Ended:
    """One run when it is over: its report (or only the error's), what was waited, and the sessions the peer saw."""

    code: int
    report: Mapping[str, Any]
    waits: Sequence[float]
    notes: Sequence[str]
    sessions: Sequence[Session]

    @property
    def counts(self) -> dict[str, int]:
        return {term: self.report[term] for term in (*TERMS, "suspect") if self.report.get(term)}

    @property
    def logins(self) -> int:
        """How many passwords went over the wire."""
        return sum(session.verbs.count("PASS") + session.verbs.count("AUTH") for session in self.sessions)

    def named(self, kind: str) -> list[str]:
        """Unique ids of the exceptions of this kind."""
        return [item.get("unique_id", "") for item in self.report["exceptions"] if item["kind"] == kind]

    def asked(self, command: str) -> int:
        return sum(session.commands.count(command) for session in self.sessions)


class Hasty(Context):
    """A context for which no time passes."""

    def __init__(self, password: str = PASSWORD) -> None:
        super().__init__(open_source=lambda job, window: open_source(job, Secret(password), window, lambda: True))
        self.progress = self.notes = Notes()
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


class Notes:
    """Progress that keeps what a person would have read."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def begin(self, what: str, messages: int, octets: int) -> None: ...

    def received(self, octets: int) -> None: ...

    def done(self, messages: int, octets: int) -> None: ...

    def rewind(self) -> None: ...

    def end(self) -> None: ...


# ---- Words that rows are written in


def text(name: str, lines: int = 3) -> bytes:
    """An ordinary message."""
    return f"Message-ID: <{name}@example>\r\nSubject: {name}\r\n\r\n".encode() + b"a line of text\r\n" * lines


def letter(number: int, **options: Any) -> Letter:
    """`uid-N`, of a size of its own."""
    return Letter(f"uid-{number}", text(f"m{number}", number), **options)


def usual(count: int) -> list[Letter]:
    return [letter(number) for number in range(1, count + 1)]


def named(*unique_ids: str) -> list[Letter]:
    """A letter for each of these ids, of a size of its own."""
    return [Letter(unique_id, text(f"n{place}", place)) for place, unique_id in enumerate(unique_ids)]


def with_body(body: bytes, **options: Any) -> list[Letter]:
    """Five letters; the third, `odd`, has this body."""
    return [letter(1), letter(2), Letter("odd", body, **options), letter(4), letter(5)]


def complete(count: int) -> tuple[Run, Run]:
    """All of them come in, and the next run knows them."""
    return Run({"stored": count}), Run({"already_archived": count})


def says(command: str, reply: str | bytes, **options: Any) -> Rule:
    """This line as the whole reply."""
    octets = reply.encode() if isinstance(reply, str) else reply
    return Rule(command, reply=octets + b"\r\n", **options)


# ---- Playing


def play(scenario: Scenario, archive: Path, certificates: Certificates | None) -> list[Ended]:
    """All runs of a scenario, each held to what its row says; then the archive, and what the server was asked for."""
    context = certificates.server_context() if certificates else None
    with Peer(scenario.letters, scenario.quirks, context=context, stls=scenario.tls == "stls") as peer:
        ended = [_run(scenario, run, peer, archive, certificates) for run in scenario.runs]
    deleted = [command for session in peer.sessions for command in session.commands if command.startswith("DELE")]
    assert (deleted, peer.maildrop.deleted) == ([], set()), "nothing may be deleted unless asked"
    assert_archived(archive, scenario.expected)
    return ended


def play_deleting(scenario: Scenario, archive: Path, certificates: Certificates | None) -> list[Letter]:
    """Two runs against the scenario's first server, which may delete at once; returns the letters that are gone then.

    However the runs end, what is gone from the server is in the archive, octet for octet.
    """
    context = certificates.server_context() if certificates else None
    scenario = replace(scenario, options={**scenario.options, "delete_after": 0.0, "allow_mass_delete": True})
    first = scenario.runs[0]
    letters = scenario.letters if first.letters is None else first.letters
    with Peer(letters, first.quirks or scenario.quirks, context=context, stls=scenario.tls == "stls") as peer:
        for _ in range(2):
            pull(job_for(scenario, peer, archive, certificates))
    gone = [letters[place] for place in sorted(peer.maildrop.deleted)]
    stored = archives.files(archive) if gone else {}
    for letter in gone:
        assert as_sent(letter, peer.quirks) & set(stored), f"{letter.unique_id} is gone, and not archived as it was"
    return gone


def as_sent(letter: Letter, quirks: Quirks) -> set[str]:
    """The digests of what an honest client makes of this letter."""
    wire = letter.body.removesuffix(b".\r\n") if letter.raw else letter.body
    bodies = {wire, wire if wire.endswith(b"\r\n") or not wire else wire + b"\r\n", *letter.later}
    return {archives.digest(body.replace(b"\r\n", quirks.line_end)) for body in bodies}


def assert_archived(archive: Path, expected: set[tuple[str, str]]) -> None:
    """Exactly these places and files, in agreement with each other; no archive at all where nothing is expected."""
    if not expected and not archive.exists():
        return
    archives.assert_consistent(archive)
    assert set(archives.places(archive)) == expected
    assert set(archives.files(archive)) == {digest for _, digest in expected}


def _run(scenario: Scenario, run: Run, peer: Peer, archive: Path, certificates: Certificates | None) -> Ended:
    before = len(peer.sessions)
    peer.becomes(run.letters, run.quirks)
    code, report, context = pull(job_for(scenario, peer, archive, certificates))
    ended = Ended(code, report, context.waits, context.notes.texts, peer.sessions[before:])
    assert (ended.code, ended.counts) == (run.code, dict(run.counts)), (report, ended.notes)
    if "listed" in report:
        assert report["listed"] == sum(report[term] for term in TERMS), report
    for kind, unique_ids in run.named.items():
        assert sorted(ended.named(kind)) == sorted(unique_ids), report
    assert run.logins is None or ended.logins <= run.logins, [session.commands for session in ended.sessions]
    if run.check:
        run.check(ended)
    return ended


def job_for(scenario: Scenario, peer: Peer, archive: Path, certificates: Certificates | None) -> PullJob:
    scheme = "pop3s" if scenario.tls == "pop3s" else "pop3"
    options: dict[str, Any] = {"allow_plaintext": not scenario.tls, "timeout": 10.0, **scenario.options}
    if certificates:
        options["ca_file"] = str(certificates.ca)
    source = f"{scheme}://me@{HOST}:{peer.port}"
    return PullJob(source, Maildrop(HOST, "me", peer.port, "M"), archive, **options)


def pull(job: PullJob) -> tuple[int, dict[str, Any], Hasty]:
    """One run: (exit code, report, context). A run that made no archive has its error only."""
    context = Hasty()
    try:
        report = run_pull(job, context)
    except MailmoveError as error:
        return error.exit_code, {"exceptions": [], "error": str(error)}, context
    return report.exit_code, report.as_dict(), context
