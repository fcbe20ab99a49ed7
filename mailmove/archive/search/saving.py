"""Saves the parts of a message as files: no name a mail gives can reach outside the folder or do harm in it.

Strategy: a name is made harmless by what is kept of it, not by what is known to be bad: the last component, printable
characters, no dot in front, none of Windows' device names, a bounded length. A file is only ever made new (O_EXCL,
which follows no link); where there is one, a number is appended.
"""

from __future__ import annotations

import email.policy
import itertools
import mimetypes
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from mailmove.archive.failures import disk_error
from mailmove.archive.search.text import filename, header, is_file, parse, parts
from mailmove.errors import UsageError

LONGEST = 120
"""Octets of a name in UTF-8, a number that is appended not counted; file systems take 143 and more."""

LONGEST_SUFFIX = 20

_SPECIAL = re.compile(r'[<>:"|?*]')
_DEVICES = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])(?:\.|\s|$)", re.IGNORECASE
)
_AS_IT_IS = email.policy.compat32.clone(max_line_length=0, linesep="\r\n")
_TYPES = mimetypes.MimeTypes()  # what Python knows by itself, whatever this machine has installed


def safe_name(name: str, otherwise: str) -> str:
    """A harmless name for a file that a mail calls `name`; `otherwise` if nothing of that is left."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    kept = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in last)
    kept = _SPECIAL.sub("_", kept).strip(" .")
    if not kept:
        return otherwise
    if _DEVICES.match(kept) or kept.startswith(("-", "~")):
        kept = "_" + kept
    return _shortened(kept)


def _shortened(name: str) -> str:
    """Not longer than LONGEST octets, with the suffix that says what it is."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode("utf-8", "replace")) > LONGEST_SUFFIX:
        stem, suffix = name, ""
    end = f".{suffix}" if suffix else ""
    room = LONGEST - len(end.encode("utf-8", "replace"))
    return stem.encode("utf-8", "replace")[:room].decode("utf-8", "ignore").rstrip(" .") + end


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is a file: a harmless name, and its content, None if it cannot be decoded."""

    name: str
    content: bytes | None


def attachments(octets: bytes) -> list[Attachment]:
    """Every part that is a file, those of attached messages left inside them. Raises ValueError.

    A message that is attached is written out again by the standard library, so its octets may differ from those that
    were sent; all other parts are what they were before they were encoded.
    """
    try:
        message = parse(octets, whole_fields=True)
        files = [part for part in parts(message, into_messages=False) if is_file(part)]
    except Exception as error:
        raise ValueError("the message cannot be taken apart") from error
    return [Attachment(_name(part, number), _content(part)) for number, part in enumerate(files, 1)]


def _name(part: Message, number: int) -> str:
    kind = part.get_content_type()
    try:
        name = filename(part)
        inner = part.get_payload()
        if not name and kind == "message/rfc822" and isinstance(inner, list) and isinstance(inner[0], Message):
            name = f"{header(inner[0], 'subject') or f'part-{number}'}.eml"
    except Exception:  # noqa: BLE001 - parameters that only look like RFC 2231 make the standard library raise
        name = ""
    suffix = ".eml" if kind == "message/rfc822" else _TYPES.guess_extension(kind) or ".bin"
    return safe_name(name, f"part-{number}{suffix}")


def _content(part: Message) -> bytes | None:
    try:
        if part.is_multipart():
            inner = part.get_payload(0)
            return inner.as_bytes(policy=_AS_IT_IS) if isinstance(inner, Message) else None
        payload = part.get_payload(decode=True)
    except Exception:  # noqa: BLE001 - one part that cannot be decoded is named, and the others saved
        return None
    return payload if isinstance(payload, bytes) else None


def save_all(folder: Path, found: Sequence[Attachment]) -> Iterator[Path]:
    """Saves what could be decoded, one by one, in a folder that is made if it is missing.

    Raises UsageError (no folder can be there), ArchiveError (it may not be written), ArchiveFull.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            if one.content is not None:
                yield save(folder, one.name, one.content)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder} is not a folder; name another with --attachments DIR.") from None
    except OSError as error:
        raise disk_error(folder, error) from error


def save(folder: Path, name: str, content: bytes) -> Path:
    """Writes a new file of this name, or with a number appended; never over another. Raises OSError."""
    for candidate in _numbered(name):
        path = folder / candidate
        try:
            file = path.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                file.write(content)
        except OSError:
            path.unlink(missing_ok=True)  # half an attachment would be taken for a whole one
            raise
        return path
    raise AssertionError("numbers do not end")


def _numbered(name: str) -> Iterator[str]:
    yield name
    stem, dot, suffix = name.rpartition(".")
    for number in itertools.count(2):
        yield f"{stem} ({number}).{suffix}" if dot else f"{name} ({number})"
