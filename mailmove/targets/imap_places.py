r"""Where a wanted mailbox is on an IMAP server: NAMESPACE, special uses, delimiter (RFC 2342, 6154, 9051 section 6.3).

Strategy: only what the wanted name needs is asked, once a session; INBOX needs nothing. A name is built from levels
with the server's delimiter and behind the prefix of one's own mailboxes; whatever cannot be built without changing what
a person meant is refused before the server sees it. A special use is looked for by what LIST says of mailboxes, never
by name; where no mailbox has it, one with the usual name is made for it. Nothing here is guessed from the server's
make, but for Gmail, whose rules for names are known. Gmail's labels are places, too: they are added here.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence

from mailmove.errors import CommandRejected, ConfigurationError, LocalProtocolError, MailboxRefused, MailmoveError
from mailmove.targets import imap_names, imap_refusals
from mailmove.targets.imap_connection import ImapConnection
from mailmove.targets.imap_listing import Listed, Namespace, Namespaces

USUAL_NAMES = {
    "\\Archive": "Archive",
    "\\Drafts": "Drafts",
    "\\Junk": "Junk",
    "\\Sent": "Sent",
    "\\Trash": "Trash",
}
r"""What a mailbox is called that is made for a special use. \All and \Flagged are views, which nobody can make."""

NO_MAILBOX = frozenset({"\\noselect", "\\nonexistent"})
ODD_BLANKS = re.compile(r"^ | $|  ")
NOT_AT_GMAIL = re.compile(r'[\^"\\]')
RANGES = 100
"""In one command: its line stays under 2,300 octets, where servers take 8,000 (RFC 2683 section 3.2.1.5)."""


class Places:
    """The names of one session."""

    def __init__(self, connection: ImapConnection) -> None:
        self._connection = connection
        self._namespaces: Namespaces | None = None
        self._uses: dict[str, str] | None = None
        self._to_make: dict[str, str] = {}

    def resolve(self, wanted: str) -> str:
        """See Target.place. Raises MailboxRefused, and TryLater where the server would not say."""
        if imap_names.same(wanted, "INBOX"):
            return "INBOX"
        try:
            return self._resolve(wanted)
        except CommandRejected as error:
            if type(error) is not CommandRejected:
                raise
            raise imap_refusals.mailbox_refused(self._connection.peer, "find", wanted, error) from error

    def create(self, mailbox: str) -> None:
        """CREATE, for its special use if it is meant for one; a mailbox above it likewise. Raises CommandRejected."""
        above = [name for name in self._to_make if self._is_below(mailbox, name)]
        for name in above:
            with contextlib.suppress(CommandRejected):  # the mailbox itself is what matters
                self._make(name, self._to_make.pop(name))
        self._make(mailbox, self._to_make.pop(mailbox, ""))

    def _is_below(self, mailbox: str, name: str) -> bool:
        delimiter = self._own.delimiter
        return bool(delimiter) and mailbox.startswith(name + delimiter)

    def _make(self, mailbox: str, use: str) -> None:
        if use and "CREATE-SPECIAL-USE" in self._connection.capabilities:
            try:
                return self._connection.create(mailbox, use)
            except CommandRejected as error:
                if error.code != "USEATTR":  # it will not have this use; an ordinary mailbox does as well
                    raise
        return self._connection.create(mailbox)

    # ---- names

    def _resolve(self, wanted: str) -> str:
        first, *others = wanted.split("/")
        if first.startswith("\\"):
            return self._joined([self._special(first), *self._levels(wanted, others)])
        name = self._joined(self._levels(wanted, [first, *others]))
        return self._whole(name) or self._own.prefix + name

    def _levels(self, wanted: str, levels: Sequence[str]) -> list[str]:
        """As they are called there. Raises MailboxRefused if that would make them something else."""
        delimiter = self._own.delimiter
        if levels and "/" in wanted and not delimiter:
            raise self._refused(wanted, "mailboxes have no levels there")
        if "/" not in wanted and self._whole(wanted):
            return list(levels)  # the server's own spelling of the whole name
        for level in levels:
            if delimiter and delimiter in level:
                there = wanted.replace(delimiter, "/")
                raise self._refused(
                    wanted, f"{delimiter!r} separates levels there; if you mean levels, write {there!r}"
                )
            self._check(wanted, level)
        return list(levels)

    def _check(self, wanted: str, level: str) -> None:
        """Raises MailboxRefused for what Gmail would refuse."""
        if "X-GM-EXT-1" not in self._connection.capabilities:
            return
        if ODD_BLANKS.search(level):
            raise self._refused(wanted, "Gmail has no labels with two blanks together, or one at either end")
        if found := NOT_AT_GMAIL.search(level):
            raise self._refused(wanted, f"Gmail has no labels with {found[0]} in them")

    def _joined(self, levels: Sequence[str]) -> str:
        return self._own.delimiter.join(levels)

    def _whole(self, name: str) -> str:
        """The name, if it begins as names of some namespace do, so that no prefix is missing; else ""."""
        known = (*self._known.personal, *self._known.foreign)
        prefixes = (one.prefix for one in known if one.prefix and _begins(name, one.prefix))
        return next((prefix + name[len(prefix) :] for prefix in prefixes), "")

    def _refused(self, wanted: str, why: str) -> MailboxRefused:
        return MailboxRefused(f"{self._connection.peer} cannot have a mailbox {wanted!r}: {why}.")

    # ---- what the server says

    @property
    def _own(self) -> Namespace:
        """Where one's own mailboxes are."""
        return self._known.personal[0]

    @property
    def _known(self) -> Namespaces:
        if self._namespaces is None:
            has = "NAMESPACE" in self._connection.capabilities
            told = self._connection.namespaces() if has else Namespaces()
            self._namespaces = told if told.personal else Namespaces([Namespace("", self._delimiter())], told.foreign)
        return self._namespaces

    def _delimiter(self) -> str:
        """LIST "" "" asks for it (RFC 9051 section 6.3.9)."""
        return next((one.delimiter for one in self._connection.listing('""', '""')), "")

    def _special(self, use: str) -> str:
        """The mailbox that has this use, or the name of the one to be made for it."""
        if self._uses is None:
            self._uses = self._listed_uses()
        if name := self._uses.get(use.lower()):
            return name
        if use not in USUAL_NAMES:
            raise self._refused(use, "none has this special use, and it cannot be made for it")
        name = self._own.prefix + USUAL_NAMES[use]
        self._to_make[name] = use
        return name

    def _listed_uses(self) -> dict[str, str]:
        """Special use in lower case -> the mailbox that has it; of several, always the same one."""
        asked = {"SPECIAL-USE", "LIST-EXTENDED"} <= self._connection.capabilities
        words = ("(SPECIAL-USE)", '""', '"*"', "RETURN", "(SPECIAL-USE)") if asked else ('""', '"*"')
        found: dict[str, str] = {}
        for one in sorted(filter(self._is_ours, self._connection.listing(*words)), key=lambda one: one.name):
            for attribute in one.attributes:
                found.setdefault(attribute, one.name)
        return found

    def _is_ours(self, one: Listed) -> bool:
        foreign = any(space.prefix and _begins(one.name, space.prefix) for space in self._known.foreign)
        return not (foreign or one.attributes & NO_MAILBOX)


