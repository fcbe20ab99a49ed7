r"""Bodies as servers really send them: what is archived are the octets that came, and what may be cut is called so.

Strategy: `odd` is the third of five letters, so that a reply that is read too far or not far enough shows in those
beside it. A raw letter goes out as it stands, terminator (or not) included.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.hostile.peer import Letter, Quirks, Rule, Then, without
from tests.hostile.scenario import PARTIAL, SHORT, Run, Scenario, complete, letter, text, usual, with_body

HEAD = b"Subject: odd\r\n\r\n"
END = b".\r\n"


def whole(name: str, body: bytes) -> Scenario:
    """The server sends this body in order; it is archived as it is."""
    return Scenario(name, with_body(body), runs=complete(5))


def raw(name: str, wire: bytes, octets: bytes, **options: object) -> Scenario:
    """These octets on the wire, those in the archive."""
    letters = with_body(wire, raw=True, listed=len(octets), said=len(octets))
    return Scenario(name, letters, runs=complete(5), archived=around(octets), **options)  # type: ignore[arg-type]


def around(*odd: bytes) -> list[tuple[str, bytes]]:
    """What is archived: the usual four, and these under `odd`."""
    return [*((f"uid-{n}", letter(n).body) for n in (1, 2, 4, 5)), *(("odd", octets) for octets in odd)]


def doubtful(
    name: str, wire: bytes, octets: bytes, listed: int, wrong: Sequence[tuple[str, bytes]] = (), **quirks: object
) -> Scenario:
    """`odd` comes in and is stored, but its size is not the listed one: suspect, named, not fetched for ever.

    `wrong` is what came in under another unique id at first, and is kept beside the right one.
    """
    letters = with_body(wire, raw=True, listed=listed, said=listed)
    first = Run({"stored": 5, "suspect": 1}, PARTIAL, named={"suspect": ["odd"]})
    runs = [first, Run({"already_archived": 5})]
    return Scenario(name, letters, Quirks(**quirks), runs, [*around(octets), *wrong])  # type: ignore[arg-type]


CONTENT = [
    whole("body-bare-lf-dot-line-not-stuffed", HEAD + b"before\n.\nafter\r\n"),
    whole("body-bare-lf-dot-crlf-not-stuffed", HEAD + b"before\n.\r\nafter\r\n"),
    raw("body-crlf-dot-bare-lf-not-stuffed", HEAD + b"a\r\n.\nafter\r\n" + END, HEAD + b"a\r\n.\nafter\r\n"),
    whole("body-dots-of-every-kind", HEAD + b".\r\n..\r\n...\r\n.x\r\n" + b".\r\n" * 3),
    whole("body-of-nothing-but-dots", b".\r\n" * 100_000),
    whole("body-with-nul", HEAD + b"a\0b\0\0\r\n\0.\r\n.\0\r\n" * 1000),
    whole("body-lone-cr-at-block-edges", HEAD + b"\r" * 700_000 + b"x\r\n"),
    whole("body-cr-before-crlf-at-block-edges", HEAD + b"\r\r\n" * 200_000),
    whole("body-cr-dot-cr", HEAD + b"\r.\r\r\n\r..\r" * 50_000 + b"\r\n"),
    whole("body-1-mb-lines", HEAD + b"x" * (1 << 20) + b"\r\n" + b"." * (1 << 20) + b"\r\n"),
    whole("body-8-bit-and-no-header", bytes(range(256)) * 100 + b"\r\n"),
    whole("body-like-a-reply", b"+OK 3 octets\r\n-ERR no\r\n.\r\n+OK\r\n"),
    Scenario("body-of-nothing", with_body(b""), runs=complete(5)),
    Scenario("body-without-its-last-line-end", with_body(HEAD + b"no end"), runs=complete(5),
             archived=around(HEAD + b"no end\r\n")),
]  # fmt: skip

LF_LETTERS = [Letter(f"uid-{n}", text(f"m{n}", n) + b".dot\r\n") for n in range(1, 6)]
LF_BODIES = [(x.unique_id, x.body.replace(b"\r\n", b"\n")) for x in LF_LETTERS]


def lf_sized(letter: Letter) -> Letter:
    octets = len(letter.body.replace(b"\r\n", b"\n"))
    return Letter(letter.unique_id, letter.body, listed=octets, said=octets)


LF_SERVERS = [
    Scenario("server-of-lf-that-counts-lf", [lf_sized(x) for x in LF_LETTERS], Quirks(line_end=b"\n"),
             runs=complete(5), archived=LF_BODIES),
    Scenario("server-of-lf-that-counts-crlf", LF_LETTERS, Quirks(line_end=b"\n"), runs=complete(5), archived=LF_BODIES),
    Scenario("server-of-crlf-that-counts-lf", [lf_sized(x) for x in LF_LETTERS], runs=complete(5)),
]  # fmt: skip

CUT = HEAD + b"before\r\n"
LONE_DOT = CUT + b".\r\nafter\r\n"
POISON = [Letter(f"cut-{n}", LONE_DOT + b"%d\r\n" % n + END, raw=True, listed=100 + n, said=100 + n) for n in range(4)]

STUFFING = [
    raw("no-stuffing-of-a-dotted-word", HEAD + b".x\r\n" + END, HEAD + b".x\r\n"),
    doubtful("no-stuffing-of-two-dots", HEAD + b"..x\r\n" + END, HEAD + b".x\r\n", len(HEAD) + 5),
    doubtful("no-stuffing-of-a-lone-dot", LONE_DOT + END, CUT, len(LONE_DOT)),
    doubtful("no-stuffing-of-a-lone-dot-one-at-a-time", LONE_DOT + END, CUT, len(LONE_DOT),
             capabilities=without("PIPELINING")),
    doubtful("no-stuffing-of-a-forged-reply", CUT + END + b"+OK\r\nforged\r\n" + END, CUT, 999,
             wrong=[("uid-4", b"forged\r\n"), ("uid-5", letter(4).body)]),
    Scenario("no-stuffing-in-four-of-ten", [*usual(6)[:3], *POISON, *usual(6)[3:]],
             runs=[Run({"stored": 10, "suspect": 4}, PARTIAL), Run({"already_archived": 10})],
             archived=[*((x.unique_id, x.body) for x in usual(6)), *((x.unique_id, CUT) for x in POISON)])
]  # fmt: skip
# Four cut messages of the same octets are one file: stored once, the others are duplicates.
STUFFING[-1] = Scenario(
    STUFFING[-1].name,
    STUFFING[-1].letters,
    runs=[Run({"stored": 7, "duplicate_content": 3, "suspect": 4}, PARTIAL), Run({"already_archived": 10})],
    archived=STUFFING[-1].archived,
)

UNENDED = Run({"stored": 4, "parked": 1}, PARTIAL, named={"parked": ["odd"]})
STILL = Run({"already_archived": 4, "parked": 1}, PARTIAL, named={"parked": ["odd"]})
ONE_BY_ONE = Quirks(capabilities=without("PIPELINING"))


def unended(name: str, wire: bytes, quirks: Quirks = ONE_BY_ONE) -> Scenario:
    """`odd` never ends: it is parked, and the others come in."""
    letters = with_body(wire, raw=True, listed=len(wire))
    return Scenario(name, letters, quirks, runs=[UNENDED, STILL], archived=around(), options={"timeout": SHORT})


def half_ended(body: bytes, **options: object) -> Rule:
    """The last letter, whose terminator lacks its LF; then the server hangs up."""
    return Rule("RETR 5", reply=b"+OK\r\n" + body + b".\r", then=Then.CLOSE, after=0, **options)  # type: ignore[arg-type]


LAST = letter(5).body
ENDS = [
    unended("end-dot-behind-a-last-line-without-line-end", HEAD + b"the last line" + END),
    unended("end-without-its-lf", HEAD + b"x\r\n.\r"),
    unended("end-never-comes", HEAD + b"x\r\n"),
    Scenario("end-without-its-lf-then-fin-once", usual(5),
             Quirks(rules=[Rule("RETR 5", reply=b"+OK\r\n" + LAST + b".\r", then=Then.CLOSE, times=1)]),
             runs=complete(5)),
    Scenario("end-without-its-lf-then-fin-always", usual(5),
             Quirks(rules=[Rule("RETR 5", reply=b"+OK\r\n" + LAST + b".\r", then=Then.CLOSE)]),
             runs=[Run({"stored": 4, "parked": 1}, PARTIAL, named={"parked": ["uid-5"]}),
                   Run({"already_archived": 4, "parked": 1}, PARTIAL)],
             archived=[(x.unique_id, x.body) for x in usual(4)]),
]  # fmt: skip


def sized(name: str, runs: list[Run], **options: int) -> Scenario:
    return Scenario(name, with_body(text("odd", 9), **options), runs=runs, archived=around(text("odd", 9)))


SUSPECT = [Run({"stored": 5, "suspect": 1}, PARTIAL, named={"suspect": ["odd"]}), Run({"already_archived": 5})]
EXCHANGE = [Letter(x.unique_id, x.body, listed=len(x.body) + 137) for x in usual(12)]
HALF_EMPTY = [Letter(x.unique_id, x.body, listed=1) for x in usual(4)]

SIZES = [
    sized("size-too-large-in-both-countings", SUSPECT, listed=5000),
    sized("size-too-small-in-both-countings", SUSPECT, listed=20),
    sized("size-wrong-in-the-reply-only", SUSPECT, said=5000),
    sized("size-0-in-list", list(complete(5)), listed=0),
    Scenario("size-wrong-for-all-of-exchange", EXCHANGE, runs=complete(12)),
    Scenario("size-wrong-for-all-of-few", HALF_EMPTY,
             runs=[Run({"stored": 4, "suspect": 4}, PARTIAL), Run({"already_archived": 4})]),
    Scenario("size-0-for-all", [Letter(x.unique_id, x.body, listed=0) for x in usual(12)], runs=complete(12)),
    Scenario("size-not-in-the-reply", usual(5), Quirks(says_octets=False), runs=complete(5)),
    Scenario("size-right-at-the-second-look",
             [letter(1), Letter("odd", text("odd", 2), listed=len(text("odd", 9)), later=[text("odd", 9)])],
             runs=complete(2), archived=[("uid-1", letter(1).body), ("odd", text("odd", 2)), ("odd", text("odd", 9))]),
    Scenario("size-of-a-message-that-grows-each-time",
             [letter(1), Letter("odd", text("odd", 2), listed=9999, later=[text("odd", 3), text("odd", 4)])],
             runs=[Run({"stored": 2, "suspect": 1}, PARTIAL), Run({"already_archived": 2})],
             archived=[("uid-1", letter(1).body), ("odd", text("odd", 2)), ("odd", text("odd", 3))]),
]  # fmt: skip

SCENARIOS = [*CONTENT, *LF_SERVERS, *STUFFING, *ENDS, *SIZES]
