"""Where things are in an archive folder, and what makes a folder an archive.

Strategy: the file FORMAT is written first and by rename; a folder with it is an archive, all else is made when missing,
so a creation that was cut short is simply continued. Nothing here opens the database or takes the lock.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from mailmove import __version__
from mailmove.archive.durable import is_network, sync_directory, write_durably
from mailmove.errors import ArchiveDamaged, ArchiveTooNew, UsageError
from mailmove.model import Digest

FORMAT_VERSION = 1
SHARD = 3
MAGIC = "mailmove-archive"


@dataclass(frozen=True, slots=True)
class Format:
    """What the file FORMAT says."""

    version: int
    archive_id: str
    written_by: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one archive. `state` holds archive.db and the lock: the archive itself, or --state-dir."""

    root: Path
    state: Path

    @property
    def mail(self) -> Path:
        return self.root / "mail"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def database(self) -> Path:
        return self.state / "archive.db"

    @property
    def locks(self) -> tuple[Path, ...]:
        """The lock files, in the order they are taken; on a network file system locks do not work."""
        if self.state == self.root:
            return (self.root / "lock",)
        outside = (self.state / "lock",)
        return outside if is_network(self.root) else (self.root / "lock", *outside)

    @property
    def writer(self) -> Path:
        return self.root / "writer"

    def shard(self, digest: Digest) -> Path:
        return self.mail / digest[:SHARD]

    def message(self, digest: Digest) -> Path:
        """The file of a message: its exact octets (design.md section 5)."""
        return self.mail / digest[:SHARD] / f"{digest}.eml"

    def message_name(self, digest: Digest) -> str:
        """The same as text, for what is done to every message."""
        return f"{self.root}/mail/{digest[:SHARD]}/{digest}.eml"

    def ensure(self) -> None:
        """Makes the folders and README.txt that are missing, and all names durable: a dead run may not have."""
        for folder in (self.mail, self.log, self.tmp, self.quarantine):
            folder.mkdir(exist_ok=True)
        if not (self.root / "README.txt").exists():
            write_durably(self.root / "README.txt", README.encode("utf-8"))
        sync_directory(self.mail)
        sync_directory(self.root)


def is_archive(root: Path) -> bool:
    return (root / "FORMAT").is_file()


def check_creatable(root: Path) -> None:
    """Raises UsageError if an archive cannot be made at `root` because something else is there."""
    if not is_archive(root):
        refuse_other_content(root)


def create(root: Path) -> Format:
    """Makes `root` an archive: the folder (and its missing parents) and FORMAT, durable when this returns.

    Raises UsageError if something else is there already.
    """
    refuse_other_content(root)
    _make_folder(root)
    found = Format(FORMAT_VERSION, secrets.token_hex(16), __version__)
    text = f"{MAGIC} {found.version}\nid {found.archive_id}\nhash sha256\nshard {SHARD}\nwritten-by {__version__}\n"
    _claim(root / "FORMAT", text.encode("ascii"))
    return read_format(root)


def _claim(path: Path, data: bytes) -> None:
    """Writes `path` durably unless it exists: of two runs that create one archive, the second uses the first's."""
    draft = path.with_name(f"FORMAT.{secrets.token_hex(4)}")
    write_durably(draft, data)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:
        draft.replace(path)
    draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def refuse_other_content(root: Path) -> None:
    """Raises UsageError unless `root` is missing, empty, or an archive whose creation was cut short."""
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file, but an archive is a folder; name another place with -a.")
    if root.is_dir() and any(not entry.name.startswith("FORMAT") for entry in root.iterdir()):
        raise UsageError(f"{root} exists and is not a mailmove archive; name another folder with -a.")


def _make_folder(root: Path) -> None:
    """mkdir -p, each new name synced in its parent; only the archive itself is closed to other users."""
    if root.is_dir():
        return
    if not root.parent.is_dir():
        _make_folder(root.parent)
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(f"{root} is a file, but an archive is a folder; name another place with -a.") from None
    sync_directory(root.parent)


def read_format(root: Path) -> Format:
    """What FORMAT says. Raises ArchiveTooNew or ArchiveDamaged, or UsageError if `root` is no archive."""
    path = root / "FORMAT"
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        raise UsageError(f"{root} is not a mailmove archive (it has no file FORMAT).") from None
    except NotADirectoryError:
        raise UsageError(f"{root} is a file, but an archive is a folder; name another place with -a.") from None
    magic, _, version = (lines or [""])[0].partition(" ")
    facts = dict(line.split(" ", 1) for line in lines[1:] if " " in line)
    if magic != MAGIC or not version.isdigit() or (int(version) <= FORMAT_VERSION and "id" not in facts):
        raise ArchiveDamaged(f"{path} is damaged: it does not say which archive this is. Restore it from a copy.")
    if int(version) > FORMAT_VERSION:
        raise ArchiveTooNew(
            f"{root} has archive format {version}, and this mailmove {__version__} knows only {FORMAT_VERSION}: "
            f"install mailmove {facts.get('written-by', 'of a later version')} or later."
        )
    return Format(int(version), facts["id"], facts.get("written-by", ""))


