"""The envelope of a replay over SMTP or LMTP: to whom, from whom, and who would be a stranger (design.md section 7).

Strategy: what a person typed is checked before anything is connected, and has one spelling from then on, by which the
log knows a recipient: the domain in lower case and in ASCII (IDNA), the local part as it is, since only its own host
may say what it means (RFC 5321 section 2.4). What a message says is not believed in the same way: of that,
`original_recipients` takes only addresses that stand there letter by letter and would pass the same check. Pure.
"""

from __future__ import annotations

import email.utils
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from mailmove.errors import ConfigurationError, UsageError

LONGEST = 254
"""Octets of an address: a path has 256 with its angle brackets (RFC 5321 section 4.5.3.1.3)."""

SHOWN = 10
AMBIGUOUS = "ßẞ\u03c2\u200c\u200d"
"""Characters that old and new rules for domain names read differently (RFC 5894 section 7.2), as in net.py."""

NULL_PATH = "<>"
DESTINATIONS = ("to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc")

_LOCAL = re.compile(r'[^\s@<>()\[\]\\,;:"]+|"(?:[^"\\\s<>]|\\[^\s<>])+"')
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LITERAL = re.compile(r"\[[0-9A-Za-z.:-]+\]")
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bq]\?[^?\s]*\?=", re.IGNORECASE)
_DESTINATION = re.compile(
    rb"^(?:%s)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)" % "|".join(DESTINATIONS).encode(), re.IGNORECASE | re.MULTILINE
)
_getaddresses = (
    partial(email.utils.getaddresses, strict=False)
    if getattr(email.utils, "supports_strict_parsing", False)
    else email.utils.getaddresses
)
"""As it was before it gave up a whole field for one mistake in it: what it returns is checked here."""


def address(text: str) -> str:
    """The one spelling of an address. Raises ValueError that says, in half a sentence, what is wrong with it."""
    local, at, domain = text.rpartition("@")
    if not text.isprintable() or any(character.isspace() for character in text):
        raise ValueError("it holds a blank, a line break or another control character")
    if "<" in text or ">" in text:
        raise ValueError("angle brackets are no part of an address")
    if not at or not local or not domain:
        raise ValueError("an address is like me@new.example")
    if not _LOCAL.fullmatch(local):
        raise ValueError("what is before the @ can be no name of a mailbox")
    whole = f"{local}@{_domain(domain)}"
    if len(whole.encode("utf-8", "replace")) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} octets")
    return whole


def _domain(text: str) -> str:
    """In lower case and ASCII; also an address in brackets (RFC 5321 section 4.1.3). Raises ValueError."""
    if _LITERAL.fullmatch(text):
        return text.lower()
    if any(character in AMBIGUOUS for character in text):
        raise ValueError("its domain can mean two, by old and by new rules; give it in its xn-- form")
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("its domain is no host name") from None
    if not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError("its domain is no host name")
    return name.lower()


def is_address(text: str) -> bool:
    try:
        address(text)
    except ValueError:
        return False
    return True


def is_recipient(text: str) -> bool:
    """Whether it is an address, or a user name without a domain, as LMTP takes them."""
    return is_address(text) or _is_user(text)


def _is_user(text: str) -> bool:
    return bool(_LOCAL.fullmatch(text)) and text.isprintable() and len(text.encode("utf-8", "replace")) <= LONGEST


def needs_utf8(text: str) -> bool:
    """Whether only a server with SMTPUTF8 can be given this address (RFC 6531 section 3.2)."""
    return not text.isascii()


# ---- what a person gives


def recipients(given: Iterable[str], *, lmtp: bool = False) -> tuple[str, ...]:
    """The recipients of `--rcpt`, each once, in the order given.

    `lmtp`: a user name without a domain will do, since the server delivers to its own users only. Raises UsageError.
    """
    return tuple(dict.fromkeys(_recipient(text, lmtp=lmtp) for text in given))


def _recipient(text: str, *, lmtp: bool) -> str:
    return text if lmtp and _is_user(text) else _given("--rcpt", text)


def reverse_path(mail_from: str | None, user: str, *, lmtp: bool) -> str:
    """The reverse path, "" for <>: where a target is to send what it cannot deliver.

    `mail_from`: what `--mail-from` says, None if nothing; `user`: who logs in, "" for nobody. LMTP has nothing to send
    back to anybody, so <> is right there (RFC 2033 section 4). On SMTP it must be asked for, since a message that is
    lost then is lost without a word. Raises UsageError.
    """
    if mail_from is not None:
        return "" if mail_from == NULL_PATH else _given("--mail-from", mail_from)
    if lmtp:
        return ""
    if is_address(user):
        return address(user)
    who = f"the user name {user!r} is no address" if user else "nobody logs in"
    raise UsageError(
        f"Who sends this is not known, since {who}: give --mail-from ADDRESS, or --mail-from '<>' for a sender that "
        "nothing can be returned to."
    )


