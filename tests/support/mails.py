"""Messages of our own, made from a seed, and the shared corpus where it is present.

Strategy: one small function per kind of message (KINDS), each given a Random of its own that depends on nothing but the
seed and the message's place, so that message 7 of seed 3 is the same bytes in every test and on every machine. All are
CRLF throughout, so what was put on a server is what it has to send (but see `no_final_newline`: POP3 cannot do that).
"""

from __future__ import annotations

import base64
import math
import random
import string
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
CRLF = b"\r\n"
MEDIAN, MEAN, LARGEST = 8 << 10, 50 << 10, 8 << 20
WORDS = ("und", "the", "Grüße", "zwei", "attached", "please", "Bericht", "now", "draft", "über", "list", "ok")


def crlf(data: bytes) -> bytes:
    """The message as it crosses the wire: every line ends in CRLF."""
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def message(rng: random.Random, body: bytes, *, drop: tuple[str, ...] = (), **fields: bytes) -> bytes:
    """A message with the usual header fields; `drop` leaves some out, `fields` (`date=b"..."`) replaces some."""
    header = {
        "received": b"from a.example by b.example with ESMTP; " + _date(rng),
        "from": f"Somebody <{_word(rng)}@example.org>".encode(),
        "to": b"me@example.net",
        "date": _date(rng),
        "subject": _text(rng, 4).encode("ascii", "replace"),
        "message_id": f"<{rng.getrandbits(64):016x}@example.org>".encode(),
    }
    header.update(fields)
    lines = [_field_name(name) + b": " + value for name, value in header.items() if name not in drop]
    return CRLF.join(lines) + CRLF + CRLF + body


def _field_name(name: str) -> bytes:
    return name.replace("_", "-").title().encode().replace(b"-Id", b"-ID")


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 9)))


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice((rng.choice(WORDS), _word(rng))) for _ in range(words))


def _date(rng: random.Random) -> bytes:
    moment = datetime(2003, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(20 * 365 * 86400))
    return format_datetime(moment).encode()


def _lines(rng: random.Random, charset: str = "us-ascii") -> bytes:
    lines = [_text(rng, rng.randint(1, 12)).encode(charset, "replace") for _ in range(rng.randint(1, 30))]
    return CRLF.join(lines) + CRLF


def plain(rng: random.Random) -> bytes:
    return message(rng, _lines(rng))


def umlauts_latin1(rng: random.Random) -> bytes:
    return message(rng, _lines(rng, "latin-1"), content_type=b"text/plain; charset=iso-8859-1")


def umlauts_utf8(rng: random.Random) -> bytes:
    return message(rng, _lines(rng, "utf-8"), content_type=b"text/plain; charset=utf-8")


def raw_8bit_header(rng: random.Random) -> bytes:
    return message(rng, _lines(rng), subject="Grüße, naïve café".encode(rng.choice(("latin-1", "utf-8"))))


def encoded_header(rng: random.Random) -> bytes:
    q = b"=?utf-8?q?Gr=C3=BC=C3=9Fe?="
    b = b"=?iso-8859-1?b?" + base64.b64encode("Müller".encode("latin-1")) + b"?="
    return message(rng, _lines(rng), subject=q + CRLF + b" " + b)


def attachment(rng: random.Random) -> bytes:
    mark = f"=_{rng.getrandbits(64):x}".encode()
    blob = base64.encodebytes(rng.randbytes(rng.randint(500, 6000))).replace(b"\n", CRLF)
    text = CRLF + b"Content-Type: text/plain" + CRLF + CRLF + _lines(rng)
    data = CRLF + b"Content-Type: application/pdf" + CRLF + b"Content-Transfer-Encoding: base64" + CRLF + CRLF + blob
    body = b"--" + mark + text + b"--" + mark + data + b"--" + mark + b"--" + CRLF
    return message(rng, body, mime_version=b"1.0", content_type=b'multipart/mixed; boundary="' + mark + b'"')


def odd_date(rng: random.Random) -> bytes:
    odd = (
        b"yesterday",
        b"Thu, 32 Foo 2099 25:61:00 +9999",
        b"1 Jan 70 00:00 EST",
        b"",
        b"Mon, 1 Jan 0001 00:00:00 GMT",
    )
    return message(rng, _lines(rng), date=rng.choice(odd), drop=rng.choice(((), ("received",))))


