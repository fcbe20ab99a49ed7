"""What Gmail would merge: messages of an equal Message-ID, of which it keeps the first whatever the others are.

Strategy (design.md section 7): its OK proves nothing, so three questions are asked. Before the plan: which of the
selected messages share a Message-ID with other bytes? The first goes. Before a window: has All Mail a message of this
Message-ID and of another size? Then ours would be swallowed, and is not sent. After a window: are the UIDs distinct,
and are the messages there of our size? What is left out by any of these is `skipped`, and named: the archive has it,
and nothing is ever written about it that a later run would have to take back.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mailmove.archive import Archive
from mailmove.archive.deliveries import Selected
from mailmove.archive.merging_query import Versions
from mailmove.archive.reading import read_message
from mailmove.errors import ArchiveDamaged
from mailmove.jobs.likeness import Likeness
from mailmove.model import Digest, ReportedException
from mailmove.targets import Receipt, Target

REASON = "merged-by-message-id"
FIRST = "the target keeps one message of each Message-ID, and {} goes there"
ELSEWHERE = "the target keeps one message of each Message-ID, and has one of another size"
SWALLOWED = "the target said OK, and has another message of this Message-ID in its place"
COPY = "the target keeps one message of each Message-ID, and no second copy of it"


@dataclass(frozen=True, slots=True)
class Taken:
    """A message the target said OK to. `octets`: its exact size."""

    digest: Digest
    octets: int
    receipt: Receipt


@dataclass(slots=True)
class Judgement:
    """What an OK was worth: `proven` are there; `merged` are not, and never will be; of `unproven` nobody can tell."""

    proven: list[Taken] = field(default_factory=list)
    merged: list[Taken] = field(default_factory=list)
    unproven: list[Taken] = field(default_factory=list)


Sizes = Callable[[Digest], Container[int]]
"""What sizes a message of ours may have at a target that rewrites line ends."""


def judge(taken: Iterable[Taken], there: Mapping[int, int], sizes: Sizes, is_ours: Callable[[int], bool]) -> Judgement:
    """Holds receipts, in the order they were sent in, against `there`: UID -> RFC822.SIZE. Pure.

    `is_ours`: whether a UID is in an older receipt of ours, of another message: then this one was merged into it. Of
    several with one UID, the first that fits is the one that was kept.
    """
    judgement, kept = Judgement(), set[int]()
    for one in taken:
        uid = one.receipt.uid
        octets = there.get(uid)
        if not uid or octets is None:
            judgement.unproven.append(one)
        elif uid in kept or is_ours(uid) or not _fits(one, octets, sizes):
            judgement.merged.append(one)
        else:
            kept.add(uid)
            judgement.proven.append(one)
    return judgement


def _fits(one: Taken, octets: int, sizes: Sizes) -> bool:
    return octets == one.octets or octets in sizes(one.digest)


def swallowed(ids: Mapping[Digest, str], there: Mapping[str, Sequence[int]], sizes: Sizes) -> list[Digest]:
    """Those of our messages whose Message-ID the target has in other sizes only: they would be merged into it. Pure."""
    asked = ((digest, there.get(message_id, ())) for digest, message_id in ids.items())
    return [digest for digest, found in asked if found and not any(octets in sizes(digest) for octets in found)]


def left_out(digest: Digest, why: str) -> ReportedException:
    """How a message that is not sent, or was not kept, is named in the report."""
    return ReportedException("skipped", f"{REASON}: {why}", digest=digest)


class Merging:
    """A target that merges, and the archive. Made after the selections; asked while nothing is under way."""

    def __init__(
        self, archive: Archive, target_name: str, *, largest: int | None = None, retry_parked: bool = False
    ) -> None:
        """`largest`: octets of a message the target takes; what is larger goes in nobody's place."""
        self._archive = archive
        self._versions = Versions(archive.catalogue, target_name, largest, retry_parked)

    def share(self, message: Selected, send: int) -> tuple[int, str]:
        """(of `send` copies of a message so many may go, why not the others)."""
        return share(self._versions, message, send)

    def screen(self, target: Target, messages: Iterable[Selected]) -> list[Digest]:
        """Which of these the target would swallow, by what is in All Mail. Raises what the target raises."""
        ids = {one.digest: self._versions.message_id(one.digest) for one in messages}
        asked = sorted({message_id for message_id in ids.values() if message_id})
        return swallowed(ids, target.elsewhere(asked), self.sizes) if asked else []

    def prove(self, target: Target, taken: Sequence[Taken], is_ours: Callable[[int], bool]) -> Judgement:
        """What became of these, which the target said OK to. Raises what the target raises."""
        uids = [one.receipt.uid for one in taken if one.receipt.uid]
        return judge(taken, target.sizes(uids) if uids else {}, self.sizes, is_ours)

    def sizes(self, digest: Digest) -> Container[int]:
        """Read only where the size is not the one of the file: a target may write other line ends."""
        try:
            return Likeness.of(read_message(self._archive.layout, digest)).sizes
        except ArchiveDamaged:
            return ()


def share(versions: Versions, message: Selected, send: int) -> tuple[int, str]:
    """(of `send` copies of a message so many may go to a target that merges, why not the others)."""
    if not send or not versions.message_id(message.digest):
        return send, ""
    if instead := versions.instead_of(message.digest):
        return 0, FIRST.format(instead)
    return min(send, max(0, 1 - message.delivered)), COPY
