"""Whatever a server does, each message that comes out whole is exactly the answer to its own RETR, or a MailmoveError.

    python -m tests.fuzz.source [--seconds N] [FILE...]

That is: an honest server's maildrop arrives octet for octet; octets are booked on the message whose RETR they answer,
as `reference` reads the stream; no error but the typed ones is raised (and none that means a bug in mailmove), nothing
waits for ever, close never raises; no more RETRs are unanswered than the window admits, and one at a time
without PIPELINING; a login crosses only a protected or a permitted connection, and no error and no wire log tells it.

Strategy: a program's head says what the server offers and how the source is configured, its items are the letters and
the lies (liar.py). The source is opened, listed, drained and ended as a job does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from unittest import mock

from mailmove.errors import ArchiveError, LocalProtocolError, MailmoveError, ProtocolError, UsageError
from mailmove.model import AuthMethod, MaildropEntry
from mailmove.protocols import pop3
from mailmove.protocols.pop3.transcript import Transcript
from mailmove.sources import Incoming
from mailmove.sources import pop3 as pop3_source
from mailmove.sources.pop3_login import Pop3Endpoint
from tests.fuzz import inputs, reference
from tests.fuzz.liar import KINDS, PASSWORD, USER, Liar, Wire, turns
from tests.hostile.quirks import Letter, Quirks, without

HEAD = 4
TLS, ALLOWED, STLS, PIPELINING, LF, ONLY_SASL, LAZY, NO_CAPA = (1 << bit for bit in range(8))
"""Flags of the second octet. LAZY: the server reads nothing while its output is not taken."""
MAX_SESSIONS = 3
BUGS = (LocalProtocolError, UsageError, ArchiveError)


ANY = ("accepted or refused", None)
"""What a NOOP is answered does not matter."""

HEADS, DELETE, TRANSCRIPT = 8, 16, 32
"""Flags of the third octet, beside the window: TOP before the RETRs, DELE behind them, all told to a wire log."""
METHODS = tuple(AuthMethod)
PEER_KNOWS = (AuthMethod.AUTO, AuthMethod.USER, AuthMethod.PLAIN)

Told = tuple[str, object]
"""An answer as the source tells it: "message" with octets, or "refused" or "accepted" without the words."""


@dataclass
class Run:
    """One run: how it was to be, what was asked, what came out.

    `wires` are its connections, of which only the last can get beyond the login; `begun` says how many octets had been
    read there when the first of `verbs` was sent.
    """

    style: int
    flags: int
    plan: int
    auth: AuthMethod
    letters: list[bytes]
    turns: Iterator[inputs.Item]
    wires: list[Wire] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    partial: bytes | None = None
    begun: int = 0
    error: MailmoveError | None = None
    transcript: list[str] = field(default_factory=list)

    @property
    def window(self) -> int:
        return 1 + self.plan % 8

    @property
    def wire(self) -> Wire:
        return self.wires[-1]

    def connect(self, *arguments: object, **options: object) -> Wire:
        """Instead of mailmove.net's."""
        assert all(wire.closed for wire in self.wires) and len(self.wires) < MAX_SESSIONS
        flags, lazy = self.flags, bool(self.flags & LAZY)
        stls, open_password = flags & STLS and not flags & TLS, flags & ALLOWED and not flags & TLS
        liar = Liar(_maildrop(self.letters, flags), _quirks(flags), bool(stls), self.turns)
        self.wires.append(Wire(liar, self.style, open_password=bool(open_password), lazy=lazy))
        return self.wire


def check(data: bytes) -> None:
    """One input. Octets of the head: how the stream is cut, the flags, the plan, the way to log in."""
    (style, flags, plan, auth), items = inputs.parse(data, HEAD)
    letters = [payload for kind, payload in items if KINDS[kind % len(KINDS)] == "letter"]
    script = [item for item in items if KINDS[item[0] % len(KINDS)] != "letter"]
    run = Run(style, flags, plan, METHODS[auth % len(METHODS)], letters, turns(script))
    _pull(run)
    assert all(wire.closed for wire in run.wires), "a connection was left open"
    _check_error(run)
    _check_answers(run)
    if not script:
        _check_honest(run)


def _quirks(flags: int) -> Quirks:
    lacking = [] if flags & PIPELINING else ["PIPELINING"]
    offered = without("USER", *lacking) if flags & ONLY_SASL else without(*lacking)
    line_end = b"\n" if flags & LF else b"\r\n"
    return Quirks(password=PASSWORD, capabilities=None if flags & NO_CAPA else offered, line_end=line_end)


def _maildrop(bodies: list[bytes], flags: int) -> list[Letter]:
    """A server of bare LF holds lines only, so that it can stuff them."""
    plain = [re.sub(rb"\r?\n", b"\r\n", body) if flags & LF else body for body in bodies]
    return [Letter(f"id-{number}", body) for number, body in enumerate(plain)]


# ---- One session, as a job holds it


def _pull(run: Run) -> None:
    with mock.patch.object(pop3_source, "connect", run.connect):
        try:
            source = pop3_source.open_pop3(_endpoint(run), PASSWORD, lambda: True, _transcript(run))
        except MailmoveError as error:
            run.error = error
            return
    _drain(run, source)
    _quit(run, source)
    source.close()


