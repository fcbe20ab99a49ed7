"""`sh tests/run --try`: the whole way once, to look at: a Dovecot with 20 messages, pulled, verified and reported.

Strategy: the real commands, printed before they run, with the terminal they would have; the archive stays. Nothing here
is a test, so nothing is swallowed either: the exit code is that of the first command that failed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import dovecot
from tests.support import mails
from tests.support.cli import PASSWORD_FROM_ENV, PASSWORD_NAME, REPO
from tests.support.client import HOST, PASSWORD

USER, MESSAGES = "try", 20

NEXT = """
The archive is in {archive}
  (the e-mails are in mail/, one file each; README.txt there says how to read them without mailmove).

Now your own mailbox. mailmove asks for the password, and deletes nothing on the server:
  {program} pull pop3s://YOU@POP.YOUR-PROVIDER.EXAMPLE -a ~/my-mail.mailmove
"""


def main() -> int:
    if reason := dovecot.missing():
        print(f"tests/run --try needs a mail server to show anything: {reason}.", file=sys.stderr)
        return 1
    archive = Path(tempfile.mkdtemp(prefix="mailmove-try-")) / "try.mailmove"
    with dovecot.Dovecot() as server:
        server.seed(USER, mails.varied(MESSAGES))
        port = server.ports["pop3s"]
        print(
            f"A Dovecot with {MESSAGES} messages for {USER!r} listens on {HOST}:{port} (TLS, its own CA).", flush=True
        )
        pull = ["pull", f"pop3s://{USER}@{HOST}:{port}", "-a", str(archive), "--ca-file", str(server.certificates.ca)]
        commands = [[*pull, *PASSWORD_FROM_ENV], ["verify", "-a", str(archive)], ["status", "-a", str(archive)]]
        codes = [_show(command) for command in commands]
    failed = next((code for code in codes if code), 0)
    print(f"\nThat went wrong; what there is of the archive is in {archive}" if failed else _next(archive))
    return failed


def _show(command: list[str]) -> int:
    """Runs mailmove with this terminal; the password goes by the environment."""
    print(f"\n$ mailmove {shlex.join(command)}", flush=True)
    env = os.environ | {PASSWORD_NAME: PASSWORD, "PYTHONPATH": str(REPO)}
    return subprocess.run([sys.executable, "-m", "mailmove", *command], env=env, check=False).returncode


def _next(archive: Path) -> str:
    """What to look at and to type now, with mailmove as it can be called from anywhere."""
    program = Path(sys.executable).with_name("mailmove")
    called = shlex.quote(str(program)) if program.exists() else f"{shlex.quote(sys.executable)} -m mailmove"
    return NEXT.format(archive=archive, program=called)


if __name__ == "__main__":
    sys.exit(main())
