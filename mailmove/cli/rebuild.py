"""`mailmove rebuild`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmove.cli.options import ArchiveOption, Json, ProgressStyle, Quiet, StateDir, Wait, find_archive
from mailmove.cli.outcome import errors_told, leave, print_json, printable

if TYPE_CHECKING:
    from mailmove.jobs.rebuild import RebuildReport

EPILOG = "Example: mailmove rebuild -a ~/mail.mailmove"

SHOWN = 20


def rebuild(
    archive: ArchiveOption = None,
    wait: Wait = 0.0,
    state_dir: StateDir = None,
    quiet: Quiet = False,
    progress: ProgressStyle = "auto",
    as_json: Json = False,
) -> None:
    """Make archive.db anew from mail/ and log/, whatever has become of it. The old one is kept in quarantine/.

    Exit codes: 0 made anew and all sound, 4 made anew and messages are damaged (each is named) or log records are
    missing, or the log cannot be understood and nothing was changed; 75 in use or disk full, 130 interrupted (nothing
    was changed), 2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.cli.context import make_context
        from mailmove.jobs.rebuild import RebuildJob, run_rebuild

        job = RebuildJob(find_archive(archive), state_dir, wait)
        report = run_rebuild(job, make_context(quiet=quiet, style=progress))
        if as_json:
            print_json(report.as_dict())
        elif not (quiet and report.exit_code == 0):
            print(_text(report))
        leave(report.exit_code)


def _text(report: RebuildReport) -> str:
    from mailmove.cli.render import size

    lines = [f"Rebuilt: archive.db of {report.archive}"]
    lines.append(
        f"  {report.records:,} records of the log, {report.messages:,} messages, {size(report.octets)} in "
        f"{report.seconds:.1f} s"
    )
    if report.kept:
        lines.append(f"  The old one is kept: {report.kept}")
    if report.voided:
        lines.append(f"  {report.voided:,} messages of a run that was cut off never became durable; pull again.")
    if report.lost:
        lines.append(f"  The log has {report.lost:,} records less than log/checkpoint says: restore it from a copy.")
    lines += [f"  damaged or missing: mail/{digest[:3]}/{digest}.eml" for digest in report.damaged[:SHOWN]]
    if len(report.damaged) > SHOWN:
        lines.append(f"  … and {len(report.damaged) - SHOWN:,} more (--json names all)")
    if report.damaged:
        lines.append("  `mailmove repair` puts back what a second copy of the archive, or the server, still has.")
    return "\n".join(map(printable, lines))
