"""Messages that the server did not hand over in this run, and what becomes of each: gone, asked for again, or parked.

Strategy: a refused message is not asked for again in this run. It is parked when a later listing still has it, or at
the end of the run, and gone when a listing has it no more; both are logged, and named in the report.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from mailmove.archive import Archive
from mailmove.errors import MailmoveError, MessageRejected
from mailmove.jobs.ledger import Ledger
from mailmove.jobs.plan import Key
from mailmove.model import Fate, ReportedException

BREAKS_CONNECTION = "breaks-connection"
"""Why a message is parked that no session survives."""


class Parking:
    """Those of one run. `refused`: not settled yet; `attempted`: not to be asked for again."""

    def __init__(self, maildrop: str, ledger: Ledger, exceptions: list[ReportedException]) -> None:
        self.refused: dict[Key, MessageRejected] = {}
        self.attempted: set[Key] = set()
        self._maildrop = maildrop
        self._ledger = ledger
        self._exceptions = exceptions

    def refuse(self, identity: Key, error: MessageRejected) -> None:
        """The server said no, or something like it."""
        self.attempted.add(identity)
        self.refused[identity] = error

    def breaks(self, identity: Key, error: MailmoveError) -> None:
        """No session survives it."""
        self.refuse(identity, MessageRejected(f"The connection breaks in this message every time: {error}"))

    def ask_again(self, identities: Iterable[Key]) -> None:
        """It was not about these."""
        for identity in identities:
            self.refused.pop(identity, None)
            self.attempted.discard(identity)

    def settle_absent(self, archive: Archive, listed: Container[Key]) -> None:
        """Listed earlier in this run, not fetched, and not there any more: another client deleted it."""
        absent = [identity for identity in self._ledger.pending() if identity not in listed]
        for unique_id, octets in absent:
            self._ledger.settle_key((unique_id, octets), Fate.GONE)
            error = self.refused.pop((unique_id, octets), None)
            self._exceptions.append(
                ReportedException(
                    "gone",
                    "the server lists it no longer: another client deleted it, or moved it",
                    unique_id=unique_id,
                    server_text=error.server_text if error else "",
                )
            )
        left = archive.catalogue.parked_elsewhere(self._maildrop, listed)
        archive.gone(dict.fromkeys([*absent, *left]))

    def park(self, archive: Archive, identities: Iterable[Key]) -> None:
        """Refused, and still listed: parked with the server's words, until a later run gets it or `skip` settles it."""
        for identity in identities:
            error = self.refused.pop(identity, None)
            if error is not None and self._ledger.settle_all(identity, Fate.PARKED):
                self._park(archive, identity, error)

    def _park(self, archive: Archive, identity: Key, error: MessageRejected) -> None:
        unique_id, octets = identity
        cause = "refused" if error.command else BREAKS_CONNECTION
        archive.park(unique_id, octets, cause, error.code, error.server_text)
        self._exceptions.append(
            ReportedException(
                "parked",
                "the server refused to hand it over" if error.command else error.message,
                unique_id=unique_id,
                maildrop=self._maildrop,
                server_text=error.server_text,
            )
        )
