"""Who gets what with `--original-recipients`: whom each message names itself (design.md section 7).

Strategy: the header section of every selected message is read once; for each address a numbered part of the selection
is written down in a temporary table, so that from there on an address is a recipient like any other, with a selection
of its own. Before anything else a person is told how many strangers would get mail, and asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailmove.archive import Archive, parts
from mailmove.archive.catalogue import Catalogue
from mailmove.archive.layout import Layout
from mailmove.archive.reading import pieces
from mailmove.errors import ArchiveDamaged
from mailmove.jobs import Context, RelayJob
from mailmove.jobs.envelope import Audience, audience, check_confirmed, check_original, original_recipients
from mailmove.jobs.relay_roster import Addressee
from mailmove.message import header_section
from mailmove.model import Digest, ReportedException
from mailmove.targets import RelayTraits

NOBODY = "it names no recipient in To, Cc or Bcc; --rcpt sends it to somebody"


@dataclass(slots=True)
class Named:
    """Whom the selected messages name. `numbers`: address -> the number of its part of the selection.

    `of_each`: the addresses in each message; `left_out`: those that go to nobody, by name.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    of_each: list[tuple[str, ...]] = field(default_factory=list)
    left_out: list[ReportedException] = field(default_factory=list)

    def audience(self, job: RelayJob) -> Audience:
        return audience(self.of_each, {job.user, job.sender} - {""})


def originals(
    job: RelayJob, context: Context, archive: Archive, traits: RelayTraits
) -> tuple[list[Addressee], list[ReportedException]]:
    """(everybody whom a selected message names, messages that name nobody).

    Raises UsageError if nobody confirms that, and ConfigurationError.
    """
    check_original(given=job.recipients, authenticated=traits.authenticated, server=job.target_name)
    named = divide(job, context, archive.catalogue, archive.layout)
    if named.numbers:
        check_confirmed(named.audience(job), confirmed=job.confirmed, ask=context.confirm)
    found = [Addressee(job, archive, address, number, (number,)) for address, number in named.numbers.items()]
    return found, named.left_out


def divide(job: RelayJob, context: Context, catalogue: Catalogue, layout: Layout) -> Named:
    """Reads the header section of each selected message. Raises Interrupted."""
    found = Named()
    partition = parts.Partition(catalogue)
    for digest, records in parts.selected(catalogue, job.maildrops):
        context.check()
        try:
            named = _named(layout, digest)
        except ArchiveDamaged:
            found.left_out.append(
                ReportedException("damaged", "its file is missing or altered; not sent", digest=digest)
            )
            continue
        if not named:
            found.left_out.append(ReportedException("skipped", NOBODY, digest=digest))
        found.of_each.append(named)
        for address in named:
            partition.add(found.numbers.setdefault(address, len(found.numbers) + 1), records)
    return found


def _named(layout: Layout, digest: Digest) -> tuple[str, ...]:
    """Raises ArchiveDamaged."""
    head = next(pieces(layout, digest), b"")
    section = header_section(head)
    return original_recipients(head if section is None else section)
