"""Reports as text for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mailmove.cli import ids
from mailmove.cli.outcome import printable

if TYPE_CHECKING:
    from mailmove.jobs.replay_report import ReplayReport
    from mailmove.jobs.report import RunReport
    from mailmove.jobs.verify import VerifyReport
    from mailmove.model import ReportedException

SHOWN = 20
WORDS = {
    "stored": "stored",
    "already_archived": "already archived",
    "duplicate_content": "same content as one archived",
    "skipped": "skipped",
    "gone": "gone from the server",
    "parked": "refused by the server (parked)",
    "pending": "not reached",
}


def size(octets: float) -> str:
    """Octets for people."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if octets < 1000 or unit == "GB":
            return f"{octets:,.0f} {unit}" if unit == "bytes" else f"{octets:,.1f} {unit}"
        octets /= 1000
    raise AssertionError("unreachable")


def pull_report(report: RunReport) -> str:
    """The pull's report: one headline, the equation, the exceptions, what to do next."""
    counts = report.counts()
    if report.dry_run:
        return _dry_run(report)
    lines = [f"{headline(report)}: {report.maildrop} -> {report.archive}"]
    lines += [f"  {report.listed:>9,}  listed"]
    lines += [f"  {counts[term]:>9,}  {words}" for term, words in WORDS.items() if counts[term] or term == "stored"]
    lines.append(f"  {size(report.octets)} in {report.seconds:.1f} s, {plural(report.sessions, 'session')}")
    if report.deleted:
        lines.append(f"  {plural(report.deleted, 'message')} deleted on the server.")
    if report.versions:
        lines.append(f"  {report.versions:,} of them share a Message-ID with another message; all are kept.")
    return "\n".join([*lines, *_exceptions(report)])


def _dry_run(report: RunReport) -> str:
    counts = report.counts()
    return (
        f"Dry run: {report.maildrop} lists {plural(report.listed, 'message')}; {counts['pending']:,} would be pulled "
        f"({size(report.octets)}), {counts['already_archived']:,} are archived, {counts['skipped']:,} would be "
        f"skipped. {_would_delete(report)}Nothing was changed."
    )


def _would_delete(report: RunReport) -> str:
    return f"{report.would_delete:,} would be deleted on the server. " if report.would_delete else ""


def headline(report: RunReport | ReplayReport) -> str:
    """How a run ended, in a few words."""
    return {
        "complete": "Complete",
        "partial": "Ended, with exceptions to look at",
        "interrupted": "Interrupted (run the same command again to resume)",
        "failed": "Failed",
    }[report.outcome.value]


def _exceptions(report: RunReport) -> list[str]:
    lines = [_exception(item) for item in report.exceptions[:SHOWN]]
    if len(report.exceptions) > SHOWN:
        lines.append(f"  … and {len(report.exceptions) - SHOWN:,} more (--json names all)")
    settle = [item for item in report.exceptions if item.kind in ("parked", "suspect")]
    if settle:
        lines.append("To accept what cannot be had, settle it:")
        lines += [f"  {skip_command(report.archive, item)}" for item in settle[:SHOWN]]
    return lines


def _exception(item: ReportedException) -> str:
    said = f"; the server said {item.server_text!r}" if item.server_text else ""
    what = f"{item.count:,} messages" if item.count else item.unique_id or item.digest
    return printable(f"  {item.kind}: {what}: {item.reason}{said}")


def skip_command(archive: str, item: ReportedException) -> str:
    """The command to paste that settles an exception."""
    identity = item.digest[:16] if item.kind == "suspect" else item.unique_id
    options = ["-a", archive, "--maildrop", item.maildrop, "--reason", "REASON"]
    if not ids.can_be_typed(identity):
        identity, options = ids.escaped(identity), ["--escaped", *options]
    words = [*options, "--", identity] if identity.startswith("-") else [identity, *options]
    return printable(shlex.join(["mailmove", "skip", *words]))


TERMS = {
    "delivered": "delivered",
    "already_there": "there already",
    "skipped": "skipped",
    "parked": "refused by the target (parked)",
    "uncertain": "uncertain: may be there",
    "pending": "not reached",
}