def _given(option: str, text: str) -> str:
    try:
        return address(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no address: {error}.") from None


def check_utf8(addresses: Iterable[str], *, utf8: bool, server: str) -> None:
    """Raises ConfigurationError for the first of these that `server` cannot be given. `utf8`: it has SMTPUTF8."""
    for one in addresses:
        if needs_utf8(one) and not utf8:
            raise ConfigurationError(
                f"{one} cannot be named to {server}, which does not offer SMTPUTF8 (RFC 6531): give an address that is "
                "ASCII before the @, or another server."
            )


# ---- what a message says


def original_recipients(section: bytes) -> tuple[str, ...]:
    """Whom a header section names in To, Cc, Bcc and Resent-To, -Cc, -Bcc: each once, in that order of fields.

    Never fails. What is no address, or does not stand there letter by letter, is left out; so are names of groups.
    """
    values = [_text(found[1]) for found in _DESTINATION.finditer(section)]
    return tuple(dict.fromkeys(one for value in values for one in _named(value)))


def _text(octets: bytes) -> str:
    """Unfolded; what is not UTF-8 (RFC 6532) can be part of no address."""
    return " ".join(octets.decode("utf-8", "replace").split())


def _named(value: str) -> Iterator[str]:
    try:
        found = [one for _, one in _getaddresses([value])]
    except Exception:  # noqa: BLE001 - any failure of the parser on hostile input means the same: nobody is named
        return
    for one in found:
        if one in value and "\ufffd" not in one and not _ENCODED_WORD.search(one) and is_address(one):
            yield address(one)


@dataclass(frozen=True, slots=True)
class Audience:
    """Who would get mail by `--original-recipients`. `nobody`: messages that name no recipient.

    `mails`: transactions, one a message and recipient; `frequent`: the addresses that would get most, with how many.
    """

    messages: int
    nobody: int
    mails: int
    addresses: int
    strangers: int
    frequent: tuple[tuple[str, int], ...]

    def sentence(self) -> str:
        """What there is to confirm."""
        most = ", ".join(f"{one} ({count:,})" for one, count in self.frequent)
        return (
            f"{self.messages:,} messages would go to {self.addresses:,} addresses, {self.mails:,} mails in all; "
            f"{self.strangers:,} of the addresses are strangers, who would get this mail again, today. "
            f"{self.nobody:,} messages name nobody." + (f" Most would go to: {most}." if most else "")
        )


def audience(of_each: Iterable[Sequence[str]], own: Collection[str]) -> Audience:
    """Sums up the recipients `of_each` message.

    `own`: addresses of oneself, or "@new.example" for everybody there; nobody is taken for a friend otherwise, since
    the domain of one's own address may well be one that millions share.
    """
    counts: Counter[str] = Counter()
    messages = nobody = 0
    for named in of_each:
        messages, nobody = messages + 1, nobody + (not named)
        counts.update(named)
    mine = {one.lower() for one in own}
    strangers = sum(one.lower() not in mine and "@" + one.rpartition("@")[2] not in mine for one in counts)
    return Audience(messages, nobody, counts.total(), len(counts), strangers, tuple(counts.most_common(SHOWN)))


def check_confirmed(found: Audience, *, confirmed: bool, ask: Callable[[str, str], bool]) -> None:
    """That so many strangers get mail must be meant: `confirmed`, or else `ask(question, answer)` says so.

    Raises UsageError, with all there is to know.
    """
    answer = str(found.strangers)
    if confirmed or ask(f"{found.sentence()} Type {answer}, the number of strangers, to send it: ", answer):
        return
    raise UsageError(
        f"--original-recipients was not confirmed, and nothing was sent: {found.sentence()} Type the number of "
        "strangers when asked on a terminal, or give --yes."
    )


def check_original(*, given: Collection[str], authenticated: bool, server: str) -> None:
    """Whether `--original-recipients` may be. Raises UsageError beside `--rcpt`, ConfigurationError without a login."""
    if given:
        raise UsageError("--original-recipients and --rcpt contradict each other; give one of them.")
    if not authenticated:
        raise ConfigurationError(
            f"--original-recipients writes to strangers in somebody's name, and nobody has logged in at {server}: "
            "give a target with a user, like smtps://me@mail.example."
        )
