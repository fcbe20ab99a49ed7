"""Unique ids as servers really give them: every message comes in once, and is known afterwards.

Strategy: what is in an id is the server's affair, so nothing an id holds may change what is archived, or cost a second
transfer. Only an id that comes back with another size is not believed.
"""

from __future__ import annotations

from tests.hostile.peer import Letter, Quirks, Rule, refuse, without
from tests.hostile.scenario import Run, Scenario, complete, letter, named, says, text, usual

FIVE = usual(5)


def uidl_lines(*lines: str) -> Rule:
    """The whole answer to UIDL, as its lines."""
    return says("UIDL", "\r\n".join(("+OK", *lines, ".")))


def list_lines(*lines: str) -> Rule:
    return says("LIST", "\r\n".join(("+OK", *lines, ".")))


ID_CHARACTERS = [
    Scenario("uidl-over-70", named(*("x" * 70 + c for c in "abc")), runs=complete(3)),
    Scenario("uidl-over-300", named(*("y" * 300 + c for c in "abc")), runs=complete(3)),
    Scenario("uidl-of-5000", named("z" * 5000, "z" * 5001), runs=complete(2)),
    Scenario("uidl-with-spaces", named("a b", "a  b", "a\tb", "a b c"), runs=complete(4)),
    Scenario("uidl-8-bit", named("\xe9", "\xff\x80", "\xc3\xa9", "\x01\x7f", "\x00"), runs=complete(5)),
    Scenario("uidl-slash-and-hyphen", named("a/b", "a-b", "a\\b", "../../x", "a%2Fb"), runs=complete(5)),
    Scenario("uidl-by-case-only", named("abc", "ABC", "Abc", "aBc"), runs=complete(4)),
    Scenario("uidl-quotes-and-markup", named("'; DROP TABLE places", '"', "%s{0}", "<x>", "\\u0041"), runs=complete(5)),
    Scenario("uidl-like-a-reply", named("+OK", "-ERR no", ".", "..", "QUIT"), runs=complete(5)),
    Scenario("uidl-of-digits", named("1", "01", "001", "2 2", "0"), runs=complete(5)),
]

SAME = [
    Letter("same", text("x1")), Letter("same", text("x2")), letter(1),
]  # fmt: skip
TWINS = [Letter("twin", text("t")), Letter("twin", text("t")), letter(1)]
DOVECOT = [Letter("a", text("first", 2)), Letter("a-2", text("second", 5)), Letter("b", text("third"))]

ID_COUNTS = [
    Scenario(
        "uidl-empty-for-one",
        [*usual(2), Letter("", text("nameless"))],
        runs=complete(3),
    ),
    Scenario("uidl-empty-for-all", [Letter("", text(f"e{n}")) for n in range(3)], runs=complete(3)),
    Scenario(
        "uidl-empty-for-one-without-top",
        [*usual(2), Letter("", text("nameless"))],
        Quirks(without=["TOP"]),
        runs=[Run({"stored": 3}), Run({"already_archived": 2, "duplicate_content": 1})],
    ),
    Scenario("uidl-duplicate-of-one-size", SAME, runs=complete(3)),
    Scenario(
        "uidl-duplicate-of-two-sizes",
        [Letter("same", text("x1")), Letter("same", text("x2", 9)), letter(1)],
        runs=complete(3),
    ),
    Scenario(
        "uidl-duplicate-of-the-same-octets",
        TWINS,
        runs=[Run({"stored": 2, "duplicate_content": 1}), Run({"already_archived": 3})],
    ),
    Scenario(
        "uidl-one-more-of-a-duplicate",
        SAME,
        runs=[
            Run({"stored": 2}, letters=[SAME[0], SAME[2]]),
            Run({"stored": 1, "already_archived": 1, "duplicate_content": 1}, letters=SAME),
            Run({"already_archived": 3}),
        ],
    ),
    Scenario(
        "uidl-suffix-of-dovecot-moves-on",
        DOVECOT,
        runs=[
            Run({"stored": 3}),
            Run(
                {"already_archived": 1, "duplicate_content": 1},
                letters=[Letter("a", DOVECOT[1].body), Letter("b", DOVECOT[2].body)],
            ),
        ],
        archived=[*((x.unique_id, x.body) for x in DOVECOT), ("a", DOVECOT[1].body)],
    ),
    Scenario(
        "uidl-reused-for-other-bytes",
        FIVE,
        runs=[
            Run({"stored": 5}),
            Run({"stored": 1, "already_archived": 4}, letters=[Letter("uid-1", text("other", 77)), *FIVE[1:]]),
            Run({"already_archived": 5}),
        ],
        archived=[*((x.unique_id, x.body) for x in FIVE), ("uid-1", text("other", 77))],
    ),
]

