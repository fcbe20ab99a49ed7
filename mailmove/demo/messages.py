"""A mailbox that nobody ever had: generated mail with most of what makes real mail hard to move unaltered.

Strategy: one small function per kind of message (KINDS, with how many of each a block of 30 holds). Every message has a
Random of its own that depends on the seed and its place only, so that message 7 of seed 1 is the same octets on every
machine, and a longer mailbox begins with the shorter one; only a conversation looks back, at what was written before.
One message at a time is in memory. Every line ends in CRLF, and every message with one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from mailmove.demo import mime
from mailmove.demo.words import FILES, OWNER, PEOPLE, SENTENCES, SHOPS, SPECIAL, SUBJECTS
from mailmove.model import UniqueId

LARGE_AT = 170
"""The place, in every 300, of the one message of 2 MB."""
LARGE, SMALL, ATTACHED = 1_530_000, 60_000, 220_000
"""Octets of an attachment before base64, which makes 3 of them 4: the large one, the least and the most otherwise."""
BEGIN, STEP = datetime(2012, 5, 2, 7, 30, tzinfo=UTC), timedelta(days=5)
CRLF = b"\r\n"


@dataclass(frozen=True, slots=True)
class DemoMessage:
    """One message and the unique id a POP3 server gives it. `kind` is the name of the function that made it."""

    unique_id: UniqueId
    octets: bytes
    kind: str = ""


def generate(count: int = 300, seed: int = 1) -> Iterator[DemoMessage]:
    """`count` messages, oldest first: about 16 MB for 300."""
    threads: deque[_Thread] = deque(maxlen=6)
    for place in range(count):
        kind = _kind(seed, place)
        if kind is reply and not threads:
            kind = letter
        unique_id = UniqueId(f"{seed & 0xFFFFFFFF:08x}{place + 1:08x}")
        yield DemoMessage(unique_id, kind(_Scene(seed, place, threads)), kind.__name__)


@dataclass(slots=True)
class _Thread:
    """A conversation: its subject and the Message-IDs so far."""

    subject: str
    ids: list[bytes]


@dataclass(slots=True)
class _Scene:
    """What one message is made with."""

    seed: int
    place: int
    threads: deque[_Thread]
    rng: random.Random = field(init=False)
    sender: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"message {self.seed} {self.place}")  # noqa: S311  dice, not secrets
        self.sender = self.rng.choice(PEOPLE)

    @property
    def message_id(self) -> bytes:
        return f"<{self.seed:x}.{self.place:x}.demo@{self.sender[1].partition('@')[2]}>".encode()

    @property
    def moment(self) -> datetime:
        zone = timezone(timedelta(hours=1 + self.place % 2))
        return (BEGIN + STEP * self.place + timedelta(seconds=self.place * 7919 % 50_000)).astimezone(zone)

    def subject(self) -> str:
        """Opens a conversation that later messages may take up."""
        subject = self.rng.choice(SUBJECTS)
        self.threads.append(_Thread(subject, [self.message_id]))
        return subject

    def text(self, *more: str) -> str:
        """A letter, wrapped as people's mail programs do."""
        sentences = [*self.rng.sample(SENTENCES, self.rng.randint(2, 9)), *more]
        name, mailbox = self.sender
        signed = f"Viele Grüße\n{name}\n-- \n{name}, {mailbox}\n"
        return f"Liebe Anna,\n\n{mime.wrapped(' '.join(sentences))}\n\n{signed}"

    def message(self, body: bytes, *fields: bytes, **instead: bytes | None) -> bytes:
        """The usual header section with more `fields`, some with another content `instead`, or None for left out."""
        usual: dict[str, bytes | None] = {
            "Received": mime.received(self.rng, self.moment),
            "Date": mime.date(self.moment),
            "From": mime.address(*self.sender),
            "To": mime.address(*OWNER),
            "Message-ID": self.message_id,
            "MIME-Version": b"1.0",
        }
        usual.update({name.replace("_", "-"): value for name, value in instead.items()})
        lines = [name.encode() + b": " + value for name, value in usual.items() if value is not None]
        return CRLF.join([*lines, *fields]) + CRLF + CRLF + body


# ---- Letters


def letter(scene: _Scene) -> bytes:
    """UTF-8, with an encoded subject (RFC 2047)."""
    body = mime.crlf(scene.text(scene.rng.choice(SPECIAL)).encode())
    return scene.message(body, mime.subject(scene.subject()), *mime.plain("utf-8", "8bit"))


def latin1(scene: _Scene) -> bytes:
    body = mime.crlf(scene.text().encode("latin-1"))
    return scene.message(body, mime.subject(scene.subject(), "iso-8859-1"), *mime.plain("iso-8859-1", "8bit"))


def quoted_printable(scene: _Scene) -> bytes:
    body = mime.quoted(scene.text(scene.rng.choice(SPECIAL)).encode())
    return scene.message(body, mime.subject(scene.subject()), *mime.plain("utf-8", "quoted-printable"))


