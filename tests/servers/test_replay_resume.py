"""A replay that goes on in a large mailbox: what that costs before the first message is sent.

Strategy: Dovecot with 20,000 messages of somebody else's (100,000 with --full); a replay into it is killed with
messages under way, and the next one is listened to through a proxy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.dovecot import Dovecot
from tests.support import mails
from tests.support.cli import finish, kill, start_mailmove
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, reset
from tests.support.replaying import fill, plain_replay, rewritten, url, words

THERE, THERE_IF_FULL = 20_000, 100_000
MOST_COMMANDS = 10


@pytest.fixture(scope="module")
def there(full: bool) -> int:
    return THERE_IF_FULL if full else THERE


@pytest.fixture(scope="module")
def server(needs_dovecot: None, there: int) -> Iterator[Dovecot]:
    with Dovecot(ssl=False) as server:
        server.seed("large", mails.small(there, octets=120))
        yield server


def before_the_first_append(proxy: Proxy) -> list[str]:
    commands = [command.partition(" ")[2] for command in proxy.sessions[-1].commands]
    appends = [place for place, command in enumerate(commands) if command.startswith("APPEND ")]
    assert appends, commands
    return commands[: appends[0]]


def test_few_commands_until_it_goes_on(server: Dovecot, archive_dir: Path, there: int) -> None:
    messages = [b"Subject: ours %d\r\n\r\n" % n + b"x" * 2_000 + b"\r\n" for n in range(300)]
    fill(archive_dir, messages)
    port, more = server.ports["imap"], ("--no-skip-present",)
    with Proxy(port) as proxy:
        process = start_mailmove(*words(url(proxy.port, "large"), archive_dir, "--allow-plaintext", *more))
        proxy.at_up(300_000, lambda session: [kill(process), reset(session)])  # type: ignore[func-returns-value]
        finish(process)
    with Proxy(port) as proxy:
        result = plain_replay(proxy.port, "large", archive_dir, *more)
        asked = before_the_first_append(proxy)
    assert result.code == 0, result
    assert "watching the target" in result.stderr, "something was under way"
    assert len(asked) <= MOST_COMMANDS, asked
    with Referee(port, "large") as referee:
        found = Counter(one.octets for one in referee.stored("INBOX", there + 1))
    assert found == Counter(map(rewritten, messages))


def test_fewer_still_when_nothing_is_under_way(server: Dovecot, archive_dir: Path) -> None:
    fill(archive_dir, [b"Subject: the first\r\n\r\n"])
    assert plain_replay(server.ports["imap"], "large", archive_dir, "--no-skip-present").code == 0
    fill(archive_dir, [b"Subject: the second\r\n\r\n"])
    with Proxy(server.ports["imap"]) as proxy:
        assert plain_replay(proxy.port, "large", archive_dir).code == 0
        asked = before_the_first_append(proxy)
    assert [command.partition(" ")[0] for command in asked] == ["LOGIN", "SELECT"]