README = """This folder is a mail archive made by mailmove. You do not need mailmove to read or check it.

mail/     one file a message: the exact octets the mail server sent, headers first, in the format every mail program
          calls .eml. A file's name is the sha256 of its content, in the folder named by the first three digits.
log/      what happened, one JSON object a line, oldest first; segments 00000001.jsonl, 00000002.jsonl, ...
          "add"    a message came in: its digest (the file's name), octets, mailbox ("maildrop"), the server's unique
                   id, the time, and the date of the message ("internal_date")
          "place"  a message already here was found again under another unique id or in another mailbox
          "park", "gone", "skip"  a message that is not here, and why
          "void"   the record with that number (counted from 0) is void: its file never became durable; or, with a
                   "target": an earlier delivery of that message does not count any more
          "intend" these messages are about to be sent to a mailbox of another server ("target", "mailbox")
          "deliver"  that server has this message, as number "uid" of its mailbox ("uidvalidity"); if it was sent
                   altered, because the server refuses it as it is: "repairs" says how, "sent_digest" what came out
          "verify" that mailbox was held against what was delivered to it: what was found ("counts"), and which messages
                   are altered there
          "repair" the file of a message was damaged or missing, and the right octets were put back ("from" where); the
                   damaged file is in quarantine/ under the name in "quarantined"
          "run"    a run began or ended, with its counts
          checkpoint: the archive's id, how many lines there are, and one hash over all of them (the root of their
          Merkle tree by RFC 6962; a leaf is sha256 of a zero octet and the line). Keep a copy elsewhere: it proves
          later that nothing before it was changed (mailmove verify --since COPY)
          ts/ such checkpoints, each with an authority's time stamp (RFC 3161), which proves when it was so:
          openssl ts -verify -in log/ts/N.tsr -data log/ts/N.checkpoint -CAfile THE-AUTHORITY.pem
archive.db  an SQLite database made from mail/ and log/, for quick look-ups. If deleted, the next run rebuilds it.
search.db   an index of the words in all messages (mailmove index). If deleted, the next index run makes it anew.
verify.json when each folder of mail/ was last proven sound (mailmove verify). If deleted, all are due again.
tmp/ quarantine/ lock search.lock writer FORMAT   needed by mailmove only

To be typed in this folder; sha256sum, find, awk and jq are needed, and no mailmove.

Check all messages (prints nothing if all is well, else DAMAGED, MISSING, or EXTRA: a file that the log does not tell
of, like the last ones of a run that was cut off):
    { find mail -type f -exec sha256sum {} +
      cat log/*.jsonl | jq -rn 'foreach inputs as $r (-1; . + 1; . as $n | $r |
        if .t == "add" or .t == "place" then "log \\($n) \\(.digest)"
        elif .t == "void" and .target == null then "void \\(.record)" else empty end)'
    } | awk '
      $1 == "log" { digest[$2] = $3; next }
      $1 == "void" { delete digest[$2]; next }
      { found[substr($0, index($0, "  ") + 2)] = $1 }
      END {
        for (n in digest) {
          file = "mail/" substr(digest[n], 1, 3) "/" digest[n] ".eml"
          if (file in wanted) continue
          wanted[file] = 1
          if (!(file in found)) print "MISSING", file
          else if (found[file] != digest[n]) print "DAMAGED", file
        }
        for (file in found) if (!(file in wanted)) print "EXTRA", file
      }' | sort

List all messages, oldest first (date, file, mailbox, unique id; one line for each place where a message was found):
    cat log/*.jsonl | jq -rn 'foreach inputs as $r (-1; . + 1; . as $n | $r |
        if .t == "add" or .t == "place" then
          ["\\($n)", .internal_date, "mail/\\(.digest[0:3])/\\(.digest).eml", .maildrop, (.unique_id | @json)]
          | join("\\t")
        elif .t == "void" and .target == null then "void\\t\\(.record)" else empty end)' |
      awk -F '\\t' '$1 == "void" { delete line[$2]; next } { line[$1] = substr($0, length($1) + 2) }
        END { for (n in line) print line[n] }' | sort -u

Copy all messages to a new folder ../copied (List tells which is which):
    mkdir ../copied && cat log/*.jsonl | jq -rn 'foreach inputs as $r (-1; . + 1; . as $n | $r |
        if .t == "add" or .t == "place" then "\\($n) mail/\\(.digest[0:3])/\\(.digest).eml"
        elif .t == "void" and .target == null then "void \\(.record)" else empty end)' |
      awk '$1 == "void" { delete file[$2]; next } { file[$1] = $2 } END { for (n in file) print file[n] }' |
      sort -u | xargs sh -c 'test $# = 0 || cp "$@" ../copied' sh

Prove with sh, jq and sha256sum alone (names what is damaged or missing; ../messages.sha256 lists all messages, one
file each):
    jq -rn 'reduce inputs as $r ({next: 0, digest: {}}; (.next | tostring) as $n | .next += 1 |
        if $r.t == "add" or $r.t == "place" then .digest[$n] = $r.digest
        elif $r.t == "void" and $r.target == null then del(.digest["\\($r.record)"]) else . end) |
        [.digest[]] | unique[] | "\\(.)  mail/\\(.[0:3])/\\(.).eml"' log/*.jsonl > ../messages.sha256
    test ! -s ../messages.sha256 || sha256sum --quiet -c ../messages.sha256

Get all of them after that, into a new folder ../messages:
    mkdir ../messages && while read -r digest file; do cp "$file" ../messages; done < ../messages.sha256

Read one: open the .eml file in any mail program or text editor.
"""