def replay_report(report: ReplayReport) -> str:
    """The replay's report: one headline, the equation, the exceptions, what to do next."""
    counts = report.counts()
    if report.dry_run:
        return _replay_dry_run(report)
    lines = [f"{headline(report)}: {report.archive} -> {report.target} {report.mailbox}"]
    lines += [f"  {report.selected:>9,}  selected"]
    lines += [f"  {counts[term]:>9,}  {words}" for term, words in TERMS.items() if counts[term] or term == "delivered"]
    if report.duplicate_content:
        lines.append(
            f"  {report.duplicate_content:,} byte-identical copies were left out (--keep-duplicates sends them)."
        )
    if report.redelivered:
        lines.append(f"  {report.redelivered:,} were not there any more and were delivered again.")
    lines.append(f"  {size(report.octets)} in {report.seconds:.1f} s, {plural(report.sessions, 'session')}")
    return "\n".join(printable(line) for line in [*lines, *_missing(report), *_replay_exceptions(report)])


def _replay_dry_run(report: ReplayReport) -> str:
    counts = report.counts()
    where = f"{report.target} {report.mailbox}"
    there = "does not exist yet" if report.mailbox_missing else f"holds {plural(report.at_target, 'message')}"
    head = (
        f"Dry run: {where} {there}; of {plural(report.selected, 'message')} selected {counts['pending']:,} would be "
        f"sent ({size(report.octets)}), {counts['already_there']:,} are there, {counts['parked']:,} are parked, "
        f"{counts['uncertain']:,} uncertain, {counts['skipped']:,} skipped. Nothing was changed."
    )
    if report.preflight is None:
        return head
    from mailmove.cli.render_preflight import preflight_lines

    return "\n".join(map(printable, [head, *preflight_lines(report.preflight), *_replay_exceptions(report)]))


def _missing(report: ReplayReport) -> list[str]:
    if report.missing:
        return [
            f"  {report.missing:,} messages were delivered before {report.mailbox!r} was made anew. Give "
            "--redeliver-missing to send what is not there, or --ignore-missing to accept it."
        ]
    return []


def _replay_exceptions(report: ReplayReport) -> list[str]:
    lines = [_exception(item) for item in report.exceptions[:SHOWN]]
    if len(report.exceptions) > SHOWN:
        lines.append(f"  … and {len(report.exceptions) - SHOWN:,} more (--json names all)")
    settle = [item for item in report.exceptions if item.kind in ("parked", "uncertain")]
    if settle:
        lines.append("To accept what cannot be delivered, settle it:")
        lines += [f"  {_skip_delivery(report, item)}" for item in settle[:SHOWN]]
    return lines


def _skip_delivery(report: ReplayReport, item: ReportedException) -> str:
    words = ["mailmove", "skip", item.digest[:16], "-a", report.archive, "--target", report.target]
    return shlex.join([*words, "--mailbox", item.mailbox or report.mailbox, "--reason", "REASON"])


def verify_report(report: VerifyReport) -> str:
    """One headline, how much was looked at, then every finding by name."""
    problems = sum(not finding.sound for finding in report.findings)
    sound = "Sound" if report.whole else "Sound as far as this part goes"
    head = sound if report.sound else f"NOT SOUND ({plural(problems, 'problem')})"
    proven = f"  {plural(report.proven, 'message')} proven, {size(report.octets)} in {report.seconds:.1f} s"
    lines = [f"{head}: {report.archive}", proven, *_part(report)]
    lines += [f"  {finding.kind}: {finding.what}: {finding.reason}" for finding in report.findings]
    if any(finding.kind in ("damaged", "missing") for finding in report.findings):
        lines.append("  Put back what a second copy of the archive (or the server, named as SOURCE) still has:")
        lines.append(f"  {shlex.join(['mailmove', 'repair', '-a', report.archive, '--from', 'COPY'])}")
    if any(finding.kind == "catalogue" for finding in report.findings):
        lines.append(f"  {shlex.join(['mailmove', 'rebuild', '-a', report.archive])}")
    return "\n".join(map(printable, lines))


def _part(report: VerifyReport) -> list[str]:
    if report.whole:
        return []
    looked_at = f"{report.looked_at:,} of {plural(report.shards, 'folder')} of mail/ looked at"
    left = f", {report.left:,} more were due when time was up" if report.left else ""
    return [f"  A part: {looked_at}{left}; the archive has {plural(report.messages, 'message')}."]


def plural(number: int, word: str) -> str:
    """A number of things, like "1 message"."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")
