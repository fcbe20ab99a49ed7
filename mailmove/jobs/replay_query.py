"""Which messages the query of a replay selects (design.md sections 7 and 8).

Strategy: a message that is not indexed is not found, and would be left out without a word. So a replay brings the index
up to date before it asks; a dry run, which changes nothing, says what to run. Of a message whose file cannot be read
nobody knows what is in it: it stays selected, so that the replay names it, and does not end as if all was well. What
searching needs is imported where there is a query: most replays have none.
"""

from __future__ import annotations

import itertools

from mailmove.archive import Reader
from mailmove.archive.deliveries import Deliveries
from mailmove.errors import UsageError
from mailmove.jobs import Context, RelayJob, ReplayJob


def check_query(job: ReplayJob | RelayJob) -> None:
    """Raises UsageError if the query means nothing."""
    if job.query is not None:
        from mailmove.archive.search.query import parse

        parse(job.query)


def narrow_down(job: ReplayJob | RelayJob, context: Context, deliveries: Deliveries) -> None:
    """From now on `deliveries` selects what the job's query finds only, if it has one.

    Raises UsageError (a dry run beside an index that is missing or behind), ArchiveBusy (another process is indexing),
    ArchiveError, Interrupted.
    """
    if job.query is not None:
        if not job.dry_run:
            _index(job, context)
        _choose(job, job.query, deliveries)


def _index(job: ReplayJob | RelayJob, context: Context) -> None:
    from mailmove.jobs.index import IndexJob, run_index

    run_index(IndexJob(job.archive, job.state_dir, job.wait), context)


def _choose(job: ReplayJob | RelayJob, query: str, deliveries: Deliveries) -> None:
    from mailmove.archive.search.find import Finder
    from mailmove.archive.search.query import parse

    with Finder.open(Reader.open(job.archive, state_dir=job.state_dir).layout) as finder:
        if behind := finder.behind():
            raise UsageError(f"The index lacks {behind:,} of the messages; run `mailmove index`, then ask again.")
        deliveries.choose(itertools.chain(finder.digests(parse(query)), finder.unreadable()))