LINES = [
    Scenario(
        "uidl-ok-before-every-line",
        FIVE,
        Quirks(rules=[uidl_lines(*(f"+OK {n} uid-{n}" for n in range(1, 6)))]),
        runs=complete(5),
    ),
    Scenario(
        "uidl-and-list-ok-before-every-line-several-blanks",
        FIVE,
        Quirks(
            rules=[
                uidl_lines(*(f"+OK  {n}   uid-{n}  " for n in range(1, 6))),
                list_lines(*(f"+OK {n}  {len(x.body)}  octets" for n, x in enumerate(FIVE, 1))),
            ]
        ),
        runs=complete(5),
    ),
    Scenario("uidl-with-numbering-gaps", FIVE, Quirks(numbers=[2, 3, 7, 100, 65536]), runs=complete(5)),
    Scenario("uidl-beyond-stat", FIVE, Quirks(rules=[says("STAT", "+OK 2 200")]), runs=complete(5)),
    Scenario("stat-of-nothing", FIVE, Quirks(rules=[says("STAT", "+OK 0 0")]), runs=complete(5)),
    Scenario("stat-is-garbage", FIVE, Quirks(rules=[says("STAT", "+OK lots of mail")]), runs=complete(5)),
    Scenario("uidl-not-in-order", FIVE, Quirks(rules=[uidl_lines(*(f"{n} uid-{n}" for n in (5, 3, 1, 4, 2)))]),
             runs=complete(5)),
    Scenario(
        "mail-arrives-between-uidl-and-list",
        FIVE,
        Quirks(rules=[says("UIDL", "+OK\r\n1 uid-1\r\n2 uid-2\r\n.", times=1)]),
        runs=complete(5),
    ),
    Scenario("uidl-missing-in-capa-but-working", FIVE, Quirks(capabilities=without("UIDL")), runs=complete(5)),
    Scenario("an-empty-maildrop", [], runs=[Run({}), Run({})]),
]  # fmt: skip

# ---- Identification by TOP (design.md 6.7) and listings that shrink (6.9)

MANY = [Letter(f"old-{n}", text(f"many-{n}", 40)) for n in range(1, 41)]
RENAMED = [Letter(f"new-{n}", x.body) for n, x in enumerate(MANY, 1)]
BOTH_NAMES = [*((x.unique_id, x.body) for x in MANY), *((x.unique_id, x.body) for x in RENAMED)]
WHOLE_BY_TOP = [
    Rule(f"TOP {n} 0", reply=b"+OK\r\n" + x.body + b".\r\n") for n, x in enumerate(MANY, 1)
]  # fmt: skip


def few_retrieved(ended: object) -> None:
    """Almost nothing was transferred again."""
    retrieved = sum(s.verbs.count("RETR") for s in ended.sessions)  # type: ignore[attr-defined]
    assert retrieved <= 2, f"{retrieved} messages were retrieved again"


def warned(ended: object) -> None:
    assert any("list" in note.lower() for note in ended.notes), ended.notes  # type: ignore[attr-defined]


KNOWN_BY_TOP = Run({"already_archived": 40}, letters=RENAMED, check=few_retrieved)

CHANGES = [
    Scenario("uidl-missing-with-top", MANY, Quirks(without=["UIDL"], capabilities=without("UIDL")),
             runs=[Run({"stored": 40}), Run({"already_archived": 40}, check=few_retrieved)],
             archived=[("", x.body) for x in MANY]),
    Scenario("uidl-missing-without-top", MANY,
             Quirks(without=["UIDL", "TOP"], capabilities=without("UIDL", "TOP")),
             runs=[Run({"stored": 40}), Run({"duplicate_content": 40})],
             archived=[("", x.body) for x in MANY]),
    Scenario("uidl-line-missing-for-one", FIVE,
             Quirks(rules=[uidl_lines("1 uid-1", "2 uid-2", "4 uid-4", "5 uid-5")]),
             runs=complete(5),
             archived=[("" if n == 3 else f"uid-{n}", x.body) for n, x in enumerate(FIVE, 1)]),
    Scenario("uidl-all-changed-with-top", MANY, runs=[Run({"stored": 40}), KNOWN_BY_TOP], archived=BOTH_NAMES),
    Scenario("uidl-all-changed-without-top", MANY,
             runs=[Run({"stored": 40}),
                   Run({"duplicate_content": 40}, letters=RENAMED,
                       quirks=Quirks(without=["TOP"], capabilities=without("TOP")))],
             archived=BOTH_NAMES),
    Scenario("uidl-all-changed-and-top-returns-the-whole-body", MANY,
             runs=[Run({"stored": 40}),
                   Run({"already_archived": 40}, letters=RENAMED, quirks=Quirks(rules=WHOLE_BY_TOP),
                       check=few_retrieved)],
             archived=BOTH_NAMES),
    Scenario("listing-of-nothing-after-forty", MANY,
             runs=[Run({"stored": 40}), Run({}, letters=[], check=warned),
                   Run({"already_archived": 40}, letters=MANY)]),
    Scenario("listing-of-a-tenth-after-forty", MANY,
             runs=[Run({"stored": 40}), Run({"already_archived": 3}, letters=MANY[:3], check=warned),
                   Run({"already_archived": 40}, letters=MANY)]),
]  # fmt: skip

REFUSED = [
    Scenario("list-is-refused", FIVE, Quirks(rules=[refuse("LIST")]), runs=[Run({}, 75)], archived=[]),
]

SCENARIOS = [*ID_CHARACTERS, *ID_COUNTS, *LINES, *CHANGES, *REFUSED]
