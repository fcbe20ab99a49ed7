"""Messages that came to the target otherwise: found there, and not sent again (design.md section 7, --skip-present).

Strategy: the mailbox is listed once, by Message-ID and size. One message there with our Message-ID and size and the
same header section is ours. Where that could fit several, or there is no Message-ID, only the whole octets decide: by
headers alone other tools have silently dropped mail. A message there is claimed once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from mailmove.archive import Archive
from mailmove.archive.deliveries import Deliveries
from mailmove.archive.reading import read_message
from mailmove.jobs import Context
from mailmove.jobs.likeness import Likeness, header_fields, normal_id
from mailmove.model import Digest
from mailmove.targets import Found, Target


class Present:
    """What the selected mailbox holds that is in no receipt of ours."""

    def __init__(self, archive: Archive, target: Target, deliveries: Deliveries, uidvalidity: int) -> None:
        self._archive = archive
        self._target = target
        self._ids: defaultdict[str, list[Found]] = defaultdict(list)
        self._sizes: defaultdict[int, list[Found]] = defaultdict(list)
        for found in target.found(1, message_ids=True):
            if not deliveries.has_receipt(uidvalidity, found.uid):
                self._index(found)

    def _index(self, found: Found) -> None:
        if identity := normal_id(found.message_id):
            self._ids[identity].append(found)
        else:
            self._sizes[found.octets].append(found)

    def claim(self, digest: Digest, context: Context, idle: Callable[[], None]) -> int:
        """The UID of this message at the target, 0 if it is not there.

        `idle` is called before the target is asked anything. Raises ArchiveDamaged, and what the target raises.
        """
        if not self._ids and not self._sizes:
            return 0
        ours = Likeness.of(read_message(self._archive.layout, digest))
        if candidates := self._candidates(ours):
            idle()
        for found in candidates:
            context.check()
            sure = bool(ours.message_id) and len(candidates) == 1 and not self._has_twin(ours)
            if self._same_headers(ours, found) if sure else self._same_octets(ours, found):
                self._take(found)
                return found.uid
        return 0

    def _candidates(self, ours: Likeness) -> list[Found]:
        if ours.message_id:
            return [found for found in self._ids.get(ours.message_id, ()) if found.octets in ours.sizes]
        return [found for size in sorted(ours.sizes) for found in self._sizes.get(size, ())]

    def _has_twin(self, ours: Likeness) -> bool:
        """Whether the archive has another message with this Message-ID."""
        return self._archive.catalogue.has_other(ours.message_id, ours.exact)

    def _same_headers(self, ours: Likeness, found: Found) -> bool:
        theirs = self._target.headers(found.uid)
        return theirs is not None and sorted(header_fields(theirs)) == sorted(ours.fields.elements())

    def _same_octets(self, ours: Likeness, found: Found) -> bool:
        octets = self._target.body(found.uid)
        if octets is None:
            return False
        theirs = Likeness.of(octets)
        return theirs.exact == ours.exact or theirs.canonical in (ours.canonical, ours.munged)

    def _take(self, found: Found) -> None:
        for bucket in (self._ids[normal_id(found.message_id)], self._sizes[found.octets]):
            if found in bucket:
                bucket.remove(found)