def _begins(name: str, prefix: str) -> bool:
    """INBOX is the same in any case, also as the beginning of a name."""
    head = name[: len(prefix)]
    return head == prefix or (prefix.upper().startswith("INBOX") and head.upper() == prefix.upper())


# ---- Gmail's labels


def add_labels(connection: ImapConnection, mailbox: str, uids: Sequence[int], labels: Sequence[str]) -> None:
    """See Target.label."""
    if "X-GM-EXT-1" not in connection.capabilities:
        raise ConfigurationError(f"--label needs Gmail, and {connection.peer} is none (it has no X-GM-EXT-1).")
    if not all(uids):
        raise LocalProtocolError("A message without a UID was to be labelled.")
    words = b"(" + b" ".join(map(imap_names.label, labels)) + b")"
    ranges = list(_ranges(sorted(set(uids)))) if labels else []
    for start in range(0, len(ranges), RANGES):
        try:
            connection.add_labels(",".join(ranges[start : start + RANGES]), words)
        except CommandRejected as error:
            raise _labels_refused(connection.peer, mailbox, error) from error


def _labels_refused(peer: str, mailbox: str, refusal: CommandRejected) -> MailmoveError:
    if type(refusal) is not CommandRejected:
        return refusal
    return imap_refusals.mailbox_refused(peer, "label messages in", mailbox, refusal)


def _ranges(uids: Sequence[int]) -> Iterator[str]:
    """1, 2, 3, 7 -> 1:3, 7 (sequence-set, RFC 9051 section 9)."""
    for _, run in itertools.groupby(enumerate(uids), lambda pair: pair[1] - pair[0]):
        numbers = [uid for _, uid in run]
        yield f"{numbers[0]}:{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
