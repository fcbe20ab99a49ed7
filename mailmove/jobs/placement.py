r"""Which mailbox each message belongs in: `--mailbox` and `--sent-to`, which may be templates (design.md section 7).

Strategy: a template is taken apart once, when the job is made, so every mistake in it is told before anybody is asked
anything. What comes out is a *wanted* name: "/" separates its levels, a special use such as \Archive may be the first
of them, and only the target knows what that is called there (`Target.place`). What a person wrote is theirs; of a value
only what cannot mean anything to any server is kept: me@gmx.de becomes me@gmx_de. Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from mailmove.errors import UsageError
from mailmove.targets import SPECIAL_USES, SYSTEM_LABELS

if TYPE_CHECKING:
    from mailmove.archive.parts import Part
    from mailmove.jobs import ReplayJob

FIELDS = ("year", "month", "maildrop")
_PIECE = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])|(?P<text>[^{}]+)")
_UNSAFE = re.compile(r"[^\w@ +-]")
"""Dots, too: they separate levels on many servers, and Dovecot's maildirs refuse them even where slashes do."""

_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


class Piece(NamedTuple):
    """A part of a template: text as it is, or the name of a field."""

    text: str
    is_field: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """The name of a mailbox, with fields in it."""

    pieces: tuple[Piece, ...]

    @classmethod
    def parse(cls, option: str, text: str) -> Template:
        r"""`Archive/{year}`, `\Sent`, `{{` for a brace. Raises UsageError, in words of the option."""
        if not text or not text.isprintable():
            raise UsageError(
                f"{option}: the mailbox name is empty, or holds a line break or another control character."
            )
        template = cls(tuple(_piece(option, text, found) for found in _PIECE.finditer(text)))
        _check_levels(option, text, template.name(dict.fromkeys(FIELDS, "x")).split("/"))
        return template

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(piece.text for piece in self.pieces if piece.is_field)

    def name(self, values: Mapping[str, str]) -> str:
        """The wanted name."""
        return "".join(_value(values[piece.text]) if piece.is_field else piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where messages belong. `sent_to` takes those from one of one's `own` addresses, which are case-folded."""

    mailbox: Template
    sent_to: Template | None = None
    own: frozenset[str] = frozenset()

    def of(self, date: datetime, maildrop: str, sender: str) -> str:
        """The wanted name for a message with this InternalDate (aware), from this maildrop; `sender` is its From."""
        utc = date.astimezone(UTC)
        template = self.sent_to if self.sent_to and self._is_own(sender) else self.mailbox
        return template.name({"year": f"{utc.year:04}", "month": f"{utc.month:02}", "maildrop": maildrop})

    @property
    def only(self) -> str | None:
        """The wanted name for every message, if they all belong in one mailbox."""
        return None if self.sent_to or self.mailbox.fields else self.mailbox.name({})

    def _is_own(self, sender: str) -> bool:
        return any(address in self.own for address in addresses(sender))


def placement_of(job: ReplayJob, maildrops: Iterable[str]) -> Placement:
    """What a job says of mailboxes; `maildrops` are those it delivers from, by which one's addresses are known.

    Raises UsageError, also where none of these names tells an address and none was given.
    """
    mailbox = Template.parse("--mailbox", job.mailbox)
    if not job.sent_to:
        return Placement(mailbox)
    told = filter(None, map(_address_in, [job.target, *maildrops]))
    own = frozenset(address.casefold() for address in [*told, *job.own_addresses])
    if not own:
        raise UsageError(
            "--sent-to: no user name of source or target is an e-mail address, so mailmove cannot know which mail is "
            "from you; give --own-address ME@EXAMPLE."
        )
    return Placement(mailbox, Template.parse("--sent-to", job.sent_to), own)


def check_places(job: ReplayJob) -> None:
    """Raises UsageError for whatever is wrong with a job's --mailbox, --sent-to, --own-address and --label."""
    Template.parse("--mailbox", job.mailbox)
    if job.sent_to:
        Template.parse("--sent-to", job.sent_to)
    elif job.own_addresses:
        raise UsageError("--own-address says which mail --sent-to is about; give --sent-to NAME, too.")
    for address in job.own_addresses:
        if not _ADDRESS.fullmatch(address) or not address.isprintable():
            raise UsageError(f"--own-address {address!r} is no e-mail address; give one like me@example.org.")
    for label in job.labels:
        _check_label(label)


def together(parts: Iterable[Part], place: Callable[[str], str]) -> dict[str, tuple[int, ...]]:
    """The target's name of each mailbox -> the numbers of the parts that belong there, in the order of the parts.

    `place` is a session's (`Target.place`): two wanted names may be one mailbox there.
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in parts:
        name = place(part.wanted)
        found[name] = (*found.get(name, ()), part.number)
    return found


def addresses(sender: str) -> list[str]:
    """The addresses in a From field, case-folded. What is quoted is a name, whatever it looks like."""
    text = _QUOTED.sub(" ", sender)
    within = re.findall(r"<([^<>]*)>", text)
    return [found.casefold() for part in (within or [text]) for found in _ADDRESS.findall(part)]


# ---- templates


def _piece(option: str, text: str, found: re.Match[str]) -> Piece:
    if found["brace"]:
        return Piece(found["brace"][0])
    if found["text"]:
        return Piece(found["text"])
    if found["stray"]:
        raise UsageError(f"{option} '{text}': a {found['stray']} stands alone; write {found['stray'] * 2} for a brace.")
    if found["field"] not in FIELDS:
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        advice = _did_you_mean(found["field"].strip().lower(), FIELDS, "{{{}}}")
        raise UsageError(
            f"{option} '{text}': there is no {found[0]}{advice} (there are {known}; {{{{ and }}}} for braces)."
        )
    return Piece(found["field"], is_field=True)


def _check_levels(option: str, text: str, levels: Sequence[str]) -> None:
    """`levels`: with something in place of each field."""
    if not all(level.strip() for level in levels):
        raise UsageError(f"{option} '{text}' has a level without a name; '/' separates levels, like Archive/2024.")
    if any(level.startswith("\\") for level in levels[1:]):
        raise UsageError(f"{option} '{text}': a special use can only be the first level.")
    if levels[0].startswith("\\") and levels[0] not in SPECIAL_USES:
        advice = _did_you_mean(levels[0].capitalize(), ["Inbox", *SPECIAL_USES], "{}")
        raise UsageError(f"{option} '{text}': {levels[0]} is no special use{advice} ({', '.join(SPECIAL_USES)}).")


def _did_you_mean(given: str, known: Sequence[str], form: str) -> str:
    close = difflib.get_close_matches(given, known, 1, 0.5)
    return f"; did you mean {form.format(close[0])}?" if close else ""


def _value(text: str) -> str:
    """A value as a part of one level, the same on every server."""
    return _UNSAFE.sub("_", " ".join(text.split())) or "_"


# ---- addresses and labels


def _address_in(name: str) -> str:
    """The address that is the user name in `imap://me@gmx.de@imap.gmx.net` or `me@gmx.de@pop.gmx.net`, or ""."""
    scheme, url, rest = name.partition("://")
    user = (rest if url else scheme).rpartition("@")[0]
    user = unquote(user) if url else user
    return user if _ADDRESS.fullmatch(user) else ""


def _check_label(label: str) -> None:
    if not label.strip() or not label.isprintable():
        raise UsageError("--label: the label is empty, or holds a line break or another control character.")
    if label.startswith("\\") and label not in SYSTEM_LABELS:
        advice = _did_you_mean(label.capitalize(), SYSTEM_LABELS, "{}")
        raise UsageError(
            f"--label '{label}' is no label of Gmail's own that can be given{advice} ({', '.join(SYSTEM_LABELS)})."
        )
