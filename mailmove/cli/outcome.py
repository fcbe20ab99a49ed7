"""How a command ends: errors become one sentence and an exit code, in this one place (design.md sections 8 and 10)."""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from mailmove.errors import ConnectionLost, HostUnreachable, Interrupted, MailmoveError, TryLater, UsageError

if TYPE_CHECKING:
    from mailmove.jobs.report import JobReport

Told = TypeVar("Told", bound="JobReport")

INTERRUPTED = "Interrupted. Everything reported as stored is safe; run the same command again to resume."
BUG = 1


@contextlib.contextmanager
def errors_told(*, as_json: bool) -> Iterator[None]:
    """Runs a command's body; whatever it raises becomes a sentence on stderr and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except MailmoveError as error:
        _tell(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        _tell(Interrupted(INTERRUPTED), as_json=as_json)
        raise typer.Exit(Interrupted.exit_code) from None
    except BrokenPipeError:
        raise typer.Exit(BUG) from None
    except Exception as error:  # noqa: BLE001 - whatever is no MailmoveError is a bug, and is shown as one
        traceback.print_exc()
        say(f"This is a bug in mailmove ({type(error).__name__}); nothing acknowledged is lost. Please report it.")
        if as_json:
            print_json(_document(error))
        raise typer.Exit(BUG) from None


def _tell(error: MailmoveError, *, as_json: bool) -> None:
    say_failure(error)
    if as_json and not isinstance(error, UsageError):
        print_json(_document(error))


def _document(error: BaseException) -> dict[str, object]:
    from mailmove.jobs.report import error_dict

    outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
    return {"outcome": outcome, "error": error_dict(error)}


def say_failure(error: MailmoveError) -> None:
    """Why a run ended early, and that running it again is what to do, where it is."""
    resumable = isinstance(error, ConnectionLost | TryLater) and not isinstance(error, HostUnreachable)
    again = " Run the same command again to resume." if resumable else ""
    say(INTERRUPTED if isinstance(error, Interrupted) else error.message + again)


def say(sentence: str) -> None:
    """One sentence on stderr, with no control character a server may have put in it."""
    print("mailmove: " + printable(sentence), file=sys.stderr)


def printable(text: str) -> str:
    """Text from a server or a mail that cannot move the cursor or change the colours of a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=True))


def conclude(report: Told, text: Callable[[Told], str], *, as_json: bool, quiet: bool) -> NoReturn:
    """Tells how a run ended, as JSON or as `text` has it, and leaves; a quiet one says nothing when all is well."""
    if report.error is not None:
        say_failure(report.error)
    if as_json:
        print_json(report.as_dict())
    elif not (quiet and report.exit_code == 0):
        print(text(report))
    leave(report.exit_code)


def leave(code: int) -> NoReturn:
    raise typer.Exit(code)
