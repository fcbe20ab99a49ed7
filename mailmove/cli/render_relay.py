"""The report of a replay over SMTP or LMTP as text for people: recipients instead of a mailbox."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mailmove.cli.outcome import printable
from mailmove.cli.render import SHOWN, headline, plural, replay_report, size
from mailmove.jobs.relay_report import RelayReport

if TYPE_CHECKING:
    from mailmove.jobs.replay_report import ReplayReport
    from mailmove.model import ReportedException
    from mailmove.targets import RelayTraits

TERMS = {
    "delivered": "delivered",
    "already_there": "delivered before",
    "skipped": "skipped",
    "parked": "refused by the server (parked)",
    "uncertain": "uncertain: may be there",
    "pending": "not reached, or put off",
}
OFFERS = {"pipelining": "PIPELINING", "chunking": "CHUNKING", "eight_bit": "8BITMIME", "binary": "BINARYMIME"}


def any_replay_report(report: ReplayReport) -> str:
    """Whatever a migration delivered to."""
    return relay_report(report) if isinstance(report, RelayReport) else replay_report(report)


def relay_report(report: RelayReport) -> str:
    """One headline, the equation, the exceptions, what to do next. A delivery is a message for a recipient."""
    if report.dry_run:
        return _dry_run(report)
    counts = report.counts()
    lines = [f"{headline(report)}: {report.archive} -> {report.target}, for {report.to_whom}"]
    lines += [f"  {report.selected:>9,}  deliveries selected ({plural(len(report.recipients), 'recipient')})"]
    lines += [f"  {counts[term]:>9,}  {words}" for term, words in TERMS.items() if counts[term] or term == "delivered"]
    if report.duplicate_content:
        lines.append(
            f"  {report.duplicate_content:,} byte-identical copies were left out (--keep-duplicates sends them)."
        )
    lines.append(f"  {size(report.octets)} in {report.seconds:.1f} s, {plural(report.sessions, 'session')}")
    return "\n".join(map(printable, [*lines, *_exceptions(report)]))


def _dry_run(report: RelayReport) -> str:
    counts = report.counts()
    lines = [
        f"Dry run: {report.target} would get {plural(report.messages, 'message')} in {counts['pending']:,} deliveries "
        f"({size(report.octets)}) for {report.to_whom}; of {report.selected:,} deliveries selected "
        f"{counts['already_there']:,} were made before, {counts['parked']:,} are parked, {counts['uncertain']:,} "
        f"uncertain, {counts['skipped']:,} skipped. Nothing was sent, nothing was changed.",
        *([f"  The server {_offers(report.traits)}."] if report.traits else []),
        "  By mail, dates and flags are not kept, and each server adds its trace fields; IMAP keeps them.",
    ]
    return "\n".join(map(printable, [*lines, *_exceptions(report)]))


def _offers(traits: RelayTraits) -> str:
    words = [word for name, word in OFFERS.items() if getattr(traits, name)] + ["SMTPUTF8"] * traits.utf8
    largest = "says nothing of a largest message" if traits.largest is None else f"takes up to {size(traits.largest)}"
    return f"offers {', '.join(words) or 'no extension we use'}, and {largest}"


def _exceptions(report: RelayReport) -> list[str]:
    lines = [_exception(item) for item in report.exceptions[:SHOWN]]
    if len(report.exceptions) > SHOWN:
        lines.append(f"  … and {len(report.exceptions) - SHOWN:,} more (--json names all)")
    settle = [item for item in report.exceptions if item.kind in ("parked", "uncertain")]
    if settle:
        lines.append("To accept what cannot be delivered, settle it:")
        lines += [f"  {_skip(report, item)}" for item in settle[:SHOWN]]
    return lines


def _exception(item: ReportedException) -> str:
    said = f"; the server said {item.server_text!r}" if item.server_text else ""
    what = f"{item.count:,} deliveries" if item.count else item.digest
    whom = f" for {item.mailbox}" if item.mailbox else ""
    return f"  {item.kind}: {what}{whom}: {item.reason}{said}"


def _skip(report: RelayReport, item: ReportedException) -> str:
    words = ["mailmove", "skip", item.digest[:16], "-a", report.archive, "--target", report.target]
    return shlex.join([*words, "--mailbox", item.mailbox, "--reason", "REASON"])