def raw_8bit(scene: _Scene) -> bytes:
    """Octets above 127 in the header section, as no standard before RFC 6532 allows and many programs send."""
    charset = ("utf-8", "latin-1")[scene.place // 30 % 2]
    scene.sender = PEOPLE[0]
    sender = "{} <{}>".format(*scene.sender).encode(charset)
    body = mime.crlf(scene.text().encode(charset))
    return scene.message(body, b"Subject: " + scene.subject().encode(charset), From=sender)


def reply(scene: _Scene) -> bytes:
    """An answer within one of the last conversations, with all that was said before in References."""
    longest = max(scene.threads, key=lambda thread: len(thread.ids))
    thread = scene.rng.choice((longest, scene.rng.choice(scene.threads)))
    scene.threads.remove(thread)
    scene.threads.append(thread)  # what is being talked about stays in talk
    known = thread.ids[-10:]
    thread.ids.append(scene.message_id)
    prefix = scene.rng.choice(("Re: ", "AW: ", "Antwort: "))
    return scene.message(
        mime.crlf((scene.text() + "\n> " + "\n> ".join(SENTENCES[:3]) + "\n").encode()),
        mime.subject(prefix + thread.subject),
        b"In-Reply-To: " + known[-1],
        b"References: " + (CRLF + b" ").join(known),
        *mime.plain("utf-8", "8bit"),
    )


# ---- What programs send


def newsletter(scene: _Scene) -> bytes:
    """Text and HTML, with the tables and the address list that such mail has."""
    shop = scene.rng.choice(SHOPS)
    text, rows = scene.text(), scene.rng.sample(SENTENCES, 8) * scene.rng.randint(3, 14)
    body, content_type = mime.multipart(
        scene.rng,
        "alternative",
        mime.part(mime.plain("utf-8", "quoted-printable"), mime.quoted(text.encode())),
        mime.part(mime.html("quoted-printable"), mime.quoted(mime.web_page(shop[0], rows).encode())),
    )
    return scene.message(
        body,
        mime.subject(f"{shop[0]}: {scene.rng.choice(SUBJECTS)}"),
        b"List-Unsubscribe: <https://example.com/u/" + scene.rng.randbytes(12).hex().encode() + b">",
        b"Precedence: bulk",
        content_type,
        From=mime.address(*shop),
    )


def attachment(scene: _Scene) -> bytes:
    return _with_file(scene, scene.rng.randint(SMALL, ATTACHED))


def large(scene: _Scene) -> bytes:
    return _with_file(scene, LARGE)


def _with_file(scene: _Scene, size: int) -> bytes:
    name, kind = scene.rng.choice(FILES)
    body, content_type = mime.multipart(
        scene.rng,
        "mixed",
        mime.part(mime.plain("utf-8", "8bit"), mime.crlf(scene.text().encode())),
        mime.file(name, kind, mime.magic(kind) + scene.rng.randbytes(size)),
    )
    return scene.message(body, mime.subject(scene.subject()), content_type)


# ---- What is odd, and all of it real


def odd_date(scene: _Scene) -> bytes:
    dates = (
        None,
        b"Mon, 1 Jan 0999 00:00:00 +0000",
        mime.date(scene.moment)[:-5] + b"+9999",
        b"12 Mar 99 08:30 CET",
    )
    body = mime.crlf(scene.text().encode("ascii", "replace"))
    return scene.message(body, b"Subject: What time is it?", Date=dates[scene.place // 30 % len(dates)])


def no_message_id(scene: _Scene) -> bytes:
    body = mime.crlf(scene.text().encode("ascii", "replace"))
    return scene.message(body, b"Subject: Cron <anna@example> backup", Message_ID=None)


def same_message_id(scene: _Scene) -> bytes:
    """A mailing list's copy of what also came directly: the same Message-ID, with other octets."""
    thread = scene.threads[-1] if scene.threads else _Thread("Hallo", [scene.message_id])
    body = mime.crlf((scene.text() + "\n_____\nVereinsliste, https://example.org/liste\n").encode())
    return scene.message(
        body, mime.subject(f"[Verein] {thread.subject}"), *mime.plain("utf-8", "8bit"), Message_ID=thread.ids[-1]
    )


def leading_dots(scene: _Scene) -> bytes:
    lines = [b".", b"..", b"...", b".hidden", b"", b".", b"\t.", b". ", b".From here on", b">From there"]
    scene.rng.shuffle(lines)
    return scene.message(CRLF.join(lines) + CRLF, b"Subject: . and ..")


def long_lines(scene: _Scene) -> bytes:
    """Far above the 998 octets that RFC 5322 allows."""
    page = mime.web_page("Eine Zeile", list(SENTENCES) * scene.rng.randint(2, 12)).replace("\n", "")
    return scene.message(page.encode() + CRLF, b"Subject: one line", *mime.html("8bit"))


def empty_body(scene: _Scene) -> bytes:
    return scene.message(b"", b"Subject: (eom) komme um 7")


Kind = Callable[[_Scene], bytes]
KINDS: dict[Kind, int] = {
    letter: 3,
    latin1: 2,
    quoted_printable: 2,
    raw_8bit: 1,
    reply: 5,
    newsletter: 4,
    attachment: 7,
    odd_date: 1,
    no_message_id: 1,
    same_message_id: 1,
    leading_dots: 1,
    long_lines: 1,
    empty_body: 1,
}


def _kind(seed: int, place: int) -> Kind:
    """Each block of 30 has its share of every kind, in an order of its own."""
    if place % 300 == LARGE_AT:
        return large
    block = [kind for kind, times in KINDS.items() for _ in range(times)]
    random.Random(f"block {seed} {place // len(block)}").shuffle(block)  # noqa: S311  dice, not secrets
    return block[place % len(block)]
