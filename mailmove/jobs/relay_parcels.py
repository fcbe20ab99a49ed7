"""Messages become parcels: who gets one, with what above it, and what no server like this one would take.

Strategy: whatever can be known before a message goes is looked at here, so that nothing is sent in vain, and nothing of
which the octets would not arrive as they are: the size, what the body takes to be carried (parcel_body.py), a loop
(loop_guard.py). Recipients whose copies differ (`--repair` mends what one of them refused) get parcels of their own,
and so do more than a server takes at once. A small message is read when it is packed, a large one while it is sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mailmove.archive.layout import Layout
from mailmove.archive.reading import pieces
from mailmove.errors import ArchiveDamaged
from mailmove.jobs import Context, RelayJob
from mailmove.jobs.budget import Budget
from mailmove.jobs.envelope import needs_utf8
from mailmove.jobs.loop_guard import CAUSE as LOOP
from mailmove.jobs.loop_guard import loop_reason
from mailmove.jobs.mended import Mended
from mailmove.jobs.parcel_body import classify
from mailmove.jobs.read_ahead import Octets
from mailmove.jobs.relay_account import RelayAccount
from mailmove.jobs.relay_roster import Letter, Share
from mailmove.jobs.resent import above, resender, resent_block, resent_id
from mailmove.message import header_section
from mailmove.model import Body, Digest
from mailmove.targets import Parcel, RelayTraits

AT_ONCE = 100
"""Recipients of one transaction that every server takes (RFC 5321 section 4.5.3.1.8)."""

CANNOT_CARRY = {
    "nul": "it holds NUL, which only a server with BINARYMIME takes; --retry-parked --repair nul takes it out",
    "bare-newlines": "it holds a bare CR or LF, which only a server with BINARYMIME takes unaltered; "
    "--retry-parked --repair bare-newlines makes it CRLF",
    "8bit": "it holds octets above 127, and the server does not offer 8BITMIME; another server may",
}


class Consignment:
    """One parcel and whose it is. `begun`: its octets were asked for; `intends`: where each share was announced.

    `source()` yields the octets, `sent` is told how many have gone; `ordered`: when it was handed over.
    """

    __slots__ = ("alone", "begun", "intends", "mended", "ordered", "parcel", "sent", "shares", "source")

    def __init__(
        self,
        shares: Sequence[Share],
        sender: str,
        octets: int,
        body: Body,
        source: Callable[[], Iterable[bytes]],
        sent: Callable[[int], None],
        mended: Mended | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self.shares, self.source, self.sent, self.mended, self.alone = tuple(shares), source, sent, mended, alone
        self.begun, self.intends, self.ordered = False, [0] * len(self.shares), 0.0
        recipients = tuple(share.addressee.address for share in shares)
        self.parcel = Parcel(sender, recipients, octets, body, self.chunks)

    @property
    def digest(self) -> Digest:
        return self.shares[0].message.digest

    def chunks(self) -> Iterator[bytes]:
        """Its octets. Raises ArchiveDamaged before the last ones if the file was altered since."""
        self.begun = True
        for piece in self.source():
            yield piece
            self.sent(len(piece))

    def only(self, shares: Sequence[Share]) -> Consignment:
        """The same for some of its recipients, once more."""
        parcel = self.parcel
        return Consignment(
            shares, parcel.sender, parcel.octets, parcel.body, self.source, self.sent, self.mended, alone=self.alone
        )


@dataclass(slots=True)
class Packer:
    """Packs letters for one session; `account` is told of what cannot go. `most`: recipients of one transaction."""

    job: RelayJob
    layout: Layout
    context: Context
    run: str
    traits: RelayTraits
    account: RelayAccount
    budget: Budget
    sent: Callable[[int], None]
    most: int = AT_ONCE

    def pack(self, letter: Letter, octets: Octets) -> list[Consignment]:
        """The parcels of one message; none where nothing of it can be sent."""
        try:
            if isinstance(octets, ArchiveDamaged):
                raise octets
            if self._park_all(letter):
                return []
            found = [self._parcels(letter, *one) for one in self._alike(letter, octets)]
            return list(itertools.chain(*found))
        except ArchiveDamaged:
            self.account.damaged(letter.shares)
            return []

    def _park_all(self, letter: Letter) -> bool:
        """What is parked without a look into it."""
        if not letter.message.octets:
            self._park(letter.shares, "empty", "it has no octets at all, which is no message")
        elif letter.hopeless:
            self._park(letter.shares, "breaks-connection", "the connection breaks in this message every time")
        else:
            return False
        return True

    def _park(self, shares: Iterable[Share], cause: str, reason: str) -> None:
        for share in shares:
            self.account.parked(share, cause, reason)

    def _alike(self, letter: Letter, octets: bytes | None) -> list[tuple[list[Share], Mended | None, bytes | None]]:
        """Shares that get the same octets together. Raises ArchiveDamaged."""
        found: dict[tuple[str, ...], tuple[list[Share], Mended | None, bytes | None]] = {}
        for share in letter.shares:
            mended = share.addressee.mender.mend(share.message)
            key = mended.how.repairs if mended else ()
            found.setdefault(key, ([], mended, mended.octets if mended else octets))[0].append(share)
        return list(found.values())

    def _parcels(
        self, letter: Letter, shares: Sequence[Share], mended: Mended | None, octets: bytes | None
    ) -> Iterator[Consignment]:
        """Raises ArchiveDamaged, for a large message that does not hash right, too."""
        digest = letter.message.digest
        head = octets if octets is not None else next(pieces(self.layout, digest), b"")
        shares = self._deliverable(shares, head)
        for start in range(0, len(shares), self.most):
            some = shares[start : start + self.most]
            block = self._block(some, head)
            source = self._source(digest, block, octets)
            size = len(block) + (letter.message.octets if octets is None else len(octets))
            facts = classify(source())
            if refusal := self._unsendable(size, facts.obstacle(self._carried)):
                self._park(some, *refusal)
            else:
                yield Consignment(
                    some, self.job.sender, size, facts.body, source, self.sent, mended, alone=letter.alone
                )

    def _deliverable(self, shares: Sequence[Share], head: bytes) -> list[Share]:
        """Those of the recipients to whom it would not go in circles, and whom the server can be told."""
        section = header_section(head)
        section = head if section is None else section
        found = []
        for share in shares:
            address = share.addressee.address
            if needs_utf8(address) and not self.traits.utf8:
                self._park(
                    [share], "smtputf8", f"the server does not offer SMTPUTF8, without which nobody is {address}"
                )
            elif reason := loop_reason(section, address) if self.job.loop_guard else "":
                self._park([share], LOOP, f"{reason}; --no-loop-guard sends it all the same")
            else:
                found.append(share)
        return found

    def _block(self, shares: Sequence[Share], head: bytes) -> bytes:
        """What goes above the message: with --resent, who sends it on."""
        if not self.job.resent:
            return b""
        addresses = [share.addressee.address for share in shares]
        sender = resender(self.job.sender, self.job.user, addresses)
        name = resent_id(sender, shares[0].message.digest, self.run)
        return above(resent_block(sender, addresses, self.context.clock(), name), head)

    def _source(self, digest: Digest, block: bytes, octets: bytes | None) -> Callable[[], Iterable[bytes]]:
        if octets is None:
            return lambda: itertools.chain([block] if block else [], pieces(self.layout, digest))
        whole = block + octets if block else octets
        return lambda: (whole,)

    def _unsendable(self, octets: int, obstacle: str) -> tuple[str, str] | None:
        """(cause, reason) of what is parked without asking the server."""
        largest = self.traits.largest
        if largest is not None and octets > largest:
            return "size", f"it has {octets:,} octets, and the server takes {largest:,} at most"
        if self.budget.never(octets):
            return "daily-limit", f"it has {octets:,} octets, more than --daily-limit lets through in a day"
        return (obstacle, CANNOT_CARRY[obstacle]) if obstacle else None

    @property
    def _carried(self) -> Body:
        """What the server carries unaltered."""
        if self.traits.binary and self.traits.chunking:
            return Body.BINARY
        return Body.EIGHT_BIT if self.traits.eight_bit else Body.SEVEN_BIT
