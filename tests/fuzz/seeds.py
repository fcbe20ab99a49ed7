"""The corpus, made from names: `python -m tests.fuzz.seeds` writes tests/fuzz/corpus/ anew.

Strategy: a seed is said in the words of its target (the names in KINDS), so that it keeps its meaning when a target
changes; a test holds the files to this. Each shows the fuzzer one place it would be long in finding by itself. An input
that broke an invariant once belongs here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import framing, inputs, session, smtp, source
from tests.fuzz.engine import CORPUS
from tests.fuzz.liar import KINDS as LIES

Named = tuple[str, bytes]

DOTS = b".\r\n..\r\n.x\r\n\r\n.\n.\r\r\n."
ODD = (b"", b".", b"\r\n", b"a\r", b"\n.\n", b"\0\xff", DOTS, b"Subject: x\r\n\r\ntext")
LETTERS: tuple[Named, ...] = tuple(("letter", body) for body in ODD)
WHOLE, EACH, CUT = 0, 1, 7
LOGIN: tuple[Named, ...] = (("honest", b""), ("USER", b""), ("honest", b""), ("PASS", b""), ("honest", b""))
SAFE = source.TLS | source.PIPELINING


def _framing(style: int, flags: int, *items: Named) -> bytes:
    return _built(bytes([0, style, flags]), tuple(framing.KINDS), items)


def _session(style: int, *items: Named, pipelining: bool = True) -> bytes:
    return _built(bytes([1, style, pipelining]), session.KINDS, items)


def _source(flags: int, *items: Named, style: int = WHOLE, plan: int = 7, auth: int = 0) -> bytes:
    return _built(bytes([style, flags, plan, auth]), LIES, items)


def _built(head: bytes, kinds: Sequence[str], items: Sequence[Named]) -> bytes:
    return inputs.build(head, ((kinds.index(kind), payload) for kind, payload in items))


def framing_seeds() -> dict[str, bytes]:
    """Messages of every kind in each cut, listings, limits, noise, and sessions from the greeting on."""
    messages = [("message", body) for body in ODD]
    mixed = [("sizes", b"\0\1\2"), ("ids", b"a,b c,\xff,a"), ("status", b"xy"), ("refused", b"[SYS/TEMP] later")]
    return {
        **{f"messages-{style}": _framing(style, framing.EOF, *messages) for style in (WHOLE, EACH, CUT)},
        "messages-lf": _framing(CUT, framing.LF, *messages),
        "mixed": _framing(CUT, 0, *messages[:3], *mixed, ("top", DOTS)),
        "long": _framing(CUT, 0, ("long", b"0123456789" * 3), ("long", b"\r\n."), ("message", b"x")),
        "long-line": _framing(CUT, framing.SMALL, ("NOOP?", b"+OK " + b"x" * 59 + b"\r\n"), ("NOOP?", b"x" * 80)),
        "long-listing": _framing(CUT, framing.SMALL, ("UIDL?", b"+OK\r\n1 " + b"x" * 210 + b"\r\n.\r\n")),
        "unfinished": _framing(CUT, framing.EOF, *mixed, ("RETR?", b"+OK\r\n..a\r\n.")),
        "twice": _framing(WHOLE, 0, ("NOOP?", b"+OK\r\n+OK\r\n")),
        "listed-twice": _framing(WHOLE, 0, ("LIST?", b"+OK\r\n1 1\r\n1 2\r\n.\r\n")),
        "listed-with-ok": _framing(CUT, 0, ("UIDL?", b"+OK\r\n+OK 1 a\r\n+ok 3\t b \r\n4\r\n.\r\n"), ("status", b"")),
        "bare-lf": _framing(CUT, 0, ("RETR?", b"+OK\na\n.\n\r\n.\r\n"), ("NOOP?", b"+OK\n"), ("NOOP?", b"-err\n")),
        "no-number": _framing(WHOLE, 0, ("LIST?", b"+OK\r\nx\r\n.\r\n")),
        "bad-status": _framing(WHOLE, 0, ("STAT?", b"+OK 1\r\n")),
        "unsolicited": _framing(EACH, 0, ("message", b"x"), ("noise", b"+OK\r\n")),
        **_session_seeds(),
    }


def _session_seeds() -> dict[str, bytes]:
    retrieve = (*LOGIN, ("RETR", b"\0"), ("TOP", b"\1"), ("honest", DOTS), ("NOOP", b""), ("honest", b"x"))
    listed = (*LOGIN, ("STAT", b""), ("UIDL", b""), ("LIST", b""), *[("honest", b"abc")] * 3, ("CAPA", b""))
    sasl = (("honest", b""), ("AUTH", b""), ("honest", b""), ("response", b"\0me\0x"), ("honest", b"x"), ("NOOP", b""))
    return {
        "session-retrieve": _session(CUT, *retrieve, ("QUIT", b""), ("honest", b""), ("EOF", b"")),
        "session-listed": _session(CUT, *listed, ("honest", b"TOP\r\nUIDL"), ("EOF", b"")),
        "session-sasl": _session(EACH, *sasl, ("honest", b"")),
        "session-sasl-cancelled": _session(CUT, *sasl[:3], ("cancel", b""), ("noise", b"-ERR\r\n"), ("EOF", b"")),
        "session-stls": _session(CUT, ("honest", b""), ("STLS", b""), ("honest", b""), ("CAPA", b""), ("honest", b"")),
        "session-stls-injected": _session(CUT, ("honest", b""), ("STLS", b""), ("honest then noise", b"+OK\r\n")),
        "session-stls-twice": _session(
            EACH, ("honest", b""), *[("STLS", b""), ("honest", b"")] * 2, ("STLS", b""), ("honest then noise", b" ")
        ),
        "session-one-by-one": _session(WHOLE, *LOGIN, ("NOOP", b""), ("NOOP", b""), ("DELE", b"\1"), pipelining=False),
        "session-dropped": _session(CUT, *LOGIN, ("RETR", b""), ("noise", b"+OK\r\nhalf a mess"), ("EOF", b"")),
        "session-refused": _session(CUT, ("noise", b"-ERR [IN-USE] no\r\n"), ("CAPA", b""), ("EOF", b"")),
    }


def source_seeds() -> dict[str, bytes]:
    """Honest servers of several kinds; then one lie each, at the place where it hurts."""
    return {**_honest_seeds(), **{f"lie-{name}": seed for name, seed in _lies().items()}}


def _honest_seeds() -> dict[str, bytes]:
    one_by_one, all_of_it = source.TLS, source.HEADS | source.DELETE | source.TRANSCRIPT
    return {
        "tls": _source(SAFE, *LETTERS),
        "all-of-it": _source(SAFE, *LETTERS, style=CUT, plan=all_of_it | 3),
        "octet-by-octet": _source(SAFE | source.LAZY, *LETTERS, style=EACH, plan=2),
        "one-by-one": _source(one_by_one, *LETTERS, style=CUT),
        "stls": _source(source.STLS | source.PIPELINING, *LETTERS, plan=source.TRANSCRIPT | 1),
        "no-stls": _source(source.PIPELINING, *LETTERS),
        "plaintext": _source(source.ALLOWED | source.NO_CAPA, *LETTERS),
        "bare-lf": _source(SAFE | source.LF, *LETTERS, style=CUT),
        "only-sasl": _source(SAFE | source.ONLY_SASL, *LETTERS[:2]),
        **{f"auth-{method}": _source(SAFE, LETTERS[7], auth=n) for n, method in enumerate(source.METHODS)},
    }


def _lies() -> dict[str, bytes]:
    """The replies of a session over TLS: greeting, CAPA, login (1 or 2), CAPA, STAT, UIDL, LIST, then each message."""
    settled: tuple[Named, ...] = (*LETTERS, ("honest", b"\6"))
    plan = source.HEADS | source.DELETE | source.TRANSCRIPT | 7
    at_end = {
        "cut": [("FIN", b"\12")],
        "reset": [("RST", b"\12")],
        "stall": [("stall", b"\12")],
        "twice": [("twice", b""), ("twice", b"")],
        "swallowed": [("silence", b"")],
        "refused": [("refused", b"SYS/TEMP"), ("refused", b"IN-USE")],
        "shifted": [("followed", b"+OK\r\nnot yours\r\n.\r\n")],
        "unstuffed": [("replaced", b"+OK\r\n.x\r\n.\r\n.\r\n")],
        "damaged": [("inserted", b"\7\r\n.\r\n"), ("overwritten", b"\11\r\n"), ("dropped", b"\5\2")],
        "late-echo": [("echo", b"\2"), ("echo", b"\3")],
    }
    return {
        **{name: _source(SAFE, *settled, *lies, style=CUT, plan=plan) for name, lies in at_end.items()},
        "not-deleted": _source(
            SAFE, *LETTERS, ("honest", b"\7"), ("honest", b"\6"), ("refused", b""), plan=source.DELETE | 7
        ),
        "injected": _source(source.STLS, ("honest", b"\1"), ("followed", b"+OK injected\r\n"), style=WHOLE),
        "echo": _source(source.ALLOWED, ("honest", b"\2"), ("echo", b"\0"), plan=source.TRANSCRIPT, auth=1),
        "echo-behind": _source(source.ALLOWED, ("honest", b"\2"), ("echo", b"\1"), plan=source.TRANSCRIPT, auth=1),
        "challenge": _source(SAFE, ("honest", b"\1"), ("replaced", b"+ =\r\n"), auth=3),
        "challenge-again": _source(SAFE, ("honest", b"\1"), ("replaced", b"+ \n")),
        "no-greeting": _source(SAFE, ("silence", b"")),
        "busy": _source(SAFE, ("refused", b"LOGIN-DELAY 60")),
    }


def smtp_seeds() -> dict[str, bytes]:
    """Each way of sending, with refusals at each place, broken lines, an end of the session, and nonsense."""
    mail: tuple[Named, ...] = (*LETTERS, ("to two", DOTS), ("to another", b"\r\n.\r\nQUIT\r\n"), *LETTERS[:3])
    ways = {
        f"{'lmtp' if way & smtp.LMTP else 'smtp'}-{'pipelining' if way & smtp.PIPELINING else 'waiting'}"
        f"-{'bdat' if way & smtp.CHUNKING else 'data'}": way
        for way in range(8)
    }
    refusals = ("answer", bytes([0, 0, 0, 0, 1, 0, 0, 2, 1, 0, 1, 3, 0, 0, 6, 0, 2, 1]))
    return {
        **{name: _smtp(way, *mail) for name, way in ways.items()},
        **{f"{name}-refused": _smtp(way | smtp.GULLIBLE, refusals, *mail) for name, way in ways.items()},
        **{f"{name}-cut": _smtp(way, *mail, takes=60) for name, way in ways.items()},
        **{f"{name}-deaf": _smtp(way | smtp.AT_ONCE, *mail, hears=30) for name, way in ways.items()},
        **{f"{name}-closed": _smtp(way, ("answer", bytes(9) + b"\5"), *mail) for name, way in ways.items()},
        "nonsense": _smtp(7, ("answer", bytes(5)), ("nonsense", b"250 ok\r\n250 ok"), *mail),
        "no-reply": _smtp(6, ("nonsense", b"hello"), *mail),
    }


def _smtp(flags: int, *items: Named, takes: int = 0, hears: int = 0) -> bytes:
    return _built(bytes([flags, CUT, takes, hears]), smtp.KINDS, items)


def main() -> None:
    """Writes the corpus; files that are no seed any more go."""
    for target, seeds in (("framing", framing_seeds()), ("smtp", smtp_seeds()), ("source", source_seeds())):
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for stale in _files(folder) - seeds.keys():
            (folder / stale).unlink()
        for name, octets in seeds.items():
            (folder / name).write_bytes(octets)


def _files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


if __name__ == "__main__":
    main()
