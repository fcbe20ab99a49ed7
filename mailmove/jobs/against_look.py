"""Is what a UID leads to what was sent? (design.md section 7, `verify --against`)

Strategy: header sections are fetched a page at a time, and with the size they decide nearly always, without a look at
the archive's files: the catalogue knows their sizes, and the hashes of their headers. What they do not decide, and
everything if the look is deep, is fetched whole, some megabytes at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from mailmove.archive.against import Comparison, Ours, Theirs
from mailmove.archive.layout import Layout
from mailmove.errors import ArchiveDamaged
from mailmove.jobs import Context
from mailmove.jobs.against_locate import as_repaired, bodies, digest_of, unproven
from mailmove.jobs.against_verdict import THERE, Kind, Verdict, judge, judge_head, section
from mailmove.jobs.mended import as_sent
from mailmove.targets import Target

Pair = tuple[Ours, Theirs]


class Look:
    """Looks at every delivery whose place in the mailbox is known."""

    def __init__(self, held: Comparison, target: Target, layout: Layout, context: Context, *, deep: bool) -> None:
        self._held, self._target = held, target
        self._layout, self._context = layout, context
        self._deep = deep

    def run(self) -> Iterator[tuple[Ours, Theirs, Verdict]]:
        """A verdict on each that is there. Those that went since the mailbox was listed are `lose`d: to be looked for.

        Raises what the target raises.
        """
        for page in self._held.placed():
            self._context.check()
            whole = page
            if not self._deep:
                verdicts = list(self._by_heads(page))
                yield from ((*pair, as_repaired(verdict, pair[0])) for pair, verdict in verdicts if verdict)
                whole = [pair for pair, verdict in verdicts if not verdict]
            yield from self._whole(whole)

    def _by_heads(self, page: Sequence[Pair]) -> Iterator[tuple[Pair, Verdict | None]]:
        """What size and header section say of each; None: that does not decide it."""
        heads = self._target.headers_of(sorted({theirs.uid for _, theirs in page}))
        for ours, theirs in page:
            yield (ours, theirs), self._by_head(ours, theirs, heads)

    def _by_head(self, ours: Ours, theirs: Theirs, heads: Mapping[int, bytes]) -> Verdict | None:
        head = heads.get(theirs.uid)
        if head is None:
            return None
        if theirs.octets == ours.octets and digest_of(section(head)) == ours.fingerprint:
            return Verdict(Kind.ALTERED, "a deep look found it altered; --deep looks again") if ours.altered else THERE
        try:
            return judge_head(as_sent(self._layout, ours.digest, ours.repaired), head, theirs.octets)
        except ArchiveDamaged:
            return None

    def _whole(self, pairs: Sequence[Pair]) -> Iterator[tuple[Ours, Theirs, Verdict]]:
        by_uid: defaultdict[int, list[Pair]] = defaultdict(list)
        for ours, theirs in pairs:
            by_uid[theirs.uid].append((ours, theirs))
        largest = ((uid, max(max(ours.octets, theirs.octets) for ours, theirs in some)) for uid, some in by_uid.items())
        sizes = sorted(largest)
        for uid, octets in bodies(self._target, sizes, self._context):
            for ours, theirs in by_uid.pop(uid):
                yield ours, theirs, as_repaired(self._by_octets(ours, octets), ours)
        for some in by_uid.values():
            for ours, _ in some:
                self._held.lose(ours)

    def _by_octets(self, ours: Ours, octets: bytes) -> Verdict:
        if digest_of(octets) == ours.sent_digest:
            return THERE
        try:
            return judge(as_sent(self._layout, ours.digest, ours.repaired), octets)
        except ArchiveDamaged:
            return unproven()
