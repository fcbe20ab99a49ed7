"""The report of `verify --against` as text for people: one line for each exception, and what to run next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mailmove.cli.outcome import printable
from mailmove.cli.render import SHOWN, size
from mailmove.urls import parse_target

if TYPE_CHECKING:
    from mailmove.jobs.against import AgainstJob
    from mailmove.jobs.against_report import AgainstReport
    from mailmove.model import ReportedException

HEADS = {
    "complete": "All there",
    "partial": "NOT ALL AS IT SHOULD BE",
    "interrupted": "Interrupted",
    "failed": "Failed",
}
WORDS = {
    "there": "there, unaltered",
    "rewritten": "there, rewritten by the server as it does with all such messages, or repaired as you asked",
    "altered": "altered",
    "missing": "missing",
    "unproven": "damaged in the archive, so nobody can tell",
    "pending": "not looked at",
}
BESIDE = {
    "other_date": "of them have another date there",
    "extra": "are there once more, delivered by somebody else",
    "not_delivered": "of the archive were not delivered there",
    "elsewhere": "of the archive were delivered to other mailboxes of this target",
    "skipped": "of the archive were settled by `mailmove skip`, or are merged with others there",
    "renewed": "were found again and have a new UID in the log",
}


def against_report(report: AgainstReport, job: AgainstJob) -> str:
    """One headline, the equation, what stands beside it, the exceptions, what to do."""
    counts = report.counts()
    depth = "every octet" if report.deep else "sizes and headers; --deep compares every octet"
    lines = [f"{HEADS[report.outcome.value]}: {report.archive} against {report.target} {report.mailbox} ({depth})"]
    lines += [f"  {report.delivered:>9,}  delivered"]
    lines += [f"  {counts[term]:>9,}  {words}" for term, words in WORDS.items() if counts[term] or term == "there"]
    lines += [f"  {counts[term]:,} {words}" for term, words in BESIDE.items() if counts[term]]
    there = (
        "the mailbox does not exist" if report.mailbox_missing else f"the mailbox holds {_messages(report.at_target)}"
    )
    lines.append(f"  {size(report.octets)} compared in {report.seconds:.1f} s; {there}")
    lines += [_line(item) for item in report.exceptions[:SHOWN]]
    if len(report.exceptions) > SHOWN:
        lines.append(f"  … and {len(report.exceptions) - SHOWN:,} more (--json and --csv name all)")
    return "\n".join(map(printable, [*lines, *_next(report, job)]))


def _line(item: ReportedException) -> str:
    said = f"; the server said {item.server_text!r}" if item.server_text else ""
    what = _messages(item.count) if item.count else item.digest
    return f"  {item.kind}: {what}: {item.reason}{said}"


def _messages(number: int) -> str:
    return f"{number:,} message" + ("" if number == 1 else "s")


def _next(report: AgainstReport, job: AgainstJob) -> list[str]:
    counts, lines = report.counts(), []
    if counts["missing"] or counts["altered"]:
        lines += ["To send what is missing or altered again:", f"  {_replay(job, '--redeliver-missing')}"]
    elif counts["not_delivered"]:
        lines += ["To deliver the rest:", f"  {_replay(job)}"]
    return lines


def _replay(job: AgainstJob, *more: str) -> str:
    replay = job.replay
    words = ["mailmove", "replay", replay.target, "-a", str(replay.archive), "--mailbox", job.mailbox]
    for maildrop in replay.maildrops:
        words += ["--maildrop", maildrop]
    words += ["--all-maildrops"] if replay.all_maildrops else []
    words += ["--query", replay.query] if replay.query is not None else []
    words += ["--target-name", replay.target_name] if replay.target_name != parse_target(replay.target).name else []
    return shlex.join([*words, *more])