def no_message_id(rng: random.Random) -> bytes:
    return message(rng, _lines(rng), drop=("message_id",))


def same_message_id(rng: random.Random) -> bytes:
    """Every message of this kind has one and the same Message-ID, with other bytes."""
    return message(rng, _lines(rng), message_id=b"<the-same@example.org>")


def leading_dots(rng: random.Random) -> bytes:
    dots = [b".", b"..", b"...", b".hidden", b"", b".", b"\t.", b". "]
    rng.shuffle(dots)
    return message(rng, CRLF.join(dots) + CRLF)


def long_lines(rng: random.Random) -> bytes:
    return message(rng, b"x" * rng.randint(999, 20_000) + CRLF + b"." * 2000 + CRLF)


def empty_body(rng: random.Random) -> bytes:
    return message(rng, b"")


def headers_only(rng: random.Random) -> bytes:
    """Not even the empty line that ends the header section."""
    return message(rng, b"")[: -len(CRLF)]


def no_header(rng: random.Random) -> bytes:
    return CRLF + _lines(rng)


def no_final_newline(rng: random.Random) -> bytes:
    """A server has to add the last line end before the terminator (RFC 1939), so it comes back two octets longer."""
    return message(rng, _lines(rng) + b"the end")


KINDS: tuple[Callable[[random.Random], bytes], ...] = (
    plain,
    umlauts_latin1,
    umlauts_utf8,
    raw_8bit_header,
    encoded_header,
    attachment,
    odd_date,
    no_message_id,
    same_message_id,
    leading_dots,
    long_lines,
    empty_body,
    headers_only,
    no_header,
    no_final_newline,
)


def varied(n: int, seed: int = 0) -> list[bytes]:
    """n small messages (0.3 to 30 KB), every kind in turn, no two alike."""
    return [KINDS[i % len(KINDS)](_rng("varied", seed, i)) for i in range(n)]


def small(n: int, seed: int = 0, octets: int = 600) -> Iterator[bytes]:
    """n cheap messages of about `octets` octets, no two alike: for mailboxes of 10,000."""
    rng = _rng("small", seed, 0)
    filler = (b"x" * 70 + CRLF) * max(0, (octets - 200) // 72)
    for i in range(n):
        yield message(rng, b"message %d" % i + CRLF + filler, to=b"you@example.net")


def mixed(n: int, seed: int = 0) -> Iterator[bytes]:
    """n messages with the sizes of real mail: log-normal, median 8 KB, mean 50 KB, none above 8 MB."""
    sigma = math.sqrt(2 * math.log(MEAN / MEDIAN))
    text = _filler(_rng("filler", seed, 0))
    for i in range(n):
        rng = _rng("mixed", seed, i)
        size = min(LARGEST, int(rng.lognormvariate(math.log(MEDIAN), sigma)))
        yield _sized(rng, size, text)


def _sized(rng: random.Random, size: int, text: bytes) -> bytes:
    head = message(rng, b"")
    lines = max(1, (size - len(head)) // 78)
    start = rng.randrange(len(text) // 78) * 78
    copies = text[start:] + text * (lines * 78 // len(text) + 1)
    return head + copies[: lines * 78]


def _filler(rng: random.Random) -> bytes:
    """Lines of 76 octets + CRLF that do not compress well, some of which begin with a dot."""
    blob = base64.b64encode(rng.randbytes(57 * 4000))
    lines = [blob[i : i + 76] for i in range(0, len(blob), 76)]
    lines[::50] = [b"." + line[1:] for line in lines[::50]]
    return CRLF.join(lines) + CRLF


def _rng(what: str, seed: int, place: int) -> random.Random:
    return random.Random(f"{what} {seed} {place}")


def corpus_missing() -> str:
    """Why the shared corpus cannot be used here, or ""."""
    return "" if next(CORPUS.glob("*.eml"), None) else "no mail corpus beside this repository (../shared/corpus)"


def corpus() -> Iterator[tuple[str, bytes]]:
    """(name, exact octets) of every message of the shared corpus, in the order of names; nothing where it is absent."""
    for path in sorted(CORPUS.glob("*.eml")):
        yield path.name, path.read_bytes()