def _quit(run: Run, source: pop3_source.Pop3Source) -> None:
    """Raises only where the server shows at the end that its answers to many commands at once were not in step."""
    try:
        source.quit()
    except ProtocolError as error:
        assert source.pipelining or run.window > 1  # the listing was asked for at once; what it can do was told later
        run.error = run.error or error


def _endpoint(run: Run) -> Pop3Endpoint:
    tls, allowed = bool(run.flags & TLS), bool(run.flags & ALLOWED)
    window = pop3.Window(run.window, 400)
    return Pop3Endpoint("liar.test", 110, USER, tls, allow_plaintext=allowed, window=window, auth=run.auth)


def _transcript(run: Run) -> Transcript | None:
    return (lambda direction, line: run.transcript.append(line)) if run.plan & TRANSCRIPT else None


def _drain(run: Run, source: pop3_source.Pop3Source) -> None:
    try:
        entries = source.list()
        run.begun = len(run.wire.delivered)
        if run.plan & HEADS:
            _heads(run, source, entries)
        _retrieve(run, source, entries)
        if run.plan & DELETE:
            _delete(run, source, entries)
    except MailmoveError as error:
        run.error = error


def _heads(run: Run, source: pop3_source.Pop3Source, entries: Sequence[MaildropEntry]) -> None:
    run.verbs += ["TOP"] * len(entries)
    for asked, (entry, head) in zip(entries, source.heads(entries), strict=True):
        assert entry is asked
        run.told.append(("refused", None) if head is None else ("message", head))
    if source.pipelining and run.window > 1 and len(entries) > 1:  # many were asked at a time: were they all answered?
        run.verbs.append("NOOP")
        run.told.append(ANY)


def _retrieve(run: Run, source: pop3_source.Pop3Source, entries: Sequence[MaildropEntry]) -> None:
    run.verbs += ["RETR"] * len(entries)
    for asked, incoming in zip(entries, source.retrieve(entries), strict=True):
        assert incoming.entry is asked
        _check_window(run, source)
        run.told.append(("message", _octets(run, incoming)) if isinstance(incoming, Incoming) else ("refused", None))


def _octets(run: Run, incoming: Incoming) -> bytes:
    run.partial = b""
    for chunk in incoming.chunks:
        assert chunk
        run.partial += chunk
    message, run.partial = run.partial, None
    return message


def _delete(run: Run, source: pop3_source.Pop3Source, entries: Sequence[MaildropEntry]) -> None:
    run.verbs += ["DELE"] * len(entries)
    deleted = set(source.delete(entries))
    run.told += [("accepted" if entry in deleted else "refused", None) for entry in entries]


def _check_window(run: Run, source: pop3_source.Pop3Source) -> None:
    sent = sum(command.startswith(b"RETR") for command in run.wire.liar.commands)
    answered = len(run.told) - run.verbs.count("TOP") - run.verbs.count("NOOP")
    limit = run.window if source.pipelining else 1
    assert sent - answered <= limit, "more RETRs are unanswered than the window admits"


# ---- What must hold afterwards


def _check_error(run: Run) -> None:
    assert not isinstance(run.error, BUGS), run.error
    told = [f"{error} {getattr(error, 'server_text', '')} {error!r}" for error in _chain(run.error)]
    for secret in {secret for wire in run.wires for secret in wire.liar.secrets}:
        leaks = [text for text in told + run.transcript if secret.decode("latin-1") in text]
        assert not leaks, f"{secret!r} told to people: {leaks}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None:
        assert not any(error is one for one in seen), "an error is its own cause"
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _check_answers(run: Run) -> None:
    """What came out is a beginning of what the reference reads, and all of it if there was no error.

    Octets that came before their command was sent answer it here but not for the source, hence only a beginning.
    """
    line_end = b"\r\n" if run.wire.delivered.partition(b"\n")[0].endswith(b"\r") else b"\n"
    expected = reference.read(run.verbs, run.wire.delivered[run.begun :], line_end)
    answers = [(kind, value if kind == "message" else None) for kind, value in expected.answers]
    answers = [ANY if verb == "NOOP" else answer for verb, answer in zip(run.verbs, answers, strict=False)]
    assert run.told == answers[: len(run.told)], (run, expected)
    if run.error is None:
        assert len(run.told) == len(run.verbs)
    elif run.partial is not None:
        message = answers[len(run.told)][1] if answers[len(run.told) :] else expected.partial
        assert isinstance(message, bytes)
        assert message.startswith(run.partial), (run, expected)


def _check_honest(run: Run) -> None:
    if run.auth not in PEER_KNOWS:
        return
    protected = run.flags & (TLS | ALLOWED) or (run.flags & STLS and not run.flags & NO_CAPA)
    if not protected:
        assert type(run.error).__name__ == "PlaintextRefused", run.error
        return
    line_end = b"\n" if run.flags & LF else b"\r\n"
    bodies = [re.sub(rb"\r?\n", b"\n", body) if run.flags & LF else body for body in run.letters]
    assert run.error is None, run.error
    messages = [told for told, verb in zip(run.told, run.verbs, strict=True) if verb == "RETR"]
    assert messages == [("message", reference.whole(body, line_end)) for body in bodies]
    assert not run.plan & DELETE or len(run.wire.liar.honest.maildrop.deleted) == len(run.letters)


if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("source")
