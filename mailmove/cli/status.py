"""`mailmove status`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mailmove.cli.options import ArchiveOption, Json, StateDir, find_archive
from mailmove.cli.outcome import errors_told, leave, print_json, printable

if TYPE_CHECKING:
    from mailmove.archive.summary import Summary

EPILOG = "Example: mailmove status -a ~/mail.mailmove"
DAMAGED = 4


def status(archive: ArchiveOption = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Show what is archived and delivered where, what waits for a decision, and the last runs.

    Exit codes: 0, 4 a message is known to be damaged, 75 archive.db cannot be read now, 78 a newer mailmove wrote it,
    2 usage.
    """
    with errors_told(as_json=as_json):
        from mailmove.archive import Reader
        from mailmove.archive.summary import summarise

        reader = Reader.open(find_archive(archive), state_dir=state_dir)
        with reader.catalogue() as catalogue:
            summary = summarise(catalogue, reader.log)
        if as_json:
            print_json({"archive": str(reader.layout.root), "id": reader.id, **asdict(summary)})
        else:
            print(_text(reader.layout.root, summary))
        leave(DAMAGED if summary.damaged else 0)


def _text(root: Path, summary: Summary) -> str:
    from mailmove.cli.render import size

    lines = [f"{root}: {summary.messages:,} messages, {size(summary.octets)}"]
    for row in summary.maildrops:
        waiting = f", {row['parked']:,} parked" if row["parked"] else ""
        waiting += f", {row['suspects']:,} suspect" if row["suspects"] else ""
        lines.append(f"  {row['name']}: {row['places']:,} messages, {size(row['octets'])}{waiting}")
    lines += [_target(row) for row in summary.targets]
    if summary.uncatalogued:
        lines.append(
            "  The log is ahead of the catalogue (a run is under way or was cut off); the next run takes it in."
        )
    lines += [f"  damaged: {digest}" for digest in summary.damaged_messages]
    lines += [
        f"  parked: {row['unique_id']} of {row['maildrop']}: {row['server_text'] or row['cause']}"
        for row in summary.parked
    ]
    lines += [f"  suspect: {row['digest'][:16]} ({row['unique_id']} of {row['maildrop']})" for row in summary.suspects]
    lines += [_undelivered(row) for row in summary.undelivered]
    lines.append("Last runs:" if summary.runs else "No run yet.")
    lines += [_run(row) for row in summary.runs]
    return "\n".join(map(printable, lines))


def _target(row: dict[str, object]) -> str:
    counts = ", ".join(
        f"{row[name]:,} {word}"
        for name, word in (
            ("delivered", "delivered"),
            ("parked", "parked"),
            ("uncertain", "uncertain"),
            ("skipped", "skipped"),
            ("intended", "cut off (the next replay settles them)"),
        )
        if row[name] or name == "delivered"
    )
    return f"  -> {row['target']} {row['mailbox']}: {counts}"


def _undelivered(row: dict[str, object]) -> str:
    digest = str(row["digest"])[:16]
    return f"  {row['kind']}: {digest} for {row['target']} {row['mailbox']}: {row['server_text'] or row['cause']}"


def _run(row: dict[str, object]) -> str:
    counts = row["counts"]
    done = "did not end"
    if isinstance(counts, dict) and row["outcome"]:
        word = "delivered" if "selected" in counts else "stored"
        done = f"{row['outcome']}, {counts.get(word, 0):,} {word}"
    what = " -> ".join(str(row[name]) for name in ("maildrop", "target") if row[name])
    return f"  {row['started']}  {row['job']}  {what}  {done}"
