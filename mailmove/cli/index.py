"""`mailmove index`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmove.cli.options import ArchiveOption, Json, ProgressStyle, Quiet, StateDir, Wait, find_archive
from mailmove.cli.outcome import errors_told, leave, print_json, printable

if TYPE_CHECKING:
    from mailmove.jobs.index import IndexReport

EPILOG = "Example: mailmove index -a ~/mail.mailmove"
SHOWN = 20


def index(
    archive: ArchiveOption = None,
    state_dir: StateDir = None,
    wait: Wait = 0.0,
    quiet: Quiet = False,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Make every message findable by `search`: reads what is new since the last time. May be stopped and run again.

    The index is search.db beside archive.db; if it is deleted, the next `index` makes it anew.

    Exit codes: 0 all indexed, 4 a file is damaged (each is named), 75 an index run is under way, 130 interrupted,
    2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli import progress as drawing
        from mailmove.cli.stop import Stop
        from mailmove.jobs import Context
        from mailmove.jobs.index import IndexJob, run_index

        drawn, stop = drawing.choose(progress, quiet=quiet), Stop()
        report = run_index(IndexJob(find_archive(archive), state_dir, wait), Context(progress=drawn, ok=stop.ok))
        if as_json:
            print_json(report.as_dict())
        elif not (quiet and report.exit_code == 0):
            print(_text(report))
        leave(report.exit_code)


def _text(report: IndexReport) -> str:
    from mailmove.cli.render import size

    head = "NOT ALL INDEXED" if report.damaged else "Indexed"
    lines = [f"{head}: {report.archive}"]
    if report.anew:
        lines.append("  search.db was damaged or of another version, and was made anew.")
    lines.append(f"  {report.indexed:,} new, {size(report.octets)} in {report.seconds:.1f} s")
    for count, words in (
        (report.headers, "could not be taken apart, and are indexed by their headers only"),
        (report.partly, "in part only: a part could not be decoded, or is very long"),
        (report.damaged, "damaged or missing, and not indexed; `mailmove verify` names all that is damaged"),
    ):
        if count:
            lines.append(f"  {count:,} {words}")
    lines += [f"  {remark.kind}: {remark.digest[:16]}: {remark.reason}" for remark in report.remarks[:SHOWN]]
    if len(report.remarks) > SHOWN:
        lines.append("  … and more; --json names them.")
    return "\n".join(map(printable, lines))
