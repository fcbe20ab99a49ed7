"""Messages whose size is not what the server said, and the second look at them (design.md section 6.4).

Strategy: the first copy of a mismatch is committed as suspect before anything else is tried, so that nothing is lost if
the second look never happens. Each is fetched once more, in at most one further session, and judged with what it gives.
A run that did not come to that leaves it to the next one, for which it is as good as new.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from mailmove.archive import Archive, Draft, Filed, Received
from mailmove.archive.records import Place
from mailmove.jobs.completeness import Judgement, Sizes, judge, unreliable
from mailmove.jobs.plan import Key, key
from mailmove.model import Complete, Digest, MaildropEntry, ReportedException
from mailmove.sources import Incoming


@dataclass(slots=True)
class Suspect:
    """A stored message that may be incomplete. `fits`: it has at least one of the sizes the server named.

    `doubted`: what the first copy was taken for, before it was known that it may be another message's.
    """

    entry: MaildropEntry
    sizes: Sizes
    fits: bool
    place: Place | None = None
    judgement: Judgement | None = None
    doubted: Complete | None = None

    @property
    def reason(self) -> str:
        """Why it is suspect, for the report."""
        if self.doubted is not None and self.judgement is None:
            return (
                "stored, but the server's answers fell out of step in that session, so it may be another message; it "
                "could not be fetched a second time to find out"
            )
        return f"stored, but its size is not the one listed ({self.entry.octets} octets): it may be incomplete"


class Suspects:
    """All suspects of one run. `mistaken`: one message was shown to have been taken for another.

    `earlier`: what earlier runs have left.
    """

    def __init__(self) -> None:
        self._open: dict[Key, deque[Suspect]] = {}
        self._looked_at: dict[int, Suspect] = {}
        self.received = 0
        self.mismatches = 0
        self.unresolved: list[Suspect] = []
        self.mistaken = False
        self.earlier: set[Key] = set()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def first_look(self, incoming: Incoming, draft: Draft, *, unreliable_sizes: bool) -> Received:
        """Whether a message that came in fits its sizes."""
        again = key(incoming.entry) in self.earlier
        sizes = Sizes(incoming.entry.octets, incoming.announced)
        self.received += 1
        if sizes.agree(draft.octets, draft.line_ends):
            return Received(incoming.entry, draft, again=again)
        self.mismatches += 1
        if unreliable_sizes:
            return Received(incoming.entry, draft, Complete.UNRELIABLE_SIZES, again=again)
        suspect = Suspect(incoming.entry, sizes, sizes.fits_any(draft.octets, draft.line_ends))
        self._looked_at[id(draft)] = suspect
        return Received(incoming.entry, draft, Complete.NO, again=again)

    def doubt(self, asked: Sequence[MaildropEntry], archive: Archive, maildrop: str) -> None:
        """Replies of a session were out of step: what came in with the size of several messages is suspect now.

        Others cannot have been mistaken for each other: their sizes would not have fitted.
        """
        times = Counter(entry.octets for entry in asked)
        waiting = {identity: deque(archive.received(*identity)) for identity in dict.fromkeys(map(key, asked))}
        doubted: list[Place] = []
        for entry in asked:
            digest, complete = waiting[key(entry)].popleft() if waiting[key(entry)] else (Digest(""), Complete.NO)
            if complete is Complete.NO or (complete is Complete.YES and times[entry.octets] == 1):
                continue
            place = replace(archive.catalogue.place(maildrop, entry, digest), complete=Complete.NO)
            suspect = Suspect(entry, Sizes(entry.octets, None), True, place, doubted=complete)
            self._open.setdefault(key(entry), deque()).append(suspect)
            doubted.append(place)
        if doubted:
            archive.amend(*doubted)

    def again(self, listing: Sequence[MaildropEntry]) -> list[MaildropEntry]:
        """Which entries of a new listing to fetch once more; suspects that are listed no longer stay what they are."""
        found: list[MaildropEntry] = []
        wanted = {identity: len(waiting) for identity, waiting in self._open.items()}
        for entry in listing:
            if wanted.get(key(entry), 0) > 0:
                wanted[key(entry)] -= 1
                found.append(entry)
        return found

    def look_at(self, identities: Collection[Key], listing: Iterable[MaildropEntry]) -> list[MaildropEntry]:
        """What runs that did not end have left as suspect: which entries to fetch again, once in this run."""
        new = set(identities) - self.earlier
        self.earlier |= new
        return [entry for entry in listing if key(entry) in new] if new else []

    def second_look(self, incoming: Incoming, draft: Draft) -> Received | None:
        """The verdict on a suspect and its second copy; None if the entry is no suspect."""
        waiting = self._open.get(key(incoming.entry))
        if not waiting:
            return None
        suspect = waiting.popleft()
        sizes = Sizes(incoming.entry.octets, incoming.announced)
        suspect.judgement = self._judged(suspect, sizes, draft)
        self._looked_at[id(draft)] = suspect
        return Received(incoming.entry, draft, suspect.judgement.second, again=True)

    def _judged(self, suspect: Suspect, sizes: Sizes, draft: Draft) -> Judgement:
        """A doubted one was asked for alone now: the second copy is the right one, and as whole as its size says."""
        agrees = sizes.agree(draft.octets, draft.line_ends)
        same = suspect.place is not None and suspect.place.digest == draft.digest
        if suspect.doubted is not None:
            self.mistaken |= not same
            trusted = same or suspect.doubted is Complete.UNRELIABLE_SIZES
            return Judgement(Complete.NO, Complete.YES if agrees else suspect.doubted if trusted else Complete.NO)
        return judge(
            same=same,
            listed=sizes.listed,
            sizes_unreliable=self.sizes_unreliable,
            first_fits=suspect.fits and not agrees,
            second_fits=agrees or sizes.fits_any(draft.octets, draft.line_ends),
        )

    def committed(self, draft: Draft, filed: Filed, archive: Archive) -> None:
        """A copy of a suspect is durable: remember the first, settle the second."""
        suspect = self._looked_at.pop(id(draft), None)
        if suspect is None:
            return
        if suspect.judgement is None:
            suspect.place = filed.place
            self._open.setdefault(key(suspect.entry), deque()).append(suspect)
        elif Complete.NO in (suspect.judgement.first, suspect.judgement.second):
            self._settle_different(suspect, suspect.judgement, archive)

    def _settle_different(self, suspect: Suspect, judgement: Judgement, archive: Archive) -> None:
        if judgement.first is judgement.second:
            self.unresolved.append(suspect)
        elif judgement.first is Complete.YES and suspect.place is not None:
            archive.amend(replace(suspect.place, complete=Complete.YES))

    @property
    def warning(self) -> str:
        """About a server whose sizes mean nothing, if this one is; else ""."""
        if not self.sizes_unreliable:
            return ""
        return (
            f"The server lists sizes that fit few of its messages ({self.mismatches} of {self.received} differ); "
            "equal copies were accepted as complete."
        )

    def remaining(self, maildrop: str) -> list[ReportedException]:
        """Suspects that stay suspect, for the report."""
        waiting = [suspect for queue in self._open.values() for suspect in queue]
        return [
            ReportedException(
                "suspect",
                suspect.reason,
                unique_id=suspect.entry.unique_id,
                digest=suspect.place.digest,
                maildrop=maildrop,
            )
            for suspect in (*waiting, *self.unresolved)
            if suspect.place is not None
        ]

    @property
    def sizes_unreliable(self) -> bool:
        """Whether this server's sizes mean nothing, by what came in at first look."""
        return unreliable(self.mismatches, self.received)
